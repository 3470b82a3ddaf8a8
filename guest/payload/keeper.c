/* SPDX-License-Identifier: GPL-2.0-only */
/* The keeper (see keeper.h): starts the program, tells how that went and how the program ended, and on
 * SIGTERM (asked, or the agent is dead) kills everything below itself until nothing is left. Runs in a
 * process of one thread that came of a multi-threaded one: async-signal-safe calls only. */
#include "guest/payload/keeper.h"

#include "common/check.h"
#include "guest/child/place.h"
#include "guest/payload/sweep.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void say(const struct keeper_job *job, enum keeper_word word, int value, bool moved, const char *call)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	struct keeper_message message = {
		.word = word,
		.value = value,
		.moved = moved,
		.at_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec,
	};
	if (call)
		strncpy(message.call, call, sizeof(message.call) - 1);
	(void)!send(job->say_fd, &message, sizeof(message), MSG_NOSIGNAL);
}

/* Makes fd `to`, surviving exec. */
static int put_fd(int fd, int to)
{
	if (fd == to)
		return fcntl(fd, F_SETFD, 0);
	return dup2(fd, to);
}

struct exec_failure {
	int errnum;
	char call[24];
};

/* In the program's process, before exec. */
static void run_program(const struct keeper_job *job, int failure_fd)
{
	struct exec_failure failure = {0};
	const char *call = "open(/dev/null)";
	int null = open("/dev/null", O_RDWR);
	sigset_t none;
	sigemptyset(&none);
	if (null >= 0) {
		call = "dup2";
		if (put_fd(null, 0) >= 0 && put_fd(job->stdout_fd, 1) >= 0 &&
			put_fd(job->stderr_fd, 2) >= 0) {
			struct sigaction standard = {.sa_handler = SIG_DFL};
			for (int signum = 1; signum < NSIG; signum++)
				sigaction(signum, &standard, NULL);
			sigprocmask(SIG_SETMASK, &none, NULL);
			call = "setpgid";
			if (setpgid(0, 0) == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0) {
				syscall(SYS_close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC);
				call = "execve";
				execve(job->path, job->argv, job->envp);
			}
		}
	}
	failure.errnum = errno;
	strncpy(failure.call, call, sizeof(failure.call) - 1);
	(void)!write(failure_fd, &failure, sizeof(failure));
	_exit(127);
}

/* Until the exec has happened or failed. A program that does not come to it (its cgroup is frozen) must not
 * keep the keeper from ending when asked: it is killed, which closes its end of the pipe, too. The signal
 * stays pending for keeper_main(). */
static void wait_outcome(int fd, pid_t pid)
{
	sigset_t term;
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	int signals = signalfd(-1, &term, SFD_CLOEXEC);
	struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
	while (poll(fds, 2, -1) < 0 || !fds[0].revents) {
		if (!fds[1].revents)
			continue;
		kill(pid, SIGKILL);
		fds[1].fd = -1;
	}
	if (signals >= 0)
		close(signals);
}

/* The program's PID once it has been executed; otherwise says why not and ends. */
static pid_t start_program(const struct keeper_job *job, bool *ret_moved)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0) {
		say(job, KEEPER_FAILED, errno, false, "pipe2");
		_exit(1);
	}
	struct place place;
	pid_t pid = place_clone(job->cgroup_fd, &place);
	if (pid == 0)
		run_program(job, fds[1]);
	int errnum = errno;
	close(fds[1]);
	if (pid < 0) {
		say(job, KEEPER_FAILED, errnum, false, place.call);
		_exit(1);
	}
	/* End of file: the exec has closed it. */
	struct exec_failure failure;
	ssize_t n;
	wait_outcome(fds[0], pid);
	do
		n = read(fds[0], &failure, sizeof(failure));
	while (n < 0 && errno == EINTR);
	close(fds[0]);
	if (n == sizeof(failure)) {
		failure.call[sizeof(failure.call) - 1] = '\0';
		say(job, KEEPER_FAILED, failure.errnum, false, failure.call);
		waitpid(pid, NULL, 0);
		_exit(1);
	}
	*ret_moved = place.moved;
	return pid;
}

static void told(const struct sweep *sweep, pid_t pid, int status)
{
	if (pid == sweep->group)
		say(sweep->arg, KEEPER_EXITED, status, false, NULL);
}

/* All but the standard streams and what the job names. */
static void close_others(const struct keeper_job *job)
{
	const int kept[] = {job->cgroup_fd, job->say_fd, job->stdout_fd, job->stderr_fd};
	unsigned from = 3;
	for (;;) {
		unsigned next = ~0u;
		for (unsigned i = 0; i < ARRAY_SIZE(kept); i++)
			if (kept[i] >= 0 && (unsigned)kept[i] >= from)
				next = MIN_OF(next, (unsigned)kept[i]);
		if (next > from)
			syscall(SYS_close_range, from, next == ~0u ? next : next - 1, 0);
		if (next == ~0u)
			return;
		from = next + 1;
	}
}

void keeper_main(const struct keeper_job *job)
{
	sigset_t wanted;
	sigfillset(&wanted);
	sigprocmask(SIG_SETMASK, &wanted, NULL);
	sigemptyset(&wanted);
	sigaddset(&wanted, SIGCHLD);
	sigaddset(&wanted, SIGTERM);
	prctl(PR_SET_NAME, "schedrig-keeper");
	/* A parent-death signal that can be acted upon: the program's tree must not outlive the agent. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != job->parent)
		_exit(1);
	setpgid(0, 0);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (job->realtime) {
		struct sched_param highest = {.sched_priority = 99};
		sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &highest);
	}
	close_others(job);
	bool moved;
	pid_t pid = start_program(job, &moved);
	close(job->stdout_fd);
	close(job->stderr_fd);
	if (job->cgroup_fd >= 0)
		close(job->cgroup_fd);
	say(job, KEEPER_RUNNING, pid, moved, NULL);
	struct sweep sweep = {.group = pid, .reaped = told, .arg = job};
	for (int signum = 0; signum != SIGTERM;) {
		(void)sweep_reap(&sweep, NULL);
		(void)!sigwait(&wanted, &signum);
	}
	sweep_all(&sweep);
	_exit(0);
}
