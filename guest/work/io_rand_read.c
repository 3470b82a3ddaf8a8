/* SPDX-License-Identifier: GPL-2.0-only */
/* io_rand_read: reads 4 KiB at random places of a file, which the kernel is told to forget before each round.
 * A unit is a read, a round 64. Runs in worker processes. */
#include "guest/work/affinity.h"
#include "guest/work/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define BLOCK_BYTES 4096
#define FILE_BLOCKS 1024
#define ROUND_READS 64

void worker_run_io_rand_read(struct worker *worker)
{
	char block[BLOCK_BYTES];
	struct worker_file file = worker_scratch(worker, FILE_BLOCKS * BLOCK_BYTES);
	uint64_t draws = 0;
	/* Only clean pages can be forgotten; where the file is memory there is nothing to forget. */
	(void)!fdatasync(file.fd);
	do {
		(void)posix_fadvise(file.fd, (off_t)file.at, FILE_BLOCKS * BLOCK_BYTES, POSIX_FADV_DONTNEED);
		worker_blocked_until(worker, worker_now_ns());
		for (unsigned i = 0; i < ROUND_READS && !(i && worker_stopping(worker)); i++) {
			uint64_t at = affinity_draw(worker->seed, draws++) % FILE_BLOCKS,
				 asked_ns = worker_now_ns();
			if (pread(file.fd, block, sizeof(block), (off_t)(file.at + at * BLOCK_BYTES)) < 0 &&
				errno != EINTR)
				worker_fail(worker, "pread");
			uint64_t now_ns = worker_now_ns();
			worker_served(worker, now_ns - asked_ns);
			worker_blocked_until(worker, now_ns);
			worker_did(worker, 1);
		}
		worker_iteration(worker);
	} while (!worker_stopping(worker));
}
