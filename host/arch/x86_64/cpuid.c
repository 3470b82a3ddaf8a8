/* SPDX-License-Identifier: GPL-2.0-only */
/* The CPUID that each vCPU shows (see cpuid.h): the model; topology leaves are in
 * cpuid_topology.c, cpuid_apply.c hands the tables to KVM. No state.
 */
#include "host/arch/x86_64/cpuid.h"

#include "host/arch/x86_64/cpuid_table.h"

#include <asm/kvm_para.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

/* KVM_FEATURE_MSI_EXT_DEST_ID: Documentation/virt/kvm/x86/cpuid.rst. */
#define PV_MSI_EXT_DEST_ID (1u << 15)

#define LEAF_MAX 0x1fu
/* Beyond it: 0x80000022 (PMU), 0x80000026 (a second description of the topology). */
#define EXTENDED_MAX 0x80000021u
#define FAMILY_MIN 0x19u
#define FAMILY_ZEN 0x17u
#define MILAN_SIGNATURE 0x00a00f11u

struct kvm_cpuid_entry2 *cpuid_find(struct cpuid_table *table, uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < table->nent; i++) {
		struct kvm_cpuid_entry2 *e = &table->entries[i];
		if (e->function == function &&
			(e->index == index || !(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX)))
			return e;
	}
	return NULL;
}

struct kvm_cpuid_entry2 *cpuid_get(
	struct cpuid_table *table, uint32_t function, uint32_t index, enum cpuid_indexed indexed)
{
	struct kvm_cpuid_entry2 *e = cpuid_find(table, function, index);
	if (e || table->nent == CPUID_ENTRIES_MAX)
		return e;
	e = &table->entries[table->nent++];
	*e = (struct kvm_cpuid_entry2){.function = function,
		.index = index,
		.flags = indexed == CPUID_INDEXED ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0};
	return e;
}

void cpuid_drop(struct cpuid_table *table, uint32_t function)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < table->nent; i++)
		if (table->entries[i].function != function)
			table->entries[kept++] = table->entries[i];
	table->nent = kept;
}

bool cpuid_put(struct cpuid_table *table, uint32_t function, uint32_t index, enum cpuid_indexed indexed,
	uint32_t eax, uint32_t ebx, uint32_t ecx, uint32_t edx)
{
	struct kvm_cpuid_entry2 *e = cpuid_get(table, function, index, indexed);
	if (!e)
		return false;
	e->eax = eax;
	e->ebx = ebx;
	e->ecx = ecx;
	e->edx = edx;
	return true;
}

/* Bits that are off whatever the host says; the reasons are in cpuid.h. */
#define BIT(n) (1u << (n))
static const struct mask {
	uint32_t function, index;
	uint32_t eax, ebx, ecx, edx;
} masks[] = {
	/* DTES64, MONITOR, DS-CPL, VMX, SMX, EST, TM2, SDBG, xTPR, PDCM; MCE, MCA, DS, ACPI, TM, PBE */
	{1, 0, 0, 0,
		BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(11) | BIT(14) | BIT(15),
		BIT(7) | BIT(14) | BIT(21) | BIT(22) | BIT(29) | BIT(31)},
	/* SGX, HLE, RTM, RDT-M, RDT-A, Intel PT; WAITPKG, TME, LA57, SGX-LC; UINTR, hybrid, PCONFIG, arch LBR
	 */
	{7, 0, 0, BIT(2) | BIT(4) | BIT(11) | BIT(12) | BIT(15) | BIT(25),
		BIT(5) | BIT(13) | BIT(16) | BIT(30), BIT(5) | BIT(15) | BIT(18) | BIT(19)},
	/* SVM, ExtApicSpace, OSVW, IBS, SKINIT, WDT, LWP, NodeId MSR, PERFCTR core/NB/L2I, MWAITX; MCE, MCA
	 */
	{0x80000001, 0, 0, 0,
		BIT(2) | BIT(3) | BIT(9) | BIT(10) | BIT(12) | BIT(13) | BIT(15) | BIT(19) | BIT(23) |
			BIT(24) | BIT(28) | BIT(29),
		BIT(7) | BIT(14)},
	/* Of 0x80000007 invariant TSC alone remains. */
	{0x80000007, 0, ~0u, ~0u, ~0u, ~BIT(8)},
	/* RDPRU, CPPC */
	{0x80000008, 0, 0, BIT(4) | BIT(27), 0, 0},
};

