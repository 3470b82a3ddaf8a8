/* SPDX-License-Identifier: GPL-2.0-only */
/* Where a kernel is: found in made-up memory, moved this way and that, and with guests that lie. */
#include "host/kmem/access.h"
#include "host/kmem/bases.h"
#include "host/kmem/place.h"
#include "tests/unit/kmem/fake_kernel.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define MIB (UINT64_C(1) << 20)
#define TEXT_GPA UINT64_C(0x1000000)
#define PAGE_STRUCT 64u /* of synthetic_btf_build() */

static struct fake_kernel fake;

/* What boot makes of it: direct map and memory map, at their bases. */
static void map_regions(void)
{
	uint64_t text = TEXT_GPA + fake.gpa_move;
	fake_map(&fake, FAKE_PAGE_OFFSET + (text & ~(2 * MIB - 1)), text & ~(2 * MIB - 1), 2);
	fake_map(&fake, (FAKE_VMEMMAP + (text >> 12) * PAGE_STRUCT) & ~UINT64_C(0xfff), 0x8000, 1);
}

static int make(uint64_t agent_text, struct err *err)
{
	struct kmem_config config = {.elf = fake.elf,
		.elf_bytes = fake.elf_bytes,
		.memory = &fake.memory,
		.places_itself = true,
		.agent_text = agent_text};
	*err = ERR_INIT;
	fake.kmem = kmem_new(&config, err);
	return fake.kmem ? 0 : err_errno(err->code);
}

static void begin(uint64_t slide, uint64_t gpa_move)
{
	struct err err;
	fake_kernel_init_moved(&fake, slide, gpa_move);
	map_regions();
	cr_assert_eq(make(0, &err), 0, "slide %llx, move %llx: %s", (unsigned long long)slide,
		(unsigned long long)gpa_move, err.message);
}

/* As linked, not looked for. */
static void begin_linked(void)
{
	fake_kernel_init(&fake);
	fake_map(&fake, FAKE_TEXT, TEXT_GPA, 2);
	fake_map(&fake, FAKE_DATA, 0x3000000, 2);
	map_regions();
}

static int find(struct kmem_bases *ret, struct err *err)
{
	*err = ERR_INIT;
	return kmem_bases_find(
		fake.kmem, FAKE_TEXT + FAKE_ENTRY + fake.slide, FAKE_TEXT + fake.slide, ret, err);
}

static void assert_disagree(int rc, const struct err *err, const char *words)
{
	cr_assert_eq(rc, -ENOTSUP, "%d: %s", rc, err->message);
	cr_assert_eq(err->code, ERR_KERNEL_LAYOUT);
	cr_assert_str_eq(err->reason, "bases-disagree");
	cr_assert_not_null(strstr(err->message, words), "%s", err->message);
}

static void assert_fails(int rc, const struct err *err, enum err_code code, const char *words)
{
	cr_assert_lt(rc, 0);
	cr_assert_eq(err->code, code, "%s: %s", err_code_name(err->code), err->message);
	cr_assert_not_null(strstr(err->message, words), "%s", err->message);
}

/* ---- where it is */

Test(bases, as_linked)
{
	struct kmem_bases bases;
	struct err err;
	begin_linked();
	cr_assert_eq(find(&bases, &err), 0, "%s", err.message);
	cr_assert_eq(bases.text, FAKE_TEXT);
	cr_assert_eq(bases.slide, 0);
	cr_assert_eq(bases.phys_base, 0);
	cr_assert_eq(bases.page_offset, FAKE_PAGE_OFFSET);
	cr_assert_eq(bases.vmalloc, FAKE_VMALLOC);
	cr_assert_eq(bases.vmemmap, FAKE_VMEMMAP);
	cr_assert_not(bases.five_level);
	fake_kernel_deinit(&fake);
}

