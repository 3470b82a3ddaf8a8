/* SPDX-License-Identifier: GPL-2.0-only */
/* Tasks by PID: a table of PIDs and tasks made by hand in the layout of real kernels, and damage to it. */
#include "host/kmem/access.h"
#include "host/kmem/task.h"
#include "tests/unit/kmem/loaded.h"

#include <errno.h>

/* Guest-physical places of what the tests make, above the image. */
#define NODES UINT64_C(0x20000000)
#define PIDS UINT64_C(0x21000000)
#define TASKS UINT64_C(0x22000000)

static int token;
#define FROZEN ((const struct freeze *)&token)

static uint64_t ns_gpa(void)
{
	return symbol_gpa("init_pid_ns");
}

#define NODE(i) (NODES + (i)*0x1000)
#define NODE_ENTRY(i) (PAGE_OFFSET + NODE(i) + 2)
static void node(unsigned i, unsigned shift)
{
	set(NODE(i), "xa_node", "shift", shift);
}

static void slot(unsigned i, unsigned at, uint64_t entry)
{
	put(NODE(i) + offset_of("xa_node", "slots") + at * 8, &entry, 8);
}

/* A task and its struct pid; returns the entry of the table. */
static uint64_t task(unsigned i, unsigned pid)
{
	uint64_t pid_gpa = PIDS + i * 0x1000, task_gpa = TASKS + i * 0x10000;
	set(pid_gpa, "pid", "tasks[0].first",
		PAGE_OFFSET + task_gpa + offset_of("task_struct", "pid_links[0]"));
	set(pid_gpa, "pid", "ino", 7000 + pid);
	set(task_gpa, "task_struct", "pid", pid);
	set(task_gpa, "task_struct", "start_time", 1000000000u * i);
	set(task_gpa, "task_struct", "start_boottime", 1000000000u * i + 5000);
	uint64_t list = PAGE_OFFSET + task_gpa + offset_of("task_struct", "scx.runnable_node");
	put(task_gpa + offset_of("task_struct", "scx.runnable_node"), &list, 8);
	return PAGE_OFFSET + pid_gpa;
}

/* PIDs 1, 70 and 5000 as tasks 1, 2 and 3: two levels, then three. */
static void tree(void)
{
	memset(memory.region[0].host + NODES, 0, MEMORY_BYTES - NODES);
	node(0, 12);
	node(1, 6);
	node(2, 0);
	node(3, 0);
	node(4, 6);
	node(5, 0);
	slot(0, 0, NODE_ENTRY(1));
	slot(0, 1, NODE_ENTRY(4));
	slot(1, 0, NODE_ENTRY(2));
	slot(1, 1, NODE_ENTRY(3));
	slot(2, 1, task(1, 1));
	slot(3, 6, task(2, 70));
	slot(4, (5000 - 4096) >> 6, NODE_ENTRY(5));
	slot(5, 5000 & 63, task(3, 5000));
	set(ns_gpa(), "pid_namespace", "idr.idr_rt.xa_head", NODE_ENTRY(0));
	set(ns_gpa(), "pid_namespace", "idr.idr_base", 0);
}

static void with_kernels(void (*check)(void))
{
	with_loaded_kernels(tree, check);
}

static int find(struct kmem_task_id id, gva_t *ret, struct err *err)
{
	*err = ERR_INIT;
	*ret = GVA(0);
	return kmem_task_find(kmem, &id, ret, err);
}

static void check_found(void)
{
	static const unsigned pids[] = {1, 70, 5000}, missing[] = {2, 64, 71, 4999, 300000, INT32_MAX};
	struct err err;
	gva_t at;

	for (unsigned i = 0; i < ARRAY_SIZE(pids); i++) {
		cr_assert_eq(find((struct kmem_task_id){.pid = pids[i]}, &at, &err), 0, "%s", err.message);
		cr_assert_eq(at.v, PAGE_OFFSET + TASKS + (i + 1) * 0x10000);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(missing); i++) {
		cr_assert_eq(
			find((struct kmem_task_id){.pid = missing[i]}, &at, &err), -ENOENT, "%u", missing[i]);
		cr_assert_str_eq(err.reason, "no-such-task");
	}
	/* Its task has gone, but somebody holds the PID. */
	set(PIDS + 0x1000, "pid", "tasks[0].first", 0);
	cr_assert_eq(find((struct kmem_task_id){.pid = 1}, &at, &err), -ENOENT);
	/* A tree of one entry. */
	set(ns_gpa(), "pid_namespace", "idr.idr_rt.xa_head", 0);
	cr_assert_eq(find((struct kmem_task_id){.pid = 70}, &at, &err), -ENOENT);
}

Test(task, is_found_by_pid)
{
	with_kernels(check_found);
}

static void check_identity(void)
{
	struct err err;
	gva_t at;
	/* Task 2 started at 2 s, 2.000005 s of boot time. */
	cr_assert_eq(find((struct kmem_task_id){70, 2000000000u, 0}, &at, &err), 0, "%s", err.message);
	cr_assert_eq(find((struct kmem_task_id){70, 2000005000u, 7070}, &at, &err), 0, "%s", err.message);
	cr_assert_eq(find((struct kmem_task_id){70, 1999999999u, 0}, &at, &err), 0, "within a tick");
	cr_assert_eq(find((struct kmem_task_id){70, 2010005000u, 0}, &at, &err), -EPERM);
	cr_assert_str_eq(err.reason, "task-identity");
	cr_assert_eq(find((struct kmem_task_id){70, 0, 7071}, &at, &err), -EPERM);
	cr_assert_str_eq(err.reason, "task-identity");
}

