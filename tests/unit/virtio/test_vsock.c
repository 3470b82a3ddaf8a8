/* SPDX-License-Identifier: GPL-2.0-only */
/* vsock device: connections both ways, credit, ends of streams, and guests that lie. */
#include "tests/fake/vsock_guest.h"

#include "common/clock.h"
#include "common/fd.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define PORT 1000u
#define GPORT 7u
#define OP(name) VIRTIO_VSOCK_OP_##name
#define BOTH (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)

static struct guest g;
static struct guest_packet packet;
static uint8_t bulk[GUEST_TX_BYTES];

static void setup(void)
{
	guest_init(&g, NULL, 0, PORT);
	for (unsigned i = 0; i < sizeof(bulk); i++)
		bulk[i] = (uint8_t)(i * 31 + i / 251);
}
static void teardown(void)
{
	guest_deinit(&g);
}
TestSuite(vsock, .init = setup, .fini = teardown, .timeout = 30);

static void send_op(uint32_t guest_port, uint16_t op, uint32_t flags)
{
	struct virtio_vsock_hdr hdr = guest_header(guest_port, PORT, op);
	hdr.flags = flags;
	guest_send(&g, hdr, NULL, 0);
}
static void send_data(const void *bytes, uint32_t length)
{
	guest_send(&g, guest_header(GPORT, PORT, OP(RW)), bytes, length);
}
static int connected(void)
{
	int fd = guest_connect(&g, GPORT, PORT, 1 << 20);
	cr_assert_geq(fd, 0);
	return fd;
}
static void expect_rst(uint32_t guest_port)
{
	cr_assert_eq(guest_expect(&g, &packet), OP(RST), "op %u", packet.hdr.op);
	cr_assert_eq(packet.hdr.dst_port, guest_port);
	cr_assert_eq(packet.hdr.src_port, PORT);
	cr_assert_eq(packet.hdr.dst_cid, GUEST_CID);
	cr_assert_eq(packet.hdr.src_cid, VSOCK_HOST_CID);
}
static void expect_silence(void)
{
	cr_assert_eq(guest_expect(&g, &packet), 0, "unexpected op %u", packet.hdr.op);
}
static bool at_eof(int fd)
{
	char byte;
	return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

Test(vsock, config_space_holds_the_cid)
{
	cr_assert_eq(driver_read(&g.driver, VIRTIO_MMIO_CONFIG), GUEST_CID);
	cr_assert_eq(driver_read(&g.driver, VIRTIO_MMIO_CONFIG + 4), 0);
	struct err err;
	struct vsock_config bad = {.guest_cid = 2};
	cr_assert_null(vsock_new(&bad, g.driver.loop, &err));
	cr_assert_eq(err.code, ERR_INVALID_ARGUMENT);
}

Test(vsock, bytes_go_both_ways)
{
	char text[16];
	int fd = connected();
	cr_assert_eq(packet.hdr.op, 0);
	send_data("ping", 4);
	cr_assert_eq(read(fd, text, sizeof(text)), 4);
	cr_assert_arr_eq(text, "ping", 4);
	cr_assert_eq(write(fd, "pong!", 5), 5);
	cr_assert_eq(guest_expect(&g, &packet), OP(RW));
	cr_assert_eq(packet.hdr.len, 5);
	cr_assert_eq(packet.hdr.fwd_cnt, 4);
	cr_assert_eq(packet.hdr.buf_alloc, VSOCK_BUFFER_BYTES);
	cr_assert_arr_eq(packet.bytes, "pong!", 5);
	expect_silence();
	struct vsock_stats stats = vsock_stats(g.vsock);
	cr_assert_eq(stats.bytes_to_host, 4);
	cr_assert_eq(stats.bytes_to_guest, 5);
	cr_assert_eq(stats.accepted, 1);
	cr_assert_eq(stats.malformed, 0);
}

Test(vsock, written_before_the_response_comes_after_it)
{
	struct virtio_vsock_hdr hdr = guest_header(GPORT, PORT, OP(REQUEST));
	/* No receive buffers: the response waits, the accepted socket is there already. */
	guest_start(&g, 0);
	guest_send(&g, hdr, NULL, 0);
	cr_assert_eq(g.n_accepted, 1);
	cr_assert_eq(write(g.accepted[0], "x", 1), 1);
	expect_silence();
	guest_offer(&g, 0);
	guest_offer(&g, 1);
	driver_notify(&g.driver, GUEST_RX);
	cr_assert_eq(guest_expect(&g, &packet), OP(RESPONSE));
	cr_assert_eq(guest_expect(&g, &packet), OP(RW));
}

Test(vsock, what_belongs_to_nobody_is_reset)
{
	guest_send(&g, guest_header(GPORT, PORT + 1, OP(REQUEST)), NULL, 0);
	cr_assert_eq(guest_expect(&g, &packet), OP(RST));
	cr_assert_eq(vsock_stats(g.vsock).refused, 1);
	const uint16_t ops[] = {
		OP(RW), OP(RESPONSE), OP(SHUTDOWN), OP(CREDIT_UPDATE), OP(CREDIT_REQUEST), 0, 8, UINT16_MAX};
	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
		send_op(GPORT, ops[i], BOTH);
		expect_rst(GPORT);
	}
	send_op(GPORT, OP(RST), 0);
	expect_silence();
	struct virtio_vsock_hdr seqpacket = guest_header(GPORT, PORT, OP(REQUEST));
	seqpacket.type = VIRTIO_VSOCK_TYPE_SEQPACKET;
	guest_send(&g, seqpacket, NULL, 0);
	expect_rst(GPORT);
	cr_assert_eq(packet.hdr.type, VIRTIO_VSOCK_TYPE_SEQPACKET);
	cr_assert_eq(g.n_accepted, 0);
	cr_assert_eq(vsock_stats(g.vsock).open, 0);
}

