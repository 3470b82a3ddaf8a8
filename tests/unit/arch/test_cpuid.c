/* SPDX-License-Identifier: GPL-2.0-only */
/* CPUID tables, read the way kernels read them: what the kernel would conclude about siblings, cores,
 * packages and shared caches must be the topology asked for. The reader below follows arch/x86/kernel/cpu/
 * topology_ext.c, topology_amd.c and cacheinfo.c, not the code under test. */
#include "host/arch/x86_64/cpuid.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const topologies[] = {"1n1l1c1t", "1n1l2c1t", "1n1l1c2t", "1n2l8c2t", "2n4l4c2t",
	"2n4l3c1t", "2n4l2c1t", "3n9l5c3t", "1n1l3c5t", "2n2l3c5t", "1n3l3c5t", "4n4l1c1t", "1n1l300c1t",
	"64n64l4c4t", "5n15l7c2t", "1n1l1c3t"};

/* What a modern host's KVM says, as far as it matters here; plus claims that must not get through. */
static struct cpuid_table host_table(const char *vendor, uint32_t signature)
{
	struct cpuid_table t = {0};
	uint32_t name[3];
	memcpy(name, vendor, 12);
	struct kvm_cpuid_entry2 leaves[] = {
		{.function = 0, .eax = 0x1f, .ebx = name[0], .edx = name[1], .ecx = name[2]},
		{.function = 1,
			.eax = signature,
			.ebx = 0x07100800,
			.ecx = 0x81202028 | 1u << 5,
			.edx = 0x078bfbff},
		{.function = 4, .index = 0, .flags = 1, .eax = 0x1c004121},
		{.function = 4, .index = 1, .flags = 1, .eax = 0x1c004122},
		{.function = 5, .eax = 64, .ebx = 64, .ecx = 3},
		{.function = 6, .eax = 0x77, .ecx = 9},
		{.function = 7,
			.flags = 1,
			.eax = 1,
			.ebx = 0x01800002 | 1u << 11,
			.ecx = 1u << 16 | 1u << 2},
		{.function = 7, .index = 1, .flags = 1, .eax = 0x10},
		{.function = 0xa, .eax = 0x07300402},
		{.function = 0xb, .index = 0, .flags = 1, .eax = 1, .ebx = 2, .ecx = 0x100, .edx = 7},
		{.function = 0xd, .index = 0, .flags = 1, .eax = 7, .ebx = 832, .ecx = 832},
		{.function = 0xd, .index = 1, .flags = 1, .eax = 1},
		{.function = 0x40000000,
			.eax = 0x40000001,
			.ebx = 0x4b4d564b,
			.ecx = 0x564b4d56,
			.edx = 0x4d},
		{.function = 0x40000001, .eax = 0x01007efb},
		{.function = 0x80000000, .eax = 0x80000026},
		{.function = 0x80000001, .eax = signature, .ecx = 0x00000197, .edx = 0x2fd3fbff},
		{.function = 0x80000007, .ebx = 0x3, .edx = 0x7ff},
		{.function = 0x80000008, .eax = 0x3934, .ebx = 0x08000010, .ecx = 0x703f},
		{.function = 0x8000000a, .eax = 1, .ebx = 8, .edx = 0xff},
		{.function = 0x80000026, .index = 0, .flags = 1, .eax = 1, .ebx = 2, .ecx = 0x100},
	};
	memcpy(t.entries, leaves, sizeof(leaves));
	t.nent = ARRAY_SIZE(leaves);
	return t;
}

struct regs {
	uint32_t eax, ebx, ecx, edx;
};

/* As KVM answers: exact match, zeros otherwise. */
static struct regs cpuid(const struct cpuid_table *t, uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < t->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &t->entries[i];
		if (e->function == function && (!(e->flags & 1) || e->index == index))
			return (struct regs){e->eax, e->ebx, e->ecx, e->edx};
	}
	return (struct regs){0};
}

static unsigned order(uint32_t count)
{
	unsigned bits = 0;
	while ((1u << bits) < count)
		bits++;
	return bits;
}

/* What the kernel would make of one CPU. */
struct seen {
	uint32_t apic_id, core, package, llc, node_id;
	uint32_t l1_first, l1_last, l2_first, l2_last;
};

