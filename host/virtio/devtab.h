/* SPDX-License-Identifier: GPL-2.0-only */
/* The one list of virtio devices. A new device is its file with `const struct virtio_ops virtio_<name>_ops`,
 * its own constructor, and a line here. Constant data, any thread. */
#ifndef HOST_VIRTIO_DEVTAB_H
#define HOST_VIRTIO_DEVTAB_H

#include "host/virtio/device.h"

/* name, what it is for */
#define VIRTIO_DEVICE_LIST(X)                                                                                \
	X(vsock, "stream sockets between guest and host")                                                    \
	X(rng, "entropy from the host")                                                                      \
	X(console, "text from the guest")                                                                    \
	X(blk, "a disk on a raw file or a sparse temporary")                                                 \
	X(net, "a loopback: frames that the guest sends come back to it")

#define X(name, what) extern const struct virtio_ops virtio_##name##_ops;
VIRTIO_DEVICE_LIST(X)
#undef X

struct virtio_devtab_entry {
	const struct virtio_ops *ops;
	const char *what;
};

/* Ends with a NULL ops. */
extern const struct virtio_devtab_entry virtio_devtab[];

#endif
