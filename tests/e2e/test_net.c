/* SPDX-License-Identifier: GPL-2.0-only */
/* A machine with a network device and disks (--net, --disk): frames and interrupts by the guest's own driver,
 * steering, programs on the loopback interface; what is on the disks (net_disks.c); and the link when hogs or
 * a lack of memory starve everything else. One VM: e2e-net KERNEL. */
#include "common/clock.h"
#include "tests/e2e/beats.h"
#include "tests/e2e/net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct vm_process vm;

static void test_frames_come_back(void)
{
	_cleanup_json_ json_t *result = vm_submit_for(&vm,
		"name: frames\n"
		"duration: 3s\n"
		"backdrop:\n"
		"  cgroups:\n"
		"    - {name: a, work: [\n"
		"       {work_type: {net_traffic: {interval: 0s, frame: 1514}}, comm: storm},\n"
		"       {work_type: {net_traffic: {interval: 2ms}}, comm: calm, uid: 1000, gid: 1000},\n"
		"       {work_type: {irq_wake: {interval: 2ms}}, workers: 2, comm: pair}]}\n"
		"steps: [{hold: full}]\n"
		"assertions: {not_stuck: {}, max_gap: 5m, max_spread_pct: 100}\n",
		0);
	EXPECT(result != NULL);
	EXPECT(json_array_size(json_object_get(result, "workers")) == 4);
	json_t *calm = json_worker(result, "calm");
	EXPECT(json_number(json_worker(result, "storm"), "units") > 0);
	EXPECT(json_number(calm, "units") > 0 && json_number(calm, "wakeups") > 0);
	json_int_t woken = 0;
	size_t i;
	json_t *worker;
	json_array_foreach(json_object_get(result, "workers"), i, worker)
	{
		EXPECT(strcmp(json_text(worker, "exit"), "stopped") == 0, "%s", json_text(worker, "exit"));
		if (strcmp(json_text(worker, "comm"), "pair") == 0)
			woken += json_number(worker, "wakeups");
	}
	EXPECT(woken > 0);
}

/* What /proc/irq says of the device's interrupt, by the directory that has its action's name. */
#define WHERE                                                                                                \
	"  - {name: where, program: sh, default_args: [-c, 'cat "                                            \
	"/proc/irq/*/virtio2/../smp_affinity_list']}\n"
#define ASK "      - run_payload: {payload: where}\n      - wait_payload: {name: where}\n"

