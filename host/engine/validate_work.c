/* SPDX-License-Identifier: GPL-2.0-only */
/* Work specs: types, counts, policies, affinities. Pure. */
#include "host/engine/validate.h"
#include "proto/wire.h"
#include "proto/work_wire.h"

#include <math.h>
#include <string.h>

void check_comm_and_nice(struct check *check, const char *comm, const Schedrig__V1__Int32Value *nice)
{
	if (strlen(comm) > LIMIT_COMM_BYTES)
		check_bad(check, ERR_INVALID_ARGUMENT, "comm",
			"'%.40s' is longer than the %u bytes that the kernel keeps", comm, LIMIT_COMM_BYTES);
	if (nice && (nice->value < -20 || nice->value > 19))
		check_bad(check, ERR_INVALID_ARGUMENT, "nice", "nice %d is not in -20..19", nice->value);
}

bool check_work_type(struct check *check, const Schedrig__V1__WorkType *type, const char *field,
	struct work_params *ret_params)
{
	struct err err = ERR_INIT;
	int r = work_params_read(type, ret_params, &err);
	if (r < 0)
		check_bad(check, err.code, field, "%s", err.message);
	return r == 0;
}

static void check_priority(struct check *check, const Schedrig__V1__SchedPriority *priority)
{
	if (priority->priority < 1 || priority->priority > 98)
		check_bad(check, ERR_INVALID_ARGUMENT, "policy.priority", "priority %u is not in 1..98%s",
			priority->priority,
			priority->priority == 99 ? " (99 is left to the kernel's own threads)" : "");
}

static void check_deadline(struct check *check, const Schedrig__V1__SchedDeadline *d, bool narrowed)
{
	uint64_t runtime = d->runtime ? d->runtime->ns : 0, deadline = d->deadline ? d->deadline->ns : 0,
		 period = d->period ? d->period->ns : 0;
	if (runtime < 1024)
		check_bad(check, ERR_INVALID_ARGUMENT, "policy.runtime", "the runtime is at least 1024 ns");
	if (deadline < runtime)
		check_bad(check, ERR_INVALID_ARGUMENT, "policy.deadline",
			"the deadline is shorter than the runtime");
	if (period < deadline)
		check_bad(check, ERR_INVALID_ARGUMENT, "policy.period",
			"the period is shorter than the deadline");
	if (narrowed)
		check_bad(check, ERR_INVALID_ARGUMENT, "policy",
			"deadline workers must be allowed on every CPU: the kernel refuses them in a "
			"narrower cpuset or "
			"affinity");
}

static bool has_smt_pair(const struct cpu_layout *layout, const struct cpuset *pool)
{
	for (unsigned core = 0; core < layout->n_cores; core++) {
		struct cpuset threads = cpu_layout_core(layout, core);
		threads = cpuset_and(&threads, pool);
		if (cpuset_count(&threads) >= 2)
			return true;
	}
	return false;
}

void check_affinity(
	struct check *check, const Schedrig__V1__AffinityIntent *affinity, const struct cpuset *pool)
{
	struct cpuset set;
	bool read = false;
	switch (affinity->form_case) {
	case SCHEDRIG__V1__AFFINITY_INTENT__FORM__NOT_SET:
		check_bad(check, ERR_INVALID_ARGUMENT, "affinity",
			"no affinity is given: one of inherit, random_subset, llc_aligned, cross_cgroup, "
			"single_cpu, spread, "
			"exact, smt_sibling_pair");
		return;
	case SCHEDRIG__V1__AFFINITY_INTENT__FORM_RANDOM_SUBSET:
		if (affinity->random_subset->count == 0)
			check_bad(check, ERR_INVALID_ARGUMENT, "affinity.count",
				"a random subset of 0 CPUs is none");
		if (!affinity->random_subset->from)
			return;
		read = check_list_text(check, affinity->random_subset->from->list, "affinity.from", &set);
		break;
	case SCHEDRIG__V1__AFFINITY_INTENT__FORM_EXACT:
		read = check_list_text(check, affinity->exact->list, "affinity", &set);
		break;
	case SCHEDRIG__V1__AFFINITY_INTENT__FORM_SMT_SIBLING_PAIR:
		if (pool && check->layout && !has_smt_pair(check->layout, pool))
			check_bad(check, ERR_INVALID_ARGUMENT, "affinity",
				"no core has two threads among the workers' CPUs");
		return;
	default:
		return;
	}
	if (!read)
		return;
	if (cpuset_is_empty(&set)) {
		check_bad(check, ERR_INVALID_ARGUMENT, "affinity", "the CPU set is empty");
	} else if (pool) {
		struct cpuset both = cpuset_and(&set, pool);
		char text[128];
		if (cpuset_is_empty(&both))
			check_bad(check, ERR_INVALID_ARGUMENT, "affinity",
				"none of these CPUs is among the workers' %s",
				cpuset_format(pool, text, sizeof(text)));
	}
}

