/* SPDX-License-Identifier: GPL-2.0-only */
/* Copies what a guest starts with into its memory, on a few CPUs at once: a kernel's 60 MB are most of the
 * host's share of a start. Before the VM runs. */
#ifndef HOST_VM_BOOT_COPY_H
#define HOST_VM_BOOT_COPY_H

#include "common/check.h"

/* One contiguous copy. `out` is memory that is still all zero. */
struct boot_copy {
	uint8_t *out;
	const uint8_t *in; /* the bytes */
	int fd; /* the same bytes as a file, from `offset` on: quicker than faulting a mapping in; or -1 */
	uint64_t offset, length;
};

/* Does them all; does not fail (whatever cannot be had for speed is done without). */
void boot_copy_all(const struct boot_copy *copies, unsigned n);

#endif
