/* SPDX-License-Identifier: GPL-2.0-only */
/* Files that the kernel writes as they are read, out in chunks: one text, whoever else reads meanwhile. */
#include "guest/files/files.h"

#include "common/fd.h"
#include "common/scope.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of the same bytes for as long as the test runs, and longer than a few chunks. */
#define ONE "/proc/filesystems"
#define OTHER "/proc/devices"
#define CHUNK 40u

static unsigned open_fds(void)
{
	unsigned n = 0;
	DIR *d = opendir("/proc/self/fd");
	cr_assert_not_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

struct reader {
	const char *path;
	char text[65536];
	uint64_t length;
	bool done;
};

static void pull(struct reader *r)
{
	struct files_chunk chunk;
	struct err err = ERR_INIT;
	cr_assert_lt(r->length + CHUNK, sizeof(r->text));
	cr_assert_eq(files_pull("/nowhere", r->path, r->length, r->text + r->length, CHUNK, &chunk, &err), 0,
		"%s", err.message);
	cr_assert_eq(chunk.identity, 0);
	r->length += chunk.length;
	r->done = chunk.length < CHUNK;
}

static void assert_whole(const struct reader *r)
{
	static char want[65536];
	_cleanup_close_ int fd = open(r->path, O_RDONLY | O_CLOEXEC);
	ssize_t n = 0, got;
	while ((got = read(fd, want + n, sizeof(want) - (size_t)n)) > 0)
		n += got;
	cr_assert_eq(
		(uint64_t)n, r->length, "%s: %zd, not %llu bytes", r->path, n, (unsigned long long)r->length);
	cr_assert_eq(memcmp(want, r->text, r->length), 0);
}

Test(files, a_text_of_the_kernel_in_chunks)
{
	static struct reader one = {.path = ONE};
	unsigned before = open_fds(), chunks = 0;
	for (; !one.done; chunks++)
		pull(&one);
	cr_assert_gt(chunks, 3);
	assert_whole(&one);
	cr_assert_eq(open_fds(), before, "nothing stays open behind the end");
}

Test(files, two_readers_by_turns)
{
	static struct reader one = {.path = ONE}, other = {.path = OTHER}, again = {.path = ONE};
	unsigned before = open_fds();
	while (!one.done || !other.done || !again.done) {
		if (!one.done)
			pull(&one);
		if (!other.done)
			pull(&other);
		if (!again.done)
			pull(&again);
		cr_assert_leq(open_fds(), before + 1);
	}
	assert_whole(&one);
	assert_whole(&other);
	assert_whole(&again);
}

Test(files, one_who_begins_anew)
{
	static struct reader left = {.path = ONE}, one = {.path = ONE};
	pull(&left);
	pull(&left);
	while (!one.done)
		pull(&one);
	assert_whole(&one);
	while (!left.done)
		pull(&left);
	assert_whole(&left);
}
