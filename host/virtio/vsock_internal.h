/* SPDX-License-Identifier: GPL-2.0-only */
/* What the three files of the vsock device share. Loop thread only.
 *
 *   vsock_user.c  queues and packets: the only one that touches guest memory (in ops->service)
 *   vsock_conn.c  connections: state, credit, the socket side
 *   vsock_uds.c   the Unix socket and its CONNECT lines
 *
 * Event handlers change connections, put them on the ready list and call virtio_run(); a run may free any
 * connection, so it is the last thing a handler does. */
#ifndef HOST_VIRTIO_VSOCK_INTERNAL_H
#define HOST_VIRTIO_VSOCK_INTERNAL_H

#include "host/virtio/device.h"
#include "host/virtio/vsock_user.h"

#include <linux/virtio_vsock.h>
#include <sys/queue.h>
/* Eight-byte keys, a bounded table: the short function will do. */
#define HASH_FUNCTION HASH_FNV
#include <uthash.h>

#define VSOCK_HDR_BYTES 44u
/* Largest payload of one packet, as in Linux. */
#define VSOCK_PACKET_MAX (64u * 1024)
/* Resets for packets that belong to no connection, waiting for a guest buffer. */
#define VSOCK_STRAY_MAX 64u
/* Receive buffers filled by one read. */
#define VSOCK_READ_CHAINS 16u
#define VSOCK_LINE_MAX 32u
/* How long a connection that both sides have shut down waits for the guest's reset. */
#define VSOCK_CLOSE_TIMEOUT_NS (10 * UINT64_C(1000000000))

_Static_assert(sizeof(struct virtio_vsock_hdr) == VSOCK_HDR_BYTES, "packet header");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "virtio is little-endian and so is the host");

struct vsock_key {
	uint32_t host_port, guest_port;
};

enum vsock_state {
	VSOCK_LINE,       /* Unix client that has not finished its CONNECT line; not in the table */
	VSOCK_CONNECTING, /* REQUEST to the guest is waiting or sent */
	VSOCK_OPEN,
	VSOCK_ORPHAN, /* the guest's side is gone; what it sent is being flushed; not in the table */
};

struct vsock_conn {
	struct vsock_user *v;
	struct vsock_key key;
	enum vsock_state state;
	UT_hash_handle hh; /* in v->table while in_table */
	bool in_table;
	TAILQ_ENTRY(vsock_conn) all_link;
	TAILQ_ENTRY(vsock_conn) ready_link;
	bool ready;    /* on v->ready: there may be something for the guest */
	bool readable; /* the socket may have bytes */

	int fd; /* -1: closed, nothing more in either direction */
	struct event *read_event, *write_event, *timer;
	bool read_on, write_on;

	uint32_t send_ops;   /* 1 << VIRTIO_VSOCK_OP_*: control packets due */
	uint32_t guest_shut; /* VIRTIO_VSOCK_SHUTDOWN_* the guest has said */
	uint32_t told_shut;  /* the same, said by us */
	bool host_eof;       /* the socket delivers nothing more */
	bool host_deaf;      /* the socket takes nothing more */
	bool wr_shut;        /* the guest's end of sending was passed on */

	/* Guest to host. Counters wrap like the ones on the wire. */
	uint32_t received; /* bytes of payload taken from the guest */
	uint32_t fwd;      /* of these, taken by the socket: our fwd_cnt */
	uint32_t fwd_told; /* fwd_cnt in the last packet to the guest */
	uint8_t *buffer;   /* ring of VSOCK_BUFFER_BYTES; NULL until the socket first lags */
	uint32_t buf_head, buf_bytes;

	/* Host to guest */
	uint32_t sent;           /* our payload bytes so far */
	uint32_t peer_fwd;       /* highest fwd_cnt heard */
	uint32_t peer_buf_alloc; /* latest heard */
	bool credit_asked;       /* CREDIT_REQUEST since the credit ran out */
	unsigned read_chains;    /* receive buffers to offer to the next read */