Test(bases, wherever_it_went)
{
	/* Virtual and physical places are independent; physically it may lie below where it was linked. */
	static const struct {
		uint64_t slide, move;
	} moves[] = {{0, 0}, {2 * MIB, 0}, {0, 2 * MIB}, {0x1e000000, 12 * MIB}, {0x38000000, -(14 * MIB)},
		{0x3a600000, 6 * MIB}};
	for (size_t i = 0; i < ARRAY_SIZE(moves); i++) {
		struct kmem_bases bases;
		struct err err;
		gva_t at;
		uint64_t word = 0;
		begin(moves[i].slide, moves[i].move);
		cr_assert_eq(kmem_slide(fake.kmem), moves[i].slide);
		cr_assert_eq(find(&bases, &err), 0, "%zu: %s", i, err.message);
		cr_assert_eq(bases.text, FAKE_TEXT + moves[i].slide);
		cr_assert_eq(bases.slide, (int64_t)moves[i].slide);
		cr_assert_eq(bases.phys_base, moves[i].move - moves[i].slide);
		/* Symbols and what is read through them. */
		*(uint64_t *)fake_data(&fake, FAKE_WORD) = 0x1234567890 + i;
		cr_assert_eq(kmem_symbol(fake.kmem, "word", &at, &err), 0);
		cr_assert_eq(at.v, FAKE_DATA + FAKE_WORD + moves[i].slide);
		cr_assert_eq(kmem_copy(fake.kmem, at, &word, sizeof(word), &err), 0, "%s", err.message);
		cr_assert_eq(word, 0x1234567890 + i);
		/* The same through its page tables. */
		struct kmem_range_iter walk = {fake.kmem, KMEM_WAY_WALK, at, 8};
		struct kmem_span span;
		cr_assert_eq(kmem_range_next(&walk, &span, &err), 1, "%s", err.message);
		cr_assert_eq((void *)span.host, fake_data(&fake, FAKE_WORD));
		/* Per-CPU variables. */
		gva_t queue;
		cr_assert_eq(kmem_symbol(fake.kmem, "runqueues", &at, &err), 0);
		cr_assert(kmem_is_per_cpu(fake.kmem, at));
		cr_assert_eq(kmem_per_cpu(fake.kmem, at, 1, &queue, &err), 0, "%s", err.message);
		cr_assert_eq(queue.v, FAKE_PAGE_OFFSET + fake_rq_gpa(1));
		/* Names of addresses. */
		char text[64];
		symbols_text(
			kmem_symbols(fake.kmem), GVA(FAKE_TEXT + moves[i].slide + 0x104), text, sizeof(text));
		cr_assert_str_eq(text, "schedule+0x4");
		if (moves[i].slide)
			cr_assert_not(symbols_at(
				kmem_symbols(fake.kmem), GVA(FAKE_TEXT), &(struct symbol_at){.offset = 0}));
		fake_kernel_deinit(&fake);
	}
}

Test(bases, five_levels_of_page_tables)
{
	struct kmem_bases bases;
	struct err err;
	fake_kernel_init_moved(&fake, 4 * MIB, 2 * MIB);
	memset(fake_data(&fake, FAKE_ROOT), 0, 4096);
	*(uint32_t *)fake_data(&fake, FAKE_L5) = 1;
	fake_map(&fake, FAKE_TEXT + fake.slide, TEXT_GPA + fake.gpa_move, 2);
	fake_map(&fake, FAKE_DATA + fake.slide, 0x3000000 + fake.gpa_move, 2);
	map_regions();
	cr_assert_eq(make(0, &err), 0, "%s", err.message);
	cr_assert_eq(find(&bases, &err), 0, "%s", err.message);
	cr_assert(bases.five_level);
	cr_assert_eq(bases.slide, 4 * (int64_t)MIB);
	fake_kernel_deinit(&fake);
}

/* ---- who disagrees */

