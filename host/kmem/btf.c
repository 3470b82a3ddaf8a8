/* SPDX-License-Identifier: GPL-2.0-only */
/* Reads BTF in place. Built by one thread, read by any. */
#include "host/kmem/btf.h"
#include "host/kmem/suggest.h"

#include <errno.h>
#include <string.h>

#define TYPES_MAX 4000000u
/* typedef of const of typedef ...; nameless structs within each other; dimensions of an array. */
#define CHAIN_MAX 64u
#define NEST_MAX 32u
/* Members looked at for one name; struct rq has about 100, nested ones included. */
#define MEMBERS_MAX 100000u

struct kbtf {
	const struct kbtf *base; /* has the ids and strings before ours; or NULL */
	const uint8_t *types, *strings;
	uint32_t types_bytes, strings_bytes;
	uint32_t first;        /* our first id: 1, or the base's n */
	uint32_t first_string; /* offset of our first string: 0, or the base's end */
	uint32_t n;            /* ids below n exist */
	uint32_t *at;          /* [n - first] offset in types */
};

/* Whose a type is: a base has no base of its own. */
static const struct kbtf *owner(const struct kbtf *btf, uint32_t type)
{
	return type < btf->first && btf->base ? btf->base : btf;
}

static struct btf_type type_get(const struct kbtf *btf, uint32_t type)
{
	struct btf_type t = {0};

	btf = owner(btf, type);
	if (type > 0 && type < btf->n)
		memcpy(&t, btf->types + btf->at[type - btf->first], sizeof(t));
	return t;
}

/* What follows the type's header: checked to lie inside for every type when the index was made. */
static const uint8_t *type_extra(const struct kbtf *btf, uint32_t type)
{
	btf = owner(btf, type);
	return btf->types + btf->at[type - btf->first] + sizeof(struct btf_type);
}

static const char *string_at(const struct kbtf *btf, uint32_t offset)
{
	if (offset < btf->first_string && btf->base)
		return string_at(btf->base, offset);
	offset -= btf->first_string;
	return offset < btf->strings_bytes ? (const char *)btf->strings + offset : "";
}

/* Bytes behind the header of a type of this kind, or -1 for kinds this reader does not know. */
static int64_t extra_bytes(const struct btf_type *t)
{
	uint64_t vlen = BTF_INFO_VLEN(t->info);

	switch (BTF_INFO_KIND(t->info)) {
	case BTF_KIND_INT:
		return 4;
	case BTF_KIND_PTR:
	case BTF_KIND_FWD:
	case BTF_KIND_TYPEDEF:
	case BTF_KIND_VOLATILE:
	case BTF_KIND_CONST:
	case BTF_KIND_RESTRICT:
	case BTF_KIND_FUNC:
	case BTF_KIND_FLOAT:
	case BTF_KIND_TYPE_TAG:
		return 0;
	case BTF_KIND_ARRAY:
		return sizeof(struct btf_array);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		return (int64_t)(vlen * sizeof(struct btf_member));
	case BTF_KIND_ENUM:
		return (int64_t)(vlen * sizeof(struct btf_enum));
	case BTF_KIND_ENUM64:
		return (int64_t)(vlen * sizeof(struct btf_enum64));
	case BTF_KIND_FUNC_PROTO:
		return (int64_t)(vlen * sizeof(struct btf_param));
	case BTF_KIND_VAR:
		return sizeof(struct btf_var);
	case BTF_KIND_DATASEC:
		return (int64_t)(vlen * sizeof(struct btf_var_secinfo));
	case BTF_KIND_DECL_TAG:
		return sizeof(struct btf_decl_tag);
	default:
		return -1;
	}
}

