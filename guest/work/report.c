/* SPDX-License-Identifier: GPL-2.0-only */
/* What workers did, read from their slots once they have ended (see work.h). Lane threads. */
#include "guest/work/batch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* What is published but in no closed part belongs to the part the worker was killed in. */
static void add_open_part(struct work_report *report, unsigned size)
{
	if (!report->missing || report->n_parts >= size)
		return;
	struct work_part open = {
		.units = report->units,
		.iterations = report->iterations,
		.cpu_ns = report->cpu_ns,
		.wall_ns = report->wall_ns,
		.migrations = report->migrations,
	};
	for (unsigned i = 0; i < report->n_parts; i++) {
		const struct work_part *part = &report->parts[i];
		open.units -= MIN_OF(part->units, open.units);
		open.iterations -= MIN_OF(part->iterations, open.iterations);
		open.cpu_ns -= MIN_OF(part->cpu_ns, open.cpu_ns);
		open.wall_ns -= MIN_OF(part->wall_ns, open.wall_ns);
		open.migrations -= MIN_OF(part->migrations, open.migrations);
	}
	open.phase = report->n_parts ? report->parts[report->n_parts - 1].phase + 1 : work_phase();
	if (!report->n_parts)
		open.gap = report->gap;
	report->parts[report->n_parts++] = open;
}

/* Parts, and the buckets of all their distributions and of the whole life's. */
static void copy_parts(const struct work *work, struct work_report *ret)
{
	struct work_slot *slot = work->slot;
	unsigned parts = atomic_load_explicit(&slot->n_parts, memory_order_acquire);
	uint32_t logged = atomic_load_explicit(&slot->log.n, memory_order_acquire);
	parts = MIN_OF(parts, SLOT_PARTS);
	logged = MIN_OF(logged, DIST_LOG);
	ret->parts = calloc(parts + 1, sizeof(*ret->parts));
	ret->buckets = calloc(logged + DISTS * HIST_BUCKETS, sizeof(*ret->buckets));
	ret->samples = calloc(DISTS, sizeof(*ret->samples));
	if (!ret->parts || !ret->buckets || !ret->samples) {
		work_report_deinit(ret);
		return;
	}
	memcpy(ret->parts, slot->parts, parts * sizeof(*ret->parts));
	memcpy(ret->buckets, slot->log.entries, logged * sizeof(*ret->buckets));
	ret->n_parts = parts;
	/* Written by another process: nothing of it may lead beyond the log. */
	for (unsigned i = 0; i < parts; i++)
		for (unsigned d = 0; d < DISTS; d++)
			if (!range_fits(
				    ret->parts[i].dists[d].first, ret->parts[i].dists[d].n_buckets, logged))
				ret->parts[i].dists[d].n_buckets = 0;
	uint64_t measured = 0;
	uint32_t at = logged;
	for (unsigned d = 0; d < DISTS; d++) {
		ret->dists[d] = dist_read(&slot->dists[d], ret->buckets + at, ret->samples[d]);
		ret->dists[d].first = at;
		at += ret->dists[d].n_buckets;
		measured += ret->dists[d].count;
	}
	/* Programs of the user's have no samples. */
	if (!measured || work->custom) {
		free(ret->samples);
		ret->samples = NULL;
	}
	/* Most workers measure nothing. */
	struct dist_bucket *fit = realloc(ret->buckets, (at + 1) * sizeof(*fit));
	if (fit)
		ret->buckets = fit;
	if (!work->custom) /* their last part has been cut already */
		add_open_part(ret, parts + 1);
}

static void tell_exit(struct work *work, enum slot_state state, struct work_report *ret)
{
	const struct work_slot *slot = work->slot;
	struct child *child = work_child(work);
	if (!ret->missing)
		strcpy(ret->exit, "stopped");
	else if (state == SLOT_FAILED)
		snprintf(ret->exit, sizeof(ret->exit), "%.24s: %.12s", slot->call,
			strerrorname_np(slot->call_errno));
	else if (!child_exited(child))
		strcpy(ret->exit, "does not die");
	else if (WIFSIGNALED(child->status) && WTERMSIG(child->status) == SIGKILL)
		strcpy(ret->exit, "killed");
	else
		child_status_text(child->status, ret->exit, sizeof(ret->exit));
}

void work_report(struct work *work, struct work_report *ret)
{
	struct work_slot *slot = work->slot;
	struct slot_numbers n;
	if (work->custom)
		custom_sync(work, true);
	(void)slot_read(slot, &n);
	enum slot_state state = work_state(work);
	*ret = (struct work_report){
		.pid = work_child(work)->pid,
		.tid = work_tid(work),
		.type = work->type,
		.units = n.units,
		.iterations = n.iterations,
		.cpu_ns = n.cpu_ns,
		.wall_ns = n.wall_ns,
		.migrations = n.migrations,
		.gap = n.gap,
		.wakeups = n.wakeups,
		.wake_max_ns = n.wake_max_ns,
		.wake_sum_ns = n.wake_sum_ns,
		.switches = n.switches,
		.schedstat = n.schedstat,
		.missing = state != SLOT_REPORTED,
		.n_trespasses = atomic_load_explicit(&slot->n_trespasses, memory_order_acquire),
		.n_migrated = atomic_load_explicit(&slot->n_migrated, memory_order_acquire),
	};
	memcpy(ret->comm, work->comm, sizeof(ret->comm));
	memcpy(ret->thread_group, work->thread_group, sizeof(ret->thread_group));
	memcpy(ret->cpus_used.bits, n.cpus_used, sizeof(n.cpus_used));
	ret->n_trespasses = MIN_OF(ret->n_trespasses, WORK_TRESPASSES);
	memcpy(ret->trespasses, slot->trespasses, ret->n_trespasses * sizeof(ret->trespasses[0]));
	ret->n_migrated = MIN_OF(ret->n_migrated, WORK_MIGRATIONS);
	memcpy(ret->migrated, slot->migrated, ret->n_migrated * sizeof(ret->migrated[0]));
	ret->has_pages = !ret->missing && slot->has_pages;
	memcpy(ret->numa_pages, slot->numa_pages, sizeof(ret->numa_pages));
	if (ret->missing && !ret->wall_ns && work_child(work)->end_ns > work->start_ns)
		ret->wall_ns = work_child(work)->end_ns - work->start_ns;
	copy_parts(work, ret);
	tell_exit(work, state, ret);
}

void work_report_deinit(struct work_report *report)
{
	free(report->parts);
	free(report->buckets);
	free(report->samples);
	report->parts = NULL;
	report->buckets = NULL;
	report->samples = NULL;
	report->n_parts = 0;
	memset(report->dists, 0, sizeof(report->dists));
}