static struct seen look(const struct cpuid_table *t)
{
	struct seen s = {0};
	bool amd = cpuid(t, 0, 0).ecx == 0x444d4163;
	uint32_t leaf = 0xb;
	if (!amd && cpuid(t, 0, 0).eax >= 0x1f && cpuid(t, 0x1f, 0).ebx != 0)
		leaf = 0x1f;
	cr_assert_geq(cpuid(t, 0, 0).eax, leaf);
	cr_assert_lt(cpuid(t, 0x80000000, 0).eax, 0x80000026, "another description of the topology");
	/* parse_topology_leaf(): SMT then core; the last level's shift is the package's. */
	unsigned smt_shift = 0, shift = 0;
	for (uint32_t i = 0;; i++) {
		struct regs r = cpuid(t, leaf, i);
		if ((r.ecx >> 8 & 0xff) == 0 || (r.ebx & 0xffff) == 0)
			break;
		cr_assert_eq(r.ecx >> 8 & 0xff, i + 1, "level types in order");
		cr_assert_geq(1u << (r.eax & 0x1f), r.ebx & 0xffff, "the shift has room for the CPUs");
		if (i == 0)
			smt_shift = r.eax & 0x1f;
		shift = r.eax & 0x1f;
		s.apic_id = r.edx;
	}
	s.core = s.apic_id >> smt_shift;
	s.package = s.apic_id >> shift;
	cr_assert_eq(cpuid(t, 1, 0).ebx >> 24, s.apic_id & 0xff);
	uint32_t cache_leaf = amd ? 0x8000001d : 4;
	if (amd) {
		uint32_t signature = cpuid(t, 1, 0).eax;
		uint32_t family = (signature >> 8 & 0xf) + (signature >> 20 & 0xff);
		cr_assert_geq(family, 0x19);
		cr_assert_eq(signature, cpuid(t, 0x80000001, 0).eax);
		cr_assert_geq(cpuid(t, 0x80000000, 0).eax, 0x8000001e);
		cr_assert(cpuid(t, 0x80000001, 0).ecx & 1u << 22, "TOPOEXT");
		cr_assert_neq(cpuid(t, 0x80000006, 0).edx, 0, "an L3, else LLC = node");
		struct regs r = cpuid(t, 0x8000001e, 0);
		cr_assert_eq(r.eax, s.apic_id);
		cr_assert_eq(r.ecx >> 8 & 7, 0, "one node a package");
		cr_assert_eq(order((r.ebx >> 8 & 0xff) + 1), smt_shift);
		cr_assert_eq(r.ebx & 0xff, s.core & ((1u << (shift - smt_shift)) - 1) & 0xff);
		s.node_id = r.ecx & 0xff;
		/* parse_8000_0008(), the way without 0xB. */
		cr_assert_eq(cpuid(t, 0x80000008, 0).ecx >> 12 & 0xf, shift);
	}
	unsigned levels = 0;
	for (uint32_t i = 0; cpuid(t, cache_leaf, i).eax & 0x1f; i++, levels++) {
		struct regs r = cpuid(t, cache_leaf, i);
		uint32_t sharing = (r.eax >> 14 & 0xfff) + 1, level = r.eax >> 5 & 7;
		uint32_t first = s.apic_id - s.apic_id % sharing;
		uint64_t bytes = ((uint64_t)(r.ebx >> 22) + 1) * ((r.ebx >> 12 & 0x3ff) + 1) *
				 ((r.ebx & 0xfff) + 1) * ((uint64_t)r.ecx + 1);
		cr_assert(bytes >= 32768 && bytes <= 64 << 20, "a plausible size: %llu",
			(unsigned long long)bytes);
		if (level == 1) {
			s.l1_first = first;
			s.l1_last = first + sharing - 1;
		} else if (level == 2) {
			s.l2_first = first;
			s.l2_last = first + sharing - 1;
		} else {
			cr_assert_eq(level, 3);
			s.llc = s.apic_id >> order(sharing);
		}
	}
	cr_assert_eq(levels, 4);
	return s;
}

