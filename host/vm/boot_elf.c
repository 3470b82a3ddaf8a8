/* SPDX-License-Identifier: GPL-2.0-only */
/* An ELF vmlinux into guest memory. Before the VM runs, one thread. */
#include "host/vm/boot_elf.h"

#include "host/arch/x86_64/layout.h"
#include "host/vm/boot_copy.h"

#include <elf.h>
#include <stdbool.h>
#include <string.h>

#define SEGMENTS_MAX 64

static int check_segment(const Elf64_Phdr *ph, unsigned index, const uint8_t *elf, size_t length, int fd,
	const struct gmem *memory, struct boot_copy *ret_copy, struct err *err)
{
	if (ph->p_filesz > ph->p_memsz || !range_fits(ph->p_offset, ph->p_filesz, length))
		return err_set(err, ERR_INVALID_ARGUMENT,
			"kernel segment %u (%llu bytes at offset %llu, %llu in memory) is not inside its "
			"file of %zu bytes",
			index, (unsigned long long)ph->p_filesz, (unsigned long long)ph->p_offset,
			(unsigned long long)ph->p_memsz, length);
	if (ph->p_paddr < LAYOUT_KERNEL)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"kernel segment %u wants physical address %#llx, below 1 MiB", index,
			(unsigned long long)ph->p_paddr);
	uint8_t *host = gmem_ptr(memory, GPA(ph->p_paddr), ph->p_memsz);
	if (!host)
		return err_set(err, ERR_LIMIT_EXCEEDED,
			"kernel segment %u (%llu MiB at %#llx) does not fit the first node's memory below 3 "
			"GiB; give the VM more "
			"memory",
			index, (unsigned long long)(ph->p_memsz >> 20), (unsigned long long)ph->p_paddr);
	*ret_copy = (struct boot_copy){.out = host,
		.in = elf + ph->p_offset,
		.fd = fd,
		.offset = ph->p_offset,
		.length = ph->p_filesz};
	return 0;
}

int elf_load(const uint8_t *elf, size_t length, int fd, const struct gmem *memory,
	struct elf_loaded *ret_loaded, struct err *err)
{
	Elf64_Ehdr eh;
	if (length < sizeof(eh) || memcmp(elf, ELFMAG, SELFMAG) != 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "the kernel is not an ELF file");
	memcpy(&eh, elf, sizeof(eh));
	if (eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_ident[EI_DATA] != ELFDATA2LSB ||
		eh.e_machine != EM_X86_64)
		return err_set(err, ERR_INVALID_ARGUMENT, "the kernel is not an ELF file for x86-64");
	if (eh.e_phnum == 0 || eh.e_phnum > SEGMENTS_MAX || eh.e_phentsize != sizeof(Elf64_Phdr) ||
		!range_fits(eh.e_phoff, (uint64_t)eh.e_phnum * sizeof(Elf64_Phdr), length))
		return err_set(err, ERR_INVALID_ARGUMENT,
			"the kernel's ELF header is damaged: %u program headers of %u bytes at offset %llu",
			eh.e_phnum, eh.e_phentsize, (unsigned long long)eh.e_phoff);

	struct elf_loaded loaded = {.start = GPA(UINT64_MAX), .end = GPA(0)};
	bool entry_inside = false;
	struct boot_copy copies[SEGMENTS_MAX];
	unsigned n_copies = 0;
	for (unsigned i = 0; i < eh.e_phnum; i++) {
		Elf64_Phdr ph;
		memcpy(&ph, elf + eh.e_phoff + i * sizeof(ph), sizeof(ph));
		if (ph.p_type != PT_LOAD || ph.p_memsz == 0)
			continue;
		int rc = check_segment(&ph, i, elf, length, fd, memory, &copies[n_copies], err);
		if (rc < 0)
			return rc;
		n_copies++;
		loaded.start.v = MIN_OF(loaded.start.v, ph.p_paddr);
		loaded.end.v = MAX_OF(loaded.end.v, ph.p_paddr + ph.p_memsz);
		if (eh.e_entry >= ph.p_paddr && eh.e_entry - ph.p_paddr < ph.p_filesz)
			entry_inside = true;
	}
	if (loaded.end.v == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "the kernel has no segment to load");
	if (!entry_inside)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"the kernel's entry %#llx is not in any of its segments, by their physical addresses",
			(unsigned long long)eh.e_entry);
	boot_copy_all(copies, n_copies);
	loaded.entry = GPA(eh.e_entry);
	*ret_loaded = loaded;
	return 0;
}