/* How many workers it comes to; 0: wrong, or not known here. */
static uint64_t check_count(
	struct check *check, const Schedrig__V1__WorkSpec *work, const struct cpuset *pool, bool in_runner)
{
	const Schedrig__V1__DoubleValue *pct = work->workers_pct;
	if (pct && work->workers) {
		check_bad(check, ERR_INVALID_ARGUMENT, "workers_pct",
			"workers and workers_pct are both given: only one can be");
		return 0;
	}
	if (pct && in_runner) {
		check_bad(check, ERR_INVALID_ARGUMENT, "workers_pct",
			"the runner cgroup has no cpuset to take a percentage of: give `workers`");
		return 0;
	}
	if (pct && (!isfinite(pct->value) || pct->value <= 0)) {
		check_bad(check, ERR_INVALID_ARGUMENT, "workers_pct",
			"workers_pct %g is not a number above 0", pct->value);
		return 0;
	}
	if (work->workers && work->workers->value == 0) {
		check_bad(check, ERR_INVALID_ARGUMENT, "workers",
			"0 workers: leave the work out, or give the cgroup `empty: true`");
		return 0;
	}
	double n = check->workers_default;
	if (pct && !pool)
		return 0;
	if (pct)
		n = ceil(cpuset_count(pool) * pct->value);
	else if (work->workers)
		n = work->workers->value;
	if (n > LIMIT_WORKERS) {
		check_bad(check, ERR_LIMIT_EXCEEDED, pct ? "workers_pct" : "workers",
			"%.0f workers: at most %u are possible", n, LIMIT_WORKERS);
		return 0;
	}
	return (uint64_t)n;
}

/* What the agent refuses when it comes to it, or the controller has no room for. */
static void count_workers(struct check *check, uint64_t n)
{
	/* An op that is to fail starts none. */
	if (check->adhoc || check->waived != ERR_NONE)
		return;
	check->workers += n;
	if (check->workers > LIMIT_SCENARIO_WORKERS && !*check->workers_place)
		memcpy(check->workers_place, check->place, sizeof(check->workers_place));
	*(check->backdrop ? &check->workers_backdrop : &check->workers_step) += n;
	size_t at_once = check->workers_backdrop + check->workers_step;
	if (at_once <= LIMIT_WORKERS || check->workers_stop || check->workers_told)
		return;
	check->workers_told = true;
	check_bad(check, ERR_LIMIT_EXCEEDED, NULL,
		"with these, %zu workers are there at once: at most %u are possible", at_once, LIMIT_WORKERS);
}

static void check_group(struct check *check, const struct work_params *params, uint64_t n)
{
	uint64_t size = work_group_size(params);
	if (n % size == 0)
		return;
	if (size == 2)
		check_bad(check, ERR_INVALID_ARGUMENT, "workers",
			"%s works in pairs: %llu is not a multiple of 2", work_type_name(params->type),
			(unsigned long long)n);
	else
		check_bad(check, ERR_INVALID_ARGUMENT, "workers",
			"%s works in groups of %llu: %llu is not a multiple of it",
			work_type_name(params->type), (unsigned long long)size, (unsigned long long)n);
}

/* Nodes that policies of this kind need; NULL: none. */
static const Schedrig__V1__CpuSet *mem_nodes(const Schedrig__V1__MemPolicy *policy)
{
	switch (policy->form_case) {
	case SCHEDRIG__V1__MEM_POLICY__FORM_BIND:
		return policy->bind;
	case SCHEDRIG__V1__MEM_POLICY__FORM_PREFERRED:
		return policy->preferred;
	case SCHEDRIG__V1__MEM_POLICY__FORM_PREFERRED_MANY:
		return policy->preferred_many;
	case SCHEDRIG__V1__MEM_POLICY__FORM_INTERLEAVE:
		return policy->interleave;
	case SCHEDRIG__V1__MEM_POLICY__FORM_WEIGHTED_INTERLEAVE:
		return policy->weighted_interleave;
	default:
		return NULL;
	}
}

/* Where the workers may have memory: the nodes of their CPUs, and cpuset_mems. */
static void check_mem_cover(
	struct check *check, const struct cpuset *nodes, const struct cpuset *pool, const struct cpuset *mems)
{
	struct cpuset cover = mems ? *mems : CPUSET_EMPTY, outside = CPUSET_EMPTY;
	cpuset_for_each (cpu, pool)
		cpuset_add(&cover, check->layout->cpu[cpu].node);
	cpuset_for_each (node, nodes)
		if (!cpuset_has(&cover, (unsigned)node))
			cpuset_add(&outside, (unsigned)node);
	char text[2][128];
	if (!cpuset_is_empty(&outside))
		check_bad(check, ERR_INVALID_ARGUMENT, "mem_policy",
			"node %s is none of those that the cgroup's CPUs and cpuset_mems cover (%s): add it "
			"to "
			"cpuset_mems, or use CPUs of it",
			cpuset_format(&outside, text[0], sizeof(text[0])),
			cpuset_format(&cover, text[1], sizeof(text[1])));
}

