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
	uint32_t type;          /* BTF, or 0: unknown */
	const struct kbtf *btf; /* whose `type` that is: the kernel's, or a BPF map's (until kmem_free()) */
	uint64_t size_bytes;    /* of the member, or 0: unknown */
	uint8_t bit_offset, bit_size;
	uint8_t pointers; /* levels of pointers to `type` that the value is, from a cast */
	/* The task that the place is a member of; 0: of none. */
	gva_t task;
	bool identified; /* the task's identity was given, and is right */
	uint64_t hops; /* elements and nodes of tables and BPF maps that were passed; after a failure, too */
};

/* How a place is found again without its text: from a start that this boot never moves, through pointers. */
#define KMEM_HOPS_MAX 6
struct kmem_route {
	bool fixed; /* false: the start is looked up anew (a task, a BPF map), or there are too many pointers
		     */
	gva_t start;
	int cpu;       /* whose per-CPU variable the start is: it must be online; -1: none */
	unsigned hops; /* pointers to follow */
	uint64_t offset[KMEM_HOPS_MAX + 1]; /* added before each pointer is read, and at the end */
};

/* Finds the address. Nothing at the address itself is touched, though per-CPU offsets and pointers on the way
 * are read. Errors as specification 5.3 lists them. */
int kmem_target_resolve(const struct kmem *kmem, const struct kmem_target *target,
	struct kmem_resolved *ret_resolved, struct err *err) must_check;

/* The same, with the way there; ret_route may be NULL. */
int kmem_target_route(const struct kmem *kmem, const struct kmem_target *target,
	struct kmem_resolved *ret_resolved, struct kmem_route *ret_route, struct err *err) must_check;

/* Copies guest memory at an address found that way (racing the guest unless it is frozen). What is naturally
 * aligned and 1, 2, 4 or 8 bytes long is one access. */
int kmem_copy_by(const struct kmem *kmem, enum kmem_way way, gva_t at, void *bytes, uint64_t length,
	struct err *err) must_check;
/* What it does with each piece. */
void kmem_copy_host(void *ret_bytes, const uint8_t *host, uint64_t length);
/* At a virtual address. */
int kmem_copy(const struct kmem *kmem, gva_t at, void *bytes, uint64_t length, struct err *err) must_check;

/* C type of a well-known global, which kernel BTF does not have, as a path's cast has it; or NULL. */
const char *kmem_known_type(const char *symbol);
/* Its size in bytes, or 0 when the global is not a well-known scalar. */
uint64_t kmem_known_size(const char *symbol);

#endif
