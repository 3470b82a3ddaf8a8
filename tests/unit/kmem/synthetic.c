/* SPDX-License-Identifier: GPL-2.0-only */
/* Synthetic kallsyms tables. Every character is its own token, and token 1 is "sched_" to have one that is
 * not. */
#include "tests/unit/kmem/synthetic.h"

#include <string.h>

static const struct synthetic_symbol *sort_table;

static int by_name(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	int order = strcmp(sort_table[x].name + 1, sort_table[y].name + 1);

	return order ? order : (x > y) - (x < y);
}

static void put(struct synthetic *out, const void *bytes, size_t length)
{
	assert(out->length + length <= sizeof(out->bytes));
	memcpy(out->bytes + out->length, bytes, length);
	out->length += length;
}

static void align(struct synthetic *out, size_t to)
{
	while (out->length % to)
		put(out, "", 1);
}

void synthetic_build(struct synthetic *out, enum kallsyms_form form, const struct synthetic_symbol *symbols,
	uint32_t n, uint64_t base)
{
	uint32_t *markers = calloc(n / 256 + 1, sizeof(*markers)), *order = calloc(n, sizeof(*order));
	uint16_t index[256];
	bool self = form == KALLSYMS_SELF_RELATIVE;

	memset(out, 0, sizeof(*out));
	out->base = base;
	/* Something before the tables, as in .rodata. */
	put(out, "Linux version synthetic\xff\xff", 26);
	align(out, self ? 4 : 8);
	out->num_syms = out->length;
	put(out, &n, 4);
	align(out, self ? 4 : 8);
	out->names = out->length;
	for (uint32_t i = 0; i < n; i++) {
		uint8_t tokens[KALLSYMS_NAME_MAX];
		unsigned count = 0;
		if (i % 256 == 0)
			markers[i / 256] = (uint32_t)(out->length - out->names);
		for (const char *c = symbols[i].name; *c;) {
			bool token = strncmp(c, "sched_", 6) == 0;
			tokens[count++] = token ? 1 : (uint8_t)*c;
			c += token ? 6 : 1;
		}
		uint8_t head[2] = {(uint8_t)(count & 0x7f), (uint8_t)(count >> 7)};
		if (count > 0x7f)
			head[0] |= 0x80;
		put(out, head, count > 0x7f ? 2 : 1);
		put(out, tokens, count);
	}
	align(out, self ? 4 : 8);
	out->markers = out->length;
	put(out, markers, 4 * ((n + 255) / 256));
	align(out, self ? 4 : 8);
	out->token_table = out->length;
	for (unsigned k = 0; k < 256; k++) {
		char one[2] = {(char)(k > ' ' && k < 0x7f ? k : 0), 0};
		const char *token = k == 1 ? "sched_" : one;
		index[k] = (uint16_t)(out->length - out->token_table);
		put(out, token, strlen(token) + 1);
	}
	align(out, self ? 4 : 8);
	out->token_index = out->length;
	put(out, index, sizeof(index));
	out->offsets = out->length;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t value = symbols[i].address - base;
		if (self)
			value = symbols[i].address - (SYNTHETIC_VADDR + out->length);
		else if (form == KALLSYMS_ABSOLUTE_PERCPU)
			value = symbols[i].address < base ? symbols[i].address
							  : base - 1 - symbols[i].address;
		put(out, &(uint32_t){(uint32_t)value}, 4);
	}
	if (!self) {
		align(out, 8);
		put(out, &base, 8);
	}
	out->seqs = out->length;
	for (uint32_t i = 0; i < n; i++)
		order[i] = i;
	sort_table = symbols;
	qsort(order, n, sizeof(*order), by_name);
	for (uint32_t i = 0; i < n; i++)
		put(out, (uint8_t[]){(uint8_t)(order[i] >> 16), (uint8_t)(order[i] >> 8), (uint8_t)order[i]},
			3);
	free(markers);
	free(order);
}
