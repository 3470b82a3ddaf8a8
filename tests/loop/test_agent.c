/* SPDX-License-Identifier: GPL-2.0-only */
/* The agent as a process: what a controller would see of it. Cgroups are real, cpusets are not (the
 * controller belongs to cgroup v1 on many machines): those are the e2e ring's. */
#include "agent_peer.h"

#include "common/clock.h"
#include "common/strbuf.h"
#include "proto/pb.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct peer peer;

/* Declares an op of a kind with its message's fields. */
#define OP(var, Camel, UPPER, snake, ...)                                                                    \
	PB(Camel) var##_body = INIT_OF(UPPER);                                                               \
	var##_body = (PB(Camel)){.base = var##_body.base, __VA_ARGS__};                                      \
	PB(Op) var = INIT_OF(OP);                                                                            \
	var.kind_case = SCHEDRIG__V1__OP__KIND_##UPPER;                                                      \
	var.snake = &var##_body

#define NONE ((char *)"")

static void begin(void)
{
	const char *why = peer_scratch(&peer);
	if (why)
		cr_skip("%s", why);
	peer_start(&peer, getenv("SCHEDRIG_AGENT"), "/bin", 2);
}

static void scenario(PB(Payload) * *payloads, size_t n_payloads)
{
	peer_begin_scenario(&peer, payloads, n_payloads);
}

static uint64_t send_ops(PB(Scope) scope, uint32_t phase, PB(Op) * *ops, size_t n)
{
	PB(AgentRequest) request = INIT_OF(AGENT_REQUEST);
	PB(ApplyOps) apply = INIT_OF(APPLY_OPS);
	PB(PlacedOp) placed[16], *list[16];
	for (size_t i = 0; i < n; i++) {
		placed[i] = (PB(PlacedOp))INIT_OF(PLACED_OP);
		placed[i].op = ops[i];
		placed[i].place = (char *)"steps[0].ops[0]";
		list[i] = &placed[i];
	}
	apply.scope = scope;
	apply.phase = phase;
	apply.ops = list;
	apply.n_ops = n;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_APPLY_OPS;
	request.apply_ops = &apply;
	return peer_send(&peer, &request);
}

static PB(AgentResponse) * apply(PB(Op) * *ops, size_t n)
{
	return peer_receive(&peer, send_ops(SCHEDRIG__V1__SCOPE__SCOPE_STEP, 1, ops, n));
}

/* One op that must succeed; its answer. */
static PB(AgentResponse) * apply_good(PB(Op) * op)
{
	PB(AgentResponse) *response = apply(&op, 1);
	cr_assert_eq(response->kind_case, SCHEDRIG__V1__AGENT_RESPONSE__KIND_OPS_DONE);
	cr_assert_eq(response->ops_done->n_results, 1);
	const PB(Error) *error = response->ops_done->results[0]->error;
	cr_assert_null(error, "%s", error ? error->message : "");
	return response;
}

static void apply_bad(PB(Op) * op, int code, const char *words)
{
	PB(AgentResponse) *response = apply(&op, 1);
	cr_assert_eq(response->ops_done->n_results, 1);
	const PB(Error) *error = response->ops_done->results[0]->error;
	cr_assert_not_null(error);
	cr_assert_eq((int)error->code, code, "%d: %s", error->code, error->message);
	cr_assert_not_null(strstr(error->message, words), "%s", error->message);
	pb_free(response);
}

static PB(AgentResponse) * end(PB(AgentRequest__KindCase) kind)
{
	return peer_end(&peer, kind);
}

static void finish(void)
{
	pb_free(end(SCHEDRIG__V1__AGENT_REQUEST__KIND_END_SCENARIO));
	cr_assert_eq(peer_stop(&peer), 0);
}

static void hold_ms(unsigned ms)
{
	/* The hold of a step: the workers' time, not a wait for anything. */
	usleep(ms * 1000);
}

static void add_cgroup(const char *name)
{
	OP(op, AddCgroup, ADD_CGROUP, add_cgroup, .name = (char *)name);
	pb_free(apply_good(&op));
}

static PB(AgentResponse) * spawn(const char *cgroup, PB(WorkType) * type, unsigned count)
{
	PB(Uint32Value) workers = INIT_OF(UINT32_VALUE);
	PB(WorkSpec) work = INIT_OF(WORK_SPEC);
	PB(CgroupRef) ref = INIT_OF(CGROUP_REF);
	PB(Empty) runner = INIT_OF(EMPTY);
	workers.value = count;
	work.workers = &workers;
	work.work_type = type;
	ref.name = (char *)cgroup;
	OP(op, Spawn, SPAWN, spawn, .work = &work);
	if (cgroup) {
		op.spawn->placement_case = SCHEDRIG__V1__SPAWN__PLACEMENT_CGROUP;
		op.spawn->cgroup = &ref;
	} else {
		op.spawn->placement_case = SCHEDRIG__V1__SPAWN__PLACEMENT_RUNNER_CGROUP;
		op.spawn->runner_cgroup = &runner;
	}
	return apply_good(&op);
}

