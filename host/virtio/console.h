/* SPDX-License-Identifier: GPL-2.0-only */
/* virtio-console (virtio 1.2, section 5.3), one port, output only: what the guest writes goes to a callback,
 * as far as rate and size limits allow. The guest is never held up: beyond the limits bytes are dropped and
 * counted, and the output says so. */
#ifndef HOST_VIRTIO_CONSOLE_H
#define HOST_VIRTIO_CONSOLE_H

#include "host/virtio/device.h"

/* Loop thread, device locked: no call into the device, nothing slow. */
typedef void (*console_output_fn)(const char *bytes, size_t length, void *arg);

struct console_config {
	console_output_fn output;
	void *arg;
	uint64_t bytes_per_s; /* also what may come at once; 0: 4 MiB */
	uint64_t total_bytes; /* after so many nothing more is passed on; 0: 256 MiB */
};

/* For virtio_bind()/virtio_attach(); virtio_free(). ERR_HOST. */
struct virtio_device *console_new(const struct console_config *config, struct err *err) must_check;
/* Bytes dropped so far. Loop thread. */
uint64_t console_dropped_bytes(const struct virtio_device *dev);

#endif
