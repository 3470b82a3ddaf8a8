/* SPDX-License-Identifier: GPL-2.0-only */
/* The network device: frames come back as they were sent, and what a driver may do wrong harms nobody. */
#include "host/virtio/net.h"
#include "proto/net_device.h"
#include "tests/fake/virtio_driver.h"

#include <criterion/criterion.h>
#include <linux/virtio_net.h>
#include <stdio.h>
#include <string.h>

enum { RX, TX };
#define PACKET_MAX (NET_HEADER_BYTES + NET_FRAME_MAX)

static struct driver d;

static void start(void)
{
	driver_init(&d);
	driver_bind(&d, net_new(NULL));
	driver_start(&d, DRIVER_FEATURES | UINT64_C(1) << VIRTIO_NET_F_MAC, 64);
}

/* A receive buffer; where it is. */
static uint64_t offer(uint32_t length)
{
	uint64_t at = driver_alloc(&d, length);
	driver_add(&d, RX, &(struct driver_seg){at, length, true}, 1);
	return at;
}

/* A frame of `length` bytes that begin with `first`, behind a header of zeros. */
static uint64_t make_packet(uint8_t first, uint32_t length)
{
	uint64_t at = driver_alloc(&d, NET_HEADER_BYTES + length + 1);
	uint8_t *bytes = driver_ptr(&d, at, NET_HEADER_BYTES + length);
	for (uint32_t i = 0; i < length; i++)
		bytes[NET_HEADER_BYTES + i] = (uint8_t)(first + i);
	return at;
}

static void send_packet(uint64_t at, uint32_t bytes)
{
	driver_add(&d, TX, &(struct driver_seg){at, bytes, false}, 1);
	driver_notify(&d, TX);
	driver_settle(&d);
}

static void send_frame(uint8_t first, uint32_t length)
{
	send_packet(make_packet(first, length), NET_HEADER_BYTES + length);
}

static void assert_sent(void)
{
	struct vring_used_elem elem;
	cr_assert(driver_take_used(&d, TX, &elem), "a frame is always taken");
	cr_assert_eq(elem.len, 0);
}

Test(net, has_an_address_and_room_for_nothing_else)
{
	start();
	uint8_t mac[6];
	virtio_mmio_read(d.dev, VIRTIO_MMIO_CONFIG, mac, 4);
	virtio_mmio_read(d.dev, VIRTIO_MMIO_CONFIG + 4, mac + 4, 2);
	char address[18];
	snprintf(address, sizeof(address), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
		mac[4], mac[5]);
	cr_assert_str_eq(address, NET_DEVICE_ADDRESS_TEXT, "by it the agent knows the device");
	cr_assert_eq(mac[0] & 3, 2, "locally administered, of one card");
	cr_assert_eq(
		virtio_offered_features(d.dev) & ~(uint64_t)DRIVER_FEATURES, UINT64_C(1) << VIRTIO_NET_F_MAC);
	driver_deinit(&d);
}

Test(net, a_frame_comes_back)
{
	start();
	uint64_t at = offer(PACKET_MAX);
	memset(driver_ptr(&d, at, PACKET_MAX), 0xee, PACKET_MAX);
	send_frame(7, 100);
	assert_sent();
	struct vring_used_elem elem;
	cr_assert(driver_take_used(&d, RX, &elem));
	cr_assert_eq(elem.len, NET_HEADER_BYTES + 100);
	const uint8_t *bytes = driver_ptr(&d, at, PACKET_MAX);
	struct virtio_net_hdr_v1 hdr, want = {.num_buffers = 1};
	memcpy(&hdr, bytes, sizeof(hdr));
	cr_assert_arr_eq(&hdr, &want, sizeof(hdr));
	for (unsigned i = 0; i < 100; i++)
		cr_assert_eq(bytes[NET_HEADER_BYTES + i], (uint8_t)(7 + i));
	cr_assert_eq(bytes[NET_HEADER_BYTES + 100], 0xee, "nothing is written behind it");
	cr_assert_eq(driver_take_irq(&d) & VIRTIO_MMIO_INT_VRING, VIRTIO_MMIO_INT_VRING);
	driver_deinit(&d);
}

Test(net, frames_in_pieces_and_into_pieces)
{
	start();
	uint64_t to = driver_alloc(&d, PACKET_MAX);
	driver_add(&d, RX,
		(struct driver_seg[]){{to, 5, true}, {to + 5, 40, true}, {to + 45, PACKET_MAX - 45, true}},
		3);
	uint64_t at = make_packet(1, NET_FRAME_MAX);
	driver_add(&d, TX,
		(struct driver_seg[]){{at, NET_HEADER_BYTES, false}, {at + NET_HEADER_BYTES, 14, false},
			{at + NET_HEADER_BYTES + 14, NET_FRAME_MAX - 14, false}},
		3);
	driver_notify(&d, TX);
	driver_settle(&d);
	assert_sent();
	struct vring_used_elem elem;
	cr_assert(driver_take_used(&d, RX, &elem));
	cr_assert_eq(elem.len, PACKET_MAX);
	cr_assert_arr_eq((uint8_t *)driver_ptr(&d, to, PACKET_MAX) + NET_HEADER_BYTES,
		(uint8_t *)driver_ptr(&d, at, PACKET_MAX) + NET_HEADER_BYTES, NET_FRAME_MAX);
	driver_deinit(&d);
}

