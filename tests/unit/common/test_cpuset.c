/* SPDX-License-Identifier: GPL-2.0-only */
/* CPU sets, layouts and descriptions of sets. */
#include "common/cpuspec.h"

#include <criterion/criterion.h>
#include <math.h>
#include <sched.h>
#include <string.h>

static struct cpu_layout layout_2n4l(unsigned cores)
{
	struct cpu_layout l = {.n_cpus = 4 * cores, .n_nodes = 2, .n_llcs = 4, .n_cores = 4 * cores};
	for (unsigned i = 0; i < l.n_cpus; i++)
		l.cpu[i] = (struct cpu_place){
			.node = (uint16_t)(i / cores / 2), .llc = (uint16_t)(i / cores), .core = (uint16_t)i};
	return l;
}

static const char *resolve(struct cpuspec spec, const struct cpu_layout *l, struct err *err)
{
	static char text[CPUSET_TEXT_BYTES];
	struct cpuset set;
	*err = ERR_INIT;
	if (cpuspec_resolve(&spec, l, &set, err) < 0)
		return "error";
	return cpuset_format(&set, text, sizeof(text));
}

Test(cpuset, list_form_goes_both_ways)
{
	static const char *const same[] = {"", "0", "0-3", "0,2,4-7", "63-64,1023"};
	char text[CPUSET_TEXT_BYTES];
	for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
		struct cpuset set;
		cr_assert_eq(cpuset_parse(same[i], &set, NULL), 0, "%s", same[i]);
		cr_assert_str_eq(cpuset_format(&set, text, sizeof(text)), same[i]);
	}
	static const char *const bad[] = {"1024", "3-1", "a", "1,,2", "1,", "-1", "1-", "99999999999", "1 2"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct cpuset set;
		cr_assert_lt(cpuset_parse(bad[i], &set, NULL), 0, "%s", bad[i]);
	}
}

Test(cpuset, longest_text_fits)
{
	struct cpuset set = CPUSET_EMPTY, back;
	for (unsigned i = 1; i < CPUSET_MAX; i += 2)
		cpuset_add(&set, i);
	char text[CPUSET_TEXT_BYTES];
	cr_assert_eq(cpuset_parse(cpuset_format(&set, text, sizeof(text)), &back, NULL), 0);
	cr_assert(cpuset_equal(&set, &back));
}

Test(cpuset, members)
{
	struct cpuset set;
	cr_assert_eq(cpuset_parse("3,64,1023", &set, NULL), 0);
	cr_assert_eq(cpuset_count(&set), 3);
	cr_assert_eq(cpuset_nth(&set, 1), 64);
	cr_assert_eq(cpuset_nth(&set, 3), -1);
	cr_assert_eq(cpuset_next(&set, 65), 1023);
	cr_assert_not(cpuset_has(&set, 5000));
}

Test(cpuspec, forms)
{
	struct cpu_layout l = layout_2n4l(2); /* 8 CPUs, usable 0-6 */
	struct err err;
	cr_assert_str_eq(resolve((struct cpuspec){CPUSPEC_LLC, .index = 3}, &l, &err), "6-7");
	cr_assert_str_eq(resolve((struct cpuspec){CPUSPEC_NUMA, .index = 1}, &l, &err), "4-7");
	cr_assert_str_eq(resolve((struct cpuspec){CPUSPEC_RANGE, .start = 0.5, .end = 1}, &l, &err), "3-6");
	cr_assert_str_eq(
		resolve((struct cpuspec){CPUSPEC_DISJOINT, .index = 1, .count = 2}, &l, &err), "3-6");
	cr_assert_str_eq(
		resolve((struct cpuspec){CPUSPEC_DISJOINT, .index = 0, .count = 2}, &l, &err), "0-2");
	cr_assert_str_eq(
		resolve((struct cpuspec){CPUSPEC_OVERLAP, .index = 1, .count = 3, .fraction = 0.5}, &l, &err),
		"1-4");
}

Test(cpuspec, small_machines_use_every_cpu)
{
	struct cpu_layout l = {
		.n_cpus = 2, .n_nodes = 1, .n_llcs = 1, .n_cores = 2, .cpu = {[1] = {.core = 1}}};
	struct err err;
	cr_assert_str_eq(resolve((struct cpuspec){CPUSPEC_RANGE, .start = 0, .end = 1}, &l, &err), "0-1");
}

Test(cpuspec, refusals_name_the_field)
{
	struct cpu_layout l = layout_2n4l(2);
	static const struct {
		struct cpuspec spec;
		const char *place;
	} bad[] = {
		{{CPUSPEC_LLC, .index = 4}, "llc"},
		{{CPUSPEC_NUMA, .index = 2}, "numa"},
		{{CPUSPEC_RANGE, .start = (double)NAN, .end = 1}, "range.start"},
		{{CPUSPEC_RANGE, .start = 0, .end = 1.01}, "range.end"},
		{{CPUSPEC_RANGE, .start = 0.5, .end = 0.5}, "range.start"},
		{{CPUSPEC_RANGE, .start = 0.5, .end = 0.51}, "range"},
		{{CPUSPEC_DISJOINT, .index = 0, .count = 0}, "disjoint.count"},
		{{CPUSPEC_DISJOINT, .index = 0, .count = 8}, "disjoint.count"},
		{{CPUSPEC_DISJOINT, .index = 2, .count = 2}, "disjoint.index"},
		{{CPUSPEC_OVERLAP, .index = 0, .count = 2, .fraction = (double)INFINITY}, "overlap.fraction"},
		{{CPUSPEC_EXACT}, "exact"},
		{{CPUSPEC_EXACT, .exact = {{1ull << 8}}}, "exact"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err err;
		cr_assert_str_eq(resolve(bad[i].spec, &l, &err), "error", "%zu", i);
		cr_assert_str_eq(err.place, bad[i].place);
		cr_assert_eq(err.code, ERR_INVALID_ARGUMENT);
	}
}

Test(cpu_layout, check_refuses_gaps)
{
	struct cpu_layout l = layout_2n4l(2);
	cr_assert_eq(cpu_layout_check(&l, NULL), 0);
	l.n_llcs = 5;
	cr_assert_lt(cpu_layout_check(&l, NULL), 0);
	l = layout_2n4l(2);
	l.cpu[3].node = 9;
	cr_assert_lt(cpu_layout_check(&l, NULL), 0);
	l.n_cpus = 0;
	cr_assert_lt(cpu_layout_check(&l, NULL), 0);
}

Test(cpuset, usable_are_those_of_the_thread)
{
	cpu_set_t before, one;
	cr_assert_eq(sched_getaffinity(0, sizeof(before), &before), 0);
	cr_assert_eq(cpuset_usable_count(), (unsigned)CPU_COUNT(&before));
	cr_assert_leq(cpuset_usable_count(), cpuset_online_count());
	size_t first = 0;
	while (!CPU_ISSET(first, &before))
		first++;
	CPU_ZERO(&one);
	CPU_SET(first, &one);
	cr_assert_eq(sched_setaffinity(0, sizeof(one), &one), 0);
	cr_assert_eq(cpuset_usable_count(), 1u);
	cr_assert_eq(sched_setaffinity(0, sizeof(before), &before), 0);
}
