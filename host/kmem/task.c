/* SPDX-License-Identifier: GPL-2.0-only */
/* Tasks by PID. No state, any thread. Everything read is the guest's word: pointers are translated and
 * checked at each step. */
#include "host/kmem/task.h"
#include "host/kmem/idr.h"

#include <errno.h>
#include <string.h>

/* include/linux/sched.h */
#define TASK_DEAD 0x80u
/* init/init_task.c: PIDTYPE_PID comes first. */
#define LINKS "pid_links[0]"

static bool has_member(const struct kmem *kmem, const char *of, const char *path)
{
	struct kbtf_place place;

	return kmem_struct_member(kmem, of, path, &place, NULL) == 0;
}

static int no_task(uint32_t pid, struct err *err)
{
	int rc = err_set(err, ERR_NOT_FOUND, "no task has the PID %u", pid);

	(void)err_reason(err, "no-such-task");
	return rc;
}

bool kmem_task_is_identified(const struct kmem_task_id *id)
{
	return id->start_time_ns != 0 || id->pidfs_inode != 0;
}

static int identity_check(
	const struct kmem *kmem, const struct kmem_task_id *id, gva_t pid, gva_t task, struct err *err)
{
	uint64_t inode, start, boot;
	int rc = 0;

	if (id->pidfs_inode) {
		rc = kmem_member_read(kmem, pid, "pid", "ino", &inode, err);
		if (rc < 0)
			return rc;
		if (inode != id->pidfs_inode) {
			rc = err_set(err, ERR_FAILED_PRECONDITION,
				"PID %u is another task's by now: its pidfs inode is %llu, not %llu", id->pid,
				(unsigned long long)inode, (unsigned long long)id->pidfs_inode);
			(void)err_reason(err, "task-identity");
			return rc;
		}
	}
	if (!id->start_time_ns)
		return 0;
	rc = kmem_member_read(kmem, task, "task_struct", "start_time", &start, err);
	/* real_start_time until cf25e24db61c. */
	if (rc == 0)
		rc = kmem_member_read(kmem, task, "task_struct", "start_boottime", &boot, err);
	if (rc < 0)
		return rc;
	uint64_t apart = boot > id->start_time_ns ? boot - id->start_time_ns : id->start_time_ns - boot;
	if (start == id->start_time_ns || apart < KMEM_TASK_TICK_NS)
		return 0;
	rc = err_set(err, ERR_FAILED_PRECONDITION,
		"PID %u is another task's by now: it started %llu ns after boot, not %llu", id->pid,
		(unsigned long long)boot, (unsigned long long)id->start_time_ns);
	(void)err_reason(err, "task-identity");
	return rc;
}

int kmem_task_find(const struct kmem *kmem, const struct kmem_task_id *id, gva_t *ret_task, struct err *err)
{
	struct kbtf_place link, idr;
	uint64_t first, pid;
	gva_t ns, entry;
	int rc;

	if (id->pid == 0 || id->pid > INT32_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "%u is no PID", id->pid);
	rc = kmem_symbol(kmem, "init_pid_ns", &ns, err);
	if (rc == 0)
		rc = kmem_struct_member(kmem, "pid_namespace", "idr", &idr, err);
	if (rc < 0)
		return rc;
	rc = kmem_idr_find(kmem, GVA(ns.v + idr.offset_bytes), id->pid, &entry, err);
	if (rc <= 0)
		return rc < 0 ? rc : no_task(id->pid, err);
	rc = kmem_member_read(kmem, entry, "pid", "tasks[0].first", &first, err);
	if (rc == 0)
		rc = kmem_struct_member(kmem, "task_struct", LINKS, &link, err);
	if (rc < 0)
		return rc;
	/* A PID outlives its task as long as somebody holds it. */
	if (first == 0)
		return no_task(id->pid, err);
	gva_t task = GVA(first - link.offset_bytes);
	rc = kmem_member_read(kmem, task, "task_struct", "pid", &pid, err);
	if (rc < 0)
		return rc;
	if (pid != id->pid)
		return no_task(id->pid, err);
	rc = identity_check(kmem, id, entry, task, err);
	if (rc == 0)
		*ret_task = task;
	return rc;
}

