/* SPDX-License-Identifier: GPL-2.0-only */
/* File descriptors (see fd.h). No state. */
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

int fd_set_nonblock(int fd, struct err *err)
{
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot make file descriptor %d non-blocking", fd);
	return 0;
}

int fd_write_all(int fd, const void *bytes, size_t length)
{
	const char *p = bytes;
	while (length) {
		ssize_t n = write(fd, p, length);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		p += n;
		length -= (size_t)n;
	}
	return 0;
}

ssize_t fd_read_all(int fd, void *bytes, size_t length)
{
	size_t done = 0;
	while (done < length) {
		ssize_t n = read(fd, (char *)bytes + done, length - done);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* Opened without waiting, as an ordinary open() of a FIFO would wait for its writer for ever. *used bytes of
 * the `size` are read already: what tells a pipe without a writer from one whose writer is slow is a read. */
static int begin_reading(const char *path, int fd, const struct stat *st, void *bytes, size_t size,
	size_t *used, struct err *err)
{
	if (S_ISREG(st->st_mode))
		return 0;
	if (S_ISFIFO(st->st_mode)) {
		ssize_t n = read(fd, bytes, size);
		if (n == 0)
			return err_set(err, ERR_INVALID_ARGUMENT, "%s is a pipe that nobody writes to", path);
		*used = n > 0 ? (size_t)n : 0;
	}
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot read %s", path);
	return 0;
}

/* Up to the end of what was opened as `path`. wait: a pipe whose writer is still to come is no mistake. */
static int read_to_end(const char *path, int fd, bool wait, size_t max_bytes, char **ret_bytes,
	size_t *ret_length, struct err *err)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot stat %s", path);
	if (S_ISDIR(st.st_mode))
		return err_set_os(err, ERR_INVALID_ARGUMENT, EISDIR, "cannot read %s", path);
	/* Pipes and /proc files say size 0: read as it comes. A byte beyond the limit is enough to know. */
	size_t most = max_bytes < SIZE_MAX ? max_bytes + 1 : max_bytes, used = 0;
	size_t size = MIN_OF(st.st_size > 0 ? (size_t)st.st_size + 1 : 4096, most);
	_cleanup_free_ char *bytes = malloc(size + 1);
	int r = bytes && !wait ? begin_reading(path, fd, &st, bytes, size, &used, err) : 0;
	if (r < 0)
		return r;
	while (bytes) {
		ssize_t n = fd_read_all(fd, bytes + used, size - used);
		if (n < 0)
			return err_set_os(err, ERR_HOST, (int)-n, "cannot read %s", path);
		used += (size_t)n;
		if (used > max_bytes)
			return err_set(
				err, ERR_LIMIT_EXCEEDED, "%s is larger than %zu bytes", path, max_bytes);
		if (used < size)
			break;
		size = MIN_OF(size * 2, most);
		char *more = realloc(bytes, size + 1);
		if (!more)
			return err_set_os(err, ERR_HOST, ENOMEM, "cannot read %s", path);
		bytes = more;
	}
	if (!bytes)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot read %s", path);
	bytes[used] = '\0';
	*ret_bytes = TAKE_PTR(bytes);
	*ret_length = used;
	return 0;
}

int fd_read_file(const char *path, size_t max_bytes, char **ret_bytes, size_t *ret_length, struct err *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return err_set_os(
			err, errno == ENOENT ? ERR_NOT_FOUND : ERR_HOST, errno, "cannot open %s", path);
	return read_to_end(path, fd, false, max_bytes, ret_bytes, ret_length, err);
}

int fd_read_stdin(size_t max_bytes, char **ret_bytes, size_t *ret_length, struct err *err)
{
	return read_to_end("standard input", STDIN_FILENO, true, max_bytes, ret_bytes, ret_length, err);
}

int fd_replace_file(const char *path, const void *bytes, size_t length, mode_t mode, struct err *err)
{
	char temporary[PATH_MAX];
	if ((size_t)snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >= sizeof(temporary))
		return err_set_os(err, ERR_HOST, ENAMETOOLONG, "cannot write %s", path);
	_cleanup_close_ int fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot create a file beside %s", path);
	int r = fd_write_all(fd, bytes, length);
	if (r == 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0 || rename(temporary, path) < 0))
		r = -errno;
	if (r < 0) {
		unlink(temporary);
		return err_set_os(err, ERR_HOST, -r, "cannot write %s", path);
	}
	return 0;
}

int fd_mkdir_p(const char *path, mode_t mode, struct err *err)
{
	char part[PATH_MAX];
	size_t length = strlen(path);
	if (length >= sizeof(part))
		return err_set_os(err, ERR_HOST, ENAMETOOLONG, "cannot create directory %s", path);
	memcpy(part, path, length + 1);
	for (char *p = part + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(part, mode) < 0 && errno != EEXIST)
			return err_set_os(err, ERR_HOST, errno, "cannot create directory %s", part);
		*p = '/';
	}
	struct stat st;
	if (mkdir(part, mode) < 0 && (errno != EEXIST || stat(part, &st) < 0 || !S_ISDIR(st.st_mode)))
		return err_set_os(err, ERR_HOST, errno, "cannot create directory %s", path);
	return 0;
}
