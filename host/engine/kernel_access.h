/* SPDX-License-Identifier: GPL-2.0-only */
/* Reads and writes of kernel memory between the wire and host/kmem: what ops and requests share. Any thread.
 */
#ifndef HOST_ENGINE_KERNEL_ACCESS_H
#define HOST_ENGINE_KERNEL_ACCESS_H

#include "host/engine/engine_internal.h"
#include "host/kmem/access.h"

/* What was read: heap values in order, one per CPU for "@*". */
struct kernel_values {
	Schedrig__V1__ReadValue **value;
	size_t n;
	Schedrig__V1__FreezeInfo *freeze; /* of a cold access; NULL otherwise */
};
/* Frees what was not taken. */
void kernel_values_deinit(struct kernel_values *values);

/* Strings of *ret are borrowed from the message. */
int kernel_target_from_wire(
	const Schedrig__V1__Target *wire, struct kmem_target *ret, struct err *err) must_check;
int kernel_width_from_wire(Schedrig__V1__Width wire, enum kmem_width *ret, struct err *err) must_check;
/* kernel_query.c: checks reads by the rules of the ops. */
int kernel_check_reads(
	struct engine *engine, const Schedrig__V1__ReadRequest *request, struct err *err) must_check;
/* Everything but from_read, which is ERR_INVALID_ARGUMENT here. Borrows from the message. */
int kernel_write_from_wire(
	const Schedrig__V1__KernelWrite *wire, struct kmem_write *ret, struct err *err) must_check;

/* How a batch is to meet the vCPUs. */
struct kernel_way {
	bool cold;                 /* in one freeze, of its own or... */
	const struct freeze *held; /* ...this one of the caller's; NULL: its own */
	uint64_t deadline_ns;      /* for its turn to freeze */
};
/* A batch's turn: the kernel, and a freeze of its own if it needs one. */
struct kernel_turn {
	struct engine *engine;
	struct kmem *kmem;
	struct freeze *own;
	const struct freeze *freeze; /* own, held, or NULL: hot */
};
int kernel_turn_begin(struct engine *engine, const struct kernel_way *way, struct kernel_turn *ret,
	struct err *err) must_check;
/* After a successful begin. The freeze as far as it is known; NULL: hot, or no memory. */
Schedrig__V1__FreezeInfo *kernel_turn_end(struct kernel_turn *turn);
/* Reads a batch. Errors are placed at "reads[i]". On failure *ret_values holds the freeze, if there was one,
 * and no values. */
int kernel_read(struct engine *engine, Schedrig__V1__KernelRead *const *wire, size_t n,
	const struct kernel_way *way, struct kernel_values *ret_values, struct err *err) must_check;
/* Writes a batch; errors are placed at "[i]". Old bytes are allocated: kernel_writes_deinit(). */
int kernel_write(struct engine *engine, struct kmem_write *writes, size_t n, const struct kernel_way *way,
	Schedrig__V1__FreezeInfo **ret_freeze, struct err *err) must_check;
void kernel_writes_deinit(struct kmem_write *writes, size_t n);
/* Whether the value before is part of the answer. */
bool kernel_write_has_old(const struct kmem_write *write);
/* The value before as a result; takes old_bytes over. NULL: out of memory. */
Schedrig__V1__ReadValue *kernel_old_value(struct kmem_write *write, size_t entry);

/* Type as text on the heap, protobuf's empty string if unknown; NULL: out of memory. */
char *kernel_type_text(const struct kbtf *btf, uint32_t type, unsigned pointers);
bool kernel_type_is_signed(const struct kbtf *btf, uint32_t type, unsigned pointers);

#endif