static void check_topology(const char *text, const struct cpuid_table *host)
{
	static struct seen seen[CPUSET_MAX];
	struct topology t;
	struct err err = ERR_INIT;
	cr_assert_eq(topology_parse(text, UINT64_C(4) << 30, &t, &err), 0, "%s", err.message);
	for (unsigned cpu = 0; cpu < t.layout.n_cpus; cpu++) {
		struct cpuid_table table;
		cr_assert_eq(cpuid_build(&t, cpu, host, &table, &err), 0, "%s", err.message);
		seen[cpu] = look(&table);
		cr_assert_eq(seen[cpu].apic_id, t.apic_id[cpu]);
	}
	bool amd = cpuid(host, 0, 0).ecx == 0x444d4163;
	for (unsigned a = 0; a < t.layout.n_cpus; a++) {
		const struct cpu_place *p = &t.layout.cpu[a];
		if (amd)
			cr_assert_eq(seen[a].node_id, p->node);
		for (unsigned b = 0; b <= a; b++) {
			const struct cpu_place *q = &t.layout.cpu[b];
			uint32_t id = seen[b].apic_id;
#define SAME(what, expected) cr_assert_eq((what), (expected), "%s: CPUs %u and %u: %s", text, a, b, #what)
			SAME(seen[a].core == seen[b].core, p->core == q->core);
			SAME(seen[a].package == seen[b].package, p->node == q->node);
			SAME(seen[a].llc == seen[b].llc, p->llc == q->llc);
			SAME(id >= seen[a].l1_first && id <= seen[a].l1_last, p->core == q->core);
			SAME(id >= seen[a].l2_first && id <= seen[a].l2_last, p->core == q->core);
#undef SAME
		}
	}
}

Test(cpuid, kernels_see_the_topology_on_amd)
{
	struct cpuid_table host = host_table("AuthenticAMD", 0x00a10f11);
	for (size_t i = 0; i < ARRAY_SIZE(topologies); i++)
		check_topology(topologies[i], &host);
}

Test(cpuid, kernels_see_the_topology_on_intel)
{
	struct cpuid_table host = host_table("GenuineIntel", 0x000806f8);
	for (size_t i = 0; i < ARRAY_SIZE(topologies); i++)
		check_topology(topologies[i], &host);
}

Test(cpuid, an_emulated_amd_becomes_one_with_llcs)
{
	/* Family 0xf, few extended leaves, no TOPOEXT: kernels would take each node for one LLC. */
	struct cpuid_table host = host_table("AuthenticAMD", 0x00060fb1);
	for (uint32_t i = 0; i < host.nent; i++)
		if (host.entries[i].function == 0x80000000)
			host.entries[i].eax = 0x8000000a;
	check_topology("2n4l4c2t", &host);
	/* Milan's weaknesses do not come with Milan's name, unless the host may have them. */
	struct cpuid_table zen2 = host_table("AuthenticAMD", 0x00830f10), t;
	struct topology topology;
	struct err err = ERR_INIT;
	cr_assert_eq(topology_parse("1n1l1c1t", 1u << 30, &topology, &err), 0);
	cr_assert_eq(cpuid_build(&topology, 0, &host, &t, &err), 0, "%s", err.message);
	cr_assert(cpuid(&t, 0x80000021, 0).eax & 1u << 29);
	cr_assert_geq(cpuid(&t, 0x80000000, 0).eax, 0x80000021);
	cr_assert_eq(cpuid_build(&topology, 0, &zen2, &t, &err), 0, "%s", err.message);
	cr_assert_not(cpuid(&t, 0x80000021, 0).eax & 1u << 29);
	cr_assert_eq(cpuid(&t, 1, 0).eax, 0x00a00f11);
}

Test(cpuid, this_host)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		cr_skip_test("no /dev/kvm");
	struct cpuid_table host, table;
	struct err err = ERR_INIT;
	struct topology t;
	cr_assert_eq(cpuid_supported(fd, &host, &err), 0, "%s", err.message);
	close(fd);
	cr_assert_eq(topology_parse("1n1l1c1t", 1u << 30, &t, &err), 0);
	int r = cpuid_build(&t, 0, &host, &table, &err);
	if (r < 0) {
		cr_assert_eq(err.code, ERR_UNSUPPORTED);
		cr_skip_test("%s", err.message);
	}
	check_topology("2n4l4c2t", &host);
	check_topology("3n9l5c3t", &host);
}

