/* SPDX-License-Identifier: GPL-2.0-only */
/* The machine that the user asked for: nodes, last-level caches, cores, threads, memory, distances, APIC ids.
 * A plain value once made, any thread. */
#ifndef HOST_TOPOLOGY_TOPOLOGY_H
#define HOST_TOPOLOGY_TOPOLOGY_H

#include "common/cpu_layout.h"
#include "common/err.h"

#define TOPOLOGY_NODES_MAX 64
/* Below this kernels drop a node (NODE_MIN_SIZE in arch/x86/include/asm/numa.h is 4 MiB). */
#define TOPOLOGY_NODE_BYTES_MIN (UINT64_C(4) << 20)
#define TOPOLOGY_MEMORY_UNIT (UINT64_C(2) << 20)

struct topology {
	unsigned n_nodes, n_llcs, cores_per_llc, threads_per_core; /* as asked; n_llcs over the machine */
	struct cpu_layout layout;                  /* CPUs in order: node, LLC, core, thread */
	uint32_t apic_id[CPUSET_MAX];              /* sparse: fields are powers of two wide; ascending */
	unsigned thread_bits, core_bits, llc_bits; /* widths of the APIC id's fields, lowest first; the node
						      is above them */
	uint64_t node_bytes[TOPOLOGY_NODES_MAX];   /* memory per node, multiples of 2 MiB */
	uint8_t distance[TOPOLOGY_NODES_MAX][TOPOLOGY_NODES_MAX]; /* 10 on the diagonal, ACPI SLIT units */
};

/* "{numa}n{llcs}l{cores}c{threads}t", e.g. "2n4l4c2t": 2 nodes, 4 LLCs in total (a multiple of the nodes), 4
 * cores per LLC, 2 threads per core = 32 CPUs. memory_bytes is the machine's total, shared out evenly over
 * the nodes in units of 2 MiB (the first nodes take what is left over, the last part of a unit is lost).
 * ERR_INVALID_ARGUMENT says what is wrong and shows a right form. */
int topology_parse(const char *text, uint64_t memory_bytes, struct topology *ret, struct err *err) must_check;
/* Back to the text form. Returns buffer; TOPOLOGY_TEXT_BYTES always do. */
#define TOPOLOGY_TEXT_BYTES 48
const char *topology_format(const struct topology *topology, char *buffer, size_t size);

/* LLCs of each node. */
static inline unsigned topology_llcs_per_node(const struct topology *topology)
{
	return topology->n_llcs / topology->n_nodes;
}
/* CPUs of each node: one package is one node. */
static inline unsigned topology_cpus_per_node(const struct topology *topology)
{
	return topology->layout.n_cpus / topology->n_nodes;
}
/* Largest APIC id. Above 254 the guest needs x2APIC. */
static inline uint32_t topology_apic_id_max(const struct topology *topology)
{
	return topology->apic_id[topology->layout.n_cpus - 1];
}

#endif