Test(vsock, other_cids_are_ignored)
{
	struct virtio_vsock_hdr hdr = guest_header(GPORT, PORT, OP(REQUEST));
	hdr.src_cid = GUEST_CID + 1;
	guest_send(&g, hdr, NULL, 0);
	hdr = guest_header(GPORT, PORT, OP(REQUEST));
	hdr.dst_cid = UINT64_C(1) << 32 | VSOCK_HOST_CID;
	guest_send(&g, hdr, NULL, 0);
	expect_silence();
	cr_assert_eq(vsock_stats(g.vsock).malformed, 2);
}

Test(vsock, lengths_that_lie_reset_the_connection_only)
{
	int fd = connected();
	cr_assert_geq(guest_connect(&g, GPORT + 1, PORT, 1 << 20), 0);
	const uint32_t lies[] = {5, VSOCK_BUFFER_BYTES, UINT32_MAX, UINT32_MAX - 43};
	for (unsigned i = 0; i < ARRAY_SIZE(lies); i++) {
		struct virtio_vsock_hdr hdr = guest_header(GPORT, PORT, OP(RW));
		hdr.len = lies[i];
		guest_send_raw(&g, &hdr, "abcd", 4);
		expect_rst(GPORT);
		cr_assert(at_eof(fd));
		fd = connected();
	}
	/* Too short for a header: nobody can be blamed. */
	uint64_t at = driver_alloc(&g.driver, 43);
	driver_add(&g.driver, GUEST_TX, &(struct driver_seg){at, 43, false}, 1);
	driver_notify(&g.driver, GUEST_TX);
	expect_silence();
	cr_assert_eq(vsock_stats(g.vsock).malformed, ARRAY_SIZE(lies) + 1);
	send_data("ok", 2);
	char text[4];
	cr_assert_eq(read(fd, text, 4), 2);
}

/* Sends until the credit is used up. Bytes sent. */
static uint32_t fill_credit(void)
{
	uint32_t sent = 0, fwd = 0;
	for (;;) {
		while (guest_expect(&g, &packet))
			fwd = packet.hdr.fwd_cnt;
		uint32_t room = VSOCK_BUFFER_BYTES - (sent - fwd);
		if (room == 0)
			return sent;
		uint32_t n = MIN_OF(room, GUEST_TX_BYTES - sent % GUEST_TX_BYTES);
		send_data(bulk + sent % GUEST_TX_BYTES, n);
		sent += n;
	}
}

static void read_pattern(int fd, uint32_t from, uint32_t length)
{
	static uint8_t got[GUEST_TX_BYTES];
	for (uint32_t done = 0; done < length;) {
		ssize_t n = recv(fd, got, MIN_OF(sizeof(got), length - done), MSG_DONTWAIT);
		driver_settle(&g.driver);
		if (n < 0 && errno == EAGAIN)
			continue;
		cr_assert_gt(n, 0, "cut after %u of %u bytes", done, length);
		for (ssize_t i = 0; i < n; i++)
			cr_assert_eq(got[i], bulk[(from + done + (uint32_t)i) % GUEST_TX_BYTES]);
		done += (uint32_t)n;
	}
}

