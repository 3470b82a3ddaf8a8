/* SPDX-License-Identifier: GPL-2.0-only */
/* Freezes and steps of clients on a stock kernel with busy CPUs: e2e-freeze KERNEL TOPOLOGY CLOCKSOURCE boots
 * one VM. What is measured is the guest's CLOCK_MONOTONIC, as its agent stamps ops, and what a program in the
 * guest (clocks.c) makes of its clocks. */
#include "common/clock.h"
#include "common/fd.h"
#include "common/strbuf.h"
#include "tests/e2e/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct vm_process vm;
static const char *clocksource;
static json_int_t busy[2]; /* PIDs of workers that spin */
static uint64_t
	jitter_ns; /* the longest step of CLOCK_MONOTONIC between two looks of a program, without freezes */

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
		"{name: cold, duration: 4s, steps: [{hold: {loop: 50ms}, ops: [{read_kernel_cold: {reads: "
		"[{target: {symbol: jiffies_64}, width: u64, tag: j}]}}]}]}",
		&status);
	EXPECT(look(&b));
	EXPECT(result && status == 0, "exit %d", status);
	json_int_t freezes = json_number(result, "freezes"), frozen_ns = json_number(result, "frozen_ns");
	EXPECT(freezes > 0, "%lld freezes", (long long)freezes);
	contained(&a, &b, (uint64_t)frozen_ns, &low, &high);
	EXPECT(low <= (int64_t)(100 * NS_PER_MS), "at least %lld ms in %lld freezes",
		(long long)low / 1000000, (long long)freezes);
	EXPECT(high >= -(int64_t)(NS_PER_S), "%lld ms are missing", (long long)high / 1000000);
}

/* --- a program that looks at its clocks */

#define CLOCKS(seconds)                                                                                      \
	"{payloads: [{name: clocks, program: clocks, default_args: ['" seconds "']}], ops: [{run_payload: "  \
	"{payload: clocks}}]}"

static bool clocks_begin(const char *yaml)
{
	_cleanup_json_ json_t *begun = apply(yaml);
	return begun && json_number(begun, "results[0].pids[0]") > 0;
}

/* Waits for it and takes its word; false with a failure recorded. */
static bool clocks_end(uint64_t *ret_step_ns)
{
	_cleanup_json_ json_t *ended = apply("{ops: [{wait_payload: {name: clocks, timeout: 50s}}]}");
	unsigned cpus = 0;
	unsigned long long reads = 0, back = 0, worst_ns = 0, step_ns = 0;
	const char *text = ended ? json_text(ended, "results[0].payload.stdout_tail") : "";
	if (sscanf(text, "cpus %u reads %llu back %llu worst_ns %llu step_ns %llu", &cpus, &reads, &back,
		    &worst_ns, &step_ns) != 5)
		tap_fail(__FILE__, __LINE__, "the program in the guest said '%s'", text);
	else if (cpus != 2 || reads == 0 || back != 0)
		tap_fail(__FILE__, __LINE__, "on %u CPUs, of %llu reads %llu went back, by up to %llu ns",
			cpus, reads, back, worst_ns);
	else {
		printf("# %llu reads on %u CPUs; longest step %.1f ms\n", reads, cpus, (double)step_ns / 1e6);
		*ret_step_ns = step_ns;
		return true;
	}
	return false;
}

static void test_clocks_without_freezes(void)
{
	EXPECT(clocks_begin(CLOCKS("2")));
	EXPECT(clocks_end(&jitter_ns));
}

/* Of the first entry that was read. */
static unsigned long long value_of(json_t *answer)
{
	return (unsigned long long)json_count(answer, "values[0].value");
}

/* CPU time of a worker that spins; -1: it cannot be read. */
static long long cpu_ns(json_int_t pid)
{
	char path[64];
	snprintf(path, sizeof(path), "task(%lld).se.sum_exec_runtime", (long long)pid);
	_cleanup_json_ json_t *answer = client((const char *const[]){"--json", "read", path, NULL});
	return answer ? (long long)value_of(answer) : -1;
}

