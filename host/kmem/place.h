/* SPDX-License-Identifier: GPL-2.0-only */
/* Where a kernel that placed itself lies, found in guest memory. No state, any thread, vCPUs running or not.
 *
 * A decompressor with KASLR puts the image at a random multiple of CONFIG_PHYSICAL_ALIGN (at least 2 MiB) and
 * moves its virtual addresses by another (arch/x86/boot/compressed/kaslr.c). What tells where:
 *
 *   guest-physical   the image's build id and banner at their offset from a multiple of 2 MiB
 *   virtual          the variable phys_base of the image found there
 *
 * and the image's page tables must have its first byte where both say. What the guest could make up only
 * makes it be told that its kernel was not found. */
#ifndef HOST_KMEM_PLACE_H
#define HOST_KMEM_PLACE_H

#include "host/kmem/image.h"
#include "host/kmem/symbols.h"

/* Zero: as linked. */
struct kernel_place {
	uint64_t slide;    /* running less link address */
	uint64_t gpa_move; /* guest-physical less the image's p_paddr, modulo 2^64 */
};

/* image and symbols have their link addresses yet. agent_text: running address of `_text` as the guest says,
 * or 0: not known. ERR_FAILED_PRECONDITION: no kernel has come so far yet (never once agent_text is known);
 * ERR_AMBIGUOUS: there are several; ERR_KERNEL_LAYOUT: the image lacks what it could be recognised by, or
 * reason bases-disagree. */
int kernel_place_find(const struct kimage *image, const struct symbols *symbols, const struct gmem *memory,
	uint64_t agent_text, struct kernel_place *ret_place, struct err *err) must_check;

#endif
