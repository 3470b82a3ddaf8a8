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
	int sent = 0;
	while (conn_send(conn, &h, bytes) == 0 && sent < 100)
		sent++;
	cr_assert_eq(sent, 3); /* 4 x (256 KiB + header) is more than 1 MiB */
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
