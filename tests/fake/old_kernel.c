/* SPDX-License-Identifier: GPL-2.0-only */
/* Linked into a program: a kernel that cannot make a process in a cgroup. SCHEDRIG_OLD_KERNEL is what it says
 * to CLONE_INTO_CGROUP: "ENOSYS" (to any clone3(), Linux 5.2), "E2BIG" (5.4), "EINVAL" (5.6). */
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
	long a[6];
	va_start(args, number);
	for (unsigned i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	int refused = answer(number, (const struct clone_args *)a[0]);
	if (refused) {
		errno = refused;
		return -1;
	}
	long result;
	register long r10 __asm__("r10") = a[3];
	register long r8 __asm__("r8") = a[4];
	register long r9 __asm__("r9") = a[5];
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	if (result >= 0 || result < -4095)
		return result;
	errno = (int)-result;
	return -1;
}
