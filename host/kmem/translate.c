/* SPDX-License-Identifier: GPL-2.0-only */
/* Page walk and range iterator. No state, any thread. */
#include "host/kmem/translate.h"

#include <errno.h>

#define PTE_PRESENT (UINT64_C(1) << 0)
#define PTE_WRITABLE (UINT64_C(1) << 1)
#define PTE_LARGE (UINT64_C(1) << 7)
/* Bits 51..12. */
#define PTE_ADDRESS UINT64_C(0x000ffffffffff000)
/* Of a large page bit 12 is PAT; the address bits above it up to the page size are reserved. */
#define PTE_LARGE_PAT (UINT64_C(1) << 12)

static bool is_canonical(gva_t at, bool five_level)
{
	unsigned shift = five_level ? 64 - 57 : 64 - 48;

	return (uint64_t)((int64_t)(at.v << shift) >> shift) == at.v;
}

int page_walk(const struct gmem *memory, gpa_t root, bool five_level, gva_t at, struct page_hit *ret_hit,
	struct err *err)
{
	static const char *const names[] = {"", "PTE", "PMD", "PUD", "P4D", "PGD"};
	uint64_t table = root.v & PTE_ADDRESS;
	bool writable = true;

	if (!is_canonical(at, five_level))
		return err_set(
			err, ERR_UNMAPPED, "0x%llx is not a canonical address", (unsigned long long)at.v);
	for (unsigned level = five_level ? 5 : 4; level > 0; level--) {
		unsigned shift = 12 + 9 * (level - 1);
		uint64_t page = UINT64_C(1) << shift, entry;
		uint64_t *slot = gmem_ptr(memory, GPA(table + (at.v >> shift & 511) * 8), 8);
		const char *why = NULL;

		if (!slot)
			return err_set(err, ERR_UNMAPPED,
				"0x%llx is not mapped: its level-%u table (%s) at 0x%llx lies beyond guest "
				"memory",
				(unsigned long long)at.v, level, names[level], (unsigned long long)table);
		entry = __atomic_load_n(slot, __ATOMIC_RELAXED);
		writable = writable && (entry & PTE_WRITABLE);
		if (!(entry & PTE_PRESENT))
			why = "is not present";
		else if ((entry & PTE_LARGE) && level > 3)
			why = "has reserved bits set";
		else if ((entry & PTE_LARGE) && level > 1 &&
			 (entry & PTE_ADDRESS & (page - 1) & ~PTE_LARGE_PAT))
			why = "has reserved bits set";
		if (why)
			return err_set(err, ERR_UNMAPPED,
				"0x%llx is not mapped: its level-%u entry (%s, 0x%llx) %s",
				(unsigned long long)at.v, level, names[level], (unsigned long long)entry,
				why);
		if (level == 1 || (entry & PTE_LARGE)) {
			*ret_hit = (struct page_hit){
				.gpa = GPA((entry & PTE_ADDRESS & ~(page - 1)) | (at.v & (page - 1))),
				.left = page - (at.v & (page - 1)),
				.page_bytes = page,
				.writable = writable,
			};
			return 0;
		}
		table = entry & PTE_ADDRESS;
	}
	assert(!"the last level always returns");
	return -EPROTO;
}

/* As much of [gpa, gpa + length) as lies in one region, or NULL. */
static uint8_t *host_piece(const struct gmem *memory, gpa_t gpa, uint64_t *length)
{
	for (unsigned i = 0; i < memory->n_regions; i++) {
		const struct gmem_region *region = &memory->region[i];
		if (gpa.v < region->start.v || gpa.v - region->start.v >= region->size_bytes)
			continue;
		*length = MIN_OF(*length, region->size_bytes - (gpa.v - region->start.v));
		return region->host + (gpa.v - region->start.v);
	}
	return NULL;
}

/* Part of the direct map; its size to *ret_bytes. The map is as long as memory reaches: what is beyond is
 * nobody's RAM. */
