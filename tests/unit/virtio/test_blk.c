/* SPDX-License-Identifier: GPL-2.0-only */
/* The disk: requests as a driver makes them, and requests that must fail; a host whose files take their time
 * or fail; files that are no disks. */
#include "common/fd.h"
#include "host/virtio/blk.h"
#include "tests/fake/virtio_driver.h"

#include <criterion/criterion.h>
#include <event2/event.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <poll.h>
#include <semaphore.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define SECTORS 64u

/* A host's disk that waits to be let, or fails: stands in for the C library's functions, in this program
 * only.
 */
static _Atomic bool gated;
static _Atomic int failure; /* errno, 0: none */
static sem_t gate, entered;

static bool fails(void)
{
	if (gated) {
		sem_post(&entered);
		while (sem_wait(&gate) < 0)
			;
	}
	errno = failure;
	return failure;
}
ssize_t pread(int fd, void *bytes, size_t length, off_t at)
{
	return fails() ? -1 : syscall(SYS_pread64, fd, bytes, length, at);
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at)
{
	return fails() ? -1 : syscall(SYS_pwrite64, fd, bytes, length, at);
}
int fdatasync(int fd)
{
	return fails() ? -1 : (int)syscall(SYS_fdatasync, fd);
}

static struct driver d;
static uint64_t header_at, data_at, status_at;

static void start(const struct blk_config *config)
{
	struct err err = ERR_INIT;
	gated = false;
	failure = 0;
	sem_init(&gate, 0, 0);
	sem_init(&entered, 0, 0);
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
	uint32_t bytes;
	cr_assert_eq(request(VIRTIO_BLK_T_GET_ID, 0, 20, &bytes), VIRTIO_BLK_S_OK);
	cr_assert_str_eq(driver_ptr(&d, data_at, 20), "disk-of-a-test");
	cr_assert_eq(bytes, 21);
	/* Less room, none, or more than there is. */
	memset(driver_ptr(&d, data_at, 64), 0xee, 64);
	cr_assert_eq(request(VIRTIO_BLK_T_GET_ID, 0, 4, &bytes), VIRTIO_BLK_S_OK);
	cr_assert_arr_eq(driver_ptr(&d, data_at, 5), "disk\xee", 5);
	cr_assert_eq(bytes, 5);
	cr_assert_eq(request(VIRTIO_BLK_T_GET_ID, 0, 0, &bytes), VIRTIO_BLK_S_OK);
	cr_assert_eq(bytes, 1);
	cr_assert_eq(request(VIRTIO_BLK_T_GET_ID, 0, 1 << 20, &bytes), VIRTIO_BLK_S_OK);
	cr_assert_eq(bytes, 21);
	cr_assert_eq(*(uint8_t *)driver_ptr(&d, data_at + 20, 1), 0xee);
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

/* Bounds of a request against those of the disk, and of the chain against guest memory. */
Test(blk, chains_beyond_guest_memory_break_the_queue)
{
	static const struct driver_seg bad[] = {
		{2 * DRIVER_REGION - 256, 512, true}, /* into the hole (CVE-2019-18960) */
		{DRIVER_HIGH + DRIVER_REGION - 511, 512, true},
		{UINT64_MAX - 255, 512, true}, /* round the end of the address space */
		{UINT64_MAX, 1, true},
		{0, UINT32_MAX, true},
	};
	struct virtio_blk_outhdr hdr = {.type = VIRTIO_BLK_T_IN};
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		unsigned queue;
		driver_start(&d, DRIVER_FEATURES, 64);
		memcpy(driver_ptr(&d, header_at, sizeof(hdr)), &hdr, sizeof(hdr));
		driver_add(&d, 0,
			(struct driver_seg[]){{header_at, sizeof(hdr), false}, bad[i], {status_at, 1, true}},
			3);
		driver_notify(&d, 0);
		driver_settle(&d);
		cr_assert_eq(virtio_fault(d.dev, &queue), VIRTQ_FAULT_BUFFER_ADDRESS, "%u", i);
		cr_assert_eq(driver_used(&d, 0)->idx, 0, "%u", i);
	}
	/* A data buffer whose first half is memory and whose second is, too, elsewhere. */
	driver_start(&d, DRIVER_FEATURES, 64);
	data_at = DRIVER_REGION - 256;
	cr_assert_eq(request(VIRTIO_BLK_T_IN, 0, 512, NULL), VIRTIO_BLK_S_OK);
}

