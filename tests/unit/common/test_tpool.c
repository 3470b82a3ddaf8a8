/* SPDX-License-Identifier: GPL-2.0-only */
/* Threads that are kept: everything runs at once, the same threads do it again, the end waits. */
#include "common/tpool.h"

#include "common/check.h"
#include "common/clock.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

struct job {
	pthread_barrier_t *together; /* NULL: alone */
	_Atomic pid_t tid;
	atomic_bool done, signals_blocked;
};

static void work(void *arg)
{
	struct job *job = arg;
	sigset_t mask;
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	atomic_store(&job->signals_blocked, sigismember(&mask, SIGTERM) && sigismember(&mask, SIGINT));
	atomic_store(&job->tid, (pid_t)syscall(SYS_gettid));
	if (job->together)
		pthread_barrier_wait(job->together);
	atomic_store(&job->done, true);
}

static unsigned threads(void)
{
	unsigned n = 0;
	char line[128];
	FILE *status = fopen("/proc/self/status", "re");
	while (fgets(line, sizeof(line), status))
		if (sscanf(line, "Threads: %u", &n) == 1)
			break;
	fclose(status);
	return n;
}

Test(tpool, the_end_waits_for_all_of_it)
{
	unsigned before = threads();
	struct job jobs[20] = {0};
	struct tpool *pool = tpool_new(3, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(jobs); i++)
		cr_assert_eq(tpool_run(pool, work, &jobs[i], NULL), 0);
	tpool_free(pool);
	for (unsigned i = 0; i < ARRAY_SIZE(jobs); i++)
		cr_assert(atomic_load(&jobs[i].done) && atomic_load(&jobs[i].signals_blocked), "%u", i);
	cr_assert_eq(threads(), before);
	sigset_t mask;
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	cr_assert_not(sigismember(&mask, SIGTERM), "the owner's own signals are left alone");
}

/* They meet, so none waits for another's thread. */
Test(tpool, nothing_queues)
{
	unsigned before = threads();
	pthread_barrier_t together;
	struct job jobs[8] = {0};
	struct tpool *pool = tpool_new(1, NULL);
	for (unsigned round = 0; round < 50; round++) {
		pthread_barrier_init(&together, NULL, ARRAY_SIZE(jobs));
		for (unsigned i = 0; i < ARRAY_SIZE(jobs); i++) {
			jobs[i] = (struct job){.together = &together};
			cr_assert_eq(tpool_run(pool, work, &jobs[i], NULL), 0);
		}
		for (unsigned i = 0; i < ARRAY_SIZE(jobs); i++)
			while (!atomic_load(&jobs[i].done))
				sched_yield();
		cr_assert_leq(threads(), before + 2 * ARRAY_SIZE(jobs), "they pile up");
	}
	tpool_free(pool);
	pthread_barrier_destroy(&together);
	cr_assert_eq(threads(), before);
}

static void wait_asleep(pid_t tid)
{
	char path[64], state = 0;
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	while (state != 'S') {
		FILE *stat = fopen(path, "re");
		cr_assert(stat && fscanf(stat, "%*d (%*[^)]) %c", &state) == 1);
		fclose(stat);
	}
}

Test(tpool, a_thread_is_used_again)
{
	unsigned before = threads();
	struct tpool *pool = tpool_new(1, NULL);
	pid_t tid = 0;
	for (unsigned i = 0; i < 200; i++) {
		struct job job = {0};
		cr_assert_eq(tpool_run(pool, work, &job, NULL), 0);
		while (!atomic_load(&job.done))
			sched_yield();
		cr_assert(i == 0 || atomic_load(&job.tid) == tid, "another one, the %uth time", i);
		tid = atomic_load(&job.tid);
		/* What it sleeps in from here on is the wait for more. */
		wait_asleep(tid);
	}
	tpool_free(pool);
	cr_assert_eq(threads(), before);
}

Test(tpool, empty)
{
	unsigned before = threads();
	tpool_free(tpool_new(0, NULL));
	tpool_free(NULL);
	cr_assert_eq(threads(), before);
}
