/* SPDX-License-Identifier: GPL-2.0-only */
/* Finds the kallsyms tables by their shape and reads them in place. No state beyond the caller's struct. */
#include "host/kmem/kallsyms.h"

#include <string.h>

#define SYMS_MAX 4000000u
/* Longest encoded name (512 tokens at most, each at least a byte, and the count). */
#define ENCODED_MAX (KALLSYMS_NAME_MAX + 2u)
#define CHUNK 256u
/* Places that look like a token table; real images have three. */
#define TRIES_MAX 64u

static uint16_t u16_at(const uint8_t *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof(v));
	return v;
}

static uint32_t u32_at(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return v;
}

static uint64_t u64_at(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
	return v;
}

/* One encoded name at *at: its token count and where the tokens start; false beyond `limit`. */
static bool name_step(
	const uint8_t *names, uint64_t limit, uint64_t *at, const uint8_t **ret_tokens, unsigned *ret_count)
{
	unsigned count;

	if (*at >= limit)
		return false;
	count = names[(*at)++];
	if (count & 0x80) {
		if (*at >= limit)
			return false;
		count = (count & 0x7f) | (unsigned)names[(*at)++] << 7;
	}
	if (!range_fits(*at, count, limit))
		return false;
	*ret_tokens = names + *at;
	*ret_count = count;
	*at += count;
	return true;
}

/* token_index: 256 ascending u16 that start exactly behind the strings of the token table. */
static bool tokens_at(struct kallsyms *ks, const struct kimage_range *r, uint64_t digits, uint64_t *ret_table,
	uint64_t *ret_after)
{
	/* 256 tokens of a few bytes each follow the digits; the kernel's table has about 1 KiB. */
	uint64_t end = MIN_OF(r->length, digits + 16384);

	for (uint64_t at = (digits + 1) & ~UINT64_C(1); range_fits(at, 512, end); at += 2) {
		unsigned k = 1;
		if (u16_at(r->bytes + at) != 0)
			continue;
		while (k < 256 && u16_at(r->bytes + at + 2 * k) > u16_at(r->bytes + at + 2 * k - 2))
			k++;
		if (k < 256)
			continue;
		uint64_t zero = u16_at(r->bytes + at + 2 * '0');
		if (zero > digits)
			continue;
		uint64_t table = digits - zero, start = 0;
		for (k = 0; k < 256 && table + start < at; k++) {
			const uint8_t *nul = memchr(r->bytes + table + start, '\0', at - table - start);
			if (!nul || u16_at(r->bytes + at + 2 * k) != start)
				break;
			ks->token_at[k] = (uint16_t)start;
			start = (uint64_t)(nul + 1 - r->bytes) - table;
		}
		if (k < 256 || at - table - start >= 8)
			continue;
		ks->tokens = r->bytes + table;
		ks->tokens_bytes = start;
		*ret_table = table;
		*ret_after = at + 512;
		return true;
	}
	return false;
}

/* markers: ascending u32 that end (up to alignment) where the token table starts and begin with 0. */
static bool markers_before(const struct kimage_range *r, uint64_t end, uint64_t *ret_at, uint32_t *ret_n)
{
	uint64_t at = end & ~UINT64_C(3);
	uint32_t n = 0, next = UINT32_MAX;

	while (at >= 4 && n <= SYMS_MAX / CHUNK) {
		uint32_t value = u32_at(r->bytes + at - 4);
		if (value >= next)
			return false;
		at -= 4;
		n++;
		if (value == 0) {
			*ret_at = at;
			*ret_n = n;
			return n > 0;
		}
		next = value;
	}
	return false;
}

/* names: starts where the last marker plus the names behind it lead exactly to the markers. */
static bool names_before(
	struct kallsyms *ks, const struct kimage_range *r, uint64_t markers, uint32_t n_markers)
{
	uint32_t last = u32_at(r->bytes + markers + 4 * (uint64_t)(n_markers - 1));
	uint64_t low, high;

