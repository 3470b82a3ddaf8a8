/* SPDX-License-Identifier: GPL-2.0-only */
/* Freezes of clients on a stock kernel with busy CPUs: e2e-freeze KERNEL TOPOLOGY CLOCKSOURCE boots one VM.
 * What is measured is the guest's CLOCK_MONOTONIC, as its agent stamps ops. */
#include "common/clock.h"
#include "common/fd.h"
#include "tests/e2e/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct vm_process vm;
static const char *clocksource;

static void release(json_t **json)
{
	json_decref(*json);
}
#define _cleanup_json_ __attribute__((cleanup(release)))

/* Output of `schedrig --json ...`, or NULL. */
static json_t *client(const char *const *args)
{
	_cleanup_run_ struct run run;
	vm_client(&vm, args, 60, &run);
	if (run.status != 0)
		fprintf(stderr, "schedrig %s: exit %d, %s", args[0], run.status, strbuf_str(&run.err));
	return run.status == 0 ? json_loads(strbuf_str(&run.out), 0, NULL) : NULL;
}

static json_t *apply(const char *yaml)
{
	const char *path = scratch_path("ops.yaml");
	struct err err = ERR_INIT;
	if (fd_replace_file(path, yaml, strlen(yaml), 0644, &err) < 0)
		return NULL;
	return client((const char *const[]){"--json", "apply", path, NULL});
}

/* Guest and host time of one moment: the guest's is between the two of the host. */
struct moment {
	uint64_t guest_ns, before_ns, after_ns;
};

static bool look(struct moment *ret)
{
	static unsigned number;
	char yaml[64];
	snprintf(yaml, sizeof(yaml), "{ops: [{add_cgroup: {name: look%u}}]}", number++);
	ret->before_ns = clock_now_ns();
	_cleanup_json_ json_t *applied = apply(yaml);
	ret->after_ns = clock_now_ns();
	ret->guest_ns = applied ? (uint64_t)json_number(applied, "results[0].begin_ns") : 0;
	return applied && ret->guest_ns;
}

static void sleep_ns(uint64_t ns)
{
	struct timespec until = clock_timespec(clock_deadline_ns(ns));
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL))
		;
}

/* Freezes for so long and thaws; frozen_ns as the controller says. */
static bool freeze_for(uint64_t ns, bool clock_runs, uint64_t *ret_frozen_ns, const char *want_time)
{
	_cleanup_json_ json_t *frozen = client((const char *const[]){
		"--json", "freeze", "--lease=100s", clock_runs ? "--clock-runs" : NULL, NULL});
	if (!frozen)
		return false;
	sleep_ns(ns);
	_cleanup_json_ json_t *thawed = client((const char *const[]){"--json", "thaw", NULL});
	if (!thawed)
		return false;
	*ret_frozen_ns = (uint64_t)json_number(thawed, "freeze.frozen_ns");
	if (strcasestr(json_text(thawed, "freeze.guest_time"), want_time) == NULL) {
		fprintf(stderr, "the guest's time is '%s', not %s\n", json_text(thawed, "freeze.guest_time"),
			want_time);
		return false;
	}
	return true;
}

/* How much of the frozen time is in the guest's clock, as far as two looks can tell: low..high. */
static void contained(
	const struct moment *a, const struct moment *b, uint64_t frozen_ns, int64_t *low, int64_t *high)
{
	int64_t guest = (int64_t)(b->guest_ns - a->guest_ns);
	*low = guest - ((int64_t)(b->after_ns - a->before_ns) - (int64_t)frozen_ns);
	*high = guest - ((int64_t)(b->before_ns - a->after_ns) - (int64_t)frozen_ns);
}

#define LONG_NS (10 * NS_PER_S)

static void long_freeze(bool clock_runs)
{
	struct moment a, b;
	uint64_t frozen_ns = 0;
	int64_t low, high;
	EXPECT(look(&a));
	EXPECT(freeze_for(LONG_NS, clock_runs, &frozen_ns, clock_runs ? "ran" : "stopped"));
	EXPECT(look(&b));
	EXPECT(frozen_ns >= LONG_NS);
	contained(&a, &b, frozen_ns, &low, &high);
	if (clock_runs)
		EXPECT(high >= (int64_t)frozen_ns - (int64_t)NS_PER_S, "%lld of %llu ms",
			(long long)high / 1000000, (unsigned long long)frozen_ns / 1000000);
	else
		EXPECT(low <= (int64_t)(100 * NS_PER_MS),
			"at least %lld ms of %llu ms are in the guest's clock", (long long)low / 1000000,
			(unsigned long long)frozen_ns / 1000000);
}

static void test_a_long_freeze_is_no_time_to_the_guest(void)
{
	long_freeze(false);
}

static void test_a_long_freeze_with_time_running(void)
{
	long_freeze(true);
}

