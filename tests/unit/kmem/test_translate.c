/* SPDX-License-Identifier: GPL-2.0-only */
/* Page walks: every page size, both depths, and garbage in the tables. */
#include "host/kmem/translate.h"
#include "tests/unit/kmem/fake_kernel.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#define VMALLOC UINT64_C(0xffffc90000000000)

static struct fake_kernel fake;

static int walk(uint64_t at, struct page_hit *hit, struct err *err)
{
	gpa_t root;
	bool five;

	cr_assert_eq(kmem_root(fake.kmem, &root, &five, err), 0);
	return page_walk(&fake.memory, root, five, GVA(at), hit, err);
}

Test(translate, page_sizes_of_four_levels)
{
	struct page_hit hit;
	struct err err = ERR_INIT;

	fake_kernel_init(&fake);
	fake_map(&fake, VMALLOC, 0x5000, 1);
	fake_map(&fake, VMALLOC + 0x200000, 0x400000, 2);
	*fake_map(&fake, VMALLOC + 0x40000000, FAKE_HIGH, 3) &= ~UINT64_C(2);
	cr_assert_eq(walk(VMALLOC + 0xabc, &hit, &err), 0, "%s", err.message);
	cr_assert_eq(hit.gpa.v, 0x5abc);
	cr_assert_eq(hit.left, 0x1000 - 0xabc);
	cr_assert(hit.writable);
	cr_assert_eq(walk(VMALLOC + 0x212345, &hit, &err), 0, "%s", err.message);
	cr_assert_eq(hit.gpa.v, 0x412345);
	cr_assert_eq(hit.page_bytes, 0x200000);
	cr_assert_eq(walk(VMALLOC + 0x40000008, &hit, &err), 0, "%s", err.message);
	cr_assert_eq(hit.gpa.v, FAKE_HIGH + 8);
	cr_assert_eq(hit.page_bytes, 0x40000000);
	cr_assert_not(hit.writable);
	fake_kernel_deinit(&fake);
}

Test(translate, five_levels)
{
	struct page_hit hit;
	struct err err = ERR_INIT;
	uint64_t at = UINT64_C(0xff20000000000000);

	fake_kernel_init(&fake);
	*(uint32_t *)fake_data(&fake, FAKE_L5) = 1;
	fake_map(&fake, at, 0x7000, 1);
	cr_assert_eq(walk(at + 1, &hit, &err), 0, "%s", err.message);
	cr_assert_eq(hit.gpa.v, 0x7001);
	*(uint32_t *)fake_data(&fake, FAKE_L5) = 0;
	cr_assert_eq(walk(at + 1, &hit, &err), -EFAULT);
	cr_assert_not_null(strstr(err.message, "canonical"));
	fake_kernel_deinit(&fake);
}

Test(translate, where_a_walk_ends)
{
	struct page_hit hit;
	struct err err = ERR_INIT;

	fake_kernel_init(&fake);
	uint64_t *entry = fake_map(&fake, VMALLOC, 0x5000, 1);
	cr_assert_eq(walk(VMALLOC + 0x1000, &hit, &err), -EFAULT);
	cr_assert_not_null(strstr(err.message, "level-1 entry (PTE"), "%s", err.message);
	cr_assert_eq(walk(VMALLOC + 0x200000, &hit, &err), -EFAULT);
	cr_assert_not_null(strstr(err.message, "level-2 entry (PMD"), "%s", err.message);
	cr_assert_eq(walk(0xffff900000000000, &hit, &err), -EFAULT);
	cr_assert_not_null(strstr(err.message, "level-4"), "%s", err.message);
	/* Reserved bits of a large page, and a large page where none can be. */
	*fake_map(&fake, VMALLOC + 0x200000, 0x400000, 2) |= 0x2000;
	cr_assert_eq(walk(VMALLOC + 0x200000, &hit, &err), -EFAULT);
	cr_assert_not_null(strstr(err.message, "reserved"), "%s", err.message);
	*fake_map(&fake, VMALLOC + 0x200000, 0x400000, 2) |= 0x1000; /* PAT */
	cr_assert_eq(walk(VMALLOC + 0x200000, &hit, &err), 0);
	cr_assert_eq(hit.gpa.v, 0x400000);
	fake_map(&fake, 0xffffd00000000000, 0, 4);
	cr_assert_eq(walk(0xffffd00000000000, &hit, &err), -EFAULT);
	cr_assert_not_null(strstr(err.message, "reserved"), "%s", err.message);
	/* A table beyond RAM. */
	*fake_map(&fake, VMALLOC + 0x40000000, 0, 3) = UINT64_C(0x000ffffffffff003);
	cr_assert_eq(walk(VMALLOC + 0x40000000, &hit, &err), -EFAULT);
	cr_assert_not_null(strstr(err.message, "beyond guest memory"), "%s", err.message);
	/* Tables that point at themselves: as many hops as levels. */
	uint64_t *root = fake_data(&fake, FAKE_ROOT);
	root[511] = (0x3000000 + FAKE_ROOT) | 3;
	cr_assert_eq(walk(0xffffffffffffffff, &hit, &err), 0);
	cr_assert_eq(hit.gpa.v, 0x3000000 + FAKE_ROOT + 0xfff);
	(void)entry;
	fake_kernel_deinit(&fake);
}

