/* SPDX-License-Identifier: GPL-2.0-only */
/* A sched_ext scheduler that schedules nobody but tasks of SCHED_EXT (the kernel's default queue does that),
 * answers moves between cgroups as it was told, and counts what the kernel asks it. Runs in the kernel. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "scheduler.h"

#define NO_ENTRY 2 /* ENOENT */
#define SWITCH_PARTIAL                                                                                       \
	8ull /* SCX_OPS_SWITCH_PARTIAL (include/linux/sched/ext.h, kernel/sched/ext_internal.h) */

/* Of the kernel's types what is used here; libbpf and the kernel put the members where they really are. */
#define KERNEL __attribute__((preserve_access_index))
struct kernfs_node {
	__u64 id;
} KERNEL;

struct cgroup {
	struct kernfs_node *kn;
} KERNEL;

struct task_struct {
	int pid;
} KERNEL;

struct scx_init_task_args {
	_Bool fork;
	struct cgroup *cgroup;
} KERNEL;

/* libbpf finds the members of this one by their names. */
struct sched_ext_ops {
	int (*init_task)(struct task_struct *p, struct scx_init_task_args *args);
	int (*cgroup_prep_move)(struct task_struct *p, struct cgroup *from, struct cgroup *to);
	void (*cgroup_move)(struct task_struct *p, struct cgroup *from, struct cgroup *to);
	void (*cgroup_cancel_move)(struct task_struct *p, struct cgroup *from, struct cgroup *to);
	__u64 flags;
	char name[128];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SCHEDULER_VERDICTS_MAX);
	__type(key, __u32);
	__type(value, struct scheduler_verdict);
} e2e_verdicts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scheduler_counts);
} e2e_counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct scheduler_task);
} e2e_tasks SEC(".maps");

static struct scheduler_counts *counts(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&e2e_counts, &zero);
}

static struct scheduler_task *task_of(const struct task_struct *p)
{
	__u32 pid = (__u32)p->pid;
	return bpf_map_lookup_elem(&e2e_tasks, &pid);
}

/* Of every task: of those that are there when the scheduler is attached, and of each that is made later, when
 * it has its cgroup but has not run. */
SEC("struct_ops/e2e_init_task")
int BPF_PROG(e2e_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	struct scheduler_counts *all = counts();
	if (!all)
		return -NO_ENTRY;
	struct scheduler_task seen = {.cgroup = args->cgroup->kn->id, .forked = args->fork};
	__u32 pid = (__u32)p->pid;
	__sync_fetch_and_add(&all->init_tasks, 1);
	if (args->fork)
		__sync_fetch_and_add(&all->forks, 1);
	if (bpf_map_update_elem(&e2e_tasks, &pid, &seen, BPF_ANY) < 0)
		__sync_fetch_and_add(&all->lost, 1);
	return 0;
}

/* Asked for each task that is about to get another cgroup of the cpu controller; an error vetoes it. */
SEC("struct_ops/e2e_prep_move")
int BPF_PROG(e2e_prep_move, struct task_struct *p, struct cgroup *from, struct cgroup *to)
{
	struct scheduler_counts *all = counts();
	struct scheduler_task *task = task_of(p);
	struct scheduler_verdict *verdict = NULL;
	if (!all)
		return -NO_ENTRY;
	__u64 call = __sync_fetch_and_add(&all->prep_moves, 1);
	if (task)
		__sync_fetch_and_add(&task->prep_moves, 1);
	for (__u32 i = 0; i < SCHEDULER_VERDICTS_MAX; i++) {
		__u32 key = i;
		verdict = bpf_map_lookup_elem(&e2e_verdicts, &key);
		if (!verdict || verdict->last || i == call)
			break;
	}
	if (!verdict || !verdict->error)
		return 0;
	__sync_fetch_and_add(&all->vetoes, 1);
	return verdict->error;
}

SEC("struct_ops/e2e_move")
void BPF_PROG(e2e_move, struct task_struct *p, struct cgroup *from, struct cgroup *to)
{
	struct scheduler_counts *all = counts();
	struct scheduler_task *task = task_of(p);
	if (all)
		__sync_fetch_and_add(&all->moves, 1);
	if (task)
		__sync_fetch_and_add(&task->moves, 1);
}

/* One that was let through, and somebody else refused. */
SEC("struct_ops/e2e_cancel_move")
void BPF_PROG(e2e_cancel_move, struct task_struct *p, struct cgroup *from, struct cgroup *to)
{
	struct scheduler_counts *all = counts();
	if (all)
		__sync_fetch_and_add(&all->cancels, 1);
}

SEC(".struct_ops.link")
struct sched_ext_ops e2e_ops = {
	.init_task = (void *)e2e_init_task,
	.cgroup_prep_move = (void *)e2e_prep_move,
	.cgroup_move = (void *)e2e_move,
	.cgroup_cancel_move = (void *)e2e_cancel_move,
	.flags = SWITCH_PARTIAL,
	.name = SCHEDULER_NAME,
};

char scheduler_license[] SEC("license") = "GPL";
