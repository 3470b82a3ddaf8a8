/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/* The one list of ops. A kind's number is its bit in `op_kinds` and never changes.
 * X(number, snake_name, UPPER_NAME, CamelName, SIDE) with SIDE = GUEST (done by the agent) or HOST. */
#ifndef PROTO_OP_LIST_H
#define PROTO_OP_LIST_H

#define OP_LIST(X)                                                                                           \
	X(0, add_cgroup, ADD_CGROUP, AddCgroup, GUEST)                                                       \
	X(1, add_cgroup_def, ADD_CGROUP_DEF, AddCgroupDef, GUEST)                                            \
	X(2, remove_cgroup, REMOVE_CGROUP, RemoveCgroup, GUEST)                                              \
	X(3, set_cpuset, SET_CPUSET, SetCpuset, GUEST)                                                       \
	X(4, clear_cpuset, CLEAR_CPUSET, ClearCpuset, GUEST)                                                 \
	X(5, swap_cpusets, SWAP_CPUSETS, SwapCpusets, GUEST)                                                 \
	X(6, spawn, SPAWN, Spawn, GUEST)                                                                     \
	X(7, stop_cgroup, STOP_CGROUP, StopCgroup, GUEST)                                                    \
	X(8, set_affinity, SET_AFFINITY, SetAffinity, GUEST)                                                 \
	X(9, move_all_tasks, MOVE_ALL_TASKS, MoveAllTasks, GUEST)                                            \
	X(10, run_payload, RUN_PAYLOAD, RunPayload, GUEST)                                                   \
	X(11, wait_payload, WAIT_PAYLOAD, WaitPayload, GUEST)                                                \
	X(12, kill_payload, KILL_PAYLOAD, KillPayload, GUEST)                                                \
	X(13, freeze_cgroup, FREEZE_CGROUP, FreezeCgroup, GUEST)                                             \
	X(14, unfreeze_cgroup, UNFREEZE_CGROUP, UnfreezeCgroup, GUEST)                                       \
	X(15, capture_snapshot, CAPTURE_SNAPSHOT, CaptureSnapshot, HOST)                                     \
	X(16, watch_snapshot, WATCH_SNAPSHOT, WatchSnapshot, HOST)                                           \
	X(17, write_kernel_hot, WRITE_KERNEL_HOT, WriteKernelHot, HOST)                                      \
	X(18, write_kernel_cold, WRITE_KERNEL_COLD, WriteKernelCold, HOST)                                   \
	X(19, read_kernel_hot, READ_KERNEL_HOT, ReadKernelHot, HOST)                                         \
	X(20, read_kernel_cold, READ_KERNEL_COLD, ReadKernelCold, HOST)                                      \
	X(21, attach_scheduler, ATTACH_SCHEDULER, AttachScheduler, GUEST)                                    \
	X(22, detach_scheduler, DETACH_SCHEDULER, DetachScheduler, GUEST)                                    \
	X(23, restart_scheduler, RESTART_SCHEDULER, RestartScheduler, GUEST)                                 \
	X(24, replace_scheduler, REPLACE_SCHEDULER, ReplaceScheduler, GUEST)                                 \
	X(25, pin_bpf_map, PIN_BPF_MAP, PinBpfMap, GUEST)                                                    \
	X(26, capture_cgroup_procs, CAPTURE_CGROUP_PROCS, CaptureCgroupProcs, GUEST)                         \
	X(27, steer_irq, STEER_IRQ, SteerIrq, GUEST)

enum op_side { OP_SIDE_GUEST, OP_SIDE_HOST };

enum op_kind {
#define X(number, snake, upper, camel, side) OP_##upper = number,
	OP_LIST(X)
#undef X
		OP_KINDS
};

#endif
