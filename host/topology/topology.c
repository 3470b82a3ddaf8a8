/* SPDX-License-Identifier: GPL-2.0-only */
/* The machine that the user asked for (see topology.h). No state. */
#include "host/topology/topology.h"

#include <stdio.h>

#define RIGHT_FORM "write nodes, LLCs in total, cores per LLC and threads per core, such as 2n4l4c2t"

#define DISTANCE_LOCAL 10
#define DISTANCE_REMOTE 20

/* The parts of the text form, in order. */
struct part {
	char letter;
	const char *what;
	unsigned max;
};
static const struct part parts[] = {
	{'n', "NUMA nodes", TOPOLOGY_NODES_MAX},
	{'l', "LLCs", CPUSET_MAX},
	{'c', "cores per LLC", CPUSET_MAX},
	{'t', "threads per core", CPUSET_MAX},
};

/* Reads NUMBER LETTER at *p and moves behind it. */
static int part_parse(
	const char *text, const char **p, const struct part *part, unsigned *ret, struct err *err)
{
	const char *digits = *p;
	unsigned value = 0;
	while (**p >= '0' && **p <= '9') {
		/* Clamped: what is beyond the largest is refused below, whatever its digits. */
		value = MIN_OF(value * 10 + (unsigned)(**p - '0'), 100000u);
		(*p)++;
	}
	if (!**p && *p == digits)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"topology '%.40s' lacks its '%c' part (%s): " RIGHT_FORM, text, part->letter,
			part->what);
	if (*p == digits)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"topology '%.40s' has '%.10s' where a number of %s is expected: " RIGHT_FORM, text,
			digits, part->what);
	if (**p != part->letter)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"topology '%.40s' has '%.10s' where '%c' (%s) is expected: " RIGHT_FORM, text, *p,
			part->letter, part->what);
	(*p)++;
	if (value == 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"topology '%.40s' has no %s: every number is at least 1", text, part->what);
	if (value > part->max)
		return err_set(err, ERR_INVALID_ARGUMENT, "topology '%.40s' has too many %s: at most %u",
			text, part->what, part->max);
	*ret = value;
	return 0;
}

static unsigned bits_for(unsigned count)
{
	return count <= 1 ? 0 : 32 - (unsigned)__builtin_clz(count - 1);
}

static void place_cpus(struct topology *t)
{
	unsigned llcs_per_node = topology_llcs_per_node(t);
	t->thread_bits = bits_for(t->threads_per_core);
	t->core_bits = bits_for(t->cores_per_llc);
	t->llc_bits = bits_for(llcs_per_node);
	unsigned core_shift = t->thread_bits, llc_shift = core_shift + t->core_bits,
		 node_shift = llc_shift + t->llc_bits;
	unsigned cpu = 0;
	for (unsigned llc = 0; llc < t->n_llcs; llc++)
		for (unsigned core = 0; core < t->cores_per_llc; core++)
			for (unsigned thread = 0; thread < t->threads_per_core; thread++, cpu++) {
				unsigned node = llc / llcs_per_node;
				t->layout.cpu[cpu] = (struct cpu_place){
					.node = (uint16_t)node,
					.llc = (uint16_t)llc,
					.core = (uint16_t)(llc * t->cores_per_llc + core),
					.thread = (uint16_t)thread,
				};
				t->apic_id[cpu] = node << node_shift | llc % llcs_per_node << llc_shift |
						  core << core_shift | thread;
			}
	t->layout.n_cpus = cpu;
	t->layout.n_nodes = t->n_nodes;
	t->layout.n_llcs = t->n_llcs;
	t->layout.n_cores = t->n_llcs * t->cores_per_llc;
}

static int share_memory(struct topology *t, uint64_t memory_bytes, struct err *err)
{
	uint64_t units = memory_bytes / TOPOLOGY_MEMORY_UNIT;
	if (units / t->n_nodes < TOPOLOGY_NODE_BYTES_MIN / TOPOLOGY_MEMORY_UNIT)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"%llu KiB of memory are too little for %u NUMA node%s: each needs at least %llu MiB",
			(unsigned long long)(memory_bytes >> 10), t->n_nodes, t->n_nodes == 1 ? "" : "s",
			(unsigned long long)(TOPOLOGY_NODE_BYTES_MIN >> 20));
	for (unsigned node = 0; node < t->n_nodes; node++)
		t->node_bytes[node] =
			(units / t->n_nodes + (node < units % t->n_nodes)) * TOPOLOGY_MEMORY_UNIT;
	return 0;
}

int topology_parse(const char *text, uint64_t memory_bytes, struct topology *ret, struct err *err)
{
	unsigned value[ARRAY_SIZE(parts)];
	const char *p = text;
	if (!*text)
		return err_set(err, ERR_INVALID_ARGUMENT, "an empty topology: " RIGHT_FORM);
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		int r = part_parse(text, &p, &parts[i], &value[i], err);
		if (r < 0)
			return r;
	}
	if (*p)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"topology '%.40s' goes on with '%.10s' behind its threads: " RIGHT_FORM, text, p);
	unsigned nodes = value[0], llcs = value[1], cores = value[2], threads = value[3];
	if (llcs % nodes != 0) {
		unsigned more = (llcs / nodes + 1) * nodes;
		return err_set(err, ERR_INVALID_ARGUMENT,
			"%u LLCs cannot be shared out over %u nodes: write a multiple, such as %un%ul%uc%ut",
			llcs, nodes, nodes, more, cores, threads);
	}
	/* Each factor is at most 1024. */
	uint64_t cpus = (uint64_t)llcs * cores * threads;
	if (cpus > CPUSET_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"topology '%.40s' has %u * %u * %u = %llu CPUs: at most %d are possible", text, llcs,
			cores, threads, (unsigned long long)cpus, CPUSET_MAX);
	struct topology made = {
		.n_nodes = nodes, .n_llcs = llcs, .cores_per_llc = cores, .threads_per_core = threads};
	int r = share_memory(&made, memory_bytes, err);
	if (r < 0)
		return r;
	place_cpus(&made);
	for (unsigned a = 0; a < nodes; a++)
		for (unsigned b = 0; b < nodes; b++)
			made.distance[a][b] = a == b ? DISTANCE_LOCAL : DISTANCE_REMOTE;
	*ret = made;
	return 0;
}

const char *topology_format(const struct topology *topology, char *buffer, size_t size)
{
	snprintf(buffer, size, "%un%ul%uc%ut", topology->n_nodes, topology->n_llcs, topology->cores_per_llc,
		topology->threads_per_core);
	return buffer;
}