Test(task, is_who_it_is_said_to_be)
{
	with_kernels(check_identity);
}

static void check_damage(void)
{
	static const uint64_t garbage[] = {UINT64_MAX, UINT64_C(0xdead000000000002), NODE_ENTRY(0), 2, 4098,
		UINT64_C(0xffff888fffffff02)};
	struct err err;
	gva_t at;
	for (unsigned i = 0; i < ARRAY_SIZE(garbage); i++) {
		slot(0, 0, garbage[i]);
		cr_assert_lt(find((struct kmem_task_id){.pid = 70}, &at, &err), 0, "%u", i);
		tree();
		slot(3, 6, garbage[i]);
		cr_assert_lt(find((struct kmem_task_id){.pid = 70}, &at, &err), 0, "%u", i);
		tree();
		set(PIDS + 0x2000, "pid", "tasks[0].first", garbage[i]);
		cr_assert_lt(find((struct kmem_task_id){.pid = 70}, &at, &err), 0, "%u", i);
		tree();
	}
	/* A node whose shift does not fall: a loop. */
	node(3, 6);
	slot(3, 1, NODE_ENTRY(3));
	cr_assert_eq(find((struct kmem_task_id){.pid = 70}, &at, &err), -EFAULT);
	cr_assert_eq(find((struct kmem_task_id){.pid = 0}, &at, &err), -EINVAL);
}

Test(task, table_may_be_damaged)
{
	with_kernels(check_damage);
}

static int write_task(const char *field, bool frozen, bool force, uint64_t start_ns, const char **ret_warning,
	struct err *err)
{
	struct kmem_write w = {.target = {.form = KMEM_TASK_FIELD, .field = field, .task = {70, start_ns, 0}},
		.width = KMEM_U64,
		.op = KMEM_SET,
		.value = 99,
		.force = force};
	*err = ERR_INIT;
	int rc = kmem_write_batch(kmem, &w, 1, frozen ? FROZEN : NULL, err);
	*ret_warning = w.warning;
	return rc;
}

static void expect_refused(const char *field, const char *reason)
{
	struct err err;
	const char *warning;
	cr_assert_lt(write_task(field, true, false, 2000000000u, &warning, &err), 0, "%s", reason);
	cr_assert_str_eq(err.reason, reason, "%s", err.message);
	cr_assert_str_eq(err.place, "[0]");
	/* What is refused can be forced, but for the dead. */
	int rc = write_task(field, true, true, 2000000000u, &warning, &err);
	cr_assert_eq(rc == 0, strcmp(reason, "task-dead") != 0, "%s: %s", reason, err.message);
}

static void check_writes(void)
{
	const uint64_t at = TASKS + 0x20000;
	struct err err;
	const char *warning;
	gva_t ext;
	struct kmem_read r = {
		.target = {.form = KMEM_PATH, .field = "task(70).start_boottime"}, .width = KMEM_NATURAL};

	cr_assert_eq(write_task("utime", true, false, 2000000000u, &warning, &err), 0, "%s", err.message);
	cr_assert_null(warning);
	cr_assert_eq(
		write_task("se.vruntime", true, false, 2000000000u, &warning, &err), 0, "%s", err.message);
	cr_assert_not_null(warning);
	cr_assert_eq(kmem_read_batch(kmem, &r, 1, NULL, &err), 0, "%s", err.message);
	cr_assert_eq(r.value, 2000005000u);

	cr_assert_eq(write_task("utime", true, true, 0, &warning, &err), -EINVAL);
	cr_assert_str_eq(err.reason, "task-unidentified");
	cr_assert_eq(write_task("utime", false, false, 2000000000u, &warning, &err), -EINVAL);
	cr_assert_str_eq(err.reason, "task-hot");
	cr_assert_eq(write_task("utime", false, true, 2000000000u, &warning, &err), 0, "%s", err.message);
	cr_assert_eq(write_task("utime", true, true, 5, &warning, &err), -EPERM);
	cr_assert_str_eq(err.reason, "task-identity");
	cr_assert_eq(write_task("utme", true, true, 2000000000u, &warning, &err), -ENOENT);
	cr_assert_not_null(strstr(err.message, "utime"), "%s", err.message);

	expect_refused("scx.dsq_vtime", "task-class");
	cr_assert_eq(kmem_symbol(kmem, "ext_sched_class", &ext, &err), 0);
	set(at, "task_struct", "sched_class", ext.v);
	cr_assert_eq(
		write_task("scx.dsq_vtime", true, false, 2000000000u, &warning, &err), 0, "%s", err.message);
	set(at, "task_struct", "scx.runnable_node.next", PAGE_OFFSET);
	expect_refused("scx.dsq_vtime", "task-runnable");
	set(at, "task_struct", "scx.dsq", PAGE_OFFSET);
	expect_refused("utime", "task-dispatched");
	set(at, "task_struct", "on_rq", 1);
	expect_refused("utime", "task-queued");
	set(at, "task_struct", "exit_state", 32);
	expect_refused("utime", "task-dead");
	/* Behind a pointer of the task's it is no longer the task. */
	set(at, "task_struct", "real_parent", PAGE_OFFSET + TASKS + 0x10000);
	struct kmem_write w = {.target = {.form = KMEM_PATH, .field = "task(70).real_parent->utime"},
		.width = KMEM_U64,
		.op = KMEM_SET};
	cr_assert_eq(kmem_write_batch(kmem, &w, 1, NULL, &err), 0, "%s", err.message);
}

Test(task, is_written_to_only_when_that_is_safe)
{
	with_kernels(check_writes);
}
