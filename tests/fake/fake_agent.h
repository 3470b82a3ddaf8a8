/* SPDX-License-Identifier: GPL-2.0-only */
/* An agent that does what a test says: the other end of a socket pair, on a thread of its own. It answers
 * every request with success unless the test's function answers it. */
#ifndef TESTS_FAKE_FAKE_AGENT_H
#define TESTS_FAKE_FAKE_AGENT_H

#include "schedrig/v1/agent.pb-c.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct fake_agent;

/* On the agent's thread. True: answered (or deliberately not). */
typedef bool (*fake_request_fn)(
	struct fake_agent *agent, uint64_t seq, const Schedrig__V1__AgentRequest *request, void *arg);

struct fake_agent {
	/* Set before fake_agent_start(): */
	uint32_t major;      /* 0: the right one */
	const char *refuses; /* AgentReady with this error */
	fake_request_fn request;
	void *arg;
	Schedrig__V1__WorkerReport **workers; /* reported at the scenario's end */
	size_t n_workers;

	int fd;
	pthread_t thread;
	char log[4096]; /* what was asked, a letter each: B A L S E W P C (see fake_agent.c) */
	atomic_uint asked;
	atomic_uint ops;
};

/* Returns the controller's end. */
int fake_agent_start(struct fake_agent *agent);
/* Ends the connection if it still stands, and waits for the thread. */
void fake_agent_stop(struct fake_agent *agent);

/* On the agent's thread. */
void fake_agent_send(struct fake_agent *agent, uint16_t type, uint64_t seq, const void *bytes, size_t length);
void fake_agent_answer(struct fake_agent *agent, uint64_t seq, const Schedrig__V1__AgentResponse *response);
/* Success for every op of the list, but the op number `failing` (-1: none) gets this error, and the list ends
 * there. */
void fake_agent_answer_ops(struct fake_agent *agent, uint64_t seq, const Schedrig__V1__ApplyOps *apply,
	int failing, Schedrig__V1__ErrorCode code, const char *message);

#endif
