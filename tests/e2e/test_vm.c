/* SPDX-License-Identifier: GPL-2.0-only */
/* What a scenario can do in a running VM: e2e-vm KERNEL TOPOLOGY boots one VM and runs every test on it. */
#include "common/cpuset.h"
#include "tests/e2e/counts.h"
#include "tests/e2e/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct vm_process vm;
static unsigned n_cpus;

static void test_info(void)
{
	_cleanup_run_ struct run run;
	vm_client(&vm, (const char *const[]){"--json", "info", NULL}, 20, &run);
	EXPECT(run.status == 0, "%s", strbuf_str(&run.err));
	_cleanup_json_ json_t *info = json_loads(strbuf_str(&run.out), 0, NULL);
	EXPECT(info != NULL, "%s", strbuf_str(&run.out));
	EXPECT(strcmp(json_text(info, "state"), "ready") == 0, "%s", strbuf_str(&run.out));
	EXPECT(json_array_size(json_at(info, "layout.cpus")) == n_cpus);
	EXPECT(json_number(info, "agent_heartbeat") > 0);
	if (n_cpus > 2) /* pinned, see main() */
		EXPECT(strstr(strbuf_str(&run.out), " vCPUs run on 1 host CPU: "), "%s",
			strbuf_str(&run.out));
}

static void test_heartbeat_advances(void)
{
	json_int_t beats[2];
	for (int i = 0; i < 2; i++) {
		/* An op takes its time in the guest, so that beats fall between the two looks. */
		_cleanup_json_ json_t *result =
			vm_submit_for(&vm, "{duration: 400ms, steps: [{hold: full}]}", 0);
		EXPECT(result != NULL);
		_cleanup_run_ struct run run;
		vm_client(&vm, (const char *const[]){"--json", "info", NULL}, 20, &run);
		_cleanup_json_ json_t *info = json_loads(strbuf_str(&run.out), 0, NULL);
		beats[i] = json_number(info, "agent_heartbeat");
	}
	EXPECT(beats[1] > beats[0], "%lld, then %lld", (long long)beats[0], (long long)beats[1]);
}

static void test_empty_scenario_says_that_nothing_was_asserted(void)
{
	_cleanup_json_ json_t *result =
		vm_submit_for(&vm, "{name: nothing, duration: 200ms, steps: [{hold: full}]}", 0);
	EXPECT(result != NULL);
	char *text = json_dumps(json_at(result, "verdict"), 0);
	bool said = strstr(text, "nothing asserted") || strstr(text, "nothing was asserted");
	free(text);
	EXPECT(said);
}

static void test_workers_run_and_report(void)
{
	_cleanup_json_ json_t *result = vm_submit_for(&vm,
		"name: workers\n"
		"duration: 4s\n"
		"backdrop: {cgroups: [{name: a, work: [{workers: 2}]},\n"
		"  {name: b/c, work: [{work_type: {bursty: {burst: 2ms, sleep: 2ms}}}]},\n"
		"  {name: d, work: [{work_type: {pipe_io: {}}, workers: 2}]}]}\n"
		"steps: [{hold: {frac: 0.5}}, {hold: {frac: 0.5}}]\n"
		"assertions: {not_stuck: {}, max_spread_pct: 100, max_gap: 5m}\n",
		0);
	EXPECT(result != NULL);
	json_t *workers = json_object_get(result, "workers");
	EXPECT(json_array_size(workers) == 5);
	size_t i;
	json_t *worker;
	json_array_foreach(workers, i, worker)
	{
		EXPECT(json_number(worker, "units") > 0, "worker %zu", i);
		EXPECT(json_number(worker, "cpu_ns") > 0, "worker %zu", i);
		EXPECT(json_array_size(json_object_get(worker, "phases")) >= 2, "worker %zu", i);
	}
}

