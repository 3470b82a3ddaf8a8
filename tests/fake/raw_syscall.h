/* SPDX-License-Identifier: GPL-2.0-only */
/* For programs that put a syscall() of their own in the place of the C library's: the arguments, and the call
 * itself. No state, any thread; async-signal-safe. */
#ifndef TESTS_FAKE_RAW_SYSCALL_H
#define TESTS_FAKE_RAW_SYSCALL_H

#include <errno.h>
#include <stdarg.h>

#define RAW_SYSCALL_ARGS 6u

/* However many were given, as the C library's does. */
static inline void raw_syscall_take(va_list from, long a[RAW_SYSCALL_ARGS])
{
	for (unsigned i = 0; i < RAW_SYSCALL_ARGS; i++)
		a[i] = va_arg(from, long);
}

/* As syscall(2) returns: -1 and errno. The convention is that of the kernel's arch/x86/entry/entry_64.S. */
static inline long raw_syscall(long number, const long a[RAW_SYSCALL_ARGS])
{
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

#endif
