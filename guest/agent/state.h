/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside the agent: its parts and who may touch them. Only files of this directory include it. */
#ifndef GUEST_AGENT_STATE_H
#define GUEST_AGENT_STATE_H

#include "common/conn.h"
#include "common/loop.h"
#include "guest/agent/agent.h"
#include "guest/ops/ops.h"
#include "proto/agent_page.h"

#include <pthread.h>

struct event;

/* What a scenario said at its beginning, shared by requests under way. */
struct begin {
	atomic_uint refs;
	PB(ScenarioBegin) * message; /* inside `request` */
	PB(AgentRequest) * request;
};

struct job {
	struct job *next;
	PB(AgentRequest) * request; /* NULL: everything is to be torn down, the link is gone */
	uint64_t seq;
	uint64_t link;  /* number of the connection that it came by */
	bool cancelled; /* before it began */
	bool answered;  /* its answer has been queued; its lane's */
	struct begin *begin;
};

/* Requests in order, on a thread of their own. */
enum { LANE_SCENARIO, LANE_ADHOC, LANE_QUICK, LANE_SIDE, LANES };
struct lane {
	struct agent *agent;
	unsigned number;
	pthread_t thread;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t more;
	struct job *first, *last;
	uint64_t current; /* seq of the job at hand, 0 none */
	bool cancellable; /* it is ApplyOps or LoopOps */
	bool stopping;
	struct cancel cancel;
};

struct agent {
	struct agent_config config;
	struct loop *loop;
	struct scene *scene;
	struct agent_page *page; /* written by the beat thread and, op_* and phase, by lanes */
	uint64_t page_gpa;
	pthread_t beat, sample, raise;
	void *beat_stack;
	bool beating, sampling;
	bool raising;      /* the thread of raise.c runs; loop thread */
	unsigned link_cpu; /* whose kernel workers it raises; constant while it runs */
	atomic_bool stopping;
	struct lane lanes[LANES];
	unsigned lanes_started;

	/* Loop thread. */
	struct conn *conn;
	uint64_t link; /* +1 with every connection */
	bool greeted;  /* this connection's Hello was answered */
	bool ever_greeted;
	uint64_t connect_until_ns;
	int connecting_fd;
	struct event *connect_event, *retry_event, *child_event, *kmsg_event, *kmsg_retry;
	int kmsg_fd;
	struct {
		uint8_t *bytes;
		size_t length;
		uint64_t seq;
	} parts;               /* of a request longer than a frame */
	uint8_t no_memory[64]; /* AgentResponse that says so, packed in time */
	size_t no_memory_bytes;
	struct event *unanswered_event;
	uint64_t events_lost;
	unsigned teardowns; /* lanes that still clean up after a lost link */
	int result;
	struct err err;

	/* begin_lock */
	pthread_mutex_t begin_lock;
	struct begin *begin;
	/* Requests whose lanes had no memory for an answer: the loop, woken by the descriptor, refuses them
	 * with what is at hand. */
	int unanswered_fd;
	pthread_mutex_t unanswered_lock;
	struct job *unanswered; /* unanswered_lock */
	_Atomic uint32_t speed_percent;
};

/* link.c: loop thread */
int link_start(struct agent *agent, struct err *err) must_check;
void link_stop(struct agent *agent);
/* Any thread. Packs message and sends it on the connection `link`, in parts if need be; dropped if that is
 * gone. 0, or -ENOMEM: it was not sent; those who may lose what they send do not look. */
int link_send(
	struct agent *agent, uint64_t link, uint16_t type, uint64_t seq, const ProtobufCMessage *message);
/* Lane threads. The answer to a job; marks it answered unless there was no memory. */
void link_answer(struct agent *agent, struct job *job, const PB(AgentResponse) * response);
/* Lane threads. Takes over a job that could not be answered: it is refused for want of memory, and no memory
 * is needed for that. Where not even the connection has any, the connection ends. */
void link_refuse(struct agent *agent, struct job *job);
/* Loop thread; drops it when too much waits already. */
void link_event(struct agent *agent, const PB(AgentEvent) * event);
void link_warn(struct agent *agent, const char *text);

/* hello.c: loop thread */
int hello_send(struct agent *agent, struct err *err) must_check;
/* The controller's answer. 0 and AgentReady sent (with or without an error), or -EPROTO. */
int hello_answer(struct agent *agent, const PB(ControllerHello) * hello);

/* lanes.c */
int lanes_start(struct agent *agent, struct err *err) must_check;
void lanes_stop(struct agent *agent);
void job_free(struct job *job);
void lane_push(struct lane *lane, struct job *job);
void lane_cancel(struct lane *lane, uint64_t seq); /* 0: whatever there is */
void begin_unref(struct begin *begin);

/* serve.c: lane threads */
void serve_job(struct lane *lane, struct job *job);
/* Answers with an error: what else response holds goes with it. */
void serve_refuse(struct lane *lane, struct job *job, PB(AgentResponse) * response, const struct err *err);
/* apply.c: lane threads */
void apply_ops(struct lane *lane, struct job *job, struct arena *arena, PB(AgentResponse) * response);
void apply_loop(struct lane *lane, struct job *job, struct arena *arena, PB(AgentResponse) * response);
enum scene_scope apply_scope(PB(Scope) scope);

/* side.c: lane threads; fills the response, but for its error */
int side_serve(struct agent *agent, const PB(AgentRequest) * request, struct arena *arena,
	PB(AgentResponse) * response, struct err *err) must_check;

/* page.c */
int page_start(struct agent *agent, struct err *err) must_check;
void page_stop(struct agent *agent);
void page_op(struct agent *agent, const struct lane *lane, int kind); /* -1: none */
void page_phase(struct agent *agent, uint32_t phase);

/* raise.c: loop thread. 0 or -errno; once it runs, nothing. */
int raise_start(struct agent *agent, unsigned cpu) must_check;
void raise_stop(struct agent *agent);

/* kmsg.c: loop thread */
void kmsg_start(struct agent *agent);
void kmsg_stop(struct agent *agent);

#endif
