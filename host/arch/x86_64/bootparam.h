/* SPDX-License-Identifier: GPL-2.0-only */
/* Linux's boot_params ("zero page") for the 64-bit entry. Before the VM runs. Source: Linux,
 * Documentation/arch/x86/boot.rst and zero-page.rst. */
#ifndef HOST_ARCH_X86_64_BOOTPARAM_H
#define HOST_ARCH_X86_64_BOOTPARAM_H

#include "common/err.h"
#include "host/vm/gmem.h"

#include <stdbool.h>

struct bootparam_config {
	const struct gmem *memory;
	size_t cmdline_bytes; /* at LAYOUT_CMDLINE, without the NUL */
	gpa_t initramfs;
	size_t initramfs_bytes; /* 0: none */
	bool acpi;              /* RSDP at LAYOUT_ACPI */
	bool kaslr;             /* the kernel may randomise what it chooses itself */
	/* A bzImage's own struct setup_header, which says the rest; NULL: the kernel is past the code that
	 * reads it. */
	const uint8_t *header;
	size_t header_bytes; /* bounded by boot_params' room for it */
};

/* Writes it at LAYOUT_BOOT_PARAMS, memory map included.
 * ERR_LIMIT_EXCEEDED when the memory map has too many pieces. */
int bootparam_write(const struct bootparam_config *config, struct err *err) must_check;

#endif
