/* SPDX-License-Identifier: GPL-2.0-only */
/* The keeper process of a payload (see payload.h) and its words to the agent. Async-signal-safe code only. */
#ifndef GUEST_PAYLOAD_KEEPER_H
#define GUEST_PAYLOAD_KEEPER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum keeper_word { KEEPER_FAILED = 1, KEEPER_RUNNING, KEEPER_EXITED };

/* One datagram. */
struct keeper_message {
	uint32_t word;  /* enum keeper_word */
	int32_t value;  /* RUNNING: PID; EXITED: wait status; FAILED: errno */
	uint64_t at_ns; /* CLOCK_MONOTONIC */
	char call[24];  /* FAILED: what failed */
	uint32_t moved; /* RUNNING: not made in its cgroup, but moved there before its exec */
};

struct keeper_job {
	const char *path;
	char *const *argv, *const *envp;
	int cgroup_fd, say_fd, stdout_fd, stderr_fd;
	pid_t parent;
	bool realtime;
};
void keeper_main(const struct keeper_job *job) __attribute__((noreturn));

#endif
