/* SPDX-License-Identifier: GPL-2.0-only */
/* The listening socket as a file: made, found dead or alive, removed. Loop thread (or before it runs). */
#ifndef HOST_CONTROL_SOCKET_H
#define HOST_CONTROL_SOCKET_H

#include "common/err.h"

#include <sys/types.h>

struct control_socket {
	int fd;
	char *path;
	dev_t device; /* with inode: which file is ours */
	ino_t inode;
};

/* Listens at path, mode 0600. A dead socket there is replaced. ERR_INVALID_ARGUMENT (path), ERR_BUSY
 * (somebody listens there), ERR_ALREADY_EXISTS (not a socket), ERR_HOST. */
int control_socket_open(const char *path, struct control_socket *ret, struct err *err) must_check;
/* Removes the file if it is still ours. */
void control_socket_close(struct control_socket *socket);
/* Who is at the other end; fails unless it is root or our own user. */
int control_socket_peer(int fd, pid_t *ret_pid, struct err *err) must_check;

#endif
