/* SPDX-License-Identifier: GPL-2.0-only */
/* The CPUID that each vCPU shows: the host's features under a CPU model and topology of ours. */
#ifndef HOST_ARCH_X86_64_CPUID_H
#define HOST_ARCH_X86_64_CPUID_H

#include "common/err.h"
#include "host/topology/topology.h"

#include <linux/kvm.h>

#define CPUID_ENTRIES_MAX 256

struct cpuid_table {
	uint32_t nent, padding; /* layout of struct kvm_cpuid2, with room for the entries */
	struct kvm_cpuid_entry2 entries[CPUID_ENTRIES_MAX];
};

/* `supported` is what KVM_GET_SUPPORTED_CPUID said. Fills the table for vCPU `cpu` of the topology. Pure, any
 * thread. ERR_UNSUPPORTED when the host lacks what a kernel needs to see the topology. */
int cpuid_build(const struct topology *topology, unsigned cpu, const struct cpuid_table *supported,
	struct cpuid_table *ret, struct err *err) must_check;
/* KVM_GET_SUPPORTED_CPUID. */
int cpuid_supported(int kvm_fd, struct cpuid_table *ret, struct err *err) must_check;
/* KVM_SET_CPUID2 on every vCPU. */
struct vm;
int cpuid_apply(struct vm *vm, const struct topology *topology, struct err *err) must_check;

#endif
