/* SPDX-License-Identifier: GPL-2.0-only */
/* The machine that the user asked for: nodes, last-level caches, cores, threads, memory, distances, APIC ids.
 * A plain value once made, any thread. */
#ifndef HOST_TOPOLOGY_TOPOLOGY_H
#define HOST_TOPOLOGY_TOPOLOGY_H

#include "common/cpu_layout.h"
#include "common/err.h"

#define TOPOLOGY_NODES_MAX 64

struct topology {
	unsigned n_nodes, n_llcs, cores_per_llc, threads_per_core; /* as asked; n_llcs over the machine */
	struct cpu_layout layout;                  /* CPUs in order: node, LLC, core, thread */
	uint32_t apic_id[CPUSET_MAX];              /* sparse: fields are powers of two wide */
	unsigned thread_bits, core_bits, llc_bits; /* widths of the APIC id's fields, lowest first */
	uint64_t node_bytes[TOPOLOGY_NODES_MAX];   /* memory per node, multiples of 2 MiB */
	uint8_t distance[TOPOLOGY_NODES_MAX][TOPOLOGY_NODES_MAX]; /* 10 on the diagonal, ACPI SLIT units */
};

/* "{numa}n{llcs}l{cores}c{threads}t", e.g. "2n4l4c2t": 2 nodes, 4 LLCs in total (a multiple of the nodes), 4
 * cores per LLC, 2 threads per core = 32 CPUs. memory_bytes is the machine's total, shared out evenly over
 * the nodes. ERR_INVALID_ARGUMENT says what is wrong and shows a right form. */
int topology_parse(const char *text, uint64_t memory_bytes, struct topology *ret, struct err *err) must_check;
/* Back to the text form. Returns buffer. */
const char *topology_format(const struct topology *topology, char *buffer, size_t size);

#endif
