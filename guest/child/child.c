/* SPDX-License-Identifier: GPL-2.0-only */
/* The registry of children (see child.h). One lock for the list and every child's state. */
#include "guest/child/child.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/scope.h"
#include "guest/child/place.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* CLOCK_MONOTONIC */
	struct child *first;
	unsigned cloning; /* clones whose child may be there already and is not in the list yet */
	bool reap_due;    /* somebody unknown was left to be reaped when they are */
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER};
static pthread_once_t registry_once = PTHREAD_ONCE_INIT;

static void registry_init(void)
{
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&registry.changed, &attr);
	pthread_condattr_destroy(&attr);
}

int cancel_init(struct cancel *cancel, struct err *err)
{
	pthread_once(&registry_once, registry_init);
	atomic_init(&cancel->asked, false);
	cancel->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return cancel->fd < 0 ? err_set_os(err, ERR_GUEST_OS, errno, "cannot make an eventfd") : 0;
}

void cancel_deinit(struct cancel *cancel)
{
	fd_close(&cancel->fd);
}

void cancel_ask(struct cancel *cancel)
{
	/* Under the lock: a waiter that has just looked at `asked` must not miss the wake-up. */
	SCOPE_LOCK(&registry.lock);
	atomic_store(&cancel->asked, true);
	(void)!eventfd_write(cancel->fd, 1);
	pthread_cond_broadcast(&registry.changed);
}

void cancel_reset(struct cancel *cancel)
{
	eventfd_t value;
	atomic_store(&cancel->asked, false);
	(void)!eventfd_read(cancel->fd, &value);
}

static struct child *find_live(pid_t pid)
{
	struct child *child = registry.first;
	while (child && (child->pid != pid || child->exited))
		child = child->next;
	return child;
}

/* With the lock held. */
static void reap_locked(void)
{
	bool any = false;
	registry.reap_due = false;
	for (;;) {
		siginfo_t info = {0};
		int status;
		/* A look first: a zombie keeps its PID until it is known whose it is. */
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || !info.si_pid)
			break;
		struct child *child = find_live(info.si_pid);
		if (!child && registry.cloning) {
			registry.reap_due = true;
			break;
		}
		if (waitpid(info.si_pid, &status, WNOHANG) != info.si_pid)
			break;
		if (!child)
			continue;
		child->exited = true;
		child->status = status;
		child->end_ns = clock_now_ns();
		if (child->on_exit)
			child->on_exit(child);
		any = true;
	}
	if (any)
		pthread_cond_broadcast(&registry.changed);
}

static pid_t make_child(struct child *child, bool by_fork, int cgroup_fd, struct err *err)
{
	pthread_once(&registry_once, registry_init);
	struct place place = {.call = "fork"};
	/* All signals are blocked over the clone: the child must not run a handler of the parent's. */
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	/* Not the lock over the clone: it waits for whoever changes cgroups, and copies much memory, while
	 * the loop (reaping) and the heartbeat (counting) want the lock. The reaper leaves strangers alone
	 * instead. */
	child->exited = false;
	pthread_mutex_lock(&registry.lock);
	registry.cloning++;
	pthread_mutex_unlock(&registry.lock);
	pid_t pid = by_fork ? fork() : place_clone(cgroup_fd, &place);
	int errnum = errno;
	if (pid == 0)
		return 0; /* its signals stay blocked, and its copy of the lock is anybody's: nobody there
			   * takes it
			   */
	pthread_mutex_lock(&registry.lock);
	registry.cloning--;
	if (pid > 0) {
		child->pid = pid;
		child->moved = place.moved;
		child->next = registry.first;
		registry.first = child;
	}
	if (registry.reap_due)
		reap_locked();
	pthread_mutex_unlock(&registry.lock);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (pid > 0)
		return pid;
	return err_set_os(err, ERR_GUEST_OS, errnum, "cannot start a process: %s failed%s", place.call,
		errnum == EAGAIN  ? " (pids.max of its cgroup or the system's limit)"
		: errnum == EBUSY ? " (its cgroup has controllers enabled for children: a cgroup has either "
				    "those or processes)"
				  : "");
}

pid_t child_clone(struct child *child, int cgroup_fd, struct err *err)
{
	return make_child(child, false, cgroup_fd, err);
}

pid_t child_fork(struct child *child, struct err *err)
{
	return make_child(child, true, -1, err);
}

/* With the lock held. */
static void unlist(const struct child *child)
{
	for (struct child **at = &registry.first; *at; at = &(*at)->next)
		if (*at == child) {
			*at = child->next;
			return;
		}
}

void child_forget(struct child *child)
{
	SCOPE_LOCK(&registry.lock);
	assert(child->exited);
	unlist(child);
}

void child_abandon(struct child *child)
{
	SCOPE_LOCK(&registry.lock);
	unlist(child);
}

static size_t read_file(pid_t pid, const char *name, char *buffer, size_t size)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buffer, size - 1);
	fd_close(&fd);
	buffer[n > 0 ? n : 0] = '\0';
	return n > 0 ? (size_t)n : 0;
}

const char *child_state_text(pid_t pid, char *buffer, size_t size)
{
	char status[1024], where[64], *state;
	read_file(pid, "status", status, sizeof(status));
	read_file(pid, "wchan", where, sizeof(where));
	state = strstr(status, "\nState:\t");
	if (!state) {
		snprintf(buffer, size, "gone by now");
		return buffer;
	}
	state += strlen("\nState:\t");
	state[strcspn(state, "\n")] = '\0';
	snprintf(buffer, size, "state %s%s%s", state, *where && *where != '0' ? ", in " : "",
		*where && *where != '0' ? where : "");
	return buffer;
}

void child_silence(struct child *child)
{
	SCOPE_LOCK(&registry.lock);
	child->on_exit = NULL;
}

bool child_kill(struct child *child, int signum)
{
	SCOPE_LOCK(&registry.lock);
	if (child->exited)
		return false;
	kill(child->pid, signum);
	return true;
}

bool child_kill_thread(struct child *child, pid_t tid, int signum)
{
	SCOPE_LOCK(&registry.lock);
	if (child->exited)
		return false;
	return syscall(SYS_tgkill, child->pid, tid, signum) == 0;
}

bool child_exited(const struct child *child)
{
	SCOPE_LOCK(&registry.lock);
	return child->exited;
}

enum child_wait child_wait(struct child *child, uint64_t deadline_ns, struct cancel *cancel)
{
	SCOPE_LOCK(&registry.lock);
	while (!child->exited) {
		if (cancel && atomic_load(&cancel->asked))
			return CHILD_CANCELLED;
		if (!clock_left_ns(deadline_ns))
			return CHILD_TIMEOUT;
		if (deadline_ns == CLOCK_NEVER_NS) {
			pthread_cond_wait(&registry.changed, &registry.lock);
		} else {
			struct timespec until = clock_timespec(deadline_ns);
			pthread_cond_timedwait(&registry.changed, &registry.lock, &until);
		}
	}
	return CHILD_EXITED;
}

void child_reap(void)
{
	pthread_once(&registry_once, registry_init);
	SCOPE_LOCK(&registry.lock);
	reap_locked();
}

const char *child_status_text(int status, char *buffer, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(buffer, size, "signal %d", WTERMSIG(status));
	else
		snprintf(buffer, size, "exited %d", WEXITSTATUS(status));
	return buffer;
}
