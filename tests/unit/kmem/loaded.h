/* SPDX-License-Identifier: GPL-2.0-only */
/* Real kernels' images laid into memory as their loader does, for tests that make the rest by hand in the
 * layout of those kernels. No VM. */
#ifndef TESTS_UNIT_KMEM_LOADED_H
#define TESTS_UNIT_KMEM_LOADED_H

#include "host/kmem/member.h"
#include "tests/unit/kmem/real.h"

#include <sys/mman.h>

#define MEMORY_BYTES (UINT64_C(1) << 30)
#define PAGE_OFFSET UINT64_C(0xffff888000000000)

static struct gmem memory;
static struct kmem *kmem;

static inline void put(uint64_t gpa, const void *bytes, uint64_t length)
{
	memcpy(memory.region[0].host + gpa, bytes, length);
}

/* Sets a member of a struct at that guest-physical place. */
static inline void set(uint64_t gpa, const char *of, const char *path, uint64_t value)
{
	struct err err = ERR_INIT;
	struct kbtf_place place;
	cr_assert_eq(kmem_struct_member(kmem, of, path, &place, &err), 0, "%s.%s: %s", of, path, err.message);
	put(gpa + place.offset_bytes, &value, MIN_OF(place.size_bytes, 8));
}

static inline uint64_t offset_of(const char *of, const char *path)
{
	struct kbtf_place place;
	cr_assert_eq(kmem_struct_member(kmem, of, path, &place, NULL), 0);
	return place.offset_bytes;
}

static inline uint64_t symbol_gpa(const char *name)
{
	gva_t at;
	gpa_t gpa;
	uint64_t left;
	cr_assert_eq(kmem_symbol(kmem, name, &at, NULL), 0, "%s", name);
	cr_assert(kimage_gpa(kmem_image(kmem), at, &gpa, &left));
	return gpa.v;
}

static inline void put_u64(uint64_t gpa, uint64_t value)
{
	put(gpa, &value, sizeof(value));
}

static inline void kernel_begin(const struct kernel_image *image)
{
	struct err err = ERR_INIT;
	struct kmem_config config = {image->elf, image->elf_bytes, &memory};
	uint8_t *host = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	cr_assert(host != MAP_FAILED);
	memory = (struct gmem){.n_regions = 1, .total_bytes = MEMORY_BYTES};
	memory.region[0] = (struct gmem_region){GPA(0), MEMORY_BYTES, host, 0};
	kmem = kmem_new(&config, &err);
	cr_assert_not_null(kmem, "%s", err.message);
	const struct kimage *k = kmem_image(kmem);
	gpa_t gpa;
	uint64_t left;
	/* What the loader and early boot do, as far as access looks at it. */
	cr_assert(kimage_gpa(k, k->build_note.vaddr, &gpa, &left));
	put(gpa.v, k->build_id, k->build_id_length);
	put_u64(symbol_gpa("page_offset_base"), PAGE_OFFSET);
}

static inline void kernel_end(void)
{
	kmem_free(kmem);
	munmap(memory.region[0].host, MEMORY_BYTES);
}

/* Runs check() after prepare() on each kernel of the cache. */
static inline void with_loaded_kernels(void (*prepare)(void), void (*check)(void))
{
	struct real_kernels real;
	real_kernels_load(&real);
	for (unsigned i = 0; i < real.n; i++) {
		kernel_begin(real.image[i]);
		prepare();
		check();
		kernel_end();
	}
	real_kernels_free(&real);
}

#endif
