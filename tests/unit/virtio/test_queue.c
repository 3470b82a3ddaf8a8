/* SPDX-License-Identifier: GPL-2.0-only */
/* Queues and registers, driven as a guest would, and as it should not: what the device under test does with a
 * chain is to fill its writable part with the sum of the readable one. */
#include "tests/fake/virtio_driver.h"

#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

#define SIZE 8

struct summer {
	struct virtio_device dev;
	struct iovec iov[VIRTQ_IOV_MAX];
	unsigned resets, chains;
};

static bool summer_service(struct virtio_device *dev)
{
	struct summer *s = container_of(dev, struct summer, dev);
	struct virtq_chain chain;
	do {
		for (enum virtq_pop r; (r = virtq_pop(&dev->queue[0], s->iov, &chain)) != VIRTQ_EMPTY;) {
			if (r == VIRTQ_BROKEN)
				return false;
			uint8_t sum = 0, byte;
			for (uint32_t i = 0; i < chain.out_bytes; i++) {
				iov_to_bytes(s->iov, chain.n_out, i, &byte, 1);
				sum += byte;
			}
			for (uint32_t i = 0; i < chain.in_bytes; i++)
				iov_from_bytes(s->iov + chain.n_out, chain.n_in, i, &sum, 1);
			virtq_push(&dev->queue[0], chain.head, chain.in_bytes);
			s->chains++;
		}
	} while (virtq_kick_enable(&dev->queue[0]));
	return false;
}
static void summer_reset(struct virtio_device *dev)
{
	container_of(dev, struct summer, dev)->resets++;
}
static void summer_free(struct virtio_device *dev)
{
	virtio_deinit(dev);
	free(container_of(dev, struct summer, dev));
}
static const struct virtio_ops summer_ops = {
	.name = "summer",
	.id = 63,
	.n_queues = 1,
	.queue_size_max = {SIZE},
	.service = summer_service,
	.reset = summer_reset,
	.free = summer_free,
};
static const char summer_config[8] = "config!";

static struct driver d;
static struct summer *summer;

static void setup(void)
{
	driver_init(&d);
	summer = calloc(1, sizeof(*summer));
	cr_assert_eq(virtio_init(&summer->dev, &summer_ops, summer_config, sizeof(summer_config), NULL), 0);
	driver_bind(&d, &summer->dev);
}
static void teardown(void)
{
	driver_deinit(&d);
}
static void setup_started(void)
{
	setup();
	driver_start(&d, DRIVER_FEATURES, SIZE);
	driver_settle(&d);
}

