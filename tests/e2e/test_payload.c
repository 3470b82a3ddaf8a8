/* SPDX-License-Identifier: GPL-2.0-only */
/* Payloads, moves, knobs and files in a real VM: e2e-payload KERNEL boots one VM with two CPUs in two LLCs
 * and runs every test on it. Programs are pushed as a user's `submit` pushes them. */
#include "common/fd.h"
#include "tests/e2e/payload.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

struct vm_process vm;

/* Ends with this status and these words in what it printed. */
static bool client(const char *const *args, int status, const char *words)
{
	_cleanup_run_ struct run run;
	vm_client(&vm, args, 60, &run);
	if (run.status == status &&
		(strstr(strbuf_str(&run.out), words) || strstr(strbuf_str(&run.err), words)))
		return true;
	tap_fail(__FILE__, __LINE__, "%s %s: exit %d, not %d with '%s': %s%s", args[0],
		args[1] ? args[1] : "", run.status, status, words, strbuf_str(&run.out),
		strbuf_str(&run.err));
	return false;
}
#define CLIENT(status, words, ...) client((const char *const[]){__VA_ARGS__, NULL}, status, words)

json_t *submit(const char *yaml, const char *verdict)
{
	int status;
	json_t *result = vm_submit(&vm, yaml, &status);
	if (!result || strcasecmp(json_text(result, "verdict.verdict"), verdict) == 0)
		return result;
	tap_fail(__FILE__, __LINE__, "%s, not %s: %s", json_text(result, "verdict.verdict"), verdict,
		json_text(result, "verdict.summary"));
	json_decref(result);
	return NULL;
}

/* The report of a payload that was waited for or killed. Borrowed. */
static json_t *report_of(json_t *result, const char *name)
{
	size_t i;
	json_t *op, *payload;
	json_array_foreach(json_object_get(result, "ops"), i,
		op) if (!strcmp(json_text(op, "payload.name"), name)) return json_object_get(op, "payload");
	json_array_foreach(json_object_get(result, "payloads"), i,
		payload) if (!strcmp(json_text(payload, "name"), name)) return payload;
	return NULL;
}

static double metric(json_t *report, const char *name)
{
	size_t i;
	json_t *metric;
	json_array_foreach(json_object_get(report, "metrics"), i,
		metric) if (!strcmp(json_text(metric, "name"),
				    name)) return json_number_value(json_object_get(metric, "value"));
	return -1;
}

/* A file of the run directory that the result names; heap memory, NULL with a failure recorded. */
static char *recorded(json_t *result, const char *file, size_t *ret_length)
{
	char path[1024], *text = NULL;
	struct err err = ERR_INIT;
	snprintf(path, sizeof(path), "%s/%s", json_text(result, "run_dir"), file);
	if (!*file || fd_read_file(path, 64u << 20, &text, ret_length, &err) < 0)
		tap_fail(__FILE__, __LINE__, "'%s': %s", path, err.message);
	return text;
}

static void write_script(const char *path, const char *text)
{
	struct err err = ERR_INIT;
	if (fd_replace_file(path, text, strlen(text), 0755, &err) < 0)
		tap_fail(__FILE__, __LINE__, "%s", err.message);
}

static void test_push(void)
{
	static const char run_it[] =
		"duration: 300s\n"
		"payloads: [{name: p, program: tool}]\n"
		"steps: [{ops: [{run_payload: {payload: p}}, {wait_payload: {name: p}}], hold: "
		"{fixed: 0s}}]\n";
	const char *script = scratch_path("tool"), *copy = scratch_path("copy");
	write_script(script, "#!/bin/sh\necho one\n");
	EXPECT(CLIENT(64, "no name for a staged file", "push", "--name", ".x", script));
	EXPECT(CLIENT(0, "", "push", script));
	EXPECT(CLIENT(0, "tool", "staged"));
	_cleanup_json_ json_t *first = submit(run_it, "Pass");
	EXPECT(first && !strcmp(json_text(report_of(first, "p"), "stdout_tail"), "one\n"));
	write_script(script, "#!/bin/sh\necho two\n");
	EXPECT(CLIENT(0, "", "push", script));
	_cleanup_json_ json_t *second = submit(run_it, "Pass");
	EXPECT(second && !strcmp(json_text(report_of(second, "p"), "stdout_tail"), "two\n"));
	EXPECT(CLIENT(0, "", "pull", "tool", copy));
	char *text = NULL;
	size_t length;
	EXPECT(fd_read_file(copy, 1000, &text, &length, NULL) == 0 && !strcmp(text, "#!/bin/sh\necho two\n"));
	free(text);
	EXPECT(CLIENT(0, "init", "pull", "/proc/1/comm", "-"));
	EXPECT(CLIENT(64, "/nonexistent", "pull", "/nonexistent", copy));
	struct stat st;
	EXPECT(stat(copy, &st) < 0, "half a file is left");
}