/* Waits until it has run on. */
static bool goes_on(json_int_t pid)
{
	uint64_t limit_ns = harness_deadline_ns(60);
	long long before = cpu_ns(pid);
	while (before >= 0 && cpu_ns(pid) == before && clock_left_ns(limit_ns))
		;
	return before >= 0 && clock_left_ns(limit_ns) > 0;
}

/* Again and again, some with room between them, the others back to back, while workers spin and a program
 * watches the clocks. */
#define CYCLES 2000
#define CYCLES_AT_ONCE 50

static unsigned freeze_back_to_back(uint64_t *frozen_ns)
{
	_cleanup_strbuf_ struct strbuf yaml = STRBUF_INIT;
	unsigned done = 0;
	strbuf_puts(&yaml, "{ops: [");
	for (unsigned i = 0; i < CYCLES_AT_ONCE; i++)
		strbuf_puts(
			&yaml, "{read_kernel_cold: {reads: [{target: {symbol: jiffies_64}, width: u64}]}},");
	strbuf_puts(&yaml, "]}");
	_cleanup_json_ json_t *applied = apply(strbuf_str(&yaml));
	json_t *results = applied ? json_at(applied, "results") : NULL;
	for (size_t i = 0; i < json_array_size(results); i++) {
		json_int_t ns = json_number(json_array_get(results, i), "freeze.frozen_ns");
		done += ns > 0;
		*frozen_ns += ns > 0 ? (uint64_t)ns : 0;
	}
	return done;
}

static void test_thousands_of_freezes_move_no_clock(void)
{
	struct moment a, b;
	uint64_t frozen_ns = 0, step_ns;
	int64_t low, high;
	unsigned freezes = 0;
	int status;
	EXPECT(jitter_ns > 0, "not measured");
	EXPECT(clocks_begin(CLOCKS("10")));
	EXPECT(look(&a));
	_cleanup_json_ json_t *result = vm_submit(&vm,
		"{name: cycles, duration: 2s, steps: [{hold: {loop: 5ms}, ops: [{read_kernel_cold: {reads: "
		"[{target: {symbol: jiffies_64}, width: u64}]}}]}]}",
		&status);
	EXPECT(result && status == 0, "exit %d", status);
	freezes = (unsigned)json_number(result, "freezes");
	frozen_ns = (uint64_t)json_number(result, "frozen_ns");
	unsigned spaced = freezes;
	while (freezes < CYCLES) {
		unsigned more = freeze_back_to_back(&frozen_ns);
		EXPECT(more == CYCLES_AT_ONCE, "%u of %d", more, CYCLES_AT_ONCE);
		freezes += more;
	}
	EXPECT(look(&b));
	contained(&a, &b, frozen_ns, &low, &high);
	printf("# %u freezes, %u of them with 5 ms between: %.1f ms frozen; each moved the clock by at least "
	       "%.1f us and at "
	       "most %.1f us\n",
		freezes, spaced, (double)frozen_ns / 1e6, (double)low / 1e3 / freezes,
		(double)high / 1e3 / freezes);
	EXPECT(low <= (int64_t)(jitter_ns * freezes),
		"each moves the clock by at least %.1f us, and its own jitter is %.1f us",
		(double)low / 1e3 / freezes, (double)jitter_ns / 1e3);
	EXPECT(clocks_end(&step_ns));
	/* No vCPU is lost: who was at work on each still is. */
	for (unsigned i = 0; i < 2; i++)
		EXPECT(goes_on(busy[i]), "worker %u stands still", i);
}

/* --- stepping */

static json_t *step(unsigned vcpu, const char *count)
{
	char number[16];
	snprintf(number, sizeof(number), "%u", vcpu);
	return client((const char *const[]){"--json", "step", number, count, NULL});
}

#define KVM_HALTED 3

