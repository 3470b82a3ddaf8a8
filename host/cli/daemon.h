/* SPDX-License-Identifier: GPL-2.0-only */
/* A schedrigd of our own: started, waited for, ended. Main thread. */
#ifndef HOST_CLI_DAEMON_H
#define HOST_CLI_DAEMON_H

#include "common/err.h"

#include <stdbool.h>
#include <sys/types.h>

/* The private directory of its socket. A lock in it tells a later `schedrig run` that it is in use: one whose
 * owner was killed is swept away. */
struct cli_daemon {
	pid_t pid; /* 0: none */
	int pid_fd, ready_fd, lock_fd;
	char directory[80];
	char socket[108];
};

#define CLI_DAEMON_INIT ((struct cli_daemon){.pid_fd = -1, .ready_fd = -1, .lock_fd = -1})

/* Starts schedrigd, found beside this program or in PATH, with these options (NULL-terminated; --socket,
 * --ready-fd and --die-with-parent are added). socket NULL: one in a private directory. Returns an exit code
 * after a message, or CLI_OK. */
int cli_daemon_start(struct cli_daemon *daemon, char *const *options, const char *socket);
/* Until it says ready. signal_fd: a signal ends the waiting (CLI_INCONCLUSIVE). Otherwise the exit code of a
 * schedrigd that failed, its sentence printed. */
int cli_daemon_wait(struct cli_daemon *daemon, int signal_fd);
/* A private socket has served its purpose once we are connected: nothing stays of it whatever comes. */
void cli_daemon_hide(struct cli_daemon *daemon);
/* Ends it: in order (TERM, and KILL after 20 s), or at once. Reaps it. */
void cli_daemon_stop(struct cli_daemon *daemon, bool at_once);

#endif
