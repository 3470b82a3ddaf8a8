/* SPDX-License-Identifier: GPL-2.0-only */
/* Guest driver for tests (see virtio_driver.h). */
#include "tests/fake/virtio_driver.h"

#include <event2/event.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#define GUARD 4096

static void add_region(struct gmem *mem, uint64_t start)
{
	/* Between pages that nobody may touch. */
	uint8_t *host = mmap(NULL, DRIVER_REGION + 2 * GUARD, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert(host != MAP_FAILED);
	host += GUARD;
	int r = mprotect(host, DRIVER_REGION, PROT_READ | PROT_WRITE);
	assert(r == 0);
	mem->region[mem->n_regions++] =
		(struct gmem_region){.start = GPA(start), .size_bytes = DRIVER_REGION, .host = host};
	mem->total_bytes += DRIVER_REGION;
}

void driver_init(struct driver *d)
{
	*d = (struct driver){.irq_fd = -1, .alloc = 0x1000};
	d->memory = calloc(1, sizeof(*d->memory));
	assert(d->memory);
	add_region(d->memory, 0);
	add_region(d->memory, DRIVER_REGION);
	add_region(d->memory, DRIVER_HIGH);
	d->loop = loop_new(NULL);
	assert(d->loop);
}

void driver_bind(struct driver *d, struct virtio_device *dev)
{
	assert(dev);
	d->dev = dev;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->irq_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	struct virtio_host host = {.memory = d->memory, .loop = d->loop, .irq_fd = fd};
	int r = virtio_bind(dev, &host, NULL);
	assert(r == 0);
}

void driver_deinit(struct driver *d)
{
	virtio_free(d->dev);
	loop_free(d->loop);
	for (unsigned i = 0; i < d->memory->n_regions; i++)
		munmap(d->memory->region[i].host - GUARD, DRIVER_REGION + 2 * GUARD);
	free(d->memory);
	close(d->irq_fd);
}

uint32_t driver_read(struct driver *d, uint64_t offset)
{
	uint32_t value;
	virtio_mmio_read(d->dev, offset, (uint8_t *)&value, sizeof(value));
	return value;
}

void driver_write(struct driver *d, uint64_t offset, uint32_t value)
{
	virtio_mmio_write(d->dev, offset, (const uint8_t *)&value, sizeof(value));
}

static void add_status(struct driver *d, uint32_t bit)
{
	driver_write(d, VIRTIO_MMIO_STATUS, driver_read(d, VIRTIO_MMIO_STATUS) | bit);
}

bool driver_negotiate(struct driver *d, uint64_t features)
{
	driver_write(d, VIRTIO_MMIO_STATUS, 0);
	add_status(d, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	add_status(d, VIRTIO_CONFIG_S_DRIVER);
	for (uint32_t sel = 0; sel < 2; sel++) {
		driver_write(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, sel);
		driver_write(d, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32 * sel));
	}
	add_status(d, VIRTIO_CONFIG_S_FEATURES_OK);
	return driver_read(d, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK;
}

bool driver_queue_enable(struct driver *d, unsigned index)
{
	const struct driver_queue *q = &d->queue[index];
	driver_write(d, VIRTIO_MMIO_QUEUE_SEL, index);
	driver_write(d, VIRTIO_MMIO_QUEUE_NUM, q->size);
	driver_write(d, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)q->desc);
	driver_write(d, VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(q->desc >> 32));
	driver_write(d, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)q->avail);
	driver_write(d, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, (uint32_t)(q->avail >> 32));
	driver_write(d, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)q->used);
	driver_write(d, VIRTIO_MMIO_QUEUE_USED_HIGH, (uint32_t)(q->used >> 32));
	driver_write(d, VIRTIO_MMIO_QUEUE_READY, 1);
	return driver_read(d, VIRTIO_MMIO_QUEUE_READY) == 1;
}

bool driver_queue_setup(struct driver *d, unsigned index, uint16_t size)
{
	struct driver_queue *q = &d->queue[index];
	*q = (struct driver_queue){.size = size};
	uint64_t room = size ? size : 1;
	q->desc = driver_alloc(d, 16 * room);
	q->avail = driver_alloc(d, 6 + 2 * room);
	q->used = driver_alloc(d, 6 + 8 * room);
	return driver_queue_enable(d, index);
}