/* Programs that nobody here wrote, with the libraries that they bring. */
static void test_real_programs(void)
{
	_cleanup_json_ json_t *result = submit(
		"duration: 40s\n"
		"payloads:\n"
		"- {name: stress, program: stress-ng, default_args: [--cpu, '2', --cpu-ops, '4', "
		"--metrics-brief, "
		"--temp-path, /tmp], checks: [{exit_code_eq: 0}]}\n"
		"- name: disk\n"
		"  program: fio\n"
		"  default_args: [--name=j, --directory=/tmp, --size=1M, --rw=randwrite, --ioengine=sync, "
		"--thread, "
		"--output-format=json, --write_bw_log=/tmp/bw]\n"
		"  known_flags: [--name, --directory, --size, --rw, --ioengine, --thread, --output-format, "
		"--write_bw_log]\n"
		"  checks: [{exit_code_eq: 0}, {min: {metric: jobs.0.write.iops, value: 1}}, {range: "
		"{metric: "
		"jobs.0.write.io_bytes, min: 1048576, max: 1048576}}, {exists: jobs.0.usr_cpu}]\n"
		"  metrics: [{name: jobs.0.write.iops, better: higher, unit: 1/s}]\n"
		"  artifacts: [/tmp/bw_bw.1.log]\n"
		"backdrop: {cgroups: [{name: s, empty: true, cpuset: {llc: 0}}, {name: d, empty: true, "
		"cpuset: {llc: "
		"1}}]}\n"
		"steps:\n"
		"- ops:\n"
		"  - run_payload: {payload: stress, cgroup: s}\n"
		"  - run_payload: {payload: disk, cgroup: d}\n"
		"  - wait_payload: {name: disk, timeout: 200s}\n"
		"  - wait_payload: {name: stress, timeout: 200s}\n"
		"  hold: {fixed: 0s}\n",
		"Pass");
	EXPECT(result != NULL);
	json_t *disk = report_of(result, "disk");
	EXPECT(metric(disk, "jobs.0.write.io_bytes") == 1048576);
	EXPECT(metric(disk, "jobs.0.write.iops") > 0);
	EXPECT(json_number(disk, "artifacts[0].bytes") > 0, "%s", json_text(disk, "artifacts[0].error"));
	size_t length;
	char *text = recorded(result, json_text(disk, "artifacts[0].file"), &length);
	EXPECT(text != NULL && length > 0);
	free(text);
	text = recorded(result, json_text(report_of(result, "stress"), "stderr_file"), &length);
	bool named = text && strstr(text, "bogo ops");
	if (!named) {
		free(text);
		text = recorded(result, json_text(report_of(result, "stress"), "stdout_file"), &length);
		named = text && strstr(text, "bogo ops");
	}
	free(text);
	EXPECT(named, "stress-ng's metrics are not in its output");
}

/* The kernel says when a task is first woken, and when one is moved between cgroups. A program that reads its
 * cgroup, was woken for the first time in the trace, and was never moved, was in it before its exec. */
