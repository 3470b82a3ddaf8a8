/* SPDX-License-Identifier: GPL-2.0-only */
/* A vCPU's registers at its start. Between vm_new() and vm_start(), one thread. */
#ifndef HOST_ARCH_X86_64_REGS_H
#define HOST_ARCH_X86_64_REGS_H

#include "host/vm/vm.h"

/* The descriptor table that regs_set_long_mode() names. The memory must have its first MiB. */
void regs_write_gdt(const struct gmem *memory);
/* 64-bit mode with flat segments on the tables at LAYOUT_GDT and LAYOUT_PAGE_TABLES, interrupts off, rip =
 * entry, rsi = arg, a small stack below LAYOUT_BOOT_PARAMS; the rest is zero. */
int regs_set_long_mode(struct vm *vm, unsigned vcpu, gpa_t entry, gpa_t arg, struct err *err) must_check;
/* Code at the reset vector (real mode, 0xffff0) that resets by LAYOUT_RESET_PORT: kernels on hardware-reduced
 * ACPI without EFI restart by "the BIOS". Left out if ACPI tables reach so far. The memory must have its
 * first MiB. */
void regs_write_reset_vector(const struct gmem *memory);
/* What firmware sets on every CPU before a kernel: write-back memory type, fast string operations. */
int regs_set_msrs(struct vm *vm, unsigned vcpu, struct err *err) must_check;

#endif
