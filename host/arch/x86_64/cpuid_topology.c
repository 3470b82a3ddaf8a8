/* SPDX-License-Identifier: GPL-2.0-only */
/* CPUID leaves that say where a CPU is and what it shares. No state.
 *
 * One package is one NUMA node, so that no kernel takes it for nodes within a package. APIC id:
 *
 *     | node (package) | LLC in node | core in LLC | thread |
 *
 * Every "number sharing" below is the number of APIC ids a level spans, a power of two, not the number of
 * CPUs: kernels find sharers by dividing or shifting APIC ids by it (arch/x86/kernel/cpu/cacheinfo.c:
 * get_cache_id() shifts by its order, __cache_amd_cpumap_setup() divides), and ids are sparse.
 *
 * Sources: AMD APM vol. 3 appendix E.4 (leaves 0x8000_00xx), Intel SDM vol. 2A CPUID (1, 4, 0xB, 0x1F). */
#include "host/arch/x86_64/cpuid_table.h"

/* One geometry for everybody: results from different hosts compare. */
struct cache {
	unsigned level, type; /* type: 1 data, 2 instruction, 3 unified */
	unsigned ways, sets;  /* lines of 64 bytes */
};
static const struct cache caches[] = {
	{1, 1, 8, 64},     /* 32 KiB */
	{1, 2, 8, 64},     /* 32 KiB */
	{2, 3, 8, 1024},   /* 512 KiB */
	{3, 3, 16, 16384}, /* 16 MiB */
};
#define LINE_BYTES 64u
#define L1_KIB 32u
#define L2_KIB 512u
#define L3_MIB 16u

static unsigned llc_shift(const struct topology *t)
{
	return t->thread_bits + t->core_bits;
}

static unsigned package_shift(const struct topology *t)
{
	return llc_shift(t) + t->llc_bits;
}

/* The cache leaves of both vendors differ in EAX[31:26] and nothing else that is used here. */
static bool put_caches(
	struct cpuid_table *table, uint32_t leaf, uint32_t cores_field, const struct topology *t)
{
	for (unsigned i = 0; i < ARRAY_SIZE(caches); i++) {
		const struct cache *c = &caches[i];
		uint32_t sharing = 1u << (c->level == 3 ? llc_shift(t) : t->thread_bits);
		uint32_t eax = c->type | c->level << 5 | 1u << 8 | MIN_OF(sharing - 1, 0xfffu) << 14 |
			       cores_field << 26;
		if (!cpuid_put(table, leaf, i, CPUID_INDEXED, eax, (LINE_BYTES - 1) | (c->ways - 1) << 22,
			    c->sets - 1, 0))
			return false;
	}
	/* Kernels count leaves up to the first of type 0. */
	return cpuid_put(table, leaf, ARRAY_SIZE(caches), CPUID_INDEXED, 0, 0, 0, 0);
}

/* 0xB and its successor 0x1F: shift to the next level, CPUs at this level, level's type, x2APIC id. */
static bool put_extended_topology(
	struct cpuid_table *table, uint32_t leaf, const struct topology *t, uint32_t apic_id)
{
	enum { LEVEL_SMT = 1, LEVEL_CORE = 2 };
	return cpuid_put(table, leaf, 0, CPUID_INDEXED, t->thread_bits, t->threads_per_core,
		       0 | LEVEL_SMT << 8, apic_id) &&
	       cpuid_put(table, leaf, 1, CPUID_INDEXED, package_shift(t), topology_cpus_per_node(t),
		       1 | LEVEL_CORE << 8, apic_id) &&
	       cpuid_put(table, leaf, 2, CPUID_INDEXED, 0, 0, 2, apic_id);
}

