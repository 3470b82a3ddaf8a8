/* SPDX-License-Identifier: GPL-2.0-only */
/* BPF maps and their elements. No state, any thread. */
#include "host/kmem/bpf_map.h"
#include "host/kmem/idr.h"
#include "host/kmem/map_storage.h"
#include "host/kmem/member.h"
#include "host/kmem/suggest.h"
#include "host/kmem/task.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <string.h>

/* Ids listed when a name is not one map's alone. */
#define AMBIGUOUS_LIST 8
/* What a node of the table of maps costs, as elements of a map: with its maps, whose names are read. */
#define NODE_HOPS 32u
/* include/linux/list_nulls.h: the end of a list is an odd number. */
#define NULLS_END 1u
/* include/uapi/linux/bpf.h, for headers before Linux 6.2. */
#define MAP_TYPE_CGRP_STORAGE 32u

static int map_read(const struct kmem *kmem, gva_t at, struct kmem_map *ret, struct err *err)
{
	static const struct {
		const char *member;
		size_t offset;
	} numbers[] = {
		{"id", offsetof(struct kmem_map, id)},
		{"map_type", offsetof(struct kmem_map, kind)},
		{"key_size", offsetof(struct kmem_map, key_bytes)},
		{"value_size", offsetof(struct kmem_map, value_bytes)},
		{"max_entries", offsetof(struct kmem_map, max_entries)},
		{"btf_key_type_id", offsetof(struct kmem_map, key_type)},
		{"btf_value_type_id", offsetof(struct kmem_map, value_type)},
	};
	struct kbtf_place name;
	int rc;

	*ret = (struct kmem_map){.at = at};
	for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++) {
		uint64_t value;
		rc = kmem_member_read(kmem, at, "bpf_map", numbers[i].member, &value, err);
		if (rc < 0)
			return rc;
		memcpy((char *)ret + numbers[i].offset, &(uint32_t){(uint32_t)value}, sizeof(uint32_t));
	}
	rc = kmem_member_read(kmem, at, "bpf_map", "btf", &ret->btf.v, err);
	if (rc == 0)
		rc = kmem_struct_member(kmem, "bpf_map", "name", &name, err);
	if (rc == 0)
		rc = kmem_copy(kmem, GVA(at.v + name.offset_bytes), ret->name,
			MIN_OF(name.size_bytes, sizeof(ret->name)), err);
	ret->name[sizeof(ret->name) - 1] = '\0';
	for (char *c = ret->name; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	if (ret->btf.v == 0)
		ret->key_type = ret->value_type = 0;
	if (rc == 0 && kmem_map_is_kernels(ret)) {
		uint64_t type;
		rc = kmem_member_read(kmem, at, "bpf_map", "btf_vmlinux_value_type_id", &type, err);
		ret->value_type = rc == 0 ? (uint32_t)type : 0;
	}
	return rc;
}

int kmem_map_next(
	const struct kmem *kmem, uint64_t *id, unsigned *budget, struct kmem_map *ret_map, struct err *err)
{
	gva_t table, at;
	int rc = kmem_symbol(kmem, "map_idr", &table, err);

	if (rc == 0)
		rc = kmem_idr_next(kmem, table, id, budget, &at, err);
	if (rc <= 0)
		return rc;
	rc = map_read(kmem, at, ret_map, err);
	return rc < 0 ? rc : 1;
}

static int no_map(struct err *err)
{
	(void)err_reason(err, "no-such-map");
	return -ENOENT;
}

int kmem_map_by_id(const struct kmem *kmem, uint32_t id, struct kmem_map *ret_map, struct err *err)
{
	gva_t table, at;
	int rc = kmem_symbol(kmem, "map_idr", &table, err);

	if (rc == 0)
		rc = kmem_idr_find(kmem, table, id, &at, err);
	if (rc < 0)
		return rc;
	if (rc == 0) {
		(void)err_set(err, ERR_NOT_FOUND, "no BPF map has the id %" PRIu32, id);
		return no_map(err);
	}
	return map_read(kmem, at, ret_map, err);
}

