/* SPDX-License-Identifier: GPL-2.0-only */
/* Payloads, moves, knobs and files as a user sees them, with the real agent: metrics, checks, kept output,
 * artifacts, what is contained, what is pushed. Cpusets are the e2e ring's. */
#include "rig.h"

#include "common/clock.h"
#include "common/fd.h"
#include "proto/pb.h"
#include "proto/wire.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define VERDICT(name) SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_##name
#define CODE(name) SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_##name

static char run_dir[64];

static void rig_start_recording(struct rig *rig)
{
	strcpy(run_dir, "/tmp/schedrig-run-XXXXXX");
	cr_assert_not_null(mkdtemp(run_dir));
	rig->run_dir = run_dir;
	rig_start(rig);
}

static void rig_stop_recording(struct rig *rig)
{
	char command[128];
	rig_stop_clean(rig);
	snprintf(command, sizeof(command), "rm -rf %s", run_dir);
	cr_assert_eq(system(command), 0);
}

/* The whole file of the run directory; free() it. */
static char *recorded(const char *name, size_t *ret_length)
{
	char path[400];
	char *text;
	snprintf(path, sizeof(path), "%s/%s", run_dir, name);
	struct err err = ERR_INIT;
	cr_assert_eq(fd_read_file(path, 64u << 20, &text, ret_length, &err), 0, "%s", err.message);
	return text;
}

/* The report of a payload, wherever it is. */
static const PB(PayloadReport) * report_of(const PB(RunResult) * result, const char *name)
{
	for (size_t i = 0; i < result->n_payloads; i++)
		if (!strcmp(result->payloads[i]->name, name))
			return result->payloads[i];
	for (size_t i = 0; i < result->n_ops; i++)
		if (result->ops[i]->payload && !strcmp(result->ops[i]->payload->name, name))
			return result->ops[i]->payload;
	cr_assert_fail("no report of payload %s: %s", name, result->verdict->summary);
	abort();
}

static double metric_of(const PB(PayloadReport) * report, const char *name)
{
	for (size_t i = 0; i < report->n_metrics; i++)
		if (!strcmp(report->metrics[i]->name, name))
			return report->metrics[i]->value;
	cr_assert_fail("no metric %s", name);
	abort();
}

#define JSON_PAYLOAD                                                                                         \
	"duration: 200s\npayloads:\n"                                                                        \
	"- name: bench\n"                                                                                    \
	"  program: sh\n"                                                                                    \
	"  default_args: [-c, 'echo starting; echo \"{\\\"jobs\\\": [{\\\"iops\\\": 120.5, \\\"name\\\": "   \
	"\\\"x\\\"}], \\\"runs\\\": 3}\"; echo done; echo \"{\\\"runs\\\": 4}\"; echo oh >&2']\n"            \
	"  metrics: [{name: jobs.0.iops, better: higher, unit: 1/s}]\n"

Test(payload, metrics_and_checks_that_hold, .timeout = 240)
{
	struct rig rig = {0};
	rig_start_recording(&rig);
	PB(RunResult) *result = rig_run_for(&rig, VERDICT(PASS),
		JSON_PAYLOAD "  checks: [{exit_code_eq: 0}, {min: {metric: jobs.0.iops, value: 100}}, {max: "
			     "{metric: runs, "
			     "value: 4}}, {range: {metric: runs, min: 4, max: 4}}, {exists: jobs.0.iops}]\n"
			     "steps: [{ops: [{run_payload: {payload: bench}}, {wait_payload: {name: "
			     "bench}}], hold: {fixed: 0s}}]\n");
	const PB(PayloadReport) *report = report_of(result, "bench");
	cr_expect_eq(report->n_metrics, 2);
	cr_expect_eq(metric_of(report, "jobs.0.iops"), 120.5);
	cr_expect_eq(metric_of(report, "runs"), 4, "the last one");
	cr_expect_str_eq(report->metrics[0]->name, "jobs.0.iops", "those with hints come first");
	cr_expect_str_eq(report->metrics[0]->unit, "1/s");
	cr_expect_eq(report->metrics[0]->better, SCHEDRIG__V1__BETTER__BETTER_HIGHER);
	cr_expect_eq(report->metrics[1]->seen, 2);
	size_t length;
	char *text = recorded(report->stdout_file, &length);
	cr_expect_eq(length, report->stdout_bytes);
	cr_expect_eq(strncmp(text, "starting\n{\"jobs\"", 16), 0, "%s", text);
	free(text);
	text = recorded(report->stderr_file, &length);
	cr_expect_str_eq(text, "oh\n");
	free(text);
	pb_free(result);
	rig_stop_recording(&rig);
}

Test(payload, every_check_that_fails_is_told, .timeout = 240)
{
	PB(RunResult) *result = rig_alone(VERDICT(FAIL), JSON_PAYLOAD
		"  checks: [{min: {metric: jobs.0.iops, value: 121}}, {max: {metric: runs, value: 3}}, "
		"{range: "
		"{metric: runs, min: 0, max: 1}}, {exists: jobs.0.iopt}, {min: {metric: runs, value: 9}, "
		"required: false}]\n"
		"steps: [{ops: [{run_payload: {payload: bench}}, {wait_payload: {name: bench}}], hold: "
		"{fixed: 0s}}]\n");
	const PB(PayloadReport) *report = report_of(result, "bench");
	cr_assert_eq(report->n_failed_checks, 4);
	cr_expect_str_eq(report->failed_checks[0], "jobs.0.iops is 120.5: at least 121 is asked for");
	cr_expect_str_eq(report->failed_checks[1], "runs is 4: at most 3 is allowed");
	cr_expect_str_eq(report->failed_checks[2], "runs is 4: 0 to 1 is asked for");
	cr_expect(
		strstr(report->failed_checks[3], "nearest is 'jobs.0.iops'"), "%s", report->failed_checks[3]);
	cr_assert_eq(report->n_noted_checks, 1);
	cr_expect_str_eq(report->noted_checks[0], "runs is 4: at least 9 is asked for");
	size_t parts = 0;
	for (size_t i = 0; i < result->verdict->n_parts; i++)
		parts += !strcmp(result->verdict->parts[i]->kind, "payload_check");
	cr_expect_eq(parts, 4);
	pb_free(result);
}

