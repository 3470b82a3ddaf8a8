/* SPDX-License-Identifier: GPL-2.0-only */
/* What is kept of a program's output: all of it up to PAYLOAD_KEEP_BYTES, beyond that the beginning and the
 * end with a marker where it was cut. All outputs together are bounded, too, by the memory of the machine;
 * one that comes when that is used up keeps less. No thread of its own: callers serialise calls on one
 * output. */
#ifndef GUEST_PAYLOAD_OUTPUT_H
#define GUEST_PAYLOAD_OUTPUT_H

#include "common/check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PAYLOAD_KEEP_BYTES (16u << 20) /* of one stream; the marker comes on top */

/*      0            limit/2              limit
 *      | first bytes  | last bytes, a ring |       `size` of it is allocated so far */
struct output {
	char *bytes;
	size_t size, limit; /* limit 0: not set yet, PAYLOAD_KEEP_BYTES */
	uint64_t total;     /* all that was written */
	bool none;          /* there was no memory even for the first byte */
};

/* An empty one is zeroed. */
void output_deinit(struct output *output);
void output_add(struct output *output, const void *bytes, size_t count);
/* Of what is kept, marker included. */
uint64_t output_kept_bytes(const struct output *output);
/* Copies at most size bytes from that offset of what is kept; how many there were. */
size_t output_read(const struct output *output, uint64_t offset, void *buffer, size_t size);
/* The last bytes, at most size - 1, with NUL. */
void output_tail(const struct output *output, char *buffer, size_t size);

/* Bounds all outputs together; for tests, the default is an eighth of the machine's memory, at most 128 MiB.
 */
void output_set_budget(size_t bytes);

#endif
