/* SPDX-License-Identifier: GPL-2.0-only */
/* The keeper (see keeper.h): starts the program, tells how that went and how the program ended, and on
 * SIGTERM (asked, or the agent is dead) kills everything below itself until nothing is left. Runs in a
 * process of one thread that came of a multi-threaded one: async-signal-safe calls only. */
#include "guest/payload/keeper.h"

#include "common/check.h"

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

/* More than the kernel allows in machines of the size that VMs have; the rest goes in the next round. */
#define TREE_MAX 65536
#define TOLD_MAX 16384
/* Rounds of stopping before what is there is killed as it is. */
#define STOP_ROUNDS_MAX 200

static void say(const struct keeper_job *job, enum keeper_word word, int value, const char *call)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	struct keeper_message message = {
		.word = word,
		.value = value,
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

static pid_t clone_program(const struct keeper_job *job)
{
	struct clone_args args = {.exit_signal = SIGCHLD};
	if (job->cgroup_fd >= 0) {
		args.flags = CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)job->cgroup_fd;
	}
	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
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
static pid_t start_program(const struct keeper_job *job)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0) {
		say(job, KEEPER_FAILED, errno, "pipe2");
		_exit(1);
	}
	pid_t pid = clone_program(job);
	if (pid == 0)
		run_program(job, fds[1]);
	int errnum = errno;
	close(fds[1]);
	if (pid < 0) {
		say(job, KEEPER_FAILED, errnum, job->cgroup_fd >= 0 ? "clone into the cgroup" : "clone");
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
		say(job, KEEPER_FAILED, failure.errnum, failure.call);
		waitpid(pid, NULL, 0);
		_exit(1);
	}
	return pid;
}

/* Opens /proc/PID/name, of at most 8 characters. No snprintf here: it is not async-signal-safe. */
static int open_proc(pid_t pid, const char *name, int flags)
{
	char path[40] = "/proc/", digits[12];
	unsigned n = 0, at = 6;
	for (pid_t rest = pid; rest; rest /= 10)
		digits[n++] = (char)('0' + rest % 10);
	while (n)
		path[at++] = digits[--n];
	path[at++] = '/';
	strncpy(path + at, name, sizeof(path) - at - 1);
	return open(path, O_RDONLY | O_CLOEXEC | flags);
}

/* Appends the children of a process; all its threads may have some. */
static unsigned add_children(pid_t pid, pid_t *tree, unsigned count)
{
	char text[4096];
	int dir = open_proc(pid, "task", O_DIRECTORY);
	if (dir < 0)
		return count;
	for (;;) {
		struct dirent64 {
			uint64_t ino;
			int64_t off;
			uint16_t length;
			uint8_t type;
			char name[];
		} * entry;
		_Alignas(8) char entries[2048];
		long got = syscall(SYS_getdents64, dir, entries, sizeof(entries));
		if (got <= 0)
			break;
		for (long where = 0; where < got; where += entry->length) {
			entry = (void *)(entries + where);
			size_t length = strnlen(entry->name, 16);
			if (entry->name[0] < '0' || entry->name[0] > '9' || length >= 16)
				continue;
			char file[32];
			memcpy(file, entry->name, length);
			memcpy(file + length, "/children", 10);
			int fd = openat(dir, file, O_RDONLY | O_CLOEXEC);
			if (fd < 0)
				continue;
			pid_t value = 0;
			ssize_t bytes;
			while ((bytes = read(fd, text, sizeof(text))) > 0)
				for (ssize_t i = 0; i < bytes; i++) {
					if (text[i] >= '0' && text[i] <= '9') {
						value = value * 10 + (text[i] - '0');
					} else {
						if (value && count < TREE_MAX)
							tree[count++] = value;
						value = 0;
					}
				}
			if (value && count < TREE_MAX)
				tree[count++] = value;
			close(fd);
		}
	}
	close(dir);
	return count;
}

static pid_t tree[TREE_MAX];

static unsigned list_tree(void)
{
	unsigned count = add_children(getpid(), tree, 0);
	for (unsigned i = 0; i < count; i++)
		count = add_children(tree[i], tree, count);
	return count;
}

/* A PID by itself may be somebody else's by the next look: those who fork without end use all of them up in
 * seconds. */
struct identity {
	pid_t pid;
	uint64_t start; /* field 22 of /proc/PID/stat */
};

/* Whether the process could still fork, and who it is. */
static bool can_fork(pid_t pid, struct identity *ret)
{
	char text[1024];
	int fd = open_proc(pid, "stat", 0);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	const char *at = strrchr(text, ')'); /* its name may hold anything */
	if (!at || at[1] != ' ')
		return false;
	char state = at[2];
	for (unsigned field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	*ret = (struct identity){.pid = pid};
	for (at = at ? at + 1 : ""; *at >= '0' && *at <= '9'; at++)
		ret->start = ret->start * 10 + (uint64_t)(*at - '0');
	return state != 'T' && state != 't' && state != 'Z' && state != 'X';
}

/* Reaps what has ended; false when there is no child any more. */
static bool reap(const struct keeper_job *job, pid_t program)
{
	for (;;) {
		int status;
		pid_t gone = waitpid(-1, &status, WNOHANG);
		if (gone == program)
			say(job, KEEPER_EXITED, status, NULL);
		if (gone <= 0)
			return gone == 0;
	}
}

/* Who is stopped does not fork. One who multiplies faster than he can be killed is brought to a halt first:
 * each round stops all that are there, until nobody new turns up. What has ended meanwhile is reaped between
 * the rounds, so that it is not looked at again and again. */
static void stop_tree(const struct keeper_job *job, pid_t program)
{
	static struct identity told[TOLD_MAX]; /* by PID; who shares a place is told once more */
	memset(told, 0, sizeof(told));
	bool any = true;
	for (unsigned round = 0; any && round < STOP_ROUNDS_MAX && reap(job, program); round++) {
		unsigned count = list_tree();
		any = false;
		for (unsigned i = 0; i < count; i++) {
			struct identity who, *known = &told[(unsigned)tree[i] % TOLD_MAX];
			if (!can_fork(tree[i], &who) || (known->pid == who.pid && known->start == who.start))
				continue;
			*known = who;
			any = true;
			kill(tree[i], SIGSTOP);
		}
	}
}

static void kill_tree(void)
{
	unsigned count = list_tree();
	/* Their PIDs cannot be others' by now unless a middle one reaped its child just then; parents first,
	 * so that nobody is left to reap. */
	for (unsigned i = 0; i < count; i++)
		kill(tree[i], SIGKILL);
}

/* Each death may hand orphans to this process, so it goes on until nobody is left. */
static void end_tree(const struct keeper_job *job, pid_t program, const sigset_t *wanted)
{
	int signum;
	do {
		stop_tree(job, program);
		kill_tree();
	} while (reap(job, program) && sigwait(wanted, &signum) == 0);
	_exit(0);
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
	pid_t pid = start_program(job);
	close(job->stdout_fd);
	close(job->stderr_fd);
	if (job->cgroup_fd >= 0)
		close(job->cgroup_fd);
	say(job, KEEPER_RUNNING, pid, NULL);
	for (;;) {
		int signum;
		(void)reap(job, pid);
		if (sigwait(&wanted, &signum) == 0 && signum == SIGTERM)
			end_tree(job, pid, &wanted);
	}
}
