/* SPDX-License-Identifier: GPL-2.0-only */
/* virtio-vsock in user space (virtio 1.2, section 5.10): stream connections between guest ports and the host
 * (CID 2). Loop thread only, apart from what device.h says about registers and freezes.
 *
 *   guest -> host port P   whoever called vsock_listen(P) gets one end of a socketpair per connection
 *   host -> guest port P   a client of the Unix socket sends "CONNECT P\n" and reads "OK HOSTPORT\n"; then,
 * or when the connection is refused, it sees the stream or its end
 *
 * Nothing is dropped on an open connection: what a socket does not take waits in a buffer of at most the
 * credit given to the guest (VSOCK_BUFFER_BYTES), what the guest does not take waits in the socket. A
 * connection that breaks the protocol is reset; the others never notice. */
#ifndef HOST_VIRTIO_VSOCK_USER_H
#define HOST_VIRTIO_VSOCK_USER_H

#include "common/err.h"

#include <stdint.h>

#define VSOCK_HOST_CID 2u
/* Credit per connection: bytes from the guest that the host's reader has not taken yet. */
#define VSOCK_BUFFER_BYTES (256u * 1024)
/* Connections, clients that have not said CONNECT yet, and streams being flushed after the guest's end. */
#define VSOCK_CONNS_MAX 256u
#define VSOCK_LISTENERS_MAX 16u

struct virtio_device;
struct vsock_user;

struct vsock_config {
	uint64_t guest_cid;          /* 3 .. 2^32 - 2 */
	const char *uds_path;        /* Unix socket for host -> guest connections; NULL: none */
	uint64_t connect_timeout_ns; /* for the guest's answer, and the client's CONNECT line; 0: 10 s */
};

struct vsock_stats {
	uint64_t accepted, refused;    /* guest -> host connections */
	uint64_t connected, timed_out; /* host -> guest connections */
	uint64_t resets_sent;
	uint64_t malformed;         /* packets thrown away: short, wrong CID */
	uint64_t credit_violations; /* connections reset for sending more than allowed */
	uint64_t bytes_to_host, bytes_to_guest;
	unsigned open; /* VSOCK_CONNS_MAX counts these */
};

/* A guest connected. The callee owns fd: a nonblocking AF_UNIX stream socket, CLOEXEC. Called from the loop
 * with no lock held. */
typedef void (*vsock_accept_fn)(int fd, uint32_t guest_port, void *arg);

/* A device for virtio_bind()/virtio_attach(), with vsock_device(). ERR_HOST, or ERR_INVALID_ARGUMENT for the
 * CID or path. `loop` must be the one that it is bound to. */
struct loop;
struct vsock_user *vsock_new(
	const struct vsock_config *config, struct loop *loop, struct err *err) must_check;
/* Freed with virtio_free(). */
struct virtio_device *vsock_device(struct vsock_user *v);

/* ERR_ALREADY_EXISTS, ERR_LIMIT_EXCEEDED. */
int vsock_listen(struct vsock_user *v, uint32_t host_port, vsock_accept_fn accepted, void *arg,
	struct err *err) must_check;
/* No callback any more; accepted connections stay. */
void vsock_unlisten(struct vsock_user *v, uint32_t host_port);

/* Ends every connection and tells the guest that the transport has lost its state (5.10.6.6), as after a
 * restored snapshot. */
void vsock_transport_reset(struct vsock_user *v);

struct vsock_stats vsock_stats(const struct vsock_user *v);

#endif