static void set_phase(uint32_t phase)
{
	PB(AgentRequest) request = INIT_OF(AGENT_REQUEST);
	PB(SetPhase) set = INIT_OF(SET_PHASE);
	set.phase = phase;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_SET_PHASE;
	request.set_phase = &set;
	PB(AgentResponse) *response = peer_call(&peer, &request);
	cr_assert_eq(response->kind_case, SCHEDRIG__V1__AGENT_RESPONSE__KIND_OK);
	pb_free(response);
}

Test(agent, workers_spin_and_report, .timeout = 120)
{
	begin();
	scenario(NULL, 0);
	add_cgroup("work/a");
	uint64_t unborn_ns = clock_now_ns();
	PB(AgentResponse) *spawned = spawn("work/a", NULL, 2);
	cr_assert_eq(spawned->ops_done->results[0]->n_pids, 2);
	int pid = spawned->ops_done->results[0]->pids[0];
	pb_free(spawned);
	uint64_t begin_ns = clock_now_ns();
	peer_await_more(&peer, 2, 2);
	set_phase(2);
	peer_await_more(&peer, 2, 2);
	uint64_t least_ns = clock_now_ns() - begin_ns;

	OP(capture, CaptureCgroupProcs, CAPTURE_CGROUP_PROCS, capture_cgroup_procs, .tag = (char *)"t",
		.cgroup = (char *)"work/a");
	PB(AgentResponse) *captured = apply_good(&capture);
	cr_assert_eq(captured->ops_done->results[0]->procs->n_pids, 2);
	pb_free(captured);

	PB(AgentRequest) request = INIT_OF(AGENT_REQUEST);
	PB(SampleWorkers) sample = INIT_OF(SAMPLE_WORKERS);
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_SAMPLE_WORKERS;
	request.sample_workers = &sample;
	PB(AgentResponse) *totals = peer_call(&peer, &request);
	cr_assert_eq(totals->totals->workers, 2);
	cr_assert_eq(totals->totals->cgroups, 1);
	cr_assert_gt(totals->totals->iterations, 0);

	PB(AgentResponse) *ended = end(SCHEDRIG__V1__AGENT_REQUEST__KIND_END_STEP);
	uint64_t life_ns = clock_now_ns() - unborn_ns;
	cr_assert_eq(ended->teardown->n_workers, 2);
	for (unsigned i = 0; i < 2; i++) {
		const PB(WorkerReport) *report = ended->teardown->workers[i];
		cr_assert_str_eq(report->exit, "stopped");
		cr_assert(!report->missing);
		cr_assert_str_eq(report->cgroup, "work/a");
		cr_assert_str_eq(report->work_type, "spin_wait");
		cr_assert_str_eq(report->comm, "spin_wait");
		cr_assert_gt(report->units, 1024);
		cr_assert_eq(report->units, report->iterations * 1024);
		cr_assert_gt(report->cpu_ns, 0);
		cr_assert_geq(report->wall_ns, least_ns);
		/* The wall clock runs from the release, the CPU's from the birth. */
		cr_assert_leq(report->wall_ns, life_ns);
		cr_assert_leq(report->cpu_ns, life_ns);
		cr_assert_eq(report->started_phase, 1);
		/* Phases 1 and 2, and 1 again since the capture; together they are everything. */
		uint64_t units = 0;
		for (size_t k = 0; k < report->n_phases; k++)
			units += report->phases[k]->units;
		cr_assert_geq(report->n_phases, 2);
		cr_assert_eq(report->phases[0]->phase, 1);
		cr_assert_eq(report->phases[1]->phase, 2);
		cr_assert_eq(units, report->units);
	}
	cr_assert_eq(ended->teardown->workers[0]->pid, pid, "reports come in order of starting");
	pb_free(ended);
	pb_free(totals);
	cr_assert_eq(kill(pid, 0), -1);
	finish();
}

static uint64_t iterations(void)
{
	PB(AgentRequest) request = INIT_OF(AGENT_REQUEST);
	PB(SampleWorkers) sample = INIT_OF(SAMPLE_WORKERS);
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_SAMPLE_WORKERS;
	request.sample_workers = &sample;
	PB(AgentResponse) *totals = peer_call(&peer, &request);
	uint64_t all = totals->totals->iterations;
	pb_free(totals);
	return all;
}

static void release_workers(PB(Scope) scope)
{
	PB(AgentRequest) request = INIT_OF(AGENT_REQUEST);
	PB(ReleaseWorkers) release = INIT_OF(RELEASE_WORKERS);
	release.scope = scope;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_RELEASE_WORKERS;
	request.release_workers = &release;
	PB(AgentResponse) *response = peer_call(&peer, &request);
	cr_assert_eq(response->kind_case, SCHEDRIG__V1__AGENT_RESPONSE__KIND_OK);
	pb_free(response);
}

