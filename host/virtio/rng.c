/* SPDX-License-Identifier: GPL-2.0-only */
/* virtio-rng (see rng.h). Loop thread; guest memory only in service(). */
#include "host/virtio/rng.h"

#include "host/virtio/devtab.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <sys/random.h>

struct rng {
	struct virtio_device dev;
	struct iovec iov[VIRTQ_IOV_MAX];
};

/* Bytes put into the chain. */
static uint32_t fill(const struct iovec *iov, unsigned n)
{
	uint8_t bytes[256];
	uint32_t done = 0;
	while (done < RNG_REQUEST_BYTES) {
		/* Up to 256 bytes come whole and without waiting, once the host's pool has been seeded. */
		ssize_t got = getrandom(bytes, sizeof(bytes), GRND_NONBLOCK);
		if (got <= 0)
			break;
		size_t put = iov_from_bytes(iov, n, done, bytes, (size_t)got);
		done += (uint32_t)put;
		if (put < sizeof(bytes))
			break;
	}
	return done;
}

static bool service(struct virtio_device *dev)
{
	struct rng *rng = container_of(dev, struct rng, dev);
	struct virtq *q = &dev->queue[0];
	struct virtq_chain chain;
	uint32_t bytes = 0;
	do {
		for (enum virtq_pop r; (r = virtq_pop(q, rng->iov, &chain)) != VIRTQ_EMPTY;) {
			if (r == VIRTQ_BROKEN)
				return false;
			uint32_t n = fill(rng->iov + chain.n_out, chain.n_in);
			virtq_push(q, chain.head, n);
			/* An empty request costs as well. */
			bytes += MAX_OF(n, VIRTIO_BATCH_BYTES / VIRTIO_BATCH_CHAINS);
			if (bytes >= VIRTIO_BATCH_BYTES)
				return true;
		}
	} while (virtq_kick_enable(q));
	return false;
}

static void free_rng(struct virtio_device *dev)
{
	virtio_deinit(dev);
	free(container_of(dev, struct rng, dev));
}

const struct virtio_ops virtio_rng_ops = {
	.name = "rng",
	.id = VIRTIO_ID_RNG,
	.n_queues = 1,
	.queue_size_max = {64},
	.service = service,
	.free = free_rng,
};

struct virtio_device *rng_new(struct err *err)
{
	struct rng *rng = calloc(1, sizeof(*rng));
	if (!rng) {
		err_set_os(err, ERR_HOST, ENOMEM, "cannot create the rng device");
		return NULL;
	}
	if (virtio_init(&rng->dev, &virtio_rng_ops, NULL, 0, err) < 0) {
		free_rng(&rng->dev);
		return NULL;
	}
	return &rng->dev;
}
