/* SPDX-License-Identifier: GPL-2.0-only */
/* A guest's driver for tests: builds rings in a small guest memory and works a device through its registers,
 * without a VM. One thread, also the loop's unless a test runs the loop elsewhere. Memory:
 *
 *     0        REGION      2 * REGION            HIGH       HIGH + REGION
 *     |  region 0  |  region 1  |      hole       |  region 2  |
 *
 * Rings and buffers come from region 0 by bump allocation. */
#ifndef TESTS_FAKE_VIRTIO_DRIVER_H
#define TESTS_FAKE_VIRTIO_DRIVER_H

#include "common/loop.h"
#include "host/virtio/mmio.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#define DRIVER_REGION UINT64_C(0x400000)
#define DRIVER_HIGH UINT64_C(0x100000000)

struct driver_queue {
	uint16_t size;
	uint64_t desc, avail, used; /* guest-physical */
	uint16_t next_desc, next_avail, seen_used;
};

struct driver {
	struct gmem *memory;
	struct loop *loop;
	struct virtio_device *dev;
	int irq_fd;     /* the reading side of the interrupt */
	uint64_t alloc; /* next free address */
	struct driver_queue queue[VIRTIO_QUEUES_MAX];
};

/* One segment of a chain. */
struct driver_seg {
	uint64_t gpa;
	uint32_t length;
	bool device_writes;
};

/* Memory and loop; then the device under test is created and connected. All of them abort on failure. */
void driver_init(struct driver *d);
void driver_bind(struct driver *d, struct virtio_device *dev);
void driver_deinit(struct driver *d); /* frees the device as well */

uint32_t driver_read(struct driver *d, uint64_t offset);
void driver_write(struct driver *d, uint64_t offset, uint32_t value);

#define DRIVER_FEATURES (UINT64_C(1) << VIRTIO_F_VERSION_1 | UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX)
/* Reset up to FEATURES_OK; whether the device took the features. */
bool driver_negotiate(struct driver *d, uint64_t features);
/* Allocates rings and tells the device; whether it took the queue. */
bool driver_queue_setup(struct driver *d, unsigned index, uint16_t size);
/* Tells the device what d->queue[index] says, right or wrong. */
bool driver_queue_enable(struct driver *d, unsigned index);
/* All of it: negotiate, every queue at `size` (or its maximum, if less), DRIVER_OK. */
void driver_start(struct driver *d, uint64_t features, uint16_t size);

uint64_t driver_alloc(struct driver *d, uint64_t bytes);
void *driver_ptr(struct driver *d, uint64_t gpa, uint64_t length);
struct vring_desc *driver_desc(struct driver *d, unsigned index, uint16_t i);
struct vring_avail *driver_avail(struct driver *d, unsigned index);
struct vring_used *driver_used(struct driver *d, unsigned index);

/* Makes a chain available (no notification). Its head. */
uint16_t driver_add(struct driver *d, unsigned index, const struct driver_seg *seg, unsigned n);
/* Puts `head` into the available ring without touching descriptors. */
void driver_publish(struct driver *d, unsigned index, uint16_t head);
void driver_notify(struct driver *d, unsigned index);
/* The next used element, if any. */
bool driver_take_used(struct driver *d, unsigned index, struct vring_used_elem *ret_elem);
/* Whether there was an interrupt; acknowledges it and returns what InterruptStatus said (0: none). */
uint32_t driver_take_irq(struct driver *d);

/* Runs the loop's callbacks until everything that is ready now, and what follows from it, has been served. */
void driver_settle(struct driver *d);

#endif
