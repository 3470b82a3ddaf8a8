/* SPDX-License-Identifier: GPL-2.0-only */
/* Kernel symbols by name and by address: from the image's ELF symbol table if it has one, else from its
 * kallsyms tables, in place; for an image that has neither, from the running kernel's /proc/kallsyms.
 * Immutable once placed: any thread. Addresses are link addresses until they are placed. */
#ifndef HOST_KMEM_SYMBOLS_H
#define HOST_KMEM_SYMBOLS_H

#include "host/kmem/image.h"
#include "host/kmem/kallsyms.h"

/* __START_KERNEL_map and the end of what the kernel may lie in (KERNEL_IMAGE_SIZE with
 * CONFIG_RANDOMIZE_BASE), arch/x86/include/asm/page_64_types.h. */
#define START_KERNEL_MAP UINT64_C(0xffffffff80000000)
#define KERNEL_MAP_END UINT64_C(0xffffffffc0000000)

struct symbols;

/* image is borrowed and outlives the table. ERR_KERNEL_LAYOUT: the image has neither table. */
struct symbols *symbols_new(const struct kimage *image, struct err *err) must_check;
/* Whether the image has either, and so symbols_new() would read it: some milliseconds. */
bool symbols_are_in(const struct kimage *image);
/* From the text of the guest's /proc/kallsyms (borrowed for the call). Its addresses are running ones: how
 * far they are from link addresses tells its `_text`. ERR_KERNEL_LAYOUT, ERR_LIMIT_EXCEEDED: no such text. */
struct symbols *symbols_new_from_guest(
	const struct kimage *image, const char *text, size_t length, struct err *err) must_check;
/* Makes addresses running ones, `slide` beyond link addresses. Once, before anybody else sees the table. */
void symbols_place(struct symbols *symbols, uint64_t slide);
void symbols_free(struct symbols *symbols);
SCOPE_GUARD(struct symbols *, symbols_free, symbols_free)

uint32_t symbols_count(const struct symbols *symbols);
/* The one symbol of exactly that name. ERR_AMBIGUOUS lists the addresses of several; ERR_NOT_FOUND the
 * nearest names. With err NULL the list is not made, which is quick. */
int symbols_find(
	const struct symbols *symbols, const char *name, gva_t *ret_address, struct err *err) must_check;

struct symbol_at {
	char name[KALLSYMS_NAME_MAX];
	gva_t start;
	uint64_t offset;     /* from start */
	uint64_t size_bytes; /* to the next symbol of a higher address */
};

/* The symbol that `at` is in (the last one at or below it). False outside of the image. */
bool symbols_at(const struct symbols *symbols, gva_t at, struct symbol_at *ret_symbol);
/* The next symbol, from number *at on, whose name fits the shell pattern; advances *at. Order: by address;
 * the walk of a whole table takes tens of milliseconds. False: there are no more. size_bytes is as
 * symbols_at(). */
bool symbols_match(
	const struct symbols *symbols, const char *pattern, uint32_t *at, struct symbol_at *ret_symbol);
/* "name+0x12", or "" outside of the image. Returns buffer. */
const char *symbols_text(const struct symbols *symbols, gva_t at, char *buffer, size_t size);

#endif
