/* SPDX-License-Identifier: GPL-2.0-only */
/* A payload that turns on the agent, which it can since both are root in the VM: `meddles cut` ends the
 * agent's connection to the controller, `meddles kill` makes it crash. */
#include <dirent.h>
#include <linux/vm_sockets.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { AGENT_PID = 1 };

static int cut(void)
{
	int pidfd = (int)syscall(SYS_pidfd_open, AGENT_PID, 0), n_cut = 0;
	DIR *fds = opendir("/proc/1/fd");
	for (struct dirent *entry; pidfd >= 0 && fds && (entry = readdir(fds));) {
		int fd = (int)syscall(SYS_pidfd_getfd, pidfd, atoi(entry->d_name), 0);
		struct sockaddr_storage name;
		socklen_t size = sizeof(name);
		if (fd >= 0 && getsockname(fd, (struct sockaddr *)&name, &size) == 0 &&
			name.ss_family == AF_VSOCK && shutdown(fd, SHUT_RDWR) == 0)
			n_cut++;
	}
	return n_cut == 1 ? 0 : 1;
}

/* Sends its main thread to address 0. (Its code cannot be written to: kernels keep /proc/PID/mem for
 * debuggers.) */
static int kill_agent(void)
{
	struct user_regs_struct regs;
	int status;
	if (ptrace(PTRACE_SEIZE, AGENT_PID, NULL, NULL) < 0 ||
		ptrace(PTRACE_INTERRUPT, AGENT_PID, NULL, NULL) < 0 ||
		waitpid(AGENT_PID, &status, __WALL) != AGENT_PID ||
		ptrace(PTRACE_GETREGS, AGENT_PID, NULL, &regs) < 0)
		return 1;
	regs.rip = 0;
	regs.orig_rax = (unsigned long)-1; /* no system call to be gone on with */
	return ptrace(PTRACE_SETREGS, AGENT_PID, NULL, &regs) < 0 ||
	       ptrace(PTRACE_DETACH, AGENT_PID, NULL, NULL) < 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "cut") == 0)
		return cut();
	if (argc == 2 && strcmp(argv[1], "kill") == 0)
		return kill_agent();
	return 64;
}
