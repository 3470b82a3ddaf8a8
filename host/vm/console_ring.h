/* SPDX-License-Identifier: GPL-2.0-only */
/* Console output on its way from vCPU threads to the loop: a bounded ring, an eventfd, a limit of bytes per
 * second. One producer at a time, one consumer, no locks: a full ring or a guest that floods loses bytes
 * (counted), never time. */
#ifndef HOST_VM_CONSOLE_RING_H
#define HOST_VM_CONSOLE_RING_H

#include "common/err.h"
#include "common/scope.h"

struct console_ring;

/* size_bytes: a power of two. rate_bytes_per_s: 0 for no limit; a burst of one second is let through. */
struct console_ring *console_ring_new(
	size_t size_bytes, uint64_t rate_bytes_per_s, struct err *err) must_check;
/* After the producer's last call. */
void console_ring_free(struct console_ring *ring);
SCOPE_GUARD(struct console_ring *, console_ring_free, console_ring_free)

/* (producer) Fits serial_out_fn. */
void console_ring_put(const char *bytes, size_t n, void *ring);

/* (consumer) Readable while there may be bytes to take; console_ring_take() resets it. */
int console_ring_fd(const struct console_ring *ring);
/* (consumer) Bytes taken, up to size; 0 when empty. *ret_lost: bytes dropped before these, since the last
 * call. */
size_t console_ring_take(struct console_ring *ring, char *bytes, size_t size, uint64_t *ret_lost) must_check;

#endif
