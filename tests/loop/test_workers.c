/* SPDX-License-Identifier: GPL-2.0-only */
/* Many workers, thread groups, programs as workers and samples, through the agent as a process: what a
 * controller would see of them. */
#include "agent_peer.h"

#include "common/clock.h"
#include "proto/pb.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct peer peer;

static void begin(PB(Payload) * *payloads, size_t n_payloads, unsigned speed_percent)
{
	const char *why = peer_scratch(&peer);
	if (why)
		cr_skip("%s", why);
	peer.speed_percent = speed_percent;
	peer_start(&peer, getenv("SCHEDRIG_AGENT"), "/bin", 2);
	peer_begin_scenario(&peer, payloads, n_payloads);
}

/* Sets a cgroup up; the answer, with an error in it or without. */
static PB(AgentResponse) * define(const char *name, PB(WorkSpec) * *work, size_t n_work)
{
	PB(CgroupDef) def = INIT_OF(CGROUP_DEF);
	PB(AddCgroupDef) add = INIT_OF(ADD_CGROUP_DEF);
	PB(Op) op = INIT_OF(OP);
	PB(PlacedOp) placed = INIT_OF(PLACED_OP), *list[] = {&placed};
	PB(ApplyOps) apply = INIT_OF(APPLY_OPS);
	PB(AgentRequest) request = INIT_OF(AGENT_REQUEST);
	def.name = (char *)name;
	def.work = work;
	def.n_work = n_work;
	add.def = &def;
	op.kind_case = SCHEDRIG__V1__OP__KIND_ADD_CGROUP_DEF;
	op.add_cgroup_def = &add;
	placed.op = &op;
	placed.place = (char *)"backdrop.cgroups[0]";
	apply.scope = SCHEDRIG__V1__SCOPE__SCOPE_BACKDROP;
	apply.ops = list;
	apply.n_ops = 1;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_APPLY_OPS;
	request.apply_ops = &apply;
	return peer_call(&peer, &request);
}

static void define_good(const char *name, PB(WorkSpec) * *work, size_t n_work)
{
	PB(AgentResponse) *response = define(name, work, n_work);
	const PB(Error) *error = response->ops_done->results[0]->error;
	cr_assert_null(error, "%s", error ? error->message : "");
	pb_free(response);
}

static PB(AgentResponse) * end_scenario(void)
{
	return peer_end(&peer, SCHEDRIG__V1__AGENT_REQUEST__KIND_END_SCENARIO);
}

#define MANY_GROUPS 64
#define MANY_EACH 8

/* They hardly do anything but sleep: 512 who worked would keep the agent, and everybody else on the machine,
 * from running. Told that the machine is slow, the agent has patience with them. */
Test(workers, five_hundred_and_twelve, .timeout = 300)
{
	begin(NULL, 0, 5);
	PB(Uint32Value) half = INIT_OF(UINT32_VALUE);
	half.value = MANY_EACH / 2;
	PB(Duration) burst = INIT_OF(DURATION), rest = INIT_OF(DURATION);
	burst.ns = 1;
	rest.ns = NS_PER_S;
	PB(Bursty) bursty = INIT_OF(BURSTY);
	PB(IdleChurn) churn = INIT_OF(IDLE_CHURN);
	PB(WorkType) types[2] = {INIT_OF(WORK_TYPE), INIT_OF(WORK_TYPE)};
	bursty.burst = churn.burst = &burst;
	bursty.sleep = churn.sleep = &rest;
	types[0].form_case = SCHEDRIG__V1__WORK_TYPE__FORM_BURSTY;
	types[0].bursty = &bursty;
	types[1].form_case = SCHEDRIG__V1__WORK_TYPE__FORM_IDLE_CHURN;
	types[1].idle_churn = &churn;
	PB(WorkSpec) specs[2] = {INIT_OF(WORK_SPEC), INIT_OF(WORK_SPEC)}, *work[] = {&specs[0], &specs[1]};
	for (unsigned i = 0; i < 2; i++) {
		specs[i].workers = &half;
		specs[i].work_type = &types[i];
	}
	for (unsigned g = 0; g < MANY_GROUPS; g++) {
		char name[32];
		snprintf(name, sizeof(name), "many/g%u", g);
		define_good(name, work, 2);
	}
	peer_await_rounds(&peer, MANY_GROUPS * MANY_EACH, 1);
	PB(AgentResponse) *ended = end_scenario();
	cr_assert_eq(ended->teardown->n_workers, MANY_GROUPS * MANY_EACH);
	for (size_t i = 0; i < ended->teardown->n_workers; i++) {
		const PB(WorkerReport) *report = ended->teardown->workers[i];
		cr_assert_str_eq(report->exit, "stopped", "worker %zu: %s", i, report->exit);
		cr_assert(!report->missing);
		cr_assert_geq(report->iterations, 1);
		cr_assert_eq(report->tid, report->pid);
		/* Births of others are no time of its own's, but its own birth is CPU time. */
		cr_assert_eq(report->off_cpu_ns,
			report->wall_ns > report->cpu_ns ? report->wall_ns - report->cpu_ns : 0);
	}
	pb_free(ended);
	cr_assert_eq(peer_stop(&peer), 0);
}

