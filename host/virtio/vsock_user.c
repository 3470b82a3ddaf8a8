/* SPDX-License-Identifier: GPL-2.0-only */
/* vsock device: queues and packets (see vsock_internal.h). Loop thread; guest memory only in service(), under
 * the device's lock. Payload goes between guest memory and socket without a copy of ours, unless the socket
 * lags. */
#include "host/virtio/vsock_internal.h"

#include "common/fd.h"
#include "host/virtio/devtab.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/socket.h>

enum { QUEUE_RX, QUEUE_TX, QUEUE_EVENT };

#define OP_BIT(op) (1u << VIRTIO_VSOCK_OP_##op)

/* What is left of a batch. */
struct budget {
	uint32_t bytes, chains;
};

static bool spend(struct budget *left, uint32_t bytes)
{
	left->bytes -= MIN_OF(left->bytes, bytes);
	left->chains -= MIN_OF(left->chains, 1);
	return left->bytes && left->chains;
}

struct virtio_device *vsock_device(struct vsock_user *v)
{
	return &v->dev;
}

struct vsock_stats vsock_stats(const struct vsock_user *v)
{
	return v->stats;
}

/* Listeners */

static struct vsock_listener *find_listener(struct vsock_user *v, uint32_t host_port)
{
	for (unsigned i = 0; i < VSOCK_LISTENERS_MAX; i++)
		if (v->listener[i].accepted && v->listener[i].host_port == host_port)
			return &v->listener[i];
	return NULL;
}

int vsock_listen(
	struct vsock_user *v, uint32_t host_port, vsock_accept_fn accepted, void *arg, struct err *err)
{
	if (find_listener(v, host_port))
		return err_set(err, ERR_ALREADY_EXISTS, "vsock port %u is in use", host_port);
	for (unsigned i = 0; i < VSOCK_LISTENERS_MAX; i++) {
		if (v->listener[i].accepted)
			continue;
		v->listener[i] = (struct vsock_listener){host_port, accepted, arg};
		return 0;
	}
	return err_set(
		err, ERR_LIMIT_EXCEEDED, "at most %u vsock ports can be listened on", VSOCK_LISTENERS_MAX);
}

void vsock_unlisten(struct vsock_user *v, uint32_t host_port)
{
	struct vsock_listener *l = find_listener(v, host_port);
	if (l)
		*l = (struct vsock_listener){0};
}

/* An accepted connection on its way to its listener, outside the device's lock. */
struct handover {
	struct vsock_user *v;
	struct vsock_key key;
	int fd;
};

static void hand_over(void *arg)
{
	struct handover *h = arg;
	struct vsock_listener *l = h->v->freeing ? NULL : find_listener(h->v, h->key.host_port);
	if (l)
		l->accepted(h->fd, h->key.guest_port, l->arg);
	else
		fd_close(&h->fd);
	free(h);
}

/* Guest to host */

static void add_stray(struct vsock_user *v, struct vsock_key key, uint16_t type)
{
	assert(v->n_stray < VSOCK_STRAY_MAX);
	v->stray[(v->stray_head + v->n_stray++) % VSOCK_STRAY_MAX] =
		(struct vsock_stray){.key = key, .type = type};
}