/* A check that is only recorded does not make the verdict Fail; a wrong exit status makes the others
 * pointless; stderr counts when stdout has no document. */
Test(payload, exit_codes_and_stderr, .timeout = 240)
{
	struct rig rig = {0};
	rig_start(&rig);
	PB(RunResult) *result = rig_run_for(&rig, VERDICT(PASS),
		"duration: 200s\n"
		"payloads:\n"
		"- {name: recorded, program: 'false', checks: [{exit_code_eq: 0, required: false}]}\n"
		"- {name: quiet, program: sh, default_args: [-c, 'echo no json; echo \"{\\\"n\\\": 7}\" "
		">&2'], "
		"checks: [{min: {metric: n, value: 7}}]}\n"
		"steps: [{ops: [{run_payload: {payload: recorded}}, {wait_payload: {name: recorded}}, "
		"{run_payload: {payload: quiet}}, "
		"{wait_payload: {name: quiet}}], hold: {fixed: 0s}}]\n");
	cr_expect_eq(report_of(result, "recorded")->n_noted_checks, 1);
	cr_expect_eq(metric_of(report_of(result, "quiet"), "n"), 7);
	pb_free(result);
	result = rig_run_for(&rig, VERDICT(FAIL),
		"duration: 200s\n"
		"payloads:\n"
		"- {name: bad, program: sh, default_args: [-c, 'echo why >&2; exit 3'], "
		"checks: [{exit_code_eq: "
		"0}, {exists: n}]}\n"
		"steps: [{ops: [{run_payload: {payload: bad}}, {wait_payload: {name: bad}}], "
		"hold: {fixed: 0s}}]\n");
	cr_expect_eq(report_of(result, "bad")->n_failed_checks, 1);
	cr_expect_str_eq(report_of(result, "bad")->stderr_tail, "why\n");
	pb_free(result);
	rig_stop_clean(&rig);
}

/* An agent of thousands of workers has descriptors beyond 1023, and so have its payloads. */
Test(payload, descriptors_with_high_numbers, .timeout = 240)
{
	enum { MANY = 1100 };
	static int fds[MANY];
	struct rlimit files;
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
	if (files.rlim_max < 2 * MANY)
		cr_skip_test(
			"no more than %llu open files are allowed here", (unsigned long long)files.rlim_max);
	files.rlim_cur = MAX_OF(files.rlim_cur, (rlim_t)(2 * MANY));
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
	/* The agent inherits them. */
	for (unsigned i = 0; i < MANY; i++)
		cr_assert_geq(fds[i] = open("/dev/null", O_RDONLY), 0);
	struct rig rig = {0};
	rig_start(&rig);
	for (unsigned i = 0; i < MANY; i++)
		close(fds[i]);
	PB(RunResult) *result = rig_run_for(&rig, VERDICT(PASS),
		JSON_PAYLOAD "  checks: [{exit_code_eq: 0}, {exists: jobs.0.iops}]\n"
			     "steps: [{ops: [{add_cgroup: {name: a}}, {run_payload: {payload: bench, cgroup: "
			     "a}}, {wait_payload: {name: bench}}], hold: {fixed: 0s}}]\n");
	pb_free(result);
	rig_stop_clean(&rig);
}

Test(payload, a_check_can_end_the_step, .timeout = 240)
{
	PB(RunResult) *result = rig_alone(VERDICT(FAIL),
		"duration: 120s\n"
		"payloads: [{name: bad, program: 'false', checks: [{exit_code_eq: 0, stop: true}]}]\n"
		"steps:\n"
		"- {ops: [{run_payload: {payload: bad}}, {wait_payload: {name: bad}}, {add_cgroup: never}], "
		"hold: {fixed: 110s}}\n"
		"- {ops: [{add_cgroup: later}], hold: {fixed: 0s}}\n");
	cr_assert_str_eq(rig_part(result, "payload_check")->place, "steps[0].ops[0]");
	cr_assert_eq(result->n_steps, 2, "the scenario goes on");
	cr_expect_str_eq(result->steps[0]->ended_by, "check");
	cr_expect_lt(result->steps[0]->end_ns, 100 * NS_PER_S);
	cr_expect_str_eq(result->steps[1]->ended_by, "time");
	cr_assert_eq(result->n_ops, 3, "the op behind it was not applied");
	cr_expect_str_eq(result->ops[2]->kind, "AddCgroup");
	cr_expect_str_eq(result->ops[2]->place, "steps[1].ops[0]");
	pb_free(result);
}