/* Leaves that read as zero: MWAIT, power, PMU, RDT, SGX, PT, hybrid, LBR; SVM, IBS, LWP, SEV, perfmon v2. */
static const uint32_t dropped[] = {5, 9, 0xa, 0xf, 0x10, 0x12, 0x14, 0x18, 0x1a, 0x1b, 0x1c, 0x8000000a,
	0x8000001b, 0x8000001c, 0x8000001f, 0x80000020, 0x80000022};

static void apply_masks(struct cpuid_table *table)
{
	for (size_t i = 0; i < ARRAY_SIZE(masks); i++) {
		struct kvm_cpuid_entry2 *e = cpuid_find(table, masks[i].function, masks[i].index);
		if (!e)
			continue;
		e->eax &= ~masks[i].eax;
		e->ebx &= ~masks[i].ebx;
		e->ecx &= ~masks[i].ecx;
		e->edx &= ~masks[i].edx;
	}
	for (size_t i = 0; i < ARRAY_SIZE(dropped); i++)
		cpuid_drop(table, dropped[i]);
}

static uint32_t family(uint32_t signature)
{
	uint32_t base = signature >> 8 & 0xf;
	return base == 0xf ? base + (signature >> 20 & 0xff) : base;
}

/* 0, or the vendor; `supported` is not changed (the find is not const for its other callers). */
static int vendor_of(const struct cpuid_table *supported, char name[13])
{
	const struct kvm_cpuid_entry2 *e = cpuid_find((struct cpuid_table *)supported, 0, 0);
	memset(name, 0, 13);
	if (!e)
		return 0;
	memcpy(name, &e->ebx, 4);
	memcpy(name + 4, &e->edx, 4);
	memcpy(name + 8, &e->ecx, 4);
	if (strcmp(name, "AuthenticAMD") == 0)
		return CPUID_VENDOR_AMD;
	return strcmp(name, "GenuineIntel") == 0 ? CPUID_VENDOR_INTEL : 0;
}