static void test_interrupts_are_steered(void)
{
	_cleanup_json_ json_t *result = vm_submit_for(&vm,
		"name: steer\n"
		"duration: 120s\n"
		"payloads:\n" WHERE "backdrop:\n"
		"  cgroups: [{name: a, work: [{work_type: {net_traffic: {}}}]}]\n"
		"  ops: [{steer_irq: {irq: virtio2, cpu: 0, wait: 60s}, timeout: 60s}]\n"
		"steps:\n"
		"  - ops:\n"
		"      - {steer_irq: {irq: virtio2, cpu: 1, wait: 60s}, timeout: 60s}\n" ASK
		"    hold: {fixed: 0s}\n"
		"  - ops:\n" ASK "    hold: {fixed: 0s}\n"
		"  - ops:\n"
		"      - steer_irq: {irq: no-such-action, cpu: 0}\n"
		"        expect_error: NotFound\n"
		"      - steer_irq: {irq: '', cpu: 0}\n"
		"        expect_error: InvalidArgument\n"
		"      - steer_irq: {irq: '99', cpu: 0}\n"
		"        expect_error: NotFound\n" ASK "    hold: {fixed: 0s}\n",
		0);
	EXPECT(result != NULL);
	json_t *op = json_op(result, "backdrop.ops[0]");
	EXPECT(strcmp(json_text(op, "irq.effective"), "0") == 0, "%s", json_text(op, "irq.effective"));
	EXPECT(strcmp(json_text(op, "irq.actions"), "virtio2") == 0, "%s", json_text(op, "irq.actions"));
	op = json_op(result, "steps[0].ops[0]");
	EXPECT(json_at(op, "irq.pending") == NULL || json_is_false(json_at(op, "irq.pending")));
	EXPECT(strcmp(json_text(op, "irq.effective"), "1") == 0, "%s", json_text(op, "irq.effective"));
	EXPECT(strcmp(json_text(op, "irq.before"), "0") == 0, "%s", json_text(op, "irq.before"));
	EXPECT(strcmp(json_text(json_op(result, "steps[0].ops[2]"), "payload.stdout_tail"), "1\n") == 0);
	/* The step's end gives it back to the backdrop. */
	EXPECT(strcmp(json_text(json_op(result, "steps[1].ops[1]"), "payload.stdout_tail"), "0\n") == 0, "%s",
		json_text(json_op(result, "steps[1].ops[1]"), "payload.stdout_tail"));
	for (unsigned i = 0; i < 3; i++) {
		char place[40];
		snprintf(place, sizeof(place), "steps[2].ops[%u]", i);
		EXPECT(strstr(json_text(json_op(result, place), "error.message"), "(virtio2)"), "%s: %s",
			place, json_text(json_op(result, place), "error.message"));
	}
	EXPECT(strcmp(json_text(json_op(result, "steps[2].ops[4]"), "payload.stdout_tail"), "0\n") == 0);

	/* The scenario's end gives it back altogether; keep does not. */
	_cleanup_json_ json_t *kept = vm_submit_for(&vm,
		"name: keep\n"
		"duration: 120s\n"
		"payloads:\n" WHERE "steps:\n"
		"  - ops:\n" ASK "      - steer_irq: {irq: virtio2, cpu: 1, wait: 0s, keep: true}\n"
		"    hold: {fixed: 0s}\n"
		"  - ops:\n" ASK "    hold: {fixed: 0s}\n",
		0);
	EXPECT(kept != NULL);
	EXPECT(strcmp(json_text(json_op(kept, "steps[0].ops[1]"), "payload.stdout_tail"),
		       json_text(json_op(result, "backdrop.ops[0]"), "irq.before")) != 0 &&
			strncmp(json_text(json_op(kept, "steps[0].ops[1]"), "payload.stdout_tail"),
				json_text(json_op(result, "backdrop.ops[0]"), "irq.before"),
				strlen(json_text(json_op(result, "backdrop.ops[0]"), "irq.before"))) == 0,
		"%s", json_text(json_op(kept, "steps[0].ops[1]"), "payload.stdout_tail"));
	/* Nobody uses the device: it moves with the next interrupt. */
	EXPECT(json_is_true(json_at(json_op(kept, "steps[0].ops[2]"), "irq.pending")) ||
		strcmp(json_text(json_op(kept, "steps[0].ops[2]"), "irq.effective"), "1") == 0);
	EXPECT(strcmp(json_text(json_op(kept, "steps[1].ops[1]"), "payload.stdout_tail"), "1\n") == 0);
}

static void test_scenario_irq_steering(void)
{
	vm_submit_file(&vm, "irq-steering.yaml", 0);
}

static void test_iperf3_over_lo(void)
{
	/* The client comes again until the server listens; the server serves one and ends. */
	_cleanup_json_ json_t *result = vm_submit_for(&vm,
		"name: iperf3\n"
		"duration: 300s\n"
		"payloads:\n"
		"  - {name: server, program: iperf3, default_args: [-s, '-1', -B, 127.0.0.1], checks: "
		"[exit_code_eq: 0]}\n"
		"  - {name: client, program: sh, default_args: [-c, 'until iperf3 -c 127.0.0.1 -t 1; do "
		":; done'], checks: [exit_code_eq: 0]}\n"
		"steps:\n"
		"  - ops:\n"
		"      - add_cgroup: {name: a}\n"
		"      - run_payload: {payload: server, cgroup: a}\n"
		"      - run_payload: {payload: client}\n"
		"      - wait_payload: {name: client}\n"
		"      - wait_payload: {name: server}\n"
		"    hold: {fixed: 0s}\n",
		0);
	EXPECT(result != NULL);
	EXPECT(strstr(json_text(json_op(result, "steps[0].ops[3]"), "payload.stdout_tail"), "bits/sec"), "%s",
		json_text(json_op(result, "steps[0].ops[3]"), "payload.stdout_tail"));
}

