/* SPDX-License-Identifier: GPL-2.0-only */
/* Workers: e2e-work KERNEL boots one VM of two nodes and runs every work type of the list once, and what goes
 * with work specs; then it compares what workers count of themselves with what the kernel has counted of
 * them. */
#include "common/clock.h"
#include "common/fd.h"
#include "proto/work.h"
#include "tests/e2e/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct vm_process vm;

static void release(json_t **json)
{
	json_decref(*json);
}
#define _cleanup_json_ __attribute__((cleanup(release)))

/* Protobuf leaves zeros out, and 64-bit numbers may be texts. */
static long long number(json_t *root, const char *path)
{
	json_t *value = json_at(root, path);
	return json_is_string(value) ? strtoll(json_string_value(value), NULL, 0) : json_integer_value(value);
}

/* --- every type --- */

/* Those that run alone: their realtime hogs leave nothing to others. */
static bool hogs(enum work_type type)
{
	return type == WORK_RT_STARVATION || type == WORK_PRIORITY_INVERSION || type == WORK_PREEMPT_STORM ||
	       type == WORK_ASYMMETRIC_WAKER || type == WORK_POLICY_CHURN;
}

/* Parameters that make it small enough for this machine; "" are its defaults. */
static const char *parameters(enum work_type type)
{
	switch (type) {
	case WORK_SCHBENCH:
		return "workers: 1, footprint: 4K";
	case WORK_CACHE_SERVER:
		return "clients: 1, slow: 1, size: 64K";
	case WORK_IPC_VARIANCE:
		return "turns: 1";
	case WORK_FAN_OUT_COMPUTE:
		return "footprint: 4K";
	case WORK_NUMA_WORKING_SET_SWEEP:
		return "size: 64K";
	case WORK_CUSTOM:
		return "program: {payload: custom, args: ['10']}";
	default:
		return "";
	}
}

static void add_cgroup(struct strbuf *yaml, enum work_type type)
{
	struct work_params params = work_params_standard(type);
	strbuf_printf(yaml, "    - {name: t-%s, work: [{work_type: {%s: {%s}}, workers: %llu}]}\n",
		work_type_name(type), work_type_name(type), parameters(type),
		(unsigned long long)work_group_size(&params));
}

/* Every worker of the type has ended in order, and the type has done something. */
static bool type_worked(json_t *result, enum work_type type)
{
	size_t i;
	json_t *worker;
	long long iterations = 0, units = 0, workers = 0;
	json_array_foreach(json_at(result, "workers"), i, worker)
	{
		if (strcmp(json_text(worker, "work_type"), work_type_name(type)) != 0)
			continue;
		if (strcmp(json_text(worker, "exit"), "stopped") != 0) {
			tap_fail(__FILE__, __LINE__, "%s ended: %s", work_type_name(type),
				json_text(worker, "exit"));
			return false;
		}
		iterations += number(worker, "iterations");
		units += number(worker, "units");
		workers++;
	}
	if (workers && iterations && units)
		return true;
	tap_fail(__FILE__, __LINE__, "%s: %lld workers, %lld iterations, %lld units", work_type_name(type),
		workers, iterations, units);
	return false;
}

static void tell_ops(json_t *result)
{
	char *ops = json_dumps(json_at(result, "verdict"), 0);
	tap_fail(__FILE__, __LINE__, "%s", ops ? ops : "");
	free(ops);
}

static void run_types(const enum work_type *types, unsigned count)
{
	_cleanup_strbuf_ struct strbuf yaml = STRBUF_INIT;
	strbuf_printf(&yaml, "name: types\nduration: 2s\npayloads: [{name: custom, program: custom-worker}]\n"
			     "backdrop:\n  cgroups:\n");
	for (unsigned i = 0; i < count; i++)
		add_cgroup(&yaml, types[i]);
	strbuf_printf(&yaml, "steps: [{hold: full}]\n");
	int status;
	_cleanup_json_ json_t *result = vm_submit(&vm, strbuf_str(&yaml), &status);
	if (!result)
		return;
	if (status != 0)
		tell_ops(result);
	for (unsigned i = 0; i < count; i++)
		if (!type_worked(result, types[i]))
			return;
}

