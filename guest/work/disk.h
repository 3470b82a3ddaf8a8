/* SPDX-License-Identifier: GPL-2.0-only */
/* The disk that workers write over, where the machine has one (schedrigd --disk temp:SIZE, or FILE,scratch):
 * the agent opens it and its workers inherit it, so that they need no privileges. Workers have places of
 * their own on it, DISK_SCRATCH_MIN_BYTES each, as long as there is room; then they share them. Any thread.
 */
#ifndef GUEST_WORK_DISK_H
#define GUEST_WORK_DISK_H

#include "common/err.h"

/* Not an error: files are then where there is room. */
enum disk_open { DISK_NONE = 1 };

struct disk {
	int fd;
	uint64_t places; /* at least 1 */
};

/* The first disk that says that it may be written over; the fd is the caller's. 0, DISK_NONE, ERR_GUEST_OS.
 */
int disk_open(struct disk *ret, struct err *err) must_check;
/* Where the next `count` places begin that nobody has had, as far as there are any. */
uint64_t disk_take_places(unsigned count);
/* Offset of a place, in bytes. */
uint64_t disk_place_at(const struct disk *disk, uint64_t place);
/* For tests, before any thread: a file to take for the disk; NULL: the machine's. */
void disk_use(const char *path);

#endif
