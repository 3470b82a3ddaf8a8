/* SPDX-License-Identifier: GPL-2.0-only */
/* io_sync_write: writes 4 KiB and waits until they are where the file lives: on the machine's scratch disk,
 * or in memory, where what is left is the kernel's part of it. A unit is a write. Runs in worker processes.
 */
#include "guest/work/worker.h"

#include <errno.h>
#include <unistd.h>

#define BLOCK_BYTES 4096
#define FILE_BLOCKS 1024

void worker_run_io_sync_write(struct worker *worker)
{
	static char block[BLOCK_BYTES];
	struct worker_file file = worker_scratch(worker, 0);
	uint64_t at = 0;
	do {
		uint64_t asked_ns = worker_now_ns();
		if (pwrite(file.fd, block, sizeof(block), (off_t)(file.at + at % FILE_BLOCKS * BLOCK_BYTES)) <
				0 &&
			errno != EINTR)
			worker_fail(worker, "pwrite");
		if (fdatasync(file.fd) < 0 && errno != EINTR)
			worker_fail(worker, "fdatasync");
		/* The disk's time, not the scheduler's, which cannot be told apart here. */
		uint64_t now_ns = worker_now_ns();
		worker_served(worker, now_ns - asked_ns);
		worker_blocked_until(worker, now_ns);
		worker_did(worker, 1);
		worker_iteration(worker);
		at++;
	} while (!worker_stopping(worker));
}
