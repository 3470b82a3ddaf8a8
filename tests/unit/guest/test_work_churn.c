/* SPDX-License-Identifier: GPL-2.0-only */
/* Work types that use memory, make processes, or change what they are to the scheduler: as the kernel sees
 * it.
 */
#include "crew.h"

#include "common/clock.h"

#include <criterion/criterion.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static struct crew crew;

/* Number n of /proc/PID/stat, counted as in proc(5); n > 2. */
static uint64_t stat_field(unsigned k, unsigned n)
{
	char path[64], line[1024] = "";
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)crew.works[k].child.pid);
	FILE *file = fopen(path, "r");
	cr_assert_not_null(file);
	cr_assert_not_null(fgets(line, sizeof(line), file));
	fclose(file);
	char *at = strrchr(line, ')');
	cr_assert_not_null(at);
	for (unsigned i = 2; i < n; i++)
		at = strchr(at + 1, ' ');
	return strtoull(at, NULL, 10);
}

static uint64_t forks_so_far(void)
{
	char line[4096];
	uint64_t forks = 0;
	FILE *file = fopen("/proc/stat", "r");
	cr_assert_not_null(file);
	while (fgets(line, sizeof(line), file))
		sscanf(line, "processes %lu", &forks);
	fclose(file);
	return forks;
}

/* How many different values look() has while it runs, up to `enough`. */
static unsigned values_seen(const struct work_params *params, int (*look)(pid_t pid), unsigned enough)
{
	bool seen[64] = {false};
	unsigned n = 0;
	crew_start(&crew, params, 1);
	/* Generous: a walk through the idle policy takes long where others want the CPUs. */
	uint64_t deadline_ns = clock_now_ns() + 60 * NS_PER_S;
	while (n < enough && clock_now_ns() < deadline_ns) {
		unsigned value = (unsigned)look(crew.works[0].child.pid) % 64;
		n += !seen[value];
		seen[value] = true;
	}
	crew_stop(&crew);
	cr_assert_str_eq(crew.reports[0].exit, "stopped");
	crew_release(&crew);
	return n;
}

Test(work, caches_are_walked, .timeout = 30)
{
	struct work_params params = work_params_standard(WORK_CACHE_PRESSURE);
	crew_run(&crew, &params, 1, 50);
	cr_assert_leq(crew.reports[0].units, crew.reports[0].iterations * (32768 / 64));
	cr_assert_geq(crew.reports[0].units, (crew.reports[0].iterations - 1) * (32768 / 64));
	crew_release(&crew);
	params.cache_pressure.size_bytes = 8 << 20;
	crew_start(&crew, &params, 1);
	crew_hold(&crew, 2);
	cr_assert_geq(crew_status(&crew, 0, "VmRSS:"), 8 << 10);
	crew_stop(&crew);
	crew_release(&crew);

	params = work_params_standard(WORK_CACHE_YIELD);
	crew_run(&crew, &params, 2, 50);
	crew_release(&crew);

	params = work_params_standard(WORK_CACHE_PIPE);
	crew_run(&crew, &params, 2, 50);
	uint64_t a = crew.reports[0].iterations, b = crew.reports[1].iterations;
	cr_assert(a == b || a == b + 1, "%lu and %lu rounds", a, b);
	cr_assert_gt(crew.reports[0].wakeups + crew.reports[1].wakeups, 0);
	crew_release(&crew);
}

Test(work, page_fault_churn_faults, .timeout = 30)
{
	struct work_params params = work_params_standard(WORK_PAGE_FAULT_CHURN);
	crew_start(&crew, &params, 1);
	crew_hold(&crew, 1);
	uint64_t rounds = work_iterations(&crew.works[0]), faults = stat_field(0, 10);
	crew_hold(&crew, 50);
	/* What is published lags behind; what the kernel counts is read last. */
	rounds = work_iterations(&crew.works[0]) - rounds;
	faults = stat_field(0, 10) - faults;
	crew_stop(&crew);
	cr_assert_geq(faults, (rounds - 10) * 256, "%lu faults in %lu rounds", faults, rounds);
	crew_release(&crew);
}

Test(work, fork_exit_forks, .timeout = 30)
{
	struct work_params params = work_params_standard(WORK_FORK_EXIT);
	uint64_t before = forks_so_far();
	crew_run(&crew, &params, 2, 20);
	cr_assert_geq(forks_so_far() - before, crew.reports[0].iterations + crew.reports[1].iterations);
	cr_assert_gt(crew.reports[0].wakeups, 0);
	crew_release(&crew);
}