/* One pass over the types; with `at` NULL only counts. */
static int types_walk(const struct kbtf *btf, uint32_t *at, uint32_t *ret_n, struct err *err)
{
	uint32_t n = btf->first, offset = 0;

	while (offset < btf->types_bytes) {
		struct btf_type t;
		int64_t extra;
		if (!range_fits(offset, sizeof(t), btf->types_bytes) || n == TYPES_MAX)
			return err_set(err, ERR_KERNEL_LAYOUT, "BTF ends within type %u", n);
		memcpy(&t, btf->types + offset, sizeof(t));
		extra = extra_bytes(&t);
		if (extra < 0)
			return err_set(err, ERR_KERNEL_LAYOUT, "BTF type %u has the unknown kind %u", n,
				(unsigned)BTF_INFO_KIND(t.info));
		if (!range_fits(offset + sizeof(t), (uint64_t)extra, btf->types_bytes))
			return err_set(err, ERR_KERNEL_LAYOUT, "BTF ends within type %u", n);
		if (at)
			at[n - btf->first] = offset;
		n++;
		offset += (uint32_t)(sizeof(t) + (uint64_t)extra);
	}
	*ret_n = n;
	return 0;
}

struct kbtf *kbtf_new(const uint8_t *bytes, uint64_t length, struct err *err)
{
	return kbtf_new_split(bytes, length, NULL, err);
}

struct kbtf *kbtf_new_split(const uint8_t *bytes, uint64_t length, const struct kbtf *base, struct err *err)
{
	_cleanup_(kbtf_free_p) struct kbtf *btf = calloc(1, sizeof(*btf));
	struct btf_header h;

	if (!btf) {
		(void)err_set(err, ERR_HOST, "out of memory");
		return NULL;
	}
	if (length == 0) {
		(void)err_set(
			err, ERR_KERNEL_LAYOUT, "the kernel has no BTF: it needs CONFIG_DEBUG_INFO_BTF=y");
		return NULL;
	}
	if (length < sizeof(h) || length > UINT32_MAX) {
		(void)err_set(err, ERR_KERNEL_LAYOUT, "BTF is truncated");
		return NULL;
	}
	memcpy(&h, bytes, sizeof(h));
	if (h.magic != BTF_MAGIC || h.version != 1 || h.hdr_len < sizeof(h) || h.hdr_len > length ||
		!range_fits(h.type_off, h.type_len, length - h.hdr_len) ||
		!range_fits(h.str_off, h.str_len, length - h.hdr_len) || h.str_len == 0 ||
		bytes[(uint64_t)h.hdr_len + h.str_off + h.str_len - 1] != '\0') {
		(void)err_set(err, ERR_KERNEL_LAYOUT, "BTF has a damaged header (magic 0x%x, version %u)",
			h.magic, h.version);
		return NULL;
	}
	btf->types = bytes + h.hdr_len + h.type_off;
	btf->types_bytes = h.type_len;
	btf->strings = bytes + h.hdr_len + h.str_off;
	btf->strings_bytes = h.str_len;
	assert(!base || !base->base);
	btf->base = base;
	btf->first = base ? base->n : 1;
	btf->first_string = base ? base->strings_bytes : 0;
	if (types_walk(btf, NULL, &btf->n, err) < 0)
		return NULL;
	btf->at = calloc(btf->n - btf->first + 1, sizeof(*btf->at));
	if (!btf->at) {
		(void)err_set(err, ERR_HOST, "out of memory for %u types", btf->n);
		return NULL;
	}
	if (types_walk(btf, btf->at, &btf->n, err) < 0)
		return NULL;
	return TAKE_PTR(btf);
}

void kbtf_free(struct kbtf *btf)
{
	if (!btf)
		return;
	free(btf->at);
	free(btf);
}

uint32_t kbtf_count(const struct kbtf *btf)
{
	return btf->n;
}

unsigned kbtf_kind(const struct kbtf *btf, uint32_t type)
{
	return BTF_INFO_KIND(type_get(btf, type).info);
}

const char *kbtf_name(const struct kbtf *btf, uint32_t type)
{
	return string_at(btf, type_get(btf, type).name_off);
}

