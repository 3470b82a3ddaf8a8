/* SPDX-License-Identifier: GPL-2.0-only */
/* Work types that yield, sleep and hand over: that they do what their lines in the list say. */
#include "crew.h"

#include "common/clock.h"

#include <criterion/criterion.h>
#include <sched.h>
#include <unistd.h>

static struct crew crew;

static uint64_t switches(unsigned k)
{
	return crew_status(&crew, k, "voluntary_ctxt_switches:") +
	       crew_status(&crew, k, "nonvoluntary_ctxt_switches:");
}

/* Two that share a CPU hand it over with every yield; spinning ones would keep it for a slice. */
static void yields(enum work_type type, uint64_t units_per_round)
{
	struct work_params params = work_params_standard(type);
	struct cpuset one = cpuset_first_n(1), all;
	cr_assert_eq(sched_getaffinity(0, sizeof(all), (cpu_set_t *)&all), 0);
	cr_assert_eq(sched_setaffinity(0, sizeof(one), (cpu_set_t *)&one), 0);
	crew_start(&crew, &params, 2);
	uint64_t before = switches(0), rounds = work_iterations(&crew.works[0]);
	crew_hold(&crew, 1000);
	uint64_t switched = switches(0) - before;
	rounds = work_iterations(&crew.works[0]) - rounds;
	crew_stop(&crew);
	cr_assert_geq(switched, 50, "%lu switches in %lu rounds", switched, rounds);
	for (unsigned k = 0; k < 2; k++)
		cr_assert_eq(crew.reports[k].units, crew.reports[k].iterations * units_per_round);
	crew_release(&crew);
	cr_assert_eq(sched_setaffinity(0, sizeof(all), (cpu_set_t *)&all), 0);
}

Test(work, yield_heavy_yields, .timeout = 30)
{
	yields(WORK_YIELD_HEAVY, 1);
}

Test(work, mixed_yields, .timeout = 30)
{
	yields(WORK_MIXED, 1024);
}

Test(work, sleepers_sleep, .timeout = 30)
{
	struct work_params params = work_params_standard(WORK_IDLE_CHURN);
	params.idle_churn.precise = 1;
	crew_run(&crew, &params, 1, 20);
	const struct work_report *report = &crew.reports[0];
	cr_assert_gt(report->wakeups, 2);
	cr_assert_geq(report->iterations, report->wakeups);
	/* 1 ms of 6 at most; and sleeping is no gap. */
	cr_assert_lt(report->cpu_ns, report->wall_ns / 2);
	crew_release(&crew);

	params = work_params_standard(WORK_BURSTY);
	params.bursty.burst_ns = params.bursty.sleep_ns = 2 * NS_PER_MS;
	crew_run(&crew, &params, 1, 20);
	cr_assert_gt(crew.reports[0].wakeups, 2);
	crew_release(&crew);
}

Test(work, timer_latency_wakes_once_an_interval, .timeout = 30)
{
	struct work_params params = work_params_standard(WORK_TIMER_LATENCY);
	params.timer_latency.interval_ns = 2 * NS_PER_MS;
	crew_run(&crew, &params, 1, 20);
	const struct work_report *report = &crew.reports[0];
	cr_assert_gt(report->wakeups, 2);
	/* Never more than there are intervals. */
	cr_assert_leq(report->wakeups, report->wall_ns / params.timer_latency.interval_ns + 1);
	cr_assert_geq(report->wake_sum_ns, report->wake_max_ns);
	cr_assert_gt(report->wake_max_ns, 0);
	crew_release(&crew);
}

/* Each has the turn as often as the other. */
static void takes_turns(enum work_type type, uint64_t units)
{
	struct work_params params = work_params_standard(type);
	crew_run(&crew, &params, 4, 20);
	for (unsigned pair = 0; pair < 4; pair += 2) {
		uint64_t a = crew.reports[pair].iterations, b = crew.reports[pair + 1].iterations;
		cr_assert(a == b || a == b + 1 || b == a + 1, "%lu and %lu rounds", a, b);
		cr_assert_geq(crew.reports[pair].units, (a - 1) * units);
		cr_assert_gt(crew.reports[pair].wakeups + crew.reports[pair + 1].wakeups, 0);
	}
	cr_assert_eq(crew.killed, 0);
	crew_release(&crew);
}

Test(work, futex_ping_pong_alternates, .timeout = 30)
{
	takes_turns(WORK_FUTEX_PING_PONG, 1024);
}

Test(work, pipe_io_alternates, .timeout = 30)
{
	takes_turns(WORK_PIPE_IO, 1024);
}

/* A partner that is stopped hands nothing over, and one that is killed never will: neither keeps the other
 * from stopping. */
static void stops_alone(const struct work_params *params, unsigned members)
{
	for (unsigned gone = 0; gone < members; gone++)
		for (unsigned killed = 0; killed < 2; killed++) {
			crew_start(&crew, params, members);
			usleep(20000);
			child_kill(&crew.works[gone].child, killed ? SIGKILL : SIGSTOP);
			usleep(20000);
			uint64_t asked_ns = clock_now_ns();
			for (unsigned k = 0; k < members; k++)
				work_ask_stop(&crew.works[k]);
			for (unsigned k = 0; k < members; k++)
				cr_assert(k == gone || child_wait(&crew.works[k].child,
							       asked_ns + CREW_HANG_NS, NULL) == CHILD_EXITED,
					"%s: %u does not stop without %u", work_type_name(params->type), k,
					gone);
			child_kill(&crew.works[gone].child, SIGCONT);
			crew_stop(&crew);
			crew_release(&crew);
		}
}

Test(work, groups_stop_without_a_member, .timeout = 120)
{
	for (unsigned type = 0; type < WORK_TYPES; type++) {
		if (!work_type_info(type))
			continue;
		struct work_params params = work_params_standard((enum work_type)type);
		bool realtime = type == WORK_PRIORITY_INVERSION || type == WORK_ASYMMETRIC_WAKER ||
				type == WORK_PREEMPT_STORM || type == WORK_RT_STARVATION;
		if (work_group_size(&params) > 1 && (!realtime || crew_has_realtime()) &&
			(type != WORK_IRQ_WAKE || crew_has_nic(NULL, 0)))
			stops_alone(&params, (unsigned)work_group_size(&params));
	}
}
