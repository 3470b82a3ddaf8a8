/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel's tables of numbered things (struct idr: PIDs, BPF maps), which are radix trees
 * (include/linux/idr.h, include/linux/xarray.h). No state, any thread; the guest may run. What is read is the
 * guest's word: depth is bounded by the nodes' shifts, which must fall, and walks by a budget. */
#ifndef HOST_KMEM_IDR_H
#define HOST_KMEM_IDR_H

#include "host/kmem/target.h"

/* Nodes that one look may visit: a table with a million entries has 16 000. */
#define KMEM_IDR_NODES_MAX 65536u

/* What the struct idr at `idr` has under `id`: 1 and an address that is not NULL, or 0: nothing.
 * ERR_UNMAPPED, ERR_KERNEL_LAYOUT. */
int kmem_idr_find(
	const struct kmem *kmem, gva_t idr, uint64_t id, gva_t *ret_entry, struct err *err) must_check;
/* The first one whose id is at least *id; sets *id to it. 1, or 0: there is none. ERR_LIMIT_EXCEEDED: the
 * budget, which may be shared by many looks, is used up. */
int kmem_idr_next(const struct kmem *kmem, gva_t idr, uint64_t *id, unsigned *budget, gva_t *ret_entry,
	struct err *err) must_check;

#endif
