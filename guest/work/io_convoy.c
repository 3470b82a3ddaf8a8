/* SPDX-License-Identifier: GPL-2.0-only */
/* io_convoy: all workers that were started together write into one file, whose inode has one lock: who holds
 * it has the others queue behind. On the scratch disk they queue for its pages and for the disk. Every 16th
 * write waits for the disk. A unit is a write of 64 KiB. Runs in
 * worker processes. */
#include "guest/work/affinity.h"
#include "guest/work/worker.h"

#include <errno.h>
#include <unistd.h>

#define WRITE_BYTES 65536
#define FILE_WRITES 64
#define SYNC_EVERY 16

void worker_run_io_convoy(struct worker *worker)
{
	static const char block[WRITE_BYTES];
	uint64_t draws = 0;
	do {
		uint64_t at = affinity_draw(worker->seed, draws++) % FILE_WRITES, asked_ns = worker_now_ns();
		if (pwrite(worker->file_fd, block, sizeof(block),
			    (off_t)(worker->file_at + at * WRITE_BYTES)) < 0 &&
			errno != EINTR)
			worker_fail(worker, "pwrite");
		if (draws % SYNC_EVERY == 0 && fdatasync(worker->file_fd) < 0 && errno != EINTR)
			worker_fail(worker, "fdatasync");
		uint64_t now_ns = worker_now_ns();
		worker_served(worker, now_ns - asked_ns);
		worker_blocked_until(worker, now_ns);
		worker_did(worker, 1);
		worker_iteration(worker);
	} while (!worker_stopping(worker));
}