/* Who is to be made older sleeps until the controller says that it is. */
Test(agent, workers_with_uptime_wait_to_be_released, .timeout = 120)
{
	PB(WorkSpec) work = INIT_OF(WORK_SPEC);
	PB(Duration) uptime = INIT_OF(DURATION);
	PB(Empty) runner = INIT_OF(EMPTY);
	begin();
	scenario(NULL, 0);
	uptime.ns = 3600000000000;
	work.uptime = &uptime;
	OP(op, Spawn, SPAWN, spawn, .work = &work);
	op.spawn->placement_case = SCHEDRIG__V1__SPAWN__PLACEMENT_RUNNER_CGROUP;
	op.spawn->runner_cgroup = &runner;
	PB(AgentResponse) *spawned = apply_good(&op);
	const PB(OpResult) *result = spawned->ops_done->results[0];
	cr_assert_eq(result->n_held, 1);
	cr_assert_eq(result->held[0]->pid, result->pids[0]);
	cr_assert_eq(result->held[0]->uptime->ns, uptime.ns);
	/* Its start in ticks of this machine's boot: behind us, and not by much. */
	struct timespec now;
	clock_gettime(CLOCK_BOOTTIME, &now);
	uint64_t now_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	cr_assert(result->held[0]->start_time_ns <= now_ns &&
			  result->held[0]->start_time_ns + 60000000000 > now_ns,
		"%llu at %llu", (unsigned long long)result->held[0]->start_time_ns,
		(unsigned long long)now_ns);
	pb_free(spawned);
	release_workers(SCHEDRIG__V1__SCOPE__SCOPE_BACKDROP);
	hold_ms(50);
	cr_assert_eq(iterations(), 0, "it began by itself, or with another scope's");
	release_workers(SCHEDRIG__V1__SCOPE__SCOPE_STEP);
	while (iterations() == 0)
		hold_ms(1);
	/* A second time is nothing; and one that is stopped while it waits reports no work. */
	release_workers(SCHEDRIG__V1__SCOPE__SCOPE_STEP);
	pb_free(apply_good(&op));
	PB(AgentResponse) *ended = end(SCHEDRIG__V1__AGENT_REQUEST__KIND_END_STEP);
	cr_assert_eq(ended->teardown->n_workers, 2);
	for (unsigned i = 0; i < 2; i++) {
		const PB(WorkerReport) *report = ended->teardown->workers[i];
		cr_assert_str_eq(report->exit, "stopped");
		cr_assert(!report->missing);
		cr_assert_lt(report->wall_ns, uptime.ns);
	}
	pb_free(ended);
	finish();
}

Test(agent, pairs_and_sleepers, .timeout = 120)
{
	begin();
	scenario(NULL, 0);
	add_cgroup("a");
	PB(WorkType) type = INIT_OF(WORK_TYPE);
	PB(PipeIo) pipe_io = INIT_OF(PIPE_IO);
	PB(Bursty) bursty = INIT_OF(BURSTY);
	PB(Duration) burst = INIT_OF(DURATION), sleep = INIT_OF(DURATION);
	type.form_case = SCHEDRIG__V1__WORK_TYPE__FORM_PIPE_IO;
	type.pipe_io = &pipe_io;
	pb_free(spawn("a", &type, 4));
	burst.ns = 2 * NS_PER_MS;
	sleep.ns = 5 * NS_PER_MS;
	bursty.burst = &burst;
	bursty.sleep = &sleep;
	type.form_case = SCHEDRIG__V1__WORK_TYPE__FORM_BURSTY;
	type.bursty = &bursty;
	pb_free(spawn(NULL, &type, 1));
	peer_await_more(&peer, 5, 3);
	PB(AgentResponse) *ended = end(SCHEDRIG__V1__AGENT_REQUEST__KIND_END_STEP);
	cr_assert_eq(ended->teardown->n_workers, 5);
	for (unsigned i = 0; i < 5; i++) {
		const PB(WorkerReport) *report = ended->teardown->workers[i];
		cr_assert_str_eq(report->exit, "stopped");
		cr_assert_gt(
			report->iterations, 2, "%s did %lu rounds", report->work_type, report->iterations);
		cr_assert_gt(report->wakeups, 0);
	}
	const PB(WorkerReport) *sleeper = ended->teardown->workers[4];
	cr_assert_str_eq(sleeper->cgroup, "");
	/* Sleeping is not a gap: 5 ms of it in every 7. */
	cr_assert_lt(sleeper->cpu_ns, sleeper->wall_ns);
	pb_free(ended);
	finish();
}

static bool has_controller(const char *name)
{
	char path[300], list[256] = "";
	snprintf(path, sizeof(path), "%s/cgroup.controllers", peer.cgroup);
	FILE *file = fopen(path, "r");
	if (file && !fgets(list, sizeof(list), file))
		list[0] = '\0';
	if (file)
		fclose(file);
	return strstr(list, name) != NULL;
}