static void test_kernel_workers_of_the_link_are_raised(void)
{
	/* Field 41 of /proc/PID/stat is the policy, 1 = FIFO; 40 its priority. The kernel makes new ones as
	 * it goes, so: until all that are there are raised. */
	_cleanup_json_ json_t *result = vm_submit_for(&vm,
		"name: raised\n"
		"duration: 300s\n"
		"payloads:\n"
		"  - {name: look, program: sh, checks: [exit_code_eq: 0], default_args: [-c, 'look() { n=0; "
		"for f "
		"in /proc/[0-9]*/stat; do read -r line <$f || continue; set -- $line; case $2 in "
		"\"(kworker/1:\"*) n=$((n+1)); [ \"${40} ${41}\" = \"99 1\" ] || return 1;; esac; done; [ $n "
		"-gt 0 ]; }; until look; do :; done']}\n"
		"steps: [{ops: [{run_payload: {payload: look}}, {wait_payload: {name: look}}], hold: {fixed: "
		"0s}}]\n",
		0);
	EXPECT(result != NULL);
}

static json_int_t info_number(const char *name)
{
	_cleanup_run_ struct run run;
	vm_client(&vm, (const char *const[]){"--json", "info", NULL}, 60, &run);
	_cleanup_json_ json_t *info = json_loads(strbuf_str(&run.out), 0, NULL);
	return json_number(info, name);
}

/* The agent's promise, in time that the host gave the guest. */
static void expect_beats(const struct beats_seen *seen)
{
	printf("# longest time without a heartbeat, by %u looks: %.3f s, of which the host gave each vCPU at "
	       "least "
	       "%.3f s; by the guest's clock, since it is up: %.3f s\n",
		seen->looks, (double)seen->gap_ns / 1e9, (double)seen->given_ns / 1e9,
		(double)info_number("agent_max_gap_ns") / 1e9);
	EXPECT(seen->guest_ns > 0, "the host has no account of guest time");
	EXPECT(seen->given_ns < BEATS_LIMIT_NS, "%llu ns without a heartbeat",
		(unsigned long long)seen->given_ns);
}

static void test_hogs_on_every_cpu(void)
{
	json_int_t before = info_number("agent_heartbeat");
	struct beats *beats = beats_watch(&vm);
	EXPECT(beats != NULL);
	/* Ops while they run, and after. */
	_cleanup_json_ json_t *result = vm_submit_for(&vm,
		"name: hogs\n"
		"duration: 6s\n"
		"steps:\n"
		"  - ops:\n"
		"      - spawn: {runner_cgroup: {}, work: {workers: 4, "
		"policy: {fifo: {priority: 98}}, affinity: "
		"{spread: {}}, comm: hog}}\n"
		"      - add_cgroup: {name: a}\n"
		"      - capture_cgroup_procs: {tag: t, cgroup: a}\n"
		"      - remove_cgroup: {cgroup: a}\n"
		"    hold: {fixed: 4s}\n"
		"  - ops:\n"
		"      - spawn: {runner_cgroup: {}, work: {workers: 2}}\n"
		"      - add_cgroup: {name: b}\n"
		"    hold: {fixed: 200ms}\n",
		0);
	struct beats_seen seen = beats_end(beats);
	EXPECT(result != NULL);
	EXPECT(json_number(json_worker(result, "hog"), "units") > 0);
	EXPECT(info_number("agent_heartbeat") > before);
	expect_beats(&seen);
}

