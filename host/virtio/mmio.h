/* SPDX-License-Identifier: GPL-2.0-only */
/* virtio-mmio transport, version 2 (virtio 1.2, section 4.2): a device's registers. Called on vCPU threads,
 * for different devices and for the same one at once; takes the device's lock (see device.h for how long). */
#ifndef HOST_VIRTIO_MMIO_H
#define HOST_VIRTIO_MMIO_H

#include "host/virtio/device.h"

/* Signatures of struct vm_region; arg is the struct virtio_device. Offsets are within the device's page. */
void virtio_mmio_read(void *arg, uint64_t offset, uint8_t *data, unsigned length);
void virtio_mmio_write(void *arg, uint64_t offset, const uint8_t *data, unsigned length);

#endif
