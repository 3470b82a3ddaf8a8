/* SPDX-License-Identifier: GPL-2.0-only */
/* Descriptions on the wire as the rooms' plain values (see ops.h). The controller has validated them; what is
 * checked again here is what would be undefined or unbounded otherwise. */
#include "common/cpuspec.h"
#include "guest/ops/ops.h"

#include "proto/wire.h"
#include "proto/work_wire.h"

#include <math.h>
#include <string.h>

int ops_cpuset(
	const struct cpu_layout *layout, const PB(CpusetSpec) * spec, struct cpuset *ret_set, struct err *err)
{
	struct cpuspec plain = {0};
	int r = 0;
	switch (spec->form_case) {
	case SCHEDRIG__V1__CPUSET_SPEC__FORM_LLC:
		plain = (struct cpuspec){.kind = CPUSPEC_LLC, .index = spec->llc->index};
		break;
	case SCHEDRIG__V1__CPUSET_SPEC__FORM_NUMA:
		plain = (struct cpuspec){.kind = CPUSPEC_NUMA, .index = spec->numa->index};
		break;
	case SCHEDRIG__V1__CPUSET_SPEC__FORM_RANGE:
		plain = (struct cpuspec){
			.kind = CPUSPEC_RANGE, .start = spec->range->start, .end = spec->range->end};
		break;
	case SCHEDRIG__V1__CPUSET_SPEC__FORM_DISJOINT:
		plain = (struct cpuspec){.kind = CPUSPEC_DISJOINT,
			.index = spec->disjoint->index,
			.count = spec->disjoint->count};
		break;
	case SCHEDRIG__V1__CPUSET_SPEC__FORM_OVERLAP:
		plain = (struct cpuspec){.kind = CPUSPEC_OVERLAP,
			.index = spec->overlap->index,
			.count = spec->overlap->count,
			.fraction = spec->overlap->fraction};
		break;
	case SCHEDRIG__V1__CPUSET_SPEC__FORM_EXACT:
		plain.kind = CPUSPEC_EXACT;
		r = cpuset_parse(spec->exact->list, &plain.exact, err);
		break;
	case SCHEDRIG__V1__CPUSET_SPEC__FORM_EACH: /* the engine puts numbers in its place */
	case SCHEDRIG__V1__CPUSET_SPEC__FORM__NOT_SET:
	case _SCHEDRIG__V1__CPUSET_SPEC__FORM__CASE_IS_INT_SIZE:
		r = err_set(err, ERR_INVALID_ARGUMENT, "the set of CPUs has no form");
		break;
	}
	return r < 0 ? r : cpuspec_resolve(&plain, layout, ret_set, err);
}

int ops_affinity(const PB(AffinityIntent) * intent, struct affinity *affinity, struct err *err)
{
	*affinity = (struct affinity){.kind = AFFINITY_INHERIT};
	const PB(CpuSet) *from = NULL;
	switch (intent ? intent->form_case : SCHEDRIG__V1__AFFINITY_INTENT__FORM_INHERIT) {
	case SCHEDRIG__V1__AFFINITY_INTENT__FORM_INHERIT:
	case SCHEDRIG__V1__AFFINITY_INTENT__FORM__NOT_SET:
	case _SCHEDRIG__V1__AFFINITY_INTENT__FORM__CASE_IS_INT_SIZE:
		break;
	case SCHEDRIG__V1__AFFINITY_INTENT__FORM_RANDOM_SUBSET:
		affinity->kind = AFFINITY_RANDOM_SUBSET;
		affinity->count = intent->random_subset->count;
		from = intent->random_subset->from;
		break;
	case SCHEDRIG__V1__AFFINITY_INTENT__FORM_LLC_ALIGNED:
		affinity->kind = AFFINITY_LLC_ALIGNED;
		break;
	case SCHEDRIG__V1__AFFINITY_INTENT__FORM_CROSS_CGROUP:
		affinity->kind = AFFINITY_CROSS_CGROUP;
		break;
	case SCHEDRIG__V1__AFFINITY_INTENT__FORM_SINGLE_CPU:
		affinity->kind = AFFINITY_SINGLE_CPU;
		break;
	case SCHEDRIG__V1__AFFINITY_INTENT__FORM_SPREAD:
		affinity->kind = AFFINITY_SPREAD;
		break;
	case SCHEDRIG__V1__AFFINITY_INTENT__FORM_EXACT:
		affinity->kind = AFFINITY_EXACT;
		from = intent->exact;
		break;
	case SCHEDRIG__V1__AFFINITY_INTENT__FORM_SMT_SIBLING_PAIR:
		affinity->kind = AFFINITY_SMT_PAIR;
		affinity->per_worker = intent->smt_sibling_pair->per_worker;
		break;
	}
	affinity->has_from = from != NULL;
	return from ? cpuset_parse(from->list, &affinity->from, err) : 0;
}

