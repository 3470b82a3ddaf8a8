/* SPDX-License-Identifier: GPL-2.0-only */
/* Affinity intents (see affinity.h). */
#include "guest/work/affinity.h"

/* SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64_t affinity_draw(uint64_t a, uint64_t b)
{
	uint64_t state = a;
	state = next_random(&state) ^ b;
	return next_random(&state);
}

static int random_subset(
	const struct cpuset *from, uint32_t count, uint64_t draw, struct cpuset *ret_set, struct err *err)
{
	struct cpuset left = *from;
	unsigned have = cpuset_count(&left);
	if (!count)
		return err_set(err, ERR_INVALID_ARGUMENT, "random_subset: count must be at least 1");
	if (!have)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"random_subset: none of these CPUs is in the cgroup's set");
	*ret_set = CPUSET_EMPTY;
	for (unsigned n = MIN_OF(count, have); n > 0; n--, have--) {
		int cpu = cpuset_nth(&left, (unsigned)(next_random(&draw) % have));
		cpuset_remove(&left, (unsigned)cpu);
		cpuset_add(ret_set, (unsigned)cpu);
	}
	return 0;
}

static struct cpuset llc_aligned(const struct cpu_layout *layout, const struct cpuset *pool)
{
	struct cpuset best = CPUSET_EMPTY;
	for (unsigned llc = 0; llc < layout->n_llcs; llc++) {
		struct cpuset cpus = cpu_layout_llc(layout, llc);
		cpus = cpuset_and(&cpus, pool);
		if (cpuset_count(&cpus) > cpuset_count(&best))
			best = cpus;
	}
	return best;
}

static int smt_pair(const struct cpu_layout *layout, const struct cpuset *pool, unsigned skip,
	struct cpuset *ret_set, struct err *err)
{
	unsigned cores = 0;
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned core = 0; core < layout->n_cores; core++) {
			struct cpuset cpus = cpu_layout_core(layout, core);
			cpus = cpuset_and(&cpus, pool);
			if (cpuset_count(&cpus) < 2)
				continue;
			if (round == 0) {
				cores++;
				continue;
			}
			if (skip--)
				continue;
			*ret_set = CPUSET_EMPTY;
			cpuset_add(ret_set, (unsigned)cpuset_nth(&cpus, 0));
			cpuset_add(ret_set, (unsigned)cpuset_nth(&cpus, 1));
			return 0;
		}
		if (!cores)
			break;
		skip %= cores;
	}
	return err_set(
		err, ERR_INVALID_ARGUMENT, "smt_sibling_pair: no core has two threads in the cgroup's set");
}

int affinity_resolve(const struct affinity *affinity, const struct cpu_layout *layout,
	const struct cpuset *pool, unsigned k, uint64_t draw, struct cpuset *ret_set, struct err *err)
{
	struct cpuset wanted = affinity->has_from ? cpuset_and(&affinity->from, pool) : *pool;
	switch (affinity->kind) {
	case AFFINITY_INHERIT:
		*ret_set = *pool;
		return 0;
	case AFFINITY_RANDOM_SUBSET:
		return random_subset(&wanted, affinity->count, draw, ret_set, err);
	case AFFINITY_LLC_ALIGNED:
		*ret_set = llc_aligned(layout, pool);
		break;
	case AFFINITY_CROSS_CGROUP:
		*ret_set = cpuset_first_n(layout->n_cpus);
		break;
	case AFFINITY_SINGLE_CPU:
	case AFFINITY_SPREAD: {
		unsigned n = cpuset_count(pool);
		*ret_set = CPUSET_EMPTY;
		if (n)
			cpuset_add(ret_set,
				(unsigned)cpuset_nth(pool, affinity->kind == AFFINITY_SPREAD ? k % n : 0));
		break;
	}
	case AFFINITY_EXACT:
		*ret_set = wanted;
		break;
	case AFFINITY_SMT_PAIR:
		return smt_pair(layout, pool, affinity->per_worker ? k / 2 : 0, ret_set, err);
	}
	if (cpuset_is_empty(ret_set))
		return err_set(err, ERR_INVALID_ARGUMENT, "the affinity leaves no CPU of the cgroup's set");
	return 0;
}
