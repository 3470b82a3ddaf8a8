/* SPDX-License-Identifier: GPL-2.0-only */
/* The text form of a topology, what it comes to, and what is said about wrong ones. */
#include "host/topology/topology.h"

#include <criterion/criterion.h>
#include <string.h>

#define GIB (UINT64_C(1) << 30)

Test(topology, two_nodes_four_llcs)
{
	struct topology t;
	struct err err = ERR_INIT;
	cr_assert_eq(topology_parse("2n4l4c2t", 2 * GIB, &t, &err), 0, "%s", err.message);
	cr_assert_eq(t.layout.n_cpus, 32);
	cr_assert_eq(t.layout.n_nodes, 2);
	cr_assert_eq(t.layout.n_llcs, 4);
	cr_assert_eq(t.layout.n_cores, 16);
	cr_assert_eq(cpu_layout_check(&t.layout, &err), 0, "%s", err.message);
	/* CPU 21 = node 1, its first LLC (2), that one's core 2, thread 1. */
	cr_assert_eq(t.layout.cpu[21].node, 1);
	cr_assert_eq(t.layout.cpu[21].llc, 2);
	cr_assert_eq(t.layout.cpu[21].core, 10);
	cr_assert_eq(t.layout.cpu[21].thread, 1);
	for (unsigned cpu = 0; cpu < 32; cpu++)
		cr_assert_eq(t.apic_id[cpu], cpu, "no holes where every count is a power of two");
	cr_assert_eq(t.node_bytes[0], GIB);
	cr_assert_eq(t.node_bytes[1], GIB);
	cr_assert_eq(t.distance[0][0], 10);
	cr_assert_eq(t.distance[0][1], 20);
	cr_assert_eq(t.distance[1][0], 20);
	char text[TOPOLOGY_TEXT_BYTES];
	cr_assert_str_eq(topology_format(&t, text, sizeof(text)), "2n4l4c2t");
}

Test(topology, apic_ids_are_sparse_and_tell_the_place)
{
	static const char *const texts[] = {
		"1n1l1c1t", "1n2l3c1t", "2n4l3c1t", "3n9l5c3t", "1n1l1024c1t", "64n64l4c4t", "5n15l7c2t"};
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct topology t;
		struct err err = ERR_INIT;
		cr_assert_eq(topology_parse(texts[i], 4 * GIB, &t, &err), 0, "%s", err.message);
		cr_assert_eq(cpu_layout_check(&t.layout, &err), 0, "%s", err.message);
		unsigned core_shift = t.thread_bits, llc_shift = core_shift + t.core_bits,
			 node_shift = llc_shift + t.llc_bits;
		for (unsigned cpu = 0; cpu < t.layout.n_cpus; cpu++) {
			const struct cpu_place *p = &t.layout.cpu[cpu];
			uint32_t id = t.apic_id[cpu];
			cr_assert(cpu == 0 || id > t.apic_id[cpu - 1], "%s: ids ascend", texts[i]);
			cr_assert_eq(id >> node_shift, p->node, "%s: CPU %u", texts[i], cpu);
			for (unsigned other = 0; other < cpu; other++) {
				const struct cpu_place *q = &t.layout.cpu[other];
				cr_assert_eq(
					id >> llc_shift == t.apic_id[other] >> llc_shift, p->llc == q->llc);
				cr_assert_eq(id >> core_shift == t.apic_id[other] >> core_shift,
					p->core == q->core);
			}
		}
		cr_assert_eq(topology_apic_id_max(&t), t.apic_id[t.layout.n_cpus - 1]);
	}
}

Test(topology, uneven_memory)
{
	struct topology t;
	cr_assert_eq(topology_parse("3n3l1c1t", GIB + 123, &t, NULL), 0);
	uint64_t sum = 0;
	for (unsigned node = 0; node < 3; node++) {
		cr_assert_eq(t.node_bytes[node] % TOPOLOGY_MEMORY_UNIT, 0);
		cr_assert_leq(t.node_bytes[0] - t.node_bytes[node], TOPOLOGY_MEMORY_UNIT);
		sum += t.node_bytes[node];
	}
	cr_assert_eq(sum, GIB);
}

Test(topology, wrong_ones_say_what_is_wrong)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
		{"", "2n4l4c2t"},
		{"2n", "lacks its 'l' part"},
		{"2n4l4c", "lacks its 't' part"},
		{"2n3l4c2t", "3 LLCs cannot be shared out over 2 nodes: write a multiple, such as 2n4l4c2t"},
		{"4n2l1c1t", "2 LLCs cannot be shared out over 4 nodes: write a multiple, such as 4n4l1c1t"},
		{"2n3l", "lacks its 'c' part"},
		{"0n1l1c1t", "no NUMA nodes"},
		{"1n1l0c1t", "no cores per LLC"},
		{"1n1l1c0t", "no threads per core"},
		{"1n1l1025c1t", "too many cores"},
		{"1n4l256c2t", "2048 CPUs"},
		{"1n1024l1024c1024t", "at most 1024 are possible"},
		{"99999999999999999999n1l1c1t", "too many NUMA nodes"},
		{"65n65l1c1t", "at most 64"},
		{"2n4l4c2tx", "goes on with 'x'"},
		{"2n4l4c2t2n", "goes on with '2n'"},
		{" 2n4l4c2t", "number of NUMA nodes is expected"},
		{"2N4l4c2t", "where 'n'"},
		{"-2n4l4c2t", "number of NUMA nodes is expected"},
		{"4l2n4c2t", "where 'n'"},
		{"8", "where 'n'"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct topology t;
		memset(&t, 0x5a, sizeof(t));
		struct err err = ERR_INIT;
		cr_assert_lt(topology_parse(bad[i].text, GIB, &t, &err), 0, "'%s'", bad[i].text);
		cr_assert_eq(err.code, ERR_INVALID_ARGUMENT);
		cr_assert_not_null(
			strstr(err.message, bad[i].says), "'%s' says: %s", bad[i].text, err.message);
		cr_assert_eq(t.n_nodes, 0x5a5a5a5a, "result untouched");
	}
}

Test(topology, too_little_memory)
{
	struct topology t;
	struct err err = ERR_INIT;
	cr_assert_lt(topology_parse("8n8l1c1t", UINT64_C(16) << 20, &t, &err), 0);
	cr_assert_not_null(strstr(err.message, "too little for 8 NUMA nodes"), "%s", err.message);
	cr_assert_eq(topology_parse("8n8l1c1t", UINT64_C(32) << 20, &t, &err), 0);
}
