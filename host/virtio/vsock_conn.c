/* SPDX-License-Identifier: GPL-2.0-only */
/* vsock connections: state, credit and the socket side (see vsock_internal.h). Loop thread; no guest memory
 * except the iovecs handed to vconn_from_guest(). */
#include "host/virtio/vsock_internal.h"

#include "common/clock.h"
#include "common/fd.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static void flush(struct vsock_conn *c);
static void close_socket(struct vsock_conn *c);

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct vsock_conn *c = arg;
	struct vsock_user *v = c->v;
	if (c->state == VSOCK_LINE) {
		uds_line_readable(c);
	} else {
		c->readable = true;
		vconn_make_ready(c);
		vconn_update_events(c);
	}
	virtio_run(&v->dev);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct vsock_conn *c = arg;
	struct vsock_user *v = c->v;
	flush(c);
	virtio_run(&v->dev);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct vsock_conn *c = arg;
	struct vsock_user *v = c->v;
	if (c->state == VSOCK_CONNECTING) {
		v->stats.timed_out++;
		/* The client hears of it now; the guest when it takes packets again. */
		close_socket(c);
	}
	if (c->state == VSOCK_LINE || c->send_ops & 1u << VIRTIO_VSOCK_OP_REQUEST)
		vconn_destroy(c);
	else
		vconn_reset(c);
	virtio_run(&v->dev);
}

struct vsock_conn *vconn_create(struct vsock_user *v, enum vsock_state state, int fd)
{
	struct vsock_conn *c = v->stats.open < VSOCK_CONNS_MAX ? calloc(1, sizeof(*c)) : NULL;
	if (!c) {
		fd_close(&fd);
		return NULL;
	}
	c->v = v;
	c->state = state;
	c->fd = fd;
	c->read_chains = 1;
	TAILQ_INSERT_TAIL(&v->all, c, all_link);
	v->stats.open++;
	struct event_base *base = loop_base(v->loop);
	c->read_event = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, c);
	c->write_event = event_new(base, fd, EV_WRITE | EV_PERSIST, on_writable, c);
	c->timer = evtimer_new(base, on_timer, c);
	if (!c->read_event || !c->write_event || !c->timer) {
		vconn_destroy(c);
		return NULL;
	}
	return c;
}

static void leave_table(struct vsock_conn *c)
{
	if (c->in_table)
		HASH_DEL(c->v->table, c);
	c->in_table = false;
	if (c->ready)
		TAILQ_REMOVE(&c->v->ready, c, ready_link);
	c->ready = false;
}

/* Events before the fd: libevent must not see a number that somebody else may get. */
static void close_socket(struct vsock_conn *c)
{
	if (c->read_event)
		event_free(c->read_event);
	if (c->write_event)
		event_free(c->write_event);
	c->read_event = c->write_event = NULL;
	c->read_on = c->write_on = false;
	c->host_eof = c->host_deaf = true;
	c->readable = false;
	fd_close(&c->fd);
}

void vconn_destroy(struct vsock_conn *c)
{
	leave_table(c);
	close_socket(c);
	if (c->timer)
		event_free(c->timer);
	TAILQ_REMOVE(&c->v->all, c, all_link);
	c->v->stats.open--;
	free(c->buffer);
	free(c);
}

bool vconn_insert(struct vsock_conn *c, struct vsock_key key)
{
	struct vsock_user *v = c->v;
	if (vconn_find(v, key))
		return false;
	c->key = key;
	HASH_ADD(hh, v->table, key, sizeof(c->key), c);
	c->in_table = true;
	return true;
}

struct vsock_conn *vconn_find(struct vsock_user *v, struct vsock_key key)
{
	struct vsock_conn *c;
	HASH_FIND(hh, v->table, &key, sizeof(key), c);
	return c;
}

void vconn_make_ready(struct vsock_conn *c)
{
	if (c->ready || (c->state != VSOCK_CONNECTING && c->state != VSOCK_OPEN))
		return;
	c->ready = true;
	TAILQ_INSERT_TAIL(&c->v->ready, c, ready_link);
}

static void set_event(struct event *ev, bool *on, bool want)
{
	if (!ev || *on == want)
		return;
	if (want ? event_add(ev, NULL) == 0 : event_del(ev) == 0)
		*on = want;
}

