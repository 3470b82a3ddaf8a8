/* SPDX-License-Identifier: GPL-2.0-only */
/* virtio-rng (virtio 1.2, section 5.4): the host's getrandom(2). */
#ifndef HOST_VIRTIO_RNG_H
#define HOST_VIRTIO_RNG_H

#include "host/virtio/device.h"

/* Most that one request gets; a device may return less than asked (5.4.6). */
#define RNG_REQUEST_BYTES 4096u

/* For virtio_bind()/virtio_attach(); virtio_free(). ERR_HOST. */
struct virtio_device *rng_new(struct err *err) must_check;

#endif