static void check_mem_policy(struct check *check, const Schedrig__V1__MemPolicy *policy,
	const struct cpuset *pool, const struct cpuset *mems)
{
	const Schedrig__V1__CpuSet *list = mem_nodes(policy);
	struct cpuset nodes;
	if (policy->form_case == SCHEDRIG__V1__MEM_POLICY__FORM__NOT_SET) {
		check_bad(check, ERR_INVALID_ARGUMENT, "mem_policy",
			"no memory policy is given: one of default, bind, preferred, preferred_many, "
			"interleave, "
			"weighted_interleave, local");
		return;
	}
	if (policy->static_nodes && policy->relative_nodes)
		check_bad(check, ERR_INVALID_ARGUMENT, "mem_policy.relative_nodes",
			"static_nodes and relative_nodes exclude each other");
	if (policy->numa_balancing && policy->form_case != SCHEDRIG__V1__MEM_POLICY__FORM_BIND)
		check_bad(check, ERR_INVALID_ARGUMENT, "mem_policy.numa_balancing",
			"numa_balancing goes with bind only");
	if (!list) {
		if (policy->static_nodes || policy->relative_nodes)
			check_bad(check, ERR_INVALID_ARGUMENT, "mem_policy",
				"static_nodes and relative_nodes say something about nodes, and this policy "
				"has none");
		return;
	}
	if (!check_list_text(check, list->list, "mem_policy", &nodes))
		return;
	if (cpuset_is_empty(&nodes)) {
		check_bad(check, ERR_INVALID_ARGUMENT, "mem_policy", "the set of nodes is empty");
		return;
	}
	if (policy->form_case == SCHEDRIG__V1__MEM_POLICY__FORM_PREFERRED && cpuset_count(&nodes) > 1)
		check_bad(check, ERR_INVALID_ARGUMENT, "mem_policy.preferred",
			"one node is preferred: for more there is preferred_many");
	/* Relative ones are positions: any number means some node. */
	if (!check->layout || policy->relative_nodes)
		return;
	struct cpuset machine = cpuset_first_n(check->layout->n_nodes);
	if (!cpuset_is_subset(&nodes, &machine))
		check_bad(check, ERR_INVALID_ARGUMENT, "mem_policy",
			"nodes %.60s are not all in this machine's 0-%u", list->list,
			check->layout->n_nodes - 1);
	else if (!policy->static_nodes && pool)
		check_mem_cover(check, &nodes, pool, mems);
}

static void check_custom(struct check *check, const struct work_params *params)
{
	if (check->scenario) /* else ad hoc: the agent knows */
		(void)check_names_payload(check, params->name, "work_type.program", false);
	if (params->n_args > LIMIT_ARGS)
		check_bad(check, ERR_LIMIT_EXCEEDED, "work_type.args", "at most %u arguments", LIMIT_ARGS);
}

/* What types want of their place. */
static void check_type_place(struct check *check, const struct work_params *params,
	const Schedrig__V1__WorkSpec *work, const struct cpuset *pool, bool in_runner)
{
	bool below =
		params->type == WORK_CGROUP_CHURN ||
		(params->type == WORK_CGROUP_ATTACH_STORM && !params->cgroup_attach_storm.has_destination);
	if (below && in_runner)
		check_bad(check, ERR_INVALID_ARGUMENT, "work_type",
			"%s works below its cgroup: it cannot be in the runner cgroup",
			work_type_name(params->type));
	if (params->type == WORK_CUSTOM)
		check_custom(check, params);
	if (params->type == WORK_CUSTOM && *work->thread_group)
		check_bad(check, ERR_INVALID_ARGUMENT, "thread_group",
			"a program of its own cannot be a thread of a group");
	if (params->type == WORK_SMT_SIBLING_SPIN && pool && check->layout && !work->affinity &&
		!has_smt_pair(check->layout, pool))
		check_bad(check, ERR_INVALID_ARGUMENT, "work_type",
			"smt_sibling_spin: no core has two threads among the workers' CPUs");
	if (params->type != WORK_NUMA_MIGRATION_CHURN || !pool || !check->layout)
		return;
	struct cpuset nodes = CPUSET_EMPTY;
	cpuset_for_each (cpu, pool)
		cpuset_add(&nodes, check->layout->cpu[cpu].node);
	if (cpuset_count(&nodes) < 2)
		check_bad(check, ERR_INVALID_ARGUMENT, "work_type",
			"numa_migration_churn hops between NUMA nodes, and the workers' CPUs are all on one");
}