static PB(AgentResponse) * set_exact(const char *cgroup, const char *cpus)
{
	PB(CpusetSpec) spec = INIT_OF(CPUSET_SPEC);
	PB(CpuSet) set = INIT_OF(CPU_SET);
	set.list = (char *)cpus;
	spec.form_case = SCHEDRIG__V1__CPUSET_SPEC__FORM_EXACT;
	spec.exact = &set;
	OP(op, SetCpuset, SET_CPUSET, set_cpuset, .cgroup = (char *)cgroup, .cpus = &spec);
	return apply_good(&op);
}

/* The set is flipped under running workers: they follow, and none ever sees a CPU outside the set in force.
 */
Test(agent, cpusets_hold, .timeout = 120)
{
	begin();
	if (!has_controller("cpuset") || sysconf(_SC_NPROCESSORS_ONLN) < 2) {
		peer_stop(&peer);
		cr_skip("needs the cpuset controller in cgroup v2 and two CPUs");
	}
	scenario(NULL, 0);
	add_cgroup("a");
	add_cgroup("a/b");
	pb_free(set_exact("a/b", "0"));
	pb_free(spawn("a/b", NULL, 3));
	for (unsigned i = 0; i < 40; i++) {
		PB(AgentResponse) *response = set_exact("a/b", i % 2 ? "0" : "1");
		const PB(OpResult) *result = response->ops_done->results[0];
		cr_assert_str_eq(result->cpuset->cpus, i % 2 ? "0" : "1");
		cr_assert_str_eq(result->cpuset->effective, i % 2 ? "0" : "1");
		pb_free(response);
		peer_await_more(&peer, 3, 1);
	}
	OP(clear, ClearCpuset, CLEAR_CPUSET, clear_cpuset, .cgroup = (char *)"a/b");
	PB(AgentResponse) *cleared = apply_good(&clear);
	/* The kernel refuses an empty set where tasks are: the parent's CPUs, and a note. */
	cr_assert_str_eq(cleared->ops_done->results[0]->cpuset->effective, "0-1");
	cr_assert_eq(cleared->ops_done->results[0]->n_notes, 1);
	pb_free(cleared);
	/* It goes on to inherit. */
	pb_free(set_exact("a", "1"));
	OP(swap, SwapCpusets, SWAP_CPUSETS, swap_cpusets, .a = (char *)"a", .b = (char *)"a/b");
	PB(AgentResponse) *swapped = apply_good(&swap);
	pb_free(swapped);
	peer_await_more(&peer, 3, 1);
	PB(AgentResponse) *ended = end(SCHEDRIG__V1__AGENT_REQUEST__KIND_END_STEP);
	cr_assert_eq(ended->teardown->n_workers, 3);
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_eq(ended->teardown->workers[i]->n_trespasses, 0);
		cr_assert_str_eq(ended->teardown->workers[i]->cpus_used, "0-1");
		cr_assert_geq(ended->teardown->workers[i]->migrations, 10);
	}
	pb_free(ended);
	finish();
}

/* The check itself: a worker whose affinity was widened behind the agent's back, in a cgroup without cpuset
 * of the kernel's, would be seen. Here the kernel's set is widened by hand. */
Test(agent, a_trespass_is_seen, .timeout = 120)
{
	char path[400];
	begin();
	if (!has_controller("cpuset") || sysconf(_SC_NPROCESSORS_ONLN) < 2) {
		peer_stop(&peer);
		cr_skip("needs the cpuset controller in cgroup v2 and two CPUs");
	}
	scenario(NULL, 0);
	add_cgroup("t");
	pb_free(set_exact("t", "0"));
	pb_free(spawn("t", NULL, 1));
	snprintf(path, sizeof(path), "%s/schedrig/t/cpuset.cpus", peer.cgroup);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	cr_assert_eq(write(fd, "1", 1), 1);
	close(fd);
	peer_await_more(&peer, 1, 3);
	PB(AgentResponse) *ended = end(SCHEDRIG__V1__AGENT_REQUEST__KIND_END_STEP);
	const PB(WorkerReport) *report = ended->teardown->workers[0];
	cr_assert_eq(report->n_trespasses, 1);
	cr_assert_eq(report->trespasses[0]->cpu, 1);
	cr_assert_str_eq(report->trespasses[0]->allowed, "0");
	pb_free(ended);
	finish();
}

