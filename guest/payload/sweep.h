/* SPDX-License-Identifier: GPL-2.0-only */
/* The end of everything that descends from a process: the keeper's, which is a subreaper of one thread.
 * Async-signal-safe code only; the caller blocks SIGCHLD and SIGTERM for good. */
#ifndef GUEST_PAYLOAD_SWEEP_H
#define GUEST_PAYLOAD_SWEEP_H

#include <stdbool.h>
#include <sys/types.h>

struct sweep {
	pid_t group; /* process group of the program */
	/* Told of each child that was reaped. */
	void (*reaped)(const struct sweep *sweep, pid_t pid, int status);
	const void *arg;
};

/* Reaps what has ended; false when there is no child any more. ret_count, which may be NULL: how many. */
bool sweep_reap(const struct sweep *sweep, unsigned *ret_count);
/* (waits) Kills and reaps until there is no descendant any more: for as long as it takes. */
void sweep_all(const struct sweep *sweep);

#endif
