/* SPDX-License-Identifier: GPL-2.0-only */
/* irq_wake: one of a pair sends a frame over the network device every `interval`; it comes back by the
 * device's interrupt, whose handler wakes the other one. Its wake-up latency counts from when the kernel took
 * the frame from the device, so it holds what the scheduler did and not what the device did. Runs in worker
 * processes. */
#include "guest/work/nic.h"
#include "guest/work/worker.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#define LOOK_NS 100000000L /* as in wait.c: how late a stop is seen at most */

static void send_frames(struct worker *worker)
{
	const struct work_irq_wake *params = &worker->params->irq_wake;
	uint8_t frame[WORK_FRAME_MAX] = {0};
	uint64_t due_ns = worker_now_ns();
	if (nic_header(worker->write_fd, worker->channel, frame) < 0)
		worker_fail(worker, "getsockname");
	do {
		ssize_t n = send(worker->write_fd, frame, params->frame_bytes, 0);
		/* ENOBUFS: the device's queue is full. */
		if (n < 0 && errno != ENOBUFS && errno != EINTR && errno != EAGAIN)
			worker_fail(worker, "send");
		worker_did(worker, n < 0 ? 0 : 1);
		worker_iteration(worker);
		uint64_t now_ns = worker_now_ns();
		/* Times that have passed already are left out. */
		due_ns += params->interval_ns *
			  (now_ns < due_ns ? 1 : (now_ns - due_ns) / params->interval_ns + 1);
	} while (worker_rest(worker, due_ns));
}

/* Takes all that is there. False: that was nothing. */
static bool take_frames(struct worker *worker, uint64_t asked_ns, uint64_t offset_ns)
{
	uint64_t taken_ns;
	bool any = false;
	int got;
	while ((got = nic_take(worker->read_fd, offset_ns, &taken_ns)) > 0) {
		/* The first one woke it, if it came after it had asked. */
		if (!any && taken_ns >= asked_ns) {
			worker_blocked_until(worker, taken_ns);
			worker_woken(worker, taken_ns, worker_now_ns());
		}
		any = true;
		worker_did(worker, 1);
		worker_iteration(worker);
	}
	if (got < 0)
		worker_fail(worker, "recvmsg");
	return any;
}

static void take_wake_ups(struct worker *worker)
{
	uint64_t offset_ns = nic_clock_offset();
	do {
		struct pollfd fd = {.fd = worker->read_fd, .events = POLLIN};
		struct timespec look = {.tv_nsec = LOOK_NS};
		uint64_t asked_ns = worker_now_ns();
		(void)ppoll(&fd, 1, &look, NULL);
		if (!take_frames(worker, asked_ns, offset_ns)) {
			worker_blocked_until(worker, worker_now_ns());
			worker_checkpoint(worker);
		}
	} while (!worker_stopping(worker));
}

void worker_run_irq_wake(struct worker *worker)
{
	if (worker->member == 0)
		send_frames(worker);
	else
		take_wake_ups(worker);
}
