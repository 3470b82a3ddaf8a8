/* SPDX-License-Identifier: GPL-2.0-only */
/* Kernel virtual addresses to guest memory, as ranges. No state, any thread. */
#ifndef HOST_KMEM_TRANSLATE_H
#define HOST_KMEM_TRANSLATE_H

#include "host/kmem/kmem.h"

/* A piece of a range that is contiguous in the controller's memory. */
struct kmem_span {
	uint8_t *host;
	gpa_t gpa;
	uint64_t length;
};

enum kmem_way {
	/* Image addresses by its segments, direct-map addresses by subtraction, others by a walk. */
	KMEM_WAY_ANY = 1,
	KMEM_WAY_DIRECT, /* direct map only: outside of it is ERR_INVALID_ARGUMENT */
	KMEM_WAY_WALK,   /* the kernel's page tables, whatever the address */
	KMEM_WAY_PHYS,   /* the address is guest-physical */
};

/* [at, at + left) still to be translated. */
struct kmem_range_iter {
	const struct kmem *kmem;
	enum kmem_way way;
	gva_t at;
	uint64_t left;
};

/* 1: *ret_span is the next piece; 0: the range is done; ERR_UNMAPPED says where and at which level the walk
 * ended, or that the page lies beyond RAM. */
int kmem_range_next(struct kmem_range_iter *iter, struct kmem_span *ret_span, struct err *err) must_check;

/* Whether what is there stays at the same place of guest memory as long as the kernel runs: its image and the
 * direct map do, what page tables map may be mapped anew. */
bool kmem_is_unmoving(const struct kmem *kmem, enum kmem_way way, gva_t at);

/* What a page walk ended at. */
struct page_hit {
	gpa_t gpa;           /* of the address itself, not of its page */
	uint64_t left;       /* bytes to the end of the page */
	uint64_t page_bytes; /* 4 KiB, 2 MiB or 1 GiB */
	bool writable;       /* at every level */
};

/* Walks 4 or 5 levels from `root` (SDM volume 3, 4.5). Each table is read once, an entry at a time; an entry
 * that is not present, has reserved bits set, or points beyond RAM ends the walk: ERR_UNMAPPED with the
 * level. */
int page_walk(const struct gmem *memory, gpa_t root, bool five_level, gva_t at, struct page_hit *ret_hit,
	struct err *err) must_check;

#endif
