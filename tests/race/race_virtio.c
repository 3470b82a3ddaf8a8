/* SPDX-License-Identifier: GPL-2.0-only */
/* Everything that touches a vsock device at once, for ThreadSanitizer: the loop serving packets, a "vCPU"
 * that works and resets it through its registers, another one that hammers the interrupt registers, and
 * freezes. What is asserted beside the absence of races: nothing moves in the used rings during a freeze or
 * after a reset. */
#include "tests/fake/vsock_guest.h"
#include "tests/race/race.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#define PORT 1000u
#define ROUNDS 300u

static atomic_bool stop;

static void *interrupts(void *arg)
{
	struct driver *d = arg;
	while (!stop) {
		driver_write(d, VIRTIO_MMIO_INTERRUPT_ACK, driver_read(d, VIRTIO_MMIO_INTERRUPT_STATUS));
		(void)driver_read(d, VIRTIO_MMIO_STATUS);
		(void)driver_read(d, VIRTIO_MMIO_CONFIG);
		driver_notify(d, GUEST_TX);
	}
	return NULL;
}

static uint16_t used_index(struct driver *d, unsigned queue)
{
	return __atomic_load_n(&driver_used(d, queue)->idx, __ATOMIC_ACQUIRE);
}

/* Some work by the loop, then a look whether it stands still. */
static void assert_still(struct driver *d)
{
	uint16_t rx = used_index(d, GUEST_RX), tx = used_index(d, GUEST_TX);
	for (unsigned i = 0; i < 50; i++) {
		driver_notify(d, GUEST_TX);
		CHECK(used_index(d, GUEST_RX) == rx && used_index(d, GUEST_TX) == tx);
	}
}

static void echo_away(int fd, uint32_t guest_port, void *arg)
{
	(void)send(fd, "hello", 5, MSG_NOSIGNAL);
	close(fd);
}

int main(void)
{
	static struct guest g;
	pthread_t loop, other;
	guest_init(&g, NULL, 0, PORT);
	CHECK(vsock_listen(g.vsock, PORT + 1, echo_away, NULL, NULL) == 0);
	uint64_t alloc = g.driver.alloc;
	CHECK(pthread_create(&loop, NULL, run_loop, g.driver.loop) == 0);
	CHECK(pthread_create(&other, NULL, interrupts, &g.driver) == 0);
	unsigned moved = 0;
	for (unsigned round = 0; round < ROUNDS; round++) {
		driver_write(&g.driver, VIRTIO_MMIO_STATUS, 0);
		g.driver.alloc = alloc;
		driver_start(&g.driver, DRIVER_FEATURES, 64);
		for (unsigned i = 0; i < GUEST_RX_BUFFERS; i++)
			guest_offer(&g, i);
		for (unsigned i = 0; i < GUEST_TX_SLOTS; i++) {
			struct virtio_vsock_hdr hdr =
				guest_header(round * 8 + i, PORT + 1, VIRTIO_VSOCK_OP_REQUEST);
			guest_send_raw(&g, &hdr, NULL, 0);
		}
		if (round % 3 == 0) {
			virtio_quiesce(g.driver.dev);
			assert_still(&g.driver);
			virtio_resume(g.driver.dev);
		}
		if (round % 2 == 0)
			while (used_index(&g.driver, GUEST_RX) < GUEST_TX_SLOTS)
				;
		driver_write(&g.driver, VIRTIO_MMIO_STATUS, 0);
		assert_still(&g.driver);
		moved += used_index(&g.driver, GUEST_RX);
	}
	CHECK(moved >= ROUNDS / 2 * GUEST_TX_SLOTS);
	stop = true;
	pthread_join(other, NULL);
	loop_stop(g.driver.loop);
	pthread_join(loop, NULL);
	guest_deinit(&g);
	return 0;
}
