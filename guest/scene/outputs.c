/* SPDX-License-Identifier: GPL-2.0-only */
/* What is kept of ended payloads' output until the controller has fetched it (see scene.h). Any thread. */
#include "common/scope.h"
#include "guest/scene/state.h"

#include <stdlib.h>

void scene_keep_output(struct scene *scene, struct scene_payload_report *report)
{
	struct payload_end *end = &report->end;
	for (unsigned i = 0; i < 2; i++) {
		output_tail(&end->out[i], report->tail[i], sizeof(report->tail[i]));
		report->bytes[i] = end->out[i].total;
	}
	struct scene_output *kept = report->bytes[0] || report->bytes[1] ? calloc(1, sizeof(*kept)) : NULL;
	if (!kept) {
		payload_end_deinit(end);
		return;
	}
	kept->id = report->output_id = ++scene->last_output;
	for (unsigned i = 0; i < 2; i++) {
		kept->out[i] = end->out[i];
		end->out[i] = (struct output){0};
	}
	kept->next = scene->outputs;
	scene->outputs = kept;
}

int scene_read_output(struct scene *scene, uint64_t id, bool errors, uint64_t offset, void *buffer,
	size_t size, size_t *ret_count, uint64_t *ret_kept_bytes, struct err *err)
{
	SCOPE_LOCK(&scene->lock);
	const struct scene_output *kept = scene->outputs;
	while (kept && kept->id != id)
		kept = kept->next;
	if (!kept)
		return err_set(err, ERR_NOT_FOUND, "no payload's output has number %llu, or it was released",
			(unsigned long long)id);
	*ret_count = output_read(&kept->out[errors], offset, buffer, size);
	*ret_kept_bytes = output_kept_bytes(&kept->out[errors]);
	return 0;
}

void scene_release_output(struct scene *scene, uint64_t id)
{
	SCOPE_LOCK(&scene->lock);
	for (struct scene_output **at = &scene->outputs; *at;) {
		struct scene_output *kept = *at;
		if (id && kept->id != id) {
			at = &kept->next;
			continue;
		}
		*at = kept->next;
		output_deinit(&kept->out[0]);
		output_deinit(&kept->out[1]);
		free(kept);
	}
}
