/* SPDX-License-Identifier: GPL-2.0-only */
/* What the user-space vsock device costs without a VM around it: a driver on one thread, the loop with the
 * device and the host's program on another. Prints one line per figure; the interrupt is an eventfd the
 * driver sleeps on. */
#include "common/clock.h"
#include "tests/fake/vsock_guest.h"

#include <event2/event.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define PORT 1000u
#define ROUNDS 20000u
#define BULK_BYTES (UINT64_C(1) << 30)

static struct guest g;
static struct guest_packet packet;
static uint8_t bulk[256 * 1024], guest_bulk[GUEST_TX_BYTES];
static uint64_t host_got, host_to_send;

static void *run_loop(void *arg)
{
	loop_run(arg);
	return NULL;
}

static void echo(evutil_socket_t fd, short what, void *arg)
{
	ssize_t n = recv(fd, bulk, sizeof(bulk), 0);
	if (n > 0)
		(void)send(fd, bulk, (size_t)n, MSG_NOSIGNAL);
}
static void sink(evutil_socket_t fd, short what, void *arg)
{
	ssize_t n = recv(fd, bulk, sizeof(bulk), 0);
	if (n > 0)
		__atomic_fetch_add(&host_got, (uint64_t)n, __ATOMIC_RELEASE);
}
static void source(evutil_socket_t fd, short what, void *arg)
{
	ssize_t n = send(fd, bulk, MIN_OF(sizeof(bulk), host_to_send), MSG_NOSIGNAL);
	if (n > 0)
		host_to_send -= (uint64_t)n;
	if (!host_to_send)
		event_del(arg);
}

static void on_accept(int fd, uint32_t guest_port, void *arg)
{
	struct event *ev = event_new(NULL, fd, 0, NULL, NULL);
	event_callback_fn fn[] = {echo, sink, source};
	event_assign(ev, loop_base(g.driver.loop), fd, (guest_port == 2 ? EV_WRITE : EV_READ) | EV_PERSIST,
		fn[guest_port], ev);
	event_add(ev, NULL);
}

/* Sleeps until the next packet from the device. */
static void wait_packet(void)
{
	while (!guest_receive(&g, &packet)) {
		struct pollfd p = {.fd = g.driver.irq_fd, .events = POLLIN};
		poll(&p, 1, 1000);
		(void)driver_take_irq(&g.driver);
	}
	/* The driver's notification, if the device has asked for one. */
	if (vring_need_event(*(uint16_t *)&driver_used(&g.driver, GUEST_RX)->ring[64],
		    g.driver.queue[GUEST_RX].next_avail, (uint16_t)(g.driver.queue[GUEST_RX].next_avail - 1)))
		driver_notify(&g.driver, GUEST_RX);
}

static void connect_to(uint32_t guest_port)
{
	struct virtio_vsock_hdr hdr = guest_header(guest_port, PORT + 1, VIRTIO_VSOCK_OP_REQUEST);
	guest_send_raw(&g, &hdr, NULL, 0);
	do
		wait_packet();
	while (packet.hdr.op != VIRTIO_VSOCK_OP_RESPONSE);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static void bench_round_trip(void)
{
	static uint64_t ns[ROUNDS];
	uint32_t got = 0;
	connect_to(0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct virtio_vsock_hdr hdr = guest_header(0, PORT + 1, VIRTIO_VSOCK_OP_RW);
		uint64_t start = clock_now_ns();
		hdr.len = 64;
		hdr.fwd_cnt = got;
		guest_send_raw(&g, &hdr, guest_bulk, 64);
		do
			wait_packet();
		while (packet.hdr.op != VIRTIO_VSOCK_OP_RW);
		got += packet.hdr.len;
		ns[i] = clock_now_ns() - start;
	}
	qsort(ns, ROUNDS, sizeof(ns[0]), by_value);
	printf("round trip 64 B: p50 %.1f us, p99 %.1f us\n", (double)ns[ROUNDS / 2] / 1e3,
		(double)ns[ROUNDS * 99 / 100] / 1e3);
}

static void report(const char *what, uint64_t start_ns)
{
	double s = (double)(clock_now_ns() - start_ns) / 1e9;
	printf("%s: %.2f Gbit/s\n", what, (double)BULK_BYTES * 8 / s / 1e9);
}

static void bench_to_host(void)
{
	connect_to(1);
	uint64_t start = clock_now_ns();
	uint32_t sent = 0, fwd = 0;
	struct vring_used_elem elem;
	unsigned in_flight = 0;
	for (uint64_t left = BULK_BYTES; left;) {
		while (driver_take_used(&g.driver, GUEST_TX, &elem))
			in_flight -= in_flight > 0;
		while (guest_receive(&g, &packet))
			fwd = packet.hdr.fwd_cnt;
		if (VSOCK_BUFFER_BYTES - (sent - fwd) < GUEST_TX_BYTES || in_flight == GUEST_TX_SLOTS) {
			struct pollfd p = {.fd = g.driver.irq_fd, .events = POLLIN};
			poll(&p, 1, 1);
			(void)driver_take_irq(&g.driver);
			continue;
		}
		struct virtio_vsock_hdr hdr = guest_header(1, PORT + 1, VIRTIO_VSOCK_OP_RW);
		hdr.len = GUEST_TX_BYTES;
		guest_send_raw(&g, &hdr, guest_bulk, hdr.len);
		in_flight++;
		sent += hdr.len;
		left -= hdr.len;
	}
	while (__atomic_load_n(&host_got, __ATOMIC_ACQUIRE) < BULK_BYTES)
		poll(NULL, 0, 0);
	report("guest to host", start);
}

static void bench_to_guest(void)
{
	host_to_send = BULK_BYTES;
	connect_to(2);
	uint64_t start = clock_now_ns();
	uint32_t told = 0, got = 0;
	struct vring_used_elem elem;
	for (uint64_t left = BULK_BYTES; left;) {
		wait_packet();
		left -= packet.hdr.len;
		got += packet.hdr.len;
		if (got - told < (1 << 18))
			continue;
		struct virtio_vsock_hdr hdr = guest_header(2, PORT + 1, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
		hdr.fwd_cnt = told = got;
		guest_send_raw(&g, &hdr, NULL, 0);
		while (driver_take_used(&g.driver, GUEST_TX, &elem))
			;
	}
	report("host to guest", start);
}

int main(void)
{
	pthread_t loop;
	guest_init(&g, NULL, 0, PORT);
	if (vsock_listen(g.vsock, PORT + 1, on_accept, NULL, NULL) < 0 ||
		pthread_create(&loop, NULL, run_loop, g.driver.loop))
		return 1;
	bench_round_trip();
	bench_to_host();
	bench_to_guest();
	/* The process ends with everything in it. */
	return 0;
}
