/* SPDX-License-Identifier: GPL-2.0-only */
/* Holds against the scenario's time. */
#include "bench.h"
#include "host/engine/hold.h"
#include "proto/pb.h"

#define S UINT64_C(1000000000)

Test(hold, budget_counts_settle_where_it_is_asked_for)
{
	Schedrig__V1__Scenario *s = bench_scenario(
		"duration: 10s\nsettle: 2s\nsteps: [{}, {hold: {settled: 0.5}}, {hold: {settled: 0}}]\n");
	cr_assert_eq(hold_budget_ns(s), 14 * S);
	struct hold_length length = hold_resolve(s, s->steps[1]->hold, 0);
	cr_assert_eq(length.asked_ns, 7 * S);
	pb_free(s);
	s = bench_scenario("steps: [{}]\n");
	cr_assert_eq(hold_budget_ns(s), 12 * S);
	pb_free(s);
}

Test(hold, effective_is_what_time_leaves)
{
	static const struct {
		const char *hold;
		uint64_t now, asked, effective;
		bool cut, nothing;
	} cases[] = {
		{"{frac: 0.2}", 0, 2 * S, 2 * S, false, false},
		{"{frac: 2}", 0, 20 * S, 10 * S, true, false},
		{"{fixed: 3s}", 7 * S, 3 * S, 3 * S, false, false},
		/* under and over 1 per cent */
		{"{fixed: 3s}", 7 * S + S / 50, 3 * S, 3 * S - S / 50, false, false},
		{"{fixed: 3s}", 7 * S + S / 20, 3 * S, 3 * S - S / 20, true, false},
		{"{fixed: 3s}", 10 * S, 3 * S, 0, true, true},
		{"{fixed: \"0\"}", 10 * S, 0, 0, false, false},
		{"full", 4 * S, 10 * S, 6 * S, true, false},
		{"{loop: 1s}", 4 * S, UINT64_MAX, 6 * S, false, false},
		{"{loop: 1s}", 11 * S, UINT64_MAX, 0, false, true},
		{"{frac: 1e300}", 0, UINT64_MAX / 4, 10 * S, true, false},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[100];
		snprintf(text, sizeof(text), "duration: 10s\nsteps: [{hold: %s}]\n", cases[i].hold);
		Schedrig__V1__Scenario *s = bench_scenario(text);
		cr_assert_eq(hold_check(s->steps[0]->hold, NULL), 0);
		struct hold_length length = hold_resolve(s, s->steps[0]->hold, cases[i].now);
		cr_expect_eq(length.asked_ns, cases[i].asked, "%s asked", cases[i].hold);
		cr_expect_eq(length.effective_ns, cases[i].effective, "%s effective", cases[i].hold);
		cr_expect_eq(length.cut, cases[i].cut, "%s cut", cases[i].hold);
		cr_expect_eq(length.nothing, cases[i].nothing, "%s nothing", cases[i].hold);
		pb_free(s);
	}
}
