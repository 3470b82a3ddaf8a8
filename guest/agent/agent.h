/* SPDX-License-Identifier: GPL-2.0-only */
/* The agent's service: link to the controller, lanes that apply ops, heartbeat, kernel log. */
#ifndef GUEST_AGENT_AGENT_H
#define GUEST_AGENT_AGENT_H

#include "common/err.h"

#include <stdbool.h>

struct agent_config {
	int fd;                   /* connected socket; -1: connect to the host over vsock, again and again */
	int root_fd;              /* top of the cgroup tree, borrowed */
	int stray_fd;             /* see scene_config */
	const char *staged;       /* directory of staged programs */
	bool in_vm;               /* PID 1: power-off, kernel log, interrupts, page by physical address */
	bool realtime;            /* FIFO 99 */
	uint64_t connect_ns;      /* vsock: first connection within this time, or -ETIMEDOUT */
	const char *const *notes; /* for AgentReady; n_notes of them */
	unsigned n_notes;
};

/* Serves until told to power off (in_vm: then the machine is switched off and this does not return), or, with
 * a given fd, until the connection ends and everything is cleaned up. Errors only before the first Hello is
 * answered. The calling thread becomes the loop's. */
int agent_run(const struct agent_config *config, struct err *err) must_check;

#endif
