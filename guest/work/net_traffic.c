/* SPDX-License-Identifier: GPL-2.0-only */
/* net_traffic: sends itself a frame over the network device and waits until it has come back, one every
 * `interval`, or one after the other. A wake-up counts from when the kernel took the frame from the device. A
 * frame that was lost (the device dropped it, or the socket's buffer was full) is given up after LOST_NS and
 * is no work done. Runs in worker processes. */
#include "guest/work/nic.h"
#include "guest/work/worker.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#define LOST_NS UINT64_C(1000000000)
#define LOOK_NS UINT64_C(100000000) /* as in wait.c: how late a stop is seen at most */

/* False: none came, or it is to stop. */
static bool await_frame(struct worker *worker, uint64_t asked_ns, uint64_t offset_ns)
{
	uint64_t taken_ns;
	int got;
	while ((got = nic_take(worker->read_fd, offset_ns, &taken_ns)) == 0) {
		uint64_t now_ns = worker_now_ns();
		if (worker_stopping(worker) || now_ns - asked_ns >= LOST_NS) {
			worker_blocked_until(worker, now_ns);
			return false;
		}
		struct timespec look = {.tv_nsec = (long)LOOK_NS};
		struct pollfd fd = {.fd = worker->read_fd, .events = POLLIN};
		(void)ppoll(&fd, 1, &look, NULL);
	}
	if (got < 0)
		worker_fail(worker, "recvmsg");
	if (taken_ns >= asked_ns) {
		worker_blocked_until(worker, taken_ns);
		worker_woken(worker, taken_ns, worker_now_ns());
	}
	return true;
}

void worker_run_net_traffic(struct worker *worker)
{
	const struct work_net_traffic *params = &worker->params->net_traffic;
	uint8_t frame[WORK_FRAME_MAX] = {0};
	uint64_t offset_ns = nic_clock_offset(), due_ns = worker_now_ns();
	if (nic_header(worker->write_fd, worker->channel, frame) < 0)
		worker_fail(worker, "getsockname");
	do {
		uint64_t sent_ns = worker_now_ns();
		ssize_t n = send(worker->write_fd, frame, params->frame_bytes, 0);
		/* ENOBUFS: the device's queue is full. */
		if (n < 0 && errno != ENOBUFS && errno != EINTR && errno != EAGAIN)
			worker_fail(worker, "send");
		if (n >= 0 && await_frame(worker, sent_ns, offset_ns)) {
			worker_did(worker, 1);
			worker_iteration(worker);
		} else {
			worker_checkpoint(worker);
		}
		/* Times that have passed already are left out. */
		due_ns += params->interval_ns;
		if (due_ns < worker_now_ns())
			due_ns = worker_now_ns();
	} while (params->interval_ns ? worker_rest(worker, due_ns) : !worker_stopping(worker));
}