void vconn_update_events(struct vsock_conn *c)
{
	/* A socket that has been found readable, or whose bytes the guest cannot take now, is not polled:
	 * level-triggered, it would spin. */
	bool read_open = c->state == VSOCK_OPEN && !c->readable && !c->host_eof && vconn_credit(c) > 0 &&
			 !(c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV);
	set_event(c->read_event, &c->read_on, c->state == VSOCK_LINE || read_open);
	set_event(c->write_event, &c->write_on, c->buf_bytes > 0 && !c->host_deaf);
}

void vconn_set_timer(struct vsock_conn *c, uint64_t ns)
{
	struct timeval tv = clock_timeval(ns);
	/* Without memory for it the connection lives until its other ends do. */
	(void)event_add(c->timer, &tv);
}

uint32_t vconn_credit(const struct vsock_conn *c)
{
	uint32_t in_flight = c->sent - c->peer_fwd;
	return in_flight < c->peer_buf_alloc ? c->peer_buf_alloc - in_flight : 0;
}

bool vconn_heard_credit(struct vsock_conn *c, const struct virtio_vsock_hdr *hdr)
{
	/* The guest's threads may queue packets in another order than they counted, so an older count is
	 * normal; one beyond what was sent is a lie. */
	uint32_t ahead = hdr->fwd_cnt - c->peer_fwd;
	if (ahead <= INT32_MAX) {
		if (ahead > c->sent - c->peer_fwd)
			return false;
		c->peer_fwd = hdr->fwd_cnt;
	}
	c->peer_buf_alloc = hdr->buf_alloc;
	if (vconn_credit(c) > 0) {
		c->credit_asked = false;
		if (c->readable)
			vconn_make_ready(c);
	}
	vconn_update_events(c);
	return true;
}

/* Tells the guest about room once half of it is new: often enough that it never waits for us while there is
 * room, rarely enough that bulk data does not cost a packet each way. */
static void forwarded(struct vsock_conn *c, uint32_t bytes)
{
	c->fwd += bytes;
	if (c->fwd - c->fwd_told >= VSOCK_BUFFER_BYTES / 2 && c->state == VSOCK_OPEN) {
		c->send_ops |= 1u << VIRTIO_VSOCK_OP_CREDIT_UPDATE;
		vconn_make_ready(c);
	}
}

/* The socket's reader is gone: bytes from the guest have nowhere to go and count as taken, the guest is told.
 */
static void host_deaf(struct vsock_conn *c)
{
	c->host_deaf = true;
	uint32_t lost = c->buf_bytes;
	c->buf_bytes = 0;
	forwarded(c, lost);
	vconn_make_ready(c);
	vconn_update_events(c);
}

static bool would_block(int errnum)
{
	return errnum == EAGAIN || errnum == EINTR || errnum == ENOBUFS;
}

/* After the guest's last byte was taken: pass its end on. May free c; false then. */
static bool passed_on(struct vsock_conn *c)
{
	if (c->buf_bytes)
		return true;
	if (c->state == VSOCK_ORPHAN) {
		vconn_destroy(c);
		return false;
	}
	if (c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND && !c->wr_shut) {
		c->wr_shut = true;
		if (c->fd >= 0)
			shutdown(c->fd, SHUT_WR);
	}
	/* The guest has closed its socket and waits for our reset (5.10.6.5). */
	if (c->guest_shut == (VIRTIO_VSOCK_SHUTDOWN_SEND | VIRTIO_VSOCK_SHUTDOWN_RCV)) {
		close_socket(c);
		vconn_reset(c);
		return true;
	}
	return true;
}

static uint32_t send_iov(struct vsock_conn *c, const struct iovec *iov, unsigned n)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = n};
	ssize_t sent = sendmsg(c->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent >= 0)
		return (uint32_t)sent;
	if (!would_block(errno))
		host_deaf(c);
	return 0;
}

static void flush(struct vsock_conn *c)
{
	uint32_t first = MIN_OF(c->buf_bytes, VSOCK_BUFFER_BYTES - c->buf_head);
	struct iovec iov[2] = {{c->buffer + c->buf_head, first}, {c->buffer, c->buf_bytes - first}};
	uint32_t n = c->buf_bytes ? send_iov(c, iov, 2) : 0;
	c->buf_head = (c->buf_head + n) % VSOCK_BUFFER_BYTES;
	c->buf_bytes -= n;
	c->v->stats.bytes_to_host += n;
	forwarded(c, n);
	if (passed_on(c))
		vconn_update_events(c);
}

