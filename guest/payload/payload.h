/* SPDX-License-Identifier: GPL-2.0-only */
/* A user's program. Between the agent and the program stands a keeper: a small process, subreaper of all that
 * descends from the program, outside every managed cgroup. So neither setsid() nor a double fork escapes:
 * what descends from the keeper is the payload's, and nothing else is.
 *
 *     agent ── keeper (agent's cgroup, FIFO 99 like the agent) ── program (its cgroup from birth) ── ...
 *
 * The keeper ends the whole tree when the agent asks for it or dies. Plain C. */
#ifndef GUEST_PAYLOAD_PAYLOAD_H
#define GUEST_PAYLOAD_PAYLOAD_H

#include "common/err.h"
#include "guest/child/child.h"
#include "guest/payload/output.h"

#include <stdbool.h>

struct loop;
struct payload;

#define PAYLOAD_TAIL_BYTES 1024

struct payload_spec {
	const char *name;  /* for messages */
	const char *path;  /* executable */
	char *const *argv; /* NULL-terminated */
	char *const *envp; /* NULL-terminated */
	int cgroup_fd;     /* -1: where the agent is */
	struct loop *loop; /* its output is read there */
	bool realtime;     /* the keeper runs at FIFO 99 */
};

/* (waits) Returns when the program has been executed, or why not: ERR_NOT_FOUND (no such file), ERR_GUEST_OS
 * naming the call, ERR_TIMEOUT, ERR_CANCELLED; then nothing of it is left. Not on the loop's thread; the
 * calling thread must live as long as the agent. */
int payload_start(const struct payload_spec *spec, uint64_t deadline_ns, struct cancel *cancel,
	struct payload **ret_payload, struct err *err) must_check;
/* (waits) Until the program itself has exited. Any number of threads. */
enum child_wait payload_wait(struct payload *payload, uint64_t deadline_ns, struct cancel *cancel);
/* The program's PID. */
pid_t payload_pid(const struct payload *payload);
/* This kernel could not make it in its cgroup: it was held until it had been moved there, and executed then.
 */
bool payload_moved(const struct payload *payload);
/* PID of its keeper: every process of the payload descends from it. */
pid_t payload_keeper(const struct payload *payload);
/* Whether the program itself has exited; what it started may live on. */
bool payload_exited(const struct payload *payload);

struct payload_end {
	pid_t pid;
	int status;       /* of wait(2) */
	bool ended_by_us; /* it still ran */
	bool moved;       /* payload_moved() */
	uint64_t run_ns;
	struct output out[2]; /* stdout, stderr */
};
void payload_end_deinit(struct payload_end *end);
/* (waits) Kills what is left of the whole tree, reaps it, reads the rest of its output. Once, by one thread;
 * not the loop's. ret_end is the caller's, whatever is returned: payload_end_deinit().
 * ERR_TIMEOUT: something of it does not die within patience_ns; it is named with its state, and given up. */
int payload_finish(struct payload *payload, uint64_t patience_ns, struct payload_end *ret_end,
	struct err *err) must_check;
/* A finished one. Takes NULL. */
void payload_free(struct payload *payload);

#endif