/* Header and status in pieces, data in segments of odd lengths (5.2.6: the layout is the driver's). */
Test(blk, the_layout_of_a_request_is_the_drivers)
{
	struct virtio_blk_outhdr hdr = {.type = VIRTIO_BLK_T_OUT, .sector = 1};
	struct vring_used_elem elem;
	memcpy(driver_ptr(&d, header_at, sizeof(hdr)), &hdr, sizeof(hdr));
	for (unsigned i = 0; i < 1024; i++)
		*(uint8_t *)driver_ptr(&d, data_at + i, 1) = (uint8_t)(i * 7);
	driver_add(&d, 0,
		(struct driver_seg[]){{header_at, 9, false}, {header_at + 9, 7, false}, {data_at, 1, false},
			{data_at + 1, 1023, false}, {status_at, 1, true}},
		5);
	driver_notify(&d, 0);
	while (!driver_take_used(&d, 0, &elem))
		event_base_loop(loop_base(d.loop), EVLOOP_ONCE);
	cr_assert_eq(*(uint8_t *)driver_ptr(&d, status_at, 1), VIRTIO_BLK_S_OK);
	memset(driver_ptr(&d, data_at, 1024), 0, 1024);
	hdr.type = VIRTIO_BLK_T_IN;
	memcpy(driver_ptr(&d, header_at, sizeof(hdr)), &hdr, sizeof(hdr));
	/* Data and status share a segment. */
	driver_add(&d, 0,
		(struct driver_seg[]){{header_at, 16, false}, {data_at, 3, true}, {data_at + 3, 1022, true}},
		3);
	driver_notify(&d, 0);
	while (!driver_take_used(&d, 0, &elem))
		event_base_loop(loop_base(d.loop), EVLOOP_ONCE);
	cr_assert_eq(elem.len, 1025);
	for (unsigned i = 0; i < 1024; i++)
		cr_assert_eq(*(uint8_t *)driver_ptr(&d, data_at + i, 1), (uint8_t)(i * 7), "%u", i);
	cr_assert_eq(*(uint8_t *)driver_ptr(&d, data_at + 1024, 1), VIRTIO_BLK_S_OK);
}

Test(blk, errors_of_the_host_reach_the_guest_and_are_counted)
{
	cr_assert_eq(request(VIRTIO_BLK_T_OUT, 0, 512, NULL), VIRTIO_BLK_S_OK);
	cr_assert_eq(request(VIRTIO_BLK_T_IN, 0, 512, NULL), VIRTIO_BLK_S_OK);
	cr_assert_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0, NULL), VIRTIO_BLK_S_OK);
	cr_assert_eq(request(VIRTIO_BLK_T_IN, SECTORS, 512, NULL), VIRTIO_BLK_S_IOERR);
	struct blk_stats stats = blk_stats(d.dev);
	cr_assert(stats.reads == 1 && stats.writes == 1 && stats.flushes == 1);
	cr_assert(stats.errors == 1 && stats.os_errno == 0, "refused: the host is not to blame");
	failure = ENOSPC;
	uint32_t bytes;
	memset(driver_ptr(&d, data_at, 512), 0xee, 512);
	cr_assert_eq(request(VIRTIO_BLK_T_OUT, 0, 512, &bytes), VIRTIO_BLK_S_IOERR);
	cr_assert_eq(bytes, 1);
	failure = EIO;
	cr_assert_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0, NULL), VIRTIO_BLK_S_IOERR);
	cr_assert_eq(request(VIRTIO_BLK_T_IN, 0, 512, &bytes), VIRTIO_BLK_S_IOERR);
	cr_assert_eq(bytes, 1);
	cr_assert_eq(*(uint8_t *)driver_ptr(&d, data_at, 1), 0xee, "nothing is made up");
	stats = blk_stats(d.dev);
	cr_assert(stats.errors == 4 && stats.os_errno == EIO);
	failure = 0;
	cr_assert_eq(request(VIRTIO_BLK_T_IN, 0, 512, NULL), VIRTIO_BLK_S_OK);
	stats = blk_stats(d.dev);
	cr_assert(stats.reads == 2 && stats.writes == 1 && stats.flushes == 1 && stats.errors == 4);
}

