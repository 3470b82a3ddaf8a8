/* SPDX-License-Identifier: GPL-2.0-only */
/* producer_consumer_imbalance: the first ones put items into a bounded queue at a steady rate, the others
 * take them and work. Who finds it full, or empty, waits. A consumer's wake-up is due when the item that it
 * gets was put in. Runs in worker processes. */
#include "guest/work/mutex.h"

struct queue {
	struct mutex lock;
	_Alignas(64) _Atomic uint32_t puts;  /* so far; futex of consumers. Under the lock */
	_Alignas(64) _Atomic uint32_t takes; /* so far; futex of producers. Under the lock */
	uint64_t put_ns[WORK_QUEUE_MAX];     /* under the lock */
};
_Static_assert(sizeof(struct queue) <= WORK_GROUP_BYTES, "the group's memory");

/* Waits until the other side has done something, without counting a wake-up. False: it is to stop. */
static bool wait_for(struct worker *worker, _Atomic uint32_t *word, uint32_t value)
{
	while (!worker_stopping(worker) && atomic_load_explicit(word, memory_order_acquire) == value)
		slot_futex_wait(word, value, worker_now_ns() + UINT64_C(100000000));
	return !worker_stopping(worker);
}

static bool lock(struct worker *worker, struct queue *queue)
{
	if (mutex_lock(worker, &queue->lock, false))
		return true;
	worker_blocked_until(worker, worker_now_ns());
	return false;
}

static bool put(struct worker *worker, struct queue *queue)
{
	const struct work_producer_consumer_imbalance *params = &worker->params->producer_consumer_imbalance;
	for (;;) {
		if (!lock(worker, queue))
			return false;
		uint32_t puts = atomic_load(&queue->puts), takes = atomic_load(&queue->takes);
		if (puts - takes < params->queue) {
			queue->put_ns[puts % WORK_QUEUE_MAX] = worker_now_ns();
			atomic_store(&queue->puts, puts + 1);
			mutex_unlock(worker, &queue->lock, false);
			slot_futex_wake(&queue->puts);
			return true;
		}
		mutex_unlock(worker, &queue->lock, false);
		bool go_on = wait_for(worker, &queue->takes, takes);
		worker_blocked_until(worker, worker_now_ns());
		if (!go_on)
			return false;
	}
}

static bool take(struct worker *worker, struct queue *queue)
{
	uint64_t asked_ns = worker_now_ns();
	for (;;) {
		if (!lock(worker, queue))
			return false;
		uint32_t puts = atomic_load(&queue->puts), takes = atomic_load(&queue->takes);
		if (puts != takes) {
			uint64_t put_ns = queue->put_ns[takes % WORK_QUEUE_MAX];
			atomic_store(&queue->takes, takes + 1);
			mutex_unlock(worker, &queue->lock, false);
			slot_futex_wake(&queue->takes);
			/* It slept for this one only if that came after it had asked. */
			if (put_ns >= asked_ns) {
				worker_blocked_until(worker, put_ns);
				worker_woken(worker, put_ns, worker_now_ns());
			}
			return true;
		}
		mutex_unlock(worker, &queue->lock, false);
		if (!wait_for(worker, &queue->puts, puts)) {
			worker_blocked_until(worker, worker_now_ns());
			return false;
		}
	}
}

void worker_run_producer_consumer_imbalance(struct worker *worker)
{
	const struct work_producer_consumer_imbalance *params = &worker->params->producer_consumer_imbalance;
	struct queue *queue = worker->group;
	if (worker->member >= params->producers) {
		while (take(worker, queue)) {
			worker_units(worker, params->work);
			worker_iteration(worker);
		}
		return;
	}
	uint64_t interval_ns = WORK_SECOND / params->rate, due_ns = worker_now_ns();
	do {
		worker_burst(worker, 1);
		if (!put(worker, queue))
			return;
		worker_iteration(worker);
		/* What a full queue cost is not made up for. */
		due_ns = MAX_OF(due_ns + interval_ns, worker_now_ns());
	} while (worker_rest(worker, due_ns));
}
