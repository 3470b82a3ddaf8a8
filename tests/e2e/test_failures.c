/* SPDX-License-Identifier: GPL-2.0-only */
/* What goes wrong, and what a user is told: e2e-failures KERNEL [all]. Most cases need no VM that comes up.
 */
#include "common/clock.h"
#include "common/fd.h"
#include "tests/e2e/harness.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { EXIT_USAGE = 64, EXIT_HOST = 69 };

static const char *kernel;

static void write_file(const char *path, const char *text)
{
	struct err err = ERR_INIT;
	if (fd_replace_file(path, text, strlen(text), 0644, &err) < 0)
		tap_fail(__FILE__, __LINE__, "%s", err.message);
}

/* schedrigd with these options ends with this status and a sentence that holds these words. */
static bool refused(const char *const *options, int want_status, const char *words)
{
	const char *argv[32] = {program_path("schedrigd")};
	for (unsigned n = 1; *options; options++)
		argv[n++] = *options;
	struct run run;
	run_program(argv, 20, &run);
	bool good = run.status == want_status && strstr(strbuf_str(&run.err), words);
	if (!good)
		tap_fail(__FILE__, __LINE__, "exit %d (want %d), stderr without '%s': %s", run.status,
			want_status, words, strbuf_str(&run.err));
	run_deinit(&run);
	return good;
}

#define REFUSED(status, words, ...) EXPECT(refused((const char *const[]){__VA_ARGS__, NULL}, status, words))

static void test_bad_options(void)
{
	REFUSED(EXIT_USAGE, "2n3l", "--topology", "2n3l");
	REFUSED(EXIT_USAGE, "LLC", "--topology", "2n3l1c1t");
	REFUSED(EXIT_USAGE, "unit", "--memory", "5Q");
	REFUSED(EXIT_USAGE, "NAME=PATH", "--stage", "x");
	REFUSED(EXIT_USAGE, "CPU list", "--pin", "a");
	REFUSED(EXIT_USAGE, "unknown unit", "--timeout", "5parsecs");
}

static void test_kernels_that_are_none(void)
{
	const char *text = scratch_path("text");
	write_file(text, "this is not a kernel\n");
	REFUSED(EXIT_HOST, "/nonexistent/vmlinuz", "--kernel", "/nonexistent/vmlinuz");
	REFUSED(EXIT_HOST, "99.99", "--kernel", "99.99");
	REFUSED(EXIT_USAGE, "not a kernel", "--kernel", text);
}

static void test_kernel_without_modules(void)
{
	/* The image alone in a directory of its own: the modules it needs are nowhere. */
	char command[1024], image[512];
	snprintf(image, sizeof(image), "%s", scratch_path("bare/vmlinuz"));
	const char *cache = getenv("SCHEDRIG_CACHE"), *home = getenv("HOME");
	snprintf(command, sizeof(command), "mkdir -p %s && cp %s%s/kernels/%s*/vmlinuz %s",
		scratch_path("bare"), cache ? cache : home, cache ? "" : "/.cache/schedrig", kernel, image);
	struct run run;
	run_program((const char *const[]){"sh", "-c", command, NULL}, 30, &run);
	EXPECT(run.status == 0, "%s", strbuf_str(&run.err));
	run_deinit(&run);
	REFUSED(EXIT_HOST, "virtio", "--kernel", image);
}

static void test_kernel_without_btf(void)
{
	/* One that an earlier test has unpacked, its types taken out. */
	const char *cache = getenv("SCHEDRIG_CACHE"), *home = getenv("HOME"), *bare = scratch_path("no-btf");
	char command[1024];
	snprintf(command, sizeof(command),
		"for f in %s%s/vmlinux/*; do objcopy --remove-section .BTF \"$f\" %s 2>/dev/null && exit 0; "
		"done; exit 1",
		cache ? cache : home, cache ? "" : "/.cache/schedrig", bare);
	_cleanup_run_ struct run run;
	run_program((const char *const[]){"sh", "-c", command, NULL}, 30, &run);
	EXPECT(run.status == 0, "%s", strbuf_str(&run.err));
	REFUSED(EXIT_HOST, "CONFIG_DEBUG_INFO_BTF", "--kernel", bare);
}