	if (last > markers)
		return false;
	high = (markers - last) & ~UINT64_C(3);
	low = high > CHUNK * ENCODED_MAX ? high - CHUNK * ENCODED_MAX : 0;
	for (uint64_t start = high; start >= low + 8; start -= 4) {
		/* num_syms is directly before the names, or one word of padding lies between. */
		for (unsigned back = 4; back <= 8; back += 4) {
			uint32_t n = u32_at(r->bytes + start - back);
			uint64_t at = last;
			const uint8_t *tokens;
			unsigned count, left;

			if (n > SYMS_MAX || n == 0 || (n - 1) / CHUNK + 1 != n_markers)
				continue;
			if (back == 8 && u32_at(r->bytes + start - 4) != 0)
				continue;
			for (left = n - (n_markers - 1) * CHUNK; left > 0; left--)
				if (!name_step(r->bytes + start, markers - start, &at, &tokens, &count))
					break;
			if (left > 0 || markers - start - at >= 8)
				continue;
			ks->n = n;
			ks->names = r->bytes + start;
			ks->names_bytes = at;
			ks->markers = r->bytes + markers;
			return true;
		}
	}
	return false;
}

/* Walks every name once: counts lead from marker to marker and every expansion fits KALLSYMS_NAME_MAX. */
static bool names_check(const struct kallsyms *ks)
{
	uint16_t length[256];
	uint64_t at = 0;

	for (unsigned k = 0; k < 256; k++)
		length[k] =
			(uint16_t)((k < 255 ? ks->token_at[k + 1] : ks->tokens_bytes) - ks->token_at[k] - 1);
	for (uint32_t i = 0; i < ks->n; i++) {
		const uint8_t *tokens;
		unsigned count, total = 0;

		if (i % CHUNK == 0 && u32_at(ks->markers + 4 * (uint64_t)(i / CHUNK)) != at)
			return false;
		if (!name_step(ks->names, ks->names_bytes, &at, &tokens, &count))
			return false;
		for (unsigned k = 0; k < count; k++)
			total += length[tokens[k]];
		if (total < 2 || total > KALLSYMS_NAME_MAX)
			return false;
	}
	return at == ks->names_bytes;
}

/* Ascending, and `_text` where it must be. */
static bool addresses_check(const struct kallsyms *ks, gva_t text)
{
	char name[KALLSYMS_NAME_MAX];
	uint32_t first = UINT32_MAX;
	uint64_t before = 0;

	for (uint32_t i = 0; i < ks->n; i++) {
		uint64_t address = kallsyms_address(ks, i);
		if (address < before)
			return false;
		if (address == text.v && first == UINT32_MAX)
			first = i;
		before = address;
	}
	for (uint32_t i = first; i < ks->n && kallsyms_address(ks, i) == text.v; i++) {
		(void)kallsyms_name(ks, i, name, NULL);
		if (strcmp(name, "_text") == 0)
			return true;
	}
	return false;
}

static bool addresses_at(struct kallsyms *ks, const struct kimage_range *r, uint64_t after, gva_t text)
{
	static const enum kallsyms_form forms[] = {
		KALLSYMS_SELF_RELATIVE, KALLSYMS_BASE_RELATIVE, KALLSYMS_ABSOLUTE_PERCPU};
	/* The alignment is of the address in memory, not of the offset in the range. */
	uint64_t at = after + (-(r->vaddr.v + after) & 3), end = at + 4 * (uint64_t)ks->n;

	if (!range_fits(at, 4 * (uint64_t)ks->n, r->length))
		return false;
	ks->offsets = r->bytes + at;
	ks->offsets_vaddr = r->vaddr.v + at;
	for (unsigned k = 0; k < ARRAY_SIZE(forms); k++) {
		uint64_t seqs = end;
		ks->form = forms[k];
		if (ks->form != KALLSYMS_SELF_RELATIVE) {
			seqs += -(r->vaddr.v + end) & 7;
			if (!range_fits(seqs, 8, r->length))
				continue;
			ks->base = u64_at(r->bytes + seqs);
			seqs += 8;
		}
		if (!range_fits(seqs, 3 * (uint64_t)ks->n, r->length))
			continue;
		ks->seqs = r->bytes + seqs;
		if (addresses_check(ks, text))
			return true;
	}
	return false;
}

