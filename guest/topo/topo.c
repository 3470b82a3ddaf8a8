/* SPDX-License-Identifier: GPL-2.0-only */
/* The topology self-check (see topo.h). No state. */
#include "guest/topo/topo.h"

#include "common/fsat.h"
#include "common/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct check {
	int sys_fd;
	const struct cpu_layout *layout;
	void (*add_note)(void *arg, const char *note);
	void *arg;
	struct err *err;
};

static int read_text(const struct check *check, char *text, size_t size, const char *fmt, ...)
	printf_like(4, 5);
static int read_text(const struct check *check, char *text, size_t size, const char *fmt, ...)
{
	char path[256];
	va_list args;
	va_start(args, fmt);
	vsnprintf(path, sizeof(path), fmt, args);
	va_end(args);
	ssize_t n = fsat_read(check->sys_fd, path, text, size);
	return n < 0 ? (int)n : 0;
}

/* What the file at `path` lists must be `expected`; `what` begins the sentence. */
static int compare(
	const struct check *check, const char *path, const struct cpuset *expected, const char *what)
{
	char text[CPUSET_TEXT_BYTES], wanted[CPUSET_TEXT_BYTES];
	struct cpuset have;
	int r = read_text(check, text, sizeof(text), "%s", path);
	if (r < 0)
		return err_set_os(check->err, ERR_FAILED_PRECONDITION, -r, "%s: cannot read %s", what, path);
	if (cpuset_parse(text, &have, check->err) < 0)
		return err_wrap(check->err, "%s: %s", what, path);
	if (cpuset_equal(&have, expected))
		return 0;
	return err_set(check->err, ERR_FAILED_PRECONDITION,
		"the kernel does not see the topology: %s %s, not %s", what, text,
		cpuset_format(expected, wanted, sizeof(wanted)));
}

static int check_online(const struct check *check)
{
	struct cpuset all = cpuset_first_n(check->layout->n_cpus);
	return compare(check, "devices/system/cpu/online", &all, "online CPUs are");
}

static int check_nodes(const struct check *check)
{
	struct cpuset nodes = cpuset_first_n(check->layout->n_nodes);
	/* A kernel without NUMA has no such directory, and a machine of one node needs none. */
	char text[CPUSET_TEXT_BYTES];
	if (read_text(check, text, sizeof(text), "devices/system/node/online") == -ENOENT &&
		check->layout->n_nodes <= 1)
		return 0;
	int r = compare(check, "devices/system/node/online", &nodes, "online NUMA nodes are");
	for (unsigned node = 0; r == 0 && node < check->layout->n_nodes; node++) {
		struct cpuset cpus = cpu_layout_node(check->layout, node);
		char path[64], what[64];
		snprintf(path, sizeof(path), "devices/system/node/node%u/cpulist", node);
		snprintf(what, sizeof(what), "NUMA node %u has CPUs", node);
		r = compare(check, path, &cpus, what);
	}
	return r;
}

/* The data or unified cache of the highest level. */
static int last_cache(const struct check *check, unsigned cpu)
{
	int best = -1;
	unsigned best_level = 0;
	for (int index = 0; index < 16; index++) {
		char type[32], level[16];
		unsigned number;
		if (read_text(check, type, sizeof(type), "devices/system/cpu/cpu%u/cache/index%d/type", cpu,
			    index) < 0)
			break;
		if (!strcmp(type, "Instruction") ||
			read_text(check, level, sizeof(level), "devices/system/cpu/cpu%u/cache/index%d/level",
				cpu, index) < 0 ||
			sscanf(level, "%u", &number) != 1 || number < best_level)
			continue;
		best_level = number;
		best = index;
	}
	return best;
}

static int check_cpu(const struct check *check, unsigned cpu)
{
	const struct cpu_place *place = &check->layout->cpu[cpu];
	struct cpuset llc = cpu_layout_llc(check->layout, place->llc),
		      core = cpu_layout_core(check->layout, place->core);
	char path[96], what[96];
	snprintf(path, sizeof(path), "devices/system/cpu/cpu%u/topology/thread_siblings_list", cpu);
	snprintf(what, sizeof(what), "CPU %u shares its core with", cpu);
	int r = compare(check, path, &core, what);
	if (r < 0)
		return r;
	int index = last_cache(check, cpu);
	if (index < 0)
		return err_set(check->err, ERR_FAILED_PRECONDITION,
			"the kernel does not see the topology: CPU %u has no caches in sysfs", cpu);
	snprintf(path, sizeof(path), "devices/system/cpu/cpu%u/cache/index%d/shared_cpu_list", cpu, index);
	snprintf(what, sizeof(what), "CPU %u shares its last-level cache with", cpu);
	return compare(check, path, &llc, what);
}