static void test_types(void)
{
	enum work_type batch[WORK_TYPES];
	unsigned n = 0;
	for (unsigned type = 0; type < WORK_TYPES; type++) {
		enum work_type one = (enum work_type)type;
		if (!work_type_info(type) || hogs(one))
			continue;
		batch[n++] = one;
		if (n == 8) {
			run_types(batch, n);
			n = 0;
		}
	}
	if (n)
		run_types(batch, n);
}

static void test_realtime_types(void)
{
	for (unsigned type = 0; type < WORK_TYPES; type++) {
		enum work_type one = (enum work_type)type;
		if (work_type_info(type) && hogs(one))
			run_types(&one, 1);
	}
}

/* --- work specs --- */

static void test_work_specs(void)
{
	int status;
	_cleanup_json_ json_t *result = vm_submit(&vm,
		"name: specs\n"
		"duration: 500ms\n"
		"backdrop:\n"
		"  cgroups:\n"
		"    - name: far\n"
		"      cpuset_mems: 0-1\n"
		"      work:\n"
		"        - {work_type: {cache_pressure: {size: 1M}}, mem_policy: {bind: '1'}, numa_node: 0}\n"
		"        - {work_type: {cache_pressure: {size: 1M}}, mem_policy: {interleave: 0-1}}\n"
		"        - {work_type: {cache_pressure: {size: 1M}}, mem_policy: {weighted_interleave: "
		"0-1}}\n"
		"        - {work_type: {cache_pressure: {size: 1M}}, mem_policy: {preferred_many: '1', "
		"static_nodes: true}}\n"
		"    - name: group\n"
		"      uid: 1000\n"
		"      gid: 1000\n"
		"      work:\n"
		"        - {thread_group: server, comm: hot, workers: 2}\n"
		"        - {thread_group: server, work_type: {pipe_io: {}}, workers: 2, policy: {fifo: 5}}\n"
		"steps: [{hold: full}]\n",
		&status);
	EXPECT(result != NULL);
	EXPECT(status == 0, "%s", json_text(result, "verdict.summary"));
	json_t *workers = json_at(result, "workers");
	EXPECT(json_array_size(workers) == 8);
	/* 1 MiB are 256 pages. */
	json_t *bound = json_array_get(workers, 0), *spread = json_array_get(workers, 1);
	EXPECT(number(bound, "numa_pages[0]") == 0 && number(bound, "numa_pages[1]") == 256, "%lld and %lld",
		number(bound, "numa_pages[0]"), number(bound, "numa_pages[1]"));
	EXPECT(strcmp(json_text(bound, "cpus_used"), "2-3") != 0, "numa_node 0 is CPUs 0-1, it used %s",
		json_text(bound, "cpus_used"));
	EXPECT(number(spread, "numa_pages[0]") == 128 && number(spread, "numa_pages[1]") == 128);
	EXPECT(number(json_array_get(workers, 3), "numa_pages[1]") == 256);
	long long pid = number(json_array_get(workers, 4), "pid");
	for (unsigned i = 4; i < 8; i++) {
		json_t *worker = json_array_get(workers, i);
		EXPECT(strcmp(json_text(worker, "thread_group"), "server") == 0);
		EXPECT(number(worker, "pid") == pid && number(worker, "tid") != pid);
		EXPECT(strcmp(json_text(worker, "exit"), "stopped") == 0, "%s", json_text(worker, "exit"));
		EXPECT(number(worker, "iterations") > 0);
	}
}

/* --- what the kernel says --- */

