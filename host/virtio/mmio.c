/* SPDX-License-Identifier: GPL-2.0-only */
/* virtio-mmio registers (see mmio.h). vCPU threads, under the device's lock except for the two registers that
 * every interrupt touches. What the specification leaves open is refused: wrong widths and unknown registers
 * read 0, writes in the wrong state are ignored. */
#include "host/virtio/mmio.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <string.h>

/* "schd", little-endian; drivers do not care. */
#define VENDOR_ID 0x64686373u
#define MAGIC 0x74726976u
#define MMIO_VERSION 2u
/* Not in Linux's uapi of Debian 12. Shared memory regions: length ~0 says "none" (4.2.2). */
#ifndef VIRTIO_MMIO_SHM_LEN_LOW
#define VIRTIO_MMIO_SHM_LEN_LOW 0x0b0
#define VIRTIO_MMIO_SHM_LEN_HIGH 0x0b4
#define VIRTIO_MMIO_SHM_BASE_LOW 0x0b8
#define VIRTIO_MMIO_SHM_BASE_HIGH 0x0bc
#endif

static struct virtq *selected(struct virtio_device *dev)
{
	return dev->queue_sel < dev->ops->n_queues ? &dev->queue[dev->queue_sel] : NULL;
}

static uint32_t read_locked(struct virtio_device *dev, uint64_t offset)
{
	const struct virtq *q = selected(dev);
	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MAGIC;
	case VIRTIO_MMIO_VERSION:
		return MMIO_VERSION;
	case VIRTIO_MMIO_DEVICE_ID:
		return dev->ops->id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR_ID;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return dev->device_features_sel > 1
			       ? 0
			       : (uint32_t)(virtio_offered_features(dev) >> (32 * dev->device_features_sel));
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return q ? dev->ops->queue_size_max[dev->queue_sel] : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return q && q->ready;
	case VIRTIO_MMIO_STATUS:
		return dev->status;
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return dev->config_generation;
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return UINT32_MAX;
	default:
		return 0;
	}
}

void virtio_mmio_read(void *arg, uint64_t offset, uint8_t *data, unsigned length)
{
	struct virtio_device *dev = arg;
	memset(data, 0, length);
	if (offset >= VIRTIO_MMIO_CONFIG) {
		uint64_t at = offset - VIRTIO_MMIO_CONFIG;
		if (range_fits(at, length, dev->config_bytes))
			memcpy(data, (const uint8_t *)dev->config + at, length);
		return;
	}
	if (length != 4 || offset % 4)
		return;
	uint32_t value;
	if (offset == VIRTIO_MMIO_INTERRUPT_STATUS) {
		value = atomic_load_explicit(&dev->isr, memory_order_acquire);
	} else {
		SCOPE_LOCK(&dev->lock);
		value = read_locked(dev, offset);
	}
	memcpy(data, &value, sizeof(value));
}

/* 3.1.1: the device takes the driver's set or leaves FEATURES_OK clear. */
static bool features_acceptable(const struct virtio_device *dev)
{
	return !(dev->driver_features & ~virtio_offered_features(dev)) &&
	       virtio_has_feature(dev, VIRTIO_F_VERSION_1);
}