Test(vsock, a_slow_reader_stops_the_guest_and_loses_nothing)
{
	int fd = connected();
	uint32_t sent = fill_credit();
	/* What the socket took plus one buffer: then no more credit came. */
	cr_assert_gt(sent, VSOCK_BUFFER_BYTES);
	expect_silence();
	read_pattern(fd, 0, sent);
	cr_assert_eq(guest_expect(&g, &packet), OP(CREDIT_UPDATE), "room again");
	cr_assert_eq(vsock_stats(g.vsock).credit_violations, 0);
	send_data("x", 1);
	char byte;
	cr_assert_eq(read(fd, &byte, 1), 1);
}

Test(vsock, more_than_the_credit_resets)
{
	int fd = connected();
	uint32_t sent = fill_credit();
	send_data("x", 1);
	expect_rst(GPORT);
	cr_assert_eq(vsock_stats(g.vsock).credit_violations, 1);
	/* What came within the credit is still delivered. */
	read_pattern(fd, 0, sent);
	cr_assert(at_eof(fd));
	cr_assert_eq(vsock_stats(g.vsock).open, 0);
}

Test(vsock, a_credit_request_is_answered)
{
	connected();
	send_data("abc", 3);
	send_op(GPORT, OP(CREDIT_REQUEST), 0);
	cr_assert_eq(guest_expect(&g, &packet), OP(CREDIT_UPDATE));
	cr_assert_eq(packet.hdr.fwd_cnt, 3);
}

Test(vsock, the_guests_credit_is_respected)
{
	int fd = guest_connect(&g, GPORT, PORT, 100);
	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, bulk, 1000), 1000);
	cr_assert_eq(guest_expect(&g, &packet), OP(RW));
	cr_assert_eq(packet.hdr.len, 100);
	cr_assert_eq(guest_expect(&g, &packet), OP(CREDIT_REQUEST), "asked once");
	expect_silence();
	struct virtio_vsock_hdr hdr = guest_header(GPORT, PORT, OP(CREDIT_UPDATE));
	hdr.buf_alloc = 100;
	hdr.fwd_cnt = 60;
	guest_send(&g, hdr, NULL, 0);
	cr_assert_eq(guest_expect(&g, &packet), OP(RW));
	cr_assert_eq(packet.hdr.len, 60);
	cr_assert_arr_eq(packet.bytes, bulk + 100, 60);
	/* An older count that was overtaken takes nothing back. */
	cr_assert_eq(guest_expect(&g, &packet), OP(CREDIT_REQUEST));
	hdr.fwd_cnt = 20;
	guest_send(&g, hdr, NULL, 0);
	expect_silence();
	/* A smaller window than what is in flight is no credit, not a huge one. */
	hdr.fwd_cnt = 100;
	hdr.buf_alloc = 10;
	guest_send(&g, hdr, NULL, 0);
	expect_silence();
	/* More than was ever sent is a lie. */
	hdr.fwd_cnt = 161;
	guest_send(&g, hdr, NULL, 0);
	expect_rst(GPORT);
}

Test(vsock, credit_is_asked_for_when_a_buffer_comes)
{
	guest_start(&g, 2);
	struct virtio_vsock_hdr hdr = guest_header(GPORT, PORT, OP(REQUEST));
	hdr.buf_alloc = 100;
	guest_send(&g, hdr, NULL, 0);
	/* One buffer went to the response, the other one goes to what the credit allows. */
	cr_assert_eq(write(g.accepted[g.n_accepted - 1], bulk, 1000), 1000);
	driver_settle(&g.driver);
	cr_assert_eq(guest_expect(&g, &packet), OP(RESPONSE));
	cr_assert_eq(guest_expect(&g, &packet), OP(RW));
	cr_assert_eq(packet.hdr.len, 100);
	cr_assert_eq(guest_expect(&g, &packet), OP(CREDIT_REQUEST));
	expect_silence();
}