/* A good round: the sum of two bytes arrives, with an interrupt. */
static void assert_works(void)
{
	struct vring_used_elem elem;
	uint64_t out = driver_alloc(&d, 2), in = driver_alloc(&d, 3);
	memcpy(driver_ptr(&d, out, 2), "\x05\x07", 2);
	uint16_t head = driver_add(&d, 0, (struct driver_seg[]){{out, 2, false}, {in, 3, true}}, 2);
	driver_notify(&d, 0);
	driver_settle(&d);
	cr_assert(driver_take_used(&d, 0, &elem));
	cr_assert_eq(elem.id, head);
	cr_assert_eq(elem.len, 3);
	cr_assert_arr_eq(driver_ptr(&d, in, 3), "\x0c\x0c\x0c", 3);
	cr_assert_eq(driver_take_irq(&d), VIRTIO_MMIO_INT_VRING);
	cr_assert_eq(driver_read(&d, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
}

/* After the broken chain was made available: fault, config interrupt, silence, and life after a reset. */
static void assert_broken(enum virtq_fault want)
{
	struct vring_used_elem elem;
	unsigned queue = 99, chains = summer->chains;
	driver_notify(&d, 0);
	driver_settle(&d);
	cr_assert_eq(virtio_fault(&summer->dev, &queue), want, "fault '%s'",
		virtq_fault_name(virtio_fault(&summer->dev, &queue)));
	cr_assert_eq(queue, 0);
	cr_assert(driver_read(&d, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	cr_assert_eq(driver_take_irq(&d), VIRTIO_MMIO_INT_CONFIG);
	uint64_t in = driver_alloc(&d, 1);
	driver_add(&d, 0, &(struct driver_seg){in, 1, true}, 1);
	driver_notify(&d, 0);
	driver_settle(&d);
	cr_assert_not(driver_take_used(&d, 0, &elem));
	cr_assert_eq(driver_take_irq(&d), 0);
	cr_assert_eq(summer->chains, chains);

	driver_start(&d, DRIVER_FEATURES, SIZE);
	cr_assert_eq(virtio_fault(&summer->dev, &queue), VIRTQ_FAULT_NONE);
	assert_works();
}

TestSuite(virtio, .init = setup, .fini = teardown);
TestSuite(virtio_started, .init = setup_started, .fini = teardown);

Test(virtio, registers_identify_the_device)
{
	cr_assert_eq(driver_read(&d, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	cr_assert_eq(driver_read(&d, VIRTIO_MMIO_VERSION), 2);
	cr_assert_eq(driver_read(&d, VIRTIO_MMIO_DEVICE_ID), 63);
	cr_assert_eq(driver_read(&d, VIRTIO_MMIO_QUEUE_NUM_MAX), SIZE);
	driver_write(&d, VIRTIO_MMIO_QUEUE_SEL, 1);
	cr_assert_eq(driver_read(&d, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	driver_write(&d, VIRTIO_MMIO_QUEUE_SEL, UINT32_MAX);
	cr_assert_eq(driver_read(&d, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	driver_write(&d, VIRTIO_MMIO_QUEUE_READY, 1);
	cr_assert_eq(driver_read(&d, VIRTIO_MMIO_QUEUE_READY), 0);
	driver_write(&d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	cr_assert_eq(driver_read(&d, VIRTIO_MMIO_DEVICE_FEATURES), 1, "VERSION_1");
	driver_write(&d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 7);
	cr_assert_eq(driver_read(&d, VIRTIO_MMIO_DEVICE_FEATURES), 0);
}

Test(virtio, config_space_is_bounded)
{
	uint8_t bytes[8];
	virtio_mmio_read(&summer->dev, VIRTIO_MMIO_CONFIG, bytes, 8);
	cr_assert_arr_eq(bytes, "config!", 8);
	virtio_mmio_read(&summer->dev, VIRTIO_MMIO_CONFIG + 6, bytes, 1);
	cr_assert_eq(bytes[0], '!');
	for (uint64_t at = 1; at < 0xf00; at++) {
		memset(bytes, 0xff, 8);
		virtio_mmio_read(&summer->dev, VIRTIO_MMIO_CONFIG + at, bytes, 8);
		cr_assert_eq(bytes[0], 0);
		virtio_mmio_write(&summer->dev, VIRTIO_MMIO_CONFIG + at, bytes, 8);
	}
}

Test(virtio, registers_take_only_aligned_words)
{
	uint8_t bytes[8] = {1, 1, 1, 1, 1, 1, 1, 1};
	virtio_mmio_write(&summer->dev, VIRTIO_MMIO_STATUS, bytes, 1);
	virtio_mmio_write(&summer->dev, VIRTIO_MMIO_STATUS, bytes, 8);
	virtio_mmio_write(&summer->dev, VIRTIO_MMIO_STATUS + 1, bytes, 4);
	cr_assert_eq(driver_read(&d, VIRTIO_MMIO_STATUS), 0);
	virtio_mmio_read(&summer->dev, VIRTIO_MMIO_MAGIC_VALUE, bytes, 2);
	cr_assert_eq(bytes[0], 0);
}

Test(virtio, features_must_be_modern_and_offered)
{
	cr_assert_not(driver_negotiate(&d, 0), "without VERSION_1");
	cr_assert_not(driver_negotiate(&d, DRIVER_FEATURES | UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC));
	cr_assert_not(driver_negotiate(&d, DRIVER_FEATURES | UINT64_C(1) << 63));
	cr_assert(driver_negotiate(&d, DRIVER_FEATURES));
	/* Too late to change one's mind. */
	driver_write(&d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	driver_write(&d, VIRTIO_MMIO_DRIVER_FEATURES, 0);
	cr_assert(virtio_has_feature(&summer->dev, VIRTIO_F_VERSION_1));
}

Test(virtio, status_bits_come_in_order)
{
	driver_write(&d, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FEATURES_OK);
	cr_assert_eq(driver_read(&d, VIRTIO_MMIO_STATUS), 0);
	cr_assert_not(driver_queue_setup(&d, 0, SIZE), "a queue before FEATURES_OK");
	cr_assert(driver_negotiate(&d, DRIVER_FEATURES));
	driver_write(&d, VIRTIO_MMIO_STATUS, 1);
	cr_assert_eq(driver_read(&d, VIRTIO_MMIO_STATUS), 11, "bits cannot be cleared");
}

static void assert_queue_refused(enum virtq_fault want)
{
	unsigned queue;
	cr_assert_not(driver_queue_enable(&d, 0));
	cr_assert_eq(virtio_fault(&summer->dev, &queue), want);
	cr_assert(driver_read(&d, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	cr_assert_not_null(strchr(virtq_fault_text(want), ' '));
	/* A valid set-up does not talk it out of it. */
	cr_assert_not(driver_queue_setup(&d, 0, SIZE));
	driver_start(&d, DRIVER_FEATURES, SIZE);
	assert_works();
	cr_assert(driver_negotiate(&d, DRIVER_FEATURES));
}

Test(virtio, bad_queues_are_refused)
{
	cr_assert(driver_negotiate(&d, DRIVER_FEATURES));
	struct driver_queue good = {.size = SIZE, .desc = 0x1000, .avail = 0x2000, .used = 0x3000};
	const uint16_t sizes[] = {0, 3, SIZE * 2, 0x8000, UINT16_MAX};
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		d.queue[0] = good;
		d.queue[0].size = sizes[i];
		assert_queue_refused(VIRTQ_FAULT_SIZE);
	}
	d.queue[0] = good;
	d.queue[0].desc += 8;
	assert_queue_refused(VIRTQ_FAULT_ALIGNMENT);
	d.queue[0] = good;
	d.queue[0].avail += 1;
	assert_queue_refused(VIRTQ_FAULT_ALIGNMENT);
	d.queue[0] = good;
	d.queue[0].used += 2;
	assert_queue_refused(VIRTQ_FAULT_ALIGNMENT);
	const uint64_t bad[] = {2 * DRIVER_REGION, 2 * DRIVER_REGION - 16, UINT64_MAX - 15, DRIVER_HIGH - 16};
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		d.queue[0] = good;
		d.queue[0].desc = bad[i];
		assert_queue_refused(VIRTQ_FAULT_RING_ADDRESS);
		d.queue[0] = good;
		d.queue[0].avail = bad[i];
		assert_queue_refused(VIRTQ_FAULT_RING_ADDRESS);
		d.queue[0] = good;
		d.queue[0].used = bad[i];
		assert_queue_refused(VIRTQ_FAULT_RING_ADDRESS);
	}
}

Test(virtio_started, a_queue_in_use_stays_as_it_is)
{
	struct driver_queue good = d.queue[0];
	d.queue[0].desc = 0x20000;
	driver_queue_enable(&d, 0);
	d.queue[0] = good;
	assert_works();
}

Test(virtio_started, chains_are_served)
{
	for (unsigned i = 0; i < 4 * SIZE; i++)
		assert_works();
}

Test(virtio_started, zero_length_segments_are_left_out)
{
	struct vring_used_elem elem;
	uint64_t in = driver_alloc(&d, 1);
	struct driver_seg seg[] = {{UINT64_MAX, 0, false}, {in, 1, true}, {UINT64_MAX, 0, true}};
	driver_add(&d, 0, seg, 3);
	driver_notify(&d, 0);
	driver_settle(&d);
	cr_assert(driver_take_used(&d, 0, &elem));
	cr_assert_eq(elem.len, 1);
}

Test(virtio_started, a_buffer_may_cross_into_the_next_region)
{
	struct vring_used_elem elem;
	driver_add(&d, 0, &(struct driver_seg){DRIVER_REGION - 2, 4, true}, 1);
	memset(driver_ptr(&d, DRIVER_REGION - 3, 3), 0xee, 3);
	memset(driver_ptr(&d, DRIVER_REGION, 3), 0xee, 3);
	driver_notify(&d, 0);
	driver_settle(&d);
	cr_assert(driver_take_used(&d, 0, &elem));
	cr_assert_arr_eq(driver_ptr(&d, DRIVER_REGION - 3, 3), "\xee\0\0", 3);
	cr_assert_arr_eq(driver_ptr(&d, DRIVER_REGION, 3), "\0\0\xee", 3);
}

Test(virtio_started, buffers_outside_memory_break_the_queue)
{
	const struct driver_seg bad[] = {
		{2 * DRIVER_REGION, 1, true},
		{2 * DRIVER_REGION - 1, 2, true},
		{2 * DRIVER_REGION - 1, UINT32_MAX, false},
		{DRIVER_HIGH - 1, 2, true},
		{DRIVER_HIGH + DRIVER_REGION - 1, 2, true},
		{UINT64_MAX, 1, true},
		{UINT64_MAX, 2, true},
		{UINT64_MAX - UINT32_MAX + 1, UINT32_MAX, false},
	};
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		driver_add(&d, 0, &bad[i], 1);
		assert_broken(VIRTQ_FAULT_BUFFER_ADDRESS);
	}
}

Test(virtio_started, nothing_of_a_chain_with_a_bad_tail_is_written)
{
	uint64_t in = driver_alloc(&d, 1);
	*(uint8_t *)driver_ptr(&d, in, 1) = 0xee;
	driver_add(&d, 0, (struct driver_seg[]){{in, 1, true}, {2 * DRIVER_REGION, 1, true}}, 2);
	assert_broken(VIRTQ_FAULT_BUFFER_ADDRESS);
	cr_assert_eq(*(uint8_t *)driver_ptr(&d, in, 1), 0xee);
}

Test(virtio_started, endless_chains_break_the_queue)
{
	uint64_t at = driver_alloc(&d, 1);
	uint16_t head = driver_add(&d, 0, &(struct driver_seg){at, 1, false}, 1);
	struct vring_desc *desc = driver_desc(&d, 0, head);
	desc->flags = VRING_DESC_F_NEXT;
	desc->next = head;
	assert_broken(VIRTQ_FAULT_CHAIN_LENGTH);

	/* Around all of the table, with nothing in it. */
	for (uint16_t i = 0; i < SIZE; i++)
		*driver_desc(&d, 0, i) =
			(struct vring_desc){.flags = VRING_DESC_F_NEXT, .next = (uint16_t)((i + 1) % SIZE)};
	driver_publish(&d, 0, 3);
	assert_broken(VIRTQ_FAULT_CHAIN_LENGTH);
}

Test(virtio_started, the_longest_chain_is_accepted)
{
	struct vring_used_elem elem;
	struct driver_seg seg[SIZE];
	for (unsigned i = 0; i < SIZE; i++)
		seg[i] = (struct driver_seg){driver_alloc(&d, 1), 1, true};
	driver_add(&d, 0, seg, SIZE);
	driver_notify(&d, 0);
	driver_settle(&d);
	cr_assert(driver_take_used(&d, 0, &elem));
	cr_assert_eq(elem.len, SIZE);
}

Test(virtio_started, indices_beyond_the_table_break_the_queue)
{
	driver_publish(&d, 0, SIZE);
	assert_broken(VIRTQ_FAULT_DESC_INDEX);
	driver_publish(&d, 0, UINT16_MAX);
	assert_broken(VIRTQ_FAULT_DESC_INDEX);
	uint16_t head = driver_add(&d, 0, &(struct driver_seg){driver_alloc(&d, 1), 1, true}, 1);
	driver_desc(&d, 0, head)->flags |= VRING_DESC_F_NEXT;
	driver_desc(&d, 0, head)->next = SIZE;
	assert_broken(VIRTQ_FAULT_DESC_INDEX);
}

Test(virtio_started, an_avail_index_that_runs_away_breaks_the_queue)
{
	driver_avail(&d, 0)->idx = SIZE + 1;
	assert_broken(VIRTQ_FAULT_AVAIL_INDEX);
	driver_avail(&d, 0)->idx = (uint16_t)-1;
	assert_broken(VIRTQ_FAULT_AVAIL_INDEX);
}

Test(virtio_started, readable_after_writable_breaks_the_queue)
{
	uint64_t at = driver_alloc(&d, 2);
	driver_add(&d, 0, (struct driver_seg[]){{at, 1, true}, {at + 1, 1, false}}, 2);
	assert_broken(VIRTQ_FAULT_CHAIN_ORDER);
}

Test(virtio_started, indirect_descriptors_were_not_offered)
{
	uint16_t head = driver_add(&d, 0, &(struct driver_seg){driver_alloc(&d, 16), 16, false}, 1);
	driver_desc(&d, 0, head)->flags = VRING_DESC_F_INDIRECT;
	assert_broken(VIRTQ_FAULT_INDIRECT);
}

Test(virtio_started, chains_of_more_than_4_gib_break_the_queue)
{
	/* 8 descriptors of at most 4 MiB cannot reach it with this memory: the sum is what counts, so the
	 * same bytes again and again, on a device with one region of address space for them. */
	struct gmem_region *r = &d.memory->region[2];
	uint64_t size = r->size_bytes;
	r->size_bytes = UINT64_C(1) << 40; /* never touched: the chain is refused first */
	struct driver_seg seg[2] = {{DRIVER_HIGH, UINT32_MAX, false}, {DRIVER_HIGH, 1, false}};
	driver_add(&d, 0, seg, 2);
	driver_notify(&d, 0);
	driver_settle(&d);
	r->size_bytes = size;
	assert_broken(VIRTQ_FAULT_BUFFER_BYTES);
}

Test(virtio_started, event_index_suppresses_interrupts)
{
	struct vring_used_elem elem;
	assert_works();
	/* Wants to hear after the third from now. */
	driver_avail(&d, 0)->ring[SIZE] = (uint16_t)(d.queue[0].seen_used + 2);
	for (unsigned i = 0; i < 3; i++) {
		driver_add(&d, 0, &(struct driver_seg){driver_alloc(&d, 1), 1, true}, 1);
		driver_notify(&d, 0);
		driver_settle(&d);
		cr_assert_eq(driver_take_irq(&d), i == 2 ? VIRTIO_MMIO_INT_VRING : 0, "buffer %u", i);
	}
	for (unsigned i = 0; i < 3; i++)
		cr_assert(driver_take_used(&d, 0, &elem));
	/* And asks to be notified about the next buffer. */
	cr_assert_eq(*(uint16_t *)&driver_used(&d, 0)->ring[SIZE], d.queue[0].next_avail);
}

Test(virtio_started, flags_suppress_interrupts_without_event_index)
{
	driver_start(&d, UINT64_C(1) << VIRTIO_F_VERSION_1, SIZE);
	assert_works();
	driver_avail(&d, 0)->flags = VRING_AVAIL_F_NO_INTERRUPT;
	driver_add(&d, 0, &(struct driver_seg){driver_alloc(&d, 1), 1, true}, 1);
	driver_notify(&d, 0);
	driver_settle(&d);
	cr_assert_eq(driver_take_irq(&d), 0);
	driver_avail(&d, 0)->flags = 0;
	driver_add(&d, 0, &(struct driver_seg){driver_alloc(&d, 1), 1, true}, 1);
	driver_notify(&d, 0);
	driver_settle(&d);
	cr_assert_eq(driver_take_irq(&d), VIRTIO_MMIO_INT_VRING);
	cr_assert_eq(driver_used(&d, 0)->flags, 0);
}

Test(virtio_started, nothing_is_touched_while_frozen)
{
	struct vring_used_elem elem;
	virtio_quiesce(&summer->dev);
	driver_add(&d, 0, &(struct driver_seg){driver_alloc(&d, 1), 1, true}, 1);
	driver_notify(&d, 0);
	driver_settle(&d);
	cr_assert_not(driver_take_used(&d, 0, &elem));
	cr_assert_eq(driver_take_irq(&d), 0);
	virtio_resume(&summer->dev);
	driver_settle(&d);
	cr_assert(driver_take_used(&d, 0, &elem), "work left over from the freeze");
}

Test(virtio_started, stopping_a_queue_stops_it)
{
	struct vring_used_elem elem;
	driver_write(&d, VIRTIO_MMIO_QUEUE_SEL, 0);
	driver_write(&d, VIRTIO_MMIO_QUEUE_READY, 0);
	driver_add(&d, 0, &(struct driver_seg){driver_alloc(&d, 1), 1, true}, 1);
	driver_notify(&d, 0);
	driver_settle(&d);
	cr_assert_not(driver_take_used(&d, 0, &elem));
}

static void *run_loop(void *arg)
{
	loop_run(arg);
	return NULL;
}

static void nothing(void *arg)
{
}

#define SLOW_BYTES (16 * 1024)

/* The loop works on another thread, slowly (byte by byte), while this one resets the device under it: from
 * the moment the write of 0 is done, rings and buffers are the driver's again. */
Test(virtio, a_reset_is_complete_when_it_returns, .timeout = 60)
{
	pthread_t thread;
	unsigned served = 0;
	cr_assert_eq(pthread_create(&thread, NULL, run_loop, d.loop), 0);
	for (unsigned round = 0; round < 100; round++) {
		d.alloc = 0x1000;
		driver_start(&d, DRIVER_FEATURES, SIZE);
		uint64_t in = driver_alloc(&d, SLOW_BYTES);
		for (unsigned i = 0; i < SIZE; i++)
			driver_add(&d, 0, &(struct driver_seg){in, SLOW_BYTES, true}, 1);
		*(uint8_t *)driver_ptr(&d, in, 1) = 0xee;
		driver_notify(&d, 0);
		/* Half of the resets come amid the work, the others before it or at its beginning. */
		while (round % 2 &&
			__atomic_load_n((uint8_t *)driver_ptr(&d, in, 1), __ATOMIC_RELAXED) == 0xee)
			;
		driver_write(&d, VIRTIO_MMIO_STATUS, 0);
		served += driver_used(&d, 0)->idx;
		memset(driver_ptr(&d, 0x1000, d.alloc - 0x1000), 0xee, d.alloc - 0x1000);
		/* Whatever the loop was at has ended when it gets to this. */
		cr_assert_eq(loop_call(d.loop, nothing, NULL), 0);
		const uint8_t *bytes = driver_ptr(&d, 0x1000, d.alloc - 0x1000);
		for (uint64_t i = 0; i < d.alloc - 0x1000; i++)
			if (bytes[i] != 0xee)
				cr_assert_fail("round %u: byte %llu was written after the reset", round,
					(unsigned long long)i);
	}
	loop_stop(d.loop);
	pthread_join(thread, NULL);
	cr_assert_geq(served, 50 * SIZE, "batches in progress were finished");
	cr_assert_gt(summer->resets, 0);
}
