/* SPDX-License-Identifier: GPL-2.0-only */
/* vsock guest for tests (see vsock_guest.h). */
#include "tests/fake/vsock_guest.h"

#include <string.h>

static void on_accept(int fd, uint32_t guest_port, void *arg)
{
	struct guest *g = arg;
	assert(g->n_accepted < VSOCK_CONNS_MAX);
	g->accepted[g->n_accepted++] = fd;
}

void guest_init(struct guest *g, const char *uds_path, uint64_t connect_timeout_ns, uint32_t host_port)
{
	memset(g, 0, sizeof(*g));
	driver_init(&g->driver);
	struct vsock_config config = {
		.guest_cid = GUEST_CID, .uds_path = uds_path, .connect_timeout_ns = connect_timeout_ns};
	g->vsock = vsock_new(&config, g->driver.loop, NULL);
	assert(g->vsock);
	driver_bind(&g->driver, vsock_device(g->vsock));
	int r = vsock_listen(g->vsock, host_port, on_accept, g, NULL);
	assert(r == 0);
	for (unsigned i = 0; i < GUEST_RX_BUFFERS; i++)
		g->rx_buffer[i] = driver_alloc(&g->driver, sizeof(struct virtio_vsock_hdr) + GUEST_RX_BYTES);
	for (unsigned i = 0; i < GUEST_TX_SLOTS; i++)
		g->tx_buffer[i] = driver_alloc(&g->driver, sizeof(struct virtio_vsock_hdr) + GUEST_TX_BYTES);
	guest_start(g, GUEST_RX_BUFFERS);
}

void guest_deinit(struct guest *g)
{
	driver_deinit(&g->driver);
	for (unsigned i = 0; i < g->n_accepted; i++)
		close(g->accepted[i]);
}

void guest_start(struct guest *g, unsigned rx_buffers)
{
	driver_start(&g->driver, DRIVER_FEATURES, 64);
	for (unsigned i = 0; i < rx_buffers; i++)
		guest_offer(g, i);
	driver_settle(&g->driver);
}

struct virtio_vsock_hdr guest_header(uint32_t guest_port, uint32_t host_port, uint16_t op)
{
	return (struct virtio_vsock_hdr){.src_cid = GUEST_CID,
		.dst_cid = VSOCK_HOST_CID,
		.src_port = guest_port,
		.dst_port = host_port,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = op,
		.buf_alloc = 1 << 20};
}

void guest_offer(struct guest *g, unsigned i)
{
	/* Descriptor i belongs to buffer i. */
	*driver_desc(&g->driver, GUEST_RX, (uint16_t)i) = (struct vring_desc){.addr = g->rx_buffer[i],
		.len = sizeof(struct virtio_vsock_hdr) + GUEST_RX_BYTES,
		.flags = VRING_DESC_F_WRITE};
	driver_publish(&g->driver, GUEST_RX, (uint16_t)i);
}

void guest_send_raw(struct guest *g, const struct virtio_vsock_hdr *hdr, const void *bytes, uint32_t length)
{
	uint64_t at = g->tx_buffer[g->next_tx++ % GUEST_TX_SLOTS];
	memcpy(driver_ptr(&g->driver, at, sizeof(*hdr)), hdr, sizeof(*hdr));
	if (length)
		memcpy(driver_ptr(&g->driver, at + sizeof(*hdr), length), bytes, length);
	struct driver_seg seg[2] = {{at, sizeof(*hdr), false}, {at + sizeof(*hdr), length, false}};
	driver_add(&g->driver, GUEST_TX, seg, length ? 2 : 1);
	driver_notify(&g->driver, GUEST_TX);
}

void guest_send(struct guest *g, struct virtio_vsock_hdr hdr, const void *bytes, uint32_t length)
{
	hdr.len = length;
	guest_send_raw(g, &hdr, bytes, length);
	driver_settle(&g->driver);
}

bool guest_receive(struct guest *g, struct guest_packet *ret_packet)
{
	struct vring_used_elem elem;
	if (!driver_take_used(&g->driver, GUEST_RX, &elem))
		return false;
	assert(elem.id < GUEST_RX_BUFFERS && elem.len >= sizeof(struct virtio_vsock_hdr) &&
		elem.len <= sizeof(*ret_packet));
	memcpy(ret_packet, driver_ptr(&g->driver, g->rx_buffer[elem.id], elem.len), elem.len);
	assert(elem.len == sizeof(struct virtio_vsock_hdr) + ret_packet->hdr.len);
	guest_offer(g, elem.id);
	return true;
}

uint16_t guest_expect(struct guest *g, struct guest_packet *ret_packet)
{
	driver_settle(&g->driver);
	if (!guest_receive(g, ret_packet))
		return 0;
	driver_notify(&g->driver, GUEST_RX);
	return ret_packet->hdr.op;
}

int guest_connect(struct guest *g, uint32_t guest_port, uint32_t host_port, uint32_t buf_alloc)
{
	struct virtio_vsock_hdr hdr = guest_header(guest_port, host_port, VIRTIO_VSOCK_OP_REQUEST);
	hdr.buf_alloc = buf_alloc;
	struct guest_packet packet;
	guest_send(g, hdr, NULL, 0);
	if (guest_expect(g, &packet) != VIRTIO_VSOCK_OP_RESPONSE || packet.hdr.dst_port != guest_port)
		return -1;
	return g->n_accepted ? g->accepted[g->n_accepted - 1] : -1;
}
