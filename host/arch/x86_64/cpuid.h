/* SPDX-License-Identifier: GPL-2.0-only */
/* The CPUID that each vCPU shows: the host's features under a CPU model and topology of ours.
 *
 * Taken from the host: vendor (AMD or Intel: hypercall and syscall instructions depend on it), instruction
 * set extensions, address width, the signature on Intel and on AMD from family 0x19 on (else Milan's). Ours:
 * everything about topology and caches; the PV features below; and off, whatever the host's KVM claims:
 *   - what a scheduler test must not have in it: vPMU (its counters cost every switch of a vCPU),
 * APERF/MPERF, CPPC, HWP and hybrid core types (they feed capacity and frequency into the scheduler), MWAIT;
 *   - what nested or emulated KVMs claim and cannot do: SVM, VMX, IBS, LWP, processor trace, debug store,
 * TSX;
 *   - what nobody here serves: machine checks, SGX, SEV, thermal and power interfaces, OS-visible
 * workarounds;
 *   - five-level paging: page-table walks from outside stay four levels. */
#ifndef HOST_ARCH_X86_64_CPUID_H
#define HOST_ARCH_X86_64_CPUID_H

#include "common/err.h"
#include "host/topology/topology.h"

#include <linux/kvm.h>

#define CPUID_ENTRIES_MAX 256

/* Paravirtual features that are passed on where the host's KVM has them (bits of leaf 0x40000001 EAX:
 * Documentation/virt/kvm/x86/cpuid.rst): kvmclock in both forms, its stable bit, no delay on port I/O, PV
 * EOI. Not passed on, since each changes when the scheduler under test runs or what it sees: async page
 * faults, steal time, PV unhalt, PV TLB flush, PV IPI, halt polling control, directed yield. */
#define CPUID_PV_DEFAULT (1u << 0 | 1u << 1 | 1u << 3 | 1u << 6 | 1u << 24)

struct cpuid_table {
	uint32_t nent, padding; /* layout of struct kvm_cpuid2, with room for the entries */
	struct kvm_cpuid_entry2 entries[CPUID_ENTRIES_MAX];
};

/* `supported` is what cpuid_supported() said. Fills the table for vCPU `cpu` of the topology. Pure, any
 * thread. ERR_UNSUPPORTED when the host lacks what a kernel needs to see the topology or to have a clock. */
int cpuid_build(const struct topology *topology, unsigned cpu, const struct cpuid_table *supported,
	struct cpuid_table *ret, struct err *err) must_check;
/* KVM_GET_SUPPORTED_CPUID, with the TSC deadline bit added where KVM has it as a capability only (it depends
 * on the in-kernel LAPIC: Documentation/virt/kvm/api.rst, 4.46). */
int cpuid_supported(int kvm_fd, struct cpuid_table *ret, struct err *err) must_check;
/* KVM_SET_CPUID2 on every vCPU. Before vm_start(). The VM's vCPUs are the topology's CPUs in order. */
struct vm;
int cpuid_apply(struct vm *vm, const struct topology *topology, struct err *err) must_check;

#endif
