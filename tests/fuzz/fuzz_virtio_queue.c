/* SPDX-License-Identifier: GPL-2.0-only */
/* Register writes, ring bytes and descriptors of a hostile driver, on the rng (writes guest memory), the
 * console (reads it), the disk or the network device (both). Guest memory lies between guard pages
 * (tests/fake/virtio_driver.c). */
#include "host/virtio/blk.h"
#include "host/virtio/console.h"
#include "host/virtio/net.h"
#include "host/virtio/rng.h"
#include "tests/fake/virtio_driver.h"
#include "tests/fuzz/fuzz.h"

#include <event2/event.h>
#include <stdlib.h>

#define STARTS_MAX 16

static void on_output(const char *bytes, size_t length, void *arg)
{
	/* Looks at every byte, as whoever prints them would. */
	volatile char sum = 0;
	for (size_t i = 0; i < length; i++)
		sum += bytes[i];
	(void)sum;
}

/* Addresses worth trying come up often: ends of regions and the top of the address space. */
static uint64_t address(struct fuzz_input *in)
{
	static const uint64_t base[] = {
		0, DRIVER_REGION, 2 * DRIVER_REGION, DRIVER_HIGH, DRIVER_HIGH + DRIVER_REGION, 0x10000, 0};
	uint8_t which = fuzz_u8(in);
	int16_t off = (int16_t)fuzz_u16(in);
	if (which >= 0xf0)
		return (uint64_t)fuzz_u32(in) << 32 | (uint16_t)off;
	return base[which % ARRAY_SIZE(base)] + (uint64_t)(int64_t)off;
}

static void poke_desc(struct driver *d, struct fuzz_input *in)
{
	unsigned index = fuzz_u8(in) % d->dev->ops->n_queues;
	if (!d->queue[index].size)
		return;
	struct vring_desc *desc = driver_desc(d, index, fuzz_u8(in) % d->queue[index].size);
	desc->addr = address(in);
	desc->len = fuzz_u16(in);
	if (desc->len >= 0xff00)
		desc->len = fuzz_u32(in);
	desc->flags = fuzz_u8(in) & 7;
	desc->next = fuzz_u8(in);
}

static void step(struct driver *d, struct fuzz_input *in, unsigned *starts)
{
	uint8_t bytes[16];
	switch (fuzz_u8(in) % 10) {
	case 0: {
		uint16_t offset = fuzz_u16(in) % 0x1000;
		fuzz_take(in, bytes, 4);
		virtio_mmio_write(d->dev, offset & ~3u, bytes, 4);
		break;
	}
	case 1:
		virtio_mmio_read(d->dev, fuzz_u16(in) % 0x1000, bytes, 1u << fuzz_u8(in) % 4);
		break;
	case 2: {
		unsigned at = fuzz_u16(in), n = fuzz_u8(in) % sizeof(bytes);
		fuzz_take(in, bytes, n);
		memcpy(driver_ptr(d, at, sizeof(bytes)), bytes, n);
		break;
	}
	case 3:
		event_base_loop(loop_base(d->loop), EVLOOP_NONBLOCK);
		break;
	case 4:
		virtio_quiesce(d->dev);
		break;
	case 5:
		virtio_resume(d->dev);
		break;
	case 6:
		if ((*starts)++ < STARTS_MAX)
			driver_start(d,
				DRIVER_FEATURES & ~(uint64_t)(fuzz_u8(in) & 1) << VIRTIO_RING_F_EVENT_IDX,
				(uint16_t)(1u << fuzz_u8(in) % 7));
		break;
	case 7: {
		unsigned index = fuzz_u8(in) % d->dev->ops->n_queues;
		uint16_t head = fuzz_u8(in);
		if (d->queue[index].size)
			driver_publish(d, index, head);
		driver_notify(d, index);
		break;
	}
	case 8:
		poke_desc(d, in);
		break;
	case 9:
		virtio_run(d->dev);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct fuzz_input in = {bytes, length};
	struct driver d;
	unsigned starts = 0;
	driver_init(&d);
	struct console_config config = {.output = on_output};
	struct blk_config disk = {.directory = "/tmp", .size_bytes = 1 << 16};
	uint8_t which = fuzz_u8(&in);
	driver_bind(&d, which % 8 == 7 ? blk_new(&disk, NULL)
			: which == 'n' ? net_new(NULL)
			: which & 1    ? console_new(&config, NULL)
				       : rng_new(NULL));
	while (in.left)
		step(&d, &in, &starts);
	/* Whatever happened, a reset makes a working device of it. */
	virtio_resume(d.dev);
	driver_start(&d, DRIVER_FEATURES, 4);
	driver_settle(&d);
	unsigned index = d.dev->ops->n_queues - 1, queue;
	uint64_t at = driver_alloc(&d, 32);
	driver_add(&d, index, (struct driver_seg[]){{at, 16, false}, {at + 16, 16, true}}, 2);
	driver_notify(&d, index);
	driver_settle(&d);
	struct vring_used_elem elem;
	/* The disk's worker may have requests of a former life before it. */
	for (bool answered = false; !answered;) {
		answered = driver_take_used(&d, index, &elem);
		if (virtio_fault(d.dev, &queue) != VIRTQ_FAULT_NONE || (!answered && which % 8 != 7))
			abort();
		if (!answered)
			event_base_loop(loop_base(d.loop), EVLOOP_ONCE);
	}
	driver_deinit(&d);
	return 0;
}