/* CPU time: the cgroup's own file, after the last of its workers has ended. */
static void test_cpu_time_is_that_of_cpu_stat(void)
{
	int status;
	_cleanup_json_ json_t *result = vm_submit(&vm,
		"name: cpu time\n"
		"duration: 12s\n"
		"payloads: [{name: w, program: sh, default_args: ['-c', 'grep usage_usec "
		"/sys/fs/cgroup/schedrig/busy/cpu.stat']}]\n"
		"backdrop: {cgroups: [{name: busy, cpu: {weight: 100}, work: [{workers: 2}, {work_type: "
		"{bursty: {burst: 5ms, sleep: 5ms}}}]}]}\n"
		"steps:\n"
		"  - hold: {frac: 0.5}\n"
		"  - ops: [{stop_cgroup: {cgroup: busy}}, {run_payload: {payload: w}}, {wait_payload: {name: "
		"w}}]\n"
		"    hold: {fixed: 1ms}\n",
		&status);
	EXPECT(result != NULL);
	size_t i;
	json_t *item;
	long long reported_ns = 0, kernel_ns = 0;
	json_array_foreach(json_at(result, "workers"), i, item) reported_ns += number(item, "cpu_ns");
	json_array_foreach(json_at(result, "ops"), i, item)
	{
		const char *said = json_text(item, "payload.stdout_tail");
		if (strncmp(said, "usage_usec ", 11) == 0)
			kernel_ns = atoll(said + 11) * 1000;
	}
	if (!kernel_ns) {
		char *ops = json_dumps(json_at(result, "ops"), 0);
		tap_fail(__FILE__, __LINE__, "no CPU time in %s", ops ? ops : "");
		free(ops);
		return;
	}
	/* 1 %. Birth and death of a process are the kernel's alone, and whatever the host does in the middle
	 * of one is counted as its time, too. */
	long long apart_ns = 3 * 100000000ll;
	EXPECT(reported_ns <= kernel_ns && reported_ns + kernel_ns / 100 + apart_ns >= kernel_ns,
		"%lld ns of the kernel's %lld", reported_ns, kernel_ns);
}

#define SUBJECTS 4

/* schedrig --json ARGS..., or NULL. */
static json_t *ask(const char *const *args)
{
	_cleanup_run_ struct run run;
	vm_client(&vm, args, 60, &run);
	return run.status == 0 ? json_loads(strbuf_str(&run.out), 0, NULL) : NULL;
}

static json_t *apply(const char *ops)
{
	const char *path = scratch_path("ops.yaml");
	if (fd_replace_file(path, ops, strlen(ops), 0644, NULL) < 0)
		return NULL;
	return ask((const char *const[]){"--json", "apply", path, NULL});
}

static long long kernel_value(long long pid, const char *field)
{
	char path[96];
	snprintf(path, sizeof(path), "task(%lld).%s", pid, field);
	_cleanup_json_ json_t *answer = ask((const char *const[]){"--json", "read", path, NULL});
	return answer ? number(answer, "values[0].value") : -1;
}

/* PIDs of the workers once all are there, by the ops of another client; false: not yet. */
static bool find_subjects(long long pids[SUBJECTS])
{
	_cleanup_json_ json_t *answer =
		apply("{ops: [{capture_cgroup_procs: {tag: subjects, cgroup: seen}}]}");
	json_t *found = answer ? json_at(answer, "results[0].procs.pids") : NULL;
	if (json_array_size(found) != SUBJECTS)
		return false;
	for (size_t i = 0; i < SUBJECTS; i++)
		pids[i] = json_integer_value(json_array_get(found, i));
	return true;
}

static const char *const counted[] = {"se.sum_exec_runtime", "se.nr_migrations", "nvcsw", "nivcsw"};
enum { RUNTIME, MIGRATIONS, VOLUNTARY, INVOLUNTARY, COUNTED };

/* Lets them run, freezes them, reads the kernel's counters of each, cancels the scenario. False: a failure is
 * recorded. */