static void test_one_vcpu_steps_and_the_other_does_not(void)
{
	_cleanup_run_ struct run run;
	vm_client(&vm, (const char *const[]){"step", "0", NULL}, 20, &run);
	EXPECT(run.status == 69 && strstr(strbuf_str(&run.err), "freeze it first"), "exit %d: %s", run.status,
		strbuf_str(&run.err));
	_cleanup_json_ json_t *frozen =
		client((const char *const[]){"--json", "freeze", "--lease=100s", NULL});
	EXPECT(frozen != NULL);
	/* Two workers spin, so at most one CPU has nothing to do at this moment. */
	_cleanup_json_ json_t *first = step(0, "0");
	unsigned who = first && json_number(first, "registers.mp_state") == KVM_HALTED ? 1 : 0;
	_cleanup_json_ json_t *other = step(!who, "0"), *before = step(who, "0"), *after = step(who, "200"),
			      *still = step(!who, "0");
	/* Cold reads work within it, or this one would wait for the lease. */
	uint64_t begin_ns = clock_now_ns();
	_cleanup_json_ json_t *cold =
		client((const char *const[]){"--json", "read", "--cold", "jiffies_64", NULL});
	uint64_t took_ns = clock_now_ns() - begin_ns;
	_cleanup_json_ json_t *thawed = client((const char *const[]){"--json", "thaw", NULL});
	EXPECT(other && before && after && still && cold && thawed);
	EXPECT(took_ns < 100 * NS_PER_S);
	/* It may have been on its way to a HLT. */
	json_int_t executed = json_number(after, "executed");
	EXPECT(executed == 200 || (executed > 0 && json_number(after, "registers.mp_state") == KVM_HALTED),
		"%lld", (long long)executed);
	EXPECT(!json_equal(json_at(before, "registers"), json_at(after, "registers")));
	EXPECT(json_equal(json_at(other, "registers"), json_at(still, "registers")));
	EXPECT(json_count(thawed, "freeze.stepped_ns") > 0);
	/* Both go on. */
	struct moment a;
	EXPECT(look(&a));
	for (unsigned i = 0; i < 2; i++)
		EXPECT(goes_on(busy[i]), "worker %u stands still", i);
}

/* --- cold writes, and workers that look old */

static void test_adjacent_cold_writes_are_one_freeze(void)
{
	int status;
	_cleanup_json_ json_t *result = vm_submit(&vm,
		"{name: writes, duration: 1s, steps: [{hold: {fixed: 1ms}, ops: ["
		"{read_kernel_hot: {reads: [{target: {symbol: sysctl_sched_base_slice}, width: u32, tag: "
		"s}]}},"
		"{write_kernel_cold: {writes: [{target: {symbol: sysctl_sched_base_slice}, value: "
		"{from_read: {tag: s}}}]}},"
		"{write_kernel_cold: {writes: [{target: {symbol: sysctl_sched_base_slice}, value: "
		"{from_read: {tag: s}}}]}},"
		"{write_kernel_cold: {writes: [{target: {symbol: sysctl_sched_base_slice}, value: "
		"{from_read: {tag: s}}}]}}]}]}",
		&status);
	EXPECT(result && status == 0, "exit %d: %s", status,
		result ? json_text(result, "verdict.summary") : "");
	EXPECT(json_number(result, "freezes") == 1, "%lld freezes",
		(long long)json_number(result, "freezes"));
}