static int look_nice(pid_t pid)
{
	return getpriority(PRIO_PROCESS, (id_t)pid) + 20;
}

Test(work, nice_sweep_changes_its_nice_value, .timeout = 90)
{
	struct work_params params = work_params_standard(WORK_NICE_SWEEP);
	if (geteuid() != 0)
		cr_skip("needs the right to raise priorities");
	cr_assert_eq(values_seen(&params, look_nice, 40), 40);
}

static int look_policy(pid_t pid)
{
	return sched_getscheduler(pid);
}

Test(work, policy_churn_changes_its_policy, .timeout = 90)
{
	struct work_params params = work_params_standard(WORK_POLICY_CHURN);
	if (!crew_has_realtime())
		cr_skip("realtime policies are not allowed here");
	cr_assert_geq(values_seen(&params, look_policy, 5), 5);
}

/* A call that is refused in the middle of the work is in the report. */
Test(work, a_refusal_is_reported, .timeout = 30)
{
	if (geteuid() != 0)
		cr_skip("needs a right to give up");
	struct err err = ERR_INIT;
	struct work_params params = work_params_standard(WORK_SPIN_WAIT);
	crew_run(&crew, &params, 1, 1); /* the reaper is there now */
	crew_release(&crew);
	struct work *list[] = {&crew.works[0]};
	struct work_spec spec = {
		.params = work_params_standard(WORK_NICE_SWEEP), .has_uid = true, .uid = 65534};
	crew = (struct crew){.count = 1};
	cr_assert_eq(work_start(list, 1, &spec, -1, 0, CLOCK_NEVER_NS, NULL, &err), 0, "%s", err.message);
	cr_assert_eq(child_wait(&crew.works[0].child, clock_now_ns() + 10 * NS_PER_S, NULL), CHILD_EXITED);
	crew_stop(&crew);
	cr_assert(crew.reports[0].missing);
	cr_assert_str_eq(crew.reports[0].exit, "setpriority: EACCES", "%s", crew.reports[0].exit);
	crew_release(&crew);
}

/* Where it was while the other one moved it, several times maybe, a worker that got no turn does not know: so
 * until it has seen enough. */
static void hold_until_moved(unsigned k, uint64_t times)
{
	uint64_t deadline_ns = clock_deadline_ns(20 * NS_PER_S);
	struct work_sample sample = {0};
	while (work_sample(&crew.works[k], &sample), sample.migrations < times) {
		cr_assert(clock_left_ns(deadline_ns), "worker %u has moved %llu times", k,
			(unsigned long long)sample.migrations);
		usleep(1000);
	}
}

Test(work, affinity_churn_goes_everywhere, .timeout = 60)
{
	struct cpuset allowed = {0};
	cr_assert_eq(sched_getaffinity(0, sizeof(allowed), (cpu_set_t *)&allowed), 0);
	if (cpuset_count(&allowed) < 2)
		cr_skip("needs two CPUs");
	const enum work_type types[] = {WORK_AFFINITY_CHURN, WORK_CROSS_AFFINITY_CHURN};
	for (unsigned t = 0; t < 2; t++) {
		struct work_params params = work_params_standard(types[t]);
		crew_start(&crew, &params, 2);
		for (unsigned k = 0; k < 2; k++)
			hold_until_moved(k, 10);
		crew_stop(&crew);
		for (unsigned k = 0; k < 2; k++) {
			cr_assert_str_eq(crew.reports[k].exit, "stopped", "%s", crew.reports[k].exit);
			cr_assert_geq(cpuset_count(&crew.reports[k].cpus_used), 2);
			cr_assert_geq(crew.reports[k].migrations, 10);
		}
		crew_release(&crew);
	}
}

Test(work, fan_out_compute_computes, .timeout = 30)
{
	struct work_params params = work_params_standard(WORK_FAN_OUT_COMPUTE);
	crew_run(&crew, &params, 5, 5);
	/* 3 * 8 * 104^2 bytes are the most in 256 KiB; the rest of the last round was called off. */
	for (unsigned k = 1; k < 5; k++) {
		cr_assert_geq(crew.reports[k].units, (crew.reports[k].iterations - 1) * 5 * 104);
		cr_assert_leq(crew.reports[k].units, crew.reports[k].iterations * 5 * 104);
		cr_assert_gt(crew.reports[k].wakeups, crew.reports[k].iterations / 2);
	}
	crew_release(&crew);
}