static bool watch_subjects(long long pids[SUBJECTS], long long values[SUBJECTS][COUNTED])
{
	uint64_t deadline_ns = clock_deadline_ns(300 * NS_PER_S);
	bool found = false;
	while (!found && clock_left_ns(deadline_ns))
		found = find_subjects(pids);
	/* Until each has done something worth comparing. */
	for (unsigned i = 0; found && i < SUBJECTS; i++)
		while (kernel_value(pids[i], counted[RUNTIME]) < 200000000)
			if (!clock_left_ns(deadline_ns)) {
				found = false;
				break;
			}
	if (!found) {
		tap_fail(__FILE__, __LINE__, "the workers do not come to run");
		return false;
	}
	_cleanup_json_ json_t *frozen = apply("{ops: [{freeze_cgroup: {cgroup: seen}}]}");
	for (unsigned i = 0; i < SUBJECTS; i++)
		for (unsigned c = 0; c < COUNTED; c++)
			values[i][c] = kernel_value(pids[i], counted[c]);
	if (!frozen || json_at(frozen, "results[0].error"))
		tap_fail(__FILE__, __LINE__, "the workers' cgroup is not frozen");
	_cleanup_json_ json_t *thawed = apply("{ops: [{unfreeze_cgroup: {cgroup: seen}}]}");
	_cleanup_json_ json_t *cancelled = ask((const char *const[]){"--json", "cancel", NULL});
	return true;
}

/* What a worker reports at its end is what the kernel had counted when it was frozen, or what came after
 * that. */
static bool agrees(json_t *worker, const long long values[COUNTED])
{
	long long cpu_ns = number(worker, "cpu_ns"), migrations = number(worker, "migrations");
	long long voluntary = number(worker, "voluntary_switches"),
		  involuntary = number(worker, "involuntary_switches");
	const char *type = json_text(worker, "work_type");
	/* From the thaw to the stop and from the birth to the release it runs, too; the host's load makes
	 * that longer. */
	long long slack_ns = 100000000 + values[RUNTIME] / 10;
	if (cpu_ns < values[RUNTIME] || cpu_ns > values[RUNTIME] + 10 * slack_ns) {
		tap_fail(__FILE__, __LINE__, "%s: %lld ns of CPU time, the kernel says %lld", type, cpu_ns,
			values[RUNTIME]);
		return false;
	}
	/* A worker sees the CPU that it is on at a checkpoint; it was frozen once, and began somewhere. */
	long long few = 4 + values[MIGRATIONS] / 50, later = 64 + values[MIGRATIONS];
	if (migrations + few < values[MIGRATIONS] || migrations > values[MIGRATIONS] + few + later) {
		tap_fail(__FILE__, __LINE__, "%s: %lld migrations, the kernel says %lld", type, migrations,
			values[MIGRATIONS]);
		return false;
	}
	/* The kernel's count begins at its birth: set-up, and the wait for the release. */
	if (voluntary + 16 < values[VOLUNTARY] || involuntary + 64 < values[INVOLUNTARY]) {
		tap_fail(__FILE__, __LINE__, "%s: %lld and %lld switches, the kernel says %lld and %lld",
			type, voluntary, involuntary, values[VOLUNTARY], values[INVOLUNTARY]);
		return false;
	}
	return true;
}

