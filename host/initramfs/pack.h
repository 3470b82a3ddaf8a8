/* SPDX-License-Identifier: GPL-2.0-only */
/* The list of what goes into a guest's archive, and writing it. Not shared between threads. */
#ifndef HOST_INITRAMFS_PACK_H
#define HOST_INITRAMFS_PACK_H

#include "common/err.h"
#include "common/scope.h"

#include <stdbool.h>
#include <sys/types.h>

struct pack;

struct pack *pack_new(void);
void pack_free(struct pack *pack);
SCOPE_GUARD(struct pack *, pack_free, pack_free)

/* Guest paths are absolute; "." and ".." are resolved by text, parents made, and where the host's /lib (bin,
 * sbin, lib64, ...) is a link into /usr, so is the guest's, so that no file is there twice.
 * The same guest path from the same source is fine; from another one it is ERR_INVALID_ARGUMENT. */
int pack_add_dir(struct pack *pack, const char *guest, mode_t mode, struct err *err) must_check;
int pack_add_char_device(struct pack *pack, const char *guest, mode_t mode, unsigned major, unsigned minor,
	struct err *err) must_check;
/* Takes the heap bytes over, on failure too. `source` says in errors where they come from. */
int pack_add_bytes(struct pack *pack, const char *guest, const char *source, void *bytes, size_t length,
	mode_t mode, struct err *err) must_check;
/* The host's file, read when the archive is written. */
int pack_add_file(
	struct pack *pack, const char *guest, const char *host, mode_t mode, struct err *err) must_check;

struct pack_item {
	const char *guest; /* absolute */
	const char *host;  /* of a file: where it comes from; NULL: it is none, or made of bytes */
	const char *link;  /* of a symbolic link: its target; NULL: it is none */
	mode_t mode;       /* permission bits */
};
/* Every entry in order, parents first; the first negative answer ends it and is returned. */
int pack_each(
	const struct pack *pack, int (*fn)(const struct pack_item *item, void *arg), void *arg) must_check;

/* Writes the archive (newc, owner root, no times: the same content gives the same bytes) to the fd. */
int pack_write(const struct pack *pack, int fd, uint64_t max_bytes, struct err *err) must_check;

#endif
