/* SPDX-License-Identifier: GPL-2.0-only */
/* File descriptors: -1 is the only empty one, CLOEXEC from birth. No state, any thread. */
#ifndef COMMON_FD_H
#define COMMON_FD_H

#include "common/check.h"
#include "common/err.h"
#include "common/scope.h"

#include <stdbool.h>
#include <sys/types.h>

/* Closes *fd if it is open and makes it -1. */
void fd_close(int *fd);
int fd_set_nonblock(int fd, struct err *err) must_check;
/* Writes everything, through short writes and EINTR. 0, or -errno. */
int fd_write_all(int fd, const void *bytes, size_t length) must_check;
/* Reads until length or end of file. Bytes read, or -errno. */
ssize_t fd_read_all(int fd, void *bytes, size_t length) must_check;
/* Reads a whole file into heap memory, NUL added behind it; refused beyond max_bytes. Blocks while a pipe has
 * a writer; one that has none is ERR_INVALID_ARGUMENT. */
int fd_read_file(
	const char *path, size_t max_bytes, char **ret_bytes, size_t *ret_length, struct err *err) must_check;
/* The same of standard input, whatever that is, from where it stands to its end, which it waits for. */
int fd_read_stdin(size_t max_bytes, char **ret_bytes, size_t *ret_length, struct err *err) must_check;
/* Writes path through a temporary file, fsync and rename, so that readers see the old or the new content. */
int fd_replace_file(
	const char *path, const void *bytes, size_t length, mode_t mode, struct err *err) must_check;
/* Creates path and its parents. Existing ones are fine. */
int fd_mkdir_p(const char *path, mode_t mode, struct err *err) must_check;

#endif
