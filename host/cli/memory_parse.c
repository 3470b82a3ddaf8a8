/* SPDX-License-Identifier: GPL-2.0-only */
/* Places and values in the kernel's memory as the user writes them (see memory.h). No state. */
#include "host/cli/memory.h"

#include "common/arena.h"
#include "common/parse.h"

#include <stdlib.h>
#include <string.h>

int cli_parse_target(struct arena *arena, char *text, Schedrig__V1__Target **ret, struct err *err)
{
	static const struct {
		const char *prefix;
		Schedrig__V1__Target__FormCase form;
	} addresses[] = {{"direct:", SCHEDRIG__V1__TARGET__FORM_DIRECT},
		{"kva:", SCHEDRIG__V1__TARGET__FORM_KVA}, {"phys:", SCHEDRIG__V1__TARGET__FORM_PHYS}};
	Schedrig__V1__Target *target = arena_alloc(arena, sizeof(*target));
	schedrig__v1__target__init(target);
	*ret = target;
	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
		size_t length = strlen(addresses[i].prefix);
		if (strncmp(text, addresses[i].prefix, length) != 0)
			continue;
		Schedrig__V1__AddressTarget *address = arena_alloc(arena, sizeof(*address));
		schedrig__v1__address_target__init(address);
		if (parse_u64(text + length, &address->address, err) < 0)
			return err_wrap(err, "%s", text);
		target->form_case = addresses[i].form;
		target->direct = address; /* members of a oneof share their place */
		return 0;
	}
	size_t plain = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_$.");
	if (plain == 0 || text[plain] != '+') {
		Schedrig__V1__PathTarget *path = arena_alloc(arena, sizeof(*path));
		schedrig__v1__path_target__init(path);
		path->text = text;
		target->form_case = SCHEDRIG__V1__TARGET__FORM_PATH;
		target->path = path;
		return 0;
	}
	uint64_t offset;
	if (parse_u64(text + plain + 1, &offset, err) < 0)
		return err_wrap(err, "%s", text);
	if (offset > INT64_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "%s: the offset is too large", text);
	Schedrig__V1__SymbolTarget *symbol = arena_alloc(arena, sizeof(*symbol));
	schedrig__v1__symbol_target__init(symbol);
	symbol->name = arena_strndup(arena, text, plain);
	symbol->offset = (int64_t)offset;
	target->form_case = SCHEDRIG__V1__TARGET__FORM_SYMBOL;
	target->symbol = symbol;
	return 0;
}

/* Takes ":u32" or ":bytes=16" off the end of text. UNSET: there was none. */
static int take_width(char *text, Schedrig__V1__Width *ret_width, uint32_t *ret_length, struct err *err)
{
	static const struct {
		const char *name;
		Schedrig__V1__Width width;
	} widths[] = {{"u8", SCHEDRIG__V1__WIDTH__WIDTH_U8}, {"u16", SCHEDRIG__V1__WIDTH__WIDTH_U16},
		{"u32", SCHEDRIG__V1__WIDTH__WIDTH_U32}, {"u64", SCHEDRIG__V1__WIDTH__WIDTH_U64}};
	char *colon = strrchr(text, ':');
	uint64_t length = 0;
	*ret_width = SCHEDRIG__V1__WIDTH__WIDTH_UNSET;
	*ret_length = 0;
	/* The colon of "phys:0x1000" is not the width's. */
	if (!colon || isdigit((unsigned char)colon[1]))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(widths); i++) {
		if (strcmp(colon + 1, widths[i].name) == 0) {
			*ret_width = widths[i].width;
			*colon = '\0';
			return 0;
		}
	}
	if (strncmp(colon + 1, "bytes=", 6) == 0 && parse_u64(colon + 7, &length, err) == 0 &&
		length <= UINT32_MAX) {
		*ret_width = SCHEDRIG__V1__WIDTH__WIDTH_BYTES;
		*ret_length = (uint32_t)length;
		*colon = '\0';
		return 0;
	}
	return err_set(err, ERR_INVALID_ARGUMENT,
		"%s: the width after ':' is one of u8, u16, u32, u64, bytes=LENGTH", text);
}

int cli_parse_read(
	struct arena *arena, const char *word, bool stable, Schedrig__V1__KernelRead **ret, struct err *err)
{
	Schedrig__V1__KernelRead *read = arena_alloc(arena, sizeof(*read));
	char *copy = arena_strdup(arena, word);
	if (!read || !copy)
		return err_set(err, ERR_HOST, "out of memory");
	schedrig__v1__kernel_read__init(read);
	int r = take_width(copy, &read->width, &read->length, err);
	if (r == 0)
		r = cli_parse_target(arena, copy, &read->target, err);
	if (r < 0)
		return r;
	read->stable = stable;
	*ret = read;
	return 0;
}

