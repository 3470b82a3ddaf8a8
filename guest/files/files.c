/* SPDX-License-Identifier: GPL-2.0-only */
/* Files in and out (see files.h). */
#include "guest/files/files.h"

#include "common/fd.h"
#include "common/fsat.h"
#include "common/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Beside the name, so that the rename stays in one file system; no staged name begins with a dot. */
#define TEMPORARY ".schedrig-push."
/* What the machine keeps for itself. */
#define RESERVE_BYTES (UINT64_C(32) << 20)

int files_check_name(const char *name, struct err *err)
{
	size_t length = strlen(name);
	bool good = length >= 1 && length <= FILES_NAME_BYTES && *name != '.' && !strchr(name, '/');
	for (const char *c = name; *c && good; c++)
		good = (unsigned char)*c >= 0x20 && *c != 0x7f;
	if (good)
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT,
		"'%.80s' is no name for a staged file: 1 to %d bytes, no slash, no control characters, not "
		"beginning with a dot",
		name, FILES_NAME_BYTES);
}

/* Where a name is, and its temporary file. */
struct place {
	char path[PATH_MAX], temporary[PATH_MAX];
};

static int find_place(const char *staged, const char *name, struct place *ret, struct err *err)
{
	int n;
	if (*name == '/') {
		size_t length = strlen(name);
		if (length < 2 || name[length - 1] == '/' || strstr(name, "/../") || strstr(name, "//"))
			return err_set(
				err, ERR_INVALID_ARGUMENT, "'%.200s' is no absolute path of a file", name);
		n = snprintf(ret->path, sizeof(ret->path), "%s", name);
	} else {
		int r = files_check_name(name, err);
		if (r < 0)
			return r;
		n = snprintf(ret->path, sizeof(ret->path), "%s/%s", staged, name);
	}
	const char *base = strrchr(ret->path, '/') + 1;
	if (n >= 0 && (size_t)n < sizeof(ret->path))
		n = snprintf(ret->temporary, sizeof(ret->temporary), "%.*s" TEMPORARY "%s",
			(int)(base - ret->path), ret->path, base);
	if (n < 0 || (size_t)n >= sizeof(ret->temporary) || strlen(base) > NAME_MAX - sizeof(TEMPORARY))
		return err_set(err, ERR_LIMIT_EXCEEDED, "path %.200s is too long", name);
	return 0;
}

static int make_parents(char *path, struct err *err)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		int r = mkdir(path, 0755) < 0 && errno != EEXIST ? errno : 0;
		if (r)
			err_set_os(err, ERR_GUEST_OS, r, "cannot make directory %s", path);
		*slash = '/';
		if (r)
			return err_errno(ERR_GUEST_OS);
	}
	return 0;
}

static uint64_t available_bytes(void)
{
	_cleanup_free_ char *text = NULL;
	size_t length;
	uint64_t kib;
	if (fsat_read_all(AT_FDCWD, "/proc/meminfo", 64 << 10, &text, &length) < 0)
		return UINT64_MAX;
	const char *line = strstr(text, "MemAvailable:");
	return line && sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1 ? kib << 10 : UINT64_MAX;
}

/* Before the first byte. */
static int admit(const struct files_push *push, const struct place *place, struct err *err)
{
	struct stat st;
	if (push->size > FILES_PUSH_MAX_BYTES)
		return err_set(err, ERR_LIMIT_EXCEEDED,
			"%s has %" PRIu64 " bytes: at most %" PRIu64 " can be pushed", push->name, push->size,
			FILES_PUSH_MAX_BYTES);
	if (push->keep && stat(place->path, &st) == 0 && S_ISREG(st.st_mode) &&
		(uint64_t)st.st_size == push->size) {
		err_set(err, ERR_ALREADY_EXISTS, "%s is there already", push->name);
		return err_reason(err, "kept");
	}
	if (stat(place->path, &st) == 0 && S_ISDIR(st.st_mode))
		return err_set(err, ERR_INVALID_ARGUMENT, "%s is a directory in the VM", push->name);
	uint64_t available = available_bytes();
	if (!range_fits(push->size, RESERVE_BYTES, available))
		return err_set(err, ERR_LIMIT_EXCEEDED,
			"%s has %" PRIu64 " bytes, and of the VM's memory, where its files are, only %" PRIu64
			" are available: give it more with --memory",
			push->name, push->size, available);
	return 0;
}

