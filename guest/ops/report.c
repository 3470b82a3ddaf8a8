/* SPDX-License-Identifier: GPL-2.0-only */
/* Reports and errors as the wire has them (see ops.h). */
#include "guest/ops/ops.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

PB(Error) * ops_error(struct arena *arena, const struct err *err)
{
	PB(Error) *wire = PB_NEW(arena, Error, error);
	if (!wire)
		return NULL;
	wire->code = (PB(ErrorCode))err->code;
	wire->message = arena_strdup(arena, err->message);
	wire->place = arena_strdup(arena, err->place);
	wire->reason = arena_strdup(arena, err->reason);
	wire->os_errno = err->os_errno;
	return wire->message && wire->place && wire->reason ? wire : NULL;
}

void ops_add_note(void *arg, const char *note)
{
	struct op_run *run = arg;
	(void)ops_append(
		run->arena, &run->result->notes, &run->result->n_notes, arena_strdup(run->arena, note));
}

/* Bytes that are not UTF-8 would make the whole message unreadable to some clients. */
char *ops_text(struct arena *arena, const char *bytes)
{
	char *text = arena_strdup(arena, bytes);
	for (unsigned char *c = (unsigned char *)text; c && *c;) {
		unsigned n = *c < 0x80             ? 0
			     : (*c & 0xe0) == 0xc0 ? 1
			     : (*c & 0xf0) == 0xe0 ? 2
			     : (*c & 0xf8) == 0xf0 ? 3
						   : 9;
		bool good = n < 9 && *c != 0xc0 && *c != 0xc1;
		for (unsigned i = 1; good && i <= n; i++)
			good = (c[i] & 0xc0) == 0x80;
		if (!good)
			*c++ = '?';
		else
			c += n + 1;
	}
	return text;
}

PB(PayloadReport) * ops_payload_report(struct arena *arena, const struct scene_payload_report *report)
{
	PB(PayloadReport) *wire = PB_NEW(arena, PayloadReport, payload_report);
	const struct payload_end *end = &report->end;
	char text[40];
	if (!wire)
		return NULL;
	wire->name = arena_strdup(arena, report->name);
	wire->cgroup = arena_strdup(arena, report->cgroup);
	wire->place = arena_strdup(arena, report->place);
	wire->pid = end->pid;
	wire->exit = arena_printf(arena, "%s%s", child_status_text(end->status, text, sizeof(text)),
		end->ended_by_us ? " (killed by schedrig)" : "");
	wire->exit_code = WIFSIGNALED(end->status) ? 128 + WTERMSIG(end->status) : WEXITSTATUS(end->status);
	wire->ended_by_us = end->ended_by_us;
	wire->run_ns = end->run_ns;
	wire->placed_before_exec = true;
	wire->moved_before_exec = end->moved;
	wire->adhoc = report->adhoc;
	wire->stdout_tail = ops_text(arena, report->tail[0]);
	wire->stderr_tail = arena_strdup(arena, "");
	wire->stdout_bytes = report->bytes[0];
	wire->stderr_bytes = report->bytes[1];
	wire->output_id = report->output_id;
	if (report->has_exit_check && wire->exit_code != report->exit_check) {
		char *failed = arena_printf(arena, "payload `%s` should have exited with %d, but: %s",
			report->name, report->exit_check, wire->exit ? wire->exit : "");
		wire->stderr_tail = ops_text(arena, report->tail[1]);
		wire->stop = report->exit_stops;
		if (report->exit_required)
			(void)ops_append(arena, &wire->failed_checks, &wire->n_failed_checks, failed);
		else
			(void)ops_append(arena, &wire->noted_checks, &wire->n_noted_checks, failed);
	}
	return wire->name && wire->cgroup && wire->place && wire->exit && wire->stdout_tail &&
			       wire->stderr_tail
		       ? wire
		       : NULL;
}

