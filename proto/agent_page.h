/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/* The agent's page: memory that the agent shares with the controller by guest-physical address
 * (AgentHello.page_gpas), read hot, without any help of the guest's scheduler or network. Little-endian,
 * naturally aligned; the agent writes, the controller reads single aligned values. One page of 4096 bytes
 * now; more pages may follow in later versions. */
#ifndef PROTO_AGENT_PAGE_H
#define PROTO_AGENT_PAGE_H

#include <stdint.h>

#define AGENT_PAGE_MAGIC UINT64_C(0x3167617064656863) /* "chedpag1" */
#define AGENT_PAGE_VERSION 1u
#define AGENT_PAGE_BYTES 4096

struct agent_page {
	uint64_t magic;       /* AGENT_PAGE_MAGIC once the page is valid */
	uint32_t version;     /* AGENT_PAGE_VERSION */
	uint32_t pid;         /* of the agent */
	uint64_t heartbeat;   /* +1 at least every AGENT_PAGE_BEAT_NS of guest time, from a FIFO 99 thread */
	uint64_t beat_ns;     /* CLOCK_MONOTONIC of the guest at the last beat */
	uint32_t phase;       /* current phase */
	uint32_t op_kind;     /* kind number + 1 of the op in progress, 0 = none */
	uint64_t op_begin_ns; /* CLOCK_MONOTONIC of the guest when it began */
	uint32_t workers;     /* alive */
	uint32_t cgroups;     /* tracked */
	uint64_t iterations;  /* sum over workers as of the last look at them */
	uint64_t max_gap_ns;  /* longest time between two beats so far, of the same clock, with the host's
				 share */
};

#define AGENT_PAGE_BEAT_NS (UINT64_C(100) * 1000000)

_Static_assert(sizeof(struct agent_page) <= AGENT_PAGE_BYTES, "the agent's page is one page");

#endif
