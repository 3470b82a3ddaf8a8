/* SPDX-License-Identifier: GPL-2.0-only */
/* Killing a tree of processes that may multiply meanwhile (see sweep.h). A walk through the tree costs tens
 * of microseconds a process, so there are few: after the kill none before as many have died as were there.
 * And who multiplies is stopped before he is killed, parents before children: a killed parent hands its
 * children on, a stopped one keeps them where they are found. */
#include "guest/payload/sweep.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* More than the kernel allows in machines of the size that VMs have; the rest goes in the next round. */
#define TREE_MAX 65536
#define TOLD_MAX 16384
/* Rounds of stopping before what is there is killed as it is. */
#define STOP_ROUNDS_MAX 50
/* Nobody has died for so long: a look whether somebody is left who was not seen, and not killed. At least;
 * a walk may take no more than a fifth of the time, and the longer nothing happens the rarer it is. */
#define QUIET_MIN_NS UINT64_C(10000000)
#define QUIET_MAX_NS UINT64_C(1000000000)

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

bool sweep_reap(const struct sweep *sweep, unsigned *ret_count)
{
	for (;;) {
		int status;
		pid_t gone = waitpid(-1, &status, WNOHANG);
		if (gone < 0 && errno == EINTR)
			continue;
		if (gone <= 0)
			return gone == 0;
		sweep->reaped(sweep, gone, status);
		if (ret_count)
			++*ret_count;
	}
}

/* --- who is there --- */

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

static pid_t tree[TREE_MAX];

/* Appends the PIDs of a thread's children file. */
static unsigned add_listed(int fd, unsigned count)
{
	char text[4096];
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
	return count;
}

/* Appends the children of a process; all its threads may have some. */
static unsigned add_children(pid_t pid, unsigned count)
{
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
			count = add_listed(fd, count);
			close(fd);
		}
	}
	close(dir);
	return count;
}

/* A PID by itself may be somebody else's by the next look: those who fork without end use all of them up in
 * seconds. */
struct identity {
	pid_t pid, group;
	uint64_t start; /* field 22 of /proc/PID/stat */
	bool can_fork;
};

/* False: it is gone. */
static bool identify(pid_t pid, struct identity *ret)
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
	uint64_t fields[23] = {0};
	for (unsigned field = 2; at && field < 22; field++) {
		at = strchr(at + 1, ' ');
		for (const char *digit = at ? at + 1 : ""; *digit >= '0' && *digit <= '9'; digit++)
			fields[field + 1] = fields[field + 1] * 10 + (uint64_t)(*digit - '0');
	}
	*ret = (struct identity){.pid = pid,
		.group = (pid_t)fields[5],
		.start = fields[22],
		.can_fork = state != 'T' && state != 't' && state != 'Z' && state != 'X'};
	return true;
}

/* --- what happens to them --- */

/* Whether he was stopped just now: not when he was before, or is gone. */
static bool stop(const struct identity *who)
{
	static struct identity told[TOLD_MAX]; /* by PID; who shares a place is told once more */
	struct identity *known = &told[(unsigned)who->pid % TOLD_MAX];
	if (!who->can_fork || (known->pid == who->pid && known->start == who->start))
		return false;
	*known = *who;
	kill(who->pid, SIGSTOP);
	return true;
}

/* Lists all descendants, kills those of the program's group at one blow, and stops the others, each before
 * his children are asked for. A signal to a process group reaches whoever its members are forking just then,
 * too (the kernel's fork looks for signals to many), so there is no need to look at them again. Their number
 * is the group's as long as a descendant is in it; otherwise it may be anybody's. ret_any: somebody new was
 * stopped. */
static unsigned walk(const struct sweep *sweep, bool *ret_any)
{
	unsigned count = add_children(getpid(), 0);
	bool struck = false;
	*ret_any = false;
	for (unsigned i = 0; i < count; i++) {
		struct identity who;
		if (!identify(tree[i], &who))
			continue; /* what was his is a child of this process now */
		if (who.group != sweep->group)
			*ret_any |= stop(&who);
		else if (!struck)
			struck = kill(-sweep->group, SIGKILL) == 0;
		count = add_children(tree[i], count);
	}
	return count;
}

/* What has ended meanwhile is reaped between the rounds, so that it is not looked at again and again. */
static unsigned strike(const struct sweep *sweep)
{
	unsigned count = 0;
	bool any = true;
	for (unsigned round = 0; any && round < STOP_ROUNDS_MAX && sweep_reap(sweep, NULL); round++)
		count = walk(sweep, &any);
	/* Their PIDs cannot be others' by now unless a middle one reaped its child just then; parents first,
	 * so that nobody is left to reap. */
	for (unsigned i = 0; i < count; i++)
		kill(tree[i], SIGKILL);
	return count;
}

/* Each death may hand orphans to this process. Until more have died than were killed, or nobody for
 * quiet_ns; false when nobody is left. */
static bool await_deaths(const struct sweep *sweep, unsigned killed, uint64_t quiet_ns, bool *ret_any)
{
	struct timespec quiet = {
		.tv_sec = (time_t)(quiet_ns / 1000000000), .tv_nsec = (long)(quiet_ns % 1000000000)};
	unsigned dead = 0;
	sigset_t died;
	sigemptyset(&died);
	sigaddset(&died, SIGCHLD);
	while (sweep_reap(sweep, &dead)) {
		*ret_any |= dead > 0;
		if (dead > killed || (sigtimedwait(&died, NULL, &quiet) < 0 && errno == EAGAIN))
			return true;
	}
	return false;
}

void sweep_all(const struct sweep *sweep)
{
	uint64_t quiet_ns = QUIET_MIN_NS;
	while (sweep_reap(sweep, NULL)) {
		uint64_t begin_ns = now_ns();
		unsigned killed = strike(sweep);
		uint64_t took_ns = now_ns() - begin_ns;
		bool any = false;
		quiet_ns = quiet_ns < took_ns * 4 ? took_ns * 4 : quiet_ns;
		if (!await_deaths(sweep, killed, quiet_ns, &any))
			return;
		quiet_ns = any ? QUIET_MIN_NS : quiet_ns * 2;
		if (quiet_ns > QUIET_MAX_NS)
			quiet_ns = QUIET_MAX_NS;
	}
}