/* Cold reads: many short ones. */
static void test_short_freezes_add_up_to_nothing(void)
{
	enum { FREEZES = 40 };
	struct moment a, b;
	int64_t low, high;
	_cleanup_json_ json_t *result = NULL;
	int status;
	EXPECT(look(&a));
	result = vm_submit(&vm,
		"{name: cold, duration: 2s, steps: [{hold: {loop: 50ms}, ops: [{read_kernel_cold: {reads: "
		"[{target: {symbol: jiffies_64}, width: u64, tag: j}]}}]}]}",
		&status);
	EXPECT(look(&b));
	EXPECT(result && status == 0, "exit %d", status);
	json_int_t freezes = json_number(result, "freezes"), frozen_ns = json_number(result, "frozen_ns");
	EXPECT(freezes > 3, "%lld freezes", (long long)freezes);
	contained(&a, &b, (uint64_t)frozen_ns, &low, &high);
	EXPECT(low <= (int64_t)(100 * NS_PER_MS), "at least %lld ms in %lld freezes",
		(long long)low / 1000000, (long long)freezes);
	EXPECT(high >= -(int64_t)(NS_PER_S), "%lld ms are missing", (long long)high / 1000000);
}

static void test_the_lease_thaws(void)
{
	uint64_t begin_ns = clock_now_ns();
	_cleanup_json_ json_t *frozen = client((const char *const[]){"--json", "freeze", "--lease=1s", NULL});
	EXPECT(frozen != NULL);
	/* An op is only answered by a guest that runs. */
	struct moment a;
	EXPECT(look(&a));
	EXPECT(clock_now_ns() - begin_ns >= NS_PER_S);
	_cleanup_run_ struct run run;
	vm_client(&vm, (const char *const[]){"thaw", NULL}, 20, &run);
	EXPECT(run.status == 69 && strstr(strbuf_str(&run.err), "no client holds"), "exit %d: %s", run.status,
		strbuf_str(&run.err));
}

static void test_the_kernel_has_no_complaint(void)
{
	static const char *const complaints[] = {"soft lockup", "hard LOCKUP", "rcu_sched",
		"rcu_preempt detected", "self-detected stall", "hung_task", "blocked for more than",
		"Marking clocksource", "clocksource watchdog", "timekeeping watchdog",
		"sched_ext: ", "runnable task stall", "NOHZ tick-stop error", "time went backwards",
		"BUG:", "WARNING:"};
	char path[512];
	static char log[1 << 20];
	snprintf(path, sizeof(path), "%s/kernel.log", vm.run_dir);
	FILE *f = fopen(path, "r");
	EXPECT(f != NULL, "%s", path);
	log[fread(log, 1, sizeof(log) - 1, f)] = '\0';
	fclose(f);
	char want[64];
	snprintf(want, sizeof(want), "Switched to clocksource %s", clocksource);
	EXPECT(strstr(log, want) != NULL, "the kernel does not use %s", clocksource);
	/* Says how slow a loaded host was, by steal or by a freeze: seen once, worth a look, no verdict. */
	const char *slow = strstr(log, "hrtimer: interrupt took");
	if (slow)
		printf("# the kernel notes: %.*s\n", (int)strcspn(slow, "\n"), slow);
	for (size_t i = 0; i < sizeof(complaints) / sizeof(complaints[0]); i++) {
		const char *at = strstr(log, complaints[i]);
		EXPECT(at == NULL, "%.*s", at ? (int)strcspn(at, "\n") : 0, at ? at : "");
	}
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: %s KERNEL TOPOLOGY CLOCKSOURCE\n", argv[0]);
		return 64;
	}
	clocksource = argv[3];
	/* Without invariant TSC in CPUID a kernel prefers kvmclock, and is told here what the bit would tell
	 * it. */
	static const char *const tsc[] = {"--cmdline", "clocksource=tsc tsc=reliable", NULL};
	harness_begin(argc, argv);
	if (!vm_up(&vm, argv[1], argv[2], true, strcmp(clocksource, "tsc") == 0 ? tsc : NULL)) {
		printf("Bail out! the VM did not come up: %s\nnot ok 1 - boot\n", vm.error);
		harness_end();
		tap_end();
		return 1;
	}
	json_t *busy = apply("{ops: [{add_cgroup_def: {def: {name: busy, work: [{workers: 2}]}}}]}");
	if (!busy)
		printf("not ok 1001 - busy workers\n");
	json_decref(busy);
	tap_run("a_long_freeze_is_no_time_to_the_guest", test_a_long_freeze_is_no_time_to_the_guest);
	tap_run("short_freezes_add_up_to_nothing", test_short_freezes_add_up_to_nothing);
	tap_run("the_lease_thaws", test_the_lease_thaws);
	tap_run("a_long_freeze_with_time_running", test_a_long_freeze_with_time_running);
	tap_run("the_kernel_has_no_complaint", test_the_kernel_has_no_complaint);
	int status = vm_down(&vm);
	if (status != 0)
		printf("not ok 1000 - shut down in order: exit status %d\n", status);
	harness_end();
	return tap_end();
}
