/* SPDX-License-Identifier: GPL-2.0-only */
/* Tasks found by PID from outside, and what must hold before one is written to (specification 5.6). Any
 * thread; the guest may run: then a task may end, and its memory become another's, between two looks. */
#ifndef HOST_KMEM_TASK_H
#define HOST_KMEM_TASK_H

#include "host/kmem/member.h"

/* /proc/PID/stat counts the start time in ticks of USER_HZ. */
#define KMEM_TASK_TICK_NS UINT64_C(10000000)

/* Finds the task (leader or thread) through the kernel's table of PIDs: kernel/pid.c find_pid_ns(), the radix
 * tree of include/linux/xarray.h. What is found has that PID. With an identity, it is that task.
 * ERR_NOT_FOUND reason no-such-task; ERR_FAILED_PRECONDITION reason task-identity: the PID is another task's
 * by now; ERR_UNMAPPED, ERR_KERNEL_LAYOUT. */
int kmem_task_find(
	const struct kmem *kmem, const struct kmem_task_id *id, gva_t *ret_task, struct err *err) must_check;
bool kmem_task_is_identified(const struct kmem_task_id *id);

struct kmem_task_write {
	gva_t task, at; /* the place written to lies in the task */
	bool identified, frozen, force;
};
/* Whether a task may be written to. ret_warning: a sentence (static) or NULL. `force` allows running vCPUs,
 * queues and classes, never a task that was not identified or is dead. ERR_INVALID_ARGUMENT reasons:
 * task-unidentified, task-hot. ERR_FAILED_PRECONDITION reasons: task-dead, task-queued (on a run queue or a
 * CPU), task-dispatched (on a DSQ), task-runnable (on a runnable list), task-class (scx members of a task of
 * another class). */
int kmem_task_check_write(const struct kmem *kmem, const struct kmem_task_write *write,
	const char **ret_warning, struct err *err) must_check;

#endif