static void test_memory_runs_out(void)
{
	struct beats *beats = beats_watch(&vm);
	EXPECT(beats != NULL);
	/* In a cgroup first, then in the whole machine; each time until the kernel has killed somebody. The
	 * shell that looks does so by itself: there may be no memory for another process. */
	_cleanup_json_ json_t *result = vm_submit_for(&vm,
		"name: memory\n"
		"duration: 600s\n"
		"payloads:\n"
		"  - {name: until, program: sh, checks: [exit_code_eq: 0], default_args: [-c, "
		"'killed() { while read "
		"-r name n; do [ $name = oom_kill ] && return; done </proc/vmstat; }; until killed; [ "
		"$n -ge $0 ]; do "
		":; done']}\n"
		"steps:\n"
		"  - ops:\n"
		"      - add_cgroup_def: {def: {name: small, memory: {max: 32M}, work: [{comm: fat, "
		"work_type: "
		"{page_fault_churn: {region: 128M, touches: 32768}}}]}}\n"
		"      - run_payload: {payload: until, args: ['1']}\n"
		"      - wait_payload: {name: until}\n"
		"    hold: {fixed: 0s}\n"
		"  - ops:\n"
		"      - spawn: {runner_cgroup: {}, work: {workers: 3, comm: huge, work_type: "
		"{page_fault_churn: {region: 700M, touches: 179200}}}}\n"
		"      - run_payload: {payload: until, args: ['2']}\n"
		"      - wait_payload: {name: until}\n"
		"    hold: {fixed: 0s}\n"
		"  - ops:\n"
		"      - spawn: {runner_cgroup: {}, work: {workers: 1, comm: after}}\n"
		"    hold: {fixed: 200ms}\n",
		0);
	struct beats_seen seen = beats_end(beats);
	EXPECT(result != NULL);
	EXPECT(strcmp(json_text(json_worker(result, "fat"), "exit"), "killed") == 0, "%s",
		json_text(json_worker(result, "fat"), "exit"));
	unsigned killed = 0;
	size_t i;
	json_t *worker;
	json_array_foreach(json_object_get(result, "workers"), i, worker)
	{
		killed += strcmp(json_text(worker, "comm"), "huge") == 0 &&
			  strcmp(json_text(worker, "exit"), "killed") == 0;
	}
	EXPECT(killed > 0, "the kernel killed somebody else");
	EXPECT(json_number(json_worker(result, "after"), "units") > 0);
	expect_beats(&seen);
}

/* What the two tests above rest on: an agent that is given its CPUs and says nothing for too long is seen. */
static void test_a_heart_that_stands_still_is_seen(void)
{
	struct beats *beats = beats_watch(&vm);
	EXPECT(beats != NULL);
	_cleanup_run_ struct run frozen, thawed;
	vm_client(&vm, (const char *const[]){"freeze", "--lease", "600s", NULL}, 60, &frozen);
	uint64_t deadline_ns = harness_deadline_ns(60);
	while (beats_so_far(beats).given_ns < BEATS_LIMIT_NS && clock_left_ns(deadline_ns)) {
		struct timespec pause = clock_timespec(10 * NS_PER_MS);
		nanosleep(&pause, NULL);
	}
	vm_client(&vm, (const char *const[]){"thaw", NULL}, 60, &thawed);
	struct beats_seen seen = beats_end(beats);
	EXPECT(frozen.status == 0 && thawed.status == 0, "%s%s", strbuf_str(&frozen.err),
		strbuf_str(&thawed.err));
	EXPECT(seen.given_ns >= BEATS_LIMIT_NS && seen.given_ns <= seen.gap_ns, "%llu of %llu ns",
		(unsigned long long)seen.given_ns, (unsigned long long)seen.gap_ns);
}

int main(int argc, char **argv)
{
	static const char *const options[] = {"--net", "--stage", "sh=/bin/sh", "--stage", "cat=/bin/cat",
		"--stage", "grep=/bin/grep", "--stage", "iperf3=/usr/bin/iperf3", NULL};
	static const struct test tests[] = {
#define T(name) {#name, test_##name}
		T(frames_come_back),
		T(interrupts_are_steered),
		T(scenario_irq_steering),
		T(iperf3_over_lo),
		T(kernel_workers_of_the_link_are_raised),
		T(disks_are_told),
		T(what_the_guest_writes_is_in_the_file),
		T(io_work_uses_the_scratch_disk_across_freezes),
		T(disks_are_locked),
		T(errors_of_the_host_reach_the_guest),
		T(hogs_on_every_cpu),
		T(memory_runs_out),
		T(a_heart_that_stands_still_is_seen),
#undef T
		{0},
	};
	const char *all[40];
	unsigned n = 0;
	if (argc != 2) {
		fprintf(stderr, "usage: %s KERNEL\n", argv[0]);
		return 64;
	}
	harness_begin(argc, argv);
	for (const char *const *o = options; *o; o++)
		all[n++] = *o;
	for (const char *const *o = disks_prepare(); *o; o++)
		all[n++] = *o;
	all[n] = NULL;
	bool up = vm_main_begin(&vm, argv[1], "1n1l1c2t", true, all);
	for (const struct test *test = tests; up && test->name; test++)
		tap_run(test->name, test->fn);
	return vm_main_end(&vm, up);
}
