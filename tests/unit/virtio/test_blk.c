/* SPDX-License-Identifier: GPL-2.0-only */
/* The disk: requests as a driver makes them, and requests that must fail. */
#include "common/fd.h"
#include "host/virtio/blk.h"
#include "tests/fake/virtio_driver.h"

#include <criterion/criterion.h>
#include <event2/event.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <string.h>

#define SECTORS 64u

static struct driver d;
static uint64_t header_at, data_at, status_at;

static void start(const struct blk_config *config)
{
	struct err err = ERR_INIT;
	driver_init(&d);
	struct virtio_device *dev = blk_new(config, &err);
	cr_assert_not_null(dev, "%s", err.message);
	driver_bind(&d, dev);
	driver_start(&d, DRIVER_FEATURES, 64);
	header_at = driver_alloc(&d, 16);
	data_at = driver_alloc(&d, 1 << 20);
	status_at = driver_alloc(&d, 1);
}
static void setup(void)
{
	struct blk_config config = {
		.directory = "/tmp", .size_bytes = SECTORS * 512 + 100, .id = "disk-of-a-test"};
	start(&config);
}
static void teardown(void)
{
	driver_deinit(&d);
}
TestSuite(blk, .init = setup, .fini = teardown, .timeout = 30);

static void add(uint32_t type, uint64_t sector, uint32_t length)
{
	struct virtio_blk_outhdr hdr = {.type = type, .sector = sector};
	memcpy(driver_ptr(&d, header_at, sizeof(hdr)), &hdr, sizeof(hdr));
	*(uint8_t *)driver_ptr(&d, status_at, 1) = 0xee;
	struct driver_seg seg[] = {{header_at, sizeof(hdr), false},
		{data_at, length, type != VIRTIO_BLK_T_OUT}, {status_at, 1, true}};
	driver_add(&d, 0, seg, 3);
	driver_notify(&d, 0);
}

/* The status. ret_bytes: what the used ring says was written. */
static uint8_t request(uint32_t type, uint64_t sector, uint32_t length, uint32_t *ret_bytes)
{
	struct vring_used_elem elem;
	add(type, sector, length);
	while (!driver_take_used(&d, 0, &elem))
		event_base_loop(loop_base(d.loop), EVLOOP_ONCE);
	if (ret_bytes)
		*ret_bytes = elem.len;
	return *(uint8_t *)driver_ptr(&d, status_at, 1);
}

Test(blk, what_is_written_is_read)
{
	uint32_t bytes;
	cr_assert_eq(driver_read(&d, VIRTIO_MMIO_CONFIG), SECTORS);
	memset(driver_ptr(&d, data_at, 1024), 0x5a, 1024);
	cr_assert_eq(request(VIRTIO_BLK_T_OUT, SECTORS - 2, 1024, &bytes), VIRTIO_BLK_S_OK);
	cr_assert_eq(bytes, 1);
	cr_assert_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0, NULL), VIRTIO_BLK_S_OK);
	memset(driver_ptr(&d, data_at, 1536), 0, 1536);
	cr_assert_eq(request(VIRTIO_BLK_T_IN, SECTORS - 3, 1536, &bytes), VIRTIO_BLK_S_OK);
	cr_assert_eq(bytes, 1537);
	const uint8_t *got = driver_ptr(&d, data_at, 1536);
	for (unsigned i = 0; i < 1536; i++)
		cr_assert_eq(got[i], i < 512 ? 0 : 0x5a);
}

Test(blk, requests_beyond_the_disk_fail)
{
	const struct {
		uint64_t sector;
		uint32_t length;
	} bad[] = {{SECTORS, 512}, {SECTORS - 1, 1024}, {UINT64_MAX, 512}, {UINT64_MAX / 512 + 1, 512},
		{UINT64_MAX - 1, 1536}, {0, 100}, {0, 1 << 20}};
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		cr_assert_eq(request(VIRTIO_BLK_T_IN, bad[i].sector, bad[i].length, NULL), VIRTIO_BLK_S_IOERR,
			"%u", i);
		cr_assert_eq(request(VIRTIO_BLK_T_OUT, bad[i].sector, bad[i].length, NULL),
			VIRTIO_BLK_S_IOERR, "%u", i);
	}
	cr_assert_eq(request(VIRTIO_BLK_T_DISCARD, 0, 16, NULL), VIRTIO_BLK_S_UNSUPP);
	cr_assert_eq(request(77, 0, 16, NULL), VIRTIO_BLK_S_UNSUPP);
}