static void wait_kick(void)
{
	struct pollfd kick = {.fd = d.dev->kick_fd, .events = POLLIN};
	cr_assert_eq(poll(&kick, 1, 20000), 1);
}

/* The loop is never kept by a disk, and what the disk does during a freeze is seen after it. */
Test(blk, what_ends_in_a_freeze_waits_for_the_thaw)
{
	memset(driver_ptr(&d, data_at, 512), 0xee, 512);
	gated = true;
	add(VIRTIO_BLK_T_IN, 0, 512);
	driver_settle(&d);
	sem_wait(&entered); /* in the system call */
	driver_settle(&d);
	cr_assert_eq(driver_used(&d, 0)->idx, 0);
	virtio_quiesce(d.dev);
	gated = false;
	sem_post(&gate);
	wait_kick();
	driver_settle(&d);
	cr_assert_eq(driver_used(&d, 0)->idx, 0);
	cr_assert_eq(*(uint8_t *)driver_ptr(&d, status_at, 1), 0xee);
	for (unsigned i = 0; i < 512; i++)
		cr_assert_eq(*(uint8_t *)driver_ptr(&d, data_at + i, 1), 0xee);
	cr_assert_eq(driver_take_irq(&d), 0);
	virtio_resume(d.dev);
	driver_settle(&d);
	cr_assert_eq(driver_used(&d, 0)->idx, 1);
	cr_assert_eq(*(uint8_t *)driver_ptr(&d, status_at, 1), VIRTIO_BLK_S_OK);
	cr_assert_eq(*(uint8_t *)driver_ptr(&d, data_at + 511, 1), 0);
	cr_assert_eq(driver_take_irq(&d), VIRTIO_MMIO_INT_VRING);
}

/* ---- files */

static char path[] = "/tmp/schedrig-unit-blk-XXXXXX";

static void make_file(void)
{
	char text[1024];
	int fd = mkstemp(path);
	memset(text, 'r', sizeof(text));
	cr_assert_eq(write(fd, text, sizeof(text)), (ssize_t)sizeof(text));
	close(fd);
}
static void remove_file(void)
{
	unlink(path);
}
TestSuite(blk_file, .init = make_file, .fini = remove_file, .timeout = 30);

Test(blk_file, a_raw_file_may_be_read_only)
{
	struct blk_config config = {.path = path, .read_only = true};
	start(&config);
	driver_write(&d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	cr_assert(driver_read(&d, VIRTIO_MMIO_DEVICE_FEATURES) >> VIRTIO_BLK_F_RO & 1);
	cr_assert_eq(request(VIRTIO_BLK_T_IN, 0, 512, NULL), VIRTIO_BLK_S_OK);
	for (unsigned i = 0; i < 512; i++)
		cr_assert_eq(*(char *)driver_ptr(&d, data_at + i, 1), 'r');
	memset(driver_ptr(&d, data_at, 512), 'w', 512);
	cr_assert_eq(request(VIRTIO_BLK_T_OUT, 0, 512, NULL), VIRTIO_BLK_S_IOERR);
	cr_assert_eq(request(VIRTIO_BLK_T_IN, 0, 512, NULL), VIRTIO_BLK_S_OK);
	cr_assert_eq(*(char *)driver_ptr(&d, data_at, 1), 'r');
	/* Cut under the guest: an error, no hang. */
	cr_assert_eq(truncate(path, 100), 0);
	cr_assert_eq(request(VIRTIO_BLK_T_IN, 0, 512, NULL), VIRTIO_BLK_S_IOERR);
	cr_assert_eq(blk_stats(d.dev).os_errno, EIO);
	driver_deinit(&d);
}

Test(blk_file, what_is_written_is_in_the_file)
{
	struct blk_config config = {.path = path};
	start(&config);
	cr_assert_eq(blk_size_bytes(d.dev), 1024);
	memset(driver_ptr(&d, data_at, 512), 'w', 512);
	cr_assert_eq(request(VIRTIO_BLK_T_OUT, 1, 512, NULL), VIRTIO_BLK_S_OK);
	cr_assert_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0, NULL), VIRTIO_BLK_S_OK);
	driver_deinit(&d);
	char got[1025];
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert_eq(read(fd, got, sizeof(got)), 1024);
	cr_assert(got[0] == 'r' && got[511] == 'r' && got[512] == 'w' && got[1023] == 'w');
}

