/* SPDX-License-Identifier: GPL-2.0-only */
/* Kernel symbols of an image by name and by address: from the ELF symbol table if the image has one, else
 * from its kallsyms tables, in place. Immutable: any thread. Addresses are link addresses. */
#ifndef HOST_KMEM_SYMBOLS_H
#define HOST_KMEM_SYMBOLS_H

#include "host/kmem/image.h"
#include "host/kmem/kallsyms.h"

struct symbols;

/* image is borrowed and outlives the table. ERR_KERNEL_LAYOUT: the image has neither table. */
struct symbols *symbols_new(const struct kimage *image, struct err *err) must_check;
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