Test(blk, the_id_is_told)
{
	cr_assert_eq(request(VIRTIO_BLK_T_GET_ID, 0, 20, NULL), VIRTIO_BLK_S_OK);
	cr_assert_str_eq(driver_ptr(&d, data_at, 20), "disk-of-a-test");
}

Test(blk, requests_without_header_or_status_break_the_queue)
{
	unsigned queue;
	driver_add(&d, 0, &(struct driver_seg){header_at, 16, false}, 1);
	driver_notify(&d, 0);
	driver_settle(&d);
	cr_assert_eq(virtio_fault(d.dev, &queue), VIRTQ_FAULT_BUFFER_SHORT);
	driver_start(&d, DRIVER_FEATURES, 64);
	driver_add(&d, 0, (struct driver_seg[]){{header_at, 15, false}, {status_at, 1, true}}, 2);
	driver_notify(&d, 0);
	driver_settle(&d);
	cr_assert_eq(virtio_fault(d.dev, &queue), VIRTQ_FAULT_BUFFER_SHORT);
	driver_start(&d, DRIVER_FEATURES, 64);
	cr_assert_eq(request(VIRTIO_BLK_T_IN, 0, 512, NULL), VIRTIO_BLK_S_OK);
}

Test(blk, more_requests_than_slots_all_end)
{
	struct vring_used_elem elem;
	for (unsigned i = 0; i < 20; i++)
		add(VIRTIO_BLK_T_IN, i, 512);
	for (unsigned done = 0; done < 20;) {
		if (driver_take_used(&d, 0, &elem))
			done++;
		else
			event_base_loop(loop_base(d.loop), EVLOOP_ONCE);
	}
}

Test(blk, a_request_under_way_in_a_reset_ends_unseen)
{
	for (unsigned round = 0; round < 50; round++) {
		add(VIRTIO_BLK_T_IN, 0, 512);
		virtio_run(d.dev);
		memset(driver_ptr(&d, data_at, 512), 0xee, 512);
		/* The rings of the next life are elsewhere and must not hear of it. */
		driver_start(&d, DRIVER_FEATURES, 64);
		driver_settle(&d);
		cr_assert_eq(*(uint8_t *)driver_ptr(&d, data_at, 1), 0xee);
		cr_assert_eq(driver_used(&d, 0)->idx, 0);
		cr_assert_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0, NULL), VIRTIO_BLK_S_OK);
	}
}

Test(blk_file, a_raw_file_may_be_read_only)
{
	char path[] = "/tmp/schedrig-unit-blk-XXXXXX", text[512];
	int fd = mkstemp(path);
	memset(text, 'r', sizeof(text));
	cr_assert_eq(write(fd, text, sizeof(text)), 512);
	close(fd);
	struct blk_config config = {.path = path, .read_only = true};
	start(&config);
	driver_write(&d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	cr_assert(driver_read(&d, VIRTIO_MMIO_DEVICE_FEATURES) >> VIRTIO_BLK_F_RO & 1);
	cr_assert_eq(request(VIRTIO_BLK_T_IN, 0, 512, NULL), VIRTIO_BLK_S_OK);
	cr_assert_arr_eq(driver_ptr(&d, data_at, 512), text, 512);
	cr_assert_eq(request(VIRTIO_BLK_T_OUT, 0, 512, NULL), VIRTIO_BLK_S_IOERR);
	/* Cut under the guest: an error, no hang. */
	cr_assert_eq(truncate(path, 100), 0);
	cr_assert_eq(request(VIRTIO_BLK_T_IN, 0, 512, NULL), VIRTIO_BLK_S_IOERR);
	driver_deinit(&d);
	struct err err;
	cr_assert_null(blk_new(&config, &err), "no whole sector");
	cr_assert_eq(err.code, ERR_INVALID_ARGUMENT);
	config.path = "/dev/null";
	cr_assert_null(blk_new(&config, &err));
	cr_assert_eq(err.code, ERR_INVALID_ARGUMENT);
	config.path = "/nonexistent/disk";
	cr_assert_null(blk_new(&config, &err));
	cr_assert_eq(err.code, ERR_NOT_FOUND);
	unlink(path);
}
