/* SPDX-License-Identifier: GPL-2.0-only */
/* Making a process in a cgroup. No state, any thread; async-signal-safe code only, for processes that came
 * of a bare clone. */
#ifndef GUEST_CHILD_PLACE_H
#define GUEST_CHILD_PLACE_H

#include <stdbool.h>
#include <sys/types.h>

struct place {
	bool moved;       /* this kernel cannot make it there (Linux 5.7): it was moved before it went on */
	const char *call; /* on failure: what failed */
};
/* As fork() by a bare clone: 0 in the child, the PID in the parent, -1 with errno. The child does nothing
 * before it is in the cgroup of cgroup_fd (a directory; -1: where the caller is). On failure there may be a
 * dead child to reap, whom nobody knows. */
pid_t place_clone(int cgroup_fd, struct place *ret);

#endif