static void write_status(struct virtio_device *dev, uint32_t value)
{
	if (value == 0) {
		virtio_reset(dev);
		return;
	}
	/* Bits are only ever added, in order; NEEDS_RESET is the device's own. */
	uint32_t old = dev->status, add = value & ~old;
	if (add & VIRTIO_CONFIG_S_ACKNOWLEDGE)
		dev->status |= VIRTIO_CONFIG_S_ACKNOWLEDGE;
	if ((add & VIRTIO_CONFIG_S_DRIVER) && (dev->status & VIRTIO_CONFIG_S_ACKNOWLEDGE))
		dev->status |= VIRTIO_CONFIG_S_DRIVER;
	if ((add & VIRTIO_CONFIG_S_FEATURES_OK) && (dev->status & VIRTIO_CONFIG_S_DRIVER) &&
		features_acceptable(dev))
		dev->status |= VIRTIO_CONFIG_S_FEATURES_OK;
	if ((add & VIRTIO_CONFIG_S_DRIVER_OK) && (dev->status & VIRTIO_CONFIG_S_FEATURES_OK)) {
		dev->status |= VIRTIO_CONFIG_S_DRIVER_OK;
		/* There may be buffers already, and whoever has something to send has waited for this. */
		virtio_kick(dev);
	}
	if (add & VIRTIO_CONFIG_S_FAILED)
		dev->status |= VIRTIO_CONFIG_S_FAILED;
}

/* Queues are set up between FEATURES_OK and DRIVER_OK (3.1.1), and never while in use. */
static bool queue_open(const struct virtio_device *dev, const struct virtq *q)
{
	return q && !q->ready &&
	       (dev->status & (VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK)) ==
		       VIRTIO_CONFIG_S_FEATURES_OK;
}

static void set_half(gpa_t *gpa, bool high, uint32_t value)
{
	if (high)
		gpa->v = (uint64_t)value << 32 | (uint32_t)gpa->v;
	else
		gpa->v = (gpa->v & ~UINT64_C(0xffffffff)) | value;
}

static void write_ready(struct virtio_device *dev, struct virtq *q, uint32_t value)
{
	if (!q)
		return;
	if (value == 0) {
		q->ready = false;
		return;
	}
	if (value == 1 && queue_open(dev, q) &&
		!virtq_enable(q, dev->ops->queue_size_max[dev->queue_sel],
			virtio_has_feature(dev, VIRTIO_RING_F_EVENT_IDX)))
		virtio_break(dev, dev->queue_sel, q->fault);
}

static void write_locked(struct virtio_device *dev, uint64_t offset, uint32_t value)
{
	struct virtq *q = selected(dev);
	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		dev->device_features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		dev->driver_features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		if ((dev->status & (VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)) !=
			VIRTIO_CONFIG_S_DRIVER)
			break;
		if (dev->driver_features_sel < 2) {
			unsigned shift = 32 * dev->driver_features_sel;
			dev->driver_features &= ~(UINT64_C(0xffffffff) << shift);
			dev->driver_features |= (uint64_t)value << shift;
		}
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		dev->queue_sel = value;
		break;
	case VIRTIO_MMIO_QUEUE_NUM:
		if (queue_open(dev, q))
			q->size = value;
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		if (queue_open(dev, q))
			set_half(&q->desc_gpa, offset == VIRTIO_MMIO_QUEUE_DESC_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		if (queue_open(dev, q))
			set_half(&q->avail_gpa, offset == VIRTIO_MMIO_QUEUE_AVAIL_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		if (queue_open(dev, q))
			set_half(&q->used_gpa, offset == VIRTIO_MMIO_QUEUE_USED_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_READY:
		write_ready(dev, q, value);
		break;
	case VIRTIO_MMIO_STATUS:
		write_status(dev, value);
		break;
	default:
		break;
	}
}

void virtio_mmio_write(void *arg, uint64_t offset, const uint8_t *data, unsigned length)
{
	struct virtio_device *dev = arg;
	/* No device here has writable configuration. */
	if (length != 4 || offset % 4 || offset >= VIRTIO_MMIO_CONFIG)
		return;
	uint32_t value;
	memcpy(&value, data, sizeof(value));
	switch (offset) {
	case VIRTIO_MMIO_INTERRUPT_ACK:
		atomic_fetch_and_explicit(&dev->isr, ~value, memory_order_acq_rel);
		return;
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		/* Normally the ioeventfd's work; same fd. */
		virtio_kick(dev);
		return;
	default:
		break;
	}
	SCOPE_LOCK(&dev->lock);
	write_locked(dev, offset, value);
}
