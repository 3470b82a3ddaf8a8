/* SPDX-License-Identifier: GPL-2.0-only */
/* What lies under a disk: a raw file or block device of the user's, or a sparse temporary. Opened, checked
 * and locked before anything is built. Any thread; blocks on files. */
#ifndef HOST_VIRTIO_BLK_FILE_H
#define HOST_VIRTIO_BLK_FILE_H

#include "host/virtio/blk.h"

/* The file of config as an fd of its own, and its size in sectors. The whole file is locked (F_OFD_SETLK,
 * fcntl(2)) as long as the fd is open: by one writer, or by readers.
 *
 * ERR_NOT_FOUND: there is no such file. ERR_INVALID_ARGUMENT: a directory or something else that is no disk,
 * empty, no whole number of sectors. ERR_BUSY: somebody else has it locked. ERR_HOST: no permission, and what
 * else the host refuses. */
int blk_file_open(
	const struct blk_config *config, int *ret_fd, uint64_t *ret_sectors, struct err *err) must_check;

#endif