Test(translate, garbage_tables_never_leave_memory)
{
	struct page_hit hit;
	uint64_t seed = 88172645463325252u, mapped = 0;

	fake_kernel_init(&fake);
	for (unsigned i = 0; i < 8 * 512; i++) {
		seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
		/* Half of the entries lead to another of these tables, or nothing would ever be reached. */
		((uint64_t *)fake_ptr(&fake, 0x10000))[i] =
			seed >> 63 ? seed : (0x10000 + (seed >> 20 & 7) * 4096) | (seed & 0xf7e) | 1;
		((uint64_t *)fake_data(&fake, FAKE_ROOT))[i % 512] = (0x10000 + seed % 8 * 4096) | 3;
	}
	for (unsigned i = 0; i < 200000; i++) {
		seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
		if (walk(seed | UINT64_C(0xffff800000000000), &hit, NULL) < 0)
			continue;
		mapped++;
		struct kmem_range_iter iter = {
			fake.kmem, KMEM_WAY_WALK, GVA(seed | UINT64_C(0xffff800000000000)), 9000};
		struct kmem_span span;
		while (kmem_range_next(&iter, &span, NULL) > 0)
			cr_assert_not_null(gmem_ptr(&fake.memory, span.gpa, span.length));
	}
	cr_assert_gt(mapped, 100);
	fake_kernel_deinit(&fake);
}

Test(translate, ranges_over_pages_and_regions)
{
	struct err err = ERR_INIT;
	struct kmem_span span;
	uint64_t total = 0;
	unsigned n = 0;

	fake_kernel_init(&fake);
	fake_map(&fake, VMALLOC, 0x9000, 1);
	fake_map(&fake, VMALLOC + 0x1000, 0x4000, 1);
	struct kmem_range_iter iter = {fake.kmem, KMEM_WAY_ANY, GVA(VMALLOC + 0xff0), 0x20};
	cr_assert_eq(kmem_range_next(&iter, &span, &err), 1);
	cr_assert_eq(span.gpa.v, 0x9ff0);
	cr_assert_eq(span.length, 0x10);
	cr_assert_eq(kmem_range_next(&iter, &span, &err), 1);
	cr_assert_eq(span.gpa.v, 0x4000);
	cr_assert_eq(kmem_range_next(&iter, &span, &err), 0);
	/* Runs into the unmapped third page. */
	iter = (struct kmem_range_iter){fake.kmem, KMEM_WAY_ANY, GVA(VMALLOC), 0x2001};
	while ((n = (unsigned)kmem_range_next(&iter, &span, &err)) == 1)
		total += span.length;
	cr_assert_eq(total, 0x2000);
	cr_assert_eq(err.code, ERR_UNMAPPED);
	/* The direct map has the hole that memory has. */
	iter = (struct kmem_range_iter){
		fake.kmem, KMEM_WAY_DIRECT, GVA(FAKE_PAGE_OFFSET + FAKE_LOW_BYTES - 4), 8};
	cr_assert_eq(kmem_range_next(&iter, &span, &err), 1);
	cr_assert_eq(span.length, 4);
	cr_assert_eq(kmem_range_next(&iter, &span, &err), -EFAULT);
	iter = (struct kmem_range_iter){fake.kmem, KMEM_WAY_DIRECT, GVA(VMALLOC), 8};
	cr_assert_eq(kmem_range_next(&iter, &span, &err), -EINVAL);
	iter = (struct kmem_range_iter){fake.kmem, KMEM_WAY_ANY, GVA(UINT64_MAX - 3), 8};
	cr_assert_eq(kmem_range_next(&iter, &span, &err), -EFAULT);
	/* A direct map that the guest claims to be somewhere impossible. */
	*(uint64_t *)fake_data(&fake, FAKE_PAGE_OFFSET_BASE) = 0x1234;
	iter = (struct kmem_range_iter){fake.kmem, KMEM_WAY_DIRECT, GVA(0x2000), 8};
	cr_assert_eq(kmem_range_next(&iter, &span, &err), -EFAULT);
	fake_kernel_deinit(&fake);
}
