/* SPDX-License-Identifier: GPL-2.0-only */
/* Where a value is in kernel memory: the forms of specification 5.3 and how they become addresses. */
#ifndef HOST_KMEM_TARGET_H
#define HOST_KMEM_TARGET_H

#include "host/kmem/translate.h"

enum kmem_target_form {
	KMEM_SYMBOL = 1,    /* name + offset */
	KMEM_DIRECT,        /* address, in the direct map */
	KMEM_KVA,           /* address, by page-table walk */
	KMEM_PHYS,          /* address is guest-physical */
	KMEM_PER_CPU_FIELD, /* name, field, cpu */
	KMEM_TASK_FIELD,    /* task, field */
	KMEM_PATH,          /* field is an expression; cpu is what its '*' stands for, with every_cpu */
};

/* Which task: its PID and, against the reuse of PIDs, one of two identities (0: not given). */
struct kmem_task_id {
	uint32_t pid;           /* in the guest's first PID namespace */
	uint64_t start_time_ns; /* since boot: exact, or within a clock tick as /proc/PID/stat has it */
	uint64_t pidfs_inode;   /* of the task's struct pid */
};

/* Strings are borrowed. */
struct kmem_target {
	enum kmem_target_form form;
	const char *name;
	const char *field; /* NULL is "" */
	int64_t offset;
	uint64_t address;
	unsigned cpu;
	bool every_cpu;
	struct kmem_task_id task;
};

struct kmem_resolved {
	gva_t address; /* virtual; the physical one for KMEM_WAY_PHYS */
	enum kmem_way way;
	uint32_t type;       /* BTF, or 0: unknown */
	uint64_t size_bytes; /* of the member, or 0: unknown */
	uint8_t bit_offset, bit_size;
	uint8_t pointers; /* levels of pointers to `type` that the value is, from a cast */
	/* The task that the place is a member of; 0: of none. */
	gva_t task;
	bool identified; /* the task's identity was given, and is right */
};

/* Finds the address. Nothing at the address itself is touched, though per-CPU offsets and pointers on the way
 * are read. Errors as specification 5.3 lists them. */
int kmem_target_resolve(const struct kmem *kmem, const struct kmem_target *target,
	struct kmem_resolved *ret_resolved, struct err *err) must_check;

/* Copies guest memory at a virtual address (racing the guest unless it is frozen). */
int kmem_copy(const struct kmem *kmem, gva_t at, void *bytes, uint64_t length, struct err *err) must_check;

/* C type of a well-known global, which kernel BTF does not have, as a path's cast has it; or NULL. */
const char *kmem_known_type(const char *symbol);
/* Its size in bytes, or 0 when the global is not a well-known scalar. */
uint64_t kmem_known_size(const char *symbol);

#endif
