/* SPDX-License-Identifier: GPL-2.0-only */
/* Framed connections over a socketpair: whole frames, split frames, oversize, ends, full queues. */
#include "common/conn.h"
#include "common/fd.h"
#include "common/loop.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <sys/socket.h>

struct seen {
	struct loop *loop;
	int frames, oversize, closed;
	struct frame_header last;
	char payload[64];
	struct err err;
	bool free_in_frame, pause_in_frame;
};

static void on_frame(struct conn *conn, const struct frame_header *h, const uint8_t *payload, void *arg)
{
	struct seen *s = arg;
	s->frames++;
	s->last = *h;
	if (h->length < sizeof(s->payload))
		memcpy(s->payload, payload, h->length);
	if (s->pause_in_frame)
		conn_pause(conn, true);
	if (s->free_in_frame) {
		conn_free(conn);
		loop_stop(s->loop);
	}
}
static void on_oversize(struct conn *conn, const struct frame_header *h, void *arg)
{
	struct seen *s = arg;
	s->oversize++;
	s->last = *h;
}
static void on_closed(struct conn *conn, const struct err *err, void *arg)
{
	struct seen *s = arg;
	s->closed++;
	s->err = *err;
	loop_stop(s->loop);
	conn_free(conn);
}
static const struct conn_ops ops = {.frame = on_frame, .oversize = on_oversize, .closed = on_closed};

static void put(int fd, uint32_t length, uint64_t seq, const char *payload, size_t n)
{
	uint8_t bytes[FRAME_HEADER_BYTES];
	frame_encode(&(struct frame_header){.length = length, .type = 7, .stream = 3, .seq = seq}, bytes);
	cr_assert_eq(fd_write_all(fd, bytes, sizeof(bytes)), 0);
	cr_assert_eq(fd_write_all(fd, payload, n), 0);
}

static struct conn *start(struct seen *s, int pair[2])
{
	s->loop = loop_new(NULL);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	struct conn *conn = conn_new(s->loop, pair[0], 1 << 20, &ops, s, NULL);
	cr_assert_not_null(conn);
	return conn;
}

Test(conn, frames_then_end)
{
	struct seen s = {0};
	int pair[2];
	start(&s, pair);
	put(pair[1], 5, 41, "hello", 5);
	put(pair[1], 0, 42, "", 0);
	close(pair[1]);
	loop_run(s.loop);
	cr_assert_eq(s.frames, 2);
	cr_assert_eq(s.last.seq, 42);
	cr_assert_eq(s.last.type, 7);
	cr_assert_eq(s.last.stream, 3);
	cr_assert_str_eq(s.payload, "hello");
	cr_assert_eq(s.closed, 1);
	cr_assert_eq(s.err.code, ERR_NONE);
	loop_free(s.loop);
}

Test(conn, oversize_is_skipped_and_the_connection_stays)
{
	struct seen s = {0};
	int pair[2];
	start(&s, pair);
	static char big[FRAME_MAX_BYTES + 1];
	int small = 1 << 22;
	setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	put(pair[1], sizeof(big), 1, big, 0);
	if (fork() == 0) {
		int r = fd_write_all(pair[1], big, sizeof(big));
		uint8_t bytes[FRAME_HEADER_BYTES];
		frame_encode(&(struct frame_header){.length = 2, .type = 7, .seq = 9}, bytes);
		r |= fd_write_all(pair[1], bytes, sizeof(bytes));
		r |= fd_write_all(pair[1], "ok", 2);
		_exit(r != 0);
	}
	close(pair[1]);
	loop_run(s.loop);
	cr_assert_eq(s.oversize, 1);
	cr_assert_eq(s.frames, 1);
	cr_assert_eq(s.last.seq, 9);
	loop_free(s.loop);
}

Test(conn, absurd_length_closes)
{
	struct seen s = {0};
	int pair[2];
	start(&s, pair);
	put(pair[1], UINT32_MAX, 1, "", 0);
	loop_run(s.loop);
	cr_assert_eq(s.closed, 1);
	cr_assert_eq(s.err.code, ERR_LIMIT_EXCEEDED);
	close(pair[1]);
	loop_free(s.loop);
}

