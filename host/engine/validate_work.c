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

void check_work(struct check *check, const Schedrig__V1__WorkSpec *work, const struct cpuset *pool,
	bool narrowed, bool swappable, bool in_runner)
{
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
	if (n && known)
		check_group(check, &params, n);
	check_comm_and_nice(check, work->comm, work->nice);
	if (work->uptime)
		check_bad(check, ERR_UNSUPPORTED, "uptime", "uptime is not in this version");
	const Schedrig__V1__AffinityIntent *affinity = work->affinity;
	if (affinity)
		check_affinity(check, affinity, pool);
	narrowed |= affinity && affinity->form_case != SCHEDRIG__V1__AFFINITY_INTENT__FORM_INHERIT &&
		    affinity->form_case != SCHEDRIG__V1__AFFINITY_INTENT__FORM_CROSS_CGROUP;
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