static int write_chunk(const struct files_push *push, const struct place *place, struct err *err)
{
	struct stat st;
	int flags = O_WRONLY | O_CLOEXEC | O_NOFOLLOW | (push->offset ? 0 : O_CREAT | O_TRUNC);
	_cleanup_close_ int fd = open(place->temporary, flags, 0600);
	if (fd < 0 && errno == ENOENT)
		return err_set(err, ERR_FAILED_PRECONDITION,
			"a chunk of %s at %" PRIu64 ", but its beginning has not come", push->name,
			push->offset);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set_os(err, ERR_GUEST_OS, errno, "cannot write %s in the VM", place->temporary);
	if ((uint64_t)st.st_size != push->offset)
		return err_set(err, ERR_FAILED_PRECONDITION,
			"a chunk of %s at %" PRIu64 ", but %" PRIu64
			" bytes have come: does somebody else push it, too?",
			push->name, push->offset, (uint64_t)st.st_size);
	if (!range_fits(push->offset, push->length, FILES_PUSH_MAX_BYTES))
		return err_set(err, ERR_LIMIT_EXCEEDED, "%s: at most %" PRIu64 " bytes can be pushed",
			push->name, FILES_PUSH_MAX_BYTES);
	int r = lseek(fd, (off_t)push->offset, SEEK_SET) < 0 ? -errno
							     : fd_write_all(fd, push->data, push->length);
	if (r == 0 && push->last && fchmod(fd, push->mode & 07777) < 0)
		r = -errno;
	if (r == 0)
		return 0;
	unlink(place->temporary);
	return err_set_os(err, ERR_GUEST_OS, -r, "cannot write %s in the VM", place->path);
}

static int make_link(const struct files_push *push, const struct place *place, struct err *err)
{
	if (symlink(push->link, place->path) == 0 || errno == EEXIST)
		return 0;
	return err_set_os(err, ERR_GUEST_OS, errno, "cannot make link %s in the VM", place->path);
}

int files_push(const struct files_push *push, struct err *err)
{
	struct place place;
	int r = find_place(push->staged, push->name, &place, err);
	if (r == 0 && *push->name == '/' && push->offset == 0)
		r = make_parents(place.path, err);
	if (r < 0 || *push->link)
		return r < 0 ? r : make_link(push, &place, err);
	if (push->offset == 0)
		r = admit(push, &place, err);
	if (r == 0)
		r = write_chunk(push, &place, err);
	if (r < 0 || !push->last)
		return r;
	if (rename(place.temporary, place.path) == 0)
		return 0;
	r = errno;
	unlink(place.temporary);
	return err_set_os(err, ERR_GUEST_OS, r, "cannot put %s in place", place.path);
}

/* A text that the kernel writes as it is read (/proc/kallsyms) is written from its beginning for every open:
 * chunk by chunk the time would grow with the square of its length, and chunks would be of several texts. So
 * the last one that is not at its end stays open for the chunk that follows. */
static struct {
	pthread_mutex_t lock;
	char path[PATH_MAX];
	uint64_t next; /* offset that goes on */
	int fd;        /* -1: none */
} half_read = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

/* Open where it was left, or -1. */
static int half_read_take(const char *path, uint64_t offset)
{
	int fd = -1;
	pthread_mutex_lock(&half_read.lock);
	if (offset > 0 && half_read.fd >= 0 && half_read.next == offset &&
		strcmp(half_read.path, path) == 0) {
		fd = half_read.fd;
		half_read.fd = -1;
	}
	pthread_mutex_unlock(&half_read.lock);
	return fd;
}

/* Takes *fd over. */
static void half_read_put(const char *path, uint64_t next, int *fd)
{
	pthread_mutex_lock(&half_read.lock);
	fd_close(&half_read.fd);
	if ((size_t)snprintf(half_read.path, sizeof(half_read.path), "%s", path) < sizeof(half_read.path)) {
		half_read.next = next;
		half_read.fd = take_fd(fd);
	}
	pthread_mutex_unlock(&half_read.lock);
}

int files_pull(const char *staged, const char *path, uint64_t offset, void *buffer, size_t size,
	struct files_chunk *ret, struct err *err)
{
	struct place place;
	struct stat st;
	if (*path != '/' && strchr(path, '/'))
		return err_set(err, ERR_INVALID_ARGUMENT,
			"'%.200s': a path in the VM is absolute, and a staged name has no slash", path);
	int r = find_place(staged, path, &place, err);
	if (r < 0)
		return r;
	/* Not blocking: a FIFO must not hold the reader. */
	_cleanup_close_ int fd = half_read_take(place.path, offset);
	if (fd < 0)
		fd = open(place.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set_os(err, errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_GUEST_OS,
			errno, "cannot read %.200s in the VM", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_INVALID_ARGUMENT, "%.200s is not a regular file", path);
	if (offset > INT64_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "no file has an offset of %" PRIu64, offset);
	size_t done = 0;
	while (done < size) {
		ssize_t n = pread(fd, (char *)buffer + done, size - done, (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set_os(err, ERR_GUEST_OS, errno, "cannot read %.200s in the VM", path);
		if (n == 0)
			break;
		done += (size_t)n;
	}
	*ret = (struct files_chunk){.length = done, .size = (uint64_t)st.st_size, .mode = st.st_mode & 07777};
	if (st.st_size)
		ret->identity = ((uint64_t)st.st_ino << 16) ^ (uint64_t)st.st_dev ^
				(uint64_t)st.st_mtim.tv_nsec << 40 ^ (uint64_t)st.st_mtim.tv_sec << 24;
	else if (done == size)
		half_read_put(place.path, offset + done, &fd);
	return 0;
}
