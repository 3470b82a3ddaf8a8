/* SPDX-License-Identifier: GPL-2.0-only */
/* virtio-console (see console.h). Loop thread; guest memory only in service(). */
#include "host/virtio/console.h"

#include "common/clock.h"
#include "host/virtio/devtab.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdio.h>

enum { QUEUE_RX, QUEUE_TX };

struct console {
	struct virtio_device dev;
	struct console_config config;
	uint64_t tokens_bytes, refilled_ns; /* bucket of one second's worth */
	uint64_t total_bytes, dropped_bytes;
	uint64_t gap_bytes; /* dropped since the last output */
	struct iovec iov[VIRTQ_IOV_MAX];
};

static void refill(struct console *c)
{
	uint64_t now = clock_now_ns(), passed = MIN_OF(now - c->refilled_ns, NS_PER_S);
	uint64_t more = (uint64_t)((__uint128_t)c->config.bytes_per_s * passed / NS_PER_S);
	if (more == 0)
		return;
	c->tokens_bytes = MIN_OF(c->tokens_bytes + more, c->config.bytes_per_s);
	c->refilled_ns = now;
}

static void put(struct console *c, const char *bytes, size_t length)
{
	uint64_t pass = MIN_OF(length, MIN_OF(c->tokens_bytes, c->config.total_bytes - c->total_bytes));
	if (pass && c->gap_bytes) {
		char text[80];
		int n = snprintf(text, sizeof(text), "\n[%llu bytes of console output dropped]\n",
			(unsigned long long)c->gap_bytes);
		c->config.output(text, (size_t)n, c->config.arg);
		c->gap_bytes = 0;
	}
	if (pass)
		c->config.output(bytes, pass, c->config.arg);
	c->tokens_bytes -= pass;
	c->total_bytes += pass;
	c->gap_bytes += length - pass;
	c->dropped_bytes += length - pass;
}

/* A batch ends with the chain that exceeds it, so one chain may be read in several parts but not kept
 * waiting: what is longer than a batch is dropped behind it. */
static void take(struct console *c, const struct virtq_chain *chain)
{
	char bytes[4096];
	uint32_t offset = 0;
	while (offset < chain->out_bytes && offset < VIRTIO_BATCH_BYTES) {
		size_t n = iov_to_bytes(c->iov, chain->n_out, offset, bytes, sizeof(bytes));
		put(c, bytes, n);
		offset += (uint32_t)n;
	}
	c->gap_bytes += chain->out_bytes - offset;
	c->dropped_bytes += chain->out_bytes - offset;
}

static bool service(struct virtio_device *dev)
{
	struct console *c = container_of(dev, struct console, dev);
	struct virtq *q = &dev->queue[QUEUE_TX];
	struct virtq_chain chain;
	uint32_t bytes = 0;
	refill(c);
	do {
		for (enum virtq_pop r; (r = virtq_pop(q, c->iov, &chain)) != VIRTQ_EMPTY;) {
			if (r == VIRTQ_BROKEN)
				return false;
			take(c, &chain);
			virtq_push(q, chain.head, 0);
			bytes += MAX_OF(MIN_OF(chain.out_bytes, VIRTIO_BATCH_BYTES),
				VIRTIO_BATCH_BYTES / VIRTIO_BATCH_CHAINS);
			if (bytes >= VIRTIO_BATCH_BYTES)
				return true;
		}
	} while (virtq_kick_enable(q));
	return false;
}

uint64_t console_dropped_bytes(const struct virtio_device *dev)
{
	return container_of(dev, struct console, dev)->dropped_bytes;
}

static void free_console(struct virtio_device *dev)
{
	virtio_deinit(dev);
	free(container_of(dev, struct console, dev));
}

const struct virtio_ops virtio_console_ops = {
	.name = "console",
	.id = VIRTIO_ID_CONSOLE,
	.n_queues = 2,
	.queue_size_max = {64, 64},
	.service = service,
	.free = free_console,
};

struct virtio_device *console_new(const struct console_config *config, struct err *err)
{
	struct console *c = calloc(1, sizeof(*c));
	if (!c) {
		err_set_os(err, ERR_HOST, ENOMEM, "cannot create the console device");
		return NULL;
	}
	c->config = *config;
	if (!c->config.bytes_per_s)
		c->config.bytes_per_s = UINT64_C(4) << 20;
	if (!c->config.total_bytes)
		c->config.total_bytes = UINT64_C(256) << 20;
	c->tokens_bytes = c->config.bytes_per_s;
	c->refilled_ns = clock_now_ns();
	if (virtio_init(&c->dev, &virtio_console_ops, NULL, 0, err) < 0) {
		free_console(&c->dev);
		return NULL;
	}
	return &c->dev;
}