/* More passes than are kept: the one that failed is in none of them, and counts. */
Test(payload, a_failure_in_any_pass_counts, .timeout = 240)
{
	struct rig rig = {0};
	char file[] = "/tmp/schedrig-passes-XXXXXX", text[1200];
	int fd = mkstemp(file);
	cr_assert_geq(fd, 0);
	close(fd);
	rig_start(&rig);
	/* Counts its starts in the file; the twentieth fails. */
	snprintf(text, sizeof(text),
		"duration: 4s\n"
		"payloads: [{name: p, program: sh, default_args: [-c, 'echo x >>%s; n=$(wc -l <%s); test $n "
		"-ne "
		"20'], checks: [{exit_code_eq: 0}]}]\n"
		"steps: [{ops: [{run_payload: {payload: p}}, {wait_payload: {name: p, timeout: 200s}}], "
		"hold: "
		"{loop: 10ms}}]\n",
		file, file);
	PB(Scenario) *scenario = rig_scenario(text);
	PB(RunResult) *result = NULL;
	struct err err = ERR_INIT;
	cr_assert_eq(engine_run(rig.engine, scenario, &result, &err), 0, "%s", err.message);
	pb_free(scenario);
	unlink(file);
	if (result->steps[0]->passes < 22) {
		pb_free(result);
		rig_stop_clean(&rig);
		cr_skip("too busy a machine for twenty passes in four seconds");
	}
	cr_assert_eq(result->verdict->verdict, VERDICT(FAIL), "%s", result->verdict->summary);
	cr_assert_eq(result->n_payloads, 1);
	cr_expect_eq(result->payloads[0]->exit_code, 1);
	pb_free(result);
	rig_stop_clean(&rig);
}

#define FLOOD_BYTES 40000000

Test(payload, much_output_is_cut_in_the_middle, .timeout = 240)
{
	struct rig rig = {0};
	rig_start_recording(&rig);
	PB(RunResult) *result = rig_run_for(&rig, VERDICT(PASS),
		"duration: 200s\n"
		"payloads: [{name: flood, program: sh, default_args: [-c, "
		"'echo first; yes | head -c 39999989; "
		"echo; echo last'], checks: [{exit_code_eq: 0}]}]\n"
		"steps: [{ops: [{run_payload: {payload: flood}}, "
		"{wait_payload: {name: flood}}], hold: {fixed: 0s}}]\n");
	const PB(PayloadReport) *report = report_of(result, "flood");
	cr_expect_eq(report->stdout_bytes, FLOOD_BYTES + 1);
	cr_assert_eq(report->n_notes, 1);
	size_t length;
	char *text = recorded(report->stdout_file, &length);
	cr_expect_gt(length, 1u << 20);
	cr_expect_leq(length, (16u << 20) + 100);
	cr_expect_eq(strncmp(text, "first\n", 6), 0);
	cr_expect_str_eq(text + length - 6, "\nlast\n");
	char *marker = memmem(text, length, "[schedrig: ", 11);
	cr_assert_not_null(marker);
	long long cut = atoll(marker + 11);
	size_t words = (size_t)(strchr(marker, '\n') + 1 - (marker - 1));
	cr_expect_eq((long long)(length - words) + cut, FLOOD_BYTES + 1, "what is there and what is not");
	free(text);
	pb_free(result);
	rig_stop_recording(&rig);
}

Test(payload, artifacts_come_to_the_run_directory, .timeout = 240)
{
	struct rig rig = {0};
	char dir[] = "/tmp/schedrig-artifact-XXXXXX", text[1000];
	cr_assert_not_null(mkdtemp(dir));
	rig_start_recording(&rig);
	snprintf(text, sizeof(text),
		"duration: 200s\n"
		"payloads: [{name: maker, program: sh, default_args: [-c, 'head -c 300000 /dev/zero >%s/big; "
		"echo hi "
		">%s/small'], artifacts: [%s/big, %s/small, %s/none]}]\n"
		"backdrop: {payloads: [{payload: maker}]}\n"
		"steps: [{ops: [{wait_payload: {name: maker}}], hold: {fixed: 0s}}]\n",
		dir, dir, dir, dir, dir);
	PB(RunResult) *result = rig_run(&rig, text);
	const PB(PayloadReport) *report = report_of(result, "maker");
	cr_assert_eq(report->n_artifacts, 3);
	cr_expect_eq(report->artifacts[0]->bytes, 300000);
	size_t length;
	char *content = recorded(report->artifacts[0]->file, &length);
	cr_expect_eq(length, 300000);
	free(content);
	content = recorded(report->artifacts[1]->file, &length);
	cr_expect_str_eq(content, "hi\n");
	free(content);
	cr_expect_str_empty(report->artifacts[2]->file);
	cr_expect(strstr(report->artifacts[2]->error, "No such file"), "%s", report->artifacts[2]->error);
	pb_free(result);
	snprintf(text, sizeof(text), "rm -r %s", dir);
	cr_assert_eq(system(text), 0);
	rig_stop_recording(&rig);
}

/* --- moves --- */

static const PB(OpResult) * op_at(const PB(RunResult) * result, const char *place)
{
	for (size_t i = 0; i < result->n_ops; i++)
		if (!strcmp(result->ops[i]->place, place))
			return result->ops[i];
	cr_assert_fail("no op at %s: %s", place, result->verdict->summary);
	abort();
}

