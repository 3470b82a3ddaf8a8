/* SPDX-License-Identifier: GPL-2.0-only */
/* Copies what a guest starts with into its memory, on a few CPUs at once: a kernel's 60 MB are most of the
 * host's share of a start. Before the VM runs, while it is being built. */
#ifndef HOST_VM_BOOT_COPY_H
#define HOST_VM_BOOT_COPY_H

#include "common/check.h"

#include <pthread.h>
#include <stdatomic.h>

#define BOOT_COPY_HELPERS_MAX 3

/* One contiguous copy. `out` is memory that is still all zero. */
struct boot_copy {
	uint8_t *out;
	const uint8_t *in; /* the bytes */
	int fd; /* the same bytes as a file, from `offset` on: quicker than faulting a mapping in; or -1 */
	uint64_t offset, length;
};

/* Copies under way. The caller's storage, at one place from start to finish. */
struct boot_copy_job {
	const struct boot_copy *copies;
	unsigned n, n_helpers;
	pthread_t helpers[BOOT_COPY_HELPERS_MAX];
	_Atomic uint64_t
		next; /* (helpers and the thread that finishes) chunk to be done, counted over all copies */
};

/* Starts copying on helper threads, if it is worth that; `copies` stays as it is until the end. Does not fail
 * (whatever cannot be had for speed is done without). */
void boot_copy_start(struct boot_copy_job *job, const struct boot_copy *copies, unsigned n);
/* Does what is left, and waits for the helpers: then all is there. Called again it does nothing. */
void boot_copy_finish(struct boot_copy_job *job);

#endif