Test(agent, definitions_are_applied_whole, .timeout = 120)
{
	begin();
	if (!has_controller("cpuset") || !has_controller("cpu") || !has_controller("memory") ||
		!has_controller("pids")) {
		peer_stop(&peer);
		cr_skip("needs cpuset, cpu, memory and pids in cgroup v2");
	}
	scenario(NULL, 0);
	PB(CgroupDef) def = INIT_OF(CGROUP_DEF);
	PB(CpuKnobs) cpu = INIT_OF(CPU_KNOBS);
	PB(MemoryKnobs) memory = INIT_OF(MEMORY_KNOBS);
	PB(PidsKnobs) pids = INIT_OF(PIDS_KNOBS);
	PB(Uint32Value) weight = INIT_OF(UINT32_VALUE);
	PB(DoubleValue) quota = INIT_OF(DOUBLE_VALUE);
	PB(Size) max = INIT_OF(SIZE);
	PB(CpusetSpec) spec = INIT_OF(CPUSET_SPEC);
	PB(CpuIndex) llc = INIT_OF(CPU_INDEX);
	weight.value = 200;
	quota.value = 50;
	max.bytes = 64u << 20;
	pids.max = 10;
	cpu.weight = &weight;
	cpu.quota_pct = &quota;
	memory.max = &max;
	spec.form_case = SCHEDRIG__V1__CPUSET_SPEC__FORM_LLC;
	spec.llc = &llc;
	def.name = (char *)"d";
	def.cpu = &cpu;
	def.memory = &memory;
	def.pids = &pids;
	def.cpuset = &spec;
	OP(op, AddCgroupDef, ADD_CGROUP_DEF, add_cgroup_def, .def = &def);
	PB(AgentResponse) *response = apply_good(&op);
	cr_assert_eq(response->ops_done->results[0]->n_pids, 1, "one default worker");
	cr_assert_str_eq(response->ops_done->results[0]->cpuset->cpus, "0-1");
	pb_free(response);
	static const struct {
		const char *file, *text;
	} expected[] = {{"cpu.weight", "200\n"}, {"cpu.max", "50000 100000\n"}, {"memory.max", "67108864\n"},
		{"pids.max", "10\n"}};
	for (unsigned i = 0; i < ARRAY_SIZE(expected); i++) {
		char path[400], text[64] = "";
		snprintf(path, sizeof(path), "%s/schedrig/d/%s", peer.cgroup, expected[i].file);
		FILE *file = fopen(path, "r");
		cr_assert_not_null(file, "%s", path);
		cr_assert_not_null(fgets(text, sizeof(text), file));
		fclose(file);
		cr_assert_str_eq(text, expected[i].text);
	}
	/* More workers than pids.max: the failure says which call, and nothing is left of it. */
	def.name = (char *)"e";
	PB(Uint32Value) many = INIT_OF(UINT32_VALUE);
	PB(WorkSpec) work = INIT_OF(WORK_SPEC), *list[] = {&work};
	many.value = 20;
	work.workers = &many;
	def.work = list;
	def.n_work = 1;
	apply_bad(&op, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_GUEST_OS, "pids.max");
	finish();
}

Test(agent, freezer, .timeout = 120)
{
	begin();
	scenario(NULL, 0);
	add_cgroup("f");
	pb_free(spawn("f", NULL, 1));
	OP(freeze, FreezeCgroup, FREEZE_CGROUP, freeze_cgroup, .cgroup = (char *)"f");
	OP(thaw, UnfreezeCgroup, UNFREEZE_CGROUP, unfreeze_cgroup, .cgroup = (char *)"f");
	pb_free(apply_good(&freeze));
	pb_free(apply_good(&freeze));
	OP(early, Spawn, SPAWN, spawn, .placement_case = SCHEDRIG__V1__SPAWN__PLACEMENT_CGROUP);
	PB(CgroupRef) ref = INIT_OF(CGROUP_REF);
	ref.name = (char *)"f";
	early.spawn->cgroup = &ref;
	apply_bad(&early, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_FAILED_PRECONDITION, "frozen");
	pb_free(apply_good(&thaw));
	pb_free(apply_good(&freeze));
	/* The teardown thaws first: the worker stops by itself. */
	PB(AgentResponse) *ended = end(SCHEDRIG__V1__AGENT_REQUEST__KIND_END_STEP);
	cr_assert_eq(ended->teardown->n_workers, 1);
	cr_assert_str_eq(ended->teardown->workers[0]->exit, "stopped");
	pb_free(ended);
	finish();
}

Test(agent, names_and_refusals, .timeout = 120)
{
	begin();
	scenario(NULL, 0);
	add_cgroup("a");
	OP(again, AddCgroup, ADD_CGROUP, add_cgroup, .name = (char *)"a");
	apply_bad(&again, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_ALREADY_EXISTS, "`a`");
	OP(escape, AddCgroup, ADD_CGROUP, add_cgroup, .name = (char *)"a/../../b");
	apply_bad(&escape, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_INVALID_ARGUMENT, "..");
	OP(remove, RemoveCgroup, REMOVE_CGROUP, remove_cgroup, .cgroup = (char *)"nosuch");
	apply_bad(&remove, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_NOT_FOUND, "`a`");
	OP(freeze, FreezeCgroup, FREEZE_CGROUP, freeze_cgroup, .cgroup = NONE);
	apply_bad(&freeze, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_INVALID_ARGUMENT, "runner cgroup");
	OP(later, DetachScheduler, DETACH_SCHEDULER, detach_scheduler, .must_be_attached = true);
	apply_bad(&later, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_UNSUPPORTED,
		"DetachScheduler: not in this version");
	OP(host, CaptureSnapshot, CAPTURE_SNAPSHOT, capture_snapshot, .name = (char *)"x");
	apply_bad(&host, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_INVALID_ARGUMENT, "controller");
	/* The first error ends the list; an expected one does not. */
	OP(good, AddCgroup, ADD_CGROUP, add_cgroup, .name = (char *)"b");
	again.expect_error = SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_ALREADY_EXISTS;
	PB(Op) * list[] = {&again, &remove, &good};
	PB(AgentResponse) *response = apply(list, 3);
	cr_assert_eq(response->ops_done->n_results, 2);
	cr_assert(response->ops_done->results[0]->expected_error);
	cr_assert(!response->ops_done->results[1]->expected_error);
	pb_free(response);
	good.expect_error = SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_NOT_FOUND;
	apply_bad(&good, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_FAILED_PRECONDITION, "NotFound was expected");
	finish();
}