static bool has_flag(const char *flags, const char *flag)
{
	size_t n = strlen(flag);
	for (const char *at = flags; (at = strstr(at, flag)); at += n)
		if ((at == flags || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0'))
			return true;
	return false;
}

/* What the scheduler built. Its debug files name the domains and their flags, not their CPUs; so what can be
 * checked is that the levels exist: a domain whose CPUs share a cache where the LLC has more than one core,
 * one that shares a core where it has threads, one across nodes where there are several. A domain of a single
 * CPU is left out by the kernel, and one that spans the same CPUs as its child is merged into it. */
static int check_domains(const struct check *check, unsigned cpu)
{
	const struct cpu_place *place = &check->layout->cpu[cpu];
	struct cpuset llc = cpu_layout_llc(check->layout, place->llc),
		      core = cpu_layout_core(check->layout, place->core);
	bool smt = false, cache = false, numa = false;
	unsigned domains = 0;
	for (; domains < 16; domains++) {
		char flags[512];
		if (read_text(check, flags, sizeof(flags), "kernel/debug/sched/domains/cpu%u/domain%u/flags",
			    cpu, domains) < 0)
			break;
		smt |= has_flag(flags, "SD_SHARE_CPUCAPACITY");
		cache |= has_flag(flags, "SD_SHARE_LLC") || has_flag(flags, "SD_SHARE_PKG_RESOURCES");
		numa |= has_flag(flags, "SD_NUMA");
	}
	const char *lacks = NULL;
	unsigned nodes_with_cpus = 0;
	for (unsigned node = 0; node < check->layout->n_nodes; node++) {
		struct cpuset cpus = cpu_layout_node(check->layout, node);
		nodes_with_cpus += !cpuset_is_empty(&cpus);
	}
	if (cpuset_count(&core) > 1 && !smt)
		lacks = "threads of a core (SD_SHARE_CPUCAPACITY)";
	else if (cpuset_count(&llc) > 1 && !cache)
		lacks = "CPUs that share a cache (SD_SHARE_LLC)";
	else if (nodes_with_cpus > 1 && !numa)
		lacks = "NUMA nodes (SD_NUMA)";
	else if (cpuset_count(&llc) == 1 && cache)
		return err_set(check->err, ERR_FAILED_PRECONDITION,
			"the scheduler does not see the topology: CPU %u has a domain of CPUs that share a "
			"cache, though its "
			"LLC is its own",
			cpu);
	return lacks ? err_set(check->err, ERR_FAILED_PRECONDITION,
			       "the scheduler does not see the topology: CPU %u has no domain of %s (it has "
			       "%u domains)",
			       cpu, lacks, domains)
		     : 0;
}

int topo_check(const char *sys, const struct cpu_layout *layout,
	void (*add_note)(void *arg, const char *note), void *arg, struct err *err)
{
	_cleanup_close_ int fd = open(sys, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct check check = {fd, layout, add_note, arg, err};
	if (fd < 0)
		return err_set_os(err, ERR_FAILED_PRECONDITION, errno, "cannot open %s", sys);
	int r = check_online(&check);
	if (r == 0)
		r = check_nodes(&check);
	for (unsigned cpu = 0; r == 0 && cpu < layout->n_cpus; cpu++)
		r = check_cpu(&check, cpu);
	if (r < 0 || layout->n_cpus == 1)
		return r; /* a single CPU has no domains */
	/* The kernel shows its domains once it is told to be verbose (sched_verbose_write(),
	 * kernel/sched/debug.c). */
	int verbose = fsat_write(fd, "kernel/debug/sched/verbose", "Y");
	if (faccessat(fd, "kernel/debug/sched/domains/cpu0", F_OK, 0) < 0) {
		char text[200];
		snprintf(text, sizeof(text),
			"the scheduler's domains were not checked: /sys/kernel/debug/sched/domains is not "
			"there "
			"(kernel/debug/sched/verbose: %s)",
			verbose < 0 ? strerror(-verbose) : "set");
		add_note(arg, text);
		return 0;
	}
	for (unsigned cpu = 0; r == 0 && cpu < layout->n_cpus; cpu++)
		r = check_domains(&check, cpu);
	return r;
}
