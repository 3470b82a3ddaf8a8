/* SPDX-License-Identifier: GPL-2.0-only */
/* An ELF vmlinux into guest memory. Before the VM runs, one thread. */
#include "host/vm/boot_elf.h"

#include "host/arch/x86_64/layout.h"

#include <elf.h>
#include <stdbool.h>
#include <string.h>

#define SECTIONS_MAX 512
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

/* A piece of a file. */
struct extent {
	uint64_t from, to;
};

static bool is_in(const Elf64_Shdr *sh, const Elf64_Phdr *ph, size_t length)
{
	return sh->sh_type != SHT_NOBITS && range_fits(sh->sh_offset, sh->sh_size, length) &&
	       sh->sh_offset >= ph->p_offset && sh->sh_offset - ph->p_offset < ph->p_filesz;
}

/* What follows the last code that starts in the segment. */
static void after_code(const Elf64_Shdr *sections, unsigned n, const Elf64_Phdr *ph, struct extent *ret)
{
	for (unsigned i = 0; i < n; i++)
		if (sections[i].sh_flags & SHF_EXECINSTR)
			ret->from = MAX_OF(ret->from, sections[i].sh_offset + sections[i].sh_size);
	ret->to = ret->from ? ph->p_offset + ph->p_filesz : 0;
}

/* The longest run of sections that are neither written to nor run. */
static void longest_constants(const Elf64_Shdr *sections, unsigned n, struct extent *ret)
{
	struct extent run = {0};
	for (unsigned i = 0; i < n; i++) {
		const Elf64_Shdr *sh = &sections[i];
		if (sh->sh_flags & (SHF_WRITE | SHF_EXECINSTR)) {
			run = (struct extent){0};
			continue;
		}
		if (!run.to || sh->sh_offset < run.to)
			run.from = sh->sh_offset;
		run.to = sh->sh_offset + sh->sh_size;
		if (run.to - run.from > ret->to - ret->from)
			*ret = run;
	}
}

/* The part of a segment that a booting kernel hardly touches: a third of a stock kernel, type information,
 * symbol names and unwind tables above all. In a segment that is not written to it is all that follows the
 * code, whatever single sections say (ro_after_init makes constants look writable); among data, the longest
 * run of constant sections. Code is no part of it: a booting kernel patches nearly every page of it, and
 * large pages serve it for as long as the VM lives. Empty without usable section headers. A wrong answer
 * costs time only: what is mapped has the same bytes. */
static struct extent constants_of(
	const uint8_t *elf, size_t length, const Elf64_Ehdr *eh, const Elf64_Phdr *ph)
{
	struct extent found = {0};
	if (eh->e_shnum > SECTIONS_MAX || eh->e_shentsize != sizeof(Elf64_Shdr) ||
		!range_fits(eh->e_shoff, (uint64_t)eh->e_shnum * sizeof(Elf64_Shdr), length))
		return found;
	Elf64_Shdr sections[SECTIONS_MAX];
	unsigned n = 0;
	for (unsigned i = 0; i < eh->e_shnum; i++) {
		memcpy(&sections[n], elf + eh->e_shoff + i * sizeof(*sections), sizeof(*sections));
		if (is_in(&sections[n], ph, length))
			n++;
	}
	if (ph->p_flags & PF_W)
		longest_constants(sections, n, &found);
	else
		after_code(sections, n, ph, &found);
	found.to = MIN_OF(found.to, ph->p_offset + ph->p_filesz);
	return found;
}

/* Maps the segment's constants from the file, in whole pages. What *copy then no longer holds behind them is
 * put in *ret_rest; its length is 0 if nothing was mapped. */
static void map_constants(const uint8_t *elf, size_t length, const Elf64_Ehdr *eh, const Elf64_Phdr *ph,
	const struct gmem *memory, struct boot_copy *copy, struct boot_copy *ret_rest)
{
	*ret_rest = (struct boot_copy){0};
	if (copy->fd < 0 || (ph->p_offset ^ ph->p_paddr) % PAGE_BYTES)
		return;
	struct extent constants = constants_of(elf, length, eh, ph);
	uint64_t from = round_up_u64(constants.from, PAGE_BYTES), to = constants.to / PAGE_BYTES * PAGE_BYTES;
	if (from >= to || to - from < CONSTANTS_MIN ||
		gmem_map_file(memory, GPA(ph->p_paddr + (from - ph->p_offset)), to - from, copy->fd, from) <
			0)
		return; /* then it is copied */
	*ret_rest = *copy;
	ret_rest->out += to - ph->p_offset;
	ret_rest->in += to - ph->p_offset;
	ret_rest->offset = to;
	ret_rest->length = ph->p_offset + ph->p_filesz - to;
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
	for (unsigned i = 0, n_segments = n_copies; i < n_segments; i++) {
		map_constants(elf, length, &eh, &segments[i], memory, &copies[i], &copies[n_copies]);
		n_copies += copies[n_copies].length > 0;
	}
	ret->entry = GPA(eh.e_entry);
	ret->start = start;
	ret->end = end;
	boot_copy_start(&ret->job, copies, n_copies);
	return 0;
}
