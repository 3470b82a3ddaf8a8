/* SPDX-License-Identifier: GPL-2.0-only */
/* Looking for a kernel that placed itself. Everything read here is the guest's: copied once, then checked;
 * time is bounded by the guest's memory (one look at every 2 MiB). */
#include "host/kmem/place.h"

#include "host/kmem/translate.h"

#include <errno.h>
#include <string.h>

/* MIN_KERNEL_ALIGN, arch/x86/include/asm/boot.h. */
#define ALIGN (UINT64_C(2) << 20)
/* Build ids that are no running kernel: leftovers of its unpacking. More than so many are made up. */
#define SEEN_MAX 64u
#define BANNER_MAX 256u

/* What is looked for, at link addresses. */
struct wanted {
	const struct kimage *image;
	const struct gmem *memory;
	gva_t text, phys_base, root, five_level; /* five_level: 0 if there is no such symbol */
	gpa_t text_gpa, note_gpa, banner_gpa;
	uint64_t image_end; /* of the highest segment */
	const char *banner; /* NULL: none to compare */
	size_t banner_bytes;
};

enum look { LOOK_NOTHING = 1, LOOK_TOO_EARLY, LOOK_FOUND };

static int need_symbol(const struct symbols *symbols, const char *name, gva_t *ret, struct err *err)
{
	if (symbols_find(symbols, name, ret, NULL) == 0)
		return 0;
	return err_set(err, ERR_KERNEL_LAYOUT,
		"the kernel has no symbol '%s', without which a kernel that placed itself is not found",
		name);
}

static int linked_gpa(const struct wanted *w, gva_t at, gpa_t *ret, struct err *err)
{
	uint64_t left;
	if (kimage_gpa(w->image, at, ret, &left) && left >= 8)
		return 0;
	return err_set(err, ERR_KERNEL_LAYOUT, "0x%llx, which its symbols name, is not in the kernel's image",
		(unsigned long long)at.v);
}

static int wanted_init(struct wanted *w, const struct kimage *image, const struct symbols *symbols,
	const struct gmem *memory, struct err *err)
{
	gva_t banner;
	uint64_t left;
	*w = (struct wanted){.image = image, .memory = memory};
	if (image->build_id_length == 0)
		return err_set(err, ERR_KERNEL_LAYOUT,
			"the kernel has no build id, without which a kernel that placed itself is not found");
	int r = need_symbol(symbols, "_text", &w->text, err);
	if (r == 0)
		r = need_symbol(symbols, "phys_base", &w->phys_base, err);
	if (r == 0)
		r = need_symbol(symbols, "init_top_pgt", &w->root, err);
	if (r == 0)
		r = linked_gpa(w, w->text, &w->text_gpa, err);
	if (r == 0)
		r = linked_gpa(w, image->build_note.vaddr, &w->note_gpa, err);
	if (r < 0)
		return r;
	if (symbols_find(symbols, "__pgtable_l5_enabled", &w->five_level, NULL) < 0)
		w->five_level = GVA(0);
	for (unsigned i = 0; i < image->n_segments; i++)
		w->image_end = MAX_OF(w->image_end, image->segment[i].vaddr.v + image->segment[i].mem_bytes);
	if (symbols_find(symbols, "linux_banner", &banner, NULL) == 0 &&
		kimage_gpa(image, banner, &w->banner_gpa, &left)) {
		w->banner = kimage_at(image, banner, MIN_OF(left, (uint64_t)BANNER_MAX));
		w->banner_bytes = w->banner ? strnlen(w->banner, MIN_OF(left, (uint64_t)BANNER_MAX)) : 0;
	}
	return 0;
}

static bool same_bytes(const struct wanted *w, uint64_t gpa, const void *bytes, size_t length)
{
	uint8_t copy[BANNER_MAX];
	assert(length <= sizeof(copy));
	return gmem_read(w->memory, GPA(gpa), copy, length) == 0 && memcmp(copy, bytes, length) == 0;
}

/* A variable of the image that lies `move` from where it was linked. */
static bool moved_read(const struct wanted *w, gva_t at, uint64_t move, void *value, size_t length)
{
	uint64_t left;
	gpa_t gpa;
	return kimage_gpa(w->image, at, &gpa, &left) && left >= length &&
	       gmem_read(w->memory, GPA(gpa.v + move), value, length) == 0;
}