static int refuse(struct err *err, const char *reason, const char *what)
{
	int rc = err_set(err, ERR_FAILED_PRECONDITION, "%s", what);

	(void)err_reason(err, reason);
	return rc;
}

static int queue_check(const struct kmem *kmem, gva_t task, struct err *err)
{
	uint64_t on_rq, on_cpu = 0, dsq, next;
	struct kbtf_place node;
	int rc = kmem_member_read(kmem, task, "task_struct", "on_rq", &on_rq, err);

	if (rc == 0 && has_member(kmem, "task_struct", "on_cpu"))
		rc = kmem_member_read(kmem, task, "task_struct", "on_cpu", &on_cpu, err);
	if (rc < 0)
		return rc;
	if (on_rq != 0 || on_cpu != 0)
		return refuse(err, "task-queued",
			"the task is on a run queue: the scheduler has sorted it by what it had; write while "
			"it sleeps, "
			"or with force");
	if (!has_member(kmem, "task_struct", "scx.dsq"))
		return 0;
	rc = kmem_member_read(kmem, task, "task_struct", "scx.dsq", &dsq, err);
	if (rc < 0)
		return rc;
	if (dsq != 0)
		return refuse(err, "task-dispatched",
			"the task is on a dispatch queue, which is ordered by what it had; write while it "
			"sleeps, or "
			"with force");
	if (kmem_struct_member(kmem, "task_struct", "scx.runnable_node", &node, NULL) < 0)
		return 0;
	rc = kmem_copy(kmem, GVA(task.v + node.offset_bytes), &next, sizeof(next), err);
	if (rc == 0 && next != 0 && next != task.v + node.offset_bytes)
		rc = refuse(err, "task-runnable",
			"the task is on its run queue's runnable list; write while it sleeps, or with force");
	return rc;
}

static int class_check(const struct kmem *kmem, const struct kmem_task_write *write, struct err *err)
{
	struct kbtf_place scx;
	uint64_t class;
	gva_t ext;
	int rc;

	if (kmem_struct_member(kmem, "task_struct", "scx", &scx, NULL) < 0 ||
		write->at.v - write->task.v < scx.offset_bytes ||
		write->at.v - write->task.v >= scx.offset_bytes + scx.size_bytes)
		return 0;
	rc = kmem_symbol(kmem, "ext_sched_class", &ext, err);
	if (rc == 0)
		rc = kmem_member_read(kmem, write->task, "task_struct", "sched_class", &class, err);
	if (rc == 0 && class != ext.v)
		rc = refuse(err, "task-class",
			"the task is not of the ext class, so its scx members mean nothing; attach a "
			"scheduler, or "
			"write with force");
	return rc;
}

int kmem_task_check_write(const struct kmem *kmem, const struct kmem_task_write *write,
	const char **ret_warning, struct err *err)
{
	uint64_t state, exit_state;
	struct kbtf_place vruntime;
	int rc;

	*ret_warning = NULL;
	if (!write->identified) {
		rc = err_set(err, ERR_INVALID_ARGUMENT,
			"a write to a task needs its identity beside the PID: its start time or pidfs inode");
		(void)err_reason(err, "task-unidentified");
		return rc;
	}
	if (!write->frozen && !write->force) {
		rc = err_set(err, ERR_INVALID_ARGUMENT,
			"a hot write cannot check what the task is doing: write cold, or with force");
		(void)err_reason(err, "task-hot");
		return rc;
	}
	rc = kmem_member_read(kmem, write->task, "task_struct", "__state", &state, err);
	if (rc == 0)
		rc = kmem_member_read(kmem, write->task, "task_struct", "exit_state", &exit_state, err);
	if (rc < 0)
		return rc;
	if (exit_state != 0 || (state & TASK_DEAD))
		return refuse(err, "task-dead", "the task is dead");
	if (!write->force) {
		rc = queue_check(kmem, write->task, err);
		if (rc == 0)
			rc = class_check(kmem, write, err);
		if (rc < 0)
			return rc;
	}
	if (kmem_struct_member(kmem, "task_struct", "se.vruntime", &vruntime, NULL) == 0 &&
		write->at.v == write->task.v + vruntime.offset_bytes)
		*ret_warning = "the kernel computes se.vruntime anew when the task is enqueued: this value "
			       "will not last";
	return 0;
}