/* A definition of a payload that is a shell line. */
struct shell {
	PB(Payload) payload;
	char *args[2];
	PB(Payload) * list[1];
	PB(Check) check;
	PB(ExitCode) code;
	PB(Check) * checks[1];
};

static void shell_init(struct shell *shell, const char *line, int expected)
{
	shell->payload = (PB(Payload))INIT_OF(PAYLOAD);
	shell->payload.name = (char *)"p";
	shell->payload.program = (char *)"sh";
	shell->args[0] = (char *)"-c";
	shell->args[1] = (char *)line;
	shell->payload.default_args = shell->args;
	shell->payload.n_default_args = 2;
	shell->code = (PB(ExitCode))INIT_OF(EXIT_CODE);
	shell->code.code = expected;
	shell->check = (PB(Check))INIT_OF(CHECK);
	shell->check.form_case = SCHEDRIG__V1__CHECK__FORM_EXIT_CODE_EQ;
	shell->check.exit_code_eq = &shell->code;
	shell->checks[0] = &shell->check;
	shell->payload.checks = shell->checks;
	shell->payload.n_checks = 1;
	shell->list[0] = &shell->payload;
}

static int run_payload(const char *cgroup)
{
	PB(CgroupRef) ref = INIT_OF(CGROUP_REF);
	ref.name = (char *)cgroup;
	OP(run, RunPayload, RUN_PAYLOAD, run_payload, .payload = (char *)"p", .cgroup = cgroup ? &ref : NULL);
	PB(AgentResponse) *response = apply_good(&run);
	int pid = response->ops_done->results[0]->pids[0];
	pb_free(response);
	return pid;
}

Test(agent, payload_exits_and_is_checked, .timeout = 120)
{
	struct shell shell;
	begin();
	shell_init(&shell, "grep ^0:: /proc/self/cgroup; echo oh >&2; exit 3", 0);
	scenario(shell.list, 1);
	add_cgroup("p");
	run_payload("p");
	OP(wait, WaitPayload, WAIT_PAYLOAD, wait_payload, .name = (char *)"p");
	PB(AgentResponse) *response = apply_good(&wait);
	const PB(PayloadReport) *report = response->ops_done->results[0]->payload;
	cr_assert_str_eq(report->exit, "exited 3");
	cr_assert_eq(report->exit_code, 3);
	cr_assert(!report->ended_by_us);
	cr_assert_eq(report->n_failed_checks, 1);
	cr_assert_str_eq(report->stderr_tail, "oh\n");
	/* What it saw first was its own cgroup already. */
	cr_assert_not_null(strstr(report->stdout_tail, "/schedrig/p\n"), "%s", report->stdout_tail);
	pb_free(response);
	apply_bad(&wait, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_NOT_FOUND, "it ran");
	finish();
}

static bool gone(int pid)
{
	return kill(pid, 0) < 0 && errno == ESRCH;
}

Test(agent, payload_cannot_escape, .timeout = 120)
{
	struct shell shell;
	char file[] = "/tmp/schedrig-pid-XXXXXX", line[256], text[32] = "";
	begin();
	int fd = mkstemp(file);
	cr_assert_geq(fd, 0);
	/* A daemon: new session, parent gone. */
	snprintf(line, sizeof(line), "setsid sh -c 'echo $$ >%s; exec sleep 1000' & sleep 1000", file);
	shell_init(&shell, line, 0);
	scenario(shell.list, 1);
	add_cgroup("p");
	int pid = run_payload("p");
	for (uint64_t until = clock_deadline_ns(100 * NS_PER_S); !text[0] && clock_left_ns(until);)
		(void)!pread(fd, text, sizeof(text) - 1, 0);
	int daemon = atoi(text);
	cr_assert_gt(daemon, 0);
	OP(kill_op, KillPayload, KILL_PAYLOAD, kill_payload, .name = (char *)"p");
	PB(AgentResponse) *response = apply_good(&kill_op);
	cr_assert_str_eq(response->ops_done->results[0]->payload->exit, "signal 9 (killed by schedrig)");
	cr_assert(response->ops_done->results[0]->payload->ended_by_us);
	pb_free(response);
	cr_assert(gone(pid));
	cr_assert(gone(daemon), "the daemon lives");
	close(fd);
	unlink(file);
	finish();
}

