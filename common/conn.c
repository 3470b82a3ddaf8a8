/* SPDX-License-Identifier: GPL-2.0-only */
/* Framed connection (see conn.h). Loop thread only. */
#include "common/conn.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/loop.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

struct conn {
	struct bufferevent *bev;
	struct conn_ops ops;
	void *arg;
	size_t max_queue;
	size_t skip; /* bytes of an oversize payload still to be thrown away */
	struct frame_header skipped;
	bool ended;   /* closed() was or must not be called */
	bool refused; /* a send was refused: drained() is due */
	bool paused;  /* by the owner: frames wait, those that are here already too */
	bool in_callback, free_asked;
};

static void conn_destroy(struct conn *conn)
{
	bufferevent_free(conn->bev);
	free(conn);
}

/* Runs a callback that may free the connection; false when it did. */
#define CALLBACK(conn, call)                                                                                 \
	({                                                                                                   \
		bool outer_ = (conn)->in_callback;                                                           \
		(conn)->in_callback = true;                                                                  \
		call;                                                                                        \
		(conn)->in_callback = outer_;                                                                \
		bool alive_ = !(conn)->free_asked;                                                           \
		if (!alive_ && !outer_)                                                                      \
			conn_destroy(conn);                                                                  \
		alive_;                                                                                      \
	})

static void conn_end(struct conn *conn, const struct err *err)
{
	if (conn->ended)
		return;
	conn->ended = true;
	bufferevent_disable(conn->bev, EV_READ | EV_WRITE);
	if (conn->ops.closed)
		(void)CALLBACK(conn, conn->ops.closed(conn, err, conn->arg));
}

static void on_read(struct bufferevent *bev, void *arg)
{
	struct conn *conn = arg;
	struct evbuffer *in = bufferevent_get_input(bev);
	while (!conn->ended && !conn->paused) {
		if (conn->skip) {
			size_t have = evbuffer_get_length(in), n = MIN_OF(have, conn->skip);
			evbuffer_drain(in, n);
			conn->skip -= n;
			if (conn->skip)
				return;
			if (!CALLBACK(conn, conn->ops.oversize(conn, &conn->skipped, conn->arg)))
				return;
			continue;
		}
		uint8_t bytes[FRAME_HEADER_BYTES];
		if (evbuffer_copyout(in, bytes, sizeof(bytes)) < FRAME_HEADER_BYTES)
			return;
		struct frame_header header = frame_decode(bytes);
		if (header.length > FRAME_MAX_BYTES) {
			if (header.length > FRAME_SKIP_BYTES || !conn->ops.oversize) {
				struct err err = ERR_INIT;
				err_set(&err, ERR_LIMIT_EXCEEDED,
					"the peer announced a message of %u bytes, the limit is %u",
					header.length, FRAME_MAX_BYTES);
				conn_end(conn, &err);
				return;
			}
			evbuffer_drain(in, FRAME_HEADER_BYTES);
			conn->skip = header.length;
			conn->skipped = header;
			continue;
		}
		size_t whole = FRAME_HEADER_BYTES + (size_t)header.length;
		if (evbuffer_get_length(in) < whole)
			return;
		const uint8_t *frame = evbuffer_pullup(in, (ev_ssize_t)whole);
		if (!frame) {
			struct err err = ERR_INIT;
			err_set_os(&err, ERR_HOST, ENOMEM, "cannot read a message");
			conn_end(conn, &err);
			return;
		}
		if (!CALLBACK(conn, conn->ops.frame(conn, &header, frame + FRAME_HEADER_BYTES, conn->arg)))
			return;
		evbuffer_drain(in, whole);
	}
}

static void on_write(struct bufferevent *bev, void *arg)
{
	struct conn *conn = arg;
	if (!conn->refused || conn->ended)
		return;
	conn->refused = false;
	if (conn->ops.drained)
		(void)CALLBACK(conn, conn->ops.drained(conn, conn->arg));
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct conn *conn = arg;
	struct err err = ERR_INIT;
	if (what & BEV_EVENT_ERROR) {
		int errnum = EVUTIL_SOCKET_ERROR();
		/* A peer that is gone is an end like any other: EOF and these differ only by what was in
		 * flight. */
		if (errnum && errnum != ECONNRESET && errnum != EPIPE)
			err_set_os(&err, ERR_HOST, errnum, "the connection failed");
	}
	if (what & (BEV_EVENT_ERROR | BEV_EVENT_EOF))
		conn_end(conn, &err);
}

