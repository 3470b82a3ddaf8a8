/* SPDX-License-Identifier: GPL-2.0-only */
/* Waiting for cgroup.events, listing tasks, removal (see cgroup.h). Any thread. */
#include "guest/cgroup/cgroup.h"

#include "common/check.h"
#include "common/clock.h"
#include "common/fsat.h"
#include "common/scope.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIST_MAX_BYTES (4u * 1024 * 1024)
#define DEPTH_MAX 64

/* The number behind "key " in an events file, or -1. */
static int events_value(const char *text, const char *key)
{
	size_t n = strlen(key);
	for (const char *line = text; line && *line;) {
		if (!strncmp(line, key, n) && line[n] == ' ')
			return atoi(line + n + 1);
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return -1;
}

int cg_wait_event(int fd, const char *name, const char *key, int value, uint64_t deadline_ns, int cancel_fd,
	struct err *err)
{
	_cleanup_close_ int events = openat(fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
	if (events < 0)
		return err_set_os(err, ERR_GUEST_OS, errno, "cannot open cgroup.events of `%s`", name);
	for (;;) {
		char text[256];
		/* The read re-arms POLLPRI (kernfs counts notifications per open file), so a change between
		 * it and poll() is not lost. */
		ssize_t n = pread(events, text, sizeof(text) - 1, 0);
		if (n < 0)
			return err_set_os(err, errno == ENODEV ? ERR_NOT_FOUND : ERR_GUEST_OS, errno,
				"cannot read cgroup.events of `%s`", name);
		text[n] = '\0';
		if (events_value(text, key) == value)
			return CG_WAIT_DONE;
		if (!clock_left_ns(deadline_ns))
			return CG_WAIT_TIMEOUT;
		struct pollfd fds[2] = {
			{.fd = events, .events = POLLPRI}, {.fd = cancel_fd, .events = POLLIN}};
		if (poll(fds, 2, clock_poll_ms(deadline_ns)) < 0 && errno != EINTR)
			return err_set_os(
				err, ERR_GUEST_OS, errno, "cannot wait for cgroup.events of `%s`", name);
		if (fds[1].revents)
			return CG_WAIT_CANCELLED;
	}
}

static int compare_ids(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;
	return (x > y) - (x < y);
}

struct id_list {
	pid_t *ids;
	size_t count, size;
};

static int id_add(struct id_list *list, pid_t id)
{
	if (list->count == list->size) {
		size_t size = list->size ? list->size * 2 : 64;
		pid_t *ids = realloc(list->ids, size * sizeof(*ids));
		if (!ids)
			return -ENOMEM;
		list->ids = ids;
		list->size = size;
	}
	list->ids[list->count++] = id;
	return 0;
}

/* 0: it has ended. */
static pid_t process_of(pid_t tid)
{
	char path[40], text[1024];
	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	ssize_t n = fsat_read(AT_FDCWD, path, text, sizeof(text));
	if (n < 0 && n != -E2BIG)
		return 0;
	text[sizeof(text) - 1] = '\0';
	const char *line = strstr(text, "\nTgid:");
	return line ? (pid_t)strtol(line + 6, NULL, 10) : 0;
}

static int list_one(int fd, const char *file, struct id_list *list)
{
	_cleanup_free_ char *text = NULL;
	size_t length;
	int r = fsat_read_all(fd, file, LIST_MAX_BYTES, &text, &length);
	/* A threaded cgroup, as any program can make of its own, has threads and lists no processes. */
	bool threaded = r == -EOPNOTSUPP && strcmp(file, "cgroup.procs") == 0;
	if (threaded)
		r = fsat_read_all(fd, "cgroup.threads", LIST_MAX_BYTES, &text, &length);
	if (r < 0)
		return r;
	for (char *at = text; *at && r == 0;) {
		char *end;
		long id = strtol(at, &end, 10);
		if (end == at)
			break;
		if (threaded && id > 0)
			id = process_of((pid_t)id);
		/* 0 stands for a task of another PID namespace: nothing that anybody here could use. */
		if (id > 0)
			r = id_add(list, (pid_t)id);
		at = end + strspn(end, "\n");
	}
	return r;
}

/* Calls fn for every child directory of fd. */
static int each_child(
	int fd, int depth, int (*fn)(int parent_fd, const char *child, int depth, void *arg), void *arg)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (copy < 0)
		return -errno;
	DIR *dir = fdopendir(copy);
	if (!dir) {
		int r = -errno;
		close(copy);
		return r;
	}
	int r = depth >= DEPTH_MAX ? -ELOOP : 0;
	for (struct dirent *entry; r == 0 && (entry = readdir(dir));)
		if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
			r = fn(fd, entry->d_name, depth + 1, arg);
	closedir(dir);
	return r;
}

struct list_job {
	struct id_list *list;
	const char *file;
};

static int list_child(int parent_fd, const char *child, int depth, void *arg)
{
	struct list_job *job = arg;
	_cleanup_close_ int fd = openat(parent_fd, child, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	int r = list_one(fd, job->file, job->list);
	return r < 0 ? r : each_child(fd, depth, list_child, job);
}

int cg_list(int fd, const char *name, bool threads, bool recursive, pid_t **ret_ids, size_t *ret_count,
	struct err *err)
{
	struct id_list list = {0};
	struct list_job job = {&list, threads ? "cgroup.threads" : "cgroup.procs"};
	int r = list_one(fd, job.file, &list);
	if (r == 0 && recursive)
		r = each_child(fd, 0, list_child, &job);
	if (r < 0) {
		free(list.ids);
		return err_set_os(err, r == -ENODEV ? ERR_NOT_FOUND : ERR_GUEST_OS, -r,
			"cannot read %s of `%s`", job.file, name);
	}
	if (list.count)
		qsort(list.ids, list.count, sizeof(*list.ids), compare_ids);
	/* A process may have threads in several. */
	size_t kept = 0;
	for (size_t i = 0; i < list.count; i++)
		if (!kept || list.ids[kept - 1] != list.ids[i])
			list.ids[kept++] = list.ids[i];
	list.count = kept;
	*ret_ids = list.ids;
	*ret_count = list.count;
	return 0;
}

/* The freezer's tasks look asleep like any other: only what they wait in tells them. */
static bool is_frozen(pid_t tid, char state)
{
	static const char *const places[] = {
		"do_freezer_trap", "get_signal", "ptrace_stop", "do_signal_stop"};
	char path[64], wchan[64];
	snprintf(path, sizeof(path), "/proc/%d/wchan", tid);
	if (state == 'R' || state == 'D' || fsat_read(AT_FDCWD, path, wchan, sizeof(wchan)) < 0)
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++)
		if (!strcmp(wchan, places[i]))
			return true;
	return false;
}

void cg_describe_tasks(int fd, const char *name, bool unfrozen, char *buffer, size_t size)
{
	_cleanup_free_ pid_t *ids = NULL;
	size_t count = 0, at = 0, told = 0;
	struct err err = ERR_INIT;
	buffer[0] = '\0';
	if (cg_list(fd, name, true, true, &ids, &count, &err) < 0)
		return;
	for (size_t i = 0; i < count && at < size; i++) {
		char path[64], text[256];
		snprintf(path, sizeof(path), "/proc/%d/stat", ids[i]);
		/* The beginning is enough, and all that fits. */
		ssize_t n = fsat_read(AT_FDCWD, path, text, sizeof(text));
		if (n < 0 && n != -E2BIG)
			continue;
		text[sizeof(text) - 1] = '\0';
		char *open = strchr(text, '('), *close = strrchr(text, ')');
		if (!open || !close || close < open || close[1] != ' ')
			continue;
		*close = '\0';
		if (unfrozen && is_frozen(ids[i], close[2]))
			continue;
		if (told++ < 8)
			at += (size_t)snprintf(buffer + at, size - at, "%s%d (%s, state %c)", at ? ", " : "",
				ids[i], open + 1, close[2]);
	}
	if (told > 8 && at < size)
		snprintf(buffer + at, size - at, " and %zu more", told - 8);
}

static int remove_child(int parent_fd, const char *child, int depth, void *arg)
{
	_cleanup_close_ int fd = openat(parent_fd, child, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	int r = each_child(fd, depth, remove_child, arg);
	if (r < 0)
		return r;
	return unlinkat(parent_fd, child, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

static void kill_tasks(int fd, const pid_t *ids, size_t count)
{
	/* cgroup.kill also gets those that fork meanwhile (5.14 and newer). */
	if (fsat_write(fd, "cgroup.kill", "1") >= 0)
		return;
	for (size_t i = 0; i < count; i++)
		kill(ids[i], SIGKILL);
}

/* Again while there are new ones: what is moved may have forked just before. */
static int clear_tasks(
	int fd, const char *path, int stray_fd, uint64_t deadline_ns, unsigned *ret_strays, struct err *err)
{
	do {
		_cleanup_free_ pid_t *ids = NULL;
		size_t count, gone = 0;
		int r = cg_list(fd, path, false, true, &ids, &count, err);
		if (r < 0 || !count)
			return r;
		if (stray_fd < 0) {
			*ret_strays += (unsigned)count;
			kill_tasks(fd, ids, count);
			return 0;
		}
		for (size_t i = 0; i < count; i++) {
			struct err moved = ERR_INIT;
			if (cg_attach(stray_fd, "the runner cgroup", ids[i], &moved) == 0) {
				++*ret_strays;
			} else if (moved.os_errno == ESRCH) {
				gone++;
			} else {
				if (err)
					*err = moved;
				return err_wrap(err, "cannot empty `%s`", path);
			}
		}
		/* Only what is ending already: its notification is waited for. */
		if (gone == count)
			return 0;
	} while (clock_left_ns(deadline_ns));
	return 0;
}

int cg_remove(int root_fd, const char *path, int stray_fd, uint64_t deadline_ns, unsigned *ret_strays,
	struct err *err)
{
	unsigned strays = 0;
	_cleanup_close_ int fd = -1;
	int r = cg_open(root_fd, path, &fd, err);
	if (r < 0)
		return r;
	/* A frozen task does not get out of the way of anything but a kill. */
	if (cg_has(fd, "cgroup.freeze"))
		r = cg_write(fd, path, "cgroup.freeze", "0", err);
	if (r == 0)
		r = clear_tasks(fd, path, stray_fd, deadline_ns, &strays, err);
	if (r < 0)
		return r;
	r = cg_wait_event(fd, path, "populated", 0, deadline_ns, -1, err);
	if (r < 0)
		return r;
	if (r == CG_WAIT_TIMEOUT) {
		char tasks[400];
		cg_describe_tasks(fd, path, false, tasks, sizeof(tasks));
		return err_set(err, ERR_TIMEOUT, "cannot remove cgroup `%s`: tasks did not leave it: %s",
			path, tasks);
	}
	r = each_child(fd, 0, remove_child, NULL);
	if (r == 0 && unlinkat(root_fd, path, AT_REMOVEDIR) < 0 && errno != ENOENT)
		r = -errno;
	if (r < 0)
		return err_set_os(err, ERR_GUEST_OS, -r, "cannot remove cgroup `%s`", path);
	if (ret_strays)
		*ret_strays = strays;
	return 0;
}