static void test_cpusets_hold(void)
{
	/* Every worker reports the CPUs it used: a pinned one may only have used its own. */
	char yaml[1024];
	snprintf(yaml, sizeof(yaml),
		"{name: cpusets, duration: 300s,\n"
		" payloads: [" PAYLOAD_RAN(
			"a") "],\n"
			     " backdrop: {cgroups: [{name: a, cpuset: {exact: '%u'}, work: [{workers: "
			     "2}]}]},\n"
			     " steps: [{ops: [{run_payload: {payload: ran}}, {wait_payload: {name: ran}}], "
			     "hold: {fixed: 0s}},\n"
			     "   {ops: [{set_cpuset: {cgroup: a, cpus: {exact: '0'}}}, {run_payload: "
			     "{payload: ran}}, "
			     "{wait_payload: {name: ran}}], hold: {fixed: 0s}},\n"
			     "   {ops: [{clear_cpuset: {cgroup: a}}], hold: {fixed: 200ms}}],\n"
			     " assertions: {isolation: {}}}",
		n_cpus - 1);
	_cleanup_json_ json_t *result = vm_submit_for(&vm, yaml, 0);
	EXPECT(result != NULL);
	EXPECT(strcmp(json_text(json_op(result, "steps[1].ops[0]"), "cpuset.effective"), "0") == 0);
	struct cpuset used;
	EXPECT(cpuset_parse(json_text(result, "workers[0].cpus_used"), &used, NULL) == 0);
	EXPECT(cpuset_has(&used, n_cpus - 1) && cpuset_has(&used, 0), "%s",
		json_text(result, "workers[0].cpus_used"));
}

static void test_every_cgroup_op(void)
{
	_cleanup_json_ json_t *result = vm_submit_for(&vm,
		"name: cgroup-ops\n"
		"duration: 2s\n"
		"backdrop:\n"
		"  cgroups: [{name: base, cpu: {weight: 50, quota: 50ms, period: 100ms}, memory: "
		"{max: 256M, high: 200M, low: 1M},\n"
		"    pids: {max: 100}, cpuset: {exact: '0'}, cpuset_mems: '0', empty: true}]\n"
		"steps:\n"
		"  - ops:\n"
		"      - add_cgroup: {name: x}\n"
		"      - add_cgroup: {name: x}\n"
		"        expect_error: AlreadyExists\n"
		"      - add_cgroup_def: {def: {name: y/z, work: [{workers: 1}]}}\n"
		"      - spawn: {cgroup: x, work: {workers: 2, nice: 5, comm: spawned}}\n"
		"      - spawn: {runner_cgroup: {}, work: {workers: 1}}\n"
		"      - capture_cgroup_procs: {tag: x, cgroup: x}\n"
		"      - capture_cgroup_procs: {tag: base, cgroup: base}\n"
		"      - freeze_cgroup: {cgroup: x}\n"
		"      - freeze_cgroup: {cgroup: x}\n"
		"      - unfreeze_cgroup: {cgroup: x}\n"
		"      - stop_cgroup: {cgroup: x}\n"
		"      - capture_cgroup_procs: {tag: x, cgroup: x}\n"
		"      - remove_cgroup: {cgroup: y/z}\n"
		"      - add_cgroup: {name: y/z}\n"
		"      - freeze_cgroup: {cgroup: y/z}\n"
		"      - remove_cgroup: {cgroup: base}\n"
		"    hold: {fixed: 100ms}\n"
		"assertions: {isolation: {}, max_gap: 30s}\n",
		0);
	EXPECT(result != NULL);
	EXPECT(json_array_size(json_at(json_op(result, "steps[0].ops[5]"), "procs.pids")) == 2);
	json_t *empty = json_at(json_op(result, "steps[0].ops[6]"), "procs");
	EXPECT(empty != NULL && json_array_size(json_object_get(empty, "pids")) == 0);
	EXPECT(json_array_size(json_at(json_op(result, "steps[0].ops[11]"), "procs.pids")) == 0);
	EXPECT(json_array_size(json_object_get(result, "workers")) == 4);
	/* The next run finds nothing of it. */
	_cleanup_json_ json_t *again = vm_submit_for(&vm,
		"{name: again, duration: 100ms, backdrop: {cgroups: [{name: base, empty: true},\n"
		" {name: x, empty: true}, {name: y/z, empty: true}]}, steps: [{hold: full}]}",
		0);
	EXPECT(again != NULL);
}

