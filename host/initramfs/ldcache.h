/* SPDX-License-Identifier: GPL-2.0-only */
/* The loader's cache file, /etc/ld.so.cache: from library names to paths. A mapping, read-only. */
#ifndef HOST_INITRAMFS_LDCACHE_H
#define HOST_INITRAMFS_LDCACHE_H

#include "common/check.h"

struct ldcache {
	const uint8_t *bytes; /* NULL: empty */
	size_t length;
	uint32_t n_entries;
};

/* A file that is absent, too new or broken gives an empty cache, as it does for the loader. */
void ldcache_open(struct ldcache *ret, const char *path);
void ldcache_close(struct ldcache *cache);

/* The next path for `name`, from entry *at on (start with 0), for 64-bit x86 without special hardware
 * capabilities; NULL when there are no more. Stays valid while the cache is open. */
const char *ldcache_find(const struct ldcache *cache, const char *name, uint32_t *at);

#endif
