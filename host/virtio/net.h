/* SPDX-License-Identifier: GPL-2.0-only */
/* virtio-net (virtio 1.2, section 5.1) as a loopback: every frame that the guest sends comes back on its
 * receive queue, in order and unchanged, for work that needs packets and interrupts. Nothing leaves the VM.
 *
 * One pair of queues: a virtio-mmio device has one interrupt, which more pairs would only share. No offloads,
 * no merged buffers, no control queue. A frame for which the guest has no receive buffer is dropped, as by
 * any card; so is one that is shorter than an Ethernet header, too long, or asks for an offload. */
#ifndef HOST_VIRTIO_NET_H
#define HOST_VIRTIO_NET_H

#include "host/virtio/device.h"

#define NET_HEADER_BYTES 12u /* of every packet, with num_buffers (5.1.6, VIRTIO_F_VERSION_1) */
#define NET_FRAME_MIN 14u    /* Ethernet header */
#define NET_FRAME_MAX 1518u  /* Ethernet header, VLAN tag, 1500 bytes */

struct net_stats {
	uint64_t frames;    /* came back */
	uint64_t dropped;   /* there was no receive buffer */
	uint64_t malformed; /* length or header against the rules */
};

/* For virtio_bind()/virtio_attach(); virtio_free(). ERR_HOST. */
struct virtio_device *net_new(struct err *err) must_check;
/* Loop thread. */
struct net_stats net_stats(const struct virtio_device *dev);

#endif
