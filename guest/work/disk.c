/* SPDX-License-Identifier: GPL-2.0-only */
/* The workers' disk (see disk.h). */
#include "guest/work/disk.h"

#include "common/fd.h"
#include "common/fsat.h"
#include "common/scope.h"
#include "proto/disk_device.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *only; /* disk_use() */

void disk_use(const char *path)
{
	only = path;
}

/* "/dev/vdb": of several the first by name. False: there is none. */
static bool find_disk(char *path, size_t size)
{
	if (only) {
		snprintf(path, size, "%s", only);
		return true;
	}
	DIR *dir = opendir("/sys/block");
	path[0] = '\0';
	for (struct dirent *entry; dir && (entry = readdir(dir));) {
		char file[300], serial[32], node[300];
		if (strncmp(entry->d_name, "vd", 2) != 0)
			continue;
		snprintf(file, sizeof(file), "%s/serial", entry->d_name);
		snprintf(node, sizeof(node), "/dev/%s", entry->d_name);
		if (fsat_read(dirfd(dir), file, serial, sizeof(serial)) > 0 &&
			!strncmp(serial, DISK_SERIAL_SCRATCH, strlen(DISK_SERIAL_SCRATCH)) &&
			(!path[0] || strcmp(node, path) < 0))
			snprintf(path, size, "%s", node);
	}
	if (dir)
		closedir(dir);
	return path[0] != '\0';
}

int disk_open(struct disk *ret, struct err *err)
{
	char path[300];
	if (!find_disk(path, sizeof(path)))
		return DISK_NONE;
	_cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
	off_t bytes = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	if (bytes < 0)
		return err_set_os(err, ERR_GUEST_OS, errno, "cannot open the workers' disk %s", path);
	if (bytes < DISK_SCRATCH_MIN_BYTES)
		return DISK_NONE;
	*ret = (struct disk){.places = (uint64_t)bytes / DISK_SCRATCH_MIN_BYTES, .fd = take_fd(&fd)};
	return 0;
}

uint64_t disk_take_places(unsigned count)
{
	static _Atomic uint64_t next;
	return atomic_fetch_add_explicit(&next, count, memory_order_relaxed);
}

uint64_t disk_place_at(const struct disk *disk, uint64_t place)
{
	return place % disk->places * DISK_SCRATCH_MIN_BYTES;
}
