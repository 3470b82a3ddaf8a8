/* SPDX-License-Identifier: GPL-2.0-only */
/* For tests: the agent as an ordinary process at the other end of a socket pair, spoken to in plain blocking
 * calls. Needs root and a cgroup v2 file system: peer_scratch() says why not. One thread. */
#ifndef TESTS_LOOP_AGENT_PEER_H
#define TESTS_LOOP_AGENT_PEER_H

#include "common/cpu_layout.h"
#include "schedrig/v1/agent.pb-c.h"

#include <stdbool.h>
#include <sys/types.h>

#define PB(name) Schedrig__V1__##name
#define INIT_OF(snake) SCHEDRIG__V1__##snake##__INIT

struct peer {
	pid_t pid;
	int fd;
	char cgroup[256]; /* scratch directory, ours */
	uint64_t seq;
	unsigned events;
	/* Told to the agent; 0: a tenth, since tests share their machine: it has patience with whoever stops.
	 */
	unsigned speed_percent;
	/* Whoever removes the scratch directory if the test dies before it does: sees the end of this pipe.
	 */
	int alive_fd;
	pid_t janitor;
};

/* NULL and the scratch directory made, or the reason to skip. */
const char *peer_scratch(struct peer *peer);
/* Starts the agent and exchanges hellos; asserts that it is ready. Layout: n_cpus CPUs of one LLC. */
void peer_start(struct peer *peer, const char *agent, const char *staged, unsigned n_cpus);
/* What peer_start() does once there is somebody at the other end of fd. */
void peer_greet(struct peer *peer, unsigned n_cpus);
/* Sends; returns its number. */
uint64_t peer_send(struct peer *peer, PB(AgentRequest) * request);
/* The answer to that number (those to others are not expected); free with pb_free(). */
PB(AgentResponse) * peer_receive(struct peer *peer, uint64_t seq);
PB(AgentResponse) * peer_receive_any(struct peer *peer, uint64_t *ret_seq);
PB(AgentResponse) * peer_call(struct peer *peer, PB(AgentRequest) * request);
/* Begins a strict scenario of one worker a cgroup; asserts that it has begun. */
void peer_begin_scenario(struct peer *peer, PB(Payload) * *payloads, size_t n_payloads);
/* The answer to an EndStep, EndScenario or EndAdhoc; asserts that nothing went wrong. pb_free() it. */
PB(AgentResponse) * peer_end(struct peer *peer, PB(AgentRequest__KindCase) kind);
/* WorkerTotals with each worker's; free with pb_free(). */
PB(AgentResponse) * peer_sample(struct peer *peer);
/* Until each of so many workers has published so many rounds. */
void peer_await_rounds(struct peer *peer, size_t workers, uint64_t rounds);
/* Until each of them has published so many more than now. */
void peer_await_more(struct peer *peer, size_t workers, uint64_t more);
/* Closes the link and waits for the agent's end: its exit status. The scratch directory must be empty then.
 */
int peer_stop(struct peer *peer);

#endif
