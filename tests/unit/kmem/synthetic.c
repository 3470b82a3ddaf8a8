/* SPDX-License-Identifier: GPL-2.0-only */
/* Synthetic kallsyms tables. Every character is its own token, and token 1 is "sched_" to have one that is
 * not. */
#include "tests/unit/kmem/synthetic.h"

#include <linux/btf.h>
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

#define INFO(kind, vlen, flag) ((uint32_t)(flag) << 31 | (uint32_t)(kind) << 24 | (vlen))

static uint32_t str(struct synthetic_btf *b, const char *text)
{
	uint32_t at = b->text_n;

	strcpy(b->text + at, text);
	b->text_n += (unsigned)strlen(text) + 1;
	return at;
}

static void words(struct synthetic_btf *b, const uint32_t *word, unsigned n)
{
	memcpy(b->word + b->n, word, n * sizeof(*word));
	b->n += n;
}
#define WORDS(b, ...) words(b, (uint32_t[]){__VA_ARGS__}, sizeof((uint32_t[]){__VA_ARGS__}) / 4)

static void finish(struct synthetic_btf *b)
{
	struct btf_header h = {.magic = BTF_MAGIC,
		.version = 1,
		.hdr_len = sizeof(h),
		.type_len = b->n * 4,
		.str_off = b->n * 4,
		.str_len = b->text_n};

	memcpy(b->bytes, &h, sizeof(h));
	memcpy(b->bytes + sizeof(h), b->word, b->n * 4);
	memcpy(b->bytes + sizeof(h) + b->n * 4, b->text, b->text_n);
	b->length = sizeof(h) + b->n * 4 + b->text_n;
}

void synthetic_btf_build(struct synthetic_btf *b)
{
	*b = (struct synthetic_btf){.text_n = 1};
	WORDS(b, str(b, "int"), INFO(BTF_KIND_INT, 0, 0), 4, 32);
	WORDS(b, 0, INFO(BTF_KIND_ARRAY, 0, 0), 0, 1, 1, 4);
	WORDS(b, 0, INFO(BTF_KIND_UNION, 2, 0), 16, str(b, "x"), 1, 0, str(b, "arr"), 2, 0);
	WORDS(b, str(b, "rq"), INFO(BTF_KIND_STRUCT, 5, 1), 32, str(b, "nr_running"), 1, 0, 0, 3, 32,
		str(b, "low"), 1, 3u << 24 | 160, str(b, "high"), 1, 5u << 24 | 163, str(b, "next"), 5, 192);
	WORDS(b, 0, INFO(BTF_KIND_PTR, 0, 0), 4);
	WORDS(b, str(b, "runqueues"), INFO(BTF_KIND_VAR, 0, 0), 4, 1);
	WORDS(b, str(b, ".data..percpu"), INFO(BTF_KIND_DATASEC, 1, 0), 32, 6, 0, 32);
	WORDS(b, str(b, "loop"), INFO(BTF_KIND_TYPEDEF, 0, 0), 8);
	WORDS(b, str(b, "selfish"), INFO(BTF_KIND_STRUCT, 2, 0), 4, 0, 9, 0, 0, 9, 0);
	WORDS(b, str(b, "page"), INFO(BTF_KIND_STRUCT, 1, 0), 64, str(b, "flags"), 1, 0);
	finish(b);
}
