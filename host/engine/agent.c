/* SPDX-License-Identifier: GPL-2.0-only */
/* Requests to the agent with the deadlines that belong to them. Any thread but the loop's. */
#include "common/clock.h"
#include "host/engine/engine_internal.h"
#include "host/link/link.h"
#include "proto/pb.h"

/* The host's patience beyond what the guest may take: the guest's own "timed out" must win. */
#define PATIENCE_NS (15 * NS_PER_S)
#define QUICK_NS (10 * NS_PER_S)

int agent_call(struct engine *engine, const Schedrig__V1__AgentRequest *request, uint64_t guest_ns,
	Schedrig__V1__AgentResponse **ret, struct err *err)
{
	/* On a slow host the agent widens its own deadlines by as much. */
	unsigned percent = link_speed_percent(engine->config.link);
	unsigned __int128 wide = ((unsigned __int128)clock_add_ns(guest_ns, PATIENCE_NS) * 100) / percent;
	uint64_t patience = wide > UINT64_MAX ? UINT64_MAX : (uint64_t)wide;
	int r = link_call(engine->config.link, request, clock_deadline_ns(patience), ret, err);
	if (r < 0 && err->code == ERR_TIMEOUT && !*ret) {
		Schedrig__V1__AgentRequest give_up = SCHEDRIG__V1__AGENT_REQUEST__INIT;
		Schedrig__V1__CancelOps cancel = SCHEDRIG__V1__CANCEL_OPS__INIT;
		give_up.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_CANCEL_OPS;
		give_up.cancel_ops = &cancel;
		int sent = link_notify(engine->config.link, &give_up, NULL);
		(void)sent; /* an agent that cannot be reached cannot be told */
	}
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

Schedrig__V1__WorkerTotals agent_totals(struct engine *engine)
{
	Schedrig__V1__WorkerTotals totals = SCHEDRIG__V1__WORKER_TOTALS__INIT;
	Schedrig__V1__AgentRequest request = SCHEDRIG__V1__AGENT_REQUEST__INIT;
	Schedrig__V1__SampleWorkers sample = SCHEDRIG__V1__SAMPLE_WORKERS__INIT;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_SAMPLE_WORKERS;
	request.sample_workers = &sample;
	Schedrig__V1__AgentResponse *response = NULL;
	struct err err = ERR_INIT;
	if (agent_call(engine, &request, QUICK_NS, &response, &err) == 0 &&
		response->kind_case == SCHEDRIG__V1__AGENT_RESPONSE__KIND_TOTALS)
		totals = *response->totals; /* plain numbers */
	pb_free(response);
	return totals;
}
