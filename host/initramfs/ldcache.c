/* SPDX-License-Identifier: GPL-2.0-only */
/* The loader's cache file (see ldcache.h). No state. Format: struct cache_file_new in glibc's
 * sysdeps/generic/dl-cache.h; the only one written since glibc 2.32:
 *
 *      0  "glibc-ld.so.cache" "1.1"     20  number of entries    24  bytes of strings    28  reserved, 20
 * bytes 48  entries: flags, name, path, OS version (4 bytes each), hardware capabilities (8 bytes) name and
 * path are offsets of strings from the start of the file */
#include "host/initramfs/ldcache.h"

#include "common/scope.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define MAGIC "glibc-ld.so.cache1.1"
#define HEADER_BYTES 48u
#define ENTRY_BYTES 24u
/* FLAG_X8664_LIB64 | FLAG_ELF_LIBC6. */
#define FLAGS_X86_64 0x0303u
#define CACHE_MAX_BYTES (64 << 20)

static uint32_t u32_at(const struct ldcache *cache, size_t offset)
{
	uint32_t value;
	memcpy(&value, cache->bytes + offset, sizeof(value));
	return value;
}

void ldcache_open(struct ldcache *ret, const char *path)
{
	*ret = (struct ldcache){0};
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < HEADER_BYTES ||
		st.st_size > CACHE_MAX_BYTES)
		return;
	void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return;
	*ret = (struct ldcache){.bytes = map, .length = (size_t)st.st_size};
	ret->n_entries = u32_at(ret, 20);
	if (memcmp(ret->bytes, MAGIC, strlen(MAGIC)) != 0 ||
		!range_fits(HEADER_BYTES, (uint64_t)ret->n_entries * ENTRY_BYTES, ret->length))
		ldcache_close(ret);
}

void ldcache_close(struct ldcache *cache)
{
	if (cache->bytes)
		munmap((void *)cache->bytes, cache->length);
	*cache = (struct ldcache){0};
}

static const char *string_at(const struct ldcache *cache, uint32_t offset)
{
	if (offset >= cache->length || !memchr(cache->bytes + offset, '\0', cache->length - offset))
		return NULL;
	return (const char *)cache->bytes + offset;
}

const char *ldcache_find(const struct ldcache *cache, const char *name, uint32_t *at)
{
	while (*at < cache->n_entries) {
		size_t entry = HEADER_BYTES + (size_t)(*at)++ * ENTRY_BYTES;
		uint32_t capabilities_low = u32_at(cache, entry + 16),
			 capabilities_high = u32_at(cache, entry + 20);
		if (u32_at(cache, entry) != FLAGS_X86_64 || capabilities_low || capabilities_high)
			continue;
		const char *key = string_at(cache, u32_at(cache, entry + 4));
		if (!key || strcmp(key, name) != 0)
			continue;
		const char *path = string_at(cache, u32_at(cache, entry + 8));
		if (path && path[0] == '/')
			return path;
	}
	return NULL;
}
