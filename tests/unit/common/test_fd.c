/* SPDX-License-Identifier: GPL-2.0-only */
/* Whole files: those that are too long cost no more than what is allowed. */
#include "common/fd.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[] = "/tmp/schedrig-unit-XXXXXX";

static void expect(size_t max_bytes, const char *text)
{
	struct err err = ERR_INIT;
	char *bytes = NULL;
	size_t length = 0;
	cr_assert_eq(fd_read_file(path, max_bytes, &bytes, &length, &err), 0, "%s", err.message);
	cr_assert_eq(length, strlen(text));
	cr_assert_str_eq(bytes, text);
	free(bytes);
}

Test(fd, a_file_is_read_up_to_its_limit)
{
	struct err err = ERR_INIT;
	char *bytes = NULL;
	size_t length;
	int fd = mkstemp(path);
	cr_assert_geq(fd, 0);
	expect(0, "");
	cr_assert_eq(fd_write_all(fd, "scheduler", 9), 0);
	expect(9, "scheduler");
	expect(10, "scheduler");
	expect(SIZE_MAX, "scheduler");
	cr_assert_eq(fd_read_file(path, 8, &bytes, &length, &err), -E2BIG);
	cr_assert_not_null(strstr(err.message, "larger than 8 bytes"), "%s", err.message);
	/* Far longer than there is memory: nothing of it is needed to say so. */
	cr_assert_eq(ftruncate(fd, (off_t)1 << 40), 0);
	err = ERR_INIT;
	cr_assert_eq(fd_read_file(path, 4096, &bytes, &length, &err), -E2BIG, "%s", err.message);
	close(fd);
	unlink(path);
}

Test(fd, what_has_no_size_is_read_as_it_comes)
{
	struct err err = ERR_INIT;
	char *bytes = NULL;
	size_t length = 0;
	cr_assert_eq(fd_read_file("/proc/self/maps", 1 << 20, &bytes, &length, &err), 0, "%s", err.message);
	cr_assert_gt(length, 0);
	free(bytes);
	char fifo[] = "/tmp/fifo.XXXXXX";
	cr_assert_not_null(mkdtemp(fifo));
	cr_assert_eq(rmdir(fifo), 0);
	cr_assert_eq(mkfifo(fifo, 0600), 0);
	cr_assert_eq(fd_read_file(fifo, 100000, &bytes, &length, &err), -EINVAL);
	cr_assert(strstr(err.message, "nobody writes to"), "%s", err.message);
	cr_assert_eq(unlink(fifo), 0);
	cr_assert_eq(fd_read_file("/dev/zero", 100000, &bytes, &length, &err), -E2BIG);
}
