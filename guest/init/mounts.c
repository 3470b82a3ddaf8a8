/* SPDX-License-Identifier: GPL-2.0-only */
/* File systems and modules of PID 1 (see init.h). */
#include "common/fd.h"
#include "common/scope.h"
#include "guest/init/init.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
	const char *type, *where, *options;
	unsigned long flags;
	bool vital;
} mounts[] = {
	{"proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, true},
	{"sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, true},
	{"devtmpfs", "/dev", "mode=0755", MS_NOSUID, true},
	{"devpts", "/dev/pts", "mode=0620,ptmxmode=0666", MS_NOSUID | MS_NOEXEC, false},
	{"tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV, false},
	{"tmpfs", "/tmp", "mode=1777", MS_NOSUID | MS_NODEV, true},
	{"tmpfs", "/run", "mode=0755", MS_NOSUID | MS_NODEV, true},
	{"cgroup2", "/sys/fs/cgroup", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, true},
	{"bpf", "/sys/fs/bpf", "mode=0700", MS_NOSUID | MS_NODEV | MS_NOEXEC, false},
	{"debugfs", "/sys/kernel/debug", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, false},
	{"tracefs", "/sys/kernel/tracing", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, false},
};

int init_mount_all(struct err *err)
{
	for (unsigned i = 0; i < ARRAY_SIZE(mounts); i++) {
		/* In sysfs the kernel makes the directory, or it lacks the file system. */
		if (mkdir(mounts[i].where, 0755) < 0 && errno != EEXIST && mounts[i].vital)
			return err_set_os(err, ERR_GUEST_OS, errno, "cannot make %s", mounts[i].where);
		if (mount(mounts[i].type, mounts[i].where, mounts[i].type, mounts[i].flags,
			    mounts[i].options) == 0 ||
			errno == EBUSY || !mounts[i].vital)
			continue;
		return err_set_os(
			err, ERR_GUEST_OS, errno, "cannot mount %s on %s", mounts[i].type, mounts[i].where);
	}
	return 0;
}

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);
	return n >= m && !strcmp(text + n - m, end);
}

/* linux/module.h: the kernel unpacks it (CONFIG_MODULE_DECOMPRESS). */
#ifndef MODULE_INIT_COMPRESSED_FILE
#define MODULE_INIT_COMPRESSED_FILE 4
#endif

static int load_module(const char *path, struct err *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set_os(err, ERR_GUEST_OS, errno, "cannot open module %s", path);
	int flags = ends_with(path, ".ko") ? 0 : MODULE_INIT_COMPRESSED_FILE;
	if (syscall(SYS_finit_module, fd, "", flags) == 0 || errno == EEXIST)
		return 0;
	return err_set_os(err, ERR_GUEST_OS, errno, "cannot load module %s%s", path,
		errno == ENOEXEC  ? " (it is of another kernel)"
		: errno == ENOENT ? " (it lacks a module before it)"
				  : "");
}

int init_load_modules(const char *order_path, struct err *err)
{
	_cleanup_free_ char *order = NULL;
	size_t length;
	if (access(order_path, F_OK) < 0 && errno == ENOENT)
		return 0;
	int r = fd_read_file(order_path, 65536, &order, &length, err);
	char *rest = r < 0 ? NULL : order;
	for (char *line; r == 0 && (line = strsep(&rest, "\n"));)
		if (*line)
			r = load_module(line, err);
	return r;
}
