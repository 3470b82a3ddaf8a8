/* SPDX-License-Identifier: GPL-2.0-only */
/* An ELF vmlinux into guest memory. Before the VM runs, one thread. */
#include "host/vm/boot_elf.h"

#include "host/arch/x86_64/layout.h"

#include <elf.h>
#include <stdbool.h>
#include <string.h>

#define SECTIONS_MAX 4096
#define PAGE_BYTES UINT64_C(4096)
/* Less is not worth a mapping. */
#define CONSTANTS_MIN (UINT64_C(1) << 20)

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

/* File offset where the last code that starts in the segment ends; UINT64_MAX without usable section headers.
 */
static uint64_t code_end(const uint8_t *elf, size_t length, const Elf64_Ehdr *eh, const Elf64_Phdr *ph)
{
	uint64_t end = UINT64_MAX;
	if (eh->e_shnum > SECTIONS_MAX || eh->e_shentsize != sizeof(Elf64_Shdr) ||
		!range_fits(eh->e_shoff, (uint64_t)eh->e_shnum * sizeof(Elf64_Shdr), length))
		return end;
	for (unsigned i = 0; i < eh->e_shnum; i++) {
		Elf64_Shdr sh;
		memcpy(&sh, elf + eh->e_shoff + i * sizeof(sh), sizeof(sh));
		if (sh.sh_type == SHT_NOBITS || !(sh.sh_flags & SHF_EXECINSTR) ||
			!range_fits(sh.sh_offset, sh.sh_size, length) || sh.sh_offset < ph->p_offset ||
			sh.sh_offset - ph->p_offset >= ph->p_filesz)
			continue;
		end = end == UINT64_MAX ? sh.sh_offset + sh.sh_size : MAX_OF(end, sh.sh_offset + sh.sh_size);
	}
	return end;
}

/* Of a segment that is not written to, what follows its code is mapped from the file, and *copy made that
 * much shorter. That is a third of a stock kernel, type information and symbol names above all, and little of
 * it is ever read. Code is copied: a booting kernel patches nearly every page of it, and large pages serve it
 * for as long as the VM lives. */
static void map_constants(const uint8_t *elf, size_t length, const Elf64_Ehdr *eh, const Elf64_Phdr *ph,
	const struct gmem *memory, struct boot_copy *copy)
{
	if (copy->fd < 0 || ph->p_flags & PF_W || (ph->p_offset ^ ph->p_paddr) % PAGE_BYTES)
		return;
	uint64_t code = code_end(elf, length, eh, ph), segment_end = ph->p_offset + ph->p_filesz;
	if (code > segment_end)
		return;
	uint64_t from = round_up_u64(code, PAGE_BYTES), to = segment_end / PAGE_BYTES * PAGE_BYTES;
	if (from >= to || to - from < CONSTANTS_MIN ||
		gmem_map_file(memory, GPA(ph->p_paddr + (from - ph->p_offset)), to - from, copy->fd, from) <
			0)
		return; /* then it is copied */
	uint64_t end_bytes = segment_end - to;
	uint8_t *out = copy->out + (to - ph->p_offset);
	memcpy(out, elf + to, end_bytes);
	copy->length = from - ph->p_offset;
}

int elf_load(const uint8_t *elf, size_t length, int fd, const struct gmem *memory, struct elf_loaded *ret,
	struct err *err)
{
	Elf64_Ehdr eh;
	if (length < sizeof(eh) || memcmp(elf, ELFMAG, SELFMAG) != 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "the kernel is not an ELF file");
	memcpy(&eh, elf, sizeof(eh));
	if (eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_ident[EI_DATA] != ELFDATA2LSB ||
		eh.e_machine != EM_X86_64)
		return err_set(err, ERR_INVALID_ARGUMENT, "the kernel is not an ELF file for x86-64");
	if (eh.e_phnum == 0 || eh.e_phnum > ELF_SEGMENTS_MAX || eh.e_phentsize != sizeof(Elf64_Phdr) ||
		!range_fits(eh.e_phoff, (uint64_t)eh.e_phnum * sizeof(Elf64_Phdr), length))
		return err_set(err, ERR_INVALID_ARGUMENT,
			"the kernel's ELF header is damaged: %u program headers of %u bytes at offset %llu",
			eh.e_phnum, eh.e_phentsize, (unsigned long long)eh.e_phoff);

	gpa_t start = GPA(UINT64_MAX), end = GPA(0);
	bool entry_inside = false;
	struct boot_copy *copies = ret->copies;
	Elf64_Phdr segments[ELF_SEGMENTS_MAX];
	unsigned n_copies = 0;
	for (unsigned i = 0; i < eh.e_phnum; i++) {
		Elf64_Phdr ph;
		memcpy(&ph, elf + eh.e_phoff + i * sizeof(ph), sizeof(ph));
		if (ph.p_type != PT_LOAD || ph.p_memsz == 0)
			continue;
		segments[n_copies] = ph;
		int rc = check_segment(&ph, i, elf, length, fd, memory, &copies[n_copies], err);
		if (rc < 0)
			return rc;
		n_copies++;
		start.v = MIN_OF(start.v, ph.p_paddr);
		end.v = MAX_OF(end.v, ph.p_paddr + ph.p_memsz);
		if (eh.e_entry >= ph.p_paddr && eh.e_entry - ph.p_paddr < ph.p_filesz)
			entry_inside = true;
	}
	if (end.v == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "the kernel has no segment to load");
	if (!entry_inside)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"the kernel's entry %#llx is not in any of its segments, by their physical addresses",
			(unsigned long long)eh.e_entry);
	for (unsigned i = 0; i < n_copies; i++)
		map_constants(elf, length, &eh, &segments[i], memory, &copies[i]);
	ret->entry = GPA(eh.e_entry);
	ret->start = start;
	ret->end = end;
	boot_copy_start(&ret->job, copies, n_copies);
	return 0;
}