static void refused(const char *what, bool read_only, enum err_code code, const char *words)
{
	struct err err = ERR_INIT;
	struct blk_config config = {.path = what, .read_only = read_only};
	cr_assert_null(blk_new(&config, &err), "%s", what);
	cr_assert_eq((int)err.code, (int)code, "%s: %s", what, err.message);
	cr_assert(strstr(err.message, words) && strstr(err.message, what), "%s", err.message);
}

Test(blk_file, what_is_no_disk_is_refused)
{
	refused("/nonexistent/disk", false, ERR_NOT_FOUND, "No such file");
	refused("/dev/null/disk", false, ERR_NOT_FOUND, "Not a directory");
	refused("/tmp", false, ERR_INVALID_ARGUMENT, "is a directory");
	refused("/tmp", true, ERR_INVALID_ARGUMENT, "is a directory");
	refused("/dev/null", true, ERR_INVALID_ARGUMENT, "neither a file nor");
	cr_assert_eq(truncate(path, 1000), 0);
	refused(path, false, ERR_INVALID_ARGUMENT, "1000 bytes");
	cr_assert_eq(truncate(path, 0), 0);
	refused(path, false, ERR_INVALID_ARGUMENT, "empty");
	unlink(path);
	cr_assert_eq(mkfifo(path, 0600), 0);
	refused(path, false, ERR_INVALID_ARGUMENT, "neither a file nor");
}

Test(blk_file, without_permission_there_is_a_remedy)
{
	cr_assert_eq(chmod(path, 0444), 0);
	if (geteuid() == 0 && seteuid(65534) < 0)
		cr_skip("cannot become nobody");
	refused(path, false, ERR_HOST, "',ro'");
	struct err err = ERR_INIT;
	struct blk_config config = {.path = path, .read_only = true};
	struct virtio_device *dev = blk_new(&config, &err);
	cr_assert_not_null(dev, "%s", err.message);
	virtio_free(dev);
	if (getuid() == 0)
		cr_assert_eq(seteuid(0), 0);
}

Test(blk_file, one_writer_or_many_readers)
{
	struct err err = ERR_INIT;
	struct blk_config config = {.path = path};
	struct virtio_device *writer = blk_new(&config, &err);
	cr_assert_not_null(writer, "%s", err.message);
	refused(path, false, ERR_BUSY, "in use");
	refused(path, true, ERR_BUSY, "for writing");
	virtio_free(writer);
	config.read_only = true;
	struct virtio_device *one = blk_new(&config, &err), *two = blk_new(&config, &err);
	cr_assert(one && two, "%s", err.message);
	refused(path, false, ERR_BUSY, "in use");
	virtio_free(one);
	virtio_free(two);
	config.read_only = false;
	writer = blk_new(&config, &err);
	cr_assert_not_null(writer, "%s", err.message);
	virtio_free(writer);
}

Test(blk_file, temporaries_have_a_place_and_a_size)
{
	struct err err = ERR_INIT;
	struct blk_config config = {.directory = "/nonexistent", .size_bytes = 4096};
	cr_assert_null(blk_new(&config, &err));
	cr_assert(strstr(err.message, "/nonexistent"), "%s", err.message);
	config.directory = "/tmp";
	config.size_bytes = 511;
	cr_assert_null(blk_new(&config, &err));
	cr_assert_eq((int)err.code, (int)ERR_INVALID_ARGUMENT);
	config.size_bytes = UINT64_MAX;
	cr_assert_null(blk_new(&config, &err));
	config.size_bytes = UINT64_C(1) << 40; /* sparse */
	struct virtio_device *dev = blk_new(&config, &err);
	cr_assert_not_null(dev, "%s", err.message);
	cr_assert_eq(blk_size_bytes(dev), config.size_bytes);
	virtio_free(dev);
}