Test(moves, workers_and_payloads_with_what_they_started, .timeout = 240)
{
	PB(RunResult) *result = rig_alone(VERDICT(PASS),
		"payloads: [{name: family, program: sh, default_args: [-c, 'sleep 1000 & "
		"(sleep 1000 & sleep 1000) "
		"& echo; wait']}]\n"
		"steps:\n"
		"- hold: {fixed: 0s}\n"
		"  ops:\n"
		"  - add_cgroup: a\n"
		"  - add_cgroup: b\n"
		"  - spawn: {cgroup: a, work: {workers: 3}}\n"
		"  - run_payload: {payload: family, cgroup: a}\n"
		"  - spawn: {runner_cgroup: {}, work: {workers: 2, comm: runner}}\n"
		"  - move_all_tasks: {from: a, to: b}\n"
		"  - capture_cgroup_procs: {tag: left, cgroup: a}\n"
		"  - capture_cgroup_procs: {tag: came, cgroup: b}\n"
		"  - {kill_payload: {name: family, cgroup: a}, expect_error: NotFound}\n"
		"  - kill_payload: {name: family, cgroup: b}\n"
		"  - move_all_tasks: {from: '', to: b}\n"
		"  - capture_cgroup_procs: {tag: all, cgroup: b}\n"
		"  - move_all_tasks: {from: a, to: b}\n"
		"  - {move_all_tasks: {from: a, to: nowhere}, expect_error: NotFound}\n");
	const PB(OpResult) *moved = op_at(result, "steps[0].ops[5]");
	cr_assert_not_null(moved->move);
	cr_expect_geq(moved->move->n_moved, 4, "3 workers, and the payload with its children");
	cr_expect_eq(moved->move->tries, 1);
	cr_expect_eq(op_at(result, "steps[0].ops[6]")->procs->n_pids, 0, "nothing is left behind");
	cr_expect_geq(op_at(result, "steps[0].ops[7]")->procs->n_pids, 4);
	cr_expect_eq(op_at(result, "steps[0].ops[10]")->move->n_moved, 2);
	cr_expect_eq(op_at(result, "steps[0].ops[11]")->procs->n_pids, 5);
	const PB(OpResult) *nothing = op_at(result, "steps[0].ops[12]");
	cr_expect_eq(nothing->move->n_moved, 0);
	cr_assert_eq(nothing->n_notes, 1);
	cr_assert_eq(result->n_workers, 5);
	for (size_t i = 0; i < 5; i++)
		cr_expect_str_eq(result->workers[i]->cgroup, "b");
	pb_free(result);
}

Test(moves, ownership, .timeout = 240)
{
	PB(RunResult) *result = rig_alone(VERDICT(PASS),
		"duration: 2s\n"
		"payloads: [{name: nap, program: sleep, default_args: ['1000']}]\n"
		"backdrop: {cgroups: [{name: old, work: [{workers: 1, comm: old}]}, {name: other, empty: "
		"true}]}\n"
		"steps:\n"
		"- hold: {fixed: 0s}\n"
		"  ops:\n"
		"  - add_cgroup: mine\n"
		"  - spawn: {cgroup: mine, work: {comm: young}}\n"
		"  - run_payload: {payload: nap, cgroup: mine}\n"
		"  - {move_all_tasks: {from: old, to: mine}, expect_error: FailedPrecondition}\n"
		"  - move_all_tasks: {from: mine, to: other}\n"
		"  - move_all_tasks: {from: old, to: other}\n"
		"- hold: {fixed: 50ms}\n"
		"  ops: [{capture_cgroup_procs: {tag: t, cgroup: other}}, {kill_payload: {name: nap}}]\n");
	const PB(Error) *refused = op_at(result, "steps[0].ops[3]")->error;
	cr_expect(strstr(refused->message, "`old`") && strstr(refused->message, "`mine`"), "%s",
		refused->message);
	cr_expect_eq(
		op_at(result, "steps[1].ops[0]")->procs->n_pids, 3, "step-local tasks outlived their step");
	cr_assert_eq(result->n_workers, 2);
	for (size_t i = 0; i < 2; i++)
		cr_expect(result->workers[i]->backdrop);
	pb_free(result);
}

static pid_t stray;

/* Puts a process that nobody knows into the first cgroup. */
static void add_stray(struct rig *rig)
{
	char path[400], text[16];
	if (stray)
		return;
	stray = fork();
	if (stray == 0) {
		execl("/bin/sleep", "sleep", "1000", NULL);
		_exit(127);
	}
	snprintf(path, sizeof(path), "%s/schedrig/a/cgroup.procs", rig->peer.cgroup);
	snprintf(text, sizeof(text), "%d", stray);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text), "%s: %s", path, strerror(errno));
	close(fd);
}

Test(moves, tasks_that_nobody_tracks, .timeout = 240)
{
	struct rig rig = {.on_step = add_stray};
	rig_start(&rig);
	PB(RunResult) *result = rig_run_for(&rig, VERDICT(PASS),
		"duration: 2s\n"
		"backdrop: {cgroups: [{name: a}, {name: b, empty: true}]}\n"
		"steps:\n"
		"- hold: {fixed: 10ms}\n"
		"- hold: {fixed: 0s}\n"
		"  ops:\n"
		"  - move_all_tasks: {from: a, to: b}\n"
		"  - capture_cgroup_procs: {tag: t, cgroup: a}\n"
		"  - move_all_tasks: {from: a, to: b, untracked: true}\n"
		"  - capture_cgroup_procs: {tag: t, cgroup: b}\n"
		"  - {move_all_tasks: {from: b, to: b}, expect_error: InvalidArgument}\n");
	const PB(OpResult) *first = op_at(result, "steps[1].ops[0]");
	cr_assert_eq(first->move->n_untracked, 1);
	cr_expect_eq(first->move->untracked[0], stray);
	cr_expect_eq(first->move->n_moved, 1);
	cr_expect_eq(op_at(result, "steps[1].ops[1]")->procs->n_pids, 1);
	cr_expect_eq(op_at(result, "steps[1].ops[2]")->move->moved[0], stray);
	cr_expect_eq(op_at(result, "steps[1].ops[3]")->procs->n_pids, 2);
	pb_free(result);
	/* Outside of a VM what nobody tracks is killed with its cgroup. */
	cr_assert_eq(waitpid(stray, NULL, 0), stray);
	rig_stop_clean(&rig);
}