struct conn *conn_new(struct loop *loop, int fd, size_t max_queue_bytes, const struct conn_ops *ops,
	void *arg, struct err *err)
{
	struct conn *conn = NULL;
	if (fd_set_nonblock(fd, err) < 0)
		goto fail;
	conn = calloc(1, sizeof(*conn));
	if (conn)
		conn->bev = bufferevent_socket_new(loop_base(loop), fd, BEV_OPT_CLOSE_ON_FREE);
	if (!conn || !conn->bev) {
		err_set_os(err, ERR_HOST, ENOMEM, "cannot set up a connection");
		goto fail;
	}
	conn->ops = *ops;
	conn->arg = arg;
	conn->max_queue = max_queue_bytes;
	bufferevent_setcb(conn->bev, on_read, on_write, on_event, conn);
	/* At most two of the largest frames wait unread: the rest stays with the peer. */
	bufferevent_setwatermark(conn->bev, EV_READ, 0, 2 * (FRAME_MAX_BYTES + FRAME_HEADER_BYTES));
	bufferevent_enable(conn->bev, EV_READ | EV_WRITE);
	return conn;
fail:
	free(conn);
	close(fd);
	return NULL;
}

void conn_free(struct conn *conn)
{
	if (!conn)
		return;
	conn->ended = true;
	conn->free_asked = true;
	if (!conn->in_callback)
		conn_destroy(conn);
}

/* Last words of a connection nobody listens to any more. */
static void flush_written(struct bufferevent *bev, void *arg)
{
	bufferevent_free(bev);
}
static void flush_event(struct bufferevent *bev, short what, void *arg)
{
	bufferevent_free(bev);
}

void conn_free_flushed(struct conn *conn, uint64_t linger_ns)
{
	if (!conn)
		return;
	bool waiting = evbuffer_get_length(bufferevent_get_output(conn->bev)) > 0;
	if (!waiting || conn->ended || conn->in_callback) {
		conn_free(conn);
		return;
	}
	struct timeval limit = clock_timeval(linger_ns);
	bufferevent_setcb(conn->bev, NULL, flush_written, flush_event, NULL);
	bufferevent_disable(conn->bev, EV_READ);
	bufferevent_set_timeouts(conn->bev, NULL, &limit);
	free(conn);
}

/* What the socket takes at once, when nothing else waits before it: most messages then cost one system call
 * and not a turn of the loop as well. What fails is found again, and reported, by the bufferevent. */
static size_t send_now(struct conn *conn, const uint8_t *header, const void *payload, size_t length)
{
	struct iovec parts[] = {{(void *)header, FRAME_HEADER_BYTES}, {(void *)payload, length}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = length ? 2 : 1};
	ssize_t n = sendmsg(bufferevent_getfd(conn->bev), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	return n > 0 ? (size_t)n : 0;
}

int conn_send(struct conn *conn, const struct frame_header *header, const void *payload)
{
	if (conn->ended)
		return -ENOTCONN;
	if (header->length > FRAME_MAX_BYTES)
		return -EMSGSIZE;
	struct evbuffer *out = bufferevent_get_output(conn->bev);
	size_t whole = FRAME_HEADER_BYTES + (size_t)header->length;
	if (!range_fits(evbuffer_get_length(out), whole, conn->max_queue)) {
		conn->refused = true;
		return -ENOBUFS;
	}
	uint8_t bytes[FRAME_HEADER_BYTES];
	frame_encode(header, bytes);
	/* Before anything is sent: half a frame can not be taken back. */
	if (evbuffer_expand(out, whole) < 0)
		return -ENOMEM;
	size_t sent = evbuffer_get_length(out) ? 0 : send_now(conn, bytes, payload, header->length);
	if (sent < FRAME_HEADER_BYTES) {
		evbuffer_add(out, bytes + sent, FRAME_HEADER_BYTES - sent);
		sent = FRAME_HEADER_BYTES;
	}
	if (sent < whole)
		evbuffer_add(out, (const uint8_t *)payload + (sent - FRAME_HEADER_BYTES), whole - sent);
	return 0;
}

void conn_pause(struct conn *conn, bool paused)
{
	if (conn->ended || conn->paused == paused)
		return;
	conn->paused = paused;
	if (paused) {
		bufferevent_disable(conn->bev, EV_READ);
		return;
	}
	bufferevent_enable(conn->bev, EV_READ);
	/* What was read before the pause brings no event of its own. Deferred: the caller may be in the
	 * middle of something. */
	bufferevent_trigger(conn->bev, EV_READ, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
}

size_t conn_queued_bytes(const struct conn *conn)
{
	return evbuffer_get_length(bufferevent_get_output(conn->bev));
}

int conn_fd(const struct conn *conn)
{
	return bufferevent_getfd(conn->bev);
}
