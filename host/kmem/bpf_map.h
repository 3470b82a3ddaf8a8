/* SPDX-License-Identifier: GPL-2.0-only */
/* BPF maps found from outside, through the kernel's own table of them (map_idr, kernel/bpf/syscall.c), and
 * their elements. Any thread; the guest may run: then a map may go, and its memory become another's, between
 * two looks. Everything read is the guest's word: bounded and checked. */
#ifndef HOST_KMEM_BPF_MAP_H
#define HOST_KMEM_BPF_MAP_H

#include "host/kmem/target.h"

/* BPF_OBJ_NAME_LEN, include/uapi/linux/bpf.h; names are cut off there. */
#define KMEM_MAP_NAME_MAX 16
/* The longest key that can be given. */
#define KMEM_MAP_KEY_MAX 128u
/* Elements of a map that one lookup passes before it gives up. */
#define KMEM_MAP_HOPS_MAX 4000000u

struct kmem_map {
	gva_t at;          /* its struct bpf_map */
	uint32_t id, kind; /* kind: BPF_MAP_TYPE_* */
	uint32_t key_bytes, value_bytes, max_entries;
	uint32_t key_type;            /* in its BTF; 0: it has none */
	uint32_t value_type;          /* likewise; or in the kernel's (kmem_map_is_kernels()) */
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
/* Elements are looked up by keys of key_bytes bytes, and need not be there; otherwise they are numbered (an
 * array), or a task's or a cgroup's. */
bool kmem_map_has_keys(const struct kmem_map *map);
/* Its values are of a type of the kernel's (struct_ops), they are maps. */
bool kmem_map_is_kernels(const struct kmem_map *map);
bool kmem_map_holds_maps(const struct kmem_map *map);

struct kmem_map_key {
	bool is_number;
	uint64_t number;
	uint8_t bytes[KMEM_MAP_KEY_MAX]; /* of a map that has keys, as they are in memory */
};
/* Where the element's value is; for a per-CPU map what kmem_per_cpu() makes the address of a CPU's value of;
 * for a map of maps where the pointer to the inner struct bpf_map is. The key is an index (arrays), a PID
 * (task storage), a cgroup's id (cgroup storage), or bytes. ERR_INVALID_ARGUMENT reason index-out-of-range or
 * key-form; ERR_NOT_FOUND reason no-such-key or no-such-task; ERR_UNSUPPORTED: a kind of map whose elements
 * this version does not find. *ret_hops, set in any case: elements that were passed. */
int kmem_map_element(const struct kmem *kmem, const struct kmem_map *map, const struct kmem_map_key *key,
	gva_t *ret_value, unsigned *ret_hops, struct err *err) must_check;
/* How many one lookup may pass: less than KMEM_MAP_HOPS_MAX where a whole batch may not have as much. */
unsigned kmem_map_hops_max(const struct kmem *kmem);

#endif