int kmem_map_find(
	const struct kmem *kmem, const char *name, size_t length, struct kmem_map *ret_map, struct err *err)
{
	const unsigned nodes_max =
		(unsigned)MIN_OF(KMEM_IDR_NODES_MAX, kmem_batch_hops(kmem) / NODE_HOPS + 1);
	unsigned budget = nodes_max, found = 0, listed = 0;
	char ids[AMBIGUOUS_LIST * 12] = "", text[256];
	struct kmem_map map;
	struct suggest near;
	uint64_t id = 0;
	int rc;

	suggest_init(&near, name, length);
	for (; (rc = kmem_map_next(kmem, &id, &budget, &map, err)) > 0; id++) {
		size_t used = strlen(ids);
		if (err)
			suggest_offer(&near, map.name, strlen(map.name));
		if (strlen(map.name) != length || memcmp(map.name, name, length) != 0)
			continue;
		if (found++ == 0)
			*ret_map = map;
		if (listed++ < AMBIGUOUS_LIST)
			snprintf(ids + used, sizeof(ids) - used, "%s%" PRIu32, used ? ", " : "", map.id);
	}
	ret_map->hops = (uint64_t)NODE_HOPS * (nodes_max - budget);
	if (rc < 0)
		return rc;
	if (found > 1)
		return err_set(err, ERR_AMBIGUOUS,
			"%u BPF maps have the name '%.*s', with the ids %s%s: say which, as in map(ID)",
			found, (int)length, name, ids, found > AMBIGUOUS_LIST ? ", ..." : "");
	if (found == 1)
		return 0;
	(void)err_set(err, ERR_NOT_FOUND, "no BPF map has the name '%.*s'%s%s", (int)MIN_OF(length, 64), name,
		length >= KMEM_MAP_NAME_MAX ? " (the kernel cuts names off after 15 bytes)" : "",
		err ? suggest_text(&near, text, sizeof(text)) : "");
	return no_map(err);
}