static PB(Distribution) * distribution(struct arena *arena, const struct work_report *report,
				  const struct dist_cut *cut, const uint64_t *samples)
{
	PB(Distribution) *to = cut->count ? PB_NEW(arena, Distribution, distribution) : NULL;
	if (!to)
		return NULL;
	to->count = cut->count;
	to->sum_ns = cut->sum_ns;
	to->max_ns = cut->max_ns;
	to->partial = cut->partial;
	to->buckets = arena_zalloc(arena, cut->n_buckets + 1, sizeof(*to->buckets));
	to->counts = arena_zalloc(arena, cut->n_buckets + 1, sizeof(*to->counts));
	for (uint32_t i = 0; to->buckets && to->counts && i < cut->n_buckets; i++) {
		to->buckets[i] = report->buckets[cut->first + i].bucket;
		to->counts[i] = report->buckets[cut->first + i].count;
		to->n_buckets = to->n_counts = i + 1;
	}
	uint64_t n_samples = samples ? MIN_OF(cut->count, DIST_SAMPLES) : 0;
	to->sample_ns = arena_zalloc(arena, n_samples + 1, sizeof(*to->sample_ns));
	if (to->sample_ns && n_samples) {
		memcpy(to->sample_ns, samples, n_samples * sizeof(*samples));
		to->n_sample_ns = n_samples;
	}
	return to;
}

static PB(SchedStat) * schedstat(struct arena *arena, const struct work_schedstat *stat)
{
	PB(SchedStat) *to = stat->known ? PB_NEW(arena, SchedStat, sched_stat) : NULL;
	if (!to)
		return NULL;
	to->cpu_ns = stat->cpu_ns;
	to->run_delay_ns = stat->run_delay_ns;
	to->timeslices = stat->timeslices;
	return to;
}

static PB(GapRunTime) * gap_run_time(struct arena *arena, const struct work_gap *gap)
{
	PB(GapRunTime) *to = gap->stolen_known ? PB_NEW(arena, GapRunTime, gap_run_time) : NULL;
	if (!to)
		return NULL;
	to->stolen_ns = MIN_OF(gap->stolen_ns, gap->ns);
	to->ns = gap->ns - to->stolen_ns;
	return to;
}

static char *set_text(struct arena *arena, const struct cpuset *set)
{
	char text[CPUSET_TEXT_BYTES];
	return arena_strdup(arena, cpuset_format(set, text, sizeof(text)));
}

static void add_part(struct arena *arena, PB(WorkerReport) * wire, const struct work_report *report,
	const struct work_part *part)
{
	PB(PhasePart) *to = PB_NEW(arena, PhasePart, phase_part);
	char *cpus = set_text(arena, &part->cpus_used);
	if (!to || !cpus)
		return;
	to->phase = part->phase;
	to->units = part->units;
	to->iterations = part->iterations;
	to->cpu_ns = part->cpu_ns;
	to->wall_ns = part->wall_ns;
	to->max_gap_ns = part->gap.ns;
	to->max_gap_at_ns = part->gap.at_ns;
	to->max_gap_cpu = part->gap.cpu;
	to->max_gap_run = gap_run_time(arena, &part->gap);
	to->migrations = part->migrations;
	to->cpus_used = cpus;
	to->voluntary_switches = part->switches.voluntary;
	to->involuntary_switches = part->switches.involuntary;
	to->schedstat = schedstat(arena, &part->schedstat);
	to->wake = distribution(arena, report, &part->dists[DIST_WAKE], NULL);
	to->timer = distribution(arena, report, &part->dists[DIST_TIMER], NULL);
	to->iteration_cost = distribution(arena, report, &part->dists[DIST_COST], NULL);
	to->request = distribution(arena, report, &part->dists[DIST_REQUEST], NULL);
	(void)ops_append(arena, &wire->phases, &wire->n_phases, to);
}

static void add_migration(
	struct arena *arena, PB(WorkerReport) * wire, const struct work_migration *migration)
{
	PB(Migration) *to = PB_NEW(arena, Migration, migration);
	if (!to)
		return;
	to->from_cpu = migration->from;
	to->to_cpu = migration->to;
	to->at_ns = migration->at_ns;
	to->phase = migration->phase;
	(void)ops_append(arena, &wire->migrated, &wire->n_migrated, to);
}

static void add_pages(struct arena *arena, PB(WorkerReport) * wire, const struct work_report *work)
{
	size_t nodes = WORK_NODES;
	while (nodes > 1 && !work->numa_pages[nodes - 1])
		nodes--;
	wire->numa_pages = work->has_pages ? arena_zalloc(arena, nodes, sizeof(*wire->numa_pages)) : NULL;
	if (!wire->numa_pages)
		return;
	memcpy(wire->numa_pages, work->numa_pages, nodes * sizeof(*wire->numa_pages));
	wire->n_numa_pages = nodes;
}