uint32_t kbtf_find(const struct kbtf *btf, unsigned kind, const char *name)
{
	uint32_t id = btf->base ? kbtf_find_own(btf->base, kind, name) : 0;

	return id ? id : kbtf_find_own(btf, kind, name);
}

uint32_t kbtf_find_own(const struct kbtf *btf, unsigned kind, const char *name)
{
	for (uint32_t id = btf->first; id < btf->n; id++) {
		struct btf_type t = type_get(btf, id);
		if (BTF_INFO_KIND(t.info) == kind && strcmp(string_at(btf, t.name_off), name) == 0)
			return id;
	}
	return 0;
}

uint32_t kbtf_resolve(const struct kbtf *btf, uint32_t type)
{
	for (unsigned hop = 0; hop < CHAIN_MAX; hop++) {
		struct btf_type t = type_get(btf, type);
		switch (BTF_INFO_KIND(t.info)) {
		case BTF_KIND_TYPEDEF:
		case BTF_KIND_VOLATILE:
		case BTF_KIND_CONST:
		case BTF_KIND_RESTRICT:
		case BTF_KIND_TYPE_TAG:
			type = t.type;
			break;
		case BTF_KIND_UNKN:
			return 0;
		default:
			return type;
		}
	}
	return 0;
}

uint32_t kbtf_inner(const struct kbtf *btf, uint32_t type)
{
	struct btf_type t = type_get(btf, type);

	switch (BTF_INFO_KIND(t.info)) {
	case BTF_KIND_TYPEDEF:
	case BTF_KIND_VOLATILE:
	case BTF_KIND_CONST:
	case BTF_KIND_RESTRICT:
	case BTF_KIND_TYPE_TAG:
		return t.type;
	default:
		return 0;
	}
}

int kbtf_size(const struct kbtf *btf, uint32_t type, uint64_t *ret_bytes)
{
	uint64_t count = 1, bytes;

	for (unsigned hop = 0; hop < NEST_MAX; hop++) {
		type = kbtf_resolve(btf, type);
		struct btf_type t = type_get(btf, type);
		switch (BTF_INFO_KIND(t.info)) {
		case BTF_KIND_INT:
		case BTF_KIND_STRUCT:
		case BTF_KIND_UNION:
		case BTF_KIND_ENUM:
		case BTF_KIND_ENUM64:
		case BTF_KIND_FLOAT:
		case BTF_KIND_DATASEC:
			bytes = t.size;
			break;
		case BTF_KIND_PTR:
			bytes = 8;
			break;
		case BTF_KIND_ARRAY: {
			struct btf_array array;
			memcpy(&array, type_extra(btf, type), sizeof(array));
			if (__builtin_mul_overflow(count, array.nelems, &count))
				return -ERANGE;
			type = array.type;
			continue;
		}
		default:
			return -ERANGE;
		}
		return __builtin_mul_overflow(count, bytes, ret_bytes) ? -ERANGE : 0;
	}
	return -ERANGE;
}

bool kbtf_is_signed(const struct kbtf *btf, uint32_t type)
{
	struct btf_type t;
	uint32_t encoding;

	type = kbtf_resolve(btf, type);
	t = type_get(btf, type);
	switch (BTF_INFO_KIND(t.info)) {
	case BTF_KIND_INT:
		memcpy(&encoding, type_extra(btf, type), sizeof(encoding));
		return BTF_INT_ENCODING(encoding) & BTF_INT_SIGNED;
	case BTF_KIND_ENUM:
	case BTF_KIND_ENUM64:
		return BTF_INFO_KFLAG(t.info);
	default:
		return false;
	}
}

uint32_t kbtf_target(const struct kbtf *btf, uint32_t type, uint32_t *ret_length)
{
	struct btf_array array;
	struct btf_type t;

	type = kbtf_resolve(btf, type);
	t = type_get(btf, type);
	if (ret_length)
		*ret_length = 0;
	if (BTF_INFO_KIND(t.info) == BTF_KIND_PTR)
		return t.type;
	if (BTF_INFO_KIND(t.info) != BTF_KIND_ARRAY)
		return 0;
	memcpy(&array, type_extra(btf, type), sizeof(array));
	if (ret_length)
		*ret_length = array.nelems;
	return array.type;
}

