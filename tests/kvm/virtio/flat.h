/* SPDX-License-Identifier: GPL-2.0-only */
/* A guest of a few 32-bit instructions that drives a virtio device of a real VM: what such tests share. One
 * vCPU, flat segments, no paging, interrupts never enabled: one that is delivered waits in the local APIC.
 * Main thread of the test; a failure ends the test. */
#ifndef TESTS_KVM_VIRTIO_FLAT_H
#define TESTS_KVM_VIRTIO_FLAT_H

#include "common/loop.h"
#include "host/virtio/mmio.h"
#include "host/vm/vm.h"

#include <pthread.h>

#define FLAT_CODE 0x10000u
#define FLAT_REPORT 0x8000u /* where the code says how it went: words, the last one not 0 at the end */
#define FLAT_SLOT 2u
#define FLAT_VECTOR 0x41u

struct flat {
	struct gmem *memory;
	struct loop *loop;
	struct virtio_device *dev;
	struct vm *vm;
	pthread_t thread; /* the loop's */
};

/* 2 MiB, the device in FLAT_SLOT with its pin routed to FLAT_VECTOR, the code in place; not started. Takes
 * the device over. */
void flat_init(struct flat *flat, struct virtio_device *dev, const uint8_t *code, size_t length);
/* A driver's way to FEATURES_OK, one queue's rings, and DRIVER_OK. */
void flat_negotiate(struct flat *flat);
void flat_queue(struct flat *flat, unsigned index, uint32_t desc, uint32_t avail, uint32_t used);
void flat_driver_ok(struct flat *flat);
void flat_put(struct flat *flat, uint32_t gpa, const void *bytes, size_t length);
void flat_start(struct flat *flat);
/* Waits until word `last` of the report is not 0; the report. */
const volatile uint32_t *flat_wait(struct flat *flat, unsigned last);
/* Stops the VM and waits until the device's interrupt is in the local APIC. */
void flat_assert_interrupted(struct flat *flat);
void flat_deinit(struct flat *flat);

#endif