Test(bases, the_entry_of_system_calls_tells)
{
	struct kmem_bases bases;
	struct err err;
	begin(0x1e000000, 2 * MIB);
	uint64_t text = FAKE_TEXT + fake.slide, entry = text + FAKE_ENTRY;
	assert_fails(
		kmem_bases_find(fake.kmem, 0, 0, &bases, &err), &err, ERR_FAILED_PRECONDITION, "too early");
	assert_disagree(
		kmem_bases_find(fake.kmem, entry + 2 * MIB, 0, &bases, &err), &err, "system call entry");
	assert_disagree(
		kmem_bases_find(fake.kmem, FAKE_TEXT + FAKE_ENTRY, 0, &bases, &err), &err, "page tables");
	assert_disagree(kmem_bases_find(fake.kmem, 1, 0, &bases, &err), &err, "system call entry");
	assert_disagree(kmem_bases_find(fake.kmem, entry, text + 1, &bases, &err), &err, "the guest says");
	assert_disagree(kmem_bases_find(fake.kmem, entry, FAKE_TEXT, &bases, &err), &err, "the guest says");
	cr_assert_eq(kmem_bases_find(fake.kmem, entry, 0, &bases, &err), 0, "a guest may say nothing");
	cr_assert_eq(kmem_check_text(fake.kmem, text, &err), 0);
	assert_disagree(kmem_check_text(fake.kmem, FAKE_TEXT, &err), &err, "the guest says");
	fake_kernel_deinit(&fake);
	begin_linked();
	assert_disagree(kmem_bases_find(fake.kmem, entry, 0, &bases, &err), &err, "nothing moved it");
	fake_kernel_deinit(&fake);
}

Test(bases, variables_that_lie)
{
	static const struct {
		unsigned at;
		uint64_t value;
		enum err_code code;
		const char *words;
	} lies[] = {
		{FAKE_PHYS_BASE, 0x5000, ERR_KERNEL_LAYOUT, "phys_base"},
		{FAKE_PHYS_BASE, UINT64_MAX, ERR_KERNEL_LAYOUT, "phys_base"},
		{FAKE_PAGE_OFFSET_BASE, 0, ERR_UNMAPPED, "direct map"},
		{FAKE_PAGE_OFFSET_BASE, FAKE_PAGE_OFFSET + 1, ERR_UNMAPPED, "direct map"},
		{FAKE_PAGE_OFFSET_BASE, FAKE_PAGE_OFFSET + 0x40000000, ERR_UNMAPPED, "direct map"},
		{FAKE_PAGE_OFFSET_BASE, UINT64_MAX & ~UINT64_C(0xfff), ERR_UNMAPPED, "direct map"},
		{FAKE_VMEMMAP_BASE, 0, ERR_UNMAPPED, "memory map"},
		{FAKE_VMEMMAP_BASE, UINT64_MAX, ERR_UNMAPPED, "memory map"},
		{FAKE_VMALLOC_BASE, 0, ERR_KERNEL_LAYOUT, "order"},
		{FAKE_VMALLOC_BASE, FAKE_VMEMMAP, ERR_KERNEL_LAYOUT, "order"},
		{FAKE_VMALLOC_BASE, UINT64_MAX, ERR_KERNEL_LAYOUT, "order"},
	};
	begin(0x1e000000, 2 * MIB);
	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		struct kmem_bases bases;
		struct err err;
		uint64_t *at = fake_data(&fake, lies[i].at), good = *at;
		*at = lies[i].value;
		assert_fails(find(&bases, &err), &err, lies[i].code, lies[i].words);
		*at = good;
		cr_assert_eq(find(&bases, &err), 0, "%zu: %s", i, err.message);
	}
	fake_kernel_deinit(&fake);
}

Test(bases, page_tables_that_lie)
{
	struct kmem_bases bases;
	struct err err;
	uint64_t text = FAKE_TEXT + 2 * MIB, direct = FAKE_PAGE_OFFSET + TEXT_GPA + 2 * MIB;
	begin(2 * MIB, 2 * MIB);
	uint64_t *entry = fake_map(&fake, direct, TEXT_GPA, 2);
	assert_disagree(find(&bases, &err), &err, "not the direct map");
	*entry = UINT64_C(0xffffffe00000) | 0x83;
	assert_disagree(find(&bases, &err), &err, "not the direct map");
	*entry = 0;
	assert_fails(find(&bases, &err), &err, ERR_UNMAPPED, "not present");
	fake_map(&fake, direct, TEXT_GPA + 2 * MIB, 2);
	cr_assert_eq(find(&bases, &err), 0, "%s", err.message);
	entry = fake_map(&fake, text, TEXT_GPA, 2);
	assert_disagree(find(&bases, &err), &err, "page tables have the kernel");
	*entry = 0x7ffffffff001 & ~UINT64_C(0x80);
	assert_fails(find(&bases, &err), &err, ERR_UNMAPPED, "beyond guest memory");
	/* Tables that lead to themselves end as deep as walks go. */
	uint64_t *root = fake_data(&fake, FAKE_ROOT);
	root[511] = (0x3000000 + fake.gpa_move + FAKE_ROOT) | 3;
	assert_fails(find(&bases, &err), &err, ERR_UNMAPPED, "not present");
	fake_kernel_deinit(&fake);
}