Test(vsock, without_guest_buffers_everything_waits)
{
	int fd = connected();
	guest_start(&g, 0);
	cr_assert(at_eof(fd), "a device reset ends connections");
	struct virtio_vsock_hdr hdr = guest_header(GPORT, PORT, OP(REQUEST));
	hdr.buf_alloc = 1 << 20;
	guest_send(&g, hdr, NULL, 0);
	fd = g.accepted[g.n_accepted - 1];
	uint32_t written = 0;
	for (ssize_t n; (n = send(fd, bulk + written % sizeof(bulk), sizeof(bulk) - written % sizeof(bulk),
				 MSG_DONTWAIT)) > 0;) {
		written += (uint32_t)n;
		driver_settle(&g.driver);
	}
	expect_silence();
	for (unsigned i = 0; i < GUEST_RX_BUFFERS; i++)
		guest_offer(&g, i);
	driver_notify(&g.driver, GUEST_RX);
	cr_assert_eq(guest_expect(&g, &packet), OP(RESPONSE));
	for (uint32_t got = 0; got < written; got += packet.hdr.len) {
		cr_assert_eq(guest_expect(&g, &packet), OP(RW));
		for (uint32_t i = 0; i < packet.hdr.len; i++)
			cr_assert_eq(packet.bytes[i], bulk[(got + i) % sizeof(bulk)]);
	}
	expect_silence();
}

Test(vsock, resets_owed_are_bounded_by_holding_the_guest)
{
	guest_start(&g, 0);
	struct virtio_vsock_hdr hdr = guest_header(GPORT, PORT, OP(RW));
	struct vring_used_elem elem;
	unsigned sent = 0, taken = 0;
	/* 64 resets wait; from then on packets stay in the queue. */
	for (; sent < 100; sent++) {
		hdr.src_port = sent;
		uint64_t at = g.tx_buffer[0] + 64 * sent;
		memcpy(driver_ptr(&g.driver, at, sizeof(hdr)), &hdr, sizeof(hdr));
		driver_add(&g.driver, GUEST_TX, &(struct driver_seg){at, sizeof(hdr), false}, 1);
		driver_notify(&g.driver, GUEST_TX);
		driver_settle(&g.driver);
		while (driver_take_used(&g.driver, GUEST_TX, &elem))
			taken++;
	}
	cr_assert_eq(taken, 64);
	for (unsigned i = 0; i < GUEST_RX_BUFFERS; i++)
		guest_offer(&g, i);
	driver_notify(&g.driver, GUEST_RX);
	for (unsigned i = 0; i < sent; i++)
		expect_rst(i);
	expect_silence();
}

Test(vsock, connections_are_bounded)
{
	for (unsigned i = 0; i < VSOCK_CONNS_MAX; i++)
		cr_assert_geq(guest_connect(&g, 100 + i, PORT, 1 << 20), 0);
	send_op(99, OP(REQUEST), 0);
	expect_rst(99);
	cr_assert_eq(vsock_stats(g.vsock).open, VSOCK_CONNS_MAX);
	send_op(100, OP(RST), 0);
	cr_assert(at_eof(g.accepted[0]));
	close(g.accepted[0]);
	g.accepted[0] = g.accepted[--g.n_accepted];
	cr_assert_geq(guest_connect(&g, 99, PORT, 1 << 20), 0);
}

Test(vsock, a_second_request_for_a_connection_resets_it)
{
	int fd = connected();
	send_op(GPORT, OP(REQUEST), 0);
	expect_rst(GPORT);
	cr_assert(at_eof(fd));
	expect_silence();
	connected();
}

Test(vsock, the_guest_may_close_its_sending_half)
{
	char text[8];
	int fd = connected();
	send_data("last", 4);
	send_op(GPORT, OP(SHUTDOWN), VIRTIO_VSOCK_SHUTDOWN_SEND);
	cr_assert_eq(read(fd, text, 8), 4);
	cr_assert(at_eof(fd));
	cr_assert_eq(write(fd, "still", 5), 5);
	cr_assert_eq(guest_expect(&g, &packet), OP(RW));
	cr_assert_eq(packet.hdr.len, 5);
	/* Data after the end is against the rules. */
	send_data("x", 1);
	expect_rst(GPORT);
}

Test(vsock, the_guest_may_close_with_bytes_on_the_way)
{
	int fd = connected();
	uint32_t sent = fill_credit();
	send_op(GPORT, OP(SHUTDOWN), BOTH);
	expect_silence();
	read_pattern(fd, 0, sent);
	cr_assert(at_eof(fd));
	/* The reset that ends the guest's wait comes when all is delivered. */
	while (guest_expect(&g, &packet) == OP(CREDIT_UPDATE))
		;
	cr_assert_eq(packet.hdr.op, OP(RST));
	expect_silence();
	cr_assert_eq(vsock_stats(g.vsock).open, 0);
}