static bool accept_conn(struct vsock_user *v, struct vsock_key key, const struct virtio_vsock_hdr *hdr)
{
	int fds[2];
	if (!find_listener(v, key.host_port) ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
		return false;
	int bytes = VSOCK_BUFFER_BYTES;
	/* As large as the host allows: fewer wake-ups; nothing depends on it. */
	(void)setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	(void)setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	_cleanup_close_ int theirs = fds[1];
	struct vsock_conn *c = vconn_create(v, VSOCK_OPEN, fds[0]);
	if (!c)
		return false;
	_cleanup_free_ struct handover *h = calloc(1, sizeof(*h));
	if (!h || !vconn_insert(c, key)) {
		vconn_destroy(c);
		return false;
	}
	*h = (struct handover){.v = v, .key = key, .fd = theirs};
	if (loop_post(v->loop, v, hand_over, h) < 0) {
		vconn_destroy(c);
		return false;
	}
	theirs = -1;
	h = NULL;
	c->peer_buf_alloc = hdr->buf_alloc;
	c->peer_fwd = c->sent = 0;
	c->send_ops = OP_BIT(RESPONSE);
	v->stats.accepted++;
	vconn_make_ready(c);
	vconn_update_events(c);
	return true;
}

/* A packet of an open connection. False: reset it. */
static bool open_packet(
	struct vsock_conn *c, const struct virtio_vsock_hdr *hdr, const struct iovec *iov, unsigned n)
{
	switch (hdr->op) {
	case VIRTIO_VSOCK_OP_RW:
		return vconn_from_guest(c, iov, n, hdr->len);
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		return true;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		c->send_ops |= OP_BIT(CREDIT_UPDATE);
		vconn_make_ready(c);
		return true;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		vconn_guest_shutdown(c, hdr->flags);
		return true;
	default:
		return false;
	}
}

static void conn_packet(
	struct vsock_conn *c, const struct virtio_vsock_hdr *hdr, const struct iovec *iov, unsigned n)
{
	if (hdr->op == VIRTIO_VSOCK_OP_RST) {
		vconn_guest_gone(c);
		return;
	}
	/* Our own reset is on its way: whatever was sent before it arrives is void. */
	if (c->send_ops & OP_BIT(RST))
		return;
	bool good = vconn_heard_credit(c, hdr);
	if (good && c->state == VSOCK_CONNECTING) {
		good = hdr->op == VIRTIO_VSOCK_OP_RESPONSE && !(c->send_ops & OP_BIT(REQUEST));
		if (good)
			vconn_established(c);
	} else if (good) {
		good = open_packet(c, hdr, iov, n);
	}
	if (!good)
		vconn_reset(c);
}

static void take_packet(struct vsock_user *v, const struct virtq_chain *chain)
{
	/* The one read of the header; everything below looks at the copy. */
	struct virtio_vsock_hdr hdr;
	if (iov_to_bytes(v->iov, chain->n_out, 0, &hdr, sizeof(hdr)) != sizeof(hdr) ||
		hdr.src_cid != v->space.guest_cid || hdr.dst_cid != VSOCK_HOST_CID) {
		v->stats.malformed++;
		return;
	}
	struct vsock_key key = {.host_port = hdr.dst_port, .guest_port = hdr.src_port};
	struct vsock_conn *c = vconn_find(v, key);
	if (hdr.len > chain->out_bytes - VSOCK_HDR_BYTES || hdr.len > VSOCK_PACKET_MAX ||
		hdr.type != VIRTIO_VSOCK_TYPE_STREAM) {
		v->stats.malformed += hdr.type == VIRTIO_VSOCK_TYPE_STREAM;
		if (c && hdr.type == VIRTIO_VSOCK_TYPE_STREAM)
			vconn_reset(c);
		else if (hdr.op != VIRTIO_VSOCK_OP_RST)
			add_stray(v, key, hdr.type);
		return;
	}
	if (c) {
		unsigned n = iov_slice(v->iov, chain->n_out, VSOCK_HDR_BYTES, hdr.len, v->payload);
		conn_packet(c, &hdr, v->payload, n);
	} else if (hdr.op == VIRTIO_VSOCK_OP_REQUEST) {
		if (!accept_conn(v, key, &hdr)) {
			v->stats.refused++;
			add_stray(v, key, hdr.type);
		}
	} else if (hdr.op != VIRTIO_VSOCK_OP_RST) {
		add_stray(v, key, hdr.type);
	}
}

/* True if it stopped at the bound. With no room for another stray reset it waits for the guest to take some.
 */
static bool take_packets(struct vsock_user *v)
{
	struct virtq *q = &v->dev.queue[QUEUE_TX];
	struct budget left = {VIRTIO_BATCH_BYTES, VIRTIO_BATCH_CHAINS};
	struct virtq_chain chain;
	virtq_kick_disable(q);
	for (;;) {
		if (v->n_stray == VSOCK_STRAY_MAX)
			return false;
		switch (virtq_pop(q, v->iov, &chain)) {
		case VIRTQ_CHAIN:
			break;
		case VIRTQ_BROKEN:
			return false;
		case VIRTQ_EMPTY:
			if (!virtq_kick_enable(q))
				return false;
			virtq_kick_disable(q);
			continue;
		}
		take_packet(v, &chain);
		virtq_push(q, chain.head, 0);
		if (!spend(&left, chain.out_bytes))
			return true;
	}
}

/* Host to guest */

enum give {
	GIVE_MORE = 1, /* something was sent; the caller goes on */
	GIVE_NOTHING,  /* this connection has nothing to say now */
	GIVE_STARVED,  /* no receive buffer, or a broken queue: wait for the driver */
};

static struct virtio_vsock_hdr header(
	const struct vsock_user *v, struct vsock_key key, enum virtio_vsock_op op, uint32_t length)
{
	return (struct virtio_vsock_hdr){.src_cid = VSOCK_HOST_CID,
		.dst_cid = v->space.guest_cid,
		.src_port = key.host_port,
		.dst_port = key.guest_port,
		.len = length,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = op};
}

static struct virtio_vsock_hdr conn_header(struct vsock_conn *c, enum virtio_vsock_op op, uint32_t length)
{
	struct virtio_vsock_hdr hdr = header(c->v, c->key, op, length);
	hdr.buf_alloc = VSOCK_BUFFER_BYTES;
	hdr.fwd_cnt = c->fwd_told = c->fwd;
	c->send_ops &= ~OP_BIT(CREDIT_UPDATE);
	return hdr;
}

/* A receive buffer with room for min_bytes; false: none (the driver will notify), or the queue is broken. */
static bool rx_pop(struct vsock_user *v, struct iovec *iov, struct virtq_chain *chain, uint32_t min_bytes)
{
	struct virtq *q = &v->dev.queue[QUEUE_RX];
	for (;;) {
		switch (virtq_pop(q, iov, chain)) {
		case VIRTQ_CHAIN:
			if (chain->in_bytes < min_bytes) {
				virtq_break(q, VIRTQ_FAULT_BUFFER_SHORT);
				return false;
			}
			virtq_kick_disable(q);
			return true;
		case VIRTQ_BROKEN:
			return false;
		case VIRTQ_EMPTY:
			if (!virtq_kick_enable(q))
				return false;
			break;
		}
	}
}

static bool give_header(struct vsock_user *v, const struct virtio_vsock_hdr *hdr)
{
	struct virtq_chain chain;
	if (!rx_pop(v, v->iov, &chain, VSOCK_HDR_BYTES))
		return false;
	iov_from_bytes(v->iov + chain.n_out, chain.n_in, 0, hdr, sizeof(*hdr));
	virtq_push(&v->dev.queue[QUEUE_RX], chain.head, VSOCK_HDR_BYTES);
	return true;
}

static bool give_stray(struct vsock_user *v)
{
	const struct vsock_stray *s = &v->stray[v->stray_head];
	struct virtio_vsock_hdr hdr = header(v, s->key, VIRTIO_VSOCK_OP_RST, 0);
	hdr.type = s->type;
	if (!give_header(v, &hdr))
		return false;
	v->stray_head = (v->stray_head + 1) % VSOCK_STRAY_MAX;
	v->n_stray--;
	v->stats.resets_sent++;
	return true;
}

struct rx_batch {
	unsigned n_chains, n_iov, n_payload;
	uint32_t bytes; /* payload that fits */
	struct {
		struct virtq_chain chain;
		unsigned iov; /* its writable part in v->iov */
		uint32_t room;
	} part[VSOCK_READ_CHAINS];
};

static void gather(struct vsock_user *v, struct rx_batch *b, unsigned max_chains, uint32_t max_bytes)
{
	*b = (struct rx_batch){0};
	while (b->n_chains < max_chains && b->bytes < max_bytes &&
		b->n_iov + VIRTQ_IOV_MAX <= ARRAY_SIZE(v->iov)) {
		struct virtq_chain chain;
		struct iovec *iov = v->iov + b->n_iov;
		if (!rx_pop(v, iov, &chain, VSOCK_HDR_BYTES + 1))
			break;
		uint32_t room = MIN_OF(chain.in_bytes - VSOCK_HDR_BYTES, VSOCK_PACKET_MAX);
		room = MIN_OF(room, max_bytes - b->bytes);
		b->n_payload += iov_slice(
			iov + chain.n_out, chain.n_in, VSOCK_HDR_BYTES, room, v->payload + b->n_payload);
		b->part[b->n_chains].chain = chain;
		b->part[b->n_chains].iov = b->n_iov + chain.n_out;
		b->part[b->n_chains++].room = room;
		b->n_iov += chain.n_out + chain.n_in;
		b->bytes += room;
	}
}

/* Spreads what was read over the gathered buffers, puts the others back. */
static void give_read(struct vsock_conn *c, const struct rx_batch *b, uint32_t length)
{
	struct vsock_user *v = c->v;
	struct virtq *q = &v->dev.queue[QUEUE_RX];
	unsigned i = 0;
	for (uint32_t left = length; left; i++) {
		uint32_t part = MIN_OF(left, b->part[i].room);
		struct virtio_vsock_hdr hdr = conn_header(c, VIRTIO_VSOCK_OP_RW, part);
		iov_from_bytes(v->iov + b->part[i].iov, b->part[i].chain.n_in, 0, &hdr, sizeof(hdr));
		virtq_push(q, b->part[i].chain.head, VSOCK_HDR_BYTES + part);
		left -= part;
	}
	virtq_unpop(q, b->n_chains - i);
	c->sent += length;
	v->stats.bytes_to_guest += length;
	/* As many buffers as the last read filled, and more while it fills all: one for small messages. */
	c->read_chains = i < b->n_chains ? MAX_OF(i, 1) : MIN_OF(2 * b->n_chains, VSOCK_READ_CHAINS);
}

static enum give give_data(struct vsock_conn *c, struct budget *left)
{
	struct vsock_user *v = c->v;
	struct rx_batch b;
	gather(v, &b, c->read_chains, MIN_OF(vconn_credit(c), VSOCK_PACKET_MAX));
	if (v->dev.queue[QUEUE_RX].fault != VIRTQ_FAULT_NONE || b.n_chains == 0)
		return GIVE_STARVED;
	ssize_t n = readv(c->fd, v->payload, (int)b.n_payload);
	int errnum = errno;
	give_read(c, &b, n > 0 ? (uint32_t)n : 0);
	(void)spend(left, n > 0 ? (uint32_t)n : 0);
	if (n > 0) {
		/* A short read has emptied the socket; the poller will tell about more. */
		c->readable = (uint32_t)n == b.bytes;
	} else {
		c->readable = false;
		if (n == 0 || (errnum != EAGAIN && errnum != EINTR))
			vconn_host_eof(c);
	}
	return GIVE_MORE;
}

static enum give give_control(struct vsock_conn *c, enum virtio_vsock_op op)
{
	uint32_t told = c->fwd_told, due = c->send_ops;
	struct virtio_vsock_hdr hdr = conn_header(c, op, 0);
	uint32_t flags = op == VIRTIO_VSOCK_OP_SHUTDOWN ? vconn_shutdown_due(c) : 0;
	hdr.flags = flags;
	if (!give_header(c->v, &hdr)) {
		/* conn_header() has noted the credit as told: it was not, whichever packet was to carry it.
		 */
		c->fwd_told = told;
		c->send_ops = due;
		return GIVE_STARVED;
	}
	c->send_ops &= ~(1u << op);
	c->told_shut |= flags;
	if (op == VIRTIO_VSOCK_OP_SHUTDOWN)
		vconn_close_timer(c);
	if (op == VIRTIO_VSOCK_OP_RST) {
		c->v->stats.resets_sent++;
		vconn_guest_gone(c);
	}
	return GIVE_MORE;
}

/* The next packet that a connection owes the guest. c may be gone. */
static enum give give_next(struct vsock_conn *c, struct budget *left)
{
	static const enum virtio_vsock_op order[] = {VIRTIO_VSOCK_OP_RST, VIRTIO_VSOCK_OP_REQUEST,
		VIRTIO_VSOCK_OP_RESPONSE, VIRTIO_VSOCK_OP_CREDIT_UPDATE, VIRTIO_VSOCK_OP_CREDIT_REQUEST};
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		if (c->send_ops & 1u << order[i])
			return give_control(c, order[i]);
	if (c->state != VSOCK_OPEN)
		return GIVE_NOTHING;
	if (c->readable && !(c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV)) {
		if (vconn_credit(c) > 0)
			return give_data(c, left);
		if (!c->credit_asked) {
			enum give given = give_control(c, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
			c->credit_asked = given == GIVE_MORE;
			return given;
		}
	}
	return vconn_shutdown_due(c) ? give_control(c, VIRTIO_VSOCK_OP_SHUTDOWN) : GIVE_NOTHING;
}

static bool give_packets(struct vsock_user *v)
{
	struct budget left = {VIRTIO_BATCH_BYTES, VIRTIO_BATCH_CHAINS};
	struct vsock_conn *c;
	while (v->n_stray) {
		if (!give_stray(v))
			return false;
		if (!spend(&left, 0))
			return true;
	}
	while ((c = TAILQ_FIRST(&v->ready))) {
		/* To the end of the line first: the packet may free it. */
		TAILQ_REMOVE(&v->ready, c, ready_link);
		TAILQ_INSERT_TAIL(&v->ready, c, ready_link);
		switch (give_next(c, &left)) {
		case GIVE_MORE:
			break;
		case GIVE_NOTHING:
			TAILQ_REMOVE(&v->ready, c, ready_link);
			c->ready = false;
			vconn_update_events(c);
			break;
		case GIVE_STARVED:
			return false;
		}
		if (!spend(&left, 0))
			return true;
	}
	return false;
}

static void give_event(struct vsock_user *v)
{
	struct virtq *q = &v->dev.queue[QUEUE_EVENT];
	struct virtio_vsock_event event = {.id = VIRTIO_VSOCK_EVENT_TRANSPORT_RESET};
	struct virtq_chain chain;
	do {
		if (!v->event_due || virtq_pop(q, v->iov, &chain) != VIRTQ_CHAIN)
			continue;
		if (chain.in_bytes < sizeof(event)) {
			virtq_break(q, VIRTQ_FAULT_BUFFER_SHORT);
			return;
		}
		iov_from_bytes(v->iov + chain.n_out, chain.n_in, 0, &event, sizeof(event));
		virtq_push(q, chain.head, sizeof(event));
		v->event_due = false;
	} while (v->event_due && virtq_kick_enable(q));
}

static bool service(struct virtio_device *dev)
{
	struct vsock_user *v = container_of(dev, struct vsock_user, dev);
	give_event(v);
	bool again = take_packets(v);
	bool held = v->n_stray == VSOCK_STRAY_MAX;
	again |= give_packets(v);
	return again || (held && v->n_stray < VSOCK_STRAY_MAX);
}

/* Life */

static void drop_guest(struct vsock_user *v)
{
	for (struct vsock_conn *c = TAILQ_FIRST(&v->all), *next; c; c = next) {
		next = TAILQ_NEXT(c, all_link);
		if (c->state == VSOCK_CONNECTING || c->state == VSOCK_OPEN)
			vconn_guest_gone(c);
	}
	v->n_stray = 0;
}

static void on_reset(struct virtio_device *dev)
{
	struct vsock_user *v = container_of(dev, struct vsock_user, dev);
	drop_guest(v);
	v->event_due = false;
}

void vsock_transport_reset(struct vsock_user *v)
{
	drop_guest(v);
	v->event_due = true;
	virtio_run(&v->dev);
}

static void free_vsock(struct virtio_device *dev)
{
	struct vsock_user *v = container_of(dev, struct vsock_user, dev);
	v->freeing = true;
	loop_drain(v->loop, v);
	uds_close(v);
	while (!TAILQ_EMPTY(&v->all))
		vconn_destroy(TAILQ_FIRST(&v->all));
	virtio_deinit(&v->dev);
	free(v);
}

const struct virtio_ops virtio_vsock_ops = {
	.name = "vsock",
	.id = VIRTIO_ID_VSOCK,
	.n_queues = 3,
	.queue_size_max = {256, 256, 16},
	.service = service,
	.reset = on_reset,
	.free = free_vsock,
};

struct vsock_user *vsock_new(const struct vsock_config *config, struct loop *loop, struct err *err)
{
	if (config->guest_cid <= VSOCK_HOST_CID || config->guest_cid >= UINT32_MAX) {
		err_set(err, ERR_INVALID_ARGUMENT, "%llu is not a vsock CID for a guest (3 to 4294967294)",
			(unsigned long long)config->guest_cid);
		return NULL;
	}
	struct vsock_user *v = calloc(1, sizeof(*v));
	if (!v) {
		err_set_os(err, ERR_HOST, ENOMEM, "cannot create the vsock device");
		return NULL;
	}
	TAILQ_INIT(&v->all);
	TAILQ_INIT(&v->ready);
	v->loop = loop;
	v->uds_fd = -1;
	v->space.guest_cid = config->guest_cid;
	v->connect_timeout_ns =
		config->connect_timeout_ns ? config->connect_timeout_ns : 10 * UINT64_C(1000000000);
	if (virtio_init(&v->dev, &virtio_vsock_ops, &v->space, sizeof(v->space), err) < 0 ||
		(config->uds_path && uds_open(v, config->uds_path, err) < 0)) {
		free_vsock(&v->dev);
		return NULL;
	}
	return v;
}