static void test_placed_before_exec(void)
{
	_cleanup_json_ json_t *result =
		submit("duration: 20s\n"
		       "payloads:\n"
		       "- {name: 'on', program: sh, default_args: [-c, 'cd /sys/kernel/tracing && echo 1 "
		       ">events/sched/sched_wakeup_new/enable && echo 1 "
		       ">events/sched/sched_process_exec/enable && echo 1 "
		       ">events/cgroup/cgroup_attach_task/enable && echo 1 >tracing_on'], checks: "
		       "[{exit_code_eq: 0}]}\n"
		       "- {name: seen, program: sh, default_args: [-c, 'read line </proc/self/cgroup; echo "
		       "$line'], checks: "
		       "[{exit_code_eq: 0}]}\n"
		       "- {name: moved, program: sleep, default_args: ['1000']}\n"
		       "- {name: 'off', program: sh, default_args: [-c, 'cd /sys/kernel/tracing && echo 0 "
		       ">tracing_on && "
		       "while read -r line; do echo \"$line\"; done <trace && echo 0 >events/enable && echo "
		       ">trace'], checks: "
		       "[{exit_code_eq: 0}]}\n"
		       "steps:\n"
		       "- ops:\n"
		       "  - add_cgroup: here\n"
		       "  - add_cgroup: there\n"
		       "  - run_payload: {payload: 'on'}\n"
		       "  - wait_payload: {name: 'on', timeout: 60s}\n"
		       "  - run_payload: {payload: seen, cgroup: here}\n"
		       "  - wait_payload: {name: seen, timeout: 60s}\n"
		       "  - run_payload: {payload: moved, cgroup: here}\n"
		       "  - move_all_tasks: {from: here, to: there}\n"
		       "  - run_payload: {payload: 'off'}\n"
		       "  - wait_payload: {name: 'off', timeout: 60s}\n"
		       "  hold: {fixed: 0s}\n",
			"Pass");
	EXPECT(result != NULL);
	json_t *seen = report_of(result, "seen");
	EXPECT(strstr(json_text(seen, "stdout_tail"), "/schedrig/here\n"), "%s",
		json_text(seen, "stdout_tail"));
	EXPECT(json_is_true(json_object_get(seen, "placed_before_exec")));
	size_t length;
	char *trace = recorded(result, json_text(report_of(result, "off"), "stdout_file"), &length);
	EXPECT(trace != NULL);
	char woken[64], executed[64], attached[64], other[64];
	snprintf(woken, sizeof(woken), "pid=%lld ", (long long)json_number(seen, "pid"));
	snprintf(executed, sizeof(executed), "pid=%lld old_pid", (long long)json_number(seen, "pid"));
	snprintf(attached, sizeof(attached), "pid=%lld comm", (long long)json_number(seen, "pid"));
	snprintf(other, sizeof(other), "pid=%lld comm", (long long)json_number(result, "ops[6].pids[0]"));
	bool first_seen = false, exec_seen = false, moves_seen = false, was_moved = false;
	for (char *line = trace, *end; line && *line; line = end ? end + 1 : NULL) {
		end = strchr(line, '\n');
		if (end)
			*end = '\0';
		first_seen |= strstr(line, "sched_wakeup_new:") && strstr(line, woken);
		exec_seen |= strstr(line, "sched_process_exec:") && strstr(line, executed);
		was_moved |= strstr(line, "cgroup_attach_task:") && strstr(line, attached);
		moves_seen |= strstr(line, "cgroup_attach_task:") && strstr(line, other);
	}
	free(trace);
	EXPECT(first_seen, "its first wake-up is not in the trace");
	EXPECT(exec_seen, "its exec is not in the trace");
	EXPECT(!was_moved, "it was moved into its cgroup");
	EXPECT(moves_seen, "a move does not show in this trace, so that none shows says nothing");
}

static void test_fork_bombs(void)
{
	_cleanup_json_ json_t *bounded = submit("duration: 30s\n"
						"payloads: [{name: bomb, program: sh, default_args: [-c, "
						"'b() { b & b; }; b']}]\n"
						"steps:\n"
						"- hold: {fixed: 1s}\n"
						"  ops: [{add_cgroup_def: {def: {name: a, empty: true, pids: "
						"200}}}, {run_payload: {payload: bomb, cgroup: "
						"a}}]\n"
						"- {ops: [{add_cgroup: after}], hold: {fixed: 0s}}\n",
		"Pass");
	EXPECT(bounded != NULL);
	/* The machine's own bound: the agent goes on, and the next scenario finds nothing of it. */
	_cleanup_json_ json_t *unbounded =
		submit("duration: 30s\n"
		       "payloads: [{name: bomb, program: sh, default_args: [-c, 'b() { b & b; }; b']}]\n"
		       "steps:\n"
		       "- {ops: [{add_cgroup: a}, {run_payload: {payload: bomb, cgroup: a}}], hold: {fixed: "
		       "500ms}}\n"
		       "- {setup: [{name: after, work: [{workers: 2}]}], hold: {fixed: 1s}}\n"
		       "assertions: {isolation: {}}\n",
			"Pass");
	EXPECT(unbounded != NULL);
	EXPECT(json_number(unbounded, "workers[1].units") != 0);
}

