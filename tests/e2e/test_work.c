/* SPDX-License-Identifier: GPL-2.0-only */
/* Workers: e2e-work KERNEL boots one VM of two nodes and runs every work type of the list once, and what goes
 * with work specs. */
#include "common/fd.h"
#include "proto/work.h"
#include "tests/e2e/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct vm_process vm;

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
		iterations += json_count(worker, "iterations");
		units += json_count(worker, "units");
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
	EXPECT(json_count(bound, "numa_pages[0]") == 0 && json_count(bound, "numa_pages[1]") == 256,
		"%lld and %lld", json_count(bound, "numa_pages[0]"), json_count(bound, "numa_pages[1]"));
	EXPECT(strcmp(json_text(bound, "cpus_used"), "2-3") != 0, "numa_node 0 is CPUs 0-1, it used %s",
		json_text(bound, "cpus_used"));
	EXPECT(json_count(spread, "numa_pages[0]") == 128 && json_count(spread, "numa_pages[1]") == 128);
	EXPECT(json_count(json_array_get(workers, 3), "numa_pages[1]") == 256);
	long long pid = json_count(json_array_get(workers, 4), "pid");
	for (unsigned i = 4; i < 8; i++) {
		json_t *worker = json_array_get(workers, i);
		EXPECT(strcmp(json_text(worker, "thread_group"), "server") == 0);
		EXPECT(json_count(worker, "pid") == pid && json_count(worker, "tid") != pid);
		EXPECT(strcmp(json_text(worker, "exit"), "stopped") == 0, "%s", json_text(worker, "exit"));
		EXPECT(json_count(worker, "iterations") > 0);
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

static const struct test tests[] = {
	{"every work type works and ends", test_types},
	{"and those with realtime policies", test_realtime_types},
	{"memory policies, nodes, thread groups, credentials", test_work_specs},
	{"what cannot be is refused", test_refusals},
	{0},
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
	const char *const options[] = {"--net", "--stage", stage, NULL};
	return vm_test_main(&vm, argc, argv, "2n2l1c2t", options, tests);
}
