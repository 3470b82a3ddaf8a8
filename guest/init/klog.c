/* SPDX-License-Identifier: GPL-2.0-only */
/* Records of /dev/kmsg and what kind of trouble they tell of (see init.h). No state, any thread. */
#include "guest/init/init.h"
#include "proto/klog_list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* First match counts: the more telling ones come first. Texts: kernel/panic.c, arch/x86/kernel/dumpstack.c,
 * kernel/watchdog.c, kernel/hung_task.c, kernel/rcu/tree_stall.h, mm/oom_kill.c, kernel/sched/ext.c. */
static const struct {
	const char *text;
	enum klog_class class;
	bool at_start;
} patterns[] = {
	{"Kernel panic - not syncing", KLOG_PANIC, true},
	{"watchdog: BUG: soft lockup", KLOG_SOFT_LOCKUP, true},
	{"BUG: soft lockup", KLOG_SOFT_LOCKUP, false},
	{"detected hard LOCKUP", KLOG_SOFT_LOCKUP, false},
	{"blocked for more than", KLOG_HUNG_TASK, false},
	{"detected stalls on CPUs", KLOG_RCU_STALL, false},
	{"self-detected stall on CPU", KLOG_RCU_STALL, false},
	{"expedited stalls on CPUs", KLOG_RCU_STALL, false},
	{"rcu_preempt kthread starved", KLOG_RCU_STALL, false},
	{"Out of memory: Killed process", KLOG_OOM_KILL, false},
	{"Memory cgroup out of memory: Killed process", KLOG_OOM_KILL, false},
	{"oom-kill:", KLOG_OOM_KILL, true},
	{"Oops: ", KLOG_OOPS, true},
	{"BUG: workqueue lockup", KLOG_WARNING, true},
	{"BUG: ", KLOG_OOPS, true},
	{"general protection fault", KLOG_OOPS, true},
	{"kernel BUG at", KLOG_OOPS, true},
	{"Internal error: ", KLOG_OOPS, true},
	{"sched_ext: ", KLOG_SCHED_EXT, true},
	{"WARNING: ", KLOG_WARNING, true},
};

static const char *const names[] = {[KLOG_NONE] = "",
#define X(upper, snake, what) [KLOG_##upper] = #snake,
	KLOG_CLASS_LIST(X)
#undef X
};

const char *klog_class(const char *text, unsigned level)
{
	for (unsigned i = 0; i < ARRAY_SIZE(patterns); i++) {
		const char *at = strstr(text, patterns[i].text);
		if (at && (at == text || !patterns[i].at_start))
			return names[patterns[i].class];
	}
	return names[KLOG_NONE];
}

/* "6,339,5140900,-;text\n" and perhaps lines beginning with a space (Documentation/ABI/testing/dev-kmsg). */
bool klog_parse(char *record, struct klog_line *ret)
{
	unsigned prefix;
	unsigned long long sequence, time_us;
	char *text = strchr(record, ';');
	if (!text || sscanf(record, "%u,%llu,%llu,", &prefix, &sequence, &time_us) != 3)
		return false;
	text++;
	text[strcspn(text, "\n")] = '\0';
	/* The kernel writes bytes beyond ASCII as \xNN: what comes is text. */
	ret->level = prefix & 7;
	ret->time_ns = (uint64_t)time_us * 1000;
	ret->text = text;
	return true;
}
