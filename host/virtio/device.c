/* SPDX-License-Identifier: GPL-2.0-only */
/* Shared part of the devices (see device.h for who runs what, and under which lock). */
#include "host/virtio/device.h"

#include "common/fd.h"

#include <errno.h>
#include <event2/event.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/eventfd.h>

static void signal_fd(int fd)
{
	uint64_t one = 1;
	ssize_t n = write(fd, &one, sizeof(one));
	(void)n; /* EAGAIN: a signal is pending already */
}

int virtio_init(struct virtio_device *dev, const struct virtio_ops *ops, const void *config,
	uint32_t config_bytes, struct err *err)
{
	assert(ops->n_queues >= 1 && ops->n_queues <= VIRTIO_QUEUES_MAX);
	dev->ops = ops;
	dev->config = config;
	dev->config_bytes = config_bytes;
	dev->host.irq_fd = -1;
	dev->fault_queue = -1;
	pthread_mutex_init(&dev->lock, NULL);
	dev->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (dev->kick_fd < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot create the %s device", ops->name);
	return 0;
}

void virtio_deinit(struct virtio_device *dev)
{
	if (dev->kick_event)
		event_free(dev->kick_event);
	dev->kick_event = NULL;
	fd_close(&dev->kick_fd);
	fd_close(&dev->host.irq_fd);
	pthread_mutex_destroy(&dev->lock);
}

void virtio_free(struct virtio_device *dev)
{
	if (dev)
		dev->ops->free(dev);
}

static void on_kick(evutil_socket_t fd, short what, void *arg)
{
	uint64_t count;
	ssize_t n = read(fd, &count, sizeof(count));
	(void)n;
	virtio_run(arg);
}

int virtio_bind(struct virtio_device *dev, const struct virtio_host *host, struct err *err)
{
	assert(dev->kick_event == NULL);
	dev->host = *host;
	for (unsigned i = 0; i < dev->ops->n_queues; i++)
		virtq_reset(&dev->queue[i], host->memory);
	dev->kick_event = event_new(loop_base(host->loop), dev->kick_fd, EV_READ | EV_PERSIST, on_kick, dev);
	if (!dev->kick_event || event_add(dev->kick_event, NULL) < 0)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot connect the %s device", dev->ops->name);
	return 0;
}

uint64_t virtio_offered_features(const struct virtio_device *dev)
{
	return dev->ops->features | UINT64_C(1) << VIRTIO_F_VERSION_1 |
	       UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX;
}

bool virtio_has_feature(const struct virtio_device *dev, unsigned bit)
{
	return dev->driver_features >> bit & 1;
}

static void interrupt(struct virtio_device *dev, uint32_t why)
{
	/* Release: pairs with the acquire of the InterruptStatus read, so the guest's handler sees what it is
	 * interrupted for. */
	atomic_fetch_or_explicit(&dev->isr, why, memory_order_acq_rel);
	signal_fd(dev->host.irq_fd);
}

void virtio_break(struct virtio_device *dev, unsigned queue, enum virtq_fault fault)
{
	if (dev->status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	dev->fault_queue = (int)queue;
	dev->fault = fault;
	dev->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	/* 2.1.1: before DRIVER_OK the driver finds out by reading the status. */
	if (dev->status & VIRTIO_CONFIG_S_DRIVER_OK)
		interrupt(dev, VIRTIO_MMIO_INT_CONFIG);
}

enum virtq_fault virtio_fault(struct virtio_device *dev, unsigned *ret_queue)
{
	SCOPE_LOCK(&dev->lock);
	if (dev->fault != VIRTQ_FAULT_NONE)
		*ret_queue = (unsigned)dev->fault_queue;
	return dev->fault;
}

void virtio_reset(struct virtio_device *dev)
{
	for (unsigned i = 0; i < dev->ops->n_queues; i++)
		virtq_reset(&dev->queue[i], dev->host.memory);
	dev->status = 0;
	dev->driver_features = 0;
	dev->device_features_sel = dev->driver_features_sel = dev->queue_sel = 0;
	dev->fault_queue = -1;
	dev->fault = VIRTQ_FAULT_NONE;
	dev->reset_pending = true;
	atomic_store_explicit(&dev->isr, 0, memory_order_release);
	virtio_kick(dev);
}

void virtio_kick(struct virtio_device *dev)
{
	signal_fd(dev->kick_fd);
}

static bool may_run(struct virtio_device *dev)
{
	if (dev->frozen) {
		dev->run_refused = true;
		return false;
	}
	if (dev->reset_pending) {
		dev->reset_pending = false;
		if (dev->ops->reset)
			dev->ops->reset(dev);
	}
	return (dev->status & (VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET |
				      VIRTIO_CONFIG_S_FAILED)) == VIRTIO_CONFIG_S_DRIVER_OK;
}

void virtio_run(struct virtio_device *dev)
{
	bool again = false;
	{
		SCOPE_LOCK(&dev->lock);
		if (!may_run(dev))
			return;
		again = dev->ops->service(dev);
		bool due = false;
		for (unsigned i = 0; i < dev->ops->n_queues; i++) {
			struct virtq *q = &dev->queue[i];
			virtq_publish(q);
			due |= virtq_interrupt_due(q);
			if (q->fault != VIRTQ_FAULT_NONE)
				virtio_break(dev, i, q->fault);
		}
		if (due)
			interrupt(dev, VIRTIO_MMIO_INT_VRING);
		if (dev->status & VIRTIO_CONFIG_S_NEEDS_RESET)
			again = false;
	}
	/* Through the poller and not in a loop here: others get their turn, and whoever waits for the lock
	 * gets it. */
	if (again)
		virtio_kick(dev);
}

void virtio_quiesce(struct virtio_device *dev)
{
	SCOPE_LOCK(&dev->lock);
	dev->frozen = true;
}

void virtio_resume(struct virtio_device *dev)
{
	SCOPE_LOCK(&dev->lock);
	dev->frozen = false;
	if (dev->run_refused)
		virtio_kick(dev);
	dev->run_refused = false;
}