static bool in_direct_map(const struct kmem *kmem, gva_t page_offset, gva_t at, uint64_t *ret_bytes)
{
	const struct gmem *memory = kmem_memory(kmem);
	unsigned n = memory->n_regions;

	*ret_bytes = n ? memory->region[n - 1].start.v + memory->region[n - 1].size_bytes : 0;
	return at.v >= page_offset.v && at.v - page_offset.v < *ret_bytes;
}

bool kmem_is_unmoving(const struct kmem *kmem, enum kmem_way way, gva_t at)
{
	gva_t page_offset;
	uint64_t left;
	gpa_t gpa;

	if (way == KMEM_WAY_PHYS)
		return true;
	if (way == KMEM_WAY_WALK)
		return false;
	if (way == KMEM_WAY_ANY && kimage_gpa(kmem_image(kmem), at, &gpa, &left))
		return true;
	return kmem_page_offset(kmem, &page_offset, NULL) == 0 && in_direct_map(kmem, page_offset, at, &left);
}

static int gpa_find(const struct kmem_range_iter *iter, gpa_t *ret_gpa, uint64_t *ret_left, struct err *err)
{
	struct page_hit hit;
	gva_t page_offset;
	gpa_t root;
	bool five_level;
	int rc;

	if (iter->way == KMEM_WAY_PHYS) {
		*ret_gpa = GPA(iter->at.v);
		*ret_left = UINT64_MAX - iter->at.v;
		return 0;
	}
	if (iter->way == KMEM_WAY_ANY && kimage_gpa(kmem_image(iter->kmem), iter->at, ret_gpa, ret_left))
		return 0;
	if (iter->way != KMEM_WAY_WALK) {
		rc = kmem_page_offset(iter->kmem, &page_offset, err);
		if (rc < 0)
			return rc;
		uint64_t end;
		if (in_direct_map(iter->kmem, page_offset, iter->at, &end)) {
			*ret_gpa = GPA(iter->at.v - page_offset.v);
			*ret_left = end - ret_gpa->v;
			return 0;
		}
		if (iter->way == KMEM_WAY_DIRECT)
			return err_set(err, ERR_INVALID_ARGUMENT,
				"0x%llx is not in the direct map of guest memory, which is 0x%llx to 0x%llx",
				(unsigned long long)iter->at.v, (unsigned long long)page_offset.v,
				(unsigned long long)(page_offset.v + end));
	}
	rc = kmem_root(iter->kmem, &root, &five_level, err);
	if (rc < 0)
		return rc;
	rc = page_walk(kmem_memory(iter->kmem), root, five_level, iter->at, &hit, err);
	if (rc < 0)
		return rc;
	*ret_gpa = hit.gpa;
	*ret_left = hit.left;
	return 0;
}

int kmem_range_next(struct kmem_range_iter *iter, struct kmem_span *ret_span, struct err *err)
{
	struct kmem_span span = {0};
	uint64_t left = 0;
	int rc;

	if (iter->left == 0)
		return 0;
	if (iter->left - 1 > UINT64_MAX - iter->at.v)
		return err_set(err, ERR_UNMAPPED, "0x%llx + %llu wraps around the address space",
			(unsigned long long)iter->at.v, (unsigned long long)iter->left);
	rc = gpa_find(iter, &span.gpa, &left, err);
	if (rc < 0)
		return rc;
	span.length = MIN_OF(iter->left, left);
	span.host = host_piece(kmem_memory(iter->kmem), span.gpa, &span.length);
	if (!span.host)
		return err_set(err, ERR_UNMAPPED,
			"0x%llx is at guest-physical 0x%llx, which is no guest memory",
			(unsigned long long)iter->at.v, (unsigned long long)span.gpa.v);
	iter->at.v += span.length;
	iter->left -= span.length;
	*ret_span = span;
	return 1;
}