static void test_refused_knobs_are_explained(void)
{
	_cleanup_json_ json_t *result = vm_submit_for(&vm,
		"{name: knobs, duration: 500ms, steps: [{ops: [{add_cgroup_def: {def: {name: a, "
		"cpu: {quota: 10us, period: 100ms}, empty: true}}}]}]}",
		1);
	EXPECT(result != NULL);
	EXPECT(strcmp(json_text(result, "verdict.parts[0].kind"), "op_error") == 0);
	EXPECT(strstr(json_text(result, "verdict.parts[0].message"), "cpu.max") != NULL, "%s",
		json_text(result, "verdict.parts[0].message"));
	EXPECT(strcmp(json_text(result, "verdict.parts[0].place"), "steps[0].ops[0]") == 0, "%s",
		json_text(result, "verdict.parts[0].place"));
}

static void test_payloads(void)
{
	_cleanup_json_ json_t *result = vm_submit_for(&vm,
		"name: payloads\n"
		"duration: 300s\n"
		"payloads:\n"
		"  - {name: good, program: sh, default_args: [-c], checks: [exit_code_eq: 7]}\n"
		"  - {name: long, program: sleep, default_args: ['1000']}\n"
		"  - {name: where, program: grep, default_args: [-qx, '0::/.*/pay', "
		"/proc/self/cgroup], checks: [exit_code_eq: 0]}\n"
		"steps:\n"
		"  - ops:\n"
		"      - add_cgroup: {name: pay}\n"
		"      - run_payload: {payload: good, args: ['exit 7']}\n"
		"      - wait_payload: {name: good}\n"
		"      - run_payload: {payload: where, cgroup: pay}\n"
		"      - wait_payload: {name: where}\n"
		"      - run_payload: {payload: long, cgroup: pay}\n"
		"      - run_payload: {payload: long, cgroup: pay}\n"
		"        expect_error: AlreadyExists\n"
		"      - run_payload: {payload: long}\n"
		"      - kill_payload: {name: long}\n"
		"        expect_error: Ambiguous\n"
		"      - wait_payload: {name: long, cgroup: pay, timeout: 50ms}\n"
		"        expect_error: Timeout\n"
		"      - kill_payload: {name: long, cgroup: pay}\n"
		"      - kill_payload: {name: long}\n"
		"      - kill_payload: {name: long}\n"
		"        expect_error: NotFound\n"
		"      - run_payload: {payload: long, cgroup: pay}\n"
		"    hold: {fixed: 0s}\n",
		0);
	EXPECT(result != NULL);
	/* The last copy is drained when its step ends. */
	json_t *payloads = json_object_get(result, "payloads");
	EXPECT(json_array_size(payloads) >= 1);
}

static void test_a_failed_payload_check_fails_the_run(void)
{
	_cleanup_json_ json_t *result = vm_submit_for(&vm,
		"{name: check, duration: 300s, payloads: [{name: p, program: sh, default_args: [-c, "
		"'echo some words >&2; exit 3'],\n"
		"  checks: [{exit_code_eq: 0}]}], steps: [{ops: [{run_payload: {payload: p}}, "
		"{wait_payload: {name: p}}], hold: {fixed: 0s}}]}",
		1);
	EXPECT(result != NULL);
	EXPECT(strcmp(json_text(result, "verdict.parts[0].kind"), "payload_check") == 0);
	char *text = json_dumps(result, 0);
	bool tail = strstr(text, "some words") != NULL;
	free(text);
	EXPECT(tail, "stderr is not shown");
}

