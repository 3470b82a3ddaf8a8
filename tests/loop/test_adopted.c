/* SPDX-License-Identifier: GPL-2.0-only */
/* A scenario's payloads that clients wait for or kill, with the real agent. A thread beside the run. */
#include "rig.h"

#include "common/clock.h"
#include "proto/pb.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VERDICT(name) SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_##name

#define BENCH                                                                                                \
	"duration: 200s\npayloads:\n- name: bench\n  program: sh\n"                                          \
	"  default_args: [-c, 'echo \"{\\\"iops\\\": 120.5}\"']\n"

static double first_metric(const PB(PayloadReport) * report)
{
	cr_assert_gt(report->n_metrics, 0);
	return report->metrics[0]->value;
}

/* A client that ends a payload of the scenario once a step has begun. */
struct meddler {
	struct rig rig;
	const char *ops;  /* of a step */
	const char *file; /* which must be there first; NULL: none */
	sem_t begun;
	pthread_t thread;
	int r;
	struct err err;
	PB(ApplyResponse) * response;
};

static void *meddle(void *arg)
{
	struct meddler *m = arg;
	while (sem_wait(&m->begun) < 0)
		;
	uint64_t deadline_ns = clock_deadline_ns(200 * NS_PER_S);
	while (m->file && access(m->file, F_OK) < 0 && clock_left_ns(deadline_ns))
		usleep(2000);
	PB(Scenario) *s = rig_scenario(m->ops);
	PB(ApplyRequest) request = SCHEDRIG__V1__APPLY_REQUEST__INIT;
	request.n_ops = s->steps[0]->n_ops;
	request.ops = s->steps[0]->ops;
	m->r = engine_apply(m->rig.engine, &request, NULL, &m->response, &m->err);
	pb_free(s);
	return NULL;
}

static void on_meddlers_step(struct rig *rig)
{
	sem_post(&container_of(rig, struct meddler, rig)->begun);
}

static PB(RunResult) * run_with(struct meddler *m, PB(VerdictKind) verdict, const char *text)
{
	cr_assert_eq(sem_init(&m->begun, 0, 0), 0);
	m->rig.on_step = on_meddlers_step;
	cr_assert_eq(pthread_create(&m->thread, NULL, meddle, m), 0);
	PB(RunResult) *result = rig_run_for(&m->rig, verdict, text);
	cr_assert_eq(pthread_join(m->thread, NULL), 0);
	sem_destroy(&m->begun);
	return result;
}

static size_t count_parts(const PB(RunResult) * result, const char *kind)
{
	size_t n = 0;
	for (size_t i = 0; i < result->verdict->n_parts; i++)
		n += !strcmp(result->verdict->parts[i]->kind, kind);
	return n;
}

/* Whoever waits for a scenario's payload gets its checks and metrics, and so does the scenario: once, for
 * what started it. */
Test(adopted, a_scenarios_that_a_client_waits_for, .timeout = 240)
{
	struct meddler m = {
		.ops = "steps: [{ops: [{wait_payload: {name: bench, timeout: 200s}}, {add_cgroup: "
		       "after}]}]\n"};
	char run_dir[] = "/tmp/schedrig-run-XXXXXX", path[400];
	cr_assert_not_null(mkdtemp(run_dir));
	m.rig.run_dir = run_dir;
	rig_start(&m.rig);
	PB(RunResult) *result = run_with(&m, VERDICT(FAIL),
		BENCH "  checks: [{exit_code_eq: 0}, {min: {metric: iops, value: 900}, stop: true}, "
		      "{min: {metric: iops, value: 100}}]\n"
		      "steps: [{ops: [{run_payload: {payload: bench}}], hold: {fixed: 190s}}, {hold: "
		      "{fixed: 0s}}]\n");
	cr_assert_eq(m.r, 0, "%s", m.err.message);
	cr_assert_eq(m.response->n_results, 2, "its own list goes on");
	const PB(PayloadReport) *report = m.response->results[0]->payload;
	cr_assert_eq(report->n_failed_checks, 1);
	cr_expect_str_eq(report->failed_checks[0], "iops is 120.5: at least 900 is asked for");
	cr_expect_eq(first_metric(report), 120.5);
	cr_expect(!report->adhoc);
	pb_free(m.response);
	cr_assert_eq(count_parts(result, "payload_check"), 1);
	cr_expect_str_eq(rig_part(result, "payload_check")->place, "steps[0].ops[0]");
	cr_assert_eq(result->n_payloads, 1);
	cr_expect_eq(first_metric(result->payloads[0]), 120.5);
	cr_assert_eq(result->n_steps, 2, "the scenario goes on");
	cr_expect_str_eq(result->steps[0]->ended_by, "check");
	struct stat output;
	snprintf(path, sizeof(path), "%s/%s", run_dir, result->payloads[0]->stdout_file);
	cr_assert_eq(stat(path, &output), 0, "it is the scenario's: %s", path);
	cr_expect_eq(output.st_size, result->payloads[0]->stdout_bytes);
	pb_free(result);
	cr_assert_eq(engine_end_adhoc(m.rig.engine, &m.err), 0);
	rig_stop_clean(&m.rig);
	snprintf(path, sizeof(path), "rm -rf %s", run_dir);
	cr_assert_eq(system(path), 0);
}

