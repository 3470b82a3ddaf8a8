/* SPDX-License-Identifier: GPL-2.0-only */
/* Builds kallsyms tables as scripts/kallsyms.c lays them out, for tests. */
#ifndef TESTS_UNIT_KMEM_SYNTHETIC_H
#define TESTS_UNIT_KMEM_SYNTHETIC_H

#include "host/kmem/kallsyms.h"

struct synthetic_symbol {
	uint64_t address; /* ascending */
	const char *name; /* with its type letter: "T_text" */
};

#define SYNTHETIC_VADDR UINT64_C(0xffffffff82000000)

/* Where the parts went, to damage them. */
struct synthetic {
	uint8_t bytes[1 << 20];
	size_t length, num_syms, names, markers, token_table, token_index, offsets, seqs;
	uint64_t base;
};

/* num_syms directly before the names for KALLSYMS_SELF_RELATIVE, 8-aligned names for the others. */
void synthetic_build(struct synthetic *out, enum kallsyms_form form, const struct synthetic_symbol *symbols,
	uint32_t n, uint64_t base);
static inline struct kimage_range synthetic_range(const struct synthetic *in)
{
	return (struct kimage_range){in->bytes, in->length, GVA(SYNTHETIC_VADDR)};
}

/* Types by hand: appended words and strings. */
struct synthetic_btf {
	uint32_t word[256];
	unsigned n;
	char text[512];
	unsigned text_n;
	uint8_t bytes[4096];
	size_t length;
};

/* 1 int; 2 int[4]; 3 nameless union {int x; int arr[4]}; 4 struct rq {int nr; union; int low:3, high:5 at bit
 * 160; struct rq *next}; 5 ptr to rq; 6 var; 7 datasec; 8 typedef of itself; 9 struct holding itself,
 * nameless; 10 struct page {int flags}, 64 bytes */
void synthetic_btf_build(struct synthetic_btf *out);

#endif
