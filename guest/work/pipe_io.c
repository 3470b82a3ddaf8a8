/* SPDX-License-Identifier: GPL-2.0-only */
/* pipe_io: two workers hand one byte to and fro through two pipes, with a burst between. The byte is always
 * with one of them, so the end of one (its write end closes) ends the other's read. Runs in worker processes.
 */
#include "guest/work/worker.h"

#include <errno.h>
#include <unistd.h>

bool worker_pipe_write(struct worker *worker)
{
	char byte = 'x';
	ssize_t n;
	worker_hand(&worker->slots[(worker->member + 1) % worker->members]);
	do
		n = write(worker->write_fd, &byte, 1);
	while (n < 0 && errno == EINTR && !worker_stopping(worker));
	return n == 1;
}

bool worker_pipe_read(struct worker *worker)
{
	char byte;
	ssize_t n;
	uint64_t asked_ns = worker_now_ns();
	do
		n = read(worker->read_fd, &byte, 1);
	while (n < 0 && errno == EINTR && !worker_stopping(worker));
	if (n != 1) {
		worker_blocked_until(worker, worker_now_ns());
		return false;
	}
	worker_received(worker, asked_ns);
	return true;
}

void worker_run_pipe_io(struct worker *worker)
{
	bool first = worker->member == 0, partner = true;
	do {
		if (first) {
			worker_units(worker, worker->params->pipe_io.burst);
			partner = worker_pipe_write(worker) && worker_pipe_read(worker);
		} else {
			partner = worker_pipe_read(worker);
			if (partner) {
				worker_units(worker, worker->params->pipe_io.burst);
				partner = worker_pipe_write(worker);
			}
		}
		worker_iteration(worker);
	} while (!worker_stopping(worker) && partner);
	/* Without a partner there is nothing to do, but a worker ends only when it is asked to. */
	worker_await_stop(worker);
}
