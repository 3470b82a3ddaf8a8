/* SPDX-License-Identifier: GPL-2.0-only */
/* The kallsyms tables inside a kernel image, read in place: nothing is unpacked or copied. Immutable once
 * found: any thread. Every index is checked when the tables are found, so later reads cannot leave them.
 *
 * Order in memory (scripts/kallsyms.c, since 6.4):
 *
 *   num_syms u32 | names: per symbol ULEB128 count, then that many token numbers
 *   markers u32[]: offset in names of every 256th symbol
 *   token_table: 256 strings; token_index u16[256]: where they start
 *   offsets u32[num_syms]: ascending addresses
 *   (relative_base u64, up to 6.x) | seqs_of_names: 3 bytes, big-endian, symbol numbers in name order
 *
 * The address of symbol i is one of
 *   relative_base + offsets[i]                                       (6.15 .. 6.18)
 *   &offsets[i] + (s32)offsets[i]                                    (7.x: no relative_base)
 *   offsets[i] if >= 0, else relative_base - 1 - (s32)offsets[i]     (before 6.15: zero-based per-CPU) */
#ifndef HOST_KMEM_KALLSYMS_H
#define HOST_KMEM_KALLSYMS_H

#include "host/kmem/image.h"

/* KSYM_NAME_LEN of include/linux/kallsyms.h. */
#define KALLSYMS_NAME_MAX 512

enum kallsyms_form {
	KALLSYMS_BASE_RELATIVE = 1,
	KALLSYMS_SELF_RELATIVE,
	KALLSYMS_ABSOLUTE_PERCPU,
};

struct kallsyms {
	uint32_t n;
	enum kallsyms_form form;
	const uint8_t *names, *markers, *tokens, *offsets, *seqs;
	uint64_t names_bytes, tokens_bytes;
	uint16_t token_at[256];
	uint64_t offsets_vaddr, base;
};

/* Finds and checks the tables in `range` (.rodata). text: link address of `_text`, by which the form of the
 * addresses is recognised. ERR_KERNEL_LAYOUT says which part did not fit. */
int kallsyms_find_in(
	struct kallsyms *ks, const struct kimage_range *range, gva_t text, struct err *err) must_check;
/* Where `_text` was linked to, by the section headers. */
gva_t kallsyms_text_address(const struct kimage *image);
int kallsyms_find(struct kallsyms *ks, const struct kimage *image, struct err *err) must_check;

/* i < n, ascending. */
uint64_t kallsyms_address(const struct kallsyms *ks, uint32_t i);
/* Expands the name of symbol i; ret_type: its letter as in nm(1), may be NULL. Returns the length. */
size_t kallsyms_name(const struct kallsyms *ks, uint32_t i, char name[KALLSYMS_NAME_MAX], char *ret_type);
/* Symbol number at place k < n of the name order (kept by the kernel's build; result < n always). */
uint32_t kallsyms_by_name(const struct kallsyms *ks, uint32_t k);

#endif
