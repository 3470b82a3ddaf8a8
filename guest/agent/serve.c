/* SPDX-License-Identifier: GPL-2.0-only */
/* Requests other than lists of ops: a scenario's begin and ends, samples (see agent.proto). Lane threads. */
#include "common/scope.h"
#include "guest/agent/state.h"
#include "proto/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/reboot.h>
#include <unistd.h>

#define RESPONSE_ARENA_BYTES (128u << 20)

static void reply(struct lane *lane, struct job *job, PB(AgentResponse) * response)
{
	link_answer(lane->agent, job, response);
}

static void reply_ok(struct lane *lane, struct job *job, PB(AgentResponse) * response)
{
	PB(Empty) empty = SCHEDRIG__V1__EMPTY__INIT;
	response->kind_case = SCHEDRIG__V1__AGENT_RESPONSE__KIND_OK;
	response->ok = &empty;
	reply(lane, job, response);
}

void serve_refuse(struct lane *lane, struct job *job, PB(AgentResponse) * response, const struct err *err)
{
	/* Its strings stay where they are: there may be no memory for copies. */
	PB(Error) error = SCHEDRIG__V1__ERROR__INIT;
	error.code = (PB(ErrorCode))err->code;
	error.message = (char *)err->message;
	error.place = (char *)err->place;
	error.reason = (char *)err->reason;
	error.os_errno = err->os_errno;
	response->error = &error;
	reply(lane, job, response);
}

static void begin_scenario(struct lane *lane, struct job *job, PB(AgentResponse) * response)
{
	struct agent *agent = lane->agent;
	PB(ScenarioBegin) *message = job->request->scenario_begin;
	struct scene_start start = {.seed = message->seed,
		.controllers = message->controllers,
		.n_controllers = message->n_controllers};
	struct err err = ERR_INIT;
	struct begin *begin = calloc(1, sizeof(*begin));
	int r = begin ? scene_begin(agent->scene, &start, &err)
		      : err_set_os(&err, ERR_GUEST_OS, ENOMEM, "cannot begin a scenario");
	if (r < 0) {
		free(begin);
		serve_refuse(lane, job, response, &err);
		return;
	}
	atomic_init(&begin->refs, 1);
	begin->message = message;
	begin->request = job->request;
	job->request = NULL; /* the begin's now */
	pthread_mutex_lock(&agent->begin_lock);
	struct begin *old = agent->begin;
	agent->begin = begin;
	pthread_mutex_unlock(&agent->begin_lock);
	begin_unref(old);
	page_phase(agent, 0);
	reply_ok(lane, job, response);
}

static void forget_begin(struct agent *agent)
{
	pthread_mutex_lock(&agent->begin_lock);
	struct begin *old = agent->begin;
	agent->begin = NULL;
	pthread_mutex_unlock(&agent->begin_lock);
	begin_unref(old);
}

static void end_scope(struct lane *lane, struct job *job, struct arena *arena, PB(AgentResponse) * response,
	enum scene_scope scope, bool kill_first)
{
	struct scene_ended ended;
	PB(Teardown) teardown = SCHEDRIG__V1__TEARDOWN__INIT;
	bool all = true;
	scene_end(lane->agent->scene, scope, kill_first, &ended);
	for (const struct scene_worker_report *report = ended.workers; report; report = report->next)
		all &= ops_append(
			arena, &teardown.workers, &teardown.n_workers, ops_worker_report(arena, report));
	for (const struct scene_payload_report *report = ended.payloads; report; report = report->next)
		all &= ops_append(
			arena, &teardown.payloads, &teardown.n_payloads, ops_payload_report(arena, report));
	for (const struct scene_error *error = ended.errors; error; error = error->next)
		all &= ops_append(arena, &teardown.errors, &teardown.n_errors, ops_error(arena, &error->err));
	scene_ended_deinit(&ended);
	if (scope == SCENE_BACKDROP)
		forget_begin(lane->agent);
	response->kind_case = SCHEDRIG__V1__AGENT_RESPONSE__KIND_TEARDOWN;
	response->teardown = &teardown;
	if (all) {
		reply(lane, job, response);
		return;
	}
	struct err err = ERR_INIT;
	err_set_os(&err, ERR_GUEST_OS, ENOMEM, "everything was ended, but not all of it could be reported");
	serve_refuse(lane, job, response, &err);
}

struct samples {
	struct arena *arena;
	PB(WorkerTotals) * wire;
	bool lost;
};

static void add_sample(void *arg, const struct work *work, const char *cgroup)
{
	struct samples *samples = arg;
	PB(WorkerSample) *one = ops_worker_sample(samples->arena, work, cgroup);
	samples->lost |=
		!one || !ops_append(samples->arena, &samples->wire->each, &samples->wire->n_each, one);
}

