/* SPDX-License-Identifier: GPL-2.0-only */
/* The topology self-check against a sysfs made by hand: 2 nodes, an LLC of 2 cores each, 2 threads a core. */
#include "guest/topo/topo.h"

#include "common/fd.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char sys[] = "/tmp/schedrig-sys-XXXXXX";
static struct cpu_layout layout;
static unsigned n_notes;

static void note(void *arg, const char *text)
{
	n_notes++;
}

static void put(const char *text, const char *fmt, ...) printf_like(2, 3);
static void put(const char *text, const char *fmt, ...)
{
	char name[200], path[300], *slash;
	struct err err = ERR_INIT;
	va_list args;
	va_start(args, fmt);
	vsnprintf(name, sizeof(name), fmt, args);
	va_end(args);
	snprintf(path, sizeof(path), "%s/%s", sys, name);
	slash = strrchr(path, '/');
	*slash = '\0';
	cr_assert_eq(fd_mkdir_p(path, 0755, &err), 0, "%s", err.message);
	*slash = '/';
	FILE *file = fopen(path, "w");
	cr_assert_not_null(file);
	fprintf(file, "%s\n", text);
	fclose(file);
}

static void make(void)
{
	cr_assert_not_null(mkdtemp(sys));
	layout = (struct cpu_layout){.n_cpus = 8, .n_nodes = 2, .n_llcs = 2, .n_cores = 4};
	put("0-7", "devices/system/cpu/online");
	put("0-1", "devices/system/node/online");
	put("0-3", "devices/system/node/node0/cpulist");
	put("4-7", "devices/system/node/node1/cpulist");
	for (unsigned cpu = 0; cpu < 8; cpu++) {
		char core[16], llc[16];
		layout.cpu[cpu] = (struct cpu_place){
			(uint16_t)(cpu / 4), (uint16_t)(cpu / 4), (uint16_t)(cpu / 2), (uint16_t)(cpu % 2)};
		snprintf(core, sizeof(core), "%u-%u", cpu / 2 * 2, cpu / 2 * 2 + 1);
		snprintf(llc, sizeof(llc), "%u-%u", cpu / 4 * 4, cpu / 4 * 4 + 3);
		put(core, "devices/system/cpu/cpu%u/topology/thread_siblings_list", cpu);
		put("Instruction", "devices/system/cpu/cpu%u/cache/index0/type", cpu);
		put("1", "devices/system/cpu/cpu%u/cache/index0/level", cpu);
		put(core, "devices/system/cpu/cpu%u/cache/index0/shared_cpu_list", cpu);
		put("Unified", "devices/system/cpu/cpu%u/cache/index1/type", cpu);
		put("3", "devices/system/cpu/cpu%u/cache/index1/level", cpu);
		put(llc, "devices/system/cpu/cpu%u/cache/index1/shared_cpu_list", cpu);
		put("SD_BALANCE_NEWIDLE SD_SHARE_CPUCAPACITY SD_SHARE_LLC",
			"kernel/debug/sched/domains/cpu%u/domain0/flags", cpu);
		put("SD_BALANCE_NEWIDLE SD_SHARE_LLC", "kernel/debug/sched/domains/cpu%u/domain1/flags", cpu);
		put("SD_BALANCE_NEWIDLE SD_NUMA", "kernel/debug/sched/domains/cpu%u/domain2/flags", cpu);
	}
}

static void drop(void)
{
	char command[64];
	snprintf(command, sizeof(command), "rm -r %s", sys);
	cr_assert_eq(system(command), 0);
}

static const char *check(void)
{
	static struct err err;
	err = ERR_INIT;
	n_notes = 0;
	return topo_check(sys, &layout, note, NULL, &err) == 0 ? "good" : err.message;
}

static void expect(const char *words)
{
	const char *said = check();
	cr_expect_not_null(strstr(said, words), "said: %s", said);
}

Test(topo, good, .init = make, .fini = drop)
{
	expect("good");
	cr_expect_eq(n_notes, 0);
}

Test(topo, names_the_first_difference, .init = make, .fini = drop)
{
	put("0-7", "devices/system/cpu/cpu3/cache/index1/shared_cpu_list");
	expect("CPU 3 shares its last-level cache with 0-7, not 0-3");
	put("2", "devices/system/cpu/cpu2/topology/thread_siblings_list");
	expect("CPU 2 shares its core with 2, not 2-3");
	put("0-2", "devices/system/node/node0/cpulist");
	expect("NUMA node 0 has CPUs 0-2, not 0-3");
	put("0-6", "devices/system/cpu/online");
	expect("online CPUs are 0-6, not 0-7");
}

Test(topo, looks_at_the_scheduler, .init = make, .fini = drop)
{
	put("SD_BALANCE_NEWIDLE", "kernel/debug/sched/domains/cpu5/domain2/flags");
	expect("CPU 5 has no domain of NUMA nodes");
	put("SD_SHARE_CPUCAPACITY", "kernel/debug/sched/domains/cpu1/domain0/flags");
	put("SD_BALANCE_NEWIDLE", "kernel/debug/sched/domains/cpu1/domain1/flags");
	expect("CPU 1 has no domain of CPUs that share a cache");
	char command[100];
	snprintf(command, sizeof(command), "rm -r %s/kernel", sys);
	cr_assert_eq(system(command), 0);
	expect("good");
	cr_expect_eq(n_notes, 1, "what was not checked is said");
}