Test(conn, may_be_freed_in_its_callback)
{
	struct seen s = {.free_in_frame = true};
	int pair[2];
	start(&s, pair);
	put(pair[1], 1, 1, "a", 1);
	put(pair[1], 1, 2, "b", 1);
	loop_run(s.loop);
	cr_assert_eq(s.frames, 1);
	cr_assert_eq(s.closed, 0);
	close(pair[1]);
	loop_free(s.loop);
}

Test(conn, a_full_queue_refuses)
{
	struct seen s = {0};
	int pair[2];
	struct conn *conn = start(&s, pair);
	static char bytes[FRAME_MAX_BYTES];
	struct frame_header h = {.length = sizeof(bytes)};
	size_t whole = FRAME_HEADER_BYTES + sizeof(bytes);
	int sent = 0;
	while (conn_send(conn, &h, bytes) == 0 && sent < 100)
		sent++;
	/* 4 x (256 KiB + header) is more than 1 MiB; some went into the socket. */
	cr_assert(sent >= 3 && sent < 100, "%d", sent);
	cr_assert_leq(conn_queued_bytes(conn), 1 << 20);
	cr_assert_gt(conn_queued_bytes(conn) + whole, 1 << 20);
	h.length = FRAME_MAX_BYTES + 1;
	cr_assert_eq(conn_send(conn, &h, bytes), -EMSGSIZE);
	conn_free(conn);
	close(pair[1]);
	loop_free(s.loop);
}

static void turn(struct loop *loop)
{
	for (int i = 0; i < 10; i++)
		event_base_loop(loop_base(loop), EVLOOP_NONBLOCK);
}

/* Frames of every length that matters to a socket with little room: what is sent at once, in part, or waits
 * comes out as one stream, in order. */
Test(conn, what_the_socket_does_not_take_at_once_follows_in_order)
{
	struct seen s = {0};
	int pair[2], small = 4096;
	struct conn *conn = start(&s, pair);
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	static uint8_t bytes[40000], got[FRAME_HEADER_BYTES + sizeof(bytes)];
	static const uint32_t lengths[] = {0, 1, 100, 40000, 3, 0, 9000, 40000};
	bool waited = false;
	size_t room = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		memset(bytes, (int)('a' + i), sizeof(bytes));
		struct frame_header h = {.length = lengths[i], .type = 7, .seq = i};
		cr_assert_eq(conn_send(conn, &h, bytes), 0);
		waited |= conn_queued_bytes(conn) > 0;
		room += conn_queued_bytes(conn) == 0;
	}
	cr_assert(waited && room > 0, "the socket took all or nothing: this proves nothing");
	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		size_t whole = FRAME_HEADER_BYTES + lengths[i], have = 0;
		while (have < whole) {
			ssize_t n = recv(pair[1], got + have, whole - have, MSG_DONTWAIT);
			cr_assert(n > 0 || (n < 0 && errno == EAGAIN), "%zd", n);
			have += n > 0 ? (size_t)n : 0;
			event_base_loop(loop_base(s.loop), EVLOOP_NONBLOCK);
		}
		struct frame_header h = frame_decode(got);
		cr_assert_eq(h.seq, i);
		cr_assert_eq(h.length, lengths[i]);
		for (uint32_t at = 0; at < lengths[i]; at++)
			cr_assert_eq(got[FRAME_HEADER_BYTES + at], 'a' + i, "frame %u, byte %u", i, at);
	}
	cr_assert_eq(conn_queued_bytes(conn), 0);
	conn_free(conn);
	close(pair[1]);
	loop_free(s.loop);
}

Test(conn, a_pause_holds_what_has_been_read_already)
{
	struct seen s = {.pause_in_frame = true};
	int pair[2];
	struct conn *conn = start(&s, pair);
	/* All of them come with one read. */
	for (uint64_t i = 1; i <= 5; i++)
		put(pair[1], 2, i, "ab", 2);
	turn(s.loop);
	cr_assert_eq(s.frames, 1);
	turn(s.loop);
	cr_assert_eq(s.frames, 1);
	conn_pause(conn, false);
	cr_assert_eq(s.frames, 1, "called back from inside of conn_pause()");
	turn(s.loop);
	cr_assert_eq(s.frames, 2);
	s.pause_in_frame = false;
	conn_pause(conn, false);
	turn(s.loop);
	cr_assert_eq(s.frames, 5);
	cr_assert_eq(s.last.seq, 5);
	conn_free(conn);
	close(pair[1]);
	loop_free(s.loop);
}
