/* SPDX-License-Identifier: GPL-2.0-only */
/* The part of a path that is about BPF maps: which map, which element, and the type of its value. No state
 * beyond a call, any thread. */
#include "host/kmem/bpf_map.h"
#include "host/kmem/guest_btf.h"
#include "host/kmem/path_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* What is in the parentheses behind the word `map`: a name in quotes, or an id. */
static int map_find(struct path *path, struct kmem_map *ret_map, struct err *err)
{
	const char *at = path->p;
	uint64_t id;
	int rc;

	if (*at != '"') {
		if (*at < '0' || *at > '9')
			return path_fail(path, at, err, "expected a BPF map's name in quotes, or its id");
		rc = path_number(path, &id, err);
		if (rc < 0)
			return rc;
		rc = kmem_map_by_id(path->kmem, (uint32_t)MIN_OF(id, UINT32_MAX), ret_map, err);
		return rc < 0 ? path_locate(path, at, rc, err) : 0;
	}
	const char *close = strchr(at + 1, '"');
	if (!close || close == at + 1)
		return path_fail(path, at, err, close ? "expected a name" : "this quote is not closed");
	path->p = close + 1;
	rc = kmem_map_find(path->kmem, at + 1, (size_t)(close - at - 1), ret_map, err);
	return rc < 0 ? path_locate(path, at, rc, err) : 0;
}

/* ---- keys */

static int key_form(struct err *err)
{
	(void)err_reason(err, "key-form");
	return -EINVAL;
}

static int key_check_size(
	const struct path *path, const char *at, const struct kmem_map *map, struct err *err)
{
	if (map->key_bytes && map->key_bytes <= KMEM_MAP_KEY_MAX)
		return 0;
	(void)err_set(err, ERR_INVALID_ARGUMENT,
		"'%s' column %d: keys of this map have %" PRIu32 " bytes, and such of 1 to %u can be given",
		path->text, (int)(at - path->text) + 1, map->key_bytes, KMEM_MAP_KEY_MAX);
	return key_form(err);
}

