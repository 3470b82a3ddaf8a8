/* SPDX-License-Identifier: GPL-2.0-only */
/* Ops on cgroups (see ops.h). Lane threads. */
#include "guest/ops/ops.h"

#include "common/scope.h"

#include <stdlib.h>
#include <string.h>

int op_add_cgroup(struct op_run *run, const PB(AddCgroup) * op, struct err *err)
{
	return scene_add_cgroup(run->scene, &run->call, op->name, err);
}

int op_remove_cgroup(struct op_run *run, const PB(RemoveCgroup) * op, struct err *err)
{
	return scene_remove_cgroup(run->scene, &run->call, op->cgroup, err);
}

static int set_cpuset(struct op_run *run, const char *cgroup, const struct cpuset *set, struct err *err)
{
	struct scene_cpus *cpus = arena_alloc(run->arena, sizeof(*cpus));
	PB(CpusetOutcome) *outcome = PB_NEW(run->arena, CpusetOutcome, cpuset_outcome);
	if (!cpus || !outcome)
		return err_set(err, ERR_LIMIT_EXCEEDED, "the results of this request are too large");
	int r = scene_set_cpuset(run->scene, &run->call, cgroup, set, cpus, err);
	if (r == 0) {
		outcome->cpus = cpus->cpus;
		outcome->effective = cpus->effective;
		run->result->cpuset = outcome;
	}
	return r;
}

int op_set_cpuset(struct op_run *run, const PB(SetCpuset) * op, struct err *err)
{
	struct cpuset set;
	if (!op->cpus)
		return err_set(err, ERR_INVALID_ARGUMENT, "SetCpuset needs cpus");
	int r = ops_cpuset(scene_layout(run->scene), op->cpus, &set, err);
	if (r < 0) {
		err_at(err, "cpus");
		return r;
	}
	return set_cpuset(run, op->cgroup, &set, err);
}

int op_clear_cpuset(struct op_run *run, const PB(ClearCpuset) * op, struct err *err)
{
	return set_cpuset(run, op->cgroup, NULL, err);
}

int op_swap_cpusets(struct op_run *run, const PB(SwapCpusets) * op, struct err *err)
{
	return scene_swap_cpusets(run->scene, &run->call, op->a, op->b, err);
}

int op_freeze_cgroup(struct op_run *run, const PB(FreezeCgroup) * op, struct err *err)
{
	return scene_freeze(run->scene, &run->call, op->cgroup, true, !op->wait || op->wait->value, err);
}

int op_unfreeze_cgroup(struct op_run *run, const PB(UnfreezeCgroup) * op, struct err *err)
{
	return scene_freeze(run->scene, &run->call, op->cgroup, false, !op->wait || op->wait->value, err);
}

static int32_t *ids_of(struct arena *arena, const pid_t *ids, size_t count)
{
	int32_t *copy = arena_zalloc(arena, count + 1, sizeof(*copy));
	for (size_t i = 0; copy && i < count; i++)
		copy[i] = ids[i];
	return copy;
}

int op_capture_cgroup_procs(struct op_run *run, const PB(CaptureCgroupProcs) * op, struct err *err)
{
	if (!*op->tag)
		return err_set(err, ERR_INVALID_ARGUMENT, "CaptureCgroupProcs needs a tag");
	_cleanup_free_ pid_t *pids = NULL, *tids = NULL;
	size_t n_pids = 0, n_tids = 0;
	int r = scene_procs(run->scene, &run->call, op->cgroup, op->recursive, &pids, &n_pids,
		op->threads ? &tids : NULL, &n_tids, err);
	if (r < 0)
		return r;
	PB(ProcsCapture) *procs = PB_NEW(run->arena, ProcsCapture, procs_capture);
	if (procs) {
		procs->tag = arena_strdup(run->arena, op->tag);
		procs->cgroup = arena_strdup(run->arena, op->cgroup);
		procs->pids = ids_of(run->arena, pids, n_pids);
		procs->tids = ids_of(run->arena, tids, n_tids);
	}
	if (!procs || !procs->tag || !procs->cgroup || !procs->pids || !procs->tids)
		return err_set(err, ERR_LIMIT_EXCEEDED, "the results of this request are too large");
	procs->n_pids = n_pids;
	procs->n_tids = n_tids;
	procs->phase = run->phase;
	procs->pass = run->pass;
	run->result->procs = procs;
	return 0;
}

