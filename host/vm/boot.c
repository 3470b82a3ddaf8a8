/* SPDX-License-Identifier: GPL-2.0-only */
/* Direct boot: puts the parts together. Before the VM runs, one thread. */
#include "host/vm/boot.h"

#include "host/arch/x86_64/bootparam.h"
#include "host/arch/x86_64/layout.h"
#include "host/arch/x86_64/pgtable.h"
#include "host/arch/x86_64/regs.h"
#include "host/vm/boot_copy.h"
#include "host/vm/boot_elf.h"
#include "host/vm/boot_packed.h"

#include <errno.h>
#include <string.h>

/* COMMAND_LINE_SIZE of x86, less the NUL: the kernel cuts off what is longer without a word. */
#define CMDLINE_MAX 2047

/* Top of the first piece of RAM, below the hole: where the kernel can reach everything with its first page
 * tables. */
static int place_initramfs(const struct boot_config *config, const struct gmem *memory, uint64_t kernel_end,
	gpa_t *ret_at, struct err *err)
{
	if (config->initramfs_bytes == 0) {
		*ret_at = GPA(0);
		return 0;
	}
	const struct gmem_region *low = &memory->region[0];
	uint64_t top = low->start.v + low->size_bytes;
	uint64_t size = round_up_u64(config->initramfs_bytes, 4096);
	if (size > UINT32_MAX || size > top || top - size < kernel_end)
		return err_set(err, ERR_LIMIT_EXCEEDED,
			"the initramfs (%zu MiB) and the kernel (up to %llu MiB) do not fit the first node's "
			"%llu MiB below 3 GiB; "
			"give the VM more memory",
			config->initramfs_bytes >> 20, (unsigned long long)(kernel_end >> 20),
			(unsigned long long)(top >> 20));
	*ret_at = GPA(top - size);
	if (config->initramfs_fd <= 0) {
		memcpy(gmem_ptr(memory, *ret_at, size), config->initramfs, config->initramfs_bytes);
		return 0;
	}
	/* Tens of megabytes with staged programs, of which a copy would cost more than all else before the
	 * first instruction. */
	int r = gmem_map_file(memory, *ret_at, config->initramfs_bytes, config->initramfs_fd, 0);
	return r < 0 ? err_set_os(err, ERR_HOST, -r, "cannot map the initramfs into guest memory") : 0;
}

struct boot_load {
	enum boot_form form;
	struct elf_loaded elf;       /* unpacked */
	struct packed_loaded packed; /* packed */
	gpa_t entry, start, end;
};

int boot_load_start(const struct kernel_image *kernel, enum boot_form form, const struct gmem *memory,
	struct boot_load **ret, struct err *err)
{
	if (!gmem_ptr(memory, GPA(0), LAYOUT_KERNEL))
		return err_set(
			err, ERR_LIMIT_EXCEEDED, "a kernel cannot boot with less than 1 MiB of memory");
	struct boot_load *load = calloc(1, sizeof(*load));
	if (!load)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot load the kernel");
	load->form = form;
	int r = form == BOOT_PACKED
			? packed_load(kernel, memory, &load->packed, err)
			: elf_load(kernel->elf, kernel->elf_bytes, kernel->fd, memory, &load->elf, err);
	if (r < 0) {
		free(load);
		return r;
	}
	bool packed = form == BOOT_PACKED;
	load->entry = packed ? load->packed.entry : load->elf.entry;
	load->start = packed ? load->packed.start : load->elf.start;
	load->end = packed ? load->packed.end : load->elf.end;
	*ret = load;
	return 0;
}

void boot_load_free(struct boot_load *load)
{
	if (!load)
		return;
	if (load->form == BOOT_UNPACKED)
		boot_copy_finish(&load->elf.job);
	free(load);
}

int boot_kernel(struct vm *vm, const struct boot_config *config, struct boot_info *ret_info, struct err *err)
{
	const struct gmem *memory = vm_memory(vm);
	size_t cmdline = strlen(config->cmdline);
	if (cmdline > CMDLINE_MAX)
		return err_set(err, ERR_LIMIT_EXCEEDED,
			"the kernel's command line has %zu characters; it reads %d", cmdline, CMDLINE_MAX);
	_cleanup_(boot_load_free_p) struct boot_load *own = NULL;
	struct boot_load *load = config->load;
	if (!load) {
		int r = boot_load_start(config->kernel, BOOT_UNPACKED, memory, &own, err);
		if (r < 0)
			return r;
		load = own;
	}
	gpa_t initramfs = GPA(0);
	int rc = place_initramfs(config, memory, load->end.v, &initramfs, err);
	if (rc < 0)
		return rc;
	memcpy(gmem_ptr(memory, GPA(LAYOUT_CMDLINE), cmdline + 1), config->cmdline, cmdline + 1);

	struct bootparam_config params = {
		.memory = memory,
		.cmdline_bytes = cmdline,
		.initramfs = initramfs,
		.initramfs_bytes = config->initramfs_bytes,
		.acpi = config->acpi,
		.kaslr = config->kaslr,
	};
	if (load->form == BOOT_PACKED) {
		params.header = load->packed.header;
		params.header_bytes = load->packed.header_bytes;
	}
	rc = bootparam_write(&params, err);
	if (rc < 0)
		return rc;
	pgtable_write_identity(memory);
	regs_write_gdt(memory);
	regs_write_reset_vector(memory);
	for (unsigned i = 0; i < vm_n_vcpus(vm); i++) {
		rc = regs_set_msrs(vm, i, err);
		if (rc < 0)
			return rc;
	}
	rc = regs_set_long_mode(vm, 0, load->entry, GPA(LAYOUT_BOOT_PARAMS), err);
	if (rc < 0)
		return rc;
	if (load->form == BOOT_UNPACKED)
		boot_copy_finish(&load->elf.job);
	if (ret_info)
		*ret_info = (struct boot_info){load->entry, load->start, load->end, initramfs};
	return 0;
}
