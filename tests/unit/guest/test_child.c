/* SPDX-License-Identifier: GPL-2.0-only */
/* The registry of children: a clone that takes its time holds nobody up, and an exit that comes before the
 * child is known is not lost. */
#include "common/clock.h"
#include "guest/child/child.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void (*before_clone)(void);
static void (*after_clone)(pid_t pid);

/* Stands in for the C library's function, in this program only. */
long syscall(long number, ...)
{
	va_list args;
	long a[6];
	va_start(args, number);
	for (unsigned i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	if (number == SYS_clone3 && before_clone)
		before_clone();
	long result;
	register long r10 __asm__("r10") = a[3];
	register long r8 __asm__("r8") = a[4];
	register long r9 __asm__("r9") = a[5];
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	if (number == SYS_clone3 && result > 0 && after_clone)
		after_clone((pid_t)result);
	if (result >= 0 || result < -4095)
		return result;
	errno = (int)-result;
	return -1;
}

static void start(struct child *child, int status)
{
	pid_t pid = child_clone(child, -1, NULL);
	if (pid == 0)
		_exit(status);
	cr_assert_gt(pid, 0);
}

static void wait_dead(pid_t pid)
{
	siginfo_t info;
	cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

static void expect_exit(struct child *child, int status)
{
	cr_assert_eq(child_wait(child, clock_deadline_ns(10 * NS_PER_S), NULL), CHILD_EXITED);
	cr_assert(WIFEXITED(child->status));
	cr_assert_eq(WEXITSTATUS(child->status), status);
	child_forget(child);
}

static struct child first, second;
static bool reaped_meanwhile;

static void *reap(void *arg)
{
	child_reap();
	reaped_meanwhile = child_exited(&first);
	return NULL;
}

static void reap_in_thread(void)
{
	pthread_t thread;
	struct timespec limit;
	before_clone = NULL;
	cr_assert_eq(pthread_create(&thread, NULL, reap, NULL), 0);
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += 5;
	if (pthread_timedjoin_np(thread, NULL, &limit))
		pthread_detach(thread);
}

Test(child, a_slow_clone_does_not_hold_up_the_reaper, .timeout = 30)
{
	start(&first, 3);
	wait_dead(first.pid);
	before_clone = reap_in_thread;
	start(&second, 4);
	cr_assert(reaped_meanwhile);
	expect_exit(&first, 3);
	wait_dead(second.pid);
	child_reap();
	expect_exit(&second, 4);
}

static void reap_too_early(pid_t pid)
{
	after_clone = NULL;
	wait_dead(pid);
	reap_in_thread();
}

Test(child, an_exit_before_the_child_is_known_is_not_lost, .timeout = 30)
{
	first.exited = true; /* nobody */
	after_clone = reap_too_early;
	start(&second, 5);
	/* Nobody reaps any more: no further signal would come. */
	expect_exit(&second, 5);
}