bool kmem_map_is_per_cpu(const struct kmem_map *map)
{
	return map->kind == BPF_MAP_TYPE_PERCPU_ARRAY || map->kind == BPF_MAP_TYPE_PERCPU_HASH ||
	       map->kind == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

static bool is_array(const struct kmem_map *map)
{
	return map->kind == BPF_MAP_TYPE_ARRAY || map->kind == BPF_MAP_TYPE_PERCPU_ARRAY ||
	       map->kind == BPF_MAP_TYPE_ARRAY_OF_MAPS;
}

static bool is_storage(const struct kmem_map *map)
{
	return map->kind == BPF_MAP_TYPE_TASK_STORAGE || map->kind == MAP_TYPE_CGRP_STORAGE;
}

bool kmem_map_has_keys(const struct kmem_map *map)
{
	return map->kind == BPF_MAP_TYPE_HASH || map->kind == BPF_MAP_TYPE_LRU_HASH ||
	       map->kind == BPF_MAP_TYPE_PERCPU_HASH || map->kind == BPF_MAP_TYPE_LRU_PERCPU_HASH ||
	       map->kind == BPF_MAP_TYPE_HASH_OF_MAPS;
}

bool kmem_map_is_kernels(const struct kmem_map *map)
{
	return map->kind == BPF_MAP_TYPE_STRUCT_OPS;
}

bool kmem_map_holds_maps(const struct kmem_map *map)
{
	return map->kind == BPF_MAP_TYPE_ARRAY_OF_MAPS || map->kind == BPF_MAP_TYPE_HASH_OF_MAPS;
}

/* struct bpf_array, include/linux/bpf.h. */
static int array_element(const struct kmem *kmem, const struct kmem_map *map, uint64_t index,
	gva_t *ret_value, struct err *err)
{
	/* An array of pointers: to maps, or to what each CPU has its own of. */
	bool per_cpu = kmem_map_is_per_cpu(map), pointers = per_cpu || kmem_map_holds_maps(map);
	struct kbtf_place values;
	uint64_t stride = sizeof(uint64_t);
	int rc;

	if (index >= map->max_entries) {
		rc = err_set(err, ERR_INVALID_ARGUMENT, "element %" PRIu64 " is beyond the map's %" PRIu32,
			index, map->max_entries);
		(void)err_reason(err, "index-out-of-range");
		return rc;
	}
	rc = kmem_struct_member(kmem, "bpf_array",
		per_cpu    ? "pptrs"
		: pointers ? "ptrs"
			   : "value",
		&values, err);
	if (rc == 0 && !pointers)
		rc = kmem_member_read(kmem, map->at, "bpf_array", "elem_size", &stride, err);
	if (rc < 0)
		return rc;
	/* Both are 32-bit numbers. */
	gva_t at = GVA(map->at.v + values.offset_bytes + stride * index);
	if (!per_cpu) {
		*ret_value = at;
		return 0;
	}
	return kmem_copy(kmem, at, &ret_value->v, sizeof(ret_value->v), err);
}

unsigned kmem_map_hops_max(const struct kmem *kmem)
{
	return (unsigned)MIN_OF(KMEM_MAP_HOPS_MAX, kmem_batch_hops(kmem));
}

/* Walks one list of struct htab_elem (kernel/bpf/hashtab.c). 1: *ret_elem has the key. */
static int bucket_find(const struct kmem *kmem, gva_t bucket, const uint8_t *key, uint32_t key_bytes,
	uint64_t key_offset, unsigned *hops, gva_t *ret_elem, struct err *err)
{
	uint64_t elem;
	int rc = kmem_copy(kmem, bucket, &elem, sizeof(elem), err);

	while (rc == 0 && !(elem & NULLS_END)) {
		uint8_t found[KMEM_MAP_KEY_MAX];
		if (elem == 0)
			return err_set(err, ERR_UNMAPPED, "a list of the BPF map is damaged");
		if ((*hops)++ >= kmem_map_hops_max(kmem))
			return err_set(err, ERR_LIMIT_EXCEEDED,
				"the key is not among the first %u elements of the BPF map",
				kmem_map_hops_max(kmem));
		rc = kmem_copy(kmem, GVA(elem + key_offset), found, key_bytes, err);
		if (rc == 0 && memcmp(found, key, key_bytes) == 0) {
			*ret_elem = GVA(elem);
			return 1;
		}
		/* hash_node, the first member, begins with the pointer to the next. */
		if (rc == 0)
			rc = kmem_copy(kmem, GVA(elem), &elem, sizeof(elem), err);
	}
	return rc;
}

static int key_form(struct err *err, const char *what)
{
	int rc = err_set(err, ERR_INVALID_ARGUMENT, "%s", what);

	(void)err_reason(err, "key-form");
	return rc;
}

static int hash_element(const struct kmem *kmem, const struct kmem_map *map, const struct kmem_map_key *key,
	gva_t *ret_value, unsigned *ret_hops, struct err *err)
{
	uint64_t buckets, n_buckets, stride;
	struct kbtf_place key_place, head;
	unsigned hops = 0;
	gva_t elem = GVA(0);
	int rc;

	if (map->key_bytes == 0 || map->key_bytes > KMEM_MAP_KEY_MAX)
		return key_form(err, "keys of this map are too long to be given");
	rc = kmem_member_read(kmem, map->at, "bpf_htab", "buckets", &buckets, err);
	if (rc == 0)
		rc = kmem_member_read(kmem, map->at, "bpf_htab", "n_buckets", &n_buckets, err);
	if (rc == 0)
		rc = kmem_struct_member(kmem, "bucket", "", &head, err);
	if (rc == 0)
		rc = kmem_struct_member(kmem, "htab_elem", "key", &key_place, err);
	if (rc < 0)
		return rc;
	stride = head.size_bytes;
	/* The hash is seeded and its function a detail: all lists are looked through. */
	for (uint64_t i = 0; i < n_buckets && rc == 0; i++) {
		if (hops++ >= kmem_map_hops_max(kmem))
			rc = err_set(err, ERR_LIMIT_EXCEEDED, "the BPF map has too many buckets: %" PRIu64,
				n_buckets);
		else
			rc = bucket_find(kmem, GVA(buckets + i * stride), key->bytes, map->key_bytes,
				key_place.offset_bytes, &hops, &elem, err);
	}
	*ret_hops = hops;
	if (rc < 0)
		return rc;
	if (rc == 0) {
		rc = key->is_number ? err_set(err, ERR_NOT_FOUND,
					      "the BPF map has no element with the key %" PRIu64, key->number)
				    : err_set(err, ERR_NOT_FOUND, "the BPF map has no element with that key");
		(void)err_reason(err, "no-such-key");
		return rc;
	}
	gva_t value = GVA(elem.v + key_place.offset_bytes + round_up_u64(map->key_bytes, 8));
	if (!kmem_map_is_per_cpu(map)) {
		*ret_value = value;
		return 0;
	}
	return kmem_copy(kmem, value, &ret_value->v, sizeof(ret_value->v), err);
}

/* kernel/bpf/bpf_struct_ops.c: what the kernel calls is its own copy of the value. */
static int struct_ops_value(const struct kmem *kmem, const struct kmem_map *map, uint64_t index,
	gva_t *ret_value, struct err *err)
{
	struct kbtf_place value;
	int rc = index == 0 ? kmem_struct_member(kmem, "bpf_struct_ops_map", "kvalue", &value, err)
			    : key_form(err, "this map has one element only, number 0");

	if (rc == 0)
		*ret_value = GVA(map->at.v + value.offset_bytes);
	return rc;
}

static int storage_element(const struct kmem *kmem, const struct kmem_map *map, uint64_t key,
	gva_t *ret_value, unsigned *ret_hops, struct err *err)
{
	struct map_storage_owner owner = {.is_cgroup = map->kind == MAP_TYPE_CGRP_STORAGE, .cgroup_id = key};
	struct kmem_task_id id = {.pid = (uint32_t)key};
	int rc = 0;

	if (!owner.is_cgroup && (key == 0 || key > INT32_MAX))
		return key_form(err, "elements of task storage are found by the PID of their task");
	if (!owner.is_cgroup)
		rc = kmem_task_find(kmem, &id, &owner.task, err);
	return rc < 0 ? rc : map_storage_element(kmem, map, &owner, ret_value, ret_hops, err);
}

int kmem_map_element(const struct kmem *kmem, const struct kmem_map *map, const struct kmem_map_key *key,
	gva_t *ret_value, unsigned *ret_hops, struct err *err)
{
	*ret_hops = 0;
	if (kmem_map_has_keys(map))
		return hash_element(kmem, map, key, ret_value, ret_hops, err);
	if (!is_array(map) && !is_storage(map) && !kmem_map_is_kernels(map))
		return err_set(err, ERR_UNSUPPORTED,
			"elements of a BPF map of type %" PRIu32
			" cannot be found by this version: those of arrays, hashes (per CPU, LRU, of maps), "
			"task and cgroup storage and struct_ops can",
			map->kind);
	if (!key->is_number)
		return key_form(err, "elements of this map are numbered: expected a number");
	if (is_array(map))
		return array_element(kmem, map, key->number, ret_value, err);
	return is_storage(map) ? storage_element(kmem, map, key->number, ret_value, ret_hops, err)
			       : struct_ops_value(kmem, map, key->number, ret_value, err);
}
