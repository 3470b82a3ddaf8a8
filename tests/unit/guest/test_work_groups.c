/* SPDX-License-Identifier: GPL-2.0-only */
/* Work types whose workers are many to each other: rounds agree, policies are what the roles say. */
#include "crew.h"

#include "common/clock.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static struct crew crew;

static void is_fifo(unsigned k, int priority)
{
	struct sched_param param;
	pid_t pid = crew.works[k].child.pid;
	cr_assert_eq(sched_getscheduler(pid), priority ? SCHED_FIFO : SCHED_OTHER, "worker %u", k);
	cr_assert_eq(sched_getparam(pid, &param), 0);
	cr_assert_eq(param.sched_priority, priority, "worker %u has %d", k, param.sched_priority);
}

/* Every member does as many rounds as the first, give or take the one at the end. */
static void rounds_agree(const struct work_params *params, uint64_t rounds)
{
	unsigned members = (unsigned)work_group_size(params);
	crew_run(&crew, params, members, rounds);
	uint64_t first = crew.reports[0].iterations, wakeups = 0;
	for (unsigned k = 0; k < members; k++) {
		uint64_t n = crew.reports[k].iterations;
		cr_assert(n + 1 >= first && n <= first + 1, "%lu and %lu rounds", n, first);
		wakeups += crew.reports[k].wakeups;
	}
	cr_assert_gt(wakeups, 0);
	crew_release(&crew);
}

Test(work, futex_fan_out_wakes_all, .timeout = 60)
{
	struct work_params params = work_params_standard(WORK_FUTEX_FAN_OUT);
	rounds_agree(&params, 100);
}

Test(work, thundering_herd_wakes_all_and_pauses, .timeout = 60)
{
	struct work_params params = work_params_standard(WORK_THUNDERING_HERD);
	rounds_agree(&params, 100);
	/* A pause after each: no more rounds than pauses fit in. */
	params.thundering_herd.batches = 1;
	params.thundering_herd.waiters = 1;
	crew_run(&crew, &params, 2, 5);
	cr_assert_leq(crew.reports[0].iterations, crew.reports[0].wall_ns / (5 * NS_PER_MS) + 2);
	crew_release(&crew);
}

Test(work, wake_chain_goes_round, .timeout = 60)
{
	struct work_params params = work_params_standard(WORK_WAKE_CHAIN);
	for (unsigned futex = 0; futex < 2; futex++) {
		params.wake_chain.futex = futex;
		rounds_agree(&params, 20);
	}
}

Test(work, signal_storm_signals, .timeout = 60)
{
	struct work_params params = work_params_standard(WORK_SIGNAL_STORM);
	crew_run(&crew, &params, 2, 20);
	crew_release(&crew);
	/* A partner that is stopped keeps what came in the meantime. */
	crew_start(&crew, &params, 2);
	child_kill(&crew.works[1].child, SIGSTOP);
	crew_hold(&crew, 0);
	uint64_t deadline_ns = clock_now_ns() + 10 * NS_PER_S;
	char path[64], line[256];
	unsigned long pending = 0;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)crew.works[1].child.pid);
	while (!(pending >> (SIGUSR1 - 1) & 1)) {
		cr_assert_lt(clock_now_ns(), deadline_ns, "no signal came");
		FILE *file = fopen(path, "r");
		cr_assert_not_null(file);
		while (fgets(line, sizeof(line), file))
			sscanf(line, "ShdPnd: %lx", &pending);
		fclose(file);
	}
	child_kill(&crew.works[1].child, SIGCONT);
	crew_stop(&crew);
	crew_release(&crew);
}

Test(work, mutex_contention_excludes, .timeout = 60)
{
	struct work_params params = work_params_standard(WORK_MUTEX_CONTENTION);
	params.mutex_contention.hold = 100000;
	params.mutex_contention.work = 1;
	crew_run(&crew, &params, 4, 20);
	/* Held nearly all the time, so the times of all together are one CPU's at most: with every one of
	 * them running at once they would be more wherever there are two. */
	uint64_t cpu_ns = 0, wakeups = 0;
	for (unsigned k = 0; k < 4; k++) {
		cpu_ns += crew.reports[k].cpu_ns;
		wakeups += crew.reports[k].wakeups;
	}
	cr_assert_leq(cpu_ns, crew.reports[0].wall_ns * 5 / 4);
	cr_assert_gt(wakeups, 0);
	crew_release(&crew);
}

Test(work, roles_have_their_policies, .timeout = 60)
{
	if (!crew_has_realtime())
		cr_skip("realtime policies are not allowed here");
	struct work_params params = work_params_standard(WORK_PRIORITY_INVERSION);
	for (unsigned pi = 0; pi < 2; pi++) {
		params.priority_inversion.pi = pi;
		crew_start(&crew, &params, 3);
		crew_hold(&crew, 5);
		is_fifo(1, 50);
		struct sched_param param; /* the low one may have the high one's for a while */
		cr_assert_eq(sched_getparam(crew.works[0].child.pid, &param), 0);
		cr_assert_eq(param.sched_priority, 70);
		cr_assert_eq(sched_getparam(crew.works[2].child.pid, &param), 0);
		cr_assert_eq(param.sched_priority, 30);
		crew_stop(&crew);
		crew_release(&crew);
	}
	params = work_params_standard(WORK_ASYMMETRIC_WAKER);
	params.asymmetric_waker.waker = WORK_POLICY(WORK_FIFO, 3);
	crew_start(&crew, &params, 2);
	crew_hold(&crew, 50);
	is_fifo(0, 3);
	is_fifo(1, 0);
	crew_stop(&crew);
	cr_assert_gt(crew.reports[0].wakeups + crew.reports[1].wakeups, 0);
	crew_release(&crew);

	params = work_params_standard(WORK_PREEMPT_STORM);
	crew_start(&crew, &params, 3);
	crew_hold(&crew, 10);
	is_fifo(0, 1);
	is_fifo(1, 0);
	is_fifo(2, 0);
	crew_stop(&crew);
	cr_assert_gt(crew.reports[0].wakeups, 5);
	cr_assert_eq(crew.reports[1].wakeups, 0);
	crew_release(&crew);

	params = work_params_standard(WORK_RT_STARVATION);
	crew_start(&crew, &params, 2);
	crew_hold(&crew, 10);
	is_fifo(0, 50);
	is_fifo(1, 0);
	crew_stop(&crew);
	crew_release(&crew);
}

/* A set-up call that fails fails the start, and the sentence says which. */
Test(work, a_policy_that_is_refused_fails, .timeout = 30)
{
	struct err err = ERR_INIT;
	struct work_params params = work_params_standard(WORK_RT_STARVATION);
	struct work works[2] = {0}, *list[2] = {&works[0], &works[1]};
	struct work_spec spec = {.params = params};
	cr_assert_lt(work_start(list, 1, &spec, -1, 0, CLOCK_NEVER_NS, NULL, &err), 0);
	cr_assert_eq(err.code, ERR_INVALID_ARGUMENT, "%s", err.message);
}
