/* SPDX-License-Identifier: GPL-2.0-only */
/* Affinity intents on a machine of 2 LLCs, 2 cores each, 2 threads each. */
#include "guest/work/affinity.h"

#include <criterion/criterion.h>

static struct cpu_layout layout;

static void make(void)
{
	layout.n_cpus = 8;
	layout.n_nodes = 1;
	layout.n_llcs = 2;
	layout.n_cores = 4;
	for (unsigned cpu = 0; cpu < 8; cpu++)
		layout.cpu[cpu] = (struct cpu_place){.llc = (uint16_t)(cpu / 4),
			.core = (uint16_t)(cpu / 2),
			.thread = (uint16_t)(cpu % 2)};
}

static const char *resolve(struct affinity affinity, const char *pool, unsigned k)
{
	static char text[CPUSET_TEXT_BYTES];
	struct cpuset pool_set, set;
	struct err err = ERR_INIT;
	cr_assert_eq(cpuset_parse(pool, &pool_set, &err), 0);
	if (affinity_resolve(&affinity, &layout, &pool_set, k, affinity_draw(7, k), &set, &err) < 0)
		return "refused";
	return cpuset_format(&set, text, sizeof(text));
}

Test(affinity, forms, .init = make)
{
	struct affinity exact = {.kind = AFFINITY_EXACT, .has_from = true};
	cr_assert_eq(cpuset_parse("2-5", &exact.from, NULL), 0);
	cr_expect_str_eq(resolve((struct affinity){AFFINITY_LLC_ALIGNED}, "0-1,4-6", 0), "4-6");
	cr_expect_str_eq(
		resolve((struct affinity){AFFINITY_LLC_ALIGNED}, "0-7", 0), "0-3", "lowest on a tie");
	cr_expect_str_eq(resolve((struct affinity){AFFINITY_CROSS_CGROUP}, "1", 0), "0-7");
	cr_expect_str_eq(resolve((struct affinity){AFFINITY_SINGLE_CPU}, "3,5", 1), "3");
	cr_expect_str_eq(resolve((struct affinity){AFFINITY_SPREAD}, "3,5", 1), "5");
	cr_expect_str_eq(resolve((struct affinity){AFFINITY_SPREAD}, "3,5", 2), "3");
	cr_expect_str_eq(resolve(exact, "4-7", 0), "4-5");
	cr_expect_str_eq(resolve(exact, "6-7", 0), "refused");
	cr_expect_str_eq(resolve((struct affinity){AFFINITY_SMT_PAIR}, "1-7", 3), "2-3");
	cr_expect_str_eq(resolve((struct affinity){AFFINITY_SMT_PAIR, .per_worker = true}, "1-7", 3), "4-5");
	cr_expect_str_eq(
		resolve((struct affinity){AFFINITY_SMT_PAIR, .per_worker = true}, "1-7", 6), "2-3", "again");
	cr_expect_str_eq(resolve((struct affinity){AFFINITY_SMT_PAIR}, "0,2,4,6", 0), "refused");
}

Test(affinity, random_subsets, .init = make)
{
	struct affinity subset = {.kind = AFFINITY_RANDOM_SUBSET, .count = 3};
	struct cpuset pool, set, again;
	struct err err = ERR_INIT;
	bool differ = false;
	cr_assert_eq(cpuset_parse("1-6", &pool, &err), 0);
	for (unsigned k = 0; k < 50; k++) {
		cr_assert_eq(
			affinity_resolve(&subset, &layout, &pool, k, affinity_draw(7, k), &set, &err), 0);
		cr_expect_eq(cpuset_count(&set), 3);
		cr_expect(cpuset_is_subset(&set, &pool));
		cr_assert_eq(
			affinity_resolve(&subset, &layout, &pool, k, affinity_draw(7, k), &again, &err), 0);
		cr_expect(cpuset_equal(&set, &again), "same seed, same choice");
		cr_assert_eq(
			affinity_resolve(&subset, &layout, &pool, k, affinity_draw(8, k), &again, &err), 0);
		differ |= !cpuset_equal(&set, &again);
	}
	cr_expect(differ);
	subset.count = 100;
	cr_expect_str_eq(resolve(subset, "1-6", 0), "1-6", "clipped to the pool");
	subset.count = 0;
	cr_expect_str_eq(resolve(subset, "1-6", 0), "refused");
}