static void test_uptime(void)
{
	char path[80];
	_cleanup_json_ json_t *applied = apply("{ops: [{spawn: {runner_cgroup: {}, work: {workers: 2, "
					       "uptime: 1h, work_type: {bursty: {}}}}}]}");
	EXPECT(applied != NULL && json_array_size(json_at(applied, "results[0].held")) == 2);
	EXPECT(json_number(applied, "results[0].freeze.frozen_ns") > 0);
	for (unsigned i = 0; i < 2; i++) {
		char member[64];
		snprintf(member, sizeof(member), "results[0].held[%u].pid", i);
		json_int_t pid = json_number(applied, member);
		EXPECT(pid > 1);
		snprintf(path, sizeof(path), "task(%lld).start_boottime", (long long)pid);
		_cleanup_json_ json_t *start = client((const char *const[]){"--json", "read", path, NULL});
		snprintf(path, sizeof(path), "task(%lld).start_time", (long long)pid);
		_cleanup_json_ json_t *real = client((const char *const[]){"--json", "read", path, NULL});
		snprintf(path, sizeof(path), "task(%lld).scx.dsq_vtime", (long long)pid);
		_cleanup_json_ json_t *vtime = client((const char *const[]){"--json", "read", path, NULL});
		EXPECT(start && real && vtime);
		/* Both count from the boot, and are read one after the other when a task is made: the
		 * pretended age is what lies between them. */
		const unsigned long long hour = 3600 * 1000000000ull, age = value_of(real) - value_of(start);
		EXPECT(age > hour - 10 * NS_PER_S && age < hour + 10 * NS_PER_S, "%llu ns older", age);
		EXPECT(value_of(vtime) == hour, "dsq_vtime %llu", value_of(vtime));
		/* They were released. */
		EXPECT(goes_on(pid), "it never began");
	}
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

/* When each test ran, in guest time. */
static struct {
	const char *name;
	uint64_t begin_ns, end_ns;
} times[16];
static unsigned n_times;

static void timed(const char *name, test_fn fn)
{
	struct moment begin = {0}, end = {0};
	look(&begin);
	tap_run(name, fn);
	look(&end);
	times[n_times].name = name;
	times[n_times].begin_ns = begin.guest_ns;
	times[n_times++].end_ns = end.guest_ns;
}

/* A note of the kernel's that is no complaint: three timer interrupts in a row were due again by the time
 * that they were done, so the guest was slow, by itself or by its host. Told with the test that it came in:
 * without freezes, or with them. */
static void tell_when(const char *log, const char *note)
{
	const char *at = strstr(log, note), *line = at;
	double seconds = -1;
	if (!at)
		return;
	while (line > log && line[-1] != '\n')
		line--;
	const char *stamp = strchr(line, '[');
	if (stamp && stamp < at)
		seconds = atof(stamp + 1);
	const char *when = "between tests";
	for (unsigned i = 0; i < n_times; i++)
		if (seconds * 1e9 >= (double)times[i].begin_ns && seconds * 1e9 <= (double)times[i].end_ns)
			when = times[i].name;
	if (n_times && seconds * 1e9 < (double)times[0].begin_ns)
		when = "boot";
	printf("# the kernel notes, at %.3f s, in %s: %.*s\n", seconds, when, (int)strcspn(at, "\n"), at);
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
	tell_when(log, "hrtimer: interrupt took");
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
	char clocks[512];
	const char *options[8];
	unsigned n = 0;
	harness_begin(argc, argv);
	snprintf(clocks, sizeof(clocks), "clocks=%s", program_path("../tests/e2e/e2e-clocks"));
	options[n++] = "--stage";
	options[n++] = clocks;
	for (unsigned i = 0; strcmp(clocksource, "tsc") == 0 && tsc[i]; i++)
		options[n++] = tsc[i];
	options[n] = NULL;
	if (!vm_main_begin(&vm, argv[1], argv[2], true, options))
		return vm_main_end(&vm, false);
	json_t *made = apply("{ops: [{add_cgroup_def: {def: {name: busy, work: [{workers: 2}]}}}]}");
	busy[0] = made ? json_number(made, "results[0].pids[0]") : -1;
	busy[1] = made ? json_number(made, "results[0].pids[1]") : -1;
	if (busy[0] < 1 || busy[1] < 1)
		printf("not ok 1001 - busy workers\n");
	json_decref(made);
	timed("clocks_without_freezes", test_clocks_without_freezes);
	timed("a_long_freeze_is_no_time_to_the_guest", test_a_long_freeze_is_no_time_to_the_guest);
	timed("short_freezes_add_up_to_nothing", test_short_freezes_add_up_to_nothing);
	timed("thousands_of_freezes_move_no_clock", test_thousands_of_freezes_move_no_clock);
	timed("one_vcpu_steps_and_the_other_does_not", test_one_vcpu_steps_and_the_other_does_not);
	timed("adjacent_cold_writes_are_one_freeze", test_adjacent_cold_writes_are_one_freeze);
	timed("uptime", test_uptime);
	timed("the_lease_thaws", test_the_lease_thaws);
	timed("a_long_freeze_with_time_running", test_a_long_freeze_with_time_running);
	tap_run("the_kernel_has_no_complaint", test_the_kernel_has_no_complaint);
	return vm_main_end(&vm, true);
}
