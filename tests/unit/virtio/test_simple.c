/* SPDX-License-Identifier: GPL-2.0-only */
/* The small devices: rng and console, and the table of all. */
#include "host/virtio/console.h"
#include "host/virtio/devtab.h"
#include "host/virtio/rng.h"
#include "tests/fake/virtio_driver.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct driver d;
static char output[8192];
static size_t n_output;

static void on_output(const char *bytes, size_t length, void *arg)
{
	cr_assert_eq(arg, output);
	cr_assert_leq(n_output + length, sizeof(output) - 1);
	memcpy(output + n_output, bytes, length);
	n_output += length;
	output[n_output] = 0;
}

static void start_console(uint64_t bytes_per_s, uint64_t total)
{
	struct console_config config = {on_output, output, bytes_per_s, total};
	driver_init(&d);
	driver_bind(&d, console_new(&config, NULL));
	driver_start(&d, DRIVER_FEATURES, 64);
}

static void print(const char *text, uint32_t length)
{
	uint64_t at = driver_alloc(&d, length);
	struct vring_used_elem elem;
	memcpy(driver_ptr(&d, at, length), text, length);
	driver_add(&d, 1, &(struct driver_seg){at, length, false}, 1);
	driver_notify(&d, 1);
	driver_settle(&d);
	cr_assert(driver_take_used(&d, 1, &elem), "the guest is never held up");
	cr_assert_eq(elem.len, 0);
}

Test(console, output_arrives)
{
	start_console(0, 0);
	print("hello ", 6);
	print("world\n", 6);
	cr_assert_str_eq(output, "hello world\n");
	cr_assert_eq(console_dropped_bytes(d.dev), 0);
	driver_deinit(&d);
}

Test(console, size_is_limited)
{
	start_console(0, 10);
	print("0123456789ab", 12);
	print("cdef", 4);
	cr_assert_str_eq(output, "0123456789");
	cr_assert_eq(console_dropped_bytes(d.dev), 6);
	driver_deinit(&d);
}

Test(console, rate_is_limited_and_said)
{
	char text[4096];
	memset(text, 'x', sizeof(text));
	/* So slow that what is refilled meanwhile does not matter. */
	start_console(100, 0);
	print(text, sizeof(text));
	size_t first = strspn(output, "x");
	cr_assert_geq(first, 100);
	cr_assert_lt(first, 2000);
	cr_assert_eq(console_dropped_bytes(d.dev), sizeof(text) - first);
	/* Wait for the bucket, not for luck: print until something comes through. */
	while (!strstr(output, "bytes of console output dropped]\n"))
		print("y", 1);
	driver_deinit(&d);
}

Test(console, long_chains_are_bounded)
{
	start_console(1000, 0);
	struct driver_seg seg[32];
	for (unsigned i = 0; i < 32; i++)
		seg[i] = (struct driver_seg){0, DRIVER_REGION, false};
	driver_add(&d, 1, seg, 32);
	driver_notify(&d, 1);
	driver_settle(&d);
	struct vring_used_elem elem;
	cr_assert(driver_take_used(&d, 1, &elem));
	cr_assert_eq(console_dropped_bytes(d.dev) + n_output, 32 * DRIVER_REGION);
	driver_deinit(&d);
}

Test(rng, fills_buffers_up_to_its_limit)
{
	driver_init(&d);
	driver_bind(&d, rng_new(NULL));
	driver_start(&d, DRIVER_FEATURES, 64);
	uint64_t at = driver_alloc(&d, 2 * RNG_REQUEST_BYTES);
	static const uint8_t zeros[64];
	struct vring_used_elem elem;
	driver_add(&d, 0, (struct driver_seg[]){{at, 64, true}, {at + 64, 36, true}}, 2);
	driver_notify(&d, 0);
	driver_settle(&d);
	cr_assert(driver_take_used(&d, 0, &elem));
	cr_assert_eq(elem.len, 100);
	cr_assert_arr_neq(driver_ptr(&d, at, 64), zeros, 64);
	cr_assert_arr_neq(driver_ptr(&d, at + 64, 36), zeros, 36);
	cr_assert_arr_eq(driver_ptr(&d, at + 100, 64), zeros, 64);
	driver_add(&d, 0, &(struct driver_seg){at, 2 * RNG_REQUEST_BYTES, true}, 1);
	driver_notify(&d, 0);
	driver_settle(&d);
	cr_assert(driver_take_used(&d, 0, &elem));
	cr_assert_eq(elem.len, RNG_REQUEST_BYTES);
	/* Nothing to write into: answered, not filled. */
	driver_add(&d, 0, &(struct driver_seg){at, 64, false}, 1);
	driver_notify(&d, 0);
	driver_settle(&d);
	cr_assert(driver_take_used(&d, 0, &elem));
	cr_assert_eq(elem.len, 0);
	driver_deinit(&d);
}

Test(rng, many_requests_take_several_batches_but_all_end)
{
	driver_init(&d);
	driver_bind(&d, rng_new(NULL));
	driver_start(&d, DRIVER_FEATURES, 64);
	uint64_t at = driver_alloc(&d, RNG_REQUEST_BYTES);
	struct vring_used_elem elem;
	for (unsigned i = 0; i < 64; i++)
		driver_add(&d, 0, &(struct driver_seg){at, RNG_REQUEST_BYTES, true}, 1);
	virtio_run(d.dev);
	unsigned first = driver_used(&d, 0)->idx;
	cr_assert_gt(first, 0);
	cr_assert_lt(first, 64, "one batch is bounded");
	driver_settle(&d);
	for (unsigned i = 0; i < 64; i++)
		cr_assert(driver_take_used(&d, 0, &elem));
	driver_deinit(&d);
}

Test(devtab, lists_every_device_once)
{
	unsigned n = 0;
	for (const struct virtio_devtab_entry *e = virtio_devtab; e->ops; e++, n++) {
		cr_assert_not_null(e->ops->service);
		cr_assert_not_null(e->ops->free);
		for (unsigned q = 0; q < e->ops->n_queues; q++)
			cr_assert_leq(e->ops->queue_size_max[q], VIRTQ_SIZE_MAX);
		for (const struct virtio_devtab_entry *other = virtio_devtab; other != e; other++)
			cr_assert_neq(other->ops->id, e->ops->id);
	}
	cr_assert_geq(n, 3);
}