/* Text, and zeros behind it. */
static int key_text(struct path *path, const struct kmem_map *map, struct kmem_map_key *ret, struct err *err)
{
	const char *at = path->p, *close = strchr(at + 1, '"');
	int rc;

	if (!close)
		return path_fail(path, at, err, "this quote is not closed");
	size_t length = (size_t)(close - at - 1);
	rc = key_check_size(path, at, map, err);
	if (rc < 0)
		return rc;
	if (length > map->key_bytes) {
		(void)err_set(err, ERR_INVALID_ARGUMENT,
			"'%s' column %d: this text has %zu bytes, and keys of this map have %" PRIu32,
			path->text, (int)(at - path->text) + 1, length, map->key_bytes);
		return key_form(err);
	}
	memcpy(ret->bytes, at + 1, length);
	path->p = close + 1;
	return 0;
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

/* Bytes as they are in memory. */
static int key_hex(struct path *path, const struct kmem_map *map, struct kmem_map_key *ret, struct err *err)
{
	const char *at = path->p;
	size_t n = 0;
	int rc = key_check_size(path, at, map, err);

	if (rc < 0)
		return rc;
	for (path->p += strlen("hex("); *path->p && *path->p != ')';) {
		int high = hex_digit(path->p[0]), low = high < 0 ? -1 : hex_digit(path->p[1]);
		if (*path->p == ' ') {
			path->p++;
			continue;
		}
		if (low < 0)
			return path_fail(path, path->p, err, "expected bytes of two hexadecimal digits");
		if (n < map->key_bytes)
			ret->bytes[n] = (uint8_t)(high << 4 | low);
		n++;
		path->p += 2;
	}
	if (*path->p != ')')
		return path_fail(path, at, err, "this parenthesis is not closed");
	path->p++;
	if (n == map->key_bytes)
		return 0;
	(void)err_set(err, ERR_INVALID_ARGUMENT,
		"'%s' column %d: these are %zu bytes, and keys of this map have %" PRIu32, path->text,
		(int)(at - path->text) + 1, n, map->key_bytes);
	return key_form(err);
}

/* One number for each member of the struct that the map's keys are. */
static int key_members(struct path *path, const struct kmem_map *map, uint64_t first,
	struct kmem_map_key *ret, struct err *err)
{
	const char *at = path->p, *name;
	const struct kbtf *btf;
	struct kbtf_place member;
	uint64_t value = first;
	uint32_t type;
	int rc = key_check_size(path, at, map, err);

	if (rc < 0)
		return rc;
	if (!map->key_type)
		return path_fail(
			path, at, err, "the type of this map's keys is not known: give one as hex(...)");
	rc = kmem_guest_btf(path->kmem, map->btf, &btf, err);
	if (rc < 0)
		return path_locate(path, at, rc, err);
	type = kbtf_resolve(btf, map->key_type);
	if (kbtf_kind(btf, type) != BTF_KIND_STRUCT)
		return path_fail(path, at, err, "keys of this map are no structs: one number is expected");
	for (unsigned i = 0;; i++) {
		if (!kbtf_member_at(btf, type, i, &member, &name))
			return path_fail(path, path->p, err,
				"the struct that this map's keys are has no more members");
		unsigned kind = kbtf_kind(btf, kbtf_resolve(btf, member.type));
		if (member.bit_size || member.size_bytes == 0 || member.size_bytes > sizeof(value) ||
			kind == BTF_KIND_STRUCT || kind == BTF_KIND_UNION || kind == BTF_KIND_ARRAY ||
			member.offset_bytes + member.size_bytes > map->key_bytes)
			return path_fail(path, path->p, err,
				"not every member of this map's keys is a number: give one as hex(...)");
		if (member.size_bytes < sizeof(value) && value >> 8 * member.size_bytes)
			return path_fail(
				path, path->p, err, "the number before this does not fit the key's member");
		memcpy(ret->bytes + member.offset_bytes, &value, member.size_bytes);
		if (*path->p != ',') {
			if (!kbtf_member_at(btf, type, i + 1, &member, &name))
				return 0;
			return path_fail(path, path->p, err,
				"the struct that this map's keys are has more members: expected ','");
		}
		path->p++;
		path_skip_spaces(path);
		rc = path_number(path, &value, err);
		if (rc < 0)
			return rc;
	}
}

static int key_number(
	struct path *path, const struct kmem_map *map, struct kmem_map_key *ret, struct err *err)
{
	const char *at = path->p;
	uint64_t number;
	int rc = path_number(path, &number, err);

	if (rc == 0 && *path->p == ',')
		return key_members(path, map, number, ret, err);
	if (rc < 0)
		return rc;
	ret->is_number = true;
	ret->number = number;
	if (!kmem_map_has_keys(map))
		return 0;
	if (map->key_bytes > sizeof(number)) {
		(void)err_set(err, ERR_INVALID_ARGUMENT,
			"'%s' column %d: keys of this map have %" PRIu32
			" bytes: give one as \"text\", as hex(...) or, of a struct, as a number for each "
			"member",
			path->text, (int)(at - path->text) + 1, map->key_bytes);
		return key_form(err);
	}
	if (map->key_bytes < sizeof(number) && number >> 8 * map->key_bytes) {
		(void)err_set(err, ERR_INVALID_ARGUMENT,
			"'%s' column %d: the key does not fit: keys of this map have %" PRIu32 " bytes",
			path->text, (int)(at - path->text) + 1, map->key_bytes);
		return key_form(err);
	}
	memcpy(ret->bytes, &number, sizeof(number));
	return 0;
}

/* What is in the brackets. */
static int map_key(struct path *path, const struct kmem_map *map, struct kmem_map_key *ret, struct err *err)
{
	int rc;

	path->p++;
	path_skip_spaces(path);
	if (*path->p == '"')
		rc = key_text(path, map, ret, err);
	else if (strncmp(path->p, "hex(", strlen("hex(")) == 0)
		rc = key_hex(path, map, ret, err);
	else
		rc = key_number(path, map, ret, err);
	path_skip_spaces(path);
	if (rc == 0 && *path->p != ']')
		rc = path_fail(path, path->p, err, "expected ']'");
	path->p += rc == 0;
	return rc;
}

/* ---- values */

/* Gives the value the type that the map's own BTF has for it, or the kernel's where it is of the kernel's. */
static int map_type(struct path *path, const char *at, const struct kmem_map *map, struct err *err)
{
	static const char inner[] = "struct bpf_map *";
	uint64_t size;
	int rc;

	if (kmem_map_holds_maps(map))
		return path_type_set(path, at, inner, strlen(inner), err);
	path->place = (struct kbtf_place){.size_bytes = map->value_bytes};
	if (map->value_type == 0)
		return 0;
	if (kmem_map_is_kernels(map)) {
		path->btf = kmem_btf(path->kmem, err);
		rc = path->btf ? 0 : -ENOTSUP;
	} else {
		rc = kmem_guest_btf(path->kmem, map->btf, &path->btf, err);
	}
	if (rc < 0)
		return path_locate(path, at, rc, err);
	/* The kernel has checked this when the map was made. */
	if (kbtf_size(path->btf, map->value_type, &size) < 0 || size > map->value_bytes) {
		path->btf = NULL;
		rc = err_set(err, ERR_KERNEL_LAYOUT,
			"the type of the BPF map's value does not fit its %u bytes", map->value_bytes);
		return path_locate(path, at, rc, err);
	}
	path->place = (struct kbtf_place){.type = map->value_type, .size_bytes = size};
	path->typed = true;
	return 0;
}

int path_map(struct path *path, const char *at, struct err *err)
{
	struct kmem_map_key key = {0};
	struct kmem_map map = {0};
	unsigned hops;
	int rc;

	path->p++;
	path_skip_spaces(path);
	rc = map_find(path, &map, err);
	path->hops += map.hops;
	path_skip_spaces(path);
	if (rc == 0 && *path->p != ')')
		rc = path_fail(path, path->p, err, "expected ')'");
	if (rc < 0)
		return rc;
	const char *at_key = ++path->p;
	if (*path->p == '[') {
		rc = map_key(path, &map, &key, err);
		if (rc < 0)
			return rc;
	} else if (kmem_map_has_keys(&map) || map.max_entries != 1) {
		return path_fail(path, at_key, err, "the map has many elements: expected '[', a key and ']'");
	} else {
		key.is_number = true;
	}
	rc = kmem_map_element(path->kmem, &map, &key, &path->address, &hops, err);
	path->hops += hops;
	if (rc < 0)
		return path_locate(path, at_key, rc, err);
	if (kmem_map_is_per_cpu(&map))
		rc = path_cpu(path, "map", err);
	else if (*path->p == '@')
		rc = path_fail(path, path->p, err, "this map is not per CPU");
	path->route.fixed = false;
	if (rc == 0 && !path->typed)
		rc = map_type(path, at, &map, err);
	return rc;
}