static void test_bad_paths(void)
{
	char long_path[200];
	memset(long_path, 'a', sizeof(long_path) - 1);
	memcpy(long_path, "/tmp/", 5);
	long_path[sizeof(long_path) - 1] = '\0';
	REFUSED(EXIT_USAGE, "107", "--kernel", kernel, "--socket", long_path);
	REFUSED(EXIT_USAGE, "/nonexistent/dir/sock", "--kernel", kernel, "--socket", "/nonexistent/dir/sock");
	REFUSED(EXIT_USAGE, "/nonexistent/program", "--kernel", kernel, "--stage", "x=/nonexistent/program");
	REFUSED(EXIT_USAGE, "/nonexistent/agent", "--kernel", kernel, "--agent", "/nonexistent/agent");
	REFUSED(EXIT_USAGE, ".hidden", "--kernel", kernel, "--stage", ".hidden=/bin/sh");
}

static void test_scenario_mistakes(void)
{
	static const struct {
		const char *yaml, *where, *words;
	} bad[] = {
		{"steps:\n  - hold: {frac: .nan}\n", ":2:", "frac"},
		{"steps:\n  - ops: [{add_cgroup: {name: a}}]\n    hold: {loop: 0s}\n", ":3:", "interval"},
		{"steps:\n  - ops:\n      - add_cgrup: {name: a}\n", ":3:", "add_cgroup"},
		{"durration: 5s\n", ":1:", "duration"},
		{"duration: 5 parsecs\n", ":1:", "unit"},
		{"steps:\n  - ops: [{set_cpuset: {cgroup: nobody, cpus: {llc: 0}}}]\n", ":2:", "nobody"},
		{"steps: [\n", ":", ""},
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const char *path = scratch_path("bad.yaml");
		write_file(path, bad[i].yaml);
		_cleanup_run_ struct run run;
		run_program((const char *const[]){program_path("schedrig"), "lint", path, NULL}, 10, &run);
		_cleanup_strbuf_ struct strbuf all = STRBUF_INIT;
		strbuf_printf(&all, "%s%s", strbuf_str(&run.out), strbuf_str(&run.err));
		EXPECT(run.status == EXIT_USAGE, "%zu: exit %d: %s", i, run.status, strbuf_str(&all));
		EXPECT(strstr(strbuf_str(&all), bad[i].where) && strstr(strbuf_str(&all), bad[i].words),
			"%zu: %s", i, strbuf_str(&all));
	}
	_cleanup_run_ struct run run;
	run_program(
		(const char *const[]){program_path("schedrig"), "run", "/nonexistent.yaml", NULL}, 10, &run);
	EXPECT(run.status == EXIT_USAGE && strstr(strbuf_str(&run.err), "/nonexistent.yaml"), "exit %d: %s",
		run.status, strbuf_str(&run.err));
}

static void test_no_controller(void)
{
	_cleanup_run_ struct run run;
	run_program((const char *const[]){program_path("schedrig"), "-s", "/nonexistent.sock", "info", NULL},
		10, &run);
	EXPECT(run.status == EXIT_HOST && strstr(strbuf_str(&run.err), "/nonexistent.sock"), "exit %d: %s",
		run.status, strbuf_str(&run.err));
}

static void test_an_agent_that_dies(void)
{
	/* /bin/true as PID 1: the kernel panics when it exits. */
	struct vm_process vm;
	EXPECT(!vm_up(&vm, kernel, "1n1l1c1t", true,
		(const char *const[]){"--agent", program_path("../tests/e2e/e2e-exits"), NULL}));
	EXPECT(strstr(vm.error, "AgentLost"), "%s", vm.error);
	EXPECT(vm_wait(&vm, 20) == EXIT_HOST);
}

static void test_an_agent_that_never_comes_up(void)
{
	struct vm_process vm;
	EXPECT(!vm_up(&vm, kernel, "1n1l1c1t", true,
		(const char *const[]){"--agent", program_path("../tests/e2e/e2e-sleeps"), NULL}));
	EXPECT(strstr(vm.error, "did not come up within"), "%s", vm.error);
	EXPECT(vm_wait(&vm, 20) == EXIT_HOST);
}

static json_t *events_of(const struct vm_process *vm, size_t *ret_lines)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/events.jsonl", vm->run_dir);
	FILE *file = fopen(path, "r");
	json_t *last = NULL;
	char *line = NULL;
	size_t size = 0;
	*ret_lines = 0;
	while (file && getline(&line, &size, file) > 0) {
		json_t *event = json_loads(line, 0, NULL);
		if (!event)
			break;
		json_decref(last);
		last = event;
		(*ret_lines)++;
	}
	free(line);
	if (file)
		fclose(file);
	return last;
}

static struct vm_process shared;

static void test_second_controller(void)
{
	REFUSED(EXIT_HOST, "another controller", "--kernel", kernel, "--socket", shared.socket);
}

