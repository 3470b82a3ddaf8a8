/* SPDX-License-Identifier: GPL-2.0-only */
/* The one list of assertions for people: names are the fields of Assertions in scenario.proto.
 * X(name, parameter, unit, default, rule); default "": it has to be given. */
#ifndef HOST_ENGINE_ASSERTION_LIST_H
#define HOST_ENGINE_ASSERTION_LIST_H

#define ASSERTION_LIST(X)                                                                                    \
	X(not_stuck, "", "", "",                                                                             \
		"every worker does some work, none is without progress for more than 2 s, and off-CPU "      \
		"shares of workers "                                                                         \
		"of one cgroup and type differ by at most 15 %")                                             \
	X(max_spread_pct, "number", "% of the time", "15 with not_stuck",                                    \
		"off-CPU shares of workers of one cgroup and type differ by at most this")                   \
	X(max_gap, "duration", "", "2s with not_stuck", "no worker is without progress for longer")          \
	X(isolation, "", "", "", "no worker uses a CPU outside the cpuset in force at that time")            \
	X(max_throughput_cv, "number", "", "",                                                               \
		"deviation / mean of units per CPU-second over workers of one cgroup and type, at least "    \
		"two")                                                                                       \
	X(min_work_rate, "number", "units per CPU-second", "", "each worker's")                              \
	X(max_p99_wake_latency, "duration", "", "",                                                          \
		"99th percentile of wake-up latencies, timers' included, of each cgroup; from 100 samples "  \
		"on")                                                                                        \
	X(max_wake_latency_cv, "number", "", "",                                                             \
		"deviation / mean of wake-up latencies, timers' included, of each cgroup; from 100 samples " \
		"on")                                                                                        \
	X(min_iteration_rate, "number", "iterations per second", "", "each worker's, of its whole time")     \
	X(max_migration_ratio, "number", "CPU changes per iteration", "", "of each cgroup")                  \
	X(min_page_locality, "number", "0..1", "",                                                           \
		"share of pages on nodes whose CPUs their worker used, of each cgroup")                      \
	X(max_cross_node_migration_ratio, "number", "pages moved per page held", "",                         \
		"pages that the kernel moved between nodes, against the pages of all workers")               \
	X(max_steal_pct, "number", "% of the time", "20",                                                    \
		"no assertion by itself: when the host kept a vCPU waiting for more than this share, "       \
		"timing that is not "                                                                        \
		"as asserted is Inconclusive instead of Fail")                                               \
	X(delta, "list", "", "",                                                                             \
		"{metric, step, against, min_change_pct, max_change_pct, cgroup, payload}: a metric of one " \
		"step, "                                                                                     \
		"or of a payload's output in it, against another's")                                         \
	X(expect_kernel_log, "list", "", "",                                                                 \
		"{contains, class, never}: a line of the guest's kernel log must come")                      \
	X(expect_value, "list", "", "",                                                                      \
		"{path, symbol, ... or tag; eq, ne, lt, le, gt or ge}: kernel memory at the end of the "     \
		"hold")

#endif