static bool put_amd(struct cpuid_table *table, const struct topology *t, unsigned cpu)
{
	uint32_t apic_id = t->apic_id[cpu], cpus = topology_cpus_per_node(t);
	struct kvm_cpuid_entry2 *features = cpuid_get(table, 0x80000001, 0, CPUID_PLAIN),
				*sizes = cpuid_get(table, 0x80000008, 0, CPUID_PLAIN);
	if (!features || !sizes)
		return false;
	features->ecx |= 1u << 22; /* TOPOEXT: leaves 0x8000001D and 0x8000001E count */
	features->ecx = cpus > 1 ? features->ecx | 1u << 1 : features->ecx & ~(1u << 1); /* CmpLegacy */
	sizes->ecx = MIN_OF(cpus - 1, 255u) | package_shift(t) << 12;
	/* EBX[7:0] is the core within the package, EBX[15:8] threads per core - 1; ECX[7:0] the node,
	 * ECX[10:8] nodes per package - 1. */
	uint32_t core = (apic_id & ((1u << package_shift(t)) - 1)) >> t->thread_bits;
	return put_caches(table, 0x8000001d, 0, t) &&
	       cpuid_put(table, 0x8000001e, 0, CPUID_PLAIN, apic_id,
		       (core & 0xff) | MIN_OF(t->threads_per_core - 1, 255u) << 8, t->layout.cpu[cpu].node,
		       0) &&
	       /* Size in KiB [31:24], ways [23:16], lines per tag [15:8], line bytes [7:0]; TLBs are not
		  told. */
	       cpuid_put(table, 0x80000005, 0, CPUID_PLAIN, 0, 0,
		       L1_KIB << 24 | 8u << 16 | 1u << 8 | LINE_BYTES,
		       L1_KIB << 24 | 8u << 16 | 1u << 8 | LINE_BYTES) &&
	       /* Without an L3 here kernels take the node for the LLC (cacheinfo_amd_init_llc_id()).
		* Associativity 6: 8 ways, 8: 16 ways. L3 size counts in 512 KiB from bit 18. */
	       cpuid_put(table, 0x80000006, 0, CPUID_PLAIN, 0, 0,
		       L2_KIB << 16 | 6u << 12 | 1u << 8 | LINE_BYTES,
		       (L3_MIB * 2) << 18 | 8u << 12 | 1u << 8 | LINE_BYTES);
}

static bool put_intel(
	struct cpuid_table *table, const struct topology *t, uint32_t apic_id, uint32_t max_leaf)
{
	/* EAX[31:26]: core ids in the package - 1, six bits; larger packages are told by 0xB alone. */
	uint32_t cores = MIN_OF(1u << (t->core_bits + t->llc_bits), 64u);
	return put_caches(table, 4, cores - 1, t) &&
	       /* Descriptor 0xff: caches are in leaf 4. */
	       cpuid_put(table, 2, 0, CPUID_PLAIN, 0x00feff01, 0, 0, 0) &&
	       (max_leaf < 0x1f || put_extended_topology(table, 0x1f, t, apic_id));
}

bool cpuid_put_topology(
	struct cpuid_table *table, enum cpuid_vendor vendor, const struct topology *t, unsigned cpu)
{
	static const uint32_t leaves[] = {2, 4, 0xb, 0x1f, 0x80000005, 0x8000001d, 0x8000001e, 0x80000026};
	uint32_t apic_id = t->apic_id[cpu], cpus = topology_cpus_per_node(t);
	for (size_t i = 0; i < ARRAY_SIZE(leaves); i++)
		cpuid_drop(table, leaves[i]);
	struct kvm_cpuid_entry2 *top = cpuid_get(table, 0, 0, CPUID_PLAIN),
				*one = cpuid_get(table, 1, 0, CPUID_PLAIN);
	if (!top || !one)
		return false;
	/* APIC id [31:24], logical CPUs of the package [23:16] (Intel: ids), line size in 8 bytes [15:8]. */
	uint32_t logical = vendor == CPUID_VENDOR_INTEL ? 1u << package_shift(t) : cpus;
	one->ebx = (apic_id & 0xff) << 24 | MIN_OF(logical, 255u) << 16 | LINE_BYTES / 8 << 8;
	one->edx = cpus > 1 ? one->edx | 1u << 28 : one->edx & ~(1u << 28); /* HTT */
	if (!put_extended_topology(table, 0xb, t, apic_id))
		return false;
	return vendor == CPUID_VENDOR_AMD ? put_amd(table, t, cpu) : put_intel(table, t, apic_id, top->eax);
}