void driver_start(struct driver *d, uint64_t features, uint16_t size)
{
	bool ok = driver_negotiate(d, features);
	assert(ok);
	for (unsigned i = 0; i < d->dev->ops->n_queues; i++) {
		ok = driver_queue_setup(d, i, MIN_OF(size, d->dev->ops->queue_size_max[i]));
		assert(ok);
	}
	add_status(d, VIRTIO_CONFIG_S_DRIVER_OK);
}

uint64_t driver_alloc(struct driver *d, uint64_t bytes)
{
	uint64_t at = round_up_u64(d->alloc, 64);
	assert(range_fits(at, bytes, DRIVER_REGION));
	d->alloc = at + bytes;
	memset(driver_ptr(d, at, bytes), 0, bytes);
	return at;
}

void *driver_ptr(struct driver *d, uint64_t gpa, uint64_t length)
{
	for (unsigned i = 0; i < d->memory->n_regions; i++) {
		const struct gmem_region *r = &d->memory->region[i];
		if (gpa >= r->start.v && range_fits(gpa - r->start.v, length, r->size_bytes))
			return r->host + (gpa - r->start.v);
	}
	assert(!"driver_ptr: outside memory");
	return NULL;
}

struct vring_desc *driver_desc(struct driver *d, unsigned index, uint16_t i)
{
	return (struct vring_desc *)driver_ptr(d, d->queue[index].desc, 16 * (i + 1u)) + i;
}

struct vring_avail *driver_avail(struct driver *d, unsigned index)
{
	return driver_ptr(d, d->queue[index].avail, 6 + 2u * d->queue[index].size);
}

struct vring_used *driver_used(struct driver *d, unsigned index)
{
	return driver_ptr(d, d->queue[index].used, 6 + 8u * d->queue[index].size);
}

void driver_publish(struct driver *d, unsigned index, uint16_t head)
{
	struct driver_queue *q = &d->queue[index];
	struct vring_avail *avail = driver_avail(d, index);
	avail->ring[q->next_avail++ % q->size] = head;
	__atomic_store_n(&avail->idx, q->next_avail, __ATOMIC_RELEASE);
}

uint16_t driver_add(struct driver *d, unsigned index, const struct driver_seg *seg, unsigned n)
{
	struct driver_queue *q = &d->queue[index];
	uint16_t head = q->next_desc;
	for (unsigned i = 0; i < n; i++) {
		struct vring_desc *desc = driver_desc(d, index, q->next_desc);
		q->next_desc = (uint16_t)((q->next_desc + 1) % q->size);
		*desc = (struct vring_desc){.addr = seg[i].gpa,
			.len = seg[i].length,
			.flags = (seg[i].device_writes ? VRING_DESC_F_WRITE : 0) |
				 (i + 1 < n ? VRING_DESC_F_NEXT : 0),
			.next = q->next_desc};
	}
	driver_publish(d, index, head);
	return head;
}

void driver_notify(struct driver *d, unsigned index)
{
	driver_write(d, VIRTIO_MMIO_QUEUE_NOTIFY, index);
}

bool driver_take_used(struct driver *d, unsigned index, struct vring_used_elem *ret_elem)
{
	struct driver_queue *q = &d->queue[index];
	struct vring_used *used = driver_used(d, index);
	if (__atomic_load_n(&used->idx, __ATOMIC_ACQUIRE) == q->seen_used)
		return false;
	*ret_elem = used->ring[q->seen_used++ % q->size];
	/* Wants an interrupt for the next one. */
	driver_avail(d, index)->ring[q->size] = q->seen_used;
	return true;
}

uint32_t driver_take_irq(struct driver *d)
{
	uint64_t count;
	if (read(d->irq_fd, &count, sizeof(count)) != sizeof(count))
		return 0;
	uint32_t why = driver_read(d, VIRTIO_MMIO_INTERRUPT_STATUS);
	driver_write(d, VIRTIO_MMIO_INTERRUPT_ACK, why);
	return why;
}

void driver_settle(struct driver *d)
{
	/* Readiness of eventfds and socketpairs is immediate, and a chain of one waking the next is short. */
	for (unsigned i = 0; i < 16; i++)
		event_base_loop(loop_base(d->loop), EVLOOP_NONBLOCK);
}