static void test_kernel_memory(void)
{
	_cleanup_json_ json_t *result = vm_submit_for(&vm,
		"name: kernel-memory\n"
		"duration: 300s\n"
		"payloads:\n"
		"  - {name: sees, program: grep, default_args: [-qx, '4242', "
		"/proc/sys/kernel/hung_task_timeout_secs],\n"
		"     checks: [exit_code_eq: 0]}\n"
		"steps:\n"
		"  - ops:\n"
		"      - read_kernel_hot: {reads: [{tag: j, symbol: jiffies_64, width: u64}]}\n"
		"      - read_kernel_cold: {reads: [{tag: old, symbol: sysctl_hung_task_timeout_secs, width: "
		"u64},\n"
		"          {tag: p, symbol: panic_timeout, width: u32}]}\n"
		"      - write_kernel_hot: {writes: [{symbol: sysctl_hung_task_timeout_secs, u64: 4241}]}\n"
		"      - write_kernel_cold: {writes: [{symbol: sysctl_hung_task_timeout_secs, u64: 1}]}\n"
		"      - write_kernel_cold: {writes: [{symbol: sysctl_hung_task_timeout_secs, u64: 4242, "
		"want_old: true}]}\n"
		"      - run_payload: {payload: sees}\n"
		"      - wait_payload: {name: sees}\n"
		"      - write_kernel_cold: {writes: [{symbol: sysctl_hung_task_timeout_secs, from_read: "
		"old}]}\n"
		"      - read_kernel_hot: {reads: [{tag: back, symbol: sysctl_hung_task_timeout_secs, width: "
		"u64}]}\n"
		"      - read_kernel_hot: {reads: [{tag: none, symbol: no_such_symbol_here, width: u64}]}\n"
		"        expect_error: NotFound\n"
		"      - read_kernel_hot: {reads: [{tag: j, symbol: jiffies_64, width: u64}]}\n"
		"    hold: {fixed: 0s}\n",
		0);
	EXPECT(result != NULL);
	json_int_t first = json_number(json_op(result, "steps[0].ops[0]"), "reads[0].value");
	json_int_t last = json_number(json_op(result, "steps[0].ops[10]"), "reads[0].value");
	EXPECT(first > 0 && last > first, "jiffies %lld, then %lld", (long long)first, (long long)last);
	json_int_t old = json_number(json_op(result, "steps[0].ops[1]"), "reads[0].value");
	EXPECT(old == json_number(json_op(result, "steps[0].ops[8]"), "reads[0].value"));
	EXPECT(json_number(json_op(result, "steps[0].ops[4]"), "reads[0].value") == 1,
		"the old value of the second of two merged writes");
	/* The two adjacent cold writes are one freeze: reads, merged writes, write. */
	EXPECT(json_number(result, "freezes") == 3, "%lld freezes",
		(long long)json_number(result, "freezes"));
	EXPECT(json_number(json_op(result, "steps[0].ops[1]"), "reads[1].value") == 0xffffffff,
		"panic_timeout is -1 by the command line");
}

static void test_snapshots(void)
{
	_cleanup_json_ json_t *result = vm_submit_for(&vm,
		"{name: snap, duration: 2s, backdrop: {cgroups: [{name: a, work: [{workers: 1}]}]},\n"
		" steps: [{ops: [{capture_snapshot: {name: one}}, {capture_snapshot: {name: one}}], "
		"hold: {fixed: 0s}}]}",
		0);
	EXPECT(result != NULL);
	EXPECT(json_number(json_op(result, "steps[0].ops[1]"), "snapshot.sequence") == 1);
	EXPECT(json_array_size(json_at(json_op(result, "steps[0].ops[0]"), "snapshot.incomplete")) == 0, "%s",
		json_text(json_op(result, "steps[0].ops[0]"), "snapshot.incomplete[0]"));
	const char *file = json_text(json_op(result, "steps[0].ops[0]"), "snapshot.file");
	char path[1024];
	snprintf(path, sizeof(path), "%s/%s", json_text(result, "run_dir"), file);
	_cleanup_json_ json_t *snapshot = json_load_file(*file == '/' ? file : path, 0, NULL);
	EXPECT(snapshot != NULL, "%s", file);
	EXPECT(json_array_size(json_object_get(snapshot, "vcpus")) == n_cpus);
	EXPECT(json_array_size(json_object_get(snapshot, "run_queues")) == n_cpus);
}

