/* SPDX-License-Identifier: GPL-2.0-only */
/* virtio-blk (virtio 1.2, section 5.2): a raw file, or a sparse temporary that is gone with the process.
 * Read, write, flush, get-id.
 *
 * Files block, so a worker thread of the device does the system calls, on buffers of its own; guest memory is
 * read and written by the loop only, like everywhere (device.h). Hence a freeze or a reset never waits for a
 * disk, and a request that was under way in a reset ends unseen. */
#ifndef HOST_VIRTIO_BLK_H
#define HOST_VIRTIO_BLK_H

#include "host/virtio/device.h"

#define BLK_SECTOR_BYTES 512u
/* Requests that the worker has at once; the others wait in the queue. */
#define BLK_SLOTS 4u
/* As told to the driver: no request has more data than their product (256 KiB). */
#define BLK_SEGMENTS_MAX 16u
#define BLK_SEGMENT_BYTES (16u * 1024)

struct blk_config {
	const char *path; /* raw image; NULL: a temporary */
	bool read_only;
	const char *directory; /* for the temporary */
	uint64_t size_bytes;   /* of the temporary; rounded down to sectors */
	const char *id;        /* at most 20 characters; NULL: "schedrig" */
};

/* What became of the driver's requests so far. */
struct blk_stats {
	uint64_t reads, writes, flushes; /* done */
	uint64_t errors;                 /* answered with VIRTIO_BLK_S_IOERR */
	int os_errno; /* of the last one that failed on the host; 0: all were refused, such as those beyond
			 the end */
};

/* For virtio_bind()/virtio_attach(); virtio_free(). Strings are copied. Errors are those of blk_file.h. */
struct virtio_device *blk_new(const struct blk_config *config, struct err *err) must_check;
/* Constant. */
uint64_t blk_size_bytes(const struct virtio_device *dev);
/* Any thread. */
struct blk_stats blk_stats(struct virtio_device *dev);

#endif