int op_move_all_tasks(struct op_run *run, const PB(MoveAllTasks) * op, struct err *err)
{
	_cleanup_(scene_moved_deinit) struct scene_moved moved = {0};
	int r = scene_move_tasks(run->scene, &run->call, op->from, op->to, op->untracked, &moved, err);
	if (r < 0)
		return r;
	PB(MoveOutcome) *outcome = PB_NEW(run->arena, MoveOutcome, move_outcome);
	if (outcome) {
		outcome->moved = ids_of(run->arena, moved.pids, moved.n_pids);
		outcome->untracked = ids_of(run->arena, moved.untracked, moved.n_untracked);
	}
	if (!outcome || !outcome->moved || !outcome->untracked)
		return err_set(err, ERR_LIMIT_EXCEEDED, "the results of this request are too large");
	outcome->n_moved = moved.n_pids;
	outcome->n_untracked = moved.n_untracked;
	outcome->exited = moved.exited;
	outcome->tries = moved.tries;
	run->result->move = outcome;
	return 0;
}

/* --- definitions, in the order of spec/3 3.1 --- */

static int def_knobs(struct op_run *run, const PB(CgroupDef) * def, struct err *err)
{
	struct cg_knobs knobs;
	struct cpuset set;
	int r = 0;
	if (def->cpuset) {
		r = ops_cpuset(scene_layout(run->scene), def->cpuset, &set, err);
		if (r < 0)
			err_at(err, "cpuset");
		else
			r = set_cpuset(run, def->name, &set, err);
	}
	if (r == 0 && def->cpuset_mems) {
		r = cpuset_parse(def->cpuset_mems->list, &set, err);
		if (r == 0)
			r = scene_set_mems(run->scene, &run->call, def->name, &set, err);
	}
	if (r == 0)
		r = ops_knobs(def->cpu, def->memory, def->pids, def->io, &knobs, err);
	return r < 0 ? r : scene_set_knobs(run->scene, &run->call, def->name, &knobs, NULL, err);
}

/* All of the definition's work specs of the thread group of number `first`. */
static int def_threads(struct op_run *run, const PB(CgroupDef) * def, const struct op_defaults *defaults,
	size_t first, struct err *err)
{
	const char *name = def->work[first]->thread_group;
	struct scene_spawn *spawns = arena_zalloc(run->arena, def->n_work, sizeof(*spawns));
	unsigned n = 0;
	if (!spawns)
		return err_set(err, ERR_LIMIT_EXCEEDED, "thread group `%s` is too large", name);
	for (size_t i = 0; i < def->n_work; i++) {
		if (strcmp(def->work[i]->thread_group, name) != 0)
			continue;
		if (i < first)
			return 0; /* made with that one */
		int r = ops_work(run, def->work[i], def->name, defaults, &spawns[n++], err);
		if (r < 0) {
			err_at(err, "work[%zu]", i);
			return r;
		}
	}
	int r = ops_spawn(run, spawns, n, err);
	if (r < 0)
		err_at(err, "work[%zu]", first);
	return r;
}

/* Workers that are processes, then thread groups. */
static int def_workers(struct op_run *run, const PB(CgroupDef) * def, struct err *err)
{
	const struct op_defaults defaults = {
		.type = def->swappable && run->begin ? run->begin->work_type_override : NULL, .def = def};
	size_t count = def->n_work ? def->n_work : !def->empty;
	for (size_t i = 0; i < count; i++) {
		struct scene_spawn spawn;
		const PB(WorkSpec) *work = def->n_work ? def->work[i] : NULL;
		if (work && *work->thread_group)
			continue;
		int r = ops_work(run, work, def->name, &defaults, &spawn, err);
		if (r == 0)
			r = ops_spawn(run, &spawn, 1, err);
		if (r < 0) {
			err_at(err, "work[%zu]", i);
			return r;
		}
	}
	for (size_t i = 0; i < def->n_work; i++) {
		int r = *def->work[i]->thread_group ? def_threads(run, def, &defaults, i, err) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

int op_add_cgroup_def(struct op_run *run, const PB(AddCgroupDef) * op, struct err *err)
{
	const PB(CgroupDef) *def = op->def;
	if (!def)
		return err_set(err, ERR_INVALID_ARGUMENT, "AddCgroupDef needs a definition");
	int r = scene_add_cgroup(run->scene, &run->call, def->name, err);
	if (r == 0)
		r = def_knobs(run, def, err);
	if (r == 0)
		r = def_workers(run, def, err);
	for (size_t i = 0; r == 0 && i < def->n_payloads; i++) {
		r = ops_run_payload(run, def->payloads[i], def->name, err);
		if (r < 0)
			err_at(err, "payloads[%zu]", i);
	}
	return r;
}