/* The same while the agent repeats ops by itself, and for who is killed. */
Test(adopted, a_scenarios_that_a_client_kills, .timeout = 240)
{
	char file[] = "/tmp/schedrig-printed-XXXXXX", text[1200];
	cr_assert_geq(close(mkstemp(file)), 0);
	unlink(file);
	struct meddler m = {.ops = "steps: [{ops: [{kill_payload: {name: nap}}]}]\n", .file = file};
	rig_start(&m.rig);
	static const char *const holds[] = {"fixed: 190s", "loop: 20ms"};
	for (size_t i = 0; i < ARRAY_SIZE(holds); i++) {
		snprintf(text, sizeof(text),
			"duration: 200s\n"
			"payloads: [{name: nap, program: sh, default_args: [-c, 'echo \"{\\\"n\\\": 7}\"; "
			"echo >%s; sleep 600'], checks: [{exit_code_eq: 137}, {max: {metric: n, value: 6}, "
			"stop: true}]}]\n"
			"backdrop: {cgroups: [{name: a, empty: true}], payloads: [{payload: nap}]}\n"
			"steps: [{ops: [{freeze_cgroup: {cgroup: a}}, {unfreeze_cgroup: {cgroup: a}}], hold: "
			"{%s}}]\n",
			file, holds[i]);
		PB(RunResult) *result = run_with(&m, VERDICT(FAIL), text);
		unlink(file);
		cr_assert_eq(m.r, 0, "%s", m.err.message);
		cr_expect_str_eq(
			m.response->results[0]->payload->failed_checks[0], "n is 7: at most 6 is allowed");
		pb_free(m.response);
		cr_assert_eq(count_parts(result, "payload_check"), 1, "%s", result->verdict->summary);
		cr_expect_eq(result->verdict->parts[0]->kind[0], 'p', "and nothing else");
		cr_expect_str_eq(result->steps[0]->ended_by, "check", "%s", holds[i]);
		cr_assert_eq(result->n_payloads, 1);
		cr_expect(result->payloads[0]->ended_by_us);
		pb_free(result);
	}
	rig_stop_clean(&m.rig);
}

/* A client's wait that may come back before, after or with the end of the scenario. */
Test(adopted, a_scenarios_counts_once_whoever_ends_it, .timeout = 240)
{
	struct meddler m = {.ops = "steps: [{ops: [{wait_payload: {name: bad, timeout: 200s}}]}]\n"};
	rig_start(&m.rig);
	for (unsigned i = 0; i < 12; i++) {
		PB(RunResult) *result = run_with(&m, VERDICT(FAIL),
			"duration: 1s\npayloads: [{name: bad, program: 'false', checks: [{exit_code_eq: "
			"0}]}]\nsteps: [{ops: [{run_payload: {payload: bad}}], hold: {fixed: 1ms}}]\n");
		cr_expect(m.r == 0 || m.err.code == ERR_NOT_FOUND, "%s", m.err.message);
		cr_assert_eq(count_parts(result, "payload_check"), 1);
		cr_assert_eq(result->n_payloads, 1);
		pb_free(m.response);
		pb_free(result);
	}
	rig_stop_clean(&m.rig);
}

/* One that they start themselves is theirs, even by the scenario's definition. */
Test(adopted, a_clients_own_by_a_scenarios_definition, .timeout = 240)
{
	struct meddler m = {.ops = "steps: [{ops: [{run_payload: {payload: 'true'}}, {wait_payload: {name: "
				   "'true', timeout: 200s}}, {kill_payload: {name: nap}}]}]\n"};
	rig_start(&m.rig);
	PB(RunResult) *result = run_with(&m, VERDICT(FAIL),
		"duration: 200s\npayloads:\n"
		"- {name: 'true', program: 'true', checks: [{exit_code_eq: 0}, {exists: n}]}\n"
		"- {name: nap, program: sleep, default_args: ['600'], checks: [{exit_code_eq: 0, stop: "
		"true}]}\n"
		"steps: [{ops: [{run_payload: {payload: nap}}], hold: {fixed: 190s}}]\n");
	cr_assert_eq(m.r, 0, "%s", m.err.message);
	const PB(PayloadReport) *report = m.response->results[1]->payload;
	cr_assert(report->adhoc);
	cr_assert_eq(report->n_failed_checks, 1);
	cr_expect(strstr(report->failed_checks[0], "no metric 'n'"), "%s", report->failed_checks[0]);
	cr_assert_eq(count_parts(result, "payload_check"), 1);
	cr_assert_eq(result->n_payloads, 1);
	cr_expect_str_eq(result->payloads[0]->name, "nap");
	pb_free(m.response);
	pb_free(result);
	cr_assert_eq(engine_end_adhoc(m.rig.engine, &m.err), 0);
	rig_stop_clean(&m.rig);
}