static void test_loop_steps(void)
{
	_cleanup_json_ json_t *result = vm_submit_for(&vm,
		"{name: loop, duration: 3s, backdrop: {cgroups: [{name: a, work: [{workers: 1}]}]},\n"
		" steps: [{ops: [{set_cpuset: {cgroup: a, cpus: {exact: '0'}}}, {clear_cpuset: "
		"{cgroup: a}}],\n"
		"   setup: [{name: s, empty: true}], hold: {loop: 300ms}}]}",
		0);
	EXPECT(result != NULL);
	/* A slow one does fewer of them. */
	json_int_t passes = json_number(result, "steps[0].passes");
	EXPECT(passes >= 1 && passes <= 10, "%lld passes in 3 s at 300 ms", (long long)passes);
	/* A mixed loop is driven by the controller. */
	_cleanup_json_ json_t *mixed = vm_submit_for(&vm,
		"{name: mixed, duration: 3s, backdrop: {cgroups: [{name: a, empty: true}]},\n"
		" steps: [{ops: [{clear_cpuset: {cgroup: a}},\n"
		"   {read_kernel_hot: {reads: [{tag: j, symbol: jiffies_64, width: u64}]}}], hold: "
		"{loop: 300ms}}]}",
		0);
	EXPECT(mixed != NULL);
	passes = json_number(mixed, "steps[0].passes");
	EXPECT(passes >= 1 && passes <= 10, "%lld passes in 3 s at 300 ms", (long long)passes);
}

static void test_hold_cuts_are_told(void)
{
	_cleanup_json_ json_t *result = vm_submit_for(&vm,
		"{name: cut, duration: 4s, steps: [{hold: {fixed: 0s}}, {hold: {fixed: 1h}}, {hold: full}]}",
		0);
	EXPECT(result != NULL);
	json_int_t cut = json_number(result, "steps[1].hold_ns");
	EXPECT(cut > 0 && cut <= 4000000000, "%lld", (long long)cut);
	EXPECT(json_count(result, "steps[1].hold_asked_ns") == 3600000000000);
	char *text = json_dumps(json_at(result, "verdict"), 0);
	bool warned = strstr(text, "steps[2]") != NULL;
	free(text);
	EXPECT(warned, "a hold cut to zero is a warning in the verdict");
}

static void test_a_false_assertion_fails(void)
{
	_cleanup_json_ json_t *result = vm_submit_for(&vm,
		"{name: gap, duration: 30s, backdrop: {cgroups: [{name: a, work: [{workers: 1}]}]},\n"
		" steps: [{hold: {fixed: 200ms}}, {ops: [{freeze_cgroup: {cgroup: a}}], hold: {fixed: "
		"700ms}},\n"
		"  {ops: [{unfreeze_cgroup: {cgroup: a}}], hold: {fixed: 500ms}}], assertions: "
		"{max_gap: 400ms, max_steal_pct: 100}}",
		1);
	EXPECT(result != NULL);
	EXPECT(json_number(result, "verdict.parts[0].has_numbers") != 0);
	EXPECT(strstr(json_text(result, "verdict.parts[0].kind"), "gap") != NULL, "%s",
		json_text(result, "verdict.parts[0].kind"));
}

static void test_needs_unmet_is_a_skip(void)
{
	_cleanup_json_ json_t *result =
		vm_submit_for(&vm, "{name: needs, needs: {min_cpus: 1000}, steps: [{hold: full}]}", 0);
	EXPECT(result != NULL);
	EXPECT(strcasecmp(json_text(result, "verdict.verdict"), "skip") == 0, "%s",
		json_text(result, "verdict.verdict"));
}

static void test_other_ops_say_that_they_are_not_here_yet(void)
{
	static const char *const ops[] = {"attach_scheduler: {scheduler: x}",
		"watch_snapshot: {symbol: jiffies_64}", "pin_bpf_map: {name: x}", "restart_scheduler: {}"};
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		char yaml[256];
		snprintf(yaml, sizeof(yaml),
			"{name: x, duration: 100ms, schedulers: [{name: x, kernel_default: {}}], steps: "
			"[{ops: [{%s, expect_error: Unsupported}], hold: "
			"{fixed: 0s}}]}",
			ops[i]);
		_cleanup_json_ json_t *result = vm_submit_for(&vm, yaml, 0);
		EXPECT(result != NULL, "%s", ops[i]);
		EXPECT(strstr(json_text(result, "ops[0].error.message"), "not in this version") != NULL,
			"%s: %s", ops[i], json_text(result, "ops[0].error.message"));
	}
}