static void test_a_gigabyte(void)
{
	_cleanup_json_ json_t *result =
		submit("duration: 20s\n"
		       "payloads: [{name: flood, program: sh, default_args: [-c, 'echo begin; dd "
		       "if=/dev/zero bs=1M count=1000 "
		       "2>/dev/null; echo; echo end'], checks: [{exit_code_eq: 0}]}]\n"
		       "steps: [{ops: [{run_payload: {payload: flood}}, {wait_payload: {name: flood, "
		       "timeout: 300s}}], hold: "
		       "{fixed: 0s}}]\n",
			"Pass");
	EXPECT(result != NULL);
	json_t *report = report_of(result, "flood");
	EXPECT(json_number(report, "stdout_bytes") == 1048576011);
	size_t length;
	char *text = recorded(result, json_text(report, "stdout_file"), &length);
	EXPECT(text != NULL);
	bool good = length > (8u << 20) && length < (17u << 20) && !strncmp(text, "begin\n", 6) &&
		    !memcmp(text + length - 5, "\nend\n", 5) &&
		    memmem(text, length, "bytes were cut out here", 23);
	free(text);
	EXPECT(good, "%zu bytes are kept", length);
}

static void test_knobs(void)
{
	_cleanup_json_ json_t *result = submit("duration: 20s\n"
					       "payloads: [{name: look, program: sh, default_args: [-c, 'cd "
					       "/sys/fs/cgroup/schedrig/k/n; for f in "
					       "cpu.weight cpu.max memory.max memory.high memory.low "
					       "memory.min pids.max cpuset.cpus; do read v <$f; "
					       "echo $f $v; done']}]\n"
					       "backdrop:\n"
					       "  cgroups:\n"
					       "  - {name: k, empty: true}\n"
					       "  - {name: k/n, empty: true, cpuset: {llc: 1}, cpu: {weight: "
					       "250, quota_pct: 50}, memory: {max: 64M, high: "
					       "32M, low: 8M, min: 4M, swap_max: 0}, pids: 77}\n"
					       "steps:\n"
					       "- ops:\n"
					       "  - run_payload: {payload: look}\n"
					       "  - wait_payload: {name: look, timeout: 60s}\n"
					       "  - {add_cgroup_def: {def: {name: w, empty: true, io: {max: "
					       "[{device: '250:99', rbps: 1M}]}}}, expect_error: "
					       "GuestOs}\n"
					       "  hold: {fixed: 0s}\n",
		"Pass");
	EXPECT(result != NULL);
	const char *text = json_text(report_of(result, "look"), "stdout_tail");
	EXPECT(!strcmp(text,
		       "cpu.weight 250\ncpu.max 50000 100000\nmemory.max 67108864\nmemory.high 33554432\n"
		       "memory.low 8388608\nmemory.min 4194304\npids.max 77\ncpuset.cpus 1\n"),
		"%s", text);
	size_t i;
	json_t *op;
	const char *why = "";
	json_array_foreach(json_object_get(result, "ops"), i,
		op) if (!strcmp(json_text(op, "kind"), "AddCgroupDef") && json_object_get(op, "error")) why =
		json_text(op, "error.message");
	EXPECT(strstr(why, "io.max") && strstr(why, "no such block device"), "%s", why);

	const char *ops = scratch_path("adhoc.yaml");
	write_script(ops, "ops: [{add_cgroup: mine}]\n");
	EXPECT(CLIENT(0, "ok", "apply", ops));
	EXPECT(CLIENT(0, "memory.max 33554432", "knobs", "mine", "cpu.weight=300", "memory.max=32M",
		"pids.max=max"));
	EXPECT(CLIENT(0, "memory.max max", "knobs", "mine", "memory.max=max", "cpu.quota=20ms"));
	EXPECT(CLIENT(64, "1..10000", "knobs", "mine", "cpu.weight=0"));
	EXPECT(CLIENT(64, "did you mean 'weight'", "knobs", "mine", "cpu.wieght=1"));
	EXPECT(CLIENT(64, "`nobody`", "knobs", "nobody", "cpu.weight=1"));
}

