/* SPDX-License-Identifier: GPL-2.0-only */
/* What an archive was made of, so that a later start can tell in a few stat(2)s whether it would be the same:
 * every file read, with size, times and inode, and every path that was looked for in vain. Text, one input a
 * line. Not shared between threads. */
#ifndef HOST_INITRAMFS_INPUTS_H
#define HOST_INITRAMFS_INPUTS_H

#include "common/strbuf.h"

#include <stdbool.h>
#include <sys/stat.h>

struct inputs {
	struct strbuf text;
	bool unsure; /* an input changed so recently that its times say nothing, or cannot be written down */
};
#define INPUTS_INIT ((struct inputs){0})

void inputs_deinit(struct inputs *inputs);
/* Before the file is read (what changes meanwhile shows later). Absent files count as absent. */
void inputs_note(struct inputs *inputs, const char *path);
/* Whether every line of `text` (changed while it is read) still holds. */
bool inputs_hold(char *text);

#endif
