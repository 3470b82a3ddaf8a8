/* SPDX-License-Identifier: GPL-2.0-only */
/* Elements of storage maps, found through the map's own table of them. Any thread; the guest may run: see
 * bpf_map.h. */
#ifndef HOST_KMEM_MAP_STORAGE_H
#define HOST_KMEM_MAP_STORAGE_H

#include "host/kmem/bpf_map.h"

struct map_storage_owner {
	bool is_cgroup;
	gva_t task;         /* its struct task_struct; or */
	uint64_t cgroup_id; /* as the inode number of its directory */
};

/* Where the value of the owner's element is. ERR_NOT_FOUND reason no-such-key: it has none. *ret_hops, set in
 * any case: elements that were passed, by what they cost. */
int map_storage_element(const struct kmem *kmem, const struct kmem_map *map,
	const struct map_storage_owner *owner, gva_t *ret_value, unsigned *ret_hops,
	struct err *err) must_check;

#endif
