/* SPDX-License-Identifier: GPL-2.0-only */
/* Files under disks (see blk_file.h). Any thread. */
#include "host/virtio/blk_file.h"

#include "common/fd.h"
#include "common/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static int refuse(const struct blk_config *config, int errnum, struct err *err)
{
	const char *path = config->path;
	switch (errnum) {
	case ENOENT:
	case ENOTDIR:
		return err_set_os(err, ERR_NOT_FOUND, errnum, "cannot open the disk '%s'", path);
	case EISDIR:
		return err_set(err, ERR_INVALID_ARGUMENT, "the disk '%s' is a directory", path);
	case EACCES:
	case EPERM:
	case EROFS:
		return err_set_os(err, ERR_HOST, errnum, "cannot open the disk '%s' for %s%s", path,
			config->read_only ? "reading" : "writing",
			config->read_only ? "" : " (one that is only read is given with ',ro')");
	default:
		return err_set_os(err, ERR_HOST, errnum, "cannot open the disk '%s'", path);
	}
}

static int open_user_file(const struct blk_config *config, int *ret_fd, struct err *err)
{
	/* O_NONBLOCK: what is a FIFO or a tape keeps nobody waiting until it has been looked at. */
	*ret_fd = open(
		config->path, (config->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return *ret_fd < 0 ? refuse(config, errno, err) : 0;
}

static int make_temporary(const struct blk_config *config, int *ret_fd, struct err *err)
{
	uint64_t bytes = config->size_bytes / BLK_SECTOR_BYTES * BLK_SECTOR_BYTES;
	if (bytes == 0 || bytes > INT64_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "a temporary disk of %llu bytes is not possible",
			(unsigned long long)config->size_bytes);
	*ret_fd = open(config->directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (*ret_fd < 0)
		return err_set_os(
			err, ERR_HOST, errno, "cannot make a temporary disk in '%s'", config->directory);
	if (ftruncate(*ret_fd, (off_t)bytes) < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot make a disk of %llu bytes in '%s'",
			(unsigned long long)bytes, config->directory);
	return 0;
}

static int check_size(const struct blk_config *config, int fd, uint64_t *ret_sectors, struct err *err)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return refuse(config, errno, err);
	if (S_ISDIR(st.st_mode))
		return refuse(config, EISDIR, err);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(err, ERR_INVALID_ARGUMENT,
			"the disk '%s' is neither a file nor a block device", config->path);
	off_t bytes = lseek(fd, 0, SEEK_END); /* st_size of a block device is 0 */
	if (bytes < 0)
		return refuse(config, errno, err);
	if (bytes == 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"the disk '%s' is empty: give it a size, as in truncate -s 1G", config->path);
	if (bytes % BLK_SECTOR_BYTES)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"the disk '%s' has %lld bytes: a raw image has a multiple of %u (truncate -s %%%u "
			"makes one of it)",
			config->path, (long long)bytes, BLK_SECTOR_BYTES, BLK_SECTOR_BYTES);
	*ret_sectors = (uint64_t)bytes / BLK_SECTOR_BYTES;
	return 0;
}

static int lock_file(const struct blk_config *config, int fd, struct err *err)
{
	/* l_len 0: whatever it grows to. */
	struct flock lock = {.l_type = config->read_only ? F_RDLCK : F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = 0,
		.l_len = 0};
	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return err_set(err, ERR_BUSY,
			"the disk '%s' is in use: another controller or program has it locked%s",
			config->path, config->read_only ? " for writing" : "");
	return err_set_os(err, ERR_HOST, errno, "cannot lock the disk '%s'", config->path);
}

int blk_file_open(const struct blk_config *config, int *ret_fd, uint64_t *ret_sectors, struct err *err)
{
	_cleanup_close_ int fd = -1;
	int r = 0;
	if (!config->path) {
		r = make_temporary(config, &fd, err);
		if (r == 0)
			*ret_sectors = config->size_bytes / BLK_SECTOR_BYTES;
	} else {
		r = open_user_file(config, &fd, err);
		if (r == 0)
			r = check_size(config, fd, ret_sectors, err);
		if (r == 0)
			r = lock_file(config, fd, err);
	}
	if (r == 0)
		*ret_fd = take_fd(&fd);
	return r;
}