static int check_host(struct cpuid_table *table, struct err *err)
{
	static const struct {
		uint32_t function, ecx, edx;
		const char *what;
	} needed[] = {
		{0x80000001, 0, BIT(29), "64-bit mode"},
		{1, BIT(24), 0,
			"the TSC deadline timer, without which a kernel has no clock to calibrate with"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		const struct kvm_cpuid_entry2 *e = cpuid_find(table, needed[i].function, 0);
		if (!e || (e->ecx & needed[i].ecx) != needed[i].ecx ||
			(e->edx & needed[i].edx) != needed[i].edx)
			return err_set(
				err, ERR_UNSUPPORTED, "the host's KVM does not offer %s", needed[i].what);
	}
	const struct kvm_cpuid_entry2 *pv = cpuid_find(table, KVM_CPUID_FEATURES, 0);
	if (!pv || !(pv->eax & BIT(KVM_FEATURE_CLOCKSOURCE2)))
		return err_set(err, ERR_UNSUPPORTED,
			"the host's KVM does not offer kvmclock, without which a kernel cannot tell the "
			"TSC's rate");
	return 0;
}

static bool put_invulnerable(struct cpuid_table *table)
{
	struct kvm_cpuid_entry2 *e = cpuid_get(table, 0x80000021, 0, CPUID_PLAIN);
	if (!e)
		return false;
	e->eax |= BIT(29);
	e->ecx |= BIT(1) | BIT(2);
	return true;
}

static bool put_model(struct cpuid_table *table, enum cpuid_vendor vendor)
{
	static const char brand[48] = "schedrig virtual CPU";
	struct kvm_cpuid_entry2 *top = cpuid_get(table, 0, 0, CPUID_PLAIN),
				*extended = cpuid_get(table, 0x80000000, 0, CPUID_PLAIN),
				*one = cpuid_get(table, 1, 0, CPUID_PLAIN),
				*sizes = cpuid_get(table, 0x80000008, 0, CPUID_PLAIN);
	if (!top || !extended || !one || !sizes)
		return false;
	top->eax = MIN_OF(MAX_OF(top->eax, 0xbu), LEAF_MAX);
	extended->eax = MIN_OF(
		MAX_OF(extended->eax, vendor == CPUID_VENDOR_AMD ? EXTENDED_MAX : 0x80000008u), EXTENDED_MAX);
	if (vendor == CPUID_VENDOR_AMD) {
		struct kvm_cpuid_entry2 *e = cpuid_get(table, 0x80000001, 0, CPUID_PLAIN);
		if (!e)
			return false;
		/* What came before Zen (QEMU's TCG among it) lacks two weaknesses that kernels know Milan by,
		 * and would pay for on each return and each switch to user mode: SRSO and TSA (SRSO_NO;
		 * TSA_SQ_NO and TSA_L1_NO). */
		if (family(one->eax) < FAMILY_ZEN && !put_invulnerable(table))
			return false;
		if (family(one->eax) < FAMILY_MIN)
			one->eax = MILAN_SIGNATURE;
		e->eax = one->eax;
	}
	one->ecx |= BIT(21) | BIT(31); /* x2APIC (KVM always emulates it), hypervisor */
	one->edx |= BIT(9);            /* APIC */
	/* Four-level paging: 48 bits of virtual address. */
	sizes->eax = (sizes->eax & ~0xff00u) | 48u << 8;
	/* The timer goes on in every C-state; no APERF/MPERF, no turbo, no HWP. */
	if (!cpuid_put(table, 6, 0, CPUID_PLAIN, BIT(2), 0, 0, 0))
		return false;
	uint32_t words[12];
	memcpy(words, brand, sizeof(words));
	for (uint32_t i = 0; i < 3; i++)
		if (!cpuid_put(table, 0x80000002 + i, 0, CPUID_PLAIN, words[4 * i], words[4 * i + 1],
			    words[4 * i + 2], words[4 * i + 3]))
			return false;
	return true;
}

static bool put_paravirtual(struct cpuid_table *table, const struct topology *topology)
{
	const struct kvm_cpuid_entry2 *host = cpuid_find(table, KVM_CPUID_FEATURES, 0);
	uint32_t features = (host ? host->eax : 0) & CPUID_PV_DEFAULT;
	/* Interrupts to APIC ids above 254 need more destination bits than a message has. */
	if (topology_apic_id_max(topology) > 254)
		features |= PV_MSI_EXT_DEST_ID;
	for (uint32_t leaf = 0x40000000; leaf < 0x40000100; leaf++)
		cpuid_drop(table, leaf);
	uint32_t signature[3];
	memcpy(signature, "KVMKVMKVM\0\0\0", sizeof(signature));
	return cpuid_put(table, KVM_CPUID_SIGNATURE, 0, CPUID_PLAIN, KVM_CPUID_FEATURES, signature[0],
		       signature[1], signature[2]) &&
	       cpuid_put(table, KVM_CPUID_FEATURES, 0, CPUID_PLAIN, features, 0, 0, 0);
}

/* Every leaf that is all zero reads so without an entry; KVM searches the table on each CPUID. */
static void drop_zeros(struct cpuid_table *table)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < table->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &table->entries[i];
		if (e->eax | e->ebx | e->ecx | e->edx)
			table->entries[kept++] = *e;
	}
	table->nent = kept;
}

int cpuid_build(const struct topology *topology, unsigned cpu, const struct cpuid_table *supported,
	struct cpuid_table *ret, struct err *err)
{
	assert(cpu < topology->layout.n_cpus);
	if (supported->nent > CPUID_ENTRIES_MAX)
		return err_set(err, ERR_HOST, "the host's KVM reports %u CPUID leaves", supported->nent);
	char name[13];
	int vendor = vendor_of(supported, name);
	if (!vendor)
		return err_set(err, ERR_UNSUPPORTED,
			"CPU vendor '%s' is not supported: AuthenticAMD and GenuineIntel are", name);
	*ret = *supported;
	int r = check_host(ret, err);
	if (r < 0)
		return r;
	apply_masks(ret);
	drop_zeros(ret);
	if (!put_model(ret, (enum cpuid_vendor)vendor) || !put_paravirtual(ret, topology) ||
		!cpuid_put_topology(ret, (enum cpuid_vendor)vendor, topology, cpu))
		return err_set(err, ERR_HOST, "the host's KVM reports too many CPUID leaves to add ours");
	return 0;
}

int cpuid_supported(int kvm_fd, struct cpuid_table *ret, struct err *err)
{
	ret->nent = CPUID_ENTRIES_MAX;
	ret->padding = 0;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, ret) < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot ask KVM for its CPUID");
	struct kvm_cpuid_entry2 *one = cpuid_find(ret, 1, 0);
	if (one && ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0)
		one->ecx |= 1u << 24; /* TSC deadline */
	return 0;
}
