/* SPDX-License-Identifier: GPL-2.0-only */
/* Copies into guest memory: from files with and without holes, from memory, at any alignment. */
#include "host/vm/boot_copy.h"

#include "common/fd.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#define FILE_BYTES ((size_t)20 << 20)

static uint8_t *content;

static int sparse_file(void)
{
	content = calloc(1, FILE_BYTES);
	int fd = memfd_create("kernel", MFD_CLOEXEC);
	cr_assert_eq(ftruncate(fd, (off_t)FILE_BYTES), 0);
	unsigned seed = 7;
	for (size_t at = 0; at < FILE_BYTES;) {
		size_t n = 4096 * (1 + (size_t)rand_r(&seed) % 300);
		n = MIN_OF(n, FILE_BYTES - at);
		if (rand_r(&seed) % 2) {
			for (size_t i = 0; i < n; i += 8)
				memcpy(content + at + i, &(uint64_t){at + i + 1}, 8);
			cr_assert_eq(pwrite(fd, content + at, n, (off_t)at), (ssize_t)n);
		}
		at += n;
	}
	return fd;
}

static void copies_right(const struct boot_copy *copies, unsigned n, uint8_t *guest, size_t guest_bytes)
{
	_cleanup_free_ uint8_t *expected = calloc(1, guest_bytes);
	for (unsigned i = 0; i < n; i++)
		memcpy(expected + (copies[i].out - guest), content + copies[i].offset, copies[i].length);
	struct boot_copy_job job;
	boot_copy_start(&job, copies, n);
	boot_copy_finish(&job);
	for (size_t at = 0; at < guest_bytes; at += 4096)
		cr_assert_eq(memcmp(guest + at, expected + at, MIN_OF(guest_bytes - at, 4096u)), 0,
			"page at %#zx", at);
}

Test(boot_copy, every_source_gives_the_same)
{
	_cleanup_close_ int fd = sparse_file();
	int fds[] = {fd, -1};
	size_t bytes = 2 * FILE_BYTES;
	for (unsigned k = 0; k < ARRAY_SIZE(fds); k++) {
		uint8_t *guest =
			mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		uint64_t offsets[] = {0, 4096 * 5, 12345678}, lengths[] = {10000001, 4096 * 700, 1};
		uint64_t places[] = {0, 11 << 20, (15 << 20) + 77};
		struct boot_copy copies[4] = {
			{.out = guest + bytes, .in = content, .fd = fds[k]}}; /* nothing to do */
		for (unsigned i = 0; i < 3; i++)
			copies[i + 1] = (struct boot_copy){.out = guest + places[i],
				.in = content + offsets[i],
				.fd = fds[k],
				.offset = offsets[i],
				.length = lengths[i]};
		copies_right(copies, 4, guest, bytes);
		munmap(guest, bytes);
	}
	free(content);
}

/* A file that cannot be asked for its holes: then the bytes in hand count. */
Test(boot_copy, falls_back_on_the_mapping)
{
	_cleanup_close_ int fd = sparse_file();
	int pipes[2];
	cr_assert_geq(fd, 0);
	cr_assert_eq(pipe2(pipes, O_CLOEXEC), 0);
	uint8_t *guest = calloc(1, FILE_BYTES);
	struct boot_copy copy = {.out = guest, .in = content, .fd = pipes[0], .length = FILE_BYTES};
	copies_right(&copy, 1, guest, FILE_BYTES);
	close(pipes[0]);
	close(pipes[1]);
	free(guest);
	free(content);
}