Test(cpuid, features)
{
	struct cpuid_table host = host_table("AuthenticAMD", 0x00a10f11), t;
	struct topology small, large;
	struct err err = ERR_INIT;
	cr_assert_eq(topology_parse("1n1l2c1t", 1u << 30, &small, &err), 0);
	cr_assert_eq(topology_parse("1n1l512c1t", 1u << 30, &large, &err), 0);
	cr_assert_eq(cpuid_build(&small, 1, &host, &t, &err), 0, "%s", err.message);
	uint32_t ecx = cpuid(&t, 1, 0).ecx;
	cr_assert(ecx & 1u << 31, "hypervisor");
	cr_assert(ecx & 1u << 24, "TSC deadline");
	cr_assert(ecx & 1u << 21, "x2APIC");
	cr_assert_not(ecx & (1u << 3 | 1u << 5), "MWAIT and VMX");
	cr_assert_not(cpuid(&t, 0x80000001, 0).ecx & 1u << 2, "SVM");
	cr_assert_not(cpuid(&t, 7, 0).ecx & 1u << 16, "five-level paging");
	cr_assert(cpuid(&t, 7, 0).ecx & 1u << 2, "UMIP stays");
	cr_assert_eq(cpuid(&t, 0x80000008, 0).eax, 0x3034, "physical width kept, virtual 48");
	cr_assert_eq(cpuid(&t, 0xa, 0).eax, 0);
	cr_assert_eq(cpuid(&t, 0x8000000a, 0).eax, 0);
	cr_assert_eq(cpuid(&t, 6, 0).eax, 4, "ARAT alone");
	cr_assert_eq(cpuid(&t, 6, 0).ecx, 0, "no APERF/MPERF");
	cr_assert_eq(cpuid(&t, 0x80000007, 0).edx, 1u << 8, "invariant TSC alone");
	cr_assert_eq(cpuid(&t, 0xd, 0).ebx, 832, "state sizes are the host's");
	cr_assert_eq(cpuid(&t, 0x40000000, 0).eax, 0x40000001);
	cr_assert_eq(cpuid(&t, 0x40000000, 0).ebx, 0x4b4d564b);
	cr_assert_eq(cpuid(&t, 0x40000001, 0).eax, 1u << 0 | 1u << 1 | 1u << 3 | 1u << 6 | 1u << 24);
	cr_assert_eq(cpuid_build(&large, 511, &host, &t, &err), 0);
	cr_assert(cpuid(&t, 0x40000001, 0).eax & 1u << 15, "long interrupt destinations");
	cr_assert_eq(cpuid(&t, 0xb, 0).edx, 511);
}

Test(cpuid, hosts_that_cannot)
{
	struct topology topology;
	struct err err = ERR_INIT;
	cr_assert_eq(topology_parse("1n1l1c1t", 1u << 30, &topology, &err), 0);
	static const struct {
		uint32_t function, ecx, edx, eax;
		const char *says;
	} cases[] = {
		{1, 1u << 24, 0, 0, "TSC deadline"},
		{0x80000001, 0, 1u << 29, 0, "64-bit"},
		{0x40000001, 0, 0, 1u << 3, "kvmclock"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct cpuid_table host = host_table("AuthenticAMD", 0x00a10f11), t;
		for (uint32_t k = 0; k < host.nent; k++)
			if (host.entries[k].function == cases[i].function) {
				host.entries[k].eax &= ~cases[i].eax;
				host.entries[k].ecx &= ~cases[i].ecx;
				host.entries[k].edx &= ~cases[i].edx;
			}
		cr_assert_lt(cpuid_build(&topology, 0, &host, &t, &err), 0);
		cr_assert_eq(err.code, ERR_UNSUPPORTED);
		cr_assert_not_null(strstr(err.message, cases[i].says), "%s", err.message);
	}
	struct cpuid_table host = host_table("NoSuchVendor", 0), t, none = {0};
	cr_assert_lt(cpuid_build(&topology, 0, &host, &t, &err), 0);
	cr_assert_eq(err.code, ERR_UNSUPPORTED);
	cr_assert_lt(cpuid_build(&topology, 0, &none, &t, &err), 0);
}

Test(cpuid, a_full_table_is_an_error)
{
	struct cpuid_table host = host_table("AuthenticAMD", 0x00a10f11), t;
	struct topology topology;
	struct err err = ERR_INIT;
	cr_assert_eq(topology_parse("1n1l1c1t", 1u << 30, &topology, &err), 0);
	while (host.nent < CPUID_ENTRIES_MAX) {
		host.entries[host.nent] =
			(struct kvm_cpuid_entry2){.function = 0x70000000 + host.nent, .eax = 1};
		host.nent++;
	}
	cr_assert_lt(cpuid_build(&topology, 0, &host, &t, &err), 0);
	cr_assert_not_null(strstr(err.message, "too many"), "%s", err.message);
}
