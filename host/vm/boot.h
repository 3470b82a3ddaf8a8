/* SPDX-License-Identifier: GPL-2.0-only */
/* Direct boot of a kernel: everything that must stand in guest memory and in the first vCPU's registers
 * before its 64-bit entry. Between vm_new() and vm_start(), one thread. */
#ifndef HOST_VM_BOOT_H
#define HOST_VM_BOOT_H

#include "host/vm/kernel_image.h"
#include "host/vm/vm.h"

struct boot_config {
	const struct kernel_image *kernel;
	const char *cmdline; /* shorter than LAYOUT_CMDLINE_BYTES, and than the kernel's own limit of 2047 */
	const void *initramfs; /* may be NULL */
	size_t initramfs_bytes;
	int initramfs_fd; /* > 0: a file that begins with these bytes and that nobody shortens; its pages are
			     then mapped (privately) instead of copied. Else they are copied */
	bool acpi;        /* tables stand at LAYOUT_ACPI, the RSDP first: acpi_build() */
};

struct boot_info {
	gpa_t entry, kernel_start, kernel_end;
	gpa_t initramfs; /* 0 if there is none */
};

/* Copies the kernel, copies or maps the initramfs, writes page tables, GDT, boot_params and command line, and
 * sets registers of all vCPUs (the others wait for INIT/SIPI). The kernel is not randomised. ret_info may be
 * NULL. */
int boot_kernel(struct vm *vm, const struct boot_config *config, struct boot_info *ret_info,
	struct err *err) must_check;

#endif