int kallsyms_find_in(struct kallsyms *ks, const struct kimage_range *range, gva_t text, struct err *err)
{
	/* '0'..'9' stand for themselves in every kernel's token table: symbol names use them all. */
	static const char digits[] = "0\0001\0002\0003\0004\0005\0006\0007\0008\0009";
	const char *missing = "no token table";
	uint64_t from = 0;
	unsigned tries = 0;

	while (from < range->length) {
		const uint8_t *hit =
			memmem(range->bytes + from, range->length - from, digits, sizeof(digits));
		uint64_t table, after, markers;
		uint32_t n_markers;

		if (!hit || tries++ == TRIES_MAX)
			break;
		from = (uint64_t)(hit - range->bytes) + 1;
		*ks = (struct kallsyms){0};
		if (!tokens_at(ks, range, from - 1, &table, &after))
			continue;
		/* One word of padding may lie between the markers and the 8-aligned token table. */
		for (unsigned pad = 0; pad <= 4 && pad <= table; pad += 4) {
			if (pad && u32_at(range->bytes + table - pad) != 0)
				continue;
			if (!markers_before(range, table - pad, &markers, &n_markers))
				missing = "no markers before the token table";
			else if (!names_before(ks, range, markers, n_markers) || !names_check(ks))
				missing = "names and markers do not fit";
			else if (!addresses_at(ks, range, after, text))
				missing = "addresses in none of the known forms";
			else
				return 0;
		}
	}
	*ks = (struct kallsyms){0};
	return err_set(err, ERR_KERNEL_LAYOUT, "kernel image has no readable kallsyms tables (%s)", missing);
}

gva_t kallsyms_text_address(const struct kimage *image)
{
	struct kimage_range text;

	return kimage_section(image, ".text", &text) ? text.vaddr : image->segment[0].vaddr;
}

int kallsyms_find(struct kallsyms *ks, const struct kimage *image, struct err *err)
{
	struct kimage_range range;
	const struct kimage_segment *first = &image->segment[0];

	if (!kimage_section(image, ".rodata", &range))
		range = (struct kimage_range){
			image->bytes + first->file_offset, first->file_bytes, first->vaddr};
	return kallsyms_find_in(ks, &range, kallsyms_text_address(image), err);
}

uint64_t kallsyms_address(const struct kallsyms *ks, uint32_t i)
{
	uint32_t offset = u32_at(ks->offsets + 4 * (uint64_t)i);
	int64_t relative = (int32_t)offset;

	switch (ks->form) {
	case KALLSYMS_SELF_RELATIVE:
		return ks->offsets_vaddr + 4 * (uint64_t)i + (uint64_t)relative;
	case KALLSYMS_ABSOLUTE_PERCPU:
		return relative >= 0 ? offset : ks->base - 1 - (uint64_t)relative;
	case KALLSYMS_BASE_RELATIVE:
		break;
	}
	return ks->base + offset;
}

size_t kallsyms_name(const struct kallsyms *ks, uint32_t i, char name[KALLSYMS_NAME_MAX], char *ret_type)
{
	uint64_t at = u32_at(ks->markers + 4 * (uint64_t)(i / CHUNK));
	const uint8_t *tokens = NULL;
	unsigned count = 0;
	size_t n = 0;
	bool type = true;

	for (uint32_t k = 0; k <= i % CHUNK; k++)
		if (!name_step(ks->names, ks->names_bytes, &at, &tokens, &count))
			break;
	for (unsigned k = 0; k < count; k++) {
		for (const uint8_t *c = ks->tokens + ks->token_at[tokens[k]]; *c; c++) {
			if (type) {
				if (ret_type)
					*ret_type = (char)*c;
				type = false;
			} else if (n < KALLSYMS_NAME_MAX - 1) {
				name[n++] = (char)*c;
			}
		}
	}
	name[n] = '\0';
	return n;
}

uint32_t kallsyms_by_name(const struct kallsyms *ks, uint32_t k)
{
	const uint8_t *p = ks->seqs + 3 * (uint64_t)k;
	uint32_t i = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];

	return i < ks->n ? i : ks->n - 1;
}