/* It ends while it is moved to and fro: each move succeeds, or says that there was nobody left. */
Test(moves, one_that_dies_meanwhile, .timeout = 240)
{
	struct rig rig = {0};
	rig_start(&rig);
	PB(RunResult) *result = rig_run_for(&rig, VERDICT(PASS),
		"duration: 3s\n"
		"payloads: [{name: short, program: sh, default_args: [-c, 'for i in 1 2 3 4 5 "
		"6 7 8 9 10; do (exit 0); "
		"done'], checks: [{exit_code_eq: 0}]}, {name: gone, program: 'true'}]\n"
		"backdrop: {cgroups: [{name: a, empty: true}, {name: b, empty: true}]}\n"
		"steps:\n"
		"- hold: {loop: 2ms}\n"
		"  ops:\n"
		"  - run_payload: {payload: short, cgroup: a}\n"
		"  - spawn: {cgroup: a, work: {work_type: mixed}}\n"
		"  - move_all_tasks: {from: a, to: b}\n"
		"  - move_all_tasks: {from: b, to: a}\n"
		"  - wait_payload: {name: short, cgroup: a, timeout: 200s}\n"
		"  - stop_cgroup: {cgroup: a}\n");
	pb_free(result);
	/* All of them have exited: that is said. */
	char text[1200];
	snprintf(text, sizeof(text),
		"duration: 200s\n"
		"payloads:\n"
		"- {name: gone, program: sh, default_args: [-c, 'exit 0']}\n"
		"- {name: watch, program: sh, default_args: [-c, 'while read -r pid "
		"<%s/schedrig/a/cgroup.procs; do "
		"sleep 0.01; done']}\n"
		"backdrop: {cgroups: [{name: a, empty: true}, {name: b, empty: true}], payloads: []}\n"
		"steps:\n"
		"- hold: {fixed: 0s}\n"
		"  ops: [{run_payload: {payload: gone, cgroup: a}}, {run_payload: {payload: watch}}, "
		"{wait_payload: "
		"{name: watch, timeout: 200s}}, {move_all_tasks: {from: a, to: b}, expect_error: NotFound}, "
		"{wait_payload: {name: "
		"gone, "
		"cgroup: a}}]\n",
		rig.peer.cgroup);
	result = rig_run_for(&rig, VERDICT(PASS), text);
	cr_expect(strstr(op_at(result, "steps[0].ops[3]")->error->message, "has exited"));
	pb_free(result);
	rig_stop_clean(&rig);
}

Test(moves, a_destination_with_controllers_for_children, .timeout = 240)
{
	struct rig rig = {0};
	rig_start(&rig);
	if (!rig.pids) {
		rig_stop_clean(&rig);
		cr_skip("needs the pids controller in cgroup v2");
	}
	PB(RunResult) *result = rig_run_for(&rig, VERDICT(PASS),
		"backdrop: {cgroups: [{name: a}, {name: d, empty: true}, "
		"{name: d/x, empty: true, pids: 100}]}\n"
		"steps:\n"
		"- hold: {fixed: 0s}\n"
		"  ops: [{move_all_tasks: {from: a, to: d}, expect_error: "
		"FailedPrecondition}, {move_all_tasks: {from: "
		"a, to: d/x}}]\n");
	cr_expect(strstr(op_at(result, "steps[0].ops[0]")->error->message, "'pids'"), "%s",
		op_at(result, "steps[0].ops[0]")->error->message);
	pb_free(result);
	rig_stop_clean(&rig);
}

/* --- kernels that cannot make a process in a cgroup --- */

static bool has_note(const PB(OpResult) * op, const char *words)
{
	for (size_t i = 0; i < op->n_notes; i++)
		if (strstr(op->notes[i], words))
			return true;
	return false;
}

static void place(const char *kernel)
{
	struct rig rig = {.agent = kernel ? getenv("SCHEDRIG_AGENT_OLD_KERNEL") : NULL};
	if (kernel)
		setenv("SCHEDRIG_OLD_KERNEL", kernel, 1);
	rig_start(&rig);
	PB(RunResult) *result = rig_run(&rig, "duration: 5s\n"
					      "payloads:\n"
					      "- {name: see, program: sh, default_args: [-c, 'while IFS=: "
					      "read -r a b path; do case $a in 0) "
					      "echo ${path##*/};; esac; done </proc/self/cgroup']}\n"
					      "steps:\n"
					      "- hold: {fixed: 0s}\n"
					      "  ops:\n"
					      "  - add_cgroup: here\n"
					      "  - run_payload: {payload: see, cgroup: here}\n"
					      "  - wait_payload: {name: see, timeout: 100s}\n"
					      "  - spawn: {cgroup: here, work: {workers: 2}}\n"
					      "  - capture_cgroup_procs: {tag: t, cgroup: here}\n"
					      "  - run_payload: {payload: see}\n"
					      "  - wait_payload: {name: see, timeout: 100s}\n");
	cr_assert_eq(result->verdict->verdict, VERDICT(PASS), "%s: %s", kernel, result->verdict->summary);
	const PB(PayloadReport) *report = op_at(result, "steps[0].ops[2]")->payload;
	cr_expect_str_eq(report->stdout_tail, "here\n", "%s", kernel);
	cr_expect(report->placed_before_exec);
	cr_expect_eq(report->moved_before_exec, kernel != NULL, "%s", kernel);
	cr_expect_eq(
		has_note(op_at(result, "steps[0].ops[1]"), "moved before"), kernel != NULL, "%s", kernel);
	cr_expect_eq(
		has_note(op_at(result, "steps[0].ops[3]"), "moved before"), kernel != NULL, "%s", kernel);
	cr_expect_eq(op_at(result, "steps[0].ops[4]")->procs->n_pids, 2, "%s", kernel);
	cr_expect_not(
		op_at(result, "steps[0].ops[6]")->payload->moved_before_exec, "there was nowhere to go");
	pb_free(result);
	rig_stop_clean(&rig);
}