Test(bases, another_kernel)
{
	struct kmem_bases bases;
	struct err err;
	uint64_t left;
	gpa_t note;
	begin(2 * MIB, 2 * MIB);
	const struct kimage *image = kmem_image(fake.kmem);
	cr_assert(kimage_gpa(image, image->build_note.vaddr, &note, &left));
	*(uint8_t *)fake_ptr(&fake, note.v) ^= 1;
	assert_fails(find(&bases, &err), &err, ERR_FAILED_PRECONDITION, "build id");
	cr_assert_lt(kmem_check(fake.kmem, &err), 0);
	fake_kernel_deinit(&fake);
}

/* ---- looking for it */

Test(place, too_early)
{
	struct err err;
	fake_kernel_init_moved(&fake, 4 * MIB, 2 * MIB);
	uint64_t *phys_base = fake_data(&fake, FAKE_PHYS_BASE), good = *phys_base;
	/* The decompressor has unpacked it, and it has not run yet. */
	*phys_base = 0;
	assert_fails(make(0, &err), &err, ERR_FAILED_PRECONDITION, "page tables");
	/* With a guest that talks that is no excuse. */
	assert_disagree(make(FAKE_TEXT + 4 * MIB, &err), &err, "no page tables");
	*phys_base = good;
	uint64_t *entry = fake_map(&fake, FAKE_TEXT + 4 * MIB, TEXT_GPA + 2 * MIB, 2);
	*entry = 0;
	assert_fails(make(0, &err), &err, ERR_FAILED_PRECONDITION, "page tables");
	memset(fake_ptr(&fake, TEXT_GPA + 2 * MIB), 0, 4096);
	assert_fails(make(0, &err), &err, ERR_FAILED_PRECONDITION, "not in guest memory yet");
	assert_disagree(make(FAKE_TEXT, &err), &err, "no kernel of the image's build id");
	fake_kernel_deinit(&fake);
}

Test(place, the_guest_says_another)
{
	struct err err;
	fake_kernel_init_moved(&fake, 2 * MIB, 2 * MIB);
	assert_disagree(make(FAKE_TEXT + 4 * MIB, &err), &err, "the guest says");
	assert_disagree(make(1, &err), &err, "the guest says");
	cr_assert_eq(make(FAKE_TEXT + 2 * MIB, &err), 0, "%s", err.message);
	fake_kernel_deinit(&fake);
}

Test(place, slides_that_cannot_be)
{
	static const int64_t off[] = {
		0x1000, -0x1000, 1, -(int64_t)(4 * MIB), 0x3f000000, INT64_MIN, INT64_MAX};
	struct err err;
	fake_kernel_init_moved(&fake, 2 * MIB, 2 * MIB);
	uint64_t *phys_base = fake_data(&fake, FAKE_PHYS_BASE), good = *phys_base;
	for (size_t i = 0; i < ARRAY_SIZE(off); i++) {
		*phys_base = good - (uint64_t)off[i];
		/* Mapped as if it were so, where that can be said. */
		if (off[i] % 0x1000 == 0 && off[i] > 0 && off[i] < 0x40000000)
			fake_map(&fake, FAKE_TEXT + 2 * MIB + (uint64_t)off[i], TEXT_GPA + 2 * MIB, 2);
		assert_fails(make(0, &err), &err, ERR_FAILED_PRECONDITION, "page tables");
	}
	fake_kernel_deinit(&fake);
}

