/* SPDX-License-Identifier: GPL-2.0-only */
/* The last events, packed, for everybody who reads them at their own pace. (any thread) */
#ifndef HOST_CONTROL_RING_H
#define HOST_CONTROL_RING_H

#include "common/check.h"

#include <pthread.h>
#include <stdbool.h>

struct control_ring_entry {
	uint64_t seq;
	uint8_t *bytes;
	size_t length;
};

struct control_ring {
	pthread_mutex_t lock; /* of all below */
	struct control_ring_entry *entry;
	unsigned size, first, n; /* slots; index of the oldest; how many */
	size_t bytes, max_bytes; /* held, allowed */
	uint64_t last_seq;       /* newest ever added, 0 = none */
};

/* -ENOMEM. */
int control_ring_init(struct control_ring *ring, unsigned max_events, size_t max_bytes) must_check;
void control_ring_deinit(struct control_ring *ring);
/* Adds a packed event and takes `bytes` (heap) over; the oldest make room. seq must be above all before it,
 * else the event is ignored: readers rely on the order. */
void control_ring_add(struct control_ring *ring, uint64_t seq, uint8_t *bytes, size_t length);
/* Copies the first event numbered `seq` or later into buffer (`size` is never less than an event's length).
 * False when there is none yet. */
bool control_ring_get(struct control_ring *ring, uint64_t seq, uint8_t *buffer, size_t size,
	uint64_t *ret_seq, size_t *ret_length);
uint64_t control_ring_last(struct control_ring *ring);

#endif