Test(placed, born_there, .timeout = 240)
{
	place(NULL);
}
Test(placed, moved_where_the_kernel_cannot, .timeout = 240)
{
	static const char *const kernels[] = {"ENOSYS", "E2BIG", "EINVAL"};
	for (unsigned i = 0; i < ARRAY_SIZE(kernels); i++)
		place(kernels[i]);
}

/* --- contained --- */

Test(contained, whoever_ignores_signals_and_leaves_the_session, .timeout = 240)
{
	struct rig rig = {0};
	rig_start(&rig);
	PB(RunResult) *result = rig_run_for(&rig, VERDICT(PASS),
		"payloads: [{name: deaf, program: sh, default_args: [-c, 'trap \"\" TERM HUP "
		"INT; setsid sh -c \"trap "
		"\\\"\\\" TERM; sleep 1000; sleep 1000\" & while :; do sleep 1000; done']}]\n"
		"steps:\n"
		"- {ops: [{add_cgroup: a}, {run_payload: {payload: deaf, cgroup: a}}], hold: "
		"{fixed: 100ms}}\n");
	const PB(PayloadReport) *report = report_of(result, "deaf");
	cr_expect_str_eq(report->exit, "signal 9 (killed by schedrig)");
	cr_expect(report->ended_by_us);
	pb_free(result);
	/* Nothing of it is left, or the cgroup could not be removed. */
	rig_stop_clean(&rig);
}

/* Thirty families that never stop having children, of which none lives long, half of them in sessions of
 * their own. */
Test(contained, who_forks_without_end, .timeout = 240)
{
	PB(RunResult) *result = rig_alone(VERDICT(PASS),
		"duration: 30s\n"
		"payloads: [{name: many, program: sh, default_args: [-c, 'i=0; while [ $i -lt "
		"15 ]; do (while :; do (: & :); "
		"done) & setsid sh -c \"while :; do (: & :); done\" & i=$((i + 1)); done; echo "
		"ready; wait']}]\n"
		"steps:\n"
		"- ops: [{add_cgroup: a}, {run_payload: {payload: many, cgroup: a}}]\n"
		"  hold: {fixed: 300ms}\n"
		"- {ops: [{add_cgroup: after}], hold: {fixed: 0s}}\n");
	cr_expect(report_of(result, "many")->ended_by_us);
	pb_free(result);
}

/* One that is killed takes nobody along: others in its cgroup or below go on. */
Test(contained, neighbours_go_on, .timeout = 240)
{
	struct rig rig = {0};
	rig_start(&rig);
	PB(RunResult) *result = rig_run(&rig,
		"duration: 5s\n"
		"payloads:\n"
		"- {name: nap, program: sleep, default_args: ['1000']}\n"
		"- {name: family, program: sh, default_args: [-c, '(setsid sleep 1000 &); sleep 1000']}\n"
		"steps:\n"
		"- hold: {fixed: 0s}\n"
		"  ops:\n"
		"  - add_cgroup: a\n"
		"  - add_cgroup: a/b\n"
		"  - add_cgroup: w\n"
		"  - add_cgroup: alone\n"
		"  - run_payload: {payload: nap, cgroup: a/b}\n"
		"  - run_payload: {payload: family, cgroup: a}\n"
		"  - kill_payload: {name: family}\n"
		"  - {wait_payload: {name: nap, timeout: 50ms}, expect_error: Timeout}\n"
		"  - kill_payload: {name: nap}\n"
		"  - spawn: {cgroup: w, work: {workers: 1}}\n"
		"  - run_payload: {payload: family, cgroup: w}\n"
		"  - kill_payload: {name: family}\n"
		"  - capture_cgroup_procs: {tag: w, cgroup: w}\n"
		"  - run_payload: {payload: family, cgroup: alone}\n"
		"  - kill_payload: {name: family}\n"
		"  - capture_cgroup_procs: {tag: alone, cgroup: alone}\n");
	cr_assert_eq(result->verdict->verdict, VERDICT(PASS), "%s", result->verdict->summary);
	cr_expect(op_at(result, "steps[0].ops[8]")->payload->ended_by_us, "it was killed with its neighbour");
	cr_expect_eq(op_at(result, "steps[0].ops[12]")->procs->n_pids, 1, "the worker, and nobody else");
	cr_assert_eq(result->n_workers, 1);
	cr_expect_str_eq(result->workers[0]->exit, "stopped");
	cr_expect_eq(op_at(result, "steps[0].ops[15]")->procs->n_pids, 0);
	static const char *const killed[] = {"steps[0].ops[6]", "steps[0].ops[11]", "steps[0].ops[14]"};
	for (unsigned i = 0; i < ARRAY_SIZE(killed); i++)
		cr_expect_str_eq(op_at(result, killed[i])->payload->exit, "signal 9 (killed by schedrig)");
	pb_free(result);
	rig_stop_clean(&rig);
}

