/* SPDX-License-Identifier: GPL-2.0-only */
/* Between the files that make a CPUID table; nobody else includes it. */
#ifndef HOST_ARCH_X86_64_CPUID_TABLE_H
#define HOST_ARCH_X86_64_CPUID_TABLE_H

#include "host/arch/x86_64/cpuid.h"

#include <stdbool.h>

enum cpuid_vendor { CPUID_VENDOR_AMD = 1, CPUID_VENDOR_INTEL };

/* Leaves where the index (ECX) counts must say so to KVM. */
enum cpuid_indexed { CPUID_PLAIN = 0, CPUID_INDEXED = 1 };

/* The entry, or NULL. */
struct kvm_cpuid_entry2 *cpuid_find(struct cpuid_table *table, uint32_t function, uint32_t index);
/* The entry, made with zeros if there is none; NULL when the table is full. */
struct kvm_cpuid_entry2 *cpuid_get(
	struct cpuid_table *table, uint32_t function, uint32_t index, enum cpuid_indexed indexed);
/* Removes every index of the leaf: the guest reads zeros. */
void cpuid_drop(struct cpuid_table *table, uint32_t function);
/* Sets the registers; false when the table is full. */
bool cpuid_put(struct cpuid_table *table, uint32_t function, uint32_t index, enum cpuid_indexed indexed,
	uint32_t eax, uint32_t ebx, uint32_t ecx, uint32_t edx) must_check;

/* The leaves that say where the CPU is and what it shares. False when the table is full. */
bool cpuid_put_topology(struct cpuid_table *table, enum cpuid_vendor vendor, const struct topology *topology,
	unsigned cpu) must_check;

#endif
