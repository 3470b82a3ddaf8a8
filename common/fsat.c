/* SPDX-License-Identifier: GPL-2.0-only */
/* Small kernel files (see fsat.h). No state. */
#include "common/fsat.h"

#include "common/fd.h"
#include "common/parse.h"
#include "common/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

int fsat_write(int dir_fd, const char *name, const char *text)
{
	_cleanup_close_ int fd = openat(dir_fd, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	size_t length = strlen(text);
	ssize_t n;
	do
		n = write(fd, text, length);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == length ? 0 : -EIO;
}

int fsat_read_all(int dir_fd, const char *name, size_t max_bytes, char **ret_text, size_t *ret_length)
{
	_cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	size_t size = 4096, used = 0;
	_cleanup_free_ char *text = malloc(size + 1);
	if (!text)
		return -ENOMEM;
	for (;;) {
		ssize_t n = fd_read_all(fd, text + used, size - used);
		if (n < 0)
			return (int)n;
		used += (size_t)n;
		if (used > max_bytes)
			return -E2BIG;
		if (used < size)
			break;
		char *more = realloc(text, size * 2 + 1);
		if (!more)
			return -ENOMEM;
		text = more;
		size *= 2;
	}
	text[used] = '\0';
	*ret_text = TAKE_PTR(text);
	*ret_length = used;
	return 0;
}

ssize_t fsat_read(int dir_fd, const char *name, char *buffer, size_t size)
{
	_cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n = fd_read_all(fd, buffer, size);
	if (n < 0)
		return n;
	if ((size_t)n == size)
		return -E2BIG;
	while (n > 0 && buffer[n - 1] == '\n')
		n--;
	buffer[n] = '\0';
	return n;
}

int fsat_read_u64(int dir_fd, const char *name, uint64_t *ret_value)
{
	char text[64];
	ssize_t n = fsat_read(dir_fd, name, text, sizeof(text));
	if (n < 0)
		return (int)n;
	return parse_u64(text, ret_value, NULL);
}
