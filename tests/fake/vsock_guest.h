/* SPDX-License-Identifier: GPL-2.0-only */
/* The guest's side of a vsock device for tests: sends and receives single packets (see virtio_driver.h). */
#ifndef TESTS_FAKE_VSOCK_GUEST_H
#define TESTS_FAKE_VSOCK_GUEST_H

#include "host/virtio/vsock_user.h"
#include "tests/fake/virtio_driver.h"

#include <linux/virtio_vsock.h>

#define GUEST_CID 42u
#define GUEST_RX_BUFFERS 32u
#define GUEST_RX_BYTES 4096u
#define GUEST_TX_BYTES 65536u
#define GUEST_TX_SLOTS 4u

enum { GUEST_RX, GUEST_TX, GUEST_EVENT };

struct guest {
	struct driver driver;
	struct vsock_user *vsock;
	uint64_t rx_buffer[GUEST_RX_BUFFERS];
	uint64_t tx_buffer[GUEST_TX_SLOTS];
	unsigned next_tx;
	int accepted[VSOCK_CONNS_MAX]; /* fds from listeners, in order; the test's */
	unsigned n_accepted;
};

struct guest_packet {
	struct virtio_vsock_hdr hdr;
	uint8_t bytes[GUEST_RX_BYTES];
};

/* Device up with all receive buffers offered, and a listener on `host_port`. */
void guest_init(struct guest *g, const char *uds_path, uint64_t connect_timeout_ns, uint32_t host_port);
void guest_deinit(struct guest *g);
/* Renegotiates and offers `rx_buffers` again. */
void guest_start(struct guest *g, unsigned rx_buffers);

struct virtio_vsock_hdr guest_header(uint32_t guest_port, uint32_t host_port, uint16_t op);
/* Sends, without waiting for the device. hdr.len need not be true. */
void guest_send_raw(struct guest *g, const struct virtio_vsock_hdr *hdr, const void *bytes, uint32_t length);
/* Sends (hdr.len set) and lets the device work. */
void guest_send(struct guest *g, struct virtio_vsock_hdr hdr, const void *bytes, uint32_t length);
/* Offers receive buffer i. */
void guest_offer(struct guest *g, unsigned i);
/* The next packet from the device; its buffer is offered again. */
bool guest_receive(struct guest *g, struct guest_packet *ret_packet);
/* guest_receive() after letting the device work; op of the packet, 0 if there was none. */
uint16_t guest_expect(struct guest *g, struct guest_packet *ret_packet);
/* Connects guest_port to host_port; returns the host's end. */
int guest_connect(struct guest *g, uint32_t guest_port, uint32_t host_port, uint32_t buf_alloc);

#endif
