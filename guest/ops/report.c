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

/* A proto string is UTF-8: bytes that are not would make the whole message unreadable to some clients. */
static char *text_of(struct arena *arena, const char *bytes)
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
	wire->stdout_tail = text_of(arena, report->tail[0]);
	wire->stderr_tail = arena_strdup(arena, "");
	wire->stdout_bytes = report->bytes[0];
	wire->stderr_bytes = report->bytes[1];
	wire->output_id = report->output_id;
	if (report->has_exit_check && wire->exit_code != report->exit_check) {
		char *failed = arena_printf(arena, "payload `%s` should have exited with %d, but: %s",
			report->name, report->exit_check, wire->exit ? wire->exit : "");
		wire->stderr_tail = text_of(arena, report->tail[1]);
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

static char *set_text(struct arena *arena, const struct cpuset *set)
{
	char text[CPUSET_TEXT_BYTES];
	return arena_strdup(arena, cpuset_format(set, text, sizeof(text)));
}

static void add_part(struct arena *arena, PB(WorkerReport) * wire, const struct work_part *part)
{
	PB(PhasePart) *to = PB_NEW(arena, PhasePart, phase_part);
	if (!to)
		return;
	to->phase = part->phase;
	to->units = part->units;
	to->iterations = part->iterations;
	to->cpu_ns = part->cpu_ns;
	to->wall_ns = part->wall_ns;
	to->max_gap_ns = part->max_gap_ns;
	to->migrations = part->migrations;
	(void)ops_append(arena, &wire->phases, &wire->n_phases, to);
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
	wire->comm = text_of(arena, work->comm);
	wire->cgroup = arena_strdup(arena, report->cgroup);
	wire->work_type = arena_strdup(arena, work_type_name(work->type));
	wire->units = work->units;
	wire->iterations = work->iterations;
	wire->cpu_ns = work->cpu_ns;
	wire->wall_ns = work->wall_ns;
	wire->migrations = work->migrations;
	wire->cpus_used = set_text(arena, &work->cpus_used);
	wire->max_gap_ns = work->max_gap_ns;
	wire->max_gap_at_ns = work->max_gap_at_ns;
	wire->max_gap_cpu = work->max_gap_cpu;
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
		add_part(arena, wire, &work->parts[i]);
	return wire->comm && wire->cgroup && wire->work_type && wire->cpus_used && wire->exit ? wire : NULL;
}