static void add_distributions(struct arena *arena, PB(WorkerReport) * wire, const struct work_report *work)
{
	PB(Distribution) * *const to[DISTS] = {
		[DIST_WAKE] = &wire->wake,
		[DIST_TIMER] = &wire->timer,
		[DIST_COST] = &wire->iteration_cost,
		[DIST_REQUEST] = &wire->request,
	};
	for (unsigned d = 0; work->buckets && d < DISTS; d++)
		*to[d] = distribution(arena, work, &work->dists[d], work->samples ? work->samples[d] : NULL);
}

PB(WorkerSample) * ops_worker_sample(struct arena *arena, const struct work *work, const char *cgroup)
{
	PB(WorkerSample) *to = PB_NEW(arena, WorkerSample, worker_sample);
	char *name = arena_strdup(arena, cgroup);
	struct work_sample sample;
	if (!to || !name)
		return NULL;
	work_sample(work, &sample);
	to->tid = work_tid(work);
	to->cgroup = name;
	to->units = sample.units;
	to->iterations = sample.iterations;
	to->cpu_ns = sample.cpu_ns;
	to->migrations = sample.migrations;
	to->cpu = sample.cpu;
	to->phase = sample.phase;
	to->work_type = (char *)work_type_name(work->type);
	to->comm = arena_strdup(arena, work->comm);
	to->pid = work_child((struct work *)work)->pid;
	return to->comm ? to : NULL;
}

static void add_trespass(struct arena *arena, PB(WorkerReport) * wire, const struct work_trespass *trespass)
{
	PB(Trespass) *to = PB_NEW(arena, Trespass, trespass);
	char *allowed = set_text(arena, &trespass->allowed);
	if (!to || !allowed)
		return;
	to->cpu = trespass->cpu;
	to->allowed = allowed;
	to->at_ns = trespass->at_ns;
	to->phase = trespass->phase;
	(void)ops_append(arena, &wire->trespasses, &wire->n_trespasses, to);
}

PB(WorkerReport) * ops_worker_report(struct arena *arena, const struct scene_worker_report *report)
{
	PB(WorkerReport) *wire = PB_NEW(arena, WorkerReport, worker_report);
	const struct work_report *work = &report->work;
	if (!wire)
		return NULL;
	wire->pid = work->pid;
	wire->tid = work->tid;
	wire->thread_group = ops_text(arena, work->thread_group);
	wire->comm = ops_text(arena, work->comm);
	wire->cgroup = arena_strdup(arena, report->cgroup);
	wire->work_type = arena_strdup(arena, work_type_name(work->type));
	wire->units = work->units;
	wire->iterations = work->iterations;
	wire->cpu_ns = work->cpu_ns;
	wire->wall_ns = work->wall_ns;
	wire->migrations = work->migrations;
	wire->cpus_used = set_text(arena, &work->cpus_used);
	wire->off_cpu_ns = work->wall_ns - MIN_OF(work->cpu_ns, work->wall_ns);
	wire->max_gap_ns = work->gap.ns;
	wire->max_gap_at_ns = work->gap.at_ns;
	wire->max_gap_cpu = work->gap.cpu;
	wire->max_gap_run = gap_run_time(arena, &work->gap);
	wire->voluntary_switches = work->switches.voluntary;
	wire->involuntary_switches = work->switches.involuntary;
	wire->schedstat = work->missing ? NULL : schedstat(arena, &work->schedstat);
	add_distributions(arena, wire, work);
	add_pages(arena, wire, work);
	wire->missing = work->missing;
	wire->exit = arena_strdup(arena, work->exit);
	wire->removed_mid_run = report->removed_mid_run;
	wire->started_phase = report->started_phase;
	wire->backdrop = report->backdrop;
	wire->wakeups = work->wakeups;
	wire->wake_max_ns = work->wake_max_ns;
	wire->wake_sum_ns = work->wake_sum_ns;
	for (unsigned i = 0; i < work->n_trespasses; i++)
		add_trespass(arena, wire, &work->trespasses[i]);
	for (unsigned i = 0; i < work->n_parts; i++)
		add_part(arena, wire, work, &work->parts[i]);
	for (unsigned i = 0; i < work->n_migrated; i++)
		add_migration(arena, wire, &work->migrated[i]);
	return wire->thread_group && wire->comm && wire->cgroup && wire->work_type && wire->cpus_used &&
			       wire->exit
		       ? wire
		       : NULL;
}