static struct work_sched work_policy(const PB(SchedPolicy) * policy)
{
	struct work_sched sched = {.policy = WORK_NORMAL};
	switch (policy ? policy->form_case : SCHEDRIG__V1__SCHED_POLICY__FORM_NORMAL) {
	case SCHEDRIG__V1__SCHED_POLICY__FORM_NORMAL:
	case SCHEDRIG__V1__SCHED_POLICY__FORM__NOT_SET:
	case _SCHEDRIG__V1__SCHED_POLICY__FORM__CASE_IS_INT_SIZE:
		break;
	case SCHEDRIG__V1__SCHED_POLICY__FORM_BATCH:
		sched.policy = WORK_BATCH;
		break;
	case SCHEDRIG__V1__SCHED_POLICY__FORM_IDLE:
		sched.policy = WORK_IDLE;
		break;
	case SCHEDRIG__V1__SCHED_POLICY__FORM_FIFO:
		sched = (struct work_sched){.policy = WORK_FIFO, .priority = policy->fifo->priority};
		break;
	case SCHEDRIG__V1__SCHED_POLICY__FORM_ROUND_ROBIN:
		sched = (struct work_sched){
			.policy = WORK_ROUND_ROBIN, .priority = policy->round_robin->priority};
		break;
	case SCHEDRIG__V1__SCHED_POLICY__FORM_DEADLINE:
		sched.policy = WORK_DEADLINE;
		sched.runtime_ns = policy->deadline->runtime ? policy->deadline->runtime->ns : 0;
		sched.deadline_ns = policy->deadline->deadline ? policy->deadline->deadline->ns : 0;
		sched.period_ns = policy->deadline->period ? policy->deadline->period->ns : 0;
		break;
	case SCHEDRIG__V1__SCHED_POLICY__FORM_EXT:
		sched.policy = WORK_EXT;
		break;
	}
	return sched;
}

/* The agent alone runs at 99. */
static int check_policy(const struct work_sched *sched, struct err *err)
{
	bool realtime = sched->policy == WORK_FIFO || sched->policy == WORK_ROUND_ROBIN;
	if (realtime && (sched->priority < 1 || sched->priority > 98))
		return err_set(err, ERR_INVALID_ARGUMENT, "a priority is 1 to 98, not %u", sched->priority);
	return 0;
}

static int work_count(struct op_run *run, const PB(WorkSpec) * spec, const char *cgroup, unsigned *ret_count,
	struct err *err)
{
	if (spec && spec->workers && spec->workers_pct)
		return err_set(err, ERR_INVALID_ARGUMENT, "workers and workers_pct exclude each other");
	*ret_count = run->begin && run->begin->workers_per_cgroup ? run->begin->workers_per_cgroup : 1;
	if (spec && spec->workers)
		*ret_count = spec->workers->value;
	if (!spec || !spec->workers_pct)
		return 0;
	if (!cgroup)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"workers_pct needs a cgroup: there is nothing to take a percentage of in the runner "
			"cgroup");
	struct cpuset pool;
	if (!scene_recorded(run->scene, &run->call, cgroup, &pool))
		pool = cpu_layout_usable(scene_layout(run->scene));
	double count = ceil(cpuset_count(&pool) * spec->workers_pct->value);
	if (!(count > 0) || count > LIMIT_WORKERS)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"workers_pct %g of %u CPUs is no number of workers (1 to %u)",
			spec->workers_pct->value, cpuset_count(&pool), LIMIT_WORKERS);
	*ret_count = (unsigned)count;
	return 0;
}

