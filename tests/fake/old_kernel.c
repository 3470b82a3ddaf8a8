/* SPDX-License-Identifier: GPL-2.0-only */
/* Linked into a program: a kernel that cannot make a process in a cgroup. SCHEDRIG_OLD_KERNEL is what it says
 * to CLONE_INTO_CGROUP: "ENOSYS" (to any clone3(), Linux 5.2), "E2BIG" (5.4), "EINVAL" (5.6). */
#include "tests/fake/raw_syscall.h"

#include <errno.h>
#include <linux/sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int answer(long number, const struct clone_args *args)
{
	const char *kernel = getenv("SCHEDRIG_OLD_KERNEL");
	if (number != SYS_clone3 || !kernel)
		return 0;
	if (strcmp(kernel, "ENOSYS") == 0)
		return ENOSYS;
	if (!(args->flags & CLONE_INTO_CGROUP))
		return 0;
	return strcmp(kernel, "E2BIG") == 0 ? E2BIG : EINVAL;
}

/* Stands in for the C library's function. */
long syscall(long number, ...)
{
	va_list args;
	long a[RAW_SYSCALL_ARGS];
	va_start(args, number);
	raw_syscall_take(args, a);
	va_end(args);
	int refused = answer(number, (const struct clone_args *)a[0]);
	if (refused) {
		errno = refused;
		return -1;
	}
	return raw_syscall(number, a);
}
