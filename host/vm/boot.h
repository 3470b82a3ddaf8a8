/* SPDX-License-Identifier: GPL-2.0-only */
/* Direct boot of a kernel: everything that must stand in guest memory and in the first vCPU's registers
 * before its 64-bit entry. Between vm_new() and vm_start(), one thread. */
#ifndef HOST_VM_BOOT_H
#define HOST_VM_BOOT_H

#include "host/vm/kernel_image.h"
#include "host/vm/vm.h"

/* A kernel on its way into guest memory. */
struct boot_load;

/* What of it is loaded. */
enum boot_form {
	BOOT_UNPACKED = 1, /* the vmlinux, to where it was linked: nothing is done twice */
	BOOT_PACKED, /* the bzImage, which unpacks itself to a place that it chooses; kernels that were given
			as vmlinux have none (kernel_image.packed_fd) */
};

/* Starts it; an unpacked kernel on threads of its own: it takes as long as all the rest of building a VM,
 * which can be done meanwhile. Memory is still all zero where the kernel goes; kernel and memory outlive
 * *ret. ERR_INVALID_ARGUMENT for a damaged kernel, ERR_LIMIT_EXCEEDED when it does not fit, ERR_UNSUPPORTED
 * for a bzImage without a 64-bit entry. */
int boot_load_start(const struct kernel_image *kernel, enum boot_form form, const struct gmem *memory,
	struct boot_load **ret, struct err *err) must_check;
/* Waits for its end. Takes NULL. */
void boot_load_free(struct boot_load *load);
SCOPE_GUARD(struct boot_load *, boot_load_free, boot_load_free)

struct boot_config {
	const struct kernel_image *kernel;
	struct boot_load *load; /* of that kernel into this VM's memory; NULL: it is loaded now, unpacked */
	const char *cmdline; /* shorter than LAYOUT_CMDLINE_BYTES, and than the kernel's own limit of 2047 */
	const void *initramfs; /* may be NULL */
	size_t initramfs_bytes;
	int initramfs_fd; /* > 0: a file that begins with these bytes and that nobody shortens; its pages are
			     then mapped (privately) instead of copied. Else they are copied */
	bool kaslr;       /* an unpacked kernel may choose where its direct map, vmalloc space and memory map
			     begin (CONFIG_RANDOMIZE_MEMORY) and where modules go; its own place is ours to
			     choose and stays as linked. A packed one chooses all of it unless its command
			     line says nokaslr */
	bool acpi;        /* tables stand at LAYOUT_ACPI, the RSDP first: acpi_build() */
};

struct boot_info {
	gpa_t entry, kernel_start, kernel_end; /* of a packed kernel: where it unpacks itself */
	gpa_t initramfs;                       /* 0 if there is none */
};

/* Loads the kernel or waits for it, copies or maps the initramfs, writes page tables, GDT, boot_params and
 * command line, and sets registers of all vCPUs (the others wait for INIT/SIPI). ret_info may be NULL. */
int boot_kernel(struct vm *vm, const struct boot_config *config, struct boot_info *ret_info,
	struct err *err) must_check;

#endif