static void check_numa_node(
	struct check *check, const Schedrig__V1__Uint32Value *node, const struct cpuset *pool)
{
	if (!node || !check->layout || !pool)
		return;
	struct cpuset cpus = cpu_layout_node(check->layout, node->value);
	cpus = cpuset_and(&cpus, pool);
	if (cpuset_is_empty(&cpus))
		check_bad(check, ERR_INVALID_ARGUMENT, "numa_node",
			"NUMA node %u has none of the workers' CPUs", node->value);
}

void check_thread_groups(struct check *check, const Schedrig__V1__CgroupDef *def)
{
	for (size_t i = 0; i < def->n_work; i++) {
		const Schedrig__V1__WorkSpec *a = def->work[i];
		size_t at = check_enter(check, "work[%zu]", i);
		if (strlen(a->thread_group) > LIMIT_COMM_BYTES)
			check_bad(check, ERR_INVALID_ARGUMENT, "thread_group",
				"'%.40s' is longer than the %u bytes that the kernel keeps", a->thread_group,
				LIMIT_COMM_BYTES);
		for (size_t k = 0; k < i && *a->thread_group; k++) {
			const Schedrig__V1__WorkSpec *b = def->work[k];
			if (strcmp(a->thread_group, b->thread_group) != 0)
				continue;
			/* What is left out is the definition's, for both. */
			bool same_uid =
				a->uid && b->uid ? a->uid->value == b->uid->value : !a->uid == !b->uid;
			bool same_gid =
				a->gid && b->gid ? a->gid->value == b->gid->value : !a->gid == !b->gid;
			if (!same_uid || !same_gid)
				check_bad(check, ERR_INVALID_ARGUMENT, same_uid ? "gid" : "uid",
					"thread group '%s' is one process: work[%zu] has another %s",
					a->thread_group, k, same_uid ? "gid" : "uid");
			break;
		}
		check_leave(check, at);
	}
}

void check_work(struct check *check, const Schedrig__V1__WorkSpec *work, const struct cpuset *pool,
	const struct work_place *place)
{
	bool narrowed = place->narrowed, swappable = place->swappable, in_runner = place->in_runner;
	if (check->names_only)
		return;
	const Schedrig__V1__WorkType *type = work->work_type,
				     *other = check->scenario ? check->scenario->work_type_override : NULL;
	struct work_params params;
	struct err ignored; /* a wrong override is reported where it stands */
	bool known = check_work_type(check, type, "work_type", &params);
	if (swappable && other)
		known = work_params_read(other, &params, &ignored) == 0;
	uint64_t n = check_count(check, work, pool, in_runner);
	count_workers(check, n);
	if (n && known)
		check_group(check, &params, n);
	if (known)
		check_type_place(check, &params, work, pool, in_runner);
	check_comm_and_nice(check, work->comm, work->nice);
	if (work->mem_policy)
		check_mem_policy(check, work->mem_policy, pool, place->mems);
	check_numa_node(check, work->numa_node ? work->numa_node : place->numa_node, pool);
	const Schedrig__V1__AffinityIntent *affinity = work->affinity;
	if (affinity)
		check_affinity(check, affinity, pool);
	narrowed |= affinity && affinity->form_case != SCHEDRIG__V1__AFFINITY_INTENT__FORM_INHERIT &&
		    affinity->form_case != SCHEDRIG__V1__AFFINITY_INTENT__FORM_CROSS_CGROUP;
	narrowed |= work->numa_node || place->numa_node;
	const Schedrig__V1__SchedPolicy *policy = work->policy;
	if (!policy)
		return;
	if (known && (params.type == WORK_PRIORITY_INVERSION || params.type == WORK_ASYMMETRIC_WAKER))
		check_bad(check, ERR_INVALID_ARGUMENT, "policy", "%s gives its workers policies of its own",
			work_type_name(params.type));
	switch (policy->form_case) {
	case SCHEDRIG__V1__SCHED_POLICY__FORM__NOT_SET:
		check_bad(check, ERR_INVALID_ARGUMENT, "policy",
			"no policy is given: one of normal, batch, idle, fifo, round_robin, deadline, ext");
		break;
	case SCHEDRIG__V1__SCHED_POLICY__FORM_FIFO:
		check_priority(check, policy->fifo);
		break;
	case SCHEDRIG__V1__SCHED_POLICY__FORM_ROUND_ROBIN:
		check_priority(check, policy->round_robin);
		break;
	case SCHEDRIG__V1__SCHED_POLICY__FORM_DEADLINE:
		check_deadline(check, policy->deadline, narrowed);
		break;
	default:
		break;
	}
}
