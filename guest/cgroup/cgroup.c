/* SPDX-License-Identifier: GPL-2.0-only */
/* Names, directories, controllers and single knobs of cgroup v2 (see cgroup.h). Any thread. */
#include "guest/cgroup/cgroup.h"

#include "common/fsat.h"
#include "common/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIST_BYTES 512

int cg_name_check(const char *name, struct err *err)
{
	size_t length = strlen(name);
	if (!length)
		return err_set(err, ERR_INVALID_ARGUMENT, "a cgroup's name must not be empty");
	if (length >= CG_NAME_BYTES)
		return err_set(err, ERR_LIMIT_EXCEEDED,
			"a cgroup's name has at most %d bytes, this one has %zu", CG_NAME_BYTES - 1, length);
	for (const char *c = name; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return err_set(err, ERR_INVALID_ARGUMENT,
				"a cgroup's name must not have control characters (byte %zu)",
				(size_t)(c - name));
	if (*name == '/')
		return err_set(err, ERR_INVALID_ARGUMENT,
			"cgroup name `%s` must be relative (it begins with /)", name);
	for (const char *part = name; part;) {
		size_t n = strcspn(part, "/");
		if (n == 0)
			return err_set(
				err, ERR_INVALID_ARGUMENT, "cgroup name `%s` has an empty component", name);
		if ((n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.'))
			return err_set(err, ERR_INVALID_ARGUMENT,
				"cgroup name `%s` must not have `.` or `..`", name);
		/* Its knobs and its children share one directory: the kernel would refuse the mkdir with
		 * a bare EEXIST or EINVAL. */
		if (!strncmp(part, "cgroup.", 7))
			return err_set(err, ERR_INVALID_ARGUMENT,
				"cgroup name `%s`: names beginning with `cgroup.` belong to the kernel",
				name);
		part = part[n] ? part + n + 1 : NULL;
	}
	return 0;
}

static int open_dir(int root_fd, const char *path)
{
	return openat(root_fd, *path ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

int cg_open(int root_fd, const char *path, int *ret_fd, struct err *err)
{
	int fd = open_dir(root_fd, path);
	if (fd < 0 && errno == ENOENT)
		return err_set(err, ERR_NOT_FOUND, "there is no cgroup directory `%s`", path);
	if (fd < 0)
		return err_set_os(err, ERR_GUEST_OS, errno, "cannot open cgroup `%s`", path);
	*ret_fd = fd;
	return 0;
}

int cg_create(int root_fd, const char *path, int *ret_fd, bool *ret_existed, struct err *err)
{
	char part[CG_PATH_BYTES];
	bool existed = false;
	size_t length = strlen(path);
	if (length >= sizeof(part))
		return err_set(err, ERR_LIMIT_EXCEEDED, "cgroup path `%s` is too long", path);
	for (size_t end = 0; end < length;) {
		end += strcspn(path + end + (path[end] == '/'), "/") + (path[end] == '/');
		memcpy(part, path, end);
		part[end] = '\0';
		existed = false;
		if (mkdirat(root_fd, part, 0755) < 0) {
			existed = errno == EEXIST;
			if (!existed)
				return err_set_os(err, ERR_GUEST_OS, errno, "cannot make cgroup `%s`%s", part,
					errno == EAGAIN
						? " (cgroup.max.descendants or cgroup.max.depth above it)"
						: "");
		}
	}
	if (ret_existed)
		*ret_existed = existed;
	return cg_open(root_fd, path, ret_fd, err);
}

static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);
	for (const char *at = list; (at = strstr(at, word)); at += n)
		if ((at == list || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0'))
			return true;
	return false;
}

static int need_at(int fd, const char *level, const char *controller, struct err *err)
{
	char list[LIST_BYTES], value[64];
	if (cg_read(fd, level, "cgroup.subtree_control", list, sizeof(list), err) < 0)
		return err_errno(err ? err->code : ERR_GUEST_OS);
	if (has_word(list, controller))
		return 0;
	char have[LIST_BYTES];
	if (cg_read(fd, level, "cgroup.controllers", have, sizeof(have), err) < 0)
		return err_errno(err ? err->code : ERR_GUEST_OS);
	if (!has_word(have, controller))
		return err_set(err, ERR_UNSUPPORTED,
			"controller %s is not available in `%s` (cgroup.controllers is '%s'): the kernel "
			"lacks it, "
			"or it is in use by cgroup v1",
			controller, level, have);
	snprintf(value, sizeof(value), "+%s", controller);
	int r = fsat_write(fd, "cgroup.subtree_control", value);
	if (r == -EBUSY)
		return err_set_os(err, ERR_FAILED_PRECONDITION, EBUSY,
			"cannot enable controller %s for the children of `%s`: it has processes of its own, "
			"and a "
			"cgroup with processes cannot give controllers to children; put its workers into a "
			"child",
			controller, level);
	if (r < 0)
		return err_set_os(err, ERR_GUEST_OS, -r,
			"cannot write '%s' to cgroup.subtree_control of `%s`", value, level);
	return 0;
}

int cg_need(int root_fd, const char *path, const char *controller, struct err *err)
{
	char level[CG_PATH_BYTES];
	size_t length = strlen(path);
	if (length >= sizeof(level))
		return err_set(err, ERR_LIMIT_EXCEEDED, "cgroup path `%s` is too long", path);
	/* "a/b": the root, then "a"; b itself is where the files appear. */
	for (size_t end = 0;;) {
		memcpy(level, path, end);
		level[end] = '\0';
		_cleanup_close_ int fd = -1;
		int r = cg_open(root_fd, level, &fd, err);
		if (r == 0)
			r = need_at(fd, end ? level : "/", controller, err);
		if (r < 0)
			return r;
		size_t next = end + (end > 0);
		next += strcspn(path + next, "/");
		if (path[next] != '/')
			return 0;
		end = next;
	}
}

bool cg_has(int fd, const char *file)
{
	return faccessat(fd, file, F_OK, 0) == 0;
}

static const char *controller_of(const char *file, char *buffer, size_t size)
{
	snprintf(buffer, size, "%.*s", (int)strcspn(file, "."), file);
	return buffer;
}

static const char *advice(const char *file, int errnum)
{
	if (!strncmp(file, "cpuset.", 7)) {
		if (errnum == EINVAL || errnum == EACCES)
			return " (the numbers must exist on this machine)";
		if (errnum == ENOSPC)
			return " (it has tasks, and would be left without any)";
		if (errnum == ERANGE)
			return " (the list is not one of numbers and ranges)";
		if (errnum == EBUSY)
			return " (a sibling holds them exclusively, or a task with policy deadline would "
			       "lose its "
			       "bandwidth)";
	}
	if (!strncmp(file, "cpu.", 4) && errnum == EINVAL)
		return " (a quota is at least 1 ms, a period 1 ms to 1 s, a weight 1 to 10000, and a "
		       "parent's limit "
		       "bounds its children)";
	if (!strncmp(file, "cpu.uclamp.", 11) && (errnum == ERANGE || errnum == EINVAL))
		return " (a clamp is 0 to 100 per cent)";
	if (!strncmp(file, "memory.", 7) && errnum == EBUSY)
		return " (more is in use than could be reclaimed)";
	if (!strncmp(file, "pids.", 5) && errnum == EINVAL)
		return " (a limit is 1 to 4194304, or max)";
	if (!strcmp(file, "io.max") && errnum == ENODEV)
		return " (there is no such block device in the VM; partitions cannot be limited, their disk "
		       "can)";
	if (!strcmp(file, "io.max") && (errnum == EINVAL || errnum == ERANGE))
		return " (a device is MAJOR:MINOR, a limit is above 0)";
	if (!strcmp(file, "io.weight") && errnum == ERANGE)
		return " (a weight is 1 to 10000)";
	if (!strcmp(file, "io.weight") && errnum == EOPNOTSUPP)
		return " (no I/O scheduler here weighs cgroups)";
	if (errnum == EBUSY)
		return " (the cgroup or one of its parents is in use in a way that excludes this)";
	return "";
}

int cg_write(int fd, const char *name, const char *file, const char *value, struct err *err)
{
	int r = fsat_write(fd, file, value);
	if (r >= 0)
		return 0;
	if (r == -ENOENT) {
		char controller[32], have[LIST_BYTES] = "";
		controller_of(file, controller, sizeof(controller));
		(void)!fsat_read(fd, "cgroup.controllers", have, sizeof(have));
		if (!has_word(have, controller))
			return err_set_os(err, ERR_UNSUPPORTED, ENOENT,
				"cannot set %s of `%s` to '%s': controller %s is not enabled there "
				"(cgroup.controllers is '%s')",
				file, name, value, controller, have);
		return err_set_os(err, ERR_UNSUPPORTED, ENOENT,
			"cannot set %s of `%s` to '%s': this kernel has no such knob", file, name, value);
	}
	err_set_os(err, ERR_GUEST_OS, -r, "cannot write '%s' to %s of `%s`%s", value, file, name,
		advice(file, -r));
	return err_errno(ERR_GUEST_OS);
}

int cg_read(int fd, const char *name, const char *file, char *buffer, size_t size, struct err *err)
{
	ssize_t n = fsat_read(fd, file, buffer, size);
	if (n >= 0)
		return 0;
	return err_set_os(err, n == -ENOENT ? ERR_UNSUPPORTED : ERR_GUEST_OS, (int)-n,
		"cannot read %s of `%s`", file, name);
}

int cg_attach(int fd, const char *name, pid_t pid, struct err *err)
{
	char value[16];
	snprintf(value, sizeof(value), "%d", pid);
	int r = fsat_write(fd, "cgroup.procs", value);
	if (r >= 0)
		return 0;
	/* A scheduler's veto may have that errno, too. */
	char list[LIST_BYTES];
	if (r == -EBUSY && *cg_for_children(fd, list, sizeof(list)))
		return err_set_os(err, ERR_FAILED_PRECONDITION, EBUSY,
			"cannot move process %d to `%s`: it has controllers enabled for its children", pid,
			name);
	return err_set_os(err, ERR_GUEST_OS, -r, "cannot move process %d to `%s`", pid, name);
}