static void sample(struct lane *lane, struct job *job, struct arena *arena, PB(AgentResponse) * response)
{
	struct scene_totals totals;
	scene_sample(lane->agent->scene, &totals);
	PB(WorkerTotals) wire = SCHEDRIG__V1__WORKER_TOTALS__INIT;
	wire.iterations = totals.iterations;
	wire.workers = totals.workers;
	wire.cgroups = totals.cgroups;
	wire.now_ns = totals.now_ns;
	struct samples samples = {.arena = arena, .wire = &wire};
	if (job->request->sample_workers->each)
		scene_sample_each(lane->agent->scene, add_sample, &samples);
	if (samples.lost) {
		struct err err = ERR_INIT;
		err_set_os(&err, ERR_GUEST_OS, ENOMEM, "not all of the %u workers could be told about",
			totals.workers);
		serve_refuse(lane, job, response, &err);
		return;
	}
	response->kind_case = SCHEDRIG__V1__AGENT_RESPONSE__KIND_TOTALS;
	response->totals = &wire;
	reply(lane, job, response);
}

static void serve_side(struct lane *lane, struct job *job, struct arena *arena, PB(AgentResponse) * response)
{
	struct err err = ERR_INIT;
	if (side_serve(lane->agent, job->request, arena, response, &err) < 0)
		serve_refuse(lane, job, response, &err);
	else
		reply(lane, job, response);
}

static void teardown_done(void *arg)
{
	struct agent *agent = arg;
	if (--agent->teardowns)
		return;
	/* Whoever might have fetched it is gone. */
	scene_release_output(agent->scene, 0);
	/* With a connection of its own there will be no other. */
	if (agent->config.fd >= 0)
		loop_stop(agent->loop);
}

/* The link is gone: what belongs to its scenario dies. */
static void abandon(struct lane *lane)
{
	struct scene_ended ended;
	if (lane->number == LANE_ADHOC || lane->number == LANE_SCENARIO) {
		scene_end(lane->agent->scene, lane->number == LANE_ADHOC ? SCENE_ADHOC : SCENE_BACKDROP, true,
			&ended);
		scene_ended_deinit(&ended);
	}
	if (lane->number == LANE_SCENARIO)
		forget_begin(lane->agent);
	(void)!loop_post(lane->agent->loop, lane->agent, teardown_done, lane->agent);
}

/* As an ordinary process: what is there ends first, since nobody reaps once the loop has stopped. */
static void stop_process(struct agent *agent)
{
	static const enum scene_scope scopes[] = {SCENE_ADHOC, SCENE_BACKDROP};
	lane_cancel(&agent->lanes[LANE_SCENARIO], 0);
	lane_cancel(&agent->lanes[LANE_ADHOC], 0);
	for (unsigned i = 0; i < ARRAY_SIZE(scopes); i++) {
		struct scene_ended ended;
		scene_end(agent->scene, scopes[i], true, &ended);
		scene_ended_deinit(&ended);
	}
	loop_stop(agent->loop);
}

static void power_off(struct agent *agent)
{
	if (!agent->config.in_vm) {
		stop_process(agent);
		return;
	}
	sync();
	reboot(RB_POWER_OFF);
}

void serve_job(struct lane *lane, struct job *job)
{
	if (!job->request) {
		abandon(lane);
		return;
	}
	_cleanup_(arena_free_p) struct arena *arena = arena_new(RESPONSE_ARENA_BYTES);
	PB(AgentResponse) response = SCHEDRIG__V1__AGENT_RESPONSE__INIT;
	struct err err = ERR_INIT;
	if (!arena) {
		err_set_os(&err, ERR_GUEST_OS, ENOMEM, "the request cannot be served");
		serve_refuse(lane, job, &response, &err);
		return;
	}
	const PB(AgentRequest) *request = job->request;
	switch (request->kind_case) {
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_SCENARIO_BEGIN:
		begin_scenario(lane, job, &response);
		return;
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_APPLY_OPS:
		apply_ops(lane, job, arena, &response);
		return;
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_LOOP_OPS:
		apply_loop(lane, job, arena, &response);
		return;
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_END_STEP:
		end_scope(lane, job, arena, &response, SCENE_STEP, request->end_step->kill_first);
		return;
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_END_SCENARIO:
		end_scope(lane, job, arena, &response, SCENE_BACKDROP, request->end_scenario->kill_first);
		return;
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_END_ADHOC:
		end_scope(lane, job, arena, &response, SCENE_ADHOC, false);
		return;
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_SAMPLE_WORKERS:
		sample(lane, job, arena, &response);
		return;
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_SET_PHASE:
		page_phase(lane->agent, request->set_phase->phase);
		reply_ok(lane, job, &response);
		return;
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_RELEASE_WORKERS:
		scene_release(lane->agent->scene, apply_scope(request->release_workers->scope));
		reply_ok(lane, job, &response);
		return;
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_POWER_OFF:
		reply_ok(lane, job, &response);
		power_off(lane->agent);
		return;
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_CANCEL_OPS: /* done on the loop's thread */
		reply_ok(lane, job, &response);
		return;
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_SET_KNOBS:
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_FETCH_OUTPUT:
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_RELEASE_OUTPUT:
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_PUSH_FILE:
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_PULL_FILE:
		serve_side(lane, job, arena, &response);
		return;
	case SCHEDRIG__V1__AGENT_REQUEST__KIND__NOT_SET:
	case _SCHEDRIG__V1__AGENT_REQUEST__KIND__CASE_IS_INT_SIZE:
		break;
	}
	err_set(&err, ERR_UNSUPPORTED, "the agent does not know this request");
	serve_refuse(lane, job, &response, &err);
}
