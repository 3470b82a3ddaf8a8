/* SPDX-License-Identifier: GPL-2.0-only */
/* Ops on workers and payloads (see ops.h). Lane threads. */
#include "guest/ops/ops.h"

#include "common/clock.h"
#include "common/scope.h"
#include "guest/child/identity.h"
#include "proto/wire.h"

#include <stdlib.h>
#include <string.h>

static int add_pids(struct op_run *run, const pid_t *pids, size_t count, struct err *err)
{
	PB(OpResult) *result = run->result;
	int32_t *all = arena_zalloc(run->arena, result->n_pids + count, sizeof(*all));
	if (!all)
		return err_set(err, ERR_LIMIT_EXCEEDED, "the results of this request are too large");
	if (result->n_pids)
		memcpy(all, result->pids, result->n_pids * sizeof(*all));
	for (size_t i = 0; i < count; i++)
		all[result->n_pids + i] = pids[i];
	result->pids = all;
	result->n_pids += count;
	return 0;
}

/* Who they are, for the controller to make them older. */
static int add_held(struct op_run *run, const pid_t *pids, size_t count, uint64_t uptime_ns, struct err *err)
{
	PB(OpResult) *result = run->result;
	for (size_t i = 0; i < count; i++) {
		struct child_identity identity;
		int r = child_identify(pids[i], &identity, err);
		if (r < 0)
			return r;
		PB(HeldWorker) *held = PB_NEW(run->arena, HeldWorker, held_worker);
		PB(Duration) *uptime = PB_NEW(run->arena, Duration, duration);
		if (!held || !uptime || !ops_append(run->arena, &result->held, &result->n_held, held))
			return err_set(err, ERR_LIMIT_EXCEEDED, "the results of this request are too large");
		uptime->ns = uptime_ns;
		held->pid = pids[i];
		held->pidfs_inode = identity.pidfs_inode;
		held->start_time_ns = identity.start_time_ns;
		held->uptime = uptime;
	}
	return 0;
}

int ops_spawn(struct op_run *run, const struct scene_spawn *spawns, unsigned n_spawns, struct err *err)
{
	uint64_t count = 0;
	for (unsigned i = 0; i < n_spawns; i++)
		count += spawns[i].count;
	/* One more than asked for: a count of 0 is refused by the scene, with its own words. */
	pid_t *pids = count <= LIMIT_WORKERS ? arena_zalloc(run->arena, count + 1, sizeof(*pids)) : NULL;
	if (!pids)
		return err_set(err, ERR_LIMIT_EXCEEDED, "%llu workers are too many for one op (at most %u)",
			(unsigned long long)count, LIMIT_WORKERS);
	int r = scene_spawn(run->scene, &run->call, spawns, n_spawns, pids, err);
	if (r == 0)
		r = add_pids(run, pids, count, err);
	const pid_t *at = pids;
	for (unsigned i = 0; r == 0 && i < n_spawns; at += spawns[i++].count)
		if (spawns[i].work.uptime_ns)
			r = add_held(run, at, spawns[i].count, spawns[i].work.uptime_ns, err);
	return r;
}

int op_spawn(struct op_run *run, const PB(Spawn) * op, struct err *err)
{
	const char *cgroup = NULL;
	struct scene_spawn spawn;
	switch (op->placement_case) {
	case SCHEDRIG__V1__SPAWN__PLACEMENT_CGROUP:
		cgroup = op->cgroup->name;
		break;
	case SCHEDRIG__V1__SPAWN__PLACEMENT_RUNNER_CGROUP:
		break;
	case SCHEDRIG__V1__SPAWN__PLACEMENT__NOT_SET:
	case _SCHEDRIG__V1__SPAWN__PLACEMENT__CASE_IS_INT_SIZE:
		return err_set(err, ERR_INVALID_ARGUMENT, "Spawn needs a placement: cgroup or runner_cgroup");
	}
	int r = ops_work(run, op->work, cgroup, NULL, &spawn, err);
	if (r == 0 && spawn.work.thread_group[0])
		return err_set(err, ERR_INVALID_ARGUMENT,
			"thread groups are made in a cgroup's definition: spawn starts workers of their own");
	return r < 0 ? r : ops_spawn(run, &spawn, 1, err);
}

int op_stop_cgroup(struct op_run *run, const PB(StopCgroup) * op, struct err *err)
{
	bool keep = !op->keep_reports || op->keep_reports->value;
	return scene_stop_cgroup(run->scene, &run->call, op->cgroup, keep, err);
}

int op_set_affinity(struct op_run *run, const PB(SetAffinity) * op, struct err *err)
{
	struct affinity affinity;
	int r = ops_affinity(op->affinity, &affinity, err);
	return r < 0 ? r : scene_set_affinity(run->scene, &run->call, op->cgroup, &affinity, err);
}

/* --- payloads --- */