Test(agent, payload_names, .timeout = 120)
{
	struct shell shell;
	begin();
	shell_init(&shell, "sleep 1000", 0);
	scenario(shell.list, 1);
	add_cgroup("a");
	add_cgroup("b");
	run_payload("a");
	run_payload("b");
	PB(CgroupRef) ref = INIT_OF(CGROUP_REF);
	ref.name = (char *)"a";
	OP(again, RunPayload, RUN_PAYLOAD, run_payload, .payload = (char *)"p", .cgroup = &ref);
	apply_bad(&again, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_ALREADY_EXISTS, "`a`");
	OP(kill_op, KillPayload, KILL_PAYLOAD, kill_payload, .name = (char *)"p");
	apply_bad(&kill_op, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_AMBIGUOUS, "2 live copies");
	PB(Duration) soon = INIT_OF(DURATION);
	soon.ns = 20 * NS_PER_MS;
	OP(wait, WaitPayload, WAIT_PAYLOAD, wait_payload, .name = (char *)"p", .cgroup = &ref,
		.timeout = &soon);
	apply_bad(&wait, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_TIMEOUT, "goes on");
	/* What nobody ended is drained. */
	PB(AgentResponse) *ended = end(SCHEDRIG__V1__AGENT_REQUEST__KIND_END_STEP);
	cr_assert_eq(ended->teardown->n_payloads, 2);
	cr_assert_str_eq(ended->teardown->payloads[0]->cgroup, "b", "newest first");
	pb_free(ended);
	shell.payload.program = (char *)"no-such-program";
	pb_free(end(SCHEDRIG__V1__AGENT_REQUEST__KIND_END_SCENARIO));
	scenario(shell.list, 1);
	OP(missing, RunPayload, RUN_PAYLOAD, run_payload, .payload = (char *)"p");
	apply_bad(&missing, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_NOT_FOUND, "no-such-program");
	finish();
}

/* Its cgroup is frozen behind the agent's back, so that it never comes to its exec. */
Test(agent, a_payload_that_cannot_be_executed_is_given_up, .timeout = 120)
{
	struct shell shell;
	char path[512];
	begin();
	shell_init(&shell, "exit 0", 0);
	scenario(shell.list, 1);
	add_cgroup("f");
	snprintf(path, sizeof(path), "%s/schedrig/f/cgroup.freeze", peer.cgroup);
	FILE *freeze = fopen(path, "w");
	cr_assert_not_null(freeze);
	fputs("1", freeze);
	cr_assert_eq(fclose(freeze), 0);
	PB(CgroupRef) ref = INIT_OF(CGROUP_REF);
	ref.name = (char *)"f";
	PB(Duration) second = INIT_OF(DURATION);
	second.ns = 1000000000;
	OP(run, RunPayload, RUN_PAYLOAD, run_payload, .payload = (char *)"p", .cgroup = &ref);
	run.timeout = &second;
	apply_bad(&run, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_TIMEOUT, "was not executed in time");
	finish();
}

Test(agent, a_wait_does_not_block_others_and_can_be_cancelled, .timeout = 120)
{
	struct shell shell;
	begin();
	shell_init(&shell, "sleep 1000", 0);
	scenario(shell.list, 1);
	run_payload(NULL);
	OP(wait, WaitPayload, WAIT_PAYLOAD, wait_payload, .name = (char *)"p");
	PB(Op) * ops[] = {&wait};
	uint64_t waiting = send_ops(SCHEDRIG__V1__SCOPE__SCOPE_STEP, 1, ops, 1);
	OP(add, AddCgroup, ADD_CGROUP, add_cgroup, .name = (char *)"x");
	ops[0] = &add;
	PB(AgentResponse) *response =
		peer_receive(&peer, send_ops(SCHEDRIG__V1__SCOPE__SCOPE_ADHOC, 0, ops, 1));
	cr_assert_null(response->ops_done->results[0]->error);
	pb_free(response);
	pb_free(end(SCHEDRIG__V1__AGENT_REQUEST__KIND_END_ADHOC));

	PB(AgentRequest) request = INIT_OF(AGENT_REQUEST);
	PB(CancelOps) cancel = INIT_OF(CANCEL_OPS);
	cancel.request_seq = waiting;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_CANCEL_OPS;
	request.cancel_ops = &cancel;
	uint64_t cancelling = peer_send(&peer, &request);
	/* The two answers come in either order. */
	bool answered[2] = {false, false};
	for (unsigned i = 0; i < 2; i++) {
		uint64_t seq;
		response = peer_receive_any(&peer, &seq);
		answered[seq == waiting] = true;
		if (seq == waiting) {
			cr_assert_eq(
				(int)response->error->code, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_CANCELLED);
			cr_assert_eq((int)response->ops_done->results[0]->error->code,
				SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_CANCELLED);
		} else {
			cr_assert_eq(seq, cancelling);
		}
		pb_free(response);
	}
	cr_assert(answered[0] && answered[1]);
	finish();
}

