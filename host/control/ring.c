/* SPDX-License-Identifier: GPL-2.0-only */
/* Ring of packed events (see ring.h). All under its lock, which nobody holds across anything slow. */
#include "host/control/ring.h"

#include "common/scope.h"

#include <errno.h>
#include <string.h>

int control_ring_init(struct control_ring *ring, unsigned max_events, size_t max_bytes)
{
	*ring = (struct control_ring){.size = max_events, .max_bytes = max_bytes};
	ring->entry = calloc(max_events, sizeof(*ring->entry));
	pthread_mutex_init(&ring->lock, NULL);
	return ring->entry ? 0 : -ENOMEM;
}

static struct control_ring_entry *entry_at(struct control_ring *ring, unsigned k)
{
	return &ring->entry[((size_t)ring->first + k) % ring->size];
}

static void drop_oldest(struct control_ring *ring)
{
	struct control_ring_entry *e = entry_at(ring, 0);
	ring->bytes -= e->length;
	free(e->bytes);
	*e = (struct control_ring_entry){0};
	ring->first = (ring->first + 1) % ring->size;
	ring->n--;
}

void control_ring_deinit(struct control_ring *ring)
{
	if (!ring->size)
		return;
	while (ring->entry && ring->n)
		drop_oldest(ring);
	free(ring->entry);
	pthread_mutex_destroy(&ring->lock);
	*ring = (struct control_ring){0};
}

void control_ring_add(struct control_ring *ring, uint64_t seq, uint8_t *bytes, size_t length)
{
	SCOPE_LOCK(&ring->lock);
	if (seq <= ring->last_seq || length > ring->max_bytes) {
		/* The latter shows as a gap to readers. */
		free(bytes);
		return;
	}
	while (ring->n && (ring->n == ring->size || ring->bytes + length > ring->max_bytes))
		drop_oldest(ring);
	*entry_at(ring, ring->n++) =
		(struct control_ring_entry){.seq = seq, .bytes = bytes, .length = length};
	ring->bytes += length;
	ring->last_seq = seq;
}

bool control_ring_get(struct control_ring *ring, uint64_t seq, uint8_t *buffer, size_t size,
	uint64_t *ret_seq, size_t *ret_length)
{
	SCOPE_LOCK(&ring->lock);
	unsigned low = 0, high = ring->n;
	while (low < high) {
		unsigned middle = low + (high - low) / 2;
		if (entry_at(ring, middle)->seq < seq)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == ring->n)
		return false;
	const struct control_ring_entry *e = entry_at(ring, low);
	assert(e->length <= size);
	memcpy(buffer, e->bytes, e->length);
	*ret_seq = e->seq;
	*ret_length = e->length;
	return true;
}

uint64_t control_ring_last(struct control_ring *ring)
{
	SCOPE_LOCK(&ring->lock);
	return ring->last_seq;
}