/* It has its cgroup for itself, and is not there any more. */
Test(contained, who_leaves_the_cgroup, .timeout = 240)
{
	struct rig rig = {0};
	char text[1200];
	rig_start(&rig);
	snprintf(text, sizeof(text),
		"duration: 5s\n"
		"payloads:\n"
		"- {name: out, program: sh, default_args: [-c, 'echo 0 >%s/cgroup.procs; (setsid sleep 1000 "
		"&); sleep 1000']}\n"
		"- {name: see, program: sh, default_args: [-c, 'while read -r pid "
		"<%s/schedrig/a/cgroup.procs; "
		"do sleep 0.01; done']}\n"
		"steps:\n"
		"- hold: {fixed: 0s}\n"
		"  ops:\n"
		"  - add_cgroup: a\n"
		"  - run_payload: {payload: out, cgroup: a}\n"
		"  - run_payload: {payload: see}\n"
		"  - wait_payload: {name: see, timeout: 100s}\n"
		"  - kill_payload: {name: out}\n",
		rig.peer.cgroup, rig.peer.cgroup);
	PB(RunResult) *result = rig_run(&rig, text);
	cr_assert_eq(result->verdict->verdict, VERDICT(PASS), "%s", result->verdict->summary);
	const PB(PayloadReport) *report = report_of(result, "out");
	cr_expect_str_eq(report->exit, "signal 9 (killed by schedrig)");
	cr_expect_eq(kill((pid_t)report->pid, 0), -1);
	pb_free(result);
	/* The sleepers, too, are gone, or the scratch directory could not be removed. */
	rig_stop_clean(&rig);
}

Test(contained, a_fork_bomb, .timeout = 240)
{
	struct rig rig = {0};
	rig_start(&rig);
	if (!rig.pids) {
		rig_stop_clean(&rig);
		cr_skip("needs the pids controller in cgroup v2");
	}
	PB(RunResult) *result = rig_run_for(&rig, VERDICT(PASS),
		"duration: 30s\n"
		"payloads: [{name: bomb, program: sh, default_args: [-c, 'b() { b & b; }; b']}]\n"
		"steps:\n"
		"- hold: {fixed: 300ms}\n"
		"  ops: [{add_cgroup_def: {def: {name: a, empty: true, pids: 300}}}, {run_payload: {payload: "
		"bomb, cgroup: "
		"a}}]\n"
		"- {ops: [{add_cgroup: after}], hold: {fixed: 0s}}\n");
	cr_assert_eq(result->n_steps, 2);
	pb_free(result);
	rig_stop_clean(&rig);
}

/* --- knobs --- */

static int set_pids(
	struct rig *rig, const char *cgroup, uint32_t max, PB(SetCgroupKnobsResponse) * *ret, struct err *err)
{
	PB(SetCgroupKnobsRequest) request = SCHEDRIG__V1__SET_CGROUP_KNOBS_REQUEST__INIT;
	PB(PidsKnobs) pids = SCHEDRIG__V1__PIDS_KNOBS__INIT;
	pids.max = max;
	request.cgroup = (char *)cgroup;
	request.pids = &pids;
	return engine_set_cgroup_knobs(rig->engine, &request, ret, err);
}

static void apply_one(struct rig *rig, PB(Op) * op)
{
	PB(ApplyRequest) request = SCHEDRIG__V1__APPLY_REQUEST__INIT;
	PB(ApplyResponse) *response = NULL;
	struct err err = ERR_INIT;
	request.ops = &op;
	request.n_ops = 1;
	cr_assert_eq(engine_apply(rig->engine, &request, NULL, &response, &err), 0, "%s", err.message);
	pb_free(response);
}

Test(knobs, change_of_what_is_there, .timeout = 240)
{
	struct rig rig = {0};
	PB(Op) op = SCHEDRIG__V1__OP__INIT;
	PB(AddCgroup) add = SCHEDRIG__V1__ADD_CGROUP__INIT;
	PB(SetCgroupKnobsResponse) *answer = NULL;
	struct err err = ERR_INIT;
	rig_start(&rig);
	cr_expect_lt(set_pids(&rig, "nope", 5, &answer, &err), 0);
	cr_expect_eq(err.code, ERR_NOT_FOUND, "%s", err.message);
	cr_expect_lt(set_pids(&rig, "k", 0, &answer, &err), 0);
	cr_expect_eq(err.code, ERR_INVALID_ARGUMENT);
	cr_expect_str_eq(err.place, "pids.max");
	add.name = (char *)"k";
	op.kind_case = SCHEDRIG__V1__OP__KIND_ADD_CGROUP;
	op.add_cgroup = &add;
	apply_one(&rig, &op);
	if (rig.pids) {
		cr_assert_eq(set_pids(&rig, "k", 50, &answer, &err), 0, "%s", err.message);
		cr_assert_eq(answer->n_values, 1);
		cr_expect_str_eq(answer->values[0]->file, "pids.max");
		cr_expect_str_eq(answer->values[0]->value, "50");
		pb_free(answer);
		cr_assert_eq(set_pids(&rig, "k", UINT32_MAX, &answer, &err), 0, "%s", err.message);
		cr_expect_str_eq(answer->values[0]->value, "max");
		pb_free(answer);
	} else {
		cr_expect_lt(set_pids(&rig, "k", 50, &answer, &err), 0);
		cr_expect_eq(err.code, ERR_UNSUPPORTED);
		cr_expect(strstr(err.message, "controller pids"), "%s", err.message);
	}
	cr_assert_eq(engine_end_adhoc(rig.engine, &err), 0, "%s", err.message);
	rig_stop_clean(&rig);
}