int ops_mem_policy(const PB(MemPolicy) * policy, struct work_mem *mem, struct err *err)
{
	const PB(CpuSet) *nodes = NULL;
	*mem = (struct work_mem){
		.static_nodes = policy->static_nodes,
		.relative_nodes = policy->relative_nodes,
		.numa_balancing = policy->numa_balancing,
	};
	switch (policy->form_case) {
	case SCHEDRIG__V1__MEM_POLICY__FORM_DEFAULT:
		mem->kind = WORK_MEM_DEFAULT;
		return 0;
	case SCHEDRIG__V1__MEM_POLICY__FORM_LOCAL:
		mem->kind = WORK_MEM_LOCAL;
		return 0;
	case SCHEDRIG__V1__MEM_POLICY__FORM_BIND:
		mem->kind = WORK_MEM_BIND;
		nodes = policy->bind;
		break;
	case SCHEDRIG__V1__MEM_POLICY__FORM_PREFERRED:
		mem->kind = WORK_MEM_PREFERRED;
		nodes = policy->preferred;
		break;
	case SCHEDRIG__V1__MEM_POLICY__FORM_PREFERRED_MANY:
		mem->kind = WORK_MEM_PREFERRED_MANY;
		nodes = policy->preferred_many;
		break;
	case SCHEDRIG__V1__MEM_POLICY__FORM_INTERLEAVE:
		mem->kind = WORK_MEM_INTERLEAVE;
		nodes = policy->interleave;
		break;
	case SCHEDRIG__V1__MEM_POLICY__FORM_WEIGHTED_INTERLEAVE:
		mem->kind = WORK_MEM_WEIGHTED_INTERLEAVE;
		nodes = policy->weighted_interleave;
		break;
	case SCHEDRIG__V1__MEM_POLICY__FORM__NOT_SET:
	case _SCHEDRIG__V1__MEM_POLICY__FORM__CASE_IS_INT_SIZE:
		return err_set(err, ERR_INVALID_ARGUMENT, "mem_policy has no form");
	}
	return cpuset_parse(nodes->list, &mem->nodes, err);
}

int ops_work(struct op_run *run, const PB(WorkSpec) * spec, const char *cgroup,
	const struct op_defaults *defaults, struct scene_spawn *spawn, struct err *err)
{
	const PB(CgroupDef) *def = defaults ? defaults->def : NULL;
	const PB(WorkType) *type = defaults && defaults->type ? defaults->type
				   : spec                     ? spec->work_type
							      : NULL;
	const PB(Int32Value) *nice = spec && spec->nice ? spec->nice : def ? def->nice : NULL;
	const PB(Uint32Value) *uid = spec && spec->uid ? spec->uid : def ? def->uid : NULL;
	const PB(Uint32Value) *gid = spec && spec->gid ? spec->gid : def ? def->gid : NULL;
	const char *comm = spec && *spec->comm ? spec->comm : def ? def->comm : "";
	const PB(Uint32Value) *node = spec && spec->numa_node ? spec->numa_node : def ? def->numa_node : NULL;
	*spawn = (struct scene_spawn){.cgroup = cgroup};
	if (node) {
		spawn->has_numa_node = true;
		spawn->numa_node = node->value;
	}
	if (spec)
		strncpy(spawn->work.thread_group, spec->thread_group, sizeof(spawn->work.thread_group) - 1);
	spawn->work.sched = work_policy(spec ? spec->policy : NULL);
	if (nice) {
		spawn->work.has_nice = true;
		spawn->work.nice = nice->value;
	}
	if (uid) {
		spawn->work.has_uid = true;
		spawn->work.uid = uid->value;
	}
	if (gid) {
		spawn->work.has_gid = true;
		spawn->work.gid = gid->value;
	}
	if (spec && spec->uptime)
		spawn->work.uptime_ns = spec->uptime->ns;
	strncpy(spawn->work.comm, comm, sizeof(spawn->work.comm) - 1);
	int r = work_params_read(type, &spawn->work.params, err);
	if (r == 0 && spec && spec->mem_policy)
		r = ops_mem_policy(spec->mem_policy, &spawn->work.mem, err);
	if (r == 0 && spawn->work.params.type == WORK_CUSTOM)
		r = ops_custom(run, &spawn->work, err);
	if (r == 0)
		r = check_policy(&spawn->work.sched, err);
	if (r == 0)
		r = ops_affinity(spec ? spec->affinity : NULL, &spawn->affinity, err);
	return r < 0 ? r : work_count(run, spec, cgroup, &spawn->count, err);
}