Test(workers, thread_groups, .timeout = 120)
{
	begin(NULL, 0, 5);
	PB(Uint32Value)
	two = INIT_OF(UINT32_VALUE), uid = INIT_OF(UINT32_VALUE), other = INIT_OF(UINT32_VALUE);
	two.value = 2;
	uid.value = 1000;
	other.value = 1001;
	PB(WorkSpec)
	a = INIT_OF(WORK_SPEC), alone = INIT_OF(WORK_SPEC), b = INIT_OF(WORK_SPEC),
	*work[] = {&a, &alone, &b};
	a.thread_group = b.thread_group = (char *)"server";
	a.comm = (char *)"first";
	a.workers = b.workers = &two;
	a.uid = b.uid = &uid;
	define_good("a", work, 3);
	peer_await_rounds(&peer, 5, 10);
	b.uid = &other;
	PB(AgentResponse) *refused = define("b", work, 3);
	const PB(Error) *error = refused->ops_done->results[0]->error;
	cr_assert_not_null(error);
	cr_assert_not_null(strstr(error->message, "must agree on uid"), "%s", error->message);
	cr_assert_str_eq(error->place, "work[0]", "%s", error->place);
	pb_free(refused);
	PB(AgentResponse) *ended = end_scenario();
	/* The one of `b` that was a process of its own had been started. */
	cr_assert_eq(ended->teardown->n_workers, 6);
	/* Processes first. */
	const PB(WorkerReport) *const *reports = (const PB(WorkerReport) *const *)ended->teardown->workers;
	cr_assert_str_eq(reports[0]->thread_group, "");
	for (unsigned i = 1; i < 5; i++) {
		cr_assert_str_eq(reports[i]->thread_group, "server");
		cr_assert_str_eq(reports[i]->comm, i < 3 ? "first" : "spin_wait");
		cr_assert_eq(reports[i]->pid, reports[1]->pid);
		cr_assert_neq(reports[i]->tid, reports[i]->pid);
		cr_assert_str_eq(reports[i]->exit, "stopped", "%s", reports[i]->exit);
		cr_assert_str_eq(reports[i]->cgroup, "a");
	}
	pb_free(ended);
	cr_assert_eq(peer_stop(&peer), 0);
}

Test(workers, programs, .timeout = 120)
{
	PB(Payload) payload = INIT_OF(PAYLOAD), *payloads[] = {&payload};
	payload.name = (char *)"mine";
	payload.program = getenv("SCHEDRIG_CUSTOM_WORKER");
	cr_assert_not_null(payload.program);
	begin(payloads, 1, 5);
	PB(WorkSpec) spec = INIT_OF(WORK_SPEC), *work[] = {&spec};
	PB(WorkType) type = INIT_OF(WORK_TYPE);
	PB(Custom) custom = INIT_OF(CUSTOM);
	PB(CustomProgram) program = INIT_OF(CUSTOM_PROGRAM);
	char *args[] = {(char *)"10"};
	program.payload = (char *)"mine";
	program.args = args;
	program.n_args = 1;
	custom.program = &program;
	type.form_case = SCHEDRIG__V1__WORK_TYPE__FORM_CUSTOM;
	type.custom = &custom;
	spec.work_type = &type;
	define_good("a", work, 1);
	peer_await_rounds(&peer, 1, 50);
	program.payload = (char *)"nobody";
	PB(AgentResponse) *refused = define("b", work, 1);
	const PB(Error) *error = refused->ops_done->results[0]->error;
	cr_assert_not_null(error);
	cr_assert_eq((int)error->code, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_NOT_FOUND, "%s", error->message);
	pb_free(refused);
	PB(AgentResponse) *ended = end_scenario();
	cr_assert_eq(ended->teardown->n_workers, 1);
	const PB(WorkerReport) *report = ended->teardown->workers[0];
	cr_assert_str_eq(report->exit, "stopped", "%s", report->exit);
	cr_assert_str_eq(report->work_type, "custom");
	cr_assert_geq(report->iterations, 50);
	cr_assert_eq(report->units, report->iterations * 1024);
	cr_assert_not_null(report->timer);
	cr_assert_eq(report->timer->n_buckets, report->timer->n_counts);
	pb_free(ended);
	cr_assert_eq(peer_stop(&peer), 0);
}

/* A test that is killed leaves nothing behind. */
Test(workers, a_dead_tests_cgroup_is_removed, .timeout = 120)
{
	const char *why = peer_scratch(&peer);
	if (why)
		cr_skip("%s", why);
	int fds[2];
	cr_assert_eq(pipe(fds), 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct peer doomed;
		if (peer_scratch(&doomed))
			_exit(1);
		peer_start(&doomed, getenv("SCHEDRIG_AGENT"), "/bin", 2);
		if (write(fds[1], doomed.cgroup, sizeof(doomed.cgroup)) < 0)
			_exit(1);
		kill(getpid(), SIGKILL);
	}
	char cgroup[256] = "";
	close(fds[1]);
	cr_assert_eq(read(fds[0], cgroup, sizeof(cgroup)), (ssize_t)sizeof(cgroup));
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	uint64_t deadline_ns = clock_deadline_ns(60 * NS_PER_S);
	while (access(cgroup, F_OK) == 0)
		cr_assert(clock_left_ns(deadline_ns), "%s is still there", cgroup);
	peer_start(&peer, getenv("SCHEDRIG_AGENT"), "/bin", 2);
	cr_assert_eq(peer_stop(&peer), 0);
}