/* Puts what the kernel's page has `move` further on; with variables and tables of its own if `whole`. */
static void copy_kernel(uint64_t move, bool whole)
{
	uint64_t from = fake.gpa_move;
	memcpy(fake_ptr(&fake, TEXT_GPA + move), fake_ptr(&fake, TEXT_GPA + from), 4096);
	if (!whole)
		return;
	memcpy(fake_ptr(&fake, 0x3000000 + move), fake_ptr(&fake, 0x3000000 + from), FAKE_END);
	fake.gpa_move = move;
	*(uint64_t *)fake_data(&fake, FAKE_PHYS_BASE) = move - fake.slide;
	memset(fake_data(&fake, FAKE_ROOT), 0, 4096);
	fake_map(&fake, FAKE_TEXT + fake.slide, TEXT_GPA + move, 2);
	fake_map(&fake, FAKE_DATA + fake.slide, 0x3000000 + move, 2);
	fake.gpa_move = from;
}

Test(place, leftovers_are_passed_over_and_a_second_kernel_is_not)
{
	struct err err;
	fake_kernel_init_moved(&fake, 6 * MIB, 2 * MIB);
	copy_kernel(4 * MIB, false); /* as unpacking leaves it behind */
	copy_kernel(-(2 * MIB), false);
	cr_assert_eq(make(0, &err), 0, "%s", err.message);
	cr_assert_eq(kmem_slide(fake.kmem), 6 * MIB);
	kmem_free(fake.kmem);
	copy_kernel(8 * MIB, true);
	assert_fails(make(0, &err), &err, ERR_AMBIGUOUS, "0x1200000, 0x1800000");
	assert_fails(make(FAKE_TEXT + 6 * MIB, &err), &err, ERR_AMBIGUOUS, "2 running kernels");
	/* One bit in what tells them, and it is no kernel. */
	*(char *)fake_ptr(&fake, TEXT_GPA + 8 * MIB + FAKE_BANNER + 3) ^= 1;
	cr_assert_eq(make(0, &err), 0, "%s", err.message);
	fake_kernel_deinit(&fake);
}

Test(place, memory_full_of_build_ids)
{
	struct err err;
	fake_kernel_init_moved(&fake, 2 * MIB, 2 * MIB);
	/* 16 GiB beyond what the kernel has: one look at every 2 MiB, and an end to looking at what looks
	 * right. */
	size_t bytes = 16384 * MIB;
	uint8_t *host =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	cr_assert_neq(host, MAP_FAILED);
	const struct gmem_region high = fake.memory.region[1];
	fake.memory.region[1] = (struct gmem_region){GPA(FAKE_HIGH), bytes, host, 0};
	cr_assert_eq(make(0, &err), 0, "%s", err.message);
	kmem_free(fake.kmem);
	for (uint64_t at = 0; at < 70 * 2 * MIB; at += 2 * MIB)
		memcpy(host + at, fake_ptr(&fake, TEXT_GPA + 2 * MIB), 4096);
	assert_fails(make(0, &err), &err, ERR_AMBIGUOUS, "copies");
	fake.memory.region[1] = high;
	munmap(host, bytes);
	fake_kernel_deinit(&fake);
}

Test(place, images_that_say_too_little)
{
	struct err err;
	fake_kernel_init_moved(&fake, 2 * MIB, 2 * MIB);
	struct kimage image;
	cr_assert_eq(kimage_init(&image, fake.elf, fake.elf_bytes, &err), 0);
	_cleanup_(symbols_free_p) struct symbols *symbols = symbols_new(&image, &err);
	cr_assert_not_null(symbols);
	struct kernel_place place;
	cr_assert_eq(kernel_place_find(&image, symbols, &fake.memory, 0, &place, &err), 0, "%s", err.message);
	cr_assert_eq(place.slide, 2 * MIB);
	cr_assert_eq(place.gpa_move, 2 * MIB);
	unsigned length = image.build_id_length;
	image.build_id_length = 0;
	assert_fails(kernel_place_find(&image, symbols, &fake.memory, 0, &place, &err), &err,
		ERR_KERNEL_LAYOUT, "no build id");
	image.build_id_length = length;
	image.n_segments = 1; /* where the variables are is no longer said */
	cr_assert_lt(kernel_place_find(&image, symbols, &fake.memory, 0, &place, &err), 0);
	fake_kernel_deinit(&fake);
}