static void test_work_that_needs_a_network_device(void)
{
	_cleanup_json_ json_t *result = vm_submit_for(&vm,
		"{name: x, duration: 100ms, steps: [{ops: [{spawn: {runner_cgroup: {}, work: {work_type: "
		"{net_traffic: {}}}}, expect_error: Unsupported}], hold: {fixed: 0s}}]}",
		0);
	EXPECT(result != NULL);
	EXPECT(strstr(json_text(result, "ops[0].error.message"), "--net") != NULL, "%s",
		json_text(result, "ops[0].error.message"));
}

static void test_ad_hoc_ops(void)
{
	static const char *const reads[][5] = {
		{"--json", "read", "jiffies_64", NULL}, {"--json", "read", "--cold", "jiffies_64", NULL}};
	for (size_t i = 0; i < 2; i++) {
		_cleanup_run_ struct run run;
		vm_client(&vm, reads[i], 20, &run);
		EXPECT(run.status == 0, "%s%s", strbuf_str(&run.out), strbuf_str(&run.err));
		EXPECT(strstr(strbuf_str(&run.out), "value") != NULL, "%s", strbuf_str(&run.out));
	}
	_cleanup_run_ struct run bad;
	vm_client(&vm, (const char *const[]){"read", "jifies_64", NULL}, 20, &bad);
	EXPECT(bad.status != 0);
	EXPECT(strstr(strbuf_str(&bad.err), "jiffies_64") != NULL, "no suggestion: %s", strbuf_str(&bad.err));
}

/* Where there are more CPUs than the host has, timing means nothing. */
static void test_counts_are_the_kernels(void)
{
	counts_compare(&vm, n_cpus, n_cpus <= 2);
}

static void test_demo(void)
{
	vm_submit_file(&vm, "demo.yaml", 0);
}
static void test_must_fail(void)
{
	vm_submit_file(&vm, "must-fail.yaml", 1);
}

static void test_run_directory(void)
{
	static const char *const names[] = {"run.json", "events.jsonl", "kernel.log"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char path[512];
		snprintf(path, sizeof(path), "%s/%s", vm.run_dir, names[i]);
		EXPECT(access(path, R_OK) == 0, "%s", path);
	}
}

static const struct {
	const char *name;
	test_fn fn;
	unsigned min_cpus;
	bool large_too; /* also on machines of more than 8 CPUs, which are slow where there are so few */
} tests[] = {
/* clang-format off */
#define T(name) {#name, test_##name, 1, false}
#define L(name) {#name, test_##name, 1, true}
	/* clang-format on */
	L(info),
	T(heartbeat_advances),
	T(empty_scenario_says_that_nothing_was_asserted),
	L(workers_run_and_report),
	L(cpusets_hold),
	T(every_cgroup_op),
	T(refused_knobs_are_explained),
	T(payloads),
	T(a_failed_payload_check_fails_the_run),
	L(kernel_memory),
	L(snapshots),
	T(loop_steps),
	T(hold_cuts_are_told),
	T(a_false_assertion_fails),
	T(needs_unmet_is_a_skip),
	T(other_ops_say_that_they_are_not_here_yet),
	T(work_that_needs_a_network_device),
	T(ad_hoc_ops),
	{"demo", test_demo, 8, false},
	T(must_fail),
	T(counts_are_the_kernels),
	T(run_directory),
#undef T
#undef L
};

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: %s KERNEL TOPOLOGY CPUS\n", argv[0]);
		return 64;
	}
	static const char *const staged[] = {"--stage", "sh=/bin/sh", "--stage", "sleep=/bin/sleep",
		"--stage", "grep=/bin/grep", "--stage", "stress-ng=/usr/bin/stress-ng", NULL};
	n_cpus = (unsigned)atoi(argv[3]);
	harness_begin(argc, argv);
	/* Workers' counts are compared where vCPUs go where the host wants them. */
	bool up = vm_main_begin(&vm, argv[1], argv[2], n_cpus > 2, staged);
	for (size_t i = 0; up && i < sizeof(tests) / sizeof(tests[0]); i++)
		if (n_cpus >= tests[i].min_cpus && (n_cpus <= 8 || tests[i].large_too))
			tap_run(tests[i].name, tests[i].fn);
	return vm_main_end(&vm, up);
}
