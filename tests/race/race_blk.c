/* SPDX-License-Identifier: GPL-2.0-only */
/* Everything that touches a disk at once, for ThreadSanitizer: its worker, the loop, a "vCPU" that works and
 * resets it, somebody who asks what it did, and freezes. What is asserted beside the absence of races: no
 * byte of guest memory moves during a freeze or after a reset, and what is not reset is answered. */
#include "host/virtio/blk.h"
#include "tests/fake/virtio_driver.h"
#include "tests/race/race.h"

#include <linux/virtio_blk.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define ROUNDS 300u
#define REQUESTS 8u
#define BYTES 4096u

static atomic_bool stop;

static void *onlookers(void *arg)
{
	struct driver *d = arg;
	while (!stop) {
		CHECK(blk_stats(d->dev).errors == 0);
		driver_write(d, VIRTIO_MMIO_INTERRUPT_ACK, driver_read(d, VIRTIO_MMIO_INTERRUPT_STATUS));
		driver_notify(d, 0);
	}
	return NULL;
}

static uint16_t used_index(struct driver *d)
{
	return __atomic_load_n(&driver_used(d, 0)->idx, __ATOMIC_ACQUIRE);
}

/* What the disk may write to. */
struct answers {
	uint64_t header_at, data_at, status_at;
};

static void assert_still(struct driver *d, const struct answers *at)
{
	static uint8_t data[REQUESTS * BYTES], status[REQUESTS];
	uint16_t used = used_index(d);
	memcpy(data, driver_ptr(d, at->data_at, sizeof(data)), sizeof(data));
	memcpy(status, driver_ptr(d, at->status_at, sizeof(status)), sizeof(status));
	for (unsigned i = 0; i < 20; i++) {
		driver_notify(d, 0);
		CHECK(used_index(d) == used);
		CHECK(memcmp(data, driver_ptr(d, at->data_at, sizeof(data)), sizeof(data)) == 0);
		CHECK(memcmp(status, driver_ptr(d, at->status_at, sizeof(status)), sizeof(status)) == 0);
	}
}

/* Writes and reads by turns, and a flush, all at once. */
static void ask(struct driver *d, const struct answers *at)
{
	memset(driver_ptr(d, at->data_at, REQUESTS * BYTES), 0xee, REQUESTS * BYTES);
	memset(driver_ptr(d, at->status_at, REQUESTS), 0xee, REQUESTS);
	for (unsigned i = 0; i < REQUESTS; i++) {
		bool flush = i + 1 == REQUESTS, write = i % 2 == 0;
		struct virtio_blk_outhdr hdr = {.type = flush   ? VIRTIO_BLK_T_FLUSH
							: write ? VIRTIO_BLK_T_OUT
								: VIRTIO_BLK_T_IN,
			.sector = flush ? 0 : i * (BYTES / BLK_SECTOR_BYTES)};
		memcpy(driver_ptr(d, at->header_at + i * sizeof(hdr), sizeof(hdr)), &hdr, sizeof(hdr));
		struct driver_seg seg[] = {{at->header_at + i * sizeof(hdr), sizeof(hdr), false},
			{at->data_at + i * BYTES, flush ? 0 : BYTES, !write}, {at->status_at + i, 1, true}};
		driver_add(d, 0, seg, 3);
	}
	driver_notify(d, 0);
}

static void expect_answers(struct driver *d, const struct answers *at)
{
	while (used_index(d) < REQUESTS)
		;
	for (unsigned i = 0; i < REQUESTS; i++) {
		CHECK(*(uint8_t *)driver_ptr(d, at->status_at + i, 1) == VIRTIO_BLK_S_OK);
		/* What was read has never been written. */
		if (i % 2 == 1 && i + 1 != REQUESTS)
			CHECK(*(uint8_t *)driver_ptr(d, at->data_at + i * BYTES, 1) == 0);
	}
}

int main(void)
{
	static struct driver d;
	struct err err = ERR_INIT;
	struct blk_config config = {.directory = "/tmp", .size_bytes = REQUESTS * BYTES};
	pthread_t loop, other;
	driver_init(&d);
	struct virtio_device *dev = blk_new(&config, &err);
	if (!dev)
		fprintf(stderr, "%s\n", err.message);
	CHECK(dev);
	driver_bind(&d, dev);
	struct answers at = {.header_at = driver_alloc(&d, REQUESTS * sizeof(struct virtio_blk_outhdr)),
		.data_at = driver_alloc(&d, REQUESTS * BYTES),
		.status_at = driver_alloc(&d, REQUESTS)};
	uint64_t alloc = d.alloc;
	CHECK(pthread_create(&loop, NULL, run_loop, d.loop) == 0);
	CHECK(pthread_create(&other, NULL, onlookers, &d) == 0);
	for (unsigned round = 0; round < ROUNDS; round++) {
		driver_write(&d, VIRTIO_MMIO_STATUS, 0);
		d.alloc = alloc;
		driver_start(&d, DRIVER_FEATURES, 64);
		ask(&d, &at);
		if (round % 3 == 0) {
			virtio_quiesce(d.dev);
			assert_still(&d, &at);
			virtio_resume(d.dev);
		}
		if (round % 2 == 0)
			expect_answers(&d, &at);
		driver_write(&d, VIRTIO_MMIO_STATUS, 0);
		assert_still(&d, &at);
	}
	struct blk_stats stats = blk_stats(d.dev);
	CHECK(stats.writes >= ROUNDS / 2 * (REQUESTS / 2) && stats.flushes >= ROUNDS / 2);
	stop = true;
	pthread_join(other, NULL);
	loop_stop(d.loop);
	pthread_join(loop, NULL);
	driver_deinit(&d);
	return 0;
}