Test(agent, loops_against_its_own_clock, .timeout = 120)
{
	begin();
	scenario(NULL, 0);
	add_cgroup("l");
	OP(freeze, FreezeCgroup, FREEZE_CGROUP, freeze_cgroup, .cgroup = (char *)"l");
	OP(thaw, UnfreezeCgroup, UNFREEZE_CGROUP, unfreeze_cgroup, .cgroup = (char *)"l");
	PB(AgentRequest) request = INIT_OF(AGENT_REQUEST);
	PB(LoopOps) loop = INIT_OF(LOOP_OPS);
	PB(PlacedOp) first = INIT_OF(PLACED_OP), second = INIT_OF(PLACED_OP), *list[] = {&first, &second};
	PB(Duration) interval = INIT_OF(DURATION), length = INIT_OF(DURATION);
	first.op = &freeze;
	second.op = &thaw;
	interval.ns = 5 * NS_PER_MS;
	length.ns = 500 * NS_PER_MS;
	loop.scope = SCHEDRIG__V1__SCOPE__SCOPE_STEP;
	loop.phase = 1;
	loop.ops = list;
	loop.n_ops = 2;
	loop.interval = &interval;
	loop.length = &length;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_LOOP_OPS;
	request.loop_ops = &loop;
	PB(AgentResponse) *response = peer_call(&peer, &request);
	const PB(OpsDone) *done = response->ops_done;
	cr_assert_eq(done->passes + done->late_passes, 100, "%u + %u", done->passes, done->late_passes);
	cr_assert_geq(done->end_ns - done->begin_ns, 500 * NS_PER_MS);
	cr_assert_eq(done->n_results + done->dropped, 2 * done->passes);
	for (size_t i = 0; i < done->n_results; i++) {
		cr_assert_null(done->results[i]->error);
		/* Times are absolute: a pass never begins before its own. */
		cr_assert_geq(
			done->results[i]->begin_ns - done->begin_ns, done->results[i]->pass * interval.ns);
	}
	cr_assert_eq(done->results[done->n_results - 1]->pass, done->passes - 1);
	pb_free(response);
	finish();
}

Test(agent, a_lost_link_ends_everything, .timeout = 120)
{
	struct shell shell;
	begin();
	shell_init(&shell, "sleep 1000", 0);
	scenario(shell.list, 1);
	add_cgroup("a");
	pb_free(spawn("a", NULL, 2));
	int pid = run_payload("a");
	OP(wait, WaitPayload, WAIT_PAYLOAD, wait_payload, .name = (char *)"p");
	PB(Op) * ops[] = {&wait};
	send_ops(SCHEDRIG__V1__SCOPE__SCOPE_STEP, 1, ops, 1);
	cr_assert_eq(peer_stop(&peer), 0);
	cr_assert(gone(pid));
}

Test(agent, power_off_ends_a_scenario, .timeout = 120)
{
	struct shell shell;
	begin();
	shell_init(&shell, "sleep 1000", 0);
	scenario(shell.list, 1);
	add_cgroup("a");
	pb_free(spawn("a", NULL, 2));
	int pid = run_payload("a");
	PB(AgentRequest) request = INIT_OF(AGENT_REQUEST);
	PB(PowerOff) off = INIT_OF(POWER_OFF);
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_POWER_OFF;
	request.power_off = &off;
	PB(AgentResponse) *response = peer_call(&peer, &request);
	cr_assert_eq(response->kind_case, SCHEDRIG__V1__AGENT_RESPONSE__KIND_OK);
	pb_free(response);
	int status;
	cr_assert_eq(waitpid(peer.pid, &status, 0), peer.pid);
	cr_assert_eq(status, 0);
	cr_assert(gone(pid));
	cr_assert_eq(rmdir(peer.cgroup), 0, "cgroups are left");
}

Test(agent, a_killed_agent_leaves_no_process, .timeout = 120)
{
	struct shell shell;
	begin();
	shell_init(&shell, "setsid sleep 1000 & sleep 1000", 0);
	scenario(shell.list, 1);
	add_cgroup("a");
	pb_free(spawn("a", NULL, 2));
	run_payload("a");
	char command[1200];
	kill(peer.pid, SIGKILL);
	/* The kernel's notification is not at hand here: look until the cgroup is empty. */
	snprintf(command, sizeof(command),
		"for i in $(seq 4000); do grep -qx 'populated 0' %s/schedrig/a/cgroup.events && exit 0; "
		"sleep 0.02; done; exit 1",
		peer.cgroup);
	cr_assert_eq(system(command), 0, "processes outlive the agent");
	snprintf(command, sizeof(command), "rmdir %s/schedrig/a %s/schedrig", peer.cgroup, peer.cgroup);
	cr_assert_eq(system(command), 0);
	cr_assert_eq(WTERMSIG(peer_stop(&peer)), SIGKILL);
}