static void test_a_killed_client_leaves_the_vm_usable(void)
{
	const char *path = scratch_path("long.yaml");
	write_file(path, "{name: long, duration: 100s, backdrop: {cgroups: [{name: a, work: [{workers: "
			 "1}]}]}, steps: [{hold: full}]}");
	/* timeout(1) kills it: the client is gone without a word, its scenario ends. */
	_cleanup_run_ struct run run;
	run_program((const char *const[]){"timeout", "-s", "KILL", "2", program_path("schedrig"), "-s",
			    shared.socket, "submit", path, NULL},
		30, &run);
	EXPECT(run.status == 137, "exit %d: %s", run.status, strbuf_str(&run.err));
	int status;
	json_t *result = vm_submit(&shared,
		"{name: next, duration: 200ms, backdrop: {cgroups: [{name: a, work: [{workers: 1}]}]}, "
		"steps: [{hold: full}]}",
		&status);
	EXPECT(result != NULL && status == 0, "exit %d", status);
	json_decref(result);
}

/* The agent and what ran under it, met by a payload that has it in for the agent. */
static void test_a_lost_link_ends_the_scenario_and_no_more(void)
{
	int status;
	json_t *result = vm_submit(&shared,
		"{name: cut, duration: 60s, payloads: [{name: m, program: meddles, default_args: [cut]}],\n"
		" backdrop: {cgroups: [{name: a, work: [{workers: 2, comm: forlorn}]}]},\n"
		" steps: [{ops: [{run_payload: {payload: m}}], hold: full}]}",
		&status);
	EXPECT(result != NULL);
	char *text = json_dumps(json_at(result, "verdict"), 0);
	json_decref(result);
	bool told = strstr(text, "in the middle of the scenario") != NULL;
	EXPECT(status == 1 && told, "exit %d: %s", status, text);
	free(text);
	/* The VM serves on, and nothing of that scenario is left in it. */
	result = vm_submit(&shared,
		"{name: after, duration: 60s,\n"
		" payloads: [{name: p, program: sh, default_args: [-c, 'for d in /proc/[0-9]*; do read c "
		"<$d/comm "
		"&& [ \"$c\" = forlorn ] && exit 1; done; exit 0'], checks: [{exit_code_eq: 0}]}],\n"
		" backdrop: {cgroups: [{name: a, work: [{workers: 1}]}]},\n"
		" steps: [{ops: [{run_payload: {payload: p}}, {wait_payload: {name: p}}], hold: {fixed: "
		"1s}}],"
		" assertions: {not_stuck: {}, max_gap: 5m}}",
		&status);
	EXPECT(result != NULL);
	text = json_dumps(json_at(result, "verdict"), 0);
	json_decref(result);
	EXPECT(status == 0, "exit %d: %s", status, text);
	free(text);
}

static void test_an_agent_killed_in_mid_scenario(void)
{
	struct vm_process vm;
	char meddles[512];
	snprintf(meddles, sizeof(meddles), "meddles=%s", program_path("../tests/e2e/e2e-meddles"));
	EXPECT(vm_up(&vm, kernel, "1n1l1c1t", true, (const char *const[]){"--stage", meddles, NULL}), "%s",
		vm.error);
	int status;
	json_t *result = vm_submit(&vm,
		"{name: kill, duration: 60s, payloads: [{name: m, program: meddles, default_args: "
		"[kill]}],\n"
		" backdrop: {cgroups: [{name: a, work: [{workers: 2}]}]},\n"
		" steps: [{ops: [{run_payload: {payload: m}}], hold: full}]}",
		&status);
	EXPECT(result != NULL);
	char *text = json_dumps(json_at(result, "verdict"), 0);
	json_decref(result);
	bool told = strstr(text, "the agent died") != NULL;
	EXPECT(status == 1 && told, "exit %d: %s", status, text);
	free(text);
	EXPECT(vm_wait(&vm, 30) == EXIT_HOST);
	size_t lines;
	json_t *last = events_of(&vm, &lines);
	json_decref(last);
	EXPECT(lines > 3, "%zu events on disk", lines);
}

