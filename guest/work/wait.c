/* SPDX-License-Identifier: GPL-2.0-only */
/* Waiting, on partners and on time, in a way that ends when the worker is asked to stop whatever its partners
 * do (see worker.h). Runs in worker processes. */
#include "guest/work/worker.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

/* A stop that comes between the look at `stop` and the futex call is seen this much later at most: the word
 * waited on is the partner's to change, and the partner may be gone or frozen. */
#define LOOK_NS UINT64_C(100000000)

/* Whose pipes the stop signal opens. Workers of a thread group are threads. */
static _Thread_local struct worker *stopped;

/* From here on no read or write on its pipes blocks: the one in progress ends with EINTR, and one that the
 * worker is about to make finds the descriptor non-blocking. Both ends' open files are this process's alone.
 */
static void on_stop(int signum)
{
	(void)signum;
	if (!worker_stopping(stopped))
		return;
	if (stopped->read_fd >= 0)
		fcntl(stopped->read_fd, F_SETFL, O_NONBLOCK);
	if (stopped->write_fd >= 0)
		fcntl(stopped->write_fd, F_SETFL, O_NONBLOCK);
}

static void on_peer(int signum)
{
	(void)signum;
}

void worker_mind_stop(struct worker *worker)
{
	struct sigaction action = {.sa_handler = on_stop}; /* no SA_RESTART: it is there to interrupt */
	stopped = worker;
	sigaction(WORK_STOP_SIGNAL, &action, NULL);
	struct sigaction arrive = {.sa_handler = on_peer, .sa_flags = SA_RESTART};
	sigaction(WORK_PEER_SIGNAL, &arrive, NULL);
}

void worker_received(struct worker *worker, uint64_t asked_ns)
{
	uint64_t handed_ns = atomic_load_explicit(&worker->slot->handed_ns, memory_order_acquire);
	/* It slept only if this came after it had asked. */
	if (handed_ns < asked_ns)
		return;
	worker_blocked_until(worker, handed_ns);
	worker_woken(worker, handed_ns, worker_now_ns());
}

bool worker_wait_while(struct worker *worker, _Atomic uint32_t *word, uint32_t value)
{
	uint64_t asked_ns = worker_now_ns();
	while (atomic_load_explicit(word, memory_order_acquire) == value) {
		if (worker_stopping(worker)) {
			worker_blocked_until(worker, worker_now_ns());
			return false;
		}
		slot_futex_wait(word, value, worker_now_ns() + LOOK_NS);
	}
	worker_received(worker, asked_ns);
	return true;
}

void worker_hand(struct work_slot *to)
{
	atomic_store_explicit(&to->handed_ns, worker_now_ns(), memory_order_release);
}

void worker_post(struct work_slot *to, _Atomic uint32_t *word, uint32_t value)
{
	worker_hand(to);
	atomic_store_explicit(word, value, memory_order_release); /* pairs with worker_wait_while() */
	slot_futex_wake(word);
}

bool worker_rest(struct worker *worker, uint64_t due_ns)
{
	while (!worker_stopping(worker) && worker_now_ns() < due_ns)
		slot_futex_wait(&worker->slot->stop, 0, due_ns);
	uint64_t now_ns = worker_now_ns();
	if (worker_stopping(worker)) {
		worker_blocked_until(worker, now_ns);
		return false;
	}
	/* What it waited beyond the time it asked for is the scheduler's. */
	worker_blocked_until(worker, due_ns);
	worker_timed(worker, due_ns, now_ns);
	return true;
}

void worker_await_stop(struct worker *worker)
{
	while (!worker_stopping(worker))
		slot_futex_wait(&worker->slot->stop, 0, UINT64_MAX);
	worker_blocked_until(worker, worker_now_ns());
}
