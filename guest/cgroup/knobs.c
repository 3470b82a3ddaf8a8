/* SPDX-License-Identifier: GPL-2.0-only */
/* The knobs of a cgroup definition, in their order: cpu, memory, pids (see cgroup.h). Any thread. */
#include "guest/cgroup/cgroup.h"

#include <inttypes.h>
#include <stdio.h>

struct job {
	int fd;
	const char *name;
	struct err *err;
};

static int set_u64(const struct job *job, bool has, const char *file, uint64_t value)
{
	char text[24];
	if (!has)
		return 0;
	snprintf(text, sizeof(text), "%" PRIu64, value);
	return cg_write(job->fd, job->name, file, text, job->err);
}

static int apply_cpu(const struct job *job, const struct cg_knobs *knobs)
{
	int r = 0;
	if (knobs->has_cpu_max) {
		char text[48];
		if (knobs->quota_us == UINT64_MAX)
			snprintf(text, sizeof(text), "max %" PRIu64, knobs->period_us);
		else
			snprintf(text, sizeof(text), "%" PRIu64 " %" PRIu64, knobs->quota_us,
				knobs->period_us);
		r = cg_write(job->fd, job->name, "cpu.max", text, job->err);
	}
	if (r == 0)
		r = set_u64(job, knobs->has_weight, "cpu.weight", knobs->weight);
	return r < 0 ? r : set_u64(job, knobs->has_idle, "cpu.idle", knobs->idle);
}

static int apply_memory(const struct job *job, const struct cg_knobs *knobs,
	void (*add_note)(void *arg, const char *note), void *arg)
{
	int r = set_u64(job, knobs->has_mem_max, "memory.max", knobs->mem_max);
	if (r == 0)
		r = set_u64(job, knobs->has_mem_high, "memory.high", knobs->mem_high);
	if (r == 0)
		r = set_u64(job, knobs->has_mem_low, "memory.low", knobs->mem_low);
	if (r == 0)
		r = set_u64(job, knobs->has_mem_min, "memory.min", knobs->mem_min);
	if (r < 0 || !knobs->has_swap_max)
		return r;
	if (!cg_has(job->fd, "memory.swap.max")) {
		if (add_note)
			add_note(arg, "memory.swap.max was skipped: this kernel has no swap accounting");
		return 0;
	}
	return set_u64(job, true, "memory.swap.max", knobs->swap_max);
}

int cg_apply_knobs(int root_fd, const char *path, int fd, const char *name, const struct cg_knobs *knobs,
	void (*add_note)(void *arg, const char *note), void *arg, struct err *err)
{
	struct job job = {fd, name, err};
	int r = 0;
	if (knobs->has_weight || knobs->has_idle || knobs->has_cpu_max)
		r = cg_need(root_fd, path, "cpu", err);
	if (r == 0)
		r = apply_cpu(&job, knobs);
	if (r == 0 && (knobs->has_mem_max || knobs->has_mem_high || knobs->has_mem_low ||
			      knobs->has_mem_min || knobs->has_swap_max))
		r = cg_need(root_fd, path, "memory", err);
	if (r == 0)
		r = apply_memory(&job, knobs, add_note, arg);
	if (r == 0 && knobs->has_pids_max)
		r = cg_need(root_fd, path, "pids", err);
	return r < 0 ? r : set_u64(&job, knobs->has_pids_max, "pids.max", knobs->pids_max);
}