/* --- files --- */

static int push(
	struct rig *rig, const char *name, const char *text, uint64_t offset, bool last, struct err *err)
{
	PB(PushRequest) request = SCHEDRIG__V1__PUSH_REQUEST__INIT;
	request.name = (char *)name;
	request.mode = 0755;
	request.offset = offset;
	request.data.data = (uint8_t *)text;
	request.data.len = strlen(text);
	request.size = offset + strlen(text);
	request.last = last;
	return engine_push(rig->engine, &request, err);
}

static const char *says(struct rig *rig, PB(RunResult) * *ret)
{
	*ret = rig_run(rig, "duration: 200s\n"
			    "payloads: [{name: p, program: fresh}]\n"
			    "steps: [{ops: [{run_payload: {payload: p}}, {wait_payload: {name: p}}], hold: "
			    "{fixed: 0s}}]\n");
	return report_of(*ret, "p")->stdout_tail;
}

Test(files, pushed_programs_run, .timeout = 240)
{
	struct rig rig = {0};
	struct err err = ERR_INIT;
	PB(RunResult) *result = NULL;
	rig_start(&rig);
	PB(Scenario) *early = rig_scenario("payloads: [{name: p, program: fresh}]\n");
	cr_expect_lt(engine_run(rig.engine, early, &result, &err), 0);
	cr_expect(strstr(err.message, "not staged"), "%s", err.message);
	pb_free(early);
	cr_assert_eq(push(&rig, "fresh", "#!/bin/sh\necho ", 0, false, &err), 0, "%s", err.message);
	cr_assert_lt(push(&rig, "fresh", "x", 3, true, &err), 0);
	cr_expect_eq(err.code, ERR_FAILED_PRECONDITION, "%s", err.message);
	cr_assert_eq(push(&rig, "fresh", "one\n", 15, true, &err), 0, "%s", err.message);
	cr_expect_str_eq(says(&rig, &result), "one\n");
	pb_free(result);
	cr_assert_eq(push(&rig, "fresh", "#!/bin/sh\necho two\n", 0, true, &err), 0, "%s", err.message);
	cr_expect_str_eq(says(&rig, &result), "two\n", "the next start gets the new one");
	pb_free(result);

	char **names = engine_staged(rig.engine);
	cr_assert_not_null(names);
	unsigned n = 0, fresh = 0;
	for (; names[n]; n++)
		fresh += !strcmp(names[n], "fresh");
	cr_expect_eq(fresh, 1, "once, however often it was pushed");
	cr_expect_eq(n, 5);
	free(names);

	PB(PullRequest) ask = SCHEDRIG__V1__PULL_REQUEST__INIT;
	PB(PullResponse) *got = NULL;
	ask.path = (char *)"fresh";
	cr_assert_eq(engine_pull(rig.engine, &ask, &got, &err), 0, "%s", err.message);
	cr_expect_eq(got->size, 19);
	cr_expect_eq(got->mode, 0755);
	cr_expect_eq(memcmp(got->data.data, "#!/bin/sh\necho two\n", 19), 0);
	pb_free(got);
	rig_stop_clean(&rig);
}

Test(files, what_is_refused, .timeout = 240)
{
	static const char *const bad[] = {"", ".hidden", "a/b", "/a/../b", "/", "/dir/", "a\nb"};
	struct rig rig = {0};
	struct err err = ERR_INIT;
	PB(PullResponse) *got = NULL;
	rig_start(&rig);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		cr_expect_lt(push(&rig, bad[i], "x", 0, true, &err), 0, "%s", bad[i]);
		cr_expect_eq(err.code, ERR_INVALID_ARGUMENT, "%s: %s", bad[i], err.message);
	}
	static const struct {
		const char *path;
		enum err_code code;
	} pulls[] = {{"/nonexistent", ERR_NOT_FOUND}, {"/", ERR_INVALID_ARGUMENT},
		{"/tmp", ERR_INVALID_ARGUMENT}, {"no/such", ERR_INVALID_ARGUMENT}, {"none", ERR_NOT_FOUND},
		{"/dev/null", ERR_INVALID_ARGUMENT}};
	for (unsigned i = 0; i < ARRAY_SIZE(pulls); i++) {
		PB(PullRequest) ask = SCHEDRIG__V1__PULL_REQUEST__INIT;
		ask.path = (char *)pulls[i].path;
		cr_expect_lt(engine_pull(rig.engine, &ask, &got, &err), 0, "%s", pulls[i].path);
		cr_expect_eq(err.code, pulls[i].code, "%s: %s", pulls[i].path, err.message);
	}
	/* One that is begun and never ended is no program. */
	cr_assert_eq(push(&rig, "half", "#!/bin/sh\n", 0, false, &err), 0);
	cr_expect_lt(push(&rig, "late", "x", 5, true, &err), 0);
	cr_expect_eq(err.code, ERR_FAILED_PRECONDITION);
	rig_stop_clean(&rig);
}
