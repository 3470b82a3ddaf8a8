/* SPDX-License-Identifier: GPL-2.0-only */
/* The registry of children: a clone that takes its time holds nobody up, and an exit that comes before the
 * child is known is not lost. */
#include "common/clock.h"
#include "guest/child/child.h"
#include "tests/fake/raw_syscall.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int refuse_into, refuse_clone3; /* errno of clone3() with CLONE_INTO_CGROUP; of any clone3() */
static void (*before_clone)(void);
static void (*after_clone)(pid_t pid);

/* Stands in for the C library's function, in this program only. */
long syscall(long number, ...)
{
	va_list args;
	long a[RAW_SYSCALL_ARGS];
	va_start(args, number);
	raw_syscall_take(args, a);
	va_end(args);
	if (number == SYS_clone3 &&
		(refuse_clone3 || (refuse_into && ((struct clone_args *)a[0])->flags & CLONE_INTO_CGROUP))) {
		errno = refuse_clone3 ? refuse_clone3 : refuse_into;
		return -1;
	}
	if (number == SYS_clone3 && before_clone)
		before_clone();
	long result = raw_syscall(number, a);
	if (number == SYS_clone3 && result > 0 && after_clone)
		after_clone((pid_t)result);
	return result;
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

/* --- kernels that cannot make a process in a cgroup --- */

/* A directory with a file of that name stands for the cgroup: what it takes is seen in the file. */
static int make_directory(char path[32], bool with_file)
{
	strcpy(path, "/tmp/schedrig-place-XXXXXX");
	cr_assert_not_null(mkdtemp(path));
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(fd, 0);
	if (with_file)
		close(openat(fd, "cgroup.procs", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	return fd;
}

static void remove_directory(const char *path, int fd)
{
	unlinkat(fd, "cgroup.procs", 0);
	close(fd);
	rmdir(path);
}

/* What the file says, as the child sees it at once. */
static pid_t moved_pid(int dir)
{
	char text[16] = "";
	int fd = openat(dir, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	(void)!read(fd, text, sizeof(text) - 1);
	close(fd);
	return (pid_t)atoi(text);
}

static void place_one(void)
{
	char path[32];
	int dir = make_directory(path, true);
	struct child child = {0};
	struct err err = ERR_INIT;
	pid_t pid = child_clone(&child, dir, &err);
	if (pid == 0)
		_exit(moved_pid(dir) == getpid() ? 7 : 8);
	cr_assert_gt(pid, 0, "%s", err.message);
	cr_expect(child.moved);
	wait_dead(pid);
	child_reap();
	expect_exit(&child, 7);
	remove_directory(path, dir);
}

Test(place, moved_before_it_goes_on, .timeout = 60)
{
	static const int answers[] = {ENOSYS, EINVAL, E2BIG};
	for (unsigned i = 0; i < ARRAY_SIZE(answers); i++) {
		refuse_into = answers[i];
		place_one();
	}
	refuse_clone3 = ENOSYS;
	place_one();
}

/* Any other answer is what it is; and without a cgroup nobody is moved. */
Test(place, other_answers, .timeout = 60)
{
	char path[32];
	int dir = make_directory(path, true);
	struct child child = {0};
	struct err err = ERR_INIT;
	refuse_into = EAGAIN;
	cr_assert_lt(child_clone(&child, dir, &err), 0);
	cr_expect_eq(err.os_errno, EAGAIN);
	cr_expect(strstr(err.message, "clone into the cgroup") && strstr(err.message, "pids.max"), "%s",
		err.message);
	cr_expect_eq(moved_pid(dir), 0);
	remove_directory(path, dir);
	start(&child, 3);
	cr_expect(!child.moved);
	wait_dead(child.pid);
	child_reap();
	expect_exit(&child, 3);
}

Test(place, what_cannot_be_moved_does_not_run, .timeout = 60)
{
	char path[32];
	int dir = make_directory(path, false);
	volatile int *ran = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct child child = {0};
	struct err err = ERR_INIT;
	refuse_into = EINVAL;
	pid_t pid = child_clone(&child, dir, &err);
	if (pid == 0) {
		*ran = 1;
		_exit(0);
	}
	cr_assert_lt(pid, 0);
	cr_expect_eq(err.os_errno, ENOENT);
	cr_expect(strstr(err.message, "cgroup.procs"), "%s", err.message);
	/* The stranger's end. */
	siginfo_t info;
	cr_assert_eq(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT), 0);
	child_reap();
	cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1);
	cr_expect_eq(*ran, 0);
	remove_directory(path, dir);
}