/* Workers between cgroups with CPUs of their own, again and again, under load: none is ever seen outside. */
static void test_moves(void)
{
	_cleanup_json_ json_t *result =
		submit("duration: 6s\n"
		       "payloads: [" PAYLOAD_RAN(
			       "right") "]\n"
					"backdrop:\n"
					"  cgroups: [{name: left, cpuset: {llc: 0}, work: [{workers: 3}]}, "
					"{name: right, "
					"cpuset: {llc: 1}, empty: "
					"true}]\n"
					"steps:\n"
					"- ops:\n"
					"  - move_all_tasks: {from: left, to: right}\n"
					"  - capture_cgroup_procs: {tag: t, cgroup: right, threads: true}\n"
					"  - move_all_tasks: {from: right, to: left}\n"
					"  hold: {loop: 100ms}\n"
					/* Where they do not stay, they need not have come to run. */
					"- ops: [{move_all_tasks: {from: left, to: right}}, {run_payload: "
					"{payload: ran}}, "
					"{wait_payload: {name: ran, timeout: 300s}}]\n"
					"  hold: {fixed: 0s}\n"
					"assertions: {isolation: {}}\n",
			"Pass");
	EXPECT(result != NULL);
	EXPECT(json_number(result, "steps[0].passes") > 0);
	EXPECT(!strcmp(json_text(result, "workers[0].cpus_used"), "0-1"), "they did not follow: %s",
		json_text(result, "workers[0].cpus_used"));
}

static const struct {
	const char *name;
	test_fn fn;
	const char *by_name; /* run only when it is named, and why; NULL: always */
	bool by_scheduler;   /* needs e2e-scheduler */
} tests[] = {
	{"push, staged, pull", test_push},
	{"a payload is in its cgroup before its exec", test_placed_before_exec},
	{"stress-ng and fio", test_real_programs},
	{"knobs of definitions, and changes of them", test_knobs},
	{"moves keep to the sets in force", test_moves},
	{"a scheduler's vetoes of moves are waited out", test_vetoes, .by_scheduler = true},
	{"a refusal without a scheduler is not waited out", test_refusal_without_a_scheduler},
	{"no scheduler sees a program outside of its cgroup", test_scheduler_sees_placement,
		.by_scheduler = true},
	{"a gigabyte of output", test_a_gigabyte, "takes minutes where KVM is emulated: give its name"},
	{"fork bombs", test_fork_bombs, "have a VM of their own: give their name"},
};

int main(int argc, char **argv)
{
	static char scheduler[300];
	static const char *staged[] = {
		"--stage", "sh=/bin/sh", "--stage", "dd=/bin/dd", "--stage", scheduler, NULL};
	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: %s KERNEL [WORD]\n", argv[0]);
		return 64;
	}
	harness_begin(argc, argv);
	const char *path = program_path("../tests/e2e/e2e-scheduler");
	bool has_scheduler = access(path, X_OK) == 0;
	snprintf(scheduler, sizeof(scheduler), "e2e-scheduler=%s", path);
	if (!has_scheduler)
		staged[4] = NULL;
	bool up = vm_main_begin(&vm, argv[1], "1n2l1c1t", true, staged);
	for (size_t i = 0; up && i < sizeof(tests) / sizeof(tests[0]); i++)
		if (!has_scheduler && tests[i].by_scheduler)
			tap_skip(tests[i].name,
				"built without clang for BPF or libbpf: tests/setup.sh has both");
		else if (argc > 2 ? strstr(tests[i].name, argv[2]) != NULL : !tests[i].by_name)
			tap_run(tests[i].name, tests[i].fn);
		else if (argc < 3)
			tap_skip(tests[i].name, tests[i].by_name);
	return vm_main_end(&vm, up);
}
