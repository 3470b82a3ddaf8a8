/* SPDX-License-Identifier: GPL-2.0-only */
/* A bzImage into guest memory as it is: its own code unpacks it and chooses, at random, where the kernel
 * lies. Bytes from a file, so nothing in them is trusted. Before the VM runs, one thread. */
#ifndef HOST_VM_BOOT_PACKED_H
#define HOST_VM_BOOT_PACKED_H

#include "host/vm/boot_bzimage.h"
#include "host/vm/gmem.h"
#include "host/vm/kernel_image.h"

struct packed_loaded {
	gpa_t entry;                          /* 64-bit */
	gpa_t start, end;                     /* what it needs until the kernel runs */
	uint8_t header[BZIMAGE_HEADER_BYTES]; /* struct setup_header */
	size_t header_bytes;
};

/* Reads the bzImage (kernel->packed_fd is one) to the place that its header prefers.
 * ERR_INVALID_ARGUMENT for a damaged file, ERR_UNSUPPORTED without a 64-bit entry, ERR_LIMIT_EXCEEDED when it
 * does not fit; ERR_HOST when the file is no longer what was unpacked as `kernel`: symbols would be wrong. */
int packed_load(const struct kernel_image *kernel, const struct gmem *memory, struct packed_loaded *ret,
	struct err *err) must_check;

#endif
