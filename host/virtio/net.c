/* SPDX-License-Identifier: GPL-2.0-only */
/* virtio-net loopback (see net.h). Loop thread; guest memory only in service(). */
#include "host/virtio/net.h"

#include "host/virtio/devtab.h"
#include "proto/net_device.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <string.h>

enum { QUEUE_RX, QUEUE_TX };

_Static_assert(sizeof(struct virtio_net_hdr_v1) == NET_HEADER_BYTES, "packet header");

struct net {
	struct virtio_device dev;
	struct virtio_net_config space; /* configuration space: the address alone is offered */
	struct net_stats stats;
	uint8_t packet[NET_HEADER_BYTES + NET_FRAME_MAX]; /* the copy that is looked at and given back */
	struct iovec tx[VIRTQ_IOV_MAX], rx[VIRTQ_IOV_MAX];
};

/* Copies a packet out of the guest's memory, once. Its length with the header, 0 when it is none. */
static uint32_t take_packet(struct net *net, const struct virtq_chain *chain)
{
	struct virtio_net_hdr_v1 hdr;
	uint32_t length = chain->out_bytes;
	if (length < NET_HEADER_BYTES + NET_FRAME_MIN || length > sizeof(net->packet))
		return 0;
	iov_to_bytes(net->tx, chain->n_out, 0, net->packet, length);
	memcpy(&hdr, net->packet, sizeof(hdr));
	/* No offload was offered (5.1.6.2.1). */
	return hdr.flags || hdr.gso_type != VIRTIO_NET_HDR_GSO_NONE ? 0 : length;
}

/* False: the receive queue is broken. */
static bool give_packet(struct net *net, uint32_t length)
{
	struct virtq *q = &net->dev.queue[QUEUE_RX];
	struct virtio_net_hdr_v1 hdr = {.num_buffers = 1}; /* 5.1.6.4.1, without MRG_RXBUF */
	struct virtq_chain chain;
	switch (virtq_pop(q, net->rx, &chain)) {
	case VIRTQ_CHAIN:
		break;
	case VIRTQ_EMPTY:
		net->stats.dropped++;
		return true;
	case VIRTQ_BROKEN:
		return false;
	}
	if (chain.in_bytes < length) {
		(void)virtq_break(q, VIRTQ_FAULT_BUFFER_SHORT);
		return false;
	}
	memcpy(net->packet, &hdr, sizeof(hdr));
	iov_from_bytes(net->rx + chain.n_out, chain.n_in, 0, net->packet, length);
	virtq_push(q, chain.head, length);
	net->stats.frames++;
	return true;
}

static bool service(struct virtio_device *dev)
{
	struct net *net = container_of(dev, struct net, dev);
	struct virtq *tx = &dev->queue[QUEUE_TX];
	struct virtq_chain chain;
	uint32_t bytes = 0;
	/* Nothing ever waits for a receive buffer. */
	virtq_kick_disable(&dev->queue[QUEUE_RX]);
	virtq_kick_disable(tx);
	do {
		for (enum virtq_pop r; (r = virtq_pop(tx, net->tx, &chain)) != VIRTQ_EMPTY;) {
			if (r == VIRTQ_BROKEN)
				return false;
			uint32_t length = take_packet(net, &chain);
			virtq_push(tx, chain.head, 0);
			if (!length)
				net->stats.malformed++;
			else if (!give_packet(net, length))
				return false;
			bytes += MAX_OF(length, VIRTIO_BATCH_BYTES / VIRTIO_BATCH_CHAINS);
			if (bytes >= VIRTIO_BATCH_BYTES)
				return true;
		}
	} while (virtq_kick_enable(tx));
	return false;
}

struct net_stats net_stats(const struct virtio_device *dev)
{
	return container_of(dev, const struct net, dev)->stats;
}

static void free_net(struct virtio_device *dev)
{
	virtio_deinit(dev);
	free(container_of(dev, struct net, dev));
}

const struct virtio_ops virtio_net_ops = {
	.name = "net",
	.id = VIRTIO_ID_NET,
	.features = UINT64_C(1) << VIRTIO_NET_F_MAC,
	.n_queues = 2,
	.queue_size_max = {256, 256},
	.service = service,
	.free = free_net,
};

struct virtio_device *net_new(struct err *err)
{
	static const uint8_t mac[6] = NET_DEVICE_ADDRESS;
	struct net *net = calloc(1, sizeof(*net));
	if (!net) {
		err_set_os(err, ERR_HOST, ENOMEM, "cannot create the network device");
		return NULL;
	}
	memcpy(net->space.mac, mac, sizeof(mac));
	if (virtio_init(&net->dev, &virtio_net_ops, &net->space, sizeof(net->space), err) < 0) {
		free_net(&net->dev);
		return NULL;
	}
	return &net->dev;
}
