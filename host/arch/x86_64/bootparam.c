/* SPDX-License-Identifier: GPL-2.0-only */
/* Linux's boot_params. Before the VM runs, one thread. */
#include "host/arch/x86_64/bootparam.h"

#include "host/arch/x86_64/layout.h"

#include <asm/bootparam.h>
#include <string.h>

#define BOOT_MAGIC 0x53726448u /* "HdrS" */
#define BOOT_PROTOCOL 0x020fu
#define BOOT_FLAG 0xaa55u
#define LOADER_UNKNOWN 0xffu
#define KERNEL_ALIGNMENT 0x1000000u

/* Values of the e820 table; <asm/e820.h> has moved between kernels. */
#define E820_RAM 1u
#define E820_RESERVED 2u
#define E820_ACPI 3u

static int add(struct boot_params *bp, uint64_t start, uint64_t end, uint32_t type, struct err *err)
{
	if (start >= end)
		return 0;
	if (bp->e820_entries == E820_MAX_ENTRIES_ZEROPAGE)
		return err_set(err, ERR_LIMIT_EXCEEDED, "the guest's memory map has more than %d pieces",
			E820_MAX_ENTRIES_ZEROPAGE);
	struct boot_e820_entry entry = {.addr = start, .size = end - start, .type = type};
	bp->e820_table[bp->e820_entries++] = entry;
	return 0;
}

/* Base memory, ACPI tables, RAM from 1 MiB on; the rest of the first MiB is not told of. */
static int add_memory(struct boot_params *bp, const struct gmem *memory, struct err *err)
{
	int rc = add(bp, 0, LAYOUT_BASE_END, E820_RAM, err);
	if (rc == 0)
		rc = add(bp, LAYOUT_BASE_END, 0xa0000, E820_RESERVED, err);
	if (rc == 0)
		rc = add(bp, LAYOUT_ACPI, LAYOUT_ACPI + LAYOUT_ACPI_BYTES, E820_ACPI, err);
	for (unsigned i = 0; rc == 0 && i < memory->n_regions; i++) {
		const struct gmem_region *r = &memory->region[i];
		rc = add(bp, MAX_OF(r->start.v, (uint64_t)LAYOUT_KERNEL), r->start.v + r->size_bytes,
			E820_RAM, err);
	}
	return rc;
}

int bootparam_write(const struct bootparam_config *config, struct err *err)
{
	_Static_assert(sizeof(struct boot_params) == 4096, "one page");
	struct boot_params *bp = gmem_ptr(config->memory, GPA(LAYOUT_BOOT_PARAMS), sizeof(*bp));
	assert(bp);
	memset(bp, 0, sizeof(*bp));
	if (config->header) {
		assert(config->header_bytes <=
			offsetof(struct boot_params, e820_table) - offsetof(struct boot_params, hdr));
		memcpy(&bp->hdr, config->header, config->header_bytes);
		/* Its decompressor decides on KASLR_FLAG. No list of setup_data: the file's pointer is none.
		 */
		bp->hdr.loadflags = LOADED_HIGH;
		bp->hdr.setup_data = 0;
	} else {
		bp->hdr.boot_flag = BOOT_FLAG;
		bp->hdr.header = BOOT_MAGIC;
		bp->hdr.version = BOOT_PROTOCOL;
		bp->hdr.kernel_alignment = KERNEL_ALIGNMENT;
		bp->hdr.cmdline_size = (uint32_t)config->cmdline_bytes;
		/* Set by a kernel's own decompressor otherwise: kaslr_enabled() looks at nothing else. */
		bp->hdr.loadflags = LOADED_HIGH | (config->kaslr ? KASLR_FLAG : 0);
	}
	bp->hdr.type_of_loader = LOADER_UNKNOWN;
	bp->hdr.cmd_line_ptr = LAYOUT_CMDLINE;
	bp->hdr.ramdisk_image = (uint32_t)config->initramfs.v;
	bp->hdr.ramdisk_size = (uint32_t)config->initramfs_bytes;
	bp->ext_ramdisk_image = (uint32_t)(config->initramfs.v >> 32);
	bp->ext_ramdisk_size = (uint32_t)((uint64_t)config->initramfs_bytes >> 32);
	if (config->acpi)
		bp->acpi_rsdp_addr = LAYOUT_ACPI;
	return add_memory(bp, config->memory, err);
}