static const PB(Payload) * find_payload(const struct op_run *run, const char *name)
{
	for (size_t i = 0; i < run->n_payloads; i++)
		if (!strcmp(run->payloads[i]->name, name))
			return run->payloads[i];
	for (size_t i = 0; run->begin && i < run->begin->n_payloads; i++)
		if (!strcmp(run->begin->payloads[i]->name, name))
			return run->begin->payloads[i];
	return NULL;
}

static char **arguments(
	struct arena *arena, char *program, const PB(Payload) * payload, const PB(RunPayload) * op)
{
	size_t n_default = payload ? payload->n_default_args : 0, n = 0;
	char **argv = arena_zalloc(arena, n_default + op->n_args + 2, sizeof(*argv));
	if (!argv)
		return NULL;
	argv[n++] = program;
	for (size_t i = 0; i < n_default; i++)
		argv[n++] = payload->default_args[i];
	for (size_t i = 0; i < op->n_args; i++)
		argv[n++] = op->args[i];
	return argv;
}

int ops_custom(struct op_run *run, struct work_spec *work, struct err *err)
{
	const PB(Payload) *payload = find_payload(run, work->params.name);
	if (!payload)
		return err_set(err, ERR_NOT_FOUND, "the scenario defines no payload `%s`", work->params.name);
	PB(RunPayload)
	op = {.args = (char **)work->params.args, .n_args = work->params.n_args};
	work->program = payload->program;
	work->argv = arguments(run->arena, payload->program, payload, &op);
	return work->argv ? 0
			  : err_set(err, ERR_LIMIT_EXCEEDED, "payload `%s` has too many arguments",
				    work->params.name);
}

int ops_run_payload(struct op_run *run, const PB(RunPayload) * op, const char *cgroup, struct err *err)
{
	const PB(Payload) *payload = find_payload(run, op->payload);
	if (!*op->payload || strlen(op->payload) > LIMIT_NAME_BYTES)
		return err_set(
			err, ERR_INVALID_ARGUMENT, "a payload's name has 1 to %u bytes", LIMIT_NAME_BYTES);
	if (!payload && !run->call.adhoc)
		return err_set(err, ERR_NOT_FOUND, "the scenario defines no payload `%s`", op->payload);
	/* An ad-hoc op may name a staged program itself. */
	struct scene_payload plain = {
		.name = op->payload,
		.cgroup = cgroup,
		.program = payload ? payload->program : op->payload,
		.outlive_step = op->outlive_step,
	};
	plain.argv = arguments(run->arena, (char *)plain.program, payload, op);
	if (!plain.argv)
		return err_set(err, ERR_LIMIT_EXCEEDED, "payload `%s` has too many arguments", op->payload);
	for (size_t i = 0; payload && i < payload->n_checks; i++)
		if (payload->checks[i]->form_case == SCHEDRIG__V1__CHECK__FORM_EXIT_CODE_EQ) {
			plain.has_exit_check = true;
			plain.exit_required =
				!payload->checks[i]->required || payload->checks[i]->required->value;
			plain.exit_stops = payload->checks[i]->stop;
			plain.exit_check = payload->checks[i]->exit_code_eq->code;
		}
	pid_t pid;
	int r = scene_run_payload(run->scene, &run->call, &plain, &pid, err);
	return r < 0 ? r : add_pids(run, &pid, 1, err);
}

int op_run_payload(struct op_run *run, const PB(RunPayload) * op, struct err *err)
{
	return ops_run_payload(run, op, op->cgroup ? op->cgroup->name : "", err);
}

static int report_payload(struct op_run *run, int r, struct scene_payload_report *report, struct err *err)
{
	if (r < 0)
		return r;
	run->result->payload = ops_payload_report(run->arena, report);
	free(report);
	return run->result->payload
		       ? 0
		       : err_set(err, ERR_LIMIT_EXCEEDED, "the results of this request are too large");
}

int op_wait_payload(struct op_run *run, const PB(WaitPayload) * op, struct err *err)
{
	struct scene_payload_report *report = NULL;
	/* Its own time, else the op's, else the scenario's end: the default of other ops is too short here.
	 */
	if (op->timeout)
		run->call.deadline_ns = clock_deadline_ns(op->timeout->ns);
	else if (!run->own_timeout)
		run->call.deadline_ns = CLOCK_NEVER_NS;
	run->call.deadline_ns = MIN_OF(run->call.deadline_ns, run->request_deadline_ns);
	int r = scene_wait_payload(
		run->scene, &run->call, op->name, op->cgroup ? op->cgroup->name : NULL, &report, err);
	return report_payload(run, r, report, err);
}

int op_kill_payload(struct op_run *run, const PB(KillPayload) * op, struct err *err)
{
	struct scene_payload_report *report = NULL;
	int r = scene_kill_payload(
		run->scene, &run->call, op->name, op->cgroup ? op->cgroup->name : NULL, &report, err);
	return report_payload(run, r, report, err);
}