static void test_panic_is_a_failure_with_evidence(void)
{
	int status;
	uint64_t deadline_ns = harness_deadline_ns(40);
	json_t *result = vm_submit(&shared,
		"{name: panic, duration: 60s, payloads: [{name: p, program: sh, default_args: [-c, 'echo c "
		">/proc/sysrq-trigger']}],\n"
		" steps: [{ops: [{run_payload: {payload: p}}], hold: full}]}",
		&status);
	EXPECT(result != NULL);
	char *text = json_dumps(json_at(result, "verdict"), 0);
	EXPECT(status == 1, "exit %d: %s", status, text);
	EXPECT(strstr(text, "GuestCrashed") || strstr(text, "guest_crash"), "%s", text);
	EXPECT(strstr(text, "sysrq triggered crash"), "%s", text);
	free(text);
	json_decref(result);
	EXPECT(clock_left_ns(deadline_ns) > 0);
	EXPECT(vm_wait(&shared, 30) == EXIT_HOST);
	size_t lines;
	json_t *last = events_of(&shared, &lines);
	EXPECT(lines > 3, "%zu events", lines);
	json_decref(last);
	char path[512];
	snprintf(path, sizeof(path), "%s/run.json", shared.run_dir);
	EXPECT(access(path, R_OK) == 0);
}

static void test_a_killed_controller_leaves_nothing_in_the_way(void)
{
	struct vm_process vm;
	EXPECT(vm_up(&vm, kernel, "1n1l2c1t", true, NULL), "%s", vm.error);
	const char *path = scratch_path("long.yaml");
	write_file(path, "{name: long, duration: 100s, backdrop: {cgroups: [{name: a, work: [{workers: "
			 "1}]}]}, steps: [{hold: full}]}");
	char command[1024];
	/* The client sees the end of its connection; the controller is killed in the middle of the scenario:
	 * when the beginning of its step is on disk. */
	snprintf(command, sizeof(command),
		"(until grep -q step_start %s/events.jsonl; do sleep 0.1; done; kill -9 %d) & %s -s %s "
		"submit %s; "
		"s=$?; wait; exit $s",
		vm.run_dir, (int)vm.pid, program_path("schedrig"), vm.socket, path);
	_cleanup_run_ struct run run;
	run_program((const char *const[]){"sh", "-c", command, NULL}, 40, &run);
	EXPECT(run.status != 0 && run.status != -1, "exit %d", run.status);
	EXPECT(vm_wait(&vm, 10) == 128 + SIGKILL);
	size_t lines;
	json_t *last = events_of(&vm, &lines);
	EXPECT(lines >= 2, "%zu events on disk", lines);
	json_decref(last);
	/* Its socket is dead: the next controller takes it. */
	EXPECT(access(vm.socket, F_OK) == 0);
	struct vm_process next;
	EXPECT(vm_begin(&next, kernel, "1n1l1c1t", true, (const char *const[]){"--socket", vm.socket, NULL}));
	EXPECT(vm_wait_ready(&next), "%s", next.error);
	EXPECT(vm_down(&next) == 0);
}

static void test_run_command(void)
{
	const char *path = scratch_path("small.yaml");
	write_file(path, "{name: small, duration: 2s, backdrop: {cgroups: [{name: a, work: [{workers: "
			 "1}]}]}, steps: [{hold: full}],\n"
			 " assertions: {not_stuck: {}, max_gap: 5m}}");
	_cleanup_run_ struct run run;
	run_program((const char *const[]){program_path("schedrig"), "run", "--kernel", kernel, "--topology",
			    "1n1l1c1t", path, NULL},
		60, &run);
	EXPECT(run.status == 0, "exit %d: %s%s", run.status, strbuf_str(&run.out), strbuf_str(&run.err));
	EXPECT(strcasestr(strbuf_str(&run.out), "pass"), "%s", strbuf_str(&run.out));
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: %s KERNEL [all]\n", argv[0]);
		return 64;
	}
	kernel = argv[1];
	harness_begin(argc, argv);
#define T(name) tap_run(#name, test_##name)
	T(bad_options);
	T(kernels_that_are_none);
	T(kernel_without_modules);
	T(kernel_without_btf);
	T(bad_paths);
	T(scenario_mistakes);
	T(no_controller);
	T(an_agent_that_dies);
	T(run_command);
	char meddles[512];
	snprintf(meddles, sizeof(meddles), "meddles=%s", program_path("../tests/e2e/e2e-meddles"));
	if (vm_up(&shared, kernel, "1n1l2c1t", true,
		    (const char *const[]){"--stage", "sh=/bin/sh", "--stage", meddles, NULL})) {
		T(second_controller);
		T(a_killed_client_leaves_the_vm_usable);
		T(a_lost_link_ends_the_scenario_and_no_more);
		T(panic_is_a_failure_with_evidence);
	} else {
		printf("not ok 1000 - boot: %s\n", shared.error);
	}
	T(an_agent_killed_in_mid_scenario);
	T(a_killed_controller_leaves_nothing_in_the_way);
	/* It takes the whole boot deadline; the kernel plays no part in it. */
	if (argc > 2)
		T(an_agent_that_never_comes_up);
	harness_end();
	return tap_end();
}