int kbtf_per_cpu(const struct kbtf *btf, const char *name, uint32_t *ret_type, struct err *err)
{
	uint32_t section = kbtf_find(btf, BTF_KIND_DATASEC, ".data..percpu");
	unsigned n = BTF_INFO_VLEN(type_get(btf, section).info);
	struct suggest near;
	char text[256];

	suggest_init(&near, name, strlen(name));
	for (unsigned i = 0; section && i < n; i++) {
		struct btf_var_secinfo info;
		struct btf_type var;
		memcpy(&info, type_extra(btf, section) + i * sizeof(info), sizeof(info));
		var = type_get(btf, info.type);
		if (BTF_INFO_KIND(var.info) != BTF_KIND_VAR)
			continue;
		const char *other = string_at(btf, var.name_off);
		if (strcmp(other, name) == 0) {
			*ret_type = var.type;
			return 0;
		}
		if (err)
			suggest_offer(&near, other, strlen(other));
	}
	return err_set(err, ERR_NOT_FOUND, "the kernel's BTF has no per-CPU variable '%s'%s", name,
		suggest_text(&near, text, sizeof(text)));
}

/* Where the search of one member stands. */
struct search {
	const char *name;
	size_t length;
	unsigned budget;
	struct suggest *near; /* or NULL */
};

/* In bits from the start of the outermost struct. */
static bool member_search(const struct kbtf *btf, struct search *s, uint32_t type, unsigned depth,
	uint64_t base_bits, struct btf_member *ret_member, uint64_t *ret_bits, unsigned *ret_bit_size)
{
	struct btf_type t = type_get(btf, type);
	unsigned n = BTF_INFO_VLEN(t.info);

	for (unsigned i = 0; i < n && s->budget > 0; i++, s->budget--) {
		struct btf_member m;
		memcpy(&m, type_extra(btf, type) + i * sizeof(m), sizeof(m));
		const char *name = string_at(btf, m.name_off);
		unsigned bit_size = BTF_INFO_KFLAG(t.info) ? BTF_MEMBER_BITFIELD_SIZE(m.offset) : 0;
		uint64_t bits =
			base_bits + (BTF_INFO_KFLAG(t.info) ? BTF_MEMBER_BIT_OFFSET(m.offset) : m.offset);
		if (*name == '\0') {
			uint32_t inner = kbtf_resolve(btf, m.type);
			unsigned kind = kbtf_kind(btf, inner);
			if ((kind == BTF_KIND_STRUCT || kind == BTF_KIND_UNION) && depth < NEST_MAX &&
				member_search(
					btf, s, inner, depth + 1, bits, ret_member, ret_bits, ret_bit_size))
				return true;
			if (s->budget == 0)
				return false;
			continue;
		}
		size_t length = strlen(name);
		if (length == s->length && memcmp(name, s->name, length) == 0) {
			*ret_member = m;
			*ret_bits = bits;
			*ret_bit_size = bit_size;
			return true;
		}
		if (s->near)
			suggest_offer(s->near, name, length);
	}
	return false;
}

static const char *type_text(const struct kbtf *btf, uint32_t type, char *buffer, size_t size)
{
	static const char *const words[] = {[BTF_KIND_INT] = "",
		[BTF_KIND_PTR] = "a pointer",
		[BTF_KIND_ARRAY] = "an array",
		[BTF_KIND_STRUCT] = "struct ",
		[BTF_KIND_UNION] = "union ",
		[BTF_KIND_ENUM] = "enum ",
		[BTF_KIND_ENUM64] = "enum ",
		[BTF_KIND_FWD] = "incomplete struct ",
		[BTF_KIND_DATASEC] = "section "};
	unsigned kind = kbtf_kind(btf, type);
	const char *word = kind < ARRAY_SIZE(words) && words[kind] ? words[kind] : "";

	snprintf(buffer, size, "%s%.64s", word, kbtf_name(btf, type));
	if (buffer[0] == '\0' || buffer[strlen(buffer) - 1] == ' ')
		snprintf(buffer, size, "%s(nameless)", word);
	return buffer;
}

