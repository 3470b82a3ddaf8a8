/* SPDX-License-Identifier: GPL-2.0-only */
/* The table behind devtab.h. Constant. */
#include "host/virtio/devtab.h"

const struct virtio_devtab_entry virtio_devtab[] = {
#define X(name, what) {&virtio_##name##_ops, what},
	VIRTIO_DEVICE_LIST(X)
#undef X
		{NULL, NULL},
};