static void test_counts_are_the_kernels(void)
{
	char scenario[512], answer[512]; /* scratch_path() keeps four */
	snprintf(scenario, sizeof(scenario), "%s", scratch_path("counts.yaml"));
	snprintf(answer, sizeof(answer), "%s", scratch_path("counts.json"));
	static const char text[] =
		"name: counts\n"
		"duration: 600s\n"
		"backdrop: {cgroups: [{name: seen, work: [{workers: 1}, {work_type: {bursty: {burst: 2ms, "
		"sleep: 1ms}}},\n"
		"  {work_type: {affinity_churn: {spin: 65536}}}, {work_type: {yield_heavy: {}}}]}]}\n"
		"steps: [{hold: full}]\n";
	EXPECT(fd_replace_file(scenario, text, strlen(text), 0644, NULL) == 0);
	fflush(stdout);
	pid_t runner = fork();
	if (runner == 0) {
		struct run run;
		vm_client(
			&vm, (const char *const[]){"--json", "submit", "--queue", scenario, NULL}, 600, &run);
		_exit(fd_replace_file(answer, strbuf_str(&run.out), run.out.length, 0644, NULL) == 0 ? 0 : 1);
	}
	EXPECT(runner > 0);
	long long pids[SUBJECTS], values[SUBJECTS][COUNTED];
	bool watched = watch_subjects(pids, values);
	if (!watched)
		json_decref(ask((const char *const[]){"--json", "cancel", NULL}));
	int status;
	EXPECT(waitpid(runner, &status, 0) == runner && status == 0, "the scenario's client: %d", status);
	_cleanup_json_ json_t *result = json_load_file(answer, 0, NULL);
	EXPECT(watched && result != NULL);
	EXPECT(json_array_size(json_at(result, "workers")) == SUBJECTS);
	for (unsigned i = 0; i < SUBJECTS; i++) {
		json_t *worker = json_array_get(json_at(result, "workers"), i);
		unsigned k = 0;
		while (k < SUBJECTS && pids[k] != number(worker, "pid"))
			k++;
		EXPECT(k < SUBJECTS, "worker %lld was not seen", number(worker, "pid"));
		EXPECT(agrees(worker, values[k]));
	}
}

/* What the machine cannot is refused before anything starts, with the reason. */
static void test_refusals(void)
{
	static const struct {
		const char *work, *words;
	} refused[] = {
		{"mem_policy: {bind: '7'}", "0-1"},
		{"work_type: {numa_migration_churn: {}}, numa_node: 9", "NUMA node 9"},
		{"work_type: {custom: {program: {payload: nobody}}}", "nobody"},
	};
	for (unsigned i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		char yaml[512];
		snprintf(yaml, sizeof(yaml), "{duration: 1s, backdrop: {cgroups: [{name: a, work: [{%s}]}]}}",
			refused[i].work);
		const char *path = scratch_path("refused.yaml");
		EXPECT(fd_replace_file(path, yaml, strlen(yaml), 0644, NULL) == 0);
		_cleanup_run_ struct run run;
		vm_client(&vm, (const char *const[]){"submit", path, NULL}, 60, &run);
		EXPECT(run.status == 64 && strstr(strbuf_str(&run.err), refused[i].words), "exit %d: %s",
			run.status, strbuf_str(&run.err));
	}
}

static const struct {
	const char *name;
	test_fn fn;
} tests[] = {
	{"every work type works and ends", test_types},
	{"and those with realtime policies", test_realtime_types},
	{"memory policies, nodes, thread groups, credentials", test_work_specs},
	{"what cannot be is refused", test_refusals},
	{"CPU time is that of cpu.stat", test_cpu_time_is_that_of_cpu_stat},
	{"counts are the kernel's", test_counts_are_the_kernels},
};

int main(int argc, char **argv)
{
	const char *worker = getenv("SCHEDRIG_CUSTOM_WORKER");
	char stage[512];
	if (argc != 2 || !worker) {
		fprintf(stderr, "usage: SCHEDRIG_CUSTOM_WORKER=PROGRAM %s KERNEL\n", argv[0]);
		return 64;
	}
	snprintf(stage, sizeof(stage), "custom-worker=%s", worker);
	const char *const options[] = {
		"--net", "--stage", stage, "--stage", "sh=/bin/sh", "--stage", "grep=/bin/grep", NULL};
	harness_begin(argc, argv);
	if (!vm_up(&vm, argv[1], "2n2l1c2t", true, options)) {
		printf("Bail out! the VM did not come up: %s\nnot ok 1 - boot\n", vm.error);
		harness_end();
		tap_end();
		return 1;
	}
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tap_run(tests[i].name, tests[i].fn);
	int status = vm_down(&vm);
	if (status != 0)
		printf("not ok 1000 - shut down in order: exit status %d\n", status);
	harness_end();
	return tap_end();
}
