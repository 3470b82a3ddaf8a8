/* SPDX-License-Identifier: GPL-2.0-only */
/* Identities of tasks (see identity.h). */
#include "guest/child/identity.h"

#include "common/fsat.h"
#include "common/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

/* include/uapi/linux/magic.h, include/uapi/linux/pidfd.h (Linux 6.9): newer than the headers of Debian 12. */
#define PID_FS_MAGIC_NUMBER 0x50494446
#define PIDFD_THREAD_FLAG O_EXCL

/* 0: none. Before pidfs all pidfds had one inode of all anonymous files. */
static uint64_t pidfs_inode(pid_t pid)
{
	struct statfs fs;
	struct stat st;
	_cleanup_close_ int fd = (int)syscall(SYS_pidfd_open, pid, PIDFD_THREAD_FLAG);
	if (fd < 0 || fstatfs(fd, &fs) < 0 || fs.f_type != PID_FS_MAGIC_NUMBER || fstat(fd, &st) < 0)
		return 0;
	return st.st_ino;
}

int child_identify(pid_t pid, struct child_identity *ret, struct err *err)
{
	char path[48], stat[1024];
	unsigned long long ticks;
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	int r = (int)fsat_read(AT_FDCWD, path, stat, sizeof(stat));
	if (r < 0)
		return err_set_os(err, ERR_GUEST_OS, -r, "cannot read %s", path);
	/* proc(5): the name may hold anything, and field 22 is the twentieth behind it. */
	const char *at = strrchr(stat, ')');
	for (unsigned field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (!at || sscanf(at, " %llu", &ticks) != 1)
		return err_set(err, ERR_GUEST_OS, "%s has no start time", path);
	ret->start_time_ns = ticks * (1000000000 / (uint64_t)sysconf(_SC_CLK_TCK));
	ret->pidfs_inode = pidfs_inode(pid);
	return 0;
}
