/* SPDX-License-Identifier: GPL-2.0-only */
/* Reads that are prepared once and done many times: what never changes during a boot is looked up before.
 *
 *   image, per-CPU variables, direct map    a host address: a read is a load
 *   the same, and pointers on the way       start and offsets: the pointers are followed by each read
 *   tasks, BPF maps                         the target: everything is looked up by each read
 *
 * A plan is immutable once made, and belongs to the kernel it was made for. Any thread; the guest may run. */
#ifndef HOST_KMEM_PLAN_H
#define HOST_KMEM_PLAN_H

#include "common/cpuset.h"
#include "host/kmem/access.h"

struct kmem_plan {
	enum kmem_width width; /* never KMEM_NATURAL */
	uint64_t length;       /* bytes that are read */
	bool stable;
	struct kmem_resolved where; /* when it was made: its type and bits stay so */
	struct kmem_route route;
	const uint8_t *host;       /* the value's place if that never moves; or NULL */
	struct kmem_target target; /* its strings are the plan's own */
};

/* Prepares a read; its target is copied, its buffer not used. Fails as kmem_read_batch() would. */
int kmem_plan_init(struct kmem_plan *plan, const struct kmem *kmem, const struct kmem_read *read,
	struct err *err) must_check;
/* Takes a zeroed one. */
void kmem_plan_deinit(struct kmem_plan *plan);

/* What is looked up once for many reads. */
struct kmem_plan_turn {
	const struct kmem *kmem;
	struct cpuset online;
	bool frozen;
	uint64_t
		hops; /* that finding the places of its reads has passed: kmem_batch_hops() of them at most */
};
/* Checks the kernel (kmem_check()). frozen: the vCPUs stand still until the last read. */
int kmem_plan_turn_init(
	struct kmem_plan_turn *turn, const struct kmem *kmem, bool frozen, struct err *err) must_check;
/* Reads one. bytes: [plan->length] for KMEM_BYTES, else unused; ret_value: the others, shifted down if it is
 * a bit field. Errors as kmem_read_batch() without a place. */
int kmem_plan_read(struct kmem_plan_turn *turn, const struct kmem_plan *plan, uint64_t *ret_value,
	uint8_t *bytes, struct err *err) must_check;

#endif
