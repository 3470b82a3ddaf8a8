/* SPDX-License-Identifier: GPL-2.0-only */
/* Processes that work for a worker (see hands.h). Runs in worker processes and in those. */
#include "guest/work/hands.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* How late the worker counts what they have done, and how late anybody sees that it is to stop. */
#define COUNT_NS UINT64_C(5000000)
#define LOOK_NS UINT64_C(100000000)

bool hand_wait(struct hands *hands, _Atomic uint32_t *word, uint32_t value)
{
	while (!worker_stopping(hands->worker)) {
		if (atomic_load_explicit(word, memory_order_acquire) != value)
			return true;
		slot_futex_wait(word, value, worker_now_ns() + LOOK_NS);
	}
	return false;
}

bool hand_rest(struct hands *hands, uint64_t ns)
{
	uint64_t until_ns = worker_now_ns() + ns;
	while (!worker_stopping(hands->worker) && worker_now_ns() < until_ns)
		slot_futex_wait(&hands->worker->slot->stop, 0, until_ns);
	return !worker_stopping(hands->worker);
}

bool hand_tell(struct hands *hands, unsigned me, const struct hand_result *result)
{
	struct hand *hand = &hands->all[me];
	uint32_t n = atomic_load_explicit(&hand->written, memory_order_relaxed), read;
	/* The worker empties it every few milliseconds, when it gets a CPU. */
	while (n - (read = atomic_load_explicit(&hand->read, memory_order_acquire)) >= HAND_RESULTS)
		if (!hand_wait(hands, &hand->read, read))
			return false;
	hand->results[n % HAND_RESULTS] = *result;
	atomic_store_explicit(&hand->cpu_ns, worker_cpu_ns(), memory_order_relaxed);
	atomic_store_explicit(&hand->written, n + 1, memory_order_release);
	return !worker_stopping(hands->worker);
}

void hands_start(struct hands *hands, struct worker *worker, unsigned count,
	void (*run)(struct hands *hands, unsigned me, void *arg), void *arg)
{
	*hands = (struct hands){.worker = worker, .count = count};
	hands->all = worker_map_for_now(worker, count * sizeof(*hands->all), true);
	pid_t parent = (pid_t)syscall(SYS_getpid);
	for (unsigned me = 0; me < count; me++) {
		/* The bare call, as in fork_exit. */
		pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
		if (pid < 0)
			worker_fail(worker, "clone");
		if (pid > 0) {
			worker_checkpoint(worker);
			continue;
		}
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (syscall(SYS_getppid) == parent)
			run(hands, me, arg);
		_exit(0);
	}
}

static void count_results(struct hands *hands)
{
	struct worker *worker = hands->worker;
	uint64_t cpu_ns = 0;
	for (unsigned h = 0; h < hands->count; h++) {
		struct hand *hand = &hands->all[h];
		uint32_t read = atomic_load_explicit(&hand->read, memory_order_relaxed);
		uint32_t written = atomic_load_explicit(&hand->written, memory_order_acquire);
		cpu_ns += atomic_load_explicit(&hand->cpu_ns, memory_order_relaxed);
		if (read == written)
			continue;
		bool full = written - read == HAND_RESULTS;
		for (; read != written; read++) {
			const struct hand_result *result = &hand->results[read % HAND_RESULTS];
			if (result->wake_ns != UINT64_MAX)
				(result->timed ? worker_timed : worker_woken)(worker, 0, result->wake_ns);
			worker_served(worker, result->request_ns);
			worker->numbers.units += result->units;
			worker_iteration(worker);
		}
		atomic_store_explicit(&hand->read, read, memory_order_release);
		if (full)
			slot_futex_wake(&hand->read);
	}
	worker->others_cpu_ns = cpu_ns;
	worker_checkpoint(worker);
}

void hands_watch(struct hands *hands)
{
	struct worker *worker = hands->worker;
	while (!worker_stopping(worker)) {
		uint64_t due_ns = worker_now_ns() + COUNT_NS;
		while (!worker_stopping(worker) && worker_now_ns() < due_ns)
			slot_futex_wait(&worker->slot->stop, 0, due_ns);
		worker_blocked_until(worker, MIN_OF(due_ns, worker_now_ns()));
		count_results(hands);
	}
	/* They see the same word, so that all end; one that does not is killed with the worker. */
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
	worker_blocked_until(worker, worker_now_ns());
	count_results(hands);
}