static void place_size(const struct kbtf *btf, struct kbtf_place *place)
{
	if (kbtf_size(btf, place->type, &place->size_bytes) < 0)
		place->size_bytes = 0;
}

/* Goes to a member `bits` further on. */
static void place_set(
	const struct kbtf *btf, struct kbtf_place *in, uint32_t type, uint64_t bits, unsigned bit_size)
{
	in->type = type;
	place_size(btf, in);
	in->bit_size = (uint8_t)bit_size;
	in->bit_offset = 0;
	if (bit_size == 0) {
		in->offset_bytes += bits / 8;
		return;
	}
	/* The bit field's word: aligned as its declared type, so that one access of that size holds it. */
	uint64_t word = in->size_bytes > 0 && in->size_bytes <= 8 ? in->size_bytes : 1;
	in->offset_bytes += bits / 8 / word * word;
	in->bit_offset = (uint8_t)(bits - bits / 8 / word * word * 8);
}

/* The variable of that name in a section of data. */
static bool variable_search(const struct kbtf *btf, struct search *s, uint32_t section, struct kbtf_place *in)
{
	unsigned n = BTF_INFO_VLEN(type_get(btf, section).info);

	for (unsigned i = 0; i < n; i++) {
		struct btf_var_secinfo info;
		memcpy(&info, type_extra(btf, section) + i * sizeof(info), sizeof(info));
		struct btf_type var = type_get(btf, info.type);
		const char *name = string_at(btf, var.name_off);
		if (BTF_INFO_KIND(var.info) != BTF_KIND_VAR)
			continue;
		if (strlen(name) == s->length && memcmp(name, s->name, s->length) == 0) {
			place_set(btf, in, var.type, (uint64_t)info.offset * 8, 0);
			return true;
		}
		if (s->near)
			suggest_offer(s->near, name, strlen(name));
	}
	return false;
}

int kbtf_member(
	const struct kbtf *btf, struct kbtf_place *in, const char *name, size_t name_length, struct err *err)
{
	uint32_t type = kbtf_resolve(btf, in->type);
	unsigned kind = kbtf_kind(btf, type), bit_size;
	struct suggest near;
	struct search s = {name, name_length, MEMBERS_MAX, err ? &near : NULL};
	struct btf_member m;
	uint64_t bits;
	char text[256], what[96];

	if (kind != BTF_KIND_STRUCT && kind != BTF_KIND_UNION && kind != BTF_KIND_DATASEC) {
		(void)err_set(err, ERR_INVALID_ARGUMENT, "%s has no members, so no '%.*s'%s",
			type_text(btf, type, what, sizeof(what)), (int)MIN_OF(name_length, 64), name,
			kind == BTF_KIND_PTR ? "; follow the pointer with ->" : "");
		(void)err_reason(err, "not-a-struct");
		return -EINVAL;
	}
	suggest_init(&near, name, name_length);
	if (kind == BTF_KIND_DATASEC && name_length > 0 && variable_search(btf, &s, type, in))
		return 0;
	if (kind == BTF_KIND_DATASEC || name_length == 0 ||
		!member_search(btf, &s, type, 0, 0, &m, &bits, &bit_size)) {
		(void)err_set(err, ERR_NOT_FOUND, "%s has no member '%.*s' in this kernel%s",
			type_text(btf, type, what, sizeof(what)), (int)MIN_OF(name_length, 64), name,
			suggest_text(&near, text, sizeof(text)));
		(void)err_reason(err, "no-such-member");
		return -ENOENT;
	}
	place_set(btf, in, m.type, bits, bit_size);
	return 0;
}

