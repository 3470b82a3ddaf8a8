/* SPDX-License-Identifier: GPL-2.0-only */
/* The console ring: order, loss when full, the rate limit, and no byte that nobody is told of. */
#include "common/clock.h"
#include "host/vm/console_ring.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <string.h>

static bool readable(const struct console_ring *ring)
{
	struct pollfd p = {.fd = console_ring_fd(ring), .events = POLLIN};
	return poll(&p, 1, 0) == 1;
}

Test(console_ring, gives_back_what_was_put)
{
	_cleanup_(console_ring_free_p) struct console_ring *ring = console_ring_new(16, 0, NULL);
	char out[32];
	uint64_t lost;
	cr_assert_not(readable(ring));
	for (int round = 0; round < 10; round++) {
		console_ring_put("hello ", 6, ring);
		console_ring_put("you\n", 4, ring);
		cr_assert(readable(ring));
		cr_assert_eq(console_ring_take(ring, out, sizeof(out), &lost), 10);
		cr_assert_eq(memcmp(out, "hello you\n", 10), 0);
		cr_assert_eq(lost, 0);
		cr_assert_not(readable(ring));
		cr_assert_eq(console_ring_take(ring, out, sizeof(out), &lost), 0);
	}
}

Test(console_ring, small_takes_leave_it_readable)
{
	_cleanup_(console_ring_free_p) struct console_ring *ring = console_ring_new(16, 0, NULL);
	char out[4];
	uint64_t lost;
	console_ring_put("abcdefgh", 8, ring);
	cr_assert_eq(console_ring_take(ring, out, 4, &lost), 4);
	cr_assert(readable(ring));
	cr_assert_eq(console_ring_take(ring, out, 4, &lost), 4);
	cr_assert_eq(memcmp(out, "efgh", 4), 0);
	cr_assert_not(readable(ring));
}

Test(console_ring, full_loses_and_says_so)
{
	_cleanup_(console_ring_free_p) struct console_ring *ring = console_ring_new(8, 0, NULL);
	char out[16];
	uint64_t lost;
	console_ring_put("0123456789ab", 12, ring);
	console_ring_put("c", 1, ring);
	cr_assert_eq(console_ring_take(ring, out, sizeof(out), &lost), 8);
	cr_assert_eq(memcmp(out, "01234567", 8), 0);
	cr_assert_eq(lost, 5);
	console_ring_put("d", 1, ring);
	cr_assert_eq(console_ring_take(ring, out, sizeof(out), &lost), 1);
	cr_assert_eq(lost, 0);
}

Test(console_ring, a_flood_is_limited)
{
	_cleanup_(console_ring_free_p) struct console_ring *ring = console_ring_new(1 << 16, 1000, NULL);
	char chunk[256] = {0}, out[1024];
	uint64_t lost, total = 0, all_lost = 0, start_ns = clock_now_ns();
	for (int i = 0; i < 1000; i++) {
		console_ring_put(chunk, sizeof(chunk), ring);
		total += console_ring_take(ring, out, sizeof(out), &lost);
		all_lost += lost;
	}
	uint64_t took_ns = clock_now_ns() - start_ns;
	cr_assert_geq(total, 1000);
	cr_assert_leq(total, 1000 + 1 + 1000 * took_ns / NS_PER_S);
	cr_assert_eq(total + all_lost, 256 * 1000);
}