/* Whether page tables of the image that lies there have its text and its data where they should be. */
static bool is_mapped(const struct wanted *w, const struct kernel_place *place)
{
	const gva_t looked_at[] = {w->text, w->phys_base, w->image->build_note.vaddr};
	uint32_t five_level = 0;
	uint64_t left;
	gpa_t root, linked;
	if (w->five_level.v &&
		!moved_read(w, w->five_level, place->gpa_move, &five_level, sizeof(five_level)))
		return false;
	if (!kimage_gpa(w->image, w->root, &root, &left))
		return false;
	root.v += place->gpa_move;
	for (size_t i = 0; i < ARRAY_SIZE(looked_at); i++) {
		struct page_hit hit;
		if (!kimage_gpa(w->image, looked_at[i], &linked, &left) ||
			page_walk(w->memory, root, five_level != 0, GVA(looked_at[i].v + place->slide), &hit,
				NULL) < 0 ||
			hit.gpa.v != linked.v + place->gpa_move)
			return false;
	}
	return true;
}

static enum look look(const struct wanted *w, uint64_t move, struct kernel_place *ret)
{
	const struct kimage *image = w->image;
	uint64_t phys_base;
	if (!same_bytes(w, w->note_gpa.v + move, image->build_id, image->build_id_length) ||
		(w->banner && !same_bytes(w, w->banner_gpa.v + move, w->banner, w->banner_bytes)))
		return LOOK_NOTHING;
	if (!moved_read(w, w->phys_base, move, &phys_base, sizeof(phys_base)))
		return LOOK_NOTHING;
	/* A virtual address less __START_KERNEL_map plus phys_base is physical. */
	uint64_t text = w->text_gpa.v + move - phys_base + START_KERNEL_MAP;
	struct kernel_place place = {.slide = text - w->text.v, .gpa_move = move};
	if (text < w->text.v || place.slide % ALIGN || place.slide >= KERNEL_MAP_END - START_KERNEL_MAP ||
		w->image_end > KERNEL_MAP_END - place.slide || !is_mapped(w, &place))
		return LOOK_TOO_EARLY;
	*ret = place;
	return LOOK_FOUND;
}

static int disagree(struct err *err)
{
	(void)err_reason(err, "bases-disagree");
	return -ENOTSUP;
}

int kernel_place_find(const struct kimage *image, const struct symbols *symbols, const struct gmem *memory,
	uint64_t agent_text, struct kernel_place *ret_place, struct err *err)
{
	struct kernel_place found = {0};
	unsigned n_found = 0, n_seen = 0;
	uint64_t move_of[2] = {0};
	struct wanted w;
	int r = wanted_init(&w, image, symbols, memory, err);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < memory->n_regions; i++) {
		const struct gmem_region *region = &memory->region[i];
		uint64_t end = region->start.v + region->size_bytes;
		for (uint64_t at = round_up_u64(region->start.v, ALIGN); at < end; at += ALIGN) {
			struct kernel_place place;
			enum look seen = look(&w, at - w.text_gpa.v, &place);
			if (seen == LOOK_NOTHING)
				continue;
			if (++n_seen > SEEN_MAX)
				return err_set(err, ERR_AMBIGUOUS,
					"guest memory has more than %u copies of the kernel's build id",
					SEEN_MAX);
			if (seen != LOOK_FOUND)
				continue;
			if (n_found < 2)
				move_of[n_found] = at;
			n_found++;
			found = place;
		}
	}
	if (n_found > 1)
		return err_set(err, ERR_AMBIGUOUS,
			"guest memory has %u running kernels of the image's build id: at guest-physical "
			"0x%llx, "
			"0x%llx%s",
			n_found, (unsigned long long)move_of[0], (unsigned long long)move_of[1],
			n_found > 2 ? " and more" : "");
	if (n_found == 0 && agent_text) {
		(void)err_set(err, ERR_KERNEL_LAYOUT,
			"the guest says that its kernel is at 0x%llx, and guest memory has %s",
			(unsigned long long)agent_text,
			n_seen ? "the image's build id, but no page tables of that kernel with it"
			       : "no kernel of the image's build id");
		return disagree(err);
	}
	if (n_found == 0)
		return err_set(err, ERR_FAILED_PRECONDITION,
			n_seen ? "the kernel has not set up its page tables yet: too early to say where it is"
			       : "the kernel is not in guest memory yet");
	if (agent_text && agent_text != w.text.v + found.slide) {
		(void)err_set(err, ERR_KERNEL_LAYOUT,
			"by its build id and page tables the kernel is at 0x%llx, and the guest says 0x%llx",
			(unsigned long long)(w.text.v + found.slide), (unsigned long long)agent_text);
		return disagree(err);
	}
	*ret_place = found;
	return 0;
}
