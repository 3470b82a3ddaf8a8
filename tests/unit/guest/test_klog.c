/* SPDX-License-Identifier: GPL-2.0-only */
/* Records of the kernel log, and what trouble they tell of. */
#include "guest/init/init.h"
#include "proto/klog_list.h"

#include <criterion/criterion.h>
#include <string.h>

Test(klog, classes)
{
	static const struct {
		const char *text, *class;
	} table[] = {
		{"Kernel panic - not syncing: Fatal exception", "panic"},
		{"Oops: Oops: 0002 [#1] SMP NOPTI", "oops"},
		{"BUG: kernel NULL pointer dereference, address: 0000000000000010", "oops"},
		{"watchdog: BUG: soft lockup - CPU#3 stuck for 26s! [spin:123]", "soft_lockup"},
		{"INFO: task kworker/0:1:9 blocked for more than 120 seconds.", "hung_task"},
		{"rcu: INFO: rcu_preempt self-detected stall on CPU", "rcu_stall"},
		{"rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", "rcu_stall"},
		{"Memory cgroup out of memory: Killed process 12 (x) total-vm:1kB", "oom_kill"},
		{"sched_ext: scx_simple: runnable task stall", "sched_ext"},
		{"WARNING: CPU: 0 PID: 1 at kernel/sched/core.c:1", "warning"},
		{"Run /init as init process", ""},
		{"note: BUG: in the middle is somebody's words", ""},
		{"", ""},
	};
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
		cr_expect_str_eq(klog_class(table[i].text, 4), table[i].class, "%s", table[i].text);
		/* Every class of the list has a line above that is of it. */
#define X(upper, snake, what)                                                                                \
	{                                                                                                    \
		bool seen = false;                                                                           \
		for (unsigned i = 0; i < ARRAY_SIZE(table); i++)                                             \
			seen |= strcmp(klog_class(table[i].text, 4), #snake) == 0;                           \
		cr_expect(seen, "no line of class %s", #snake);                                              \
	}
	KLOG_CLASS_LIST(X)
#undef X
}

Test(klog, records)
{
	struct klog_line line;
	char good[] = "12,339,5140900,-;text; with more\n SUBSYSTEM=x\n";
	cr_assert(klog_parse(good, &line));
	cr_expect_eq(line.level, 4, "the facility is not the level");
	cr_expect_eq(line.time_ns, 5140900000);
	cr_expect_str_eq(line.text, "text; with more");
	static const char *const bad[] = {"", "6,1,2", "no numbers;x", ";", "6,1;x"};
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		char copy[32];
		strcpy(copy, bad[i]);
		cr_expect(!klog_parse(copy, &line), "%s", bad[i]);
	}
}

Test(klog, speed_of_the_command_line)
{
	cr_expect_eq(init_cmdline_speed(""), 100);
	cr_expect_eq(init_cmdline_speed("quiet schedrig.speed=5 panic=-1"), 5);
	cr_expect_eq(init_cmdline_speed("schedrig.speed=0"), 1);
	cr_expect_eq(init_cmdline_speed("schedrig.speed=400"), 100);
	cr_expect_eq(init_cmdline_speed("xschedrig.speed=7"), 100);
	cr_expect_eq(init_cmdline_speed("schedrig.speed=x"), 100);
}
