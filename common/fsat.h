/* SPDX-License-Identifier: GPL-2.0-only */
/* Small kernel files (sysfs, cgroupfs, procfs) relative to a directory fd: one write, one read. No state, any
 * thread. */
#ifndef COMMON_FSAT_H
#define COMMON_FSAT_H

#include "common/check.h"

#include <sys/types.h>

/* Writes text in one write(2) (kernel files take a value whole or not at all). 0, or -errno of open or write.
 */
int fsat_write(int dir_fd, const char *name, const char *text) must_check;
/* Reads up to size - 1 bytes and terminates; trailing newline removed. Length, or -errno; -E2BIG if there is
 * more. */
ssize_t fsat_read(int dir_fd, const char *name, char *buffer, size_t size) must_check;
/* Reads everything into heap memory (NUL added), up to max_bytes, else -E2BIG. */
int fsat_read_all(
	int dir_fd, const char *name, size_t max_bytes, char **ret_text, size_t *ret_length) must_check;
/* First line of a one-number file, decimal. */
int fsat_read_u64(int dir_fd, const char *name, uint64_t *ret_value) must_check;

#endif
