/* SPDX-License-Identifier: GPL-2.0-only */
/* A framed connection on the main loop: any stream socket, bounded both ways. Loop thread only. */
#ifndef COMMON_CONN_H
#define COMMON_CONN_H

#include "common/err.h"
#include "common/frame.h"
#include "common/scope.h"

#include <stdbool.h>

struct conn;
struct loop;

struct conn_ops {
	/* A whole frame. payload is valid during the call only; the callback may call conn_free(). */
	void (*frame)(
		struct conn *conn, const struct frame_header *header, const uint8_t *payload, void *arg);
	/* A frame too long to accept was skipped (its payload is gone). May be NULL: then the connection is
	 * closed. */
	void (*oversize)(struct conn *conn, const struct frame_header *header, void *arg);
	/* The connection ended, by the peer (err->code == ERR_NONE) or for the reason given. Called at most
	 * once, never for conn_free(). The callback usually calls conn_free(). */
	void (*closed)(struct conn *conn, const struct err *err, void *arg);
	/* The send queue has run empty after conn_send() was refused. May be NULL. */
	void (*drained)(struct conn *conn, void *arg);
};

/* Takes fd over (closed with the connection, also on failure). max_queue_bytes bounds what waits to be sent.
 */
struct conn *conn_new(struct loop *loop, int fd, size_t max_queue_bytes, const struct conn_ops *ops,
	void *arg, struct err *err) must_check;
void conn_free(struct conn *conn);
SCOPE_GUARD(struct conn *, conn_free, conn_free)

/* Queues one frame. -ENOBUFS when the queue is full (nothing queued), -EMSGSIZE beyond FRAME_MAX_BYTES,
 * -ENOTCONN after the connection ended. */
int conn_send(struct conn *conn, const struct frame_header *header, const void *payload) must_check;
/* Frees the connection once everything queued is written or linger_ns is over. No callback any more. */
void conn_free_flushed(struct conn *conn, uint64_t linger_ns);
/* Stops or resumes reading: back pressure towards the peer. From the call on no frame() and no oversize(),
 * not even for what has been read already; that comes after the resume. */
void conn_pause(struct conn *conn, bool paused);
size_t conn_queued_bytes(const struct conn *conn);
int conn_fd(const struct conn *conn);

#endif