static bool buffer_append(
	struct vsock_conn *c, const struct iovec *iov, unsigned n, uint32_t offset, uint32_t length)
{
	if (!c->buffer)
		c->buffer = malloc(VSOCK_BUFFER_BYTES);
	if (!c->buffer)
		return false;
	uint32_t tail = (c->buf_head + c->buf_bytes) % VSOCK_BUFFER_BYTES;
	uint32_t first = MIN_OF(length, VSOCK_BUFFER_BYTES - tail);
	iov_to_bytes(iov, n, offset, c->buffer + tail, first);
	iov_to_bytes(iov, n, offset + first, c->buffer, length - first);
	c->buf_bytes += length;
	return true;
}

bool vconn_from_guest(struct vsock_conn *c, const struct iovec *iov, unsigned n, uint32_t length)
{
	if (c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND)
		return false;
	if (length > VSOCK_BUFFER_BYTES - (c->received - c->fwd)) {
		c->v->stats.credit_violations++;
		return false;
	}
	c->received += length;
	uint32_t done = 0;
	if (!c->buf_bytes && !c->host_deaf && length)
		done = send_iov(c, iov, n);
	c->v->stats.bytes_to_host += done;
	if (c->host_deaf) {
		forwarded(c, length);
		return true;
	}
	forwarded(c, done);
	if (done < length && !buffer_append(c, iov, n, done, length - done))
		return false;
	vconn_update_events(c);
	return true;
}

void vconn_guest_shutdown(struct vsock_conn *c, uint32_t flags)
{
	c->guest_shut |= flags & (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND);
	if (c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV) {
		c->readable = false;
		if (c->fd >= 0)
			shutdown(c->fd, SHUT_RD);
	}
	vconn_close_timer(c);
	(void)passed_on(c);
	vconn_update_events(c);
}

void vconn_guest_gone(struct vsock_conn *c)
{
	leave_table(c);
	c->state = VSOCK_ORPHAN;
	(void)event_del(c->timer);
	if (passed_on(c))
		vconn_update_events(c);
}

void vconn_host_eof(struct vsock_conn *c)
{
	c->host_eof = true;
	c->readable = false;
	/* HUP: closed for good, not only shut down for writing. */
	struct pollfd p = {.fd = c->fd};
	if (poll(&p, 1, 0) == 1 && (p.revents & POLLHUP) && !c->wr_shut)
		host_deaf(c);
}

void vconn_close_timer(struct vsock_conn *c)
{
	const uint32_t both = VIRTIO_VSOCK_SHUTDOWN_SEND | VIRTIO_VSOCK_SHUTDOWN_RCV;
	uint32_t guest_done = c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND;
	if (c->told_shut == both || (guest_done && (c->told_shut & VIRTIO_VSOCK_SHUTDOWN_SEND)))
		vconn_set_timer(c, VSOCK_CLOSE_TIMEOUT_NS);
}

uint32_t vconn_shutdown_due(const struct vsock_conn *c)
{
	uint32_t due = 0;
	if (c->host_eof)
		due |= VIRTIO_VSOCK_SHUTDOWN_SEND;
	if (c->host_deaf)
		due |= VIRTIO_VSOCK_SHUTDOWN_RCV;
	return due & ~c->told_shut;
}

void vconn_reset(struct vsock_conn *c)
{
	if (c->state != VSOCK_CONNECTING && c->state != VSOCK_OPEN)
		return;
	c->send_ops = 1u << VIRTIO_VSOCK_OP_RST;
	c->readable = false;
	(void)event_del(c->timer);
	vconn_make_ready(c);
	vconn_update_events(c);
}

void vconn_established(struct vsock_conn *c)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "OK %u\n", c->key.host_port);
	(void)event_del(c->timer);
	c->state = VSOCK_OPEN;
	c->v->stats.connected++;
	/* The first bytes on an empty socket: they fit or the client is gone. */
	if (send(c->fd, text, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) != n) {
		close_socket(c);
		vconn_make_ready(c);
	}
	vconn_update_events(c);
}
