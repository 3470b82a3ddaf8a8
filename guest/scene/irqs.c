/* SPDX-License-Identifier: GPL-2.0-only */
/* The scene's interrupts: steering them, and giving them back what they had (see scene.h). */
#include "common/clock.h"
#include "common/scope.h"
#include "guest/scene/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct scene_irq **find_irq(struct scene *scene, enum scene_scope scope, uint32_t number)
{
	struct scene_irq **at = &scene->irqs;
	while (*at && ((*at)->scope != scope || (*at)->number != number))
		at = &(*at)->next;
	return at;
}

int scene_steer_irq(struct scene *scene, const struct scene_call *call, const char *irq, unsigned cpu,
	bool keep, uint64_t wait_ns, struct irq_steered *ret_steered, struct err *err)
{
	_cleanup_free_ struct scene_irq *record = calloc(1, sizeof(*record));
	if (!record)
		return err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot steer an interrupt");
	/* Looking and writing are one, or two lanes would each take the other's affinity for the old one. */
	pthread_mutex_lock(&scene->lock);
	int r = irq_steer(&IRQ_TREE, irq, cpu, ret_steered, err);
	if (r == 0) {
		struct scene_irq **at = find_irq(scene, call->scope, ret_steered->number);
		if (*at && keep) {
			struct scene_irq *kept = *at;
			*at = kept->next;
			free(kept);
		} else if (!*at && !keep) {
			record->scope = call->scope;
			record->number = ret_steered->number;
			memcpy(record->before, ret_steered->before, sizeof(record->before));
			record->next = scene->irqs;
			scene->irqs = TAKE_PTR(record);
		}
	}
	pthread_mutex_unlock(&scene->lock);
	if (r == 0)
		irq_settle(&IRQ_TREE, cpu, MIN_OF(clock_deadline_ns(wait_ns), call->deadline_ns),
			call->cancel ? call->cancel->fd : -1, ret_steered);
	return r;
}

void scene_restore_irqs(struct scene *scene, enum scene_scope scope, struct scene_ended *ended)
{
	for (struct scene_irq **at = &scene->irqs; *at;) {
		struct scene_irq *irq = *at;
		struct err err = ERR_INIT;
		if (!scene_ends_with(irq->scope, scope)) {
			at = &irq->next;
			continue;
		}
		*at = irq->next;
		if (irq_set_affinity(&IRQ_TREE, irq->number, irq->before, &err) < 0) {
			err_wrap(&err, "interrupt %u did not get its affinity '%.40s' back", irq->number,
				irq->before);
			scene_ended_add(ended, &err);
		}
		free(irq);
	}
}