Test(vsock, the_guest_may_give_up_with_bytes_on_the_way)
{
	int fd = connected();
	uint32_t sent = fill_credit();
	send_op(GPORT, OP(RST), 0);
	/* The port is free again at once, and the old stream is complete. */
	connected();
	read_pattern(fd, 0, sent);
	cr_assert(at_eof(fd));
	cr_assert_eq(vsock_stats(g.vsock).open, 1);
}

Test(vsock, the_host_may_close_its_sending_half)
{
	char text[8];
	int fd = connected();
	cr_assert_eq(write(fd, "last", 4), 4);
	shutdown(fd, SHUT_WR);
	cr_assert_eq(guest_expect(&g, &packet), OP(RW));
	cr_assert_eq(guest_expect(&g, &packet), OP(SHUTDOWN));
	cr_assert_eq(packet.hdr.flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
	expect_silence();
	send_data("answer", 6);
	cr_assert_eq(read(fd, text, 8), 6);
	send_op(GPORT, OP(SHUTDOWN), BOTH);
	expect_rst(GPORT);
	cr_assert(at_eof(fd));
}

Test(vsock, the_host_may_close_with_bytes_on_the_way)
{
	int fd = guest_connect(&g, GPORT, PORT, 1000);
	cr_assert_eq(write(fd, bulk, 5000), 5000);
	close(fd);
	g.n_accepted--;
	uint32_t got = 0;
	struct virtio_vsock_hdr hdr = guest_header(GPORT, PORT, OP(CREDIT_UPDATE));
	hdr.buf_alloc = 1000;
	while (guest_expect(&g, &packet) != OP(SHUTDOWN)) {
		cr_assert_neq(packet.hdr.op, OP(RST), "cut after %u bytes", got);
		if (packet.hdr.op != OP(RW))
			continue;
		cr_assert_arr_eq(packet.bytes, bulk + got, packet.hdr.len);
		got += packet.hdr.len;
		hdr.fwd_cnt = got;
		guest_send(&g, hdr, NULL, 0);
	}
	cr_assert_eq(got, 5000);
	cr_assert_eq(packet.hdr.flags, BOTH);
	/* Bytes that cross the shutdown are no offence. */
	hdr.op = OP(RW);
	guest_send(&g, hdr, "late", 4);
	expect_silence();
	send_op(GPORT, OP(RST), 0);
	cr_assert_eq(vsock_stats(g.vsock).open, 0);
}

Test(vsock, a_reader_that_goes_away_is_told_to_the_guest)
{
	int fd = connected();
	(void)fill_credit();
	close(fd);
	g.n_accepted--;
	while (guest_expect(&g, &packet) == OP(CREDIT_UPDATE))
		;
	cr_assert_eq(packet.hdr.op, OP(SHUTDOWN));
	uint32_t told = packet.hdr.flags;
	while (guest_expect(&g, &packet))
		if (packet.hdr.op == OP(SHUTDOWN))
			told |= packet.hdr.flags;
	cr_assert_eq(told, BOTH);
}

Test(vsock, a_frozen_guest_sees_nothing_and_the_host_does_not_spin)
{
	int fd = connected();
	struct virtio_device *dev = vsock_device(g.vsock);
	virtio_quiesce(dev);
	struct virtio_vsock_hdr hdr = guest_header(GPORT, PORT, OP(RW));
	hdr.len = 2;
	guest_send_raw(&g, &hdr, "hi", 2);
	cr_assert_eq(write(fd, "ho", 2), 2);
	uint16_t before = driver_used(&g.driver, GUEST_RX)->idx;
	driver_settle(&g.driver);
	cr_assert_eq(driver_used(&g.driver, GUEST_RX)->idx, before);
	cr_assert_eq(driver_used(&g.driver, GUEST_TX)->idx, 1);
	char text[4];
	cr_assert_eq(recv(fd, text, 4, MSG_DONTWAIT), -1);
	/* Readable sockets have been put aside: the poller has nothing more to report. */
	cr_assert_eq(event_base_get_num_events(loop_base(g.driver.loop), EVENT_BASE_COUNT_ACTIVE), 0);
	virtio_resume(dev);
	cr_assert_eq(guest_expect(&g, &packet), OP(RW));
	cr_assert_arr_eq(packet.bytes, "ho", 2);
	cr_assert_eq(recv(fd, text, 4, MSG_DONTWAIT), 2);
}

Test(vsock, a_reset_ends_connections_but_delivers)
{
	int fd = connected();
	uint32_t sent = fill_credit();
	guest_start(&g, GUEST_RX_BUFFERS);
	connected();
	read_pattern(fd, 0, sent);
	cr_assert(at_eof(fd));
}

Test(vsock, the_transport_reset_is_told)
{
	int fd = connected();
	vsock_transport_reset(g.vsock);
	cr_assert(at_eof(fd));
	/* The driver offers its event buffer later: it is told then. */
	uint64_t at = driver_alloc(&g.driver, 4);
	memset(driver_ptr(&g.driver, at, 4), 0xff, 4);
	driver_add(&g.driver, GUEST_EVENT, &(struct driver_seg){at, 4, true}, 1);
	driver_notify(&g.driver, GUEST_EVENT);
	driver_settle(&g.driver);
	struct vring_used_elem elem;
	cr_assert(driver_take_used(&g.driver, GUEST_EVENT, &elem));
	cr_assert_eq(elem.len, 4);
	cr_assert_arr_eq(driver_ptr(&g.driver, at, 4), "\0\0\0\0", 4);
}

Test(vsock, short_receive_buffers_break_the_device)
{
	unsigned queue = 0;
	guest_start(&g, 0);
	uint64_t at = driver_alloc(&g.driver, 43);
	driver_add(&g.driver, GUEST_RX, &(struct driver_seg){at, 43, true}, 1);
	send_op(GPORT, OP(RW), 0);
	cr_assert_eq(virtio_fault(vsock_device(g.vsock), &queue), VIRTQ_FAULT_BUFFER_SHORT);
	cr_assert_eq(queue, GUEST_RX);
	guest_start(&g, GUEST_RX_BUFFERS);
	connected();
}

Test(vsock, ports_are_listened_on_once)
{
	struct err err;
	cr_assert_lt(vsock_listen(g.vsock, PORT, (vsock_accept_fn)abort, NULL, &err), 0);
	cr_assert_eq(err.code, ERR_ALREADY_EXISTS);
	vsock_unlisten(g.vsock, PORT);
	send_op(GPORT, OP(REQUEST), 0);
	expect_rst(GPORT);
}

static uint32_t *flip; /* the header's length */
static _Atomic bool flip_stop;

static void *flip_length(void *arg)
{
	while (!flip_stop) {
		__atomic_store_n(flip, UINT32_MAX, __ATOMIC_RELAXED);
		__atomic_store_n(flip, 4, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* The header changes while it is looked at: whatever the device saw it saw once, so the stream holds whole
 * good packets and a reset, never more than was there. */
Test(vsock, the_header_is_read_once)
{
	pthread_t thread;
	struct virtio_vsock_hdr hdr = guest_header(GPORT, PORT, OP(RW));
	uint64_t at = driver_alloc(&g.driver, sizeof(hdr) + 4);
	uint8_t *bytes = driver_ptr(&g.driver, at, sizeof(hdr) + 4);
	hdr.len = 4;
	memcpy(bytes, &hdr, sizeof(hdr));
	memcpy(bytes + sizeof(hdr), "data", 4);
	flip = (uint32_t *)(void *)(bytes + offsetof(struct virtio_vsock_hdr, len));
	cr_assert_eq(pthread_create(&thread, NULL, flip_length, NULL), 0);
	for (unsigned round = 0; round < 200; round++) {
		char text[16];
		int fd = connected();
		driver_add(&g.driver, GUEST_TX, &(struct driver_seg){at, sizeof(hdr) + 4, false}, 1);
		driver_notify(&g.driver, GUEST_TX);
		driver_settle(&g.driver);
		ssize_t n = recv(fd, text, sizeof(text), MSG_DONTWAIT);
		cr_assert(n == 4 || n == 0, "%zd bytes", n);
		if (n == 4)
			send_op(GPORT, OP(RST), 0);
		else
			expect_rst(GPORT);
		close(fd);
		g.n_accepted--;
	}
	flip_stop = true;
	pthread_join(thread, NULL);
}