Test(net, order_is_kept_and_batches_are_bounded)
{
	start();
	uint64_t to[60];
	for (unsigned i = 0; i < 60; i++)
		to[i] = offer(PACKET_MAX);
	for (unsigned i = 0; i < 60; i++) {
		uint64_t at = make_packet((uint8_t)i, NET_FRAME_MAX);
		driver_add(&d, TX, &(struct driver_seg){at, PACKET_MAX, false}, 1);
	}
	virtio_run(d.dev);
	unsigned first = driver_used(&d, TX)->idx;
	cr_assert_gt(first, 0);
	/* 60 frames of 1530 bytes and less than one more batch. */
	cr_assert_leq(first * (uint64_t)PACKET_MAX, VIRTIO_BATCH_BYTES + PACKET_MAX);
	driver_settle(&d);
	struct vring_used_elem elem;
	for (unsigned i = 0; i < 60; i++) {
		assert_sent();
		cr_assert(driver_take_used(&d, RX, &elem));
		cr_assert_eq(((uint8_t *)driver_ptr(&d, to[i], PACKET_MAX))[NET_HEADER_BYTES], i);
	}
	cr_assert_eq(net_stats(d.dev).frames, 60);
	driver_deinit(&d);
}

Test(net, without_a_buffer_a_frame_is_dropped)
{
	start();
	send_frame(1, 60);
	assert_sent();
	cr_assert_eq(net_stats(d.dev).dropped, 1);
	uint64_t at = offer(PACKET_MAX);
	driver_notify(&d, RX);
	driver_settle(&d);
	struct vring_used_elem elem;
	cr_assert(!driver_take_used(&d, RX, &elem), "what was dropped is gone");
	send_frame(2, 60);
	cr_assert(driver_take_used(&d, RX, &elem));
	cr_assert_eq(((uint8_t *)driver_ptr(&d, at, PACKET_MAX))[NET_HEADER_BYTES], 2);
	driver_deinit(&d);
}

Test(net, what_is_no_frame_goes_nowhere)
{
	start();
	offer(PACKET_MAX);
	send_packet(make_packet(1, 60), 0);
	send_packet(make_packet(1, 60), NET_HEADER_BYTES - 1);
	send_packet(make_packet(1, 60), NET_HEADER_BYTES + NET_FRAME_MIN - 1);
	send_packet(make_packet(1, NET_FRAME_MAX + 1), PACKET_MAX + 1);
	uint64_t offload = make_packet(1, 60);
	*(uint8_t *)driver_ptr(&d, offload, 1) = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	send_packet(offload, NET_HEADER_BYTES + 60);
	offload = make_packet(1, 60);
	((uint8_t *)driver_ptr(&d, offload, 2))[1] = VIRTIO_NET_HDR_GSO_TCPV4;
	send_packet(offload, NET_HEADER_BYTES + 60);
	struct vring_used_elem elem;
	for (unsigned i = 0; i < 6; i++)
		assert_sent();
	cr_assert(!driver_take_used(&d, RX, &elem));
	cr_assert_eq(net_stats(d.dev).malformed, 6);
	send_frame(3, NET_FRAME_MIN);
	cr_assert(driver_take_used(&d, RX, &elem), "the device goes on");
	unsigned queue;
	cr_assert_eq(virtio_fault(d.dev, &queue), VIRTQ_FAULT_NONE);
	driver_deinit(&d);
}

static void assert_broken(enum virtq_fault fault, unsigned queue)
{
	unsigned which = 99;
	cr_assert_eq(virtio_fault(d.dev, &which), fault);
	cr_assert_eq(which, queue);
	cr_assert(driver_read(&d, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	/* And after a reset it works. */
	driver_start(&d, DRIVER_FEATURES, 64);
	offer(PACKET_MAX);
	send_frame(9, 60);
	struct vring_used_elem elem;
	cr_assert(driver_take_used(&d, RX, &elem));
	driver_deinit(&d);
}

Test(net, a_receive_buffer_that_is_too_short)
{
	start();
	offer(NET_HEADER_BYTES + 59);
	send_frame(1, 60);
	assert_broken(VIRTQ_FAULT_BUFFER_SHORT, RX);
}

Test(net, a_receive_buffer_that_cannot_be_written)
{
	start();
	uint64_t at = driver_alloc(&d, PACKET_MAX);
	driver_add(&d, RX, &(struct driver_seg){at, PACKET_MAX, false}, 1);
	send_frame(1, 60);
	assert_broken(VIRTQ_FAULT_BUFFER_SHORT, RX);
}

Test(net, an_endless_chain)
{
	start();
	uint64_t at = make_packet(1, 60);
	uint16_t head = driver_add(&d, TX, &(struct driver_seg){at, 60, false}, 1);
	struct vring_desc *desc = driver_desc(&d, TX, head);
	desc->flags |= VRING_DESC_F_NEXT;
	desc->next = head;
	driver_notify(&d, TX);
	driver_settle(&d);
	assert_broken(VIRTQ_FAULT_CHAIN_LENGTH, TX);
}

Test(net, buffers_outside_memory)
{
	start();
	driver_add(&d, RX, &(struct driver_seg){DRIVER_HIGH + DRIVER_REGION - 4, PACKET_MAX, true}, 1);
	send_frame(1, 60);
	assert_broken(VIRTQ_FAULT_BUFFER_ADDRESS, RX);
}

Test(net, a_queue_of_size_zero)
{
	driver_init(&d);
	driver_bind(&d, net_new(NULL));
	cr_assert(driver_negotiate(&d, DRIVER_FEATURES));
	cr_assert(!driver_queue_setup(&d, TX, 0));
	assert_broken(VIRTQ_FAULT_SIZE, TX);
}
