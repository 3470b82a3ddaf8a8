/* SPDX-License-Identifier: GPL-2.0-only */
/* Requests to the agent with the deadlines that belong to them. Any thread but the loop's. */
#include "common/clock.h"
#include "host/engine/engine_internal.h"
#include "host/engine/gap_run.h"
#include "host/link/link.h"
#include "proto/pb.h"

/* The host's patience beyond what the guest may take: the guest's own "timed out" must win. */
#define PATIENCE_NS (15 * NS_PER_S)
#define QUICK_NS (10 * NS_PER_S)

void agent_cancel(struct engine *engine, uint64_t seq)
{
	Schedrig__V1__AgentRequest request = SCHEDRIG__V1__AGENT_REQUEST__INIT;
	Schedrig__V1__CancelOps cancel = SCHEDRIG__V1__CANCEL_OPS__INIT;
	cancel.request_seq = seq;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_CANCEL_OPS;
	request.cancel_ops = &cancel;
	int r = link_notify(engine->config.link, &request, NULL);
	(void)r; /* an agent that cannot be reached cannot be told */
}

struct call {
	struct engine *engine;
	bool of_run; /* ops of the running scenario: engine_cancel() ends them */
	bool loops;  /* those that the agent repeats: so does the end of their step */
	uint64_t seq;
};

/* A cancel before this moment did not know the number, one after it does. */
static void on_queued(uint64_t seq, void *arg)
{
	struct call *call = arg;
	call->seq = seq;
	if (!call->of_run)
		return;
	pthread_mutex_lock(&call->engine->lock);
	call->engine->run_seq = seq;
	call->engine->loop_seq = call->loops ? seq : 0;
	bool cancelled = call->engine->cancelled || (call->loops && call->engine->step_over);
	pthread_mutex_unlock(&call->engine->lock);
	if (cancelled)
		agent_cancel(call->engine, seq);
}

static bool is_of_run(const Schedrig__V1__AgentRequest *request)
{
	if (request->kind_case == SCHEDRIG__V1__AGENT_REQUEST__KIND_LOOP_OPS)
		return true;
	return request->kind_case == SCHEDRIG__V1__AGENT_REQUEST__KIND_APPLY_OPS &&
	       request->apply_ops->scope != SCHEDRIG__V1__SCOPE__SCOPE_ADHOC;
}

int agent_call(struct engine *engine, const Schedrig__V1__AgentRequest *request, uint64_t guest_ns,
	Schedrig__V1__AgentResponse **ret, struct err *err)
{
	/* On a slow host the agent widens its own deadlines by as much. */
	unsigned percent = link_speed_percent(engine->config.link);
	unsigned __int128 wide = ((unsigned __int128)clock_add_ns(guest_ns, PATIENCE_NS) * 100) / percent;
	uint64_t patience = wide > UINT64_MAX ? UINT64_MAX : (uint64_t)wide;
	struct call call = {.engine = engine,
		.of_run = is_of_run(request),
		.loops = request->kind_case == SCHEDRIG__V1__AGENT_REQUEST__KIND_LOOP_OPS};
	int r = link_call_noting(
		engine->config.link, request, clock_deadline_ns(patience), on_queued, &call, ret, err);
	if (call.of_run) {
		SCOPE_LOCK(&engine->lock);
		engine->run_seq = engine->loop_seq = 0;
	}
	if (r < 0 && err->code == ERR_TIMEOUT && !*ret)
		agent_cancel(engine, call.seq);
	return r;
}

int agent_set_phase(struct engine *engine, uint32_t phase, struct err *err)
{
	Schedrig__V1__AgentRequest request = SCHEDRIG__V1__AGENT_REQUEST__INIT;
	Schedrig__V1__SetPhase set = SCHEDRIG__V1__SET_PHASE__INIT;
	set.phase = phase;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_SET_PHASE;
	request.set_phase = &set;
	Schedrig__V1__AgentResponse *response = NULL;
	int r = agent_call(engine, &request, QUICK_NS, &response, err);
	pb_free(response);
	return r;
}

static int sample_workers(struct engine *engine, bool each, Schedrig__V1__WorkerTotals **ret, struct err *err)
{
	Schedrig__V1__AgentRequest request = SCHEDRIG__V1__AGENT_REQUEST__INIT;
	Schedrig__V1__SampleWorkers sample = SCHEDRIG__V1__SAMPLE_WORKERS__INIT;
	_cleanup_(pb_free_p) Schedrig__V1__AgentResponse *response = NULL;
	sample.each = each;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_SAMPLE_WORKERS;
	request.sample_workers = &sample;
	int r = agent_call(engine, &request, QUICK_NS, &response, err);
	if (r < 0)
		return r;
	if (response->kind_case != SCHEDRIG__V1__AGENT_RESPONSE__KIND_TOTALS)
		return err_set(err, ERR_INTERNAL, "the agent's answer does not fit the request");
	*ret = response->totals; /* handed over */
	response->kind_case = SCHEDRIG__V1__AGENT_RESPONSE__KIND__NOT_SET;
	return 0;
}

bool agent_clock(struct engine *engine, void (*queued)(uint64_t seq, void *arg), void *arg, uint64_t *ret_ns)
{
	Schedrig__V1__AgentRequest request = SCHEDRIG__V1__AGENT_REQUEST__INIT;
	Schedrig__V1__SampleWorkers sample = SCHEDRIG__V1__SAMPLE_WORKERS__INIT;
	_cleanup_(pb_free_p) Schedrig__V1__AgentResponse *response = NULL;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_SAMPLE_WORKERS;
	request.sample_workers = &sample;
	if (link_call_noting(engine->config.link, &request, CLOCK_NEVER_NS, queued, arg, &response, NULL) <
			0 ||
		response->kind_case != SCHEDRIG__V1__AGENT_RESPONSE__KIND_TOTALS)
		return false;
	*ret_ns = response->totals->now_ns;
	return *ret_ns != 0;
}

Schedrig__V1__WorkerTotals agent_totals(struct engine *engine)
{
	Schedrig__V1__WorkerTotals totals = SCHEDRIG__V1__WORKER_TOTALS__INIT, *found = NULL;
	struct err err = ERR_INIT;
	uint64_t before_ns = gap_run_now_ns(engine);
	if (sample_workers(engine, false, &found, &err) == 0) {
		if (found->now_ns)
			gap_run_clock(engine->gap_run, before_ns, found->now_ns, gap_run_now_ns(engine));
		totals.iterations = found->iterations;
		totals.workers = found->workers;
		totals.cgroups = found->cgroups;
		totals.now_ns = found->now_ns;
	}
	pb_free(found);
	return totals;
}

int engine_workers(struct engine *engine, const Schedrig__V1__WorkersRequest *request,
	Schedrig__V1__WorkerTotals **ret, struct err *err)
{
	(void)request;
	return sample_workers(engine, true, ret, err);
}
