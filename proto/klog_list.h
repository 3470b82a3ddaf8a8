/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/* The one list of kinds of trouble that lines of the guest's kernel log tell of: LogLine.class and
 * ExpectKernelLog.class. X(UPPER_NAME, snake_name, what) */
#ifndef PROTO_KLOG_LIST_H
#define PROTO_KLOG_LIST_H

#define KLOG_CLASS_LIST(X)                                                                                   \
	X(PANIC, panic, "the kernel gave up")                                                                \
	X(OOPS, oops, "a BUG, a fault in the kernel")                                                        \
	X(SOFT_LOCKUP, soft_lockup, "a CPU that did not get to anything else, hard lockups included")        \
	X(HUNG_TASK, hung_task, "a task that was blocked for minutes")                                       \
	X(RCU_STALL, rcu_stall, "a CPU or task that held up RCU")                                            \
	X(OOM_KILL, oom_kill, "a task that was killed for want of memory")                                   \
	X(SCHED_EXT, sched_ext, "what sched_ext says: schedulers that come, go and fail")                    \
	X(WARNING, warning, "a WARN, a workqueue lockup")

enum klog_class {
	KLOG_NONE,
#define X(upper, snake, what) KLOG_##upper,
	KLOG_CLASS_LIST(X)
#undef X
		KLOG_CLASSES
};

#endif
