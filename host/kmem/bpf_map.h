/* SPDX-License-Identifier: GPL-2.0-only */
/* BPF maps found from outside, through the kernel's own table of them (map_idr, kernel/bpf/syscall.c), and
 * their elements. Any thread; the guest may run: then a map may go, and its memory become another's, between
 * two looks. Everything read is the guest's word: bounded and checked. */
#ifndef HOST_KMEM_BPF_MAP_H
#define HOST_KMEM_BPF_MAP_H

#include "host/kmem/target.h"

/* BPF_OBJ_NAME_LEN, include/uapi/linux/bpf.h; names are cut off there. */
#define KMEM_MAP_NAME_MAX 16
/* Elements of a hash map that one lookup passes before it gives up. */
#define KMEM_MAP_HOPS_MAX 4000000u

struct kmem_map {
	gva_t at;          /* its struct bpf_map */
	uint32_t id, kind; /* kind: BPF_MAP_TYPE_* */
	uint32_t key_bytes, value_bytes, max_entries;
	uint32_t value_type;          /* in its BTF; 0: it has none */
	gva_t btf;                    /* its struct btf; 0: it has none */
	char name[KMEM_MAP_NAME_MAX]; /* printable; "" for the nameless */
	uint64_t hops;                /* of kmem_map_find(), failed or not: what was passed, as elements */
};

/* The first map whose id is at least *id; sets *id to it. 1, or 0: there is none. budget as
 * kmem_idr_next(). */
int kmem_map_next(const struct kmem *kmem, uint64_t *id, unsigned *budget, struct kmem_map *ret_map,
	struct err *err) must_check;
int kmem_map_by_id(
	const struct kmem *kmem, uint32_t id, struct kmem_map *ret_map, struct err *err) must_check;
/* The one map of that name. ERR_NOT_FOUND reason no-such-map, with the nearest names; ERR_AMBIGUOUS lists the
 * ids of several. */
int kmem_map_find(const struct kmem *kmem, const char *name, size_t length, struct kmem_map *ret_map,
	struct err *err) must_check;

/* Each CPU has its own value of every element. */
bool kmem_map_is_per_cpu(const struct kmem_map *map);
/* Elements are numbered from 0 and always there (an array); otherwise looked up by key. */
bool kmem_map_is_array(const struct kmem_map *map);
/* Where the element's value is; for a per-CPU map what kmem_per_cpu() makes the address of a CPU's value of.
 * The key of a hash map is `key` in key_bytes little-endian bytes (at most 8). ERR_INVALID_ARGUMENT reason
 * index-out-of-range or key-form; ERR_NOT_FOUND reason no-such-key; ERR_UNSUPPORTED: a kind of map whose
 * elements this version does not find. *ret_hops, set in any case:
 * elements that were passed. */
int kmem_map_element(const struct kmem *kmem, const struct kmem_map *map, uint64_t key, gva_t *ret_value,
	unsigned *ret_hops, struct err *err) must_check;

#endif
