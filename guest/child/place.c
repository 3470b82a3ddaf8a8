/* SPDX-License-Identifier: GPL-2.0-only */
/* CLONE_INTO_CGROUP, and what stands in for it (see place.h). */
#include "guest/child/place.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

static pid_t clone_plainly(void)
{
	struct clone_args args = {.exit_signal = SIGCHLD};
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (pid < 0 && errno == ENOSYS)
		pid = (pid_t)syscall(SYS_clone, (long)SIGCHLD, 0L, 0L, 0L, 0L);
	return pid;
}

static pid_t clone_into(int cgroup_fd)
{
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t)cgroup_fd};
	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

/* What kernels say that do not know it: no such call (before 5.3), no such flag, no such member. Should it
 * have been something else, the move fails for the same reason and says so. */
static bool lacks_clone_into(int errnum)
{
	return errnum == ENOSYS || errnum == EINVAL || errnum == E2BIG;
}

/* Moves a process. No snprintf here: it is not async-signal-safe. */
static int move(int cgroup_fd, pid_t pid)
{
	char digits[12], *at = digits + sizeof(digits);
	for (pid_t rest = pid; rest; rest /= 10)
		*--at = (char)('0' + rest % 10);
	size_t length = (size_t)(digits + sizeof(digits) - at);
	int fd = openat(cgroup_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = write(fd, at, length);
	int errnum = errno;
	close(fd);
	errno = errnum;
	return n == (ssize_t)length ? 0 : -1;
}

/* In the child: until it has been moved. Nothing comes if that failed or the parent is dead. */
static void wait_moved(const int fds[2])
{
	char byte;
	ssize_t n;
	close(fds[1]);
	do
		n = read(fds[0], &byte, 1);
	while (n < 0 && errno == EINTR);
	close(fds[0]);
	if (n != 1)
		_exit(127);
}

static pid_t clone_and_move(int cgroup_fd, struct place *ret)
{
	int fds[2];
	ret->call = "pipe2";
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -1;
	ret->call = "clone";
	pid_t pid = clone_plainly();
	if (pid == 0) {
		wait_moved(fds);
		return 0;
	}
	int errnum = errno;
	close(fds[0]);
	if (pid > 0) {
		ret->call = "write to cgroup.procs";
		if (move(cgroup_fd, pid) < 0 || write(fds[1], "", 1) != 1) {
			errnum = errno;
			kill(pid, SIGKILL);
			pid = -1;
		}
	}
	close(fds[1]);
	errno = errnum;
	return pid;
}

pid_t place_clone(int cgroup_fd, struct place *ret)
{
	*ret = (struct place){.call = "clone"};
	if (cgroup_fd < 0)
		return clone_plainly();
	ret->call = "clone into the cgroup";
	pid_t pid = clone_into(cgroup_fd);
	if (pid >= 0 || !lacks_clone_into(errno))
		return pid;
	ret->moved = true;
	return clone_and_move(cgroup_fd, ret);
}
