/* SPDX-License-Identifier: GPL-2.0-only */
/* epoll_storm: the first ones write to eventfds, one after the other, with a burst between; the others each
 * wait on all of them by an epoll instance of their own, with EPOLLEXCLUSIVE, so that one is woken at a time.
 * A wake-up is due when the event that it was for was written. Runs in worker processes. */
#include "guest/work/worker.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#define LOOK_MS 100
#define EVENTS 16

struct storm {
	_Atomic uint64_t written_ns[WORK_EVENTS_MAX]; /* the producers W: when an event was written last */
};
_Static_assert(sizeof(struct storm) <= WORK_GROUP_BYTES, "the group's memory");

static void produce(struct worker *worker)
{
	const struct work_epoll_storm *params = &worker->params->epoll_storm;
	struct storm *storm = worker->group;
	const uint64_t one = 1;
	/* Producers start apart. */
	uint64_t at = worker->member * params->fds / params->producers;
	do {
		worker_burst(worker, WORKER_BURST_UNITS);
		atomic_store_explicit(
			&storm->written_ns[at % params->fds], worker_now_ns(), memory_order_release);
		/* EAGAIN: 2^64 - 2 events that nobody has taken. */
		if (write(worker->fds[at % params->fds], &one, sizeof(one)) < 0 && errno != EAGAIN &&
			errno != EINTR)
			worker_fail(worker, "write(eventfd)");
		worker_iteration(worker);
		at++;
	} while (!worker_stopping(worker));
}

/* Takes what has come. True: something had. */
static bool take(struct worker *worker, unsigned at, uint64_t asked_ns, bool *first)
{
	struct storm *storm = worker->group;
	uint64_t events;
	if (read(worker->fds[at], &events, sizeof(events)) != sizeof(events))
		return false; /* another one was faster */
	uint64_t written_ns = atomic_load_explicit(&storm->written_ns[at], memory_order_acquire);
	if (*first && written_ns >= asked_ns) {
		worker_blocked_until(worker, written_ns);
		worker_woken(worker, written_ns, worker_now_ns());
	}
	*first = false;
	return true;
}

static void consume(struct worker *worker)
{
	const struct work_epoll_storm *params = &worker->params->epoll_storm;
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0)
		worker_fail(worker, "epoll_create1");
	for (unsigned i = 0; i < params->fds; i++) {
		struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.u32 = i};
		if (epoll_ctl(epoll, EPOLL_CTL_ADD, worker->fds[i], &event) < 0)
			worker_fail(worker, "epoll_ctl");
	}
	while (!worker_stopping(worker)) {
		struct epoll_event events[EVENTS];
		uint64_t asked_ns = worker_now_ns();
		int n = epoll_wait(epoll, events, EVENTS, LOOK_MS);
		if (n < 0 && errno != EINTR)
			worker_fail(worker, "epoll_wait");
		bool first = true, any = false;
		for (int i = 0; i < n; i++)
			any |= take(worker, events[i].data.u32 % (uint32_t)params->fds, asked_ns, &first);
		if (!any) {
			worker_blocked_until(worker, worker_now_ns());
			continue;
		}
		worker_burst(worker, WORKER_BURST_UNITS);
		worker_iteration(worker);
	}
}

void worker_run_epoll_storm(struct worker *worker)
{
	if (worker->member < worker->params->epoll_storm.producers)
		produce(worker);
	else
		consume(worker);
}