bool kbtf_member_at(const struct kbtf *btf, uint32_t type, unsigned i, struct kbtf_place *ret_place,
	const char **ret_name)
{
	struct btf_type t;
	struct btf_member m;

	type = kbtf_resolve(btf, type);
	t = type_get(btf, type);
	unsigned kind = BTF_INFO_KIND(t.info);
	if ((kind != BTF_KIND_STRUCT && kind != BTF_KIND_UNION) || i >= BTF_INFO_VLEN(t.info))
		return false;
	memcpy(&m, type_extra(btf, type) + i * sizeof(m), sizeof(m));
	bool packed = BTF_INFO_KFLAG(t.info);
	*ret_place = (struct kbtf_place){0};
	place_set(btf, ret_place, m.type, packed ? BTF_MEMBER_BIT_OFFSET(m.offset) : m.offset,
		packed ? BTF_MEMBER_BITFIELD_SIZE(m.offset) : 0);
	*ret_name = string_at(btf, m.name_off);
	return true;
}

int kbtf_element(const struct kbtf *btf, struct kbtf_place *in, uint64_t index, struct err *err)
{
	uint32_t length, type = kbtf_resolve(btf, in->type);
	uint32_t element = kbtf_target(btf, type, &length);
	uint64_t size, offset;

	if (kbtf_kind(btf, type) != BTF_KIND_ARRAY) {
		(void)err_set(err, ERR_INVALID_ARGUMENT, "only arrays have elements");
		(void)err_reason(err, "not-an-array");
		return -EINVAL;
	}
	if ((length > 0 && index >= length) || kbtf_size(btf, element, &size) < 0 ||
		__builtin_mul_overflow(index, size, &offset) ||
		__builtin_add_overflow(in->offset_bytes, offset, &in->offset_bytes)) {
		(void)err_set(err, ERR_INVALID_ARGUMENT, "element %llu is beyond the array's %u",
			(unsigned long long)index, length);
		(void)err_reason(err, "index-out-of-range");
		return -EINVAL;
	}
	in->type = element;
	in->size_bytes = size;
	in->bit_size = in->bit_offset = 0;
	return 0;
}

int kbtf_path(const struct kbtf *btf, uint32_t type, const char *path, struct kbtf_place *ret_place,
	struct err *err)
{
	struct kbtf_place place = {.type = type};
	const char *p = path;
	int rc;

	place_size(btf, &place);
	while (*p) {
		if (*p == '[') {
			char *end;
			errno = 0;
			uint64_t index = strtoull(p + 1, &end, 0);
			if (p[1] < '0' || p[1] > '9' || *end != ']' || errno)
				return err_set(err, ERR_INVALID_ARGUMENT,
					"'%s' column %d: expected a number and ']'", path,
					(int)(p - path) + 2);
			rc = kbtf_element(btf, &place, index, err);
			p = end + 1;
		} else {
			p += *p == '.' && p != path;
			size_t length = strcspn(p, ".[");
			rc = kbtf_member(btf, &place, p, length, err);
			p += length;
		}
		if (rc < 0)
			return rc;
	}
	*ret_place = place;
	return 0;
}

int kbtf_enumerator(
	const struct kbtf *btf, const char *enum_name, const char *name, int64_t *ret_value, struct err *err)
{
	uint32_t type = kbtf_find(btf, BTF_KIND_ENUM, enum_name);
	struct btf_type t = type_get(btf, type);
	const uint8_t *at = type ? type_extra(btf, type) : NULL;

	for (unsigned i = 0; type && i < BTF_INFO_VLEN(t.info); i++) {
		struct btf_enum e;

		memcpy(&e, at + i * sizeof(e), sizeof(e));
		if (strcmp(string_at(btf, e.name_off), name) != 0)
			continue;
		*ret_value = BTF_INFO_KFLAG(t.info) ? e.val : (int64_t)(uint32_t)e.val;
		return 0;
	}
	return err_set(err, ERR_NOT_FOUND, "this kernel's enum %s has no %s", enum_name, name);
}
