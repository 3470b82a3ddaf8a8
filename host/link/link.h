/* SPDX-License-Identifier: GPL-2.0-only */
/* The connection to the agent: Hello, requests with answers, events, the agent's page.
 *
 * The link lives on the main loop; calls come from any other thread and block there. An agent that reconnects
 * is greeted again; requests in flight when the connection ends fail with ERR_AGENT_LOST. */
#ifndef HOST_LINK_LINK_H
#define HOST_LINK_LINK_H

#include "common/cpu_layout.h"
#include "common/err.h"
#include "common/loop.h"
#include "common/scope.h"
#include "host/vm/gmem.h"
#include "host/vm/vm.h"
#include "schedrig/v1/agent.pb-c.h"

#include <stdbool.h>

struct link;

/* Loop thread. */
struct link_ops {
	/* The agent said it is ready (err NULL), or why it cannot be (err: e.g. the topology differs). Once a
	 * connection. */
	void (*ready)(struct link *link, const struct err *err, void *arg);
	/* Anything the agent says unasked. */
	void (*event)(struct link *link, const Schedrig__V1__AgentEvent *event, void *arg);
	/* The connection ended; calls in flight fail when this has returned. Silence is not an end: see
	 * link_heartbeat(). */
	void (*lost)(struct link *link, const struct err *err, void *arg);
};

struct link_config {
	struct loop *loop;
	const struct cpu_layout *layout; /* told to the agent */
	const struct gmem *memory;       /* where the agent's page is; NULL without a VM */
	struct vm *vm;          /* while it is frozen no deadline of a call comes nearer; NULL without */
	uint32_t speed_percent; /* see ControllerHello */
	bool check_topology;    /* see ControllerHello */
	struct link_ops ops;
	void *arg;
};

struct link *link_new(const struct link_config *config, struct err *err) must_check;
/* Loop thread, or any once the loop has stopped. Calls in flight fail with ERR_CANCELLED. */
void link_free(struct link *link);
SCOPE_GUARD(struct link *, link_free, link_free)

/* Loop thread: told to agents that connect from now on (link_config.speed_percent). */
void link_set_speed(struct link *link, unsigned percent);
/* (any thread) 100 when nobody has said anything. */
unsigned link_speed_percent(struct link *link);

/* Loop thread: the agent connected; takes fd over. A second connection replaces the first. */
void link_accept(struct link *link, int fd);

/* (any thread but the loop's) Sends the request and waits for its answer. deadline_ns: CLOCK_MONOTONIC of the
 * host, later than the guest's own so that the guest's answer wins; it moves by what the VM is frozen until
 * then. An answer with `error` set is returned as that failure, with *ret_response set too (results of a list
 * that ended early); otherwise *ret_response is set on success only. Free it with pb_free(). ERR_TIMEOUT,
 * ERR_AGENT_LOST, ERR_CANCELLED (link_cancel). */
int link_call(struct link *link, const Schedrig__V1__AgentRequest *request, uint64_t deadline_ns,
	Schedrig__V1__AgentResponse **ret_response, struct err *err) must_check;
/* The same; once the request is on its way, and before waiting, queued(seq, arg) is called with its number,
 * so that a link_notify() from then on comes behind it. */
int link_call_noting(struct link *link, const Schedrig__V1__AgentRequest *request, uint64_t deadline_ns,
	void (*queued)(uint64_t seq, void *arg), void *arg, Schedrig__V1__AgentResponse **ret_response,
	struct err *err) must_check;
/* (any thread) The call of that number, if it still waits, fails with this error. */
void link_give_up(struct link *link, uint64_t seq, const struct err *why);
/* (any thread) Sends a request whose answer nobody waits for (CancelOps while a call blocks). 0 says that it
 * is queued, no more. ERR_AGENT_LOST when the agent is not ready. */
int link_notify(struct link *link, const Schedrig__V1__AgentRequest *request, struct err *err) must_check;
/* (any thread) Makes every call in flight, and until link_resume() every later one, fail with this error: the
 * guest is gone, say. */
void link_cancel(struct link *link, const struct err *why);
void link_resume(struct link *link);

/* (any thread) True between ready and lost. */
bool link_is_ready(struct link *link);
/* (any thread) A copy of what the agent said in its Hello; NULL before. Free with pb_free(). */
Schedrig__V1__AgentHello *link_agent_hello(struct link *link);
/* (any thread) Notes of AgentReady, and so on, are in the ready message; NULL before. Free with pb_free(). */
Schedrig__V1__AgentReady *link_agent_ready(struct link *link);
/* (any thread) The page's heartbeat counter, read from guest memory; 0 when there is no valid page. */
uint64_t link_heartbeat(struct link *link);
/* (any thread) The longest time between two heartbeats so far, of the guest's clock; 0 likewise. */
uint64_t link_max_gap_ns(struct link *link);

/* The wire's error to ours and back; strings of `ret` point into err. */
void link_error_from_wire(const Schedrig__V1__Error *wire, struct err *ret);
void link_error_to_wire(const struct err *err, Schedrig__V1__Error *ret);

#endif
