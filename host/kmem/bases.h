/* SPDX-License-Identifier: GPL-2.0-only */
/* Where a running kernel has itself and its regions, found from the system and checked against each other.
 *
 * A kernel that we boot unpacked stays where it was linked, since moving it is its decompressor's work; one
 * that was booted packed is where place.h found it. Both randomise by themselves (CONFIG_RANDOMIZE_MEMORY,
 * arch/x86/mm/kaslr.c) the starts of direct map, vmalloc space and memory map. Nothing else in this room
 * takes those for known: they are read anew for each use. */
#ifndef HOST_KMEM_BASES_H
#define HOST_KMEM_BASES_H

#include "host/kmem/translate.h"

/* Where CPUs enter at a system call (AMD64 Architecture Programmer's Manual volume 2, 6.1.1). */
#define MSR_SYSCALL_ENTRY 0xc0000082u

struct kmem_bases {
	uint64_t text;      /* where the kernel's _text is */
	int64_t slide;      /* from its link address; 0 when booted unpacked */
	uint64_t phys_base; /* guest-physical address that link addresses are beyond that of
			       __START_KERNEL_map */
	uint64_t page_offset, vmalloc, vmemmap; /* starts of direct map, vmalloc space, memory map */
	bool five_level;
};

/* syscall_entry: MSR_SYSCALL_ENTRY of a vCPU. agent_text: _text as the guest says it is, or 0: not known.
 * They and the page tables must tell the same story: ERR_KERNEL_LAYOUT reason bases-disagree.
 * ERR_FAILED_PRECONDITION: too early, the kernel has not set itself up. */
int kmem_bases_find(const struct kmem *kmem, uint64_t syscall_entry, uint64_t agent_text,
	struct kmem_bases *ret_bases, struct err *err) must_check;

#endif
