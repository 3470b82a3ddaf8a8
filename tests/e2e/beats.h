/* SPDX-License-Identifier: GPL-2.0-only */
/* The agent's heartbeat, watched from outside while a test runs: the longest time without one, in time that
 * the host gave the vCPUs. A thread of its own between beats_watch() and beats_end().
 *
 * The guest's clock goes on while the host does something else on a vCPU's CPU: another thread, or in the
 * vCPU's own thread a page for the guest's memory. That time is no fault of the agent. A vCPU's own time is
 *
 *   - what the host accounts as guest time of its thread (proc(5), stat, field 43), and
 *   - the time in which the thread sleeps: the guest's CPU is idle, or the VM is frozen, which is what the
 * test of this very check makes use of.
 *
 * The agent's timer may be on any vCPU, so what counts is the vCPU that had least. */
#ifndef TESTS_E2E_BEATS_H
#define TESTS_E2E_BEATS_H

#include "tests/e2e/harness.h"

/* The promise of proto/agent_page.h, and spare time: the kernel's own work comes first. */
#define BEATS_LIMIT_NS UINT64_C(1000000000)

struct beats_seen {
	uint64_t gap_ns;   /* longest time without a beat, of the host's clock */
	uint64_t given_ns; /* most that the vCPU that had least had in one of them */
	uint64_t guest_ns; /* guest time of all vCPUs while it was watched */
	unsigned looks;
};

struct beats;
/* NULL, with a failure recorded: the controller or its vCPUs' accounts cannot be read. */
struct beats *beats_watch(const struct vm_process *vm);
/* What has been seen so far. */
struct beats_seen beats_so_far(struct beats *beats);
/* Ends it. Takes NULL. */
struct beats_seen beats_end(struct beats *beats);

#endif
