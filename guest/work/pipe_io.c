/* SPDX-License-Identifier: GPL-2.0-only */
/* pipe_io: two workers hand one byte to and fro through two pipes, with a burst between. The byte is always
 * with one of them, so the end of one (its write end closes) ends the other's read. Runs in worker processes.
 */
#include "guest/work/worker.h"

#include <errno.h>
#include <unistd.h>

/* False when the partner is gone. */
static bool hand_over(struct worker *worker)
{
	char byte = 'x';
	atomic_store_explicit(&worker->peer->handed_ns, worker_now_ns(), memory_order_release);
	ssize_t n;
	do
		n = write(worker->write_fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

static bool receive(struct worker *worker)
{
	char byte;
	ssize_t n;
	uint64_t asked_ns = worker_now_ns();
	do
		n = read(worker->read_fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	uint64_t now_ns = worker_now_ns();
	uint64_t handed_ns = atomic_load_explicit(&worker->slot->handed_ns, memory_order_acquire);
	if (n != 1) {
		worker_blocked_until(worker, now_ns);
		return false;
	}
	/* It slept only if the byte came after it had asked. */
	if (handed_ns >= asked_ns) {
		worker_blocked_until(worker, handed_ns);
		worker_woken(worker, handed_ns, now_ns);
	}
	return true;
}

static void burst(struct worker *worker)
{
	uint32_t left = worker->params->burst_units;
	do {
		uint32_t units = left < WORKER_BURST_UNITS ? left : WORKER_BURST_UNITS;
		worker_burst(worker, units);
		left -= units;
	} while (left && !worker_stopping(worker));
}

void worker_run_pipe_io(struct worker *worker)
{
	bool first = worker->index % 2 == 0, partner = true;
	do {
		if (first) {
			burst(worker);
			partner = hand_over(worker) && receive(worker);
		} else {
			partner = receive(worker);
			if (partner) {
				burst(worker);
				partner = hand_over(worker);
			}
		}
		worker_iteration(worker);
	} while (!worker_stopping(worker) && partner);
	/* Without a partner there is nothing to do, but a worker ends only when it is asked to. */
	while (!worker_stopping(worker))
		slot_futex_wait(&worker->slot->stop, 0, UINT64_MAX);
	worker_blocked_until(worker, worker_now_ns());
}