	char line[VSOCK_LINE_MAX];
	unsigned line_bytes;
};

TAILQ_HEAD(vsock_list, vsock_conn);

struct vsock_listener {
	uint32_t host_port;
	vsock_accept_fn accepted; /* NULL: free */
	void *arg;
};

/* A packet without a connection, to be answered with a reset. */
struct vsock_stray {
	struct vsock_key key;
	uint16_t type;
};

struct vsock_user {
	struct virtio_device dev;
	struct virtio_vsock_config space; /* configuration space */
	struct loop *loop;
	uint64_t connect_timeout_ns;
	struct vsock_listener listener[VSOCK_LISTENERS_MAX];

	struct vsock_conn *table; /* by key */
	struct vsock_list all, ready;
	struct vsock_stray stray[VSOCK_STRAY_MAX];
	unsigned stray_head, n_stray;
	bool event_due; /* transport reset to be told */
	bool freeing;   /* posted work only cleans up */
	uint32_t next_host_port;

	int uds_fd;
	struct event *uds_event, *uds_retry;
	char *uds_path; /* bound by us: unlinked at the end */

	struct vsock_stats stats;
	/* Scratch of ops->service */
	struct iovec iov[VIRTQ_IOV_MAX * 2], payload[VIRTQ_IOV_MAX * 2];
};

/* vsock_conn.c */
/* A connection around fd (taken over, also on failure: then NULL). Beyond VSOCK_CONNS_MAX: NULL. */
struct vsock_conn *vconn_create(struct vsock_user *v, enum vsock_state state, int fd) must_check;
void vconn_destroy(struct vsock_conn *c);
/* Makes c findable; false when there is one with that key. */
bool vconn_insert(struct vsock_conn *c, struct vsock_key key) must_check;
struct vsock_conn *vconn_find(struct vsock_user *v, struct vsock_key key);
void vconn_make_ready(struct vsock_conn *c);
/* Listens to the socket for what the connection can use now. */
void vconn_update_events(struct vsock_conn *c);
void vconn_set_timer(struct vsock_conn *c, uint64_t ns);
/* Bytes that may be sent to the guest now. */
uint32_t vconn_credit(const struct vsock_conn *c);
/* Takes the credit fields of a packet. False: they cannot be true. */
bool vconn_heard_credit(struct vsock_conn *c, const struct virtio_vsock_hdr *hdr) must_check;
/* Payload from the guest. False: more than it had credit for, or after its end. */
bool vconn_from_guest(struct vsock_conn *c, const struct iovec *iov, unsigned n, uint32_t length) must_check;
/* The guest has shut down (more of) its side. */
void vconn_guest_shutdown(struct vsock_conn *c, uint32_t flags);
/* The guest knows nothing of the connection any more: flush what there is, then free. c may be gone. */
void vconn_guest_gone(struct vsock_conn *c);
/* The socket end was seen: records it and asks for the SHUTDOWN. */
void vconn_host_eof(struct vsock_conn *c);
/* Once no byte can flow any more, the guest has VSOCK_CLOSE_TIMEOUT_NS for its reset. */
void vconn_close_timer(struct vsock_conn *c);
/* SHUTDOWN flags that are due and not said yet. */
uint32_t vconn_shutdown_due(const struct vsock_conn *c);
/* A reset to the guest, then the connection ends as in vconn_guest_gone(). */
void vconn_reset(struct vsock_conn *c);
/* RESPONSE came: tells the client. */
void vconn_established(struct vsock_conn *c);

/* vsock_uds.c */
int uds_open(struct vsock_user *v, const char *path, struct err *err) must_check;
void uds_close(struct vsock_user *v);
/* Bytes of a CONNECT line have come. c may be gone. */
void uds_line_readable(struct vsock_conn *c);

#endif
