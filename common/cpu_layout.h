/* SPDX-License-Identifier: GPL-2.0-only */
/* Which node, last-level cache, core and thread each CPU is: the form of a topology that both sides of a link
 * need. A plain value, any thread. */
#ifndef COMMON_CPU_LAYOUT_H
#define COMMON_CPU_LAYOUT_H

#include "common/cpuset.h"

struct cpu_place {
	uint16_t node;   /* NUMA node, 0.. */
	uint16_t llc;    /* last-level cache, 0.. over the machine */
	uint16_t core;   /* core, 0.. over the machine */
	uint16_t thread; /* thread within its core, 0.. */
};

struct cpu_layout {
	unsigned n_cpus, n_nodes, n_llcs, n_cores; /* n_nodes includes nodes with memory only */
	struct cpu_place cpu[CPUSET_MAX];
};

/* CPUs of node / LLC / core `index`; empty when there is none. */
struct cpuset cpu_layout_node(const struct cpu_layout *layout, unsigned index);
struct cpuset cpu_layout_llc(const struct cpu_layout *layout, unsigned index);
struct cpuset cpu_layout_core(const struct cpu_layout *layout, unsigned index);
/* All CPUs but the last one when there are more than two (it stays free for the root cgroup), otherwise all.
 */
struct cpuset cpu_layout_usable(const struct cpu_layout *layout);
/* Numbers without gaps, counts that agree, at least one CPU. For layouts that come from a peer. */
int cpu_layout_check(const struct cpu_layout *layout, struct err *err) must_check;

#endif
