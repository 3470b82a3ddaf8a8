/* SPDX-License-Identifier: GPL-2.0-only */
/* Console output from vCPU threads to the loop. `head` and the budget are the producer's, `tail` the
 * consumer's. */
#include "host/vm/console_ring.h"

#include "common/clock.h"
#include "common/fd.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>

struct console_ring {
	size_t mask;
	int fd;
	uint64_t rate;
	_Atomic uint64_t head;  /* bytes ever put; producer, release; pairs with the consumer's acquire */
	_Atomic uint64_t tail;  /* bytes ever taken; consumer, release; pairs with the producer's acquire */
	_Atomic uint64_t lost;  /* producer adds, consumer takes */
	_Atomic bool signalled; /* the eventfd has been written and not yet reset */
	uint64_t budget,
		budget_ns; /* producer: bytes that may go through now, and when that was worked out */
	char bytes[];
};

struct console_ring *console_ring_new(size_t size_bytes, uint64_t rate_bytes_per_s, struct err *err)
{
	assert(size_bytes && (size_bytes & (size_bytes - 1)) == 0);
	_cleanup_(console_ring_free_p) struct console_ring *ring = calloc(1, sizeof(*ring) + size_bytes);
	if (!ring) {
		err_set(err, ERR_HOST, "out of memory");
		return NULL;
	}
	ring->mask = size_bytes - 1;
	ring->rate = rate_bytes_per_s;
	ring->budget = rate_bytes_per_s;
	ring->budget_ns = clock_now_ns();
	ring->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ring->fd < 0) {
		err_set_os(err, ERR_HOST, errno, "cannot have an eventfd for the console");
		return NULL;
	}
	return TAKE_PTR(ring);
}

void console_ring_free(struct console_ring *ring)
{
	if (!ring)
		return;
	fd_close(&ring->fd);
	free(ring);
}

/* A bucket of one second's worth. */
static size_t within_rate(struct console_ring *ring, size_t n)
{
	if (ring->rate == 0)
		return n;
	if (ring->budget < n) { /* the clock is read only when it matters */
		uint64_t now = clock_now_ns(), past = MIN_OF(now - ring->budget_ns, NS_PER_S);
		uint64_t more = (uint64_t)((unsigned __int128)past * ring->rate / NS_PER_S);
		if (more) {
			ring->budget = MIN_OF(ring->budget + more, ring->rate);
			ring->budget_ns = now;
		}
	}
	n = MIN_OF(n, ring->budget);
	ring->budget -= n;
	return n;
}

void console_ring_put(const char *bytes, size_t n, void *arg)
{
	struct console_ring *ring = arg;
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	uint64_t room = ring->mask + 1 - (head - atomic_load_explicit(&ring->tail, memory_order_acquire));
	size_t take = within_rate(ring, MIN_OF(n, room));
	for (size_t i = 0; i < take; i++)
		ring->bytes[(head + i) & ring->mask] = bytes[i];
	atomic_store_explicit(&ring->head, head + take, memory_order_release);
	if (take < n)
		atomic_fetch_add_explicit(&ring->lost, n - take, memory_order_relaxed);
	/* One write for all that comes until the consumer looks. Pairs with the consumer's exchange. */
	if (!atomic_exchange(&ring->signalled, true))
		eventfd_write(ring->fd, 1);
}

int console_ring_fd(const struct console_ring *ring)
{
	return ring->fd;
}

size_t console_ring_take(struct console_ring *ring, char *bytes, size_t size, uint64_t *ret_lost)
{
	uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
	if (head - tail <= size) {
		/* About to be empty: from here on the producer signals again, and what it put before is seen
		 * below. */
		eventfd_t count;
		(void)eventfd_read(ring->fd, &count);
		/* Reads what the producer wrote when it did not signal, so that its head is seen, too. */
		(void)atomic_exchange(&ring->signalled, false);
		head = atomic_load_explicit(&ring->head, memory_order_acquire);
	}
	size_t n = MIN_OF(head - tail, size);
	for (size_t i = 0; i < n; i++)
		bytes[i] = ring->bytes[(tail + i) & ring->mask];
	atomic_store_explicit(&ring->tail, tail + n, memory_order_release);
	if (head - tail > n && !atomic_exchange(&ring->signalled, true))
		eventfd_write(ring->fd, 1); /* more came between the two looks */
	*ret_lost = atomic_exchange_explicit(&ring->lost, 0, memory_order_relaxed);
	return n;
}