int cli_parse_assignment(struct arena *arena, char *word, struct cli_assignment *ret, struct err *err)
{
	static const struct {
		char sign;
		enum cli_change change;
	} signs[] = {{'|', CLI_OR}, {'&', CLI_AND}, {'^', CLI_XOR}, {'+', CLI_ADD}};
	char *copy = arena_strdup(arena, word), *equals = strrchr(copy, '=');
	Schedrig__V1__Width width;
	uint32_t length;
	*ret = (struct cli_assignment){.word = word};
	if (!equals || equals == copy)
		return err_set(err, ERR_INVALID_ARGUMENT, "%s: write TARGET=VALUE", word);
	ret->value = equals + 1;
	*equals = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(signs); i++) {
		if (equals[-1] != signs[i].sign)
			continue;
		ret->change = signs[i].change;
		equals[-1] = '\0';
		break;
	}
	size_t n = strlen(copy);
	if (n > 6 && strcmp(copy + n - 6, ":bytes") == 0) {
		ret->is_bytes = true;
		copy[n - 6] = '\0';
		if (ret->change != CLI_SET)
			return err_set(err, ERR_INVALID_ARGUMENT, "%s: bytes can only be set", word);
	} else if (take_width(copy, &width, &length, err) < 0) {
		return err_errno(err->code);
	} else if (width != SCHEDRIG__V1__WIDTH__WIDTH_UNSET) {
		ret->bits = 4u << width; /* U8 is 1, and so on */
	}
	return cli_parse_target(arena, copy, &ret->target, err);
}

/* Hexadecimal digits, two a byte. */
static int parse_hex(
	struct arena *arena, const struct cli_assignment *a, Schedrig__V1__RawBytes *bytes, struct err *err)
{
	size_t n = strlen(a->value);
	if (n == 0 || n % 2 || strspn(a->value, "0123456789abcdefABCDEF") != n)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"%s: bytes are written as hexadecimal digits, two a byte: 00ff10", a->word);
	bytes->data.len = n / 2;
	bytes->data.data = arena_alloc(arena, n / 2);
	for (size_t i = 0; i < n / 2; i++) {
		char pair[3] = {a->value[2 * i], a->value[2 * i + 1], '\0'};
		bytes->data.data[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
	return 0;
}

/* A negative value is the two's complement in its width. */
static int parse_number(const struct cli_assignment *a, unsigned bits, uint64_t *ret, struct err *err)
{
	bool negative = a->value[0] == '-';
	uint64_t value, most = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
	if (parse_u64(a->value + negative, &value, err) < 0)
		return err_wrap(err, "%s", a->word);
	if (negative ? value > (most >> 1) + 1 : value > most)
		return err_set(
			err, ERR_INVALID_ARGUMENT, "%s: the value does not fit into %u bits", a->word, bits);
	*ret = negative ? (0 - value) & most : value;
	return 0;
}

int cli_parse_value(
	struct arena *arena, const struct cli_assignment *a, Schedrig__V1__Value **ret, struct err *err)
{
	static const Schedrig__V1__Value__FormCase sets[] = {[8] = SCHEDRIG__V1__VALUE__FORM_U8,
		[16] = SCHEDRIG__V1__VALUE__FORM_U16,
		[32] = SCHEDRIG__V1__VALUE__FORM_U32,
		[64] = SCHEDRIG__V1__VALUE__FORM_U64};
	static const Schedrig__V1__Value__FormCase changes[][2] = {
		[CLI_OR] = {SCHEDRIG__V1__VALUE__FORM_OR_U32, SCHEDRIG__V1__VALUE__FORM_OR_U64},
		[CLI_AND] = {SCHEDRIG__V1__VALUE__FORM_AND_U32, SCHEDRIG__V1__VALUE__FORM_AND_U64},
		[CLI_XOR] = {SCHEDRIG__V1__VALUE__FORM_XOR_U32, SCHEDRIG__V1__VALUE__FORM_XOR_U64},
		[CLI_ADD] = {SCHEDRIG__V1__VALUE__FORM_ADD_U32, SCHEDRIG__V1__VALUE__FORM_ADD_U64}};
	Schedrig__V1__Value *value = arena_alloc(arena, sizeof(*value));
	schedrig__v1__value__init(value);
	*ret = value;
	if (a->is_bytes) {
		Schedrig__V1__RawBytes *bytes = arena_alloc(arena, sizeof(*bytes));
		schedrig__v1__raw_bytes__init(bytes);
		value->form_case = SCHEDRIG__V1__VALUE__FORM_BYTES;
		value->bytes = bytes;
		return parse_hex(arena, a, bytes, err);
	}
	Schedrig__V1__Uint64Value *number = arena_alloc(arena, sizeof(*number));
	schedrig__v1__uint64_value__init(number);
	int r = parse_number(a, a->bits, &number->value, err);
	if (r < 0)
		return r;
	if (a->change != CLI_SET && a->bits < 32)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"%s: |= &= ^= += are for 32 and 64 bits, and this has %u", a->word, a->bits);
	value->form_case = a->change == CLI_SET ? sets[a->bits] : changes[a->change][a->bits == 64];
	value->u64 = number; /* members of a oneof share their place */
	return 0;
}
