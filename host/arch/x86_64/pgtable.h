/* SPDX-License-Identifier: GPL-2.0-only */
/* The page tables a guest starts with. Before the VM runs. */
#ifndef HOST_ARCH_X86_64_PGTABLE_H
#define HOST_ARCH_X86_64_PGTABLE_H

#include "host/vm/gmem.h"

/* Four levels at LAYOUT_PAGE_TABLES (6 pages) that map the first 4 GiB one to one with 2 MiB pages: the
 * 64-bit entry wants kernel, boot_params and command line mapped (Linux, Documentation/arch/x86/boot.rst).
 * The memory must have its first MiB. */
void pgtable_write_identity(const struct gmem *memory);

#endif
