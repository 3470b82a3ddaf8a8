/* SPDX-License-Identifier: GPL-2.0-only */
/* Records of /dev/kmsg and what kind of trouble they tell of (see init.h). No state, any thread. */
#include "guest/init/init.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* First match counts: the more telling ones come first. Texts: kernel/panic.c, arch/x86/kernel/dumpstack.c,
 * kernel/watchdog.c, kernel/hung_task.c, kernel/rcu/tree_stall.h, mm/oom_kill.c, kernel/sched/ext.c. */
static const struct {
	const char *text, *class;
	bool at_start;
} patterns[] = {
	{"Kernel panic - not syncing", "panic", true},
	{"watchdog: BUG: soft lockup", "soft_lockup", true},
	{"BUG: soft lockup", "soft_lockup", false},
	{"detected hard LOCKUP", "soft_lockup", false},
	{"blocked for more than", "hung_task", false},
	{"detected stalls on CPUs", "rcu_stall", false},
	{"self-detected stall on CPU", "rcu_stall", false},
	{"expedited stalls on CPUs", "rcu_stall", false},
	{"rcu_preempt kthread starved", "rcu_stall", false},
	{"Out of memory: Killed process", "oom_kill", false},
	{"Memory cgroup out of memory: Killed process", "oom_kill", false},
	{"oom-kill:", "oom_kill", true},
	{"Oops: ", "oops", true},
	{"BUG: workqueue lockup", "warning", true},
	{"BUG: ", "oops", true},
	{"general protection fault", "oops", true},
	{"kernel BUG at", "oops", true},
	{"Internal error: ", "oops", true},
	{"sched_ext: ", "sched_ext", true},
	{"WARNING: ", "warning", true},
};

const char *klog_class(const char *text, unsigned level)
{
	for (unsigned i = 0; i < ARRAY_SIZE(patterns); i++) {
		const char *at = strstr(text, patterns[i].text);
		if (at && (at == text || !patterns[i].at_start))
			return patterns[i].class;
	}
	return "";
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
