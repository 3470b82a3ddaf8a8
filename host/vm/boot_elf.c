/* SPDX-License-Identifier: GPL-2.0-only */
/* An ELF vmlinux into guest memory. Before the VM runs, one thread. */
#include "host/vm/boot_elf.h"

#include "host/arch/x86_64/layout.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#define SEGMENTS_MAX 64
#define PAGE_BYTES 4096u

static bool is_zero(const uint8_t *p, size_t n)
{
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* Guest memory is zero already: pages of zeroes (a third of a kernel's data) are not even touched. */
static void copy_sparse(uint8_t *out, const uint8_t *in, size_t length)
{
	while (length) {
		size_t n = MIN_OF(length, PAGE_BYTES);
		if (!is_zero(in, n))
			memcpy(out, in, n);
		out += n;
		in += n;
		length -= n;
	}
}

/* -1 when the file cannot be read this way: what is there then is right, but not all of it. */
static int read_sparse(uint8_t *out, int fd, uint64_t offset, uint64_t length)
{
	uint64_t at = offset, end = offset + length;
	while (at < end) {
		off_t data = lseek(fd, (off_t)at, SEEK_DATA);
		if (data < 0 && errno == ENXIO) /* a hole up to the end of the file */
			return 0;
		off_t hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			return -1;
		if ((uint64_t)data >= end)
			return 0;
		for (at = (uint64_t)data; at < MIN_OF((uint64_t)hole, end);) {
			uint64_t n = MIN_OF((uint64_t)hole, end) - at;
			ssize_t got = pread(fd, out + (at - offset), n, (off_t)at);
			if (got <= 0)
				return -1;
			at += (uint64_t)got;
		}
	}
	return 0;
}

static int load_segment(const Elf64_Phdr *ph, unsigned index, const uint8_t *elf, size_t length, int fd,
	const struct gmem *memory, struct err *err)
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
	if (fd < 0 || read_sparse(host, fd, ph->p_offset, ph->p_filesz) < 0)
		copy_sparse(host, elf + ph->p_offset, ph->p_filesz);
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
	for (unsigned i = 0; i < eh.e_phnum; i++) {
		Elf64_Phdr ph;
		memcpy(&ph, elf + eh.e_phoff + i * sizeof(ph), sizeof(ph));
		if (ph.p_type != PT_LOAD || ph.p_memsz == 0)
			continue;
		int rc = load_segment(&ph, i, elf, length, fd, memory, err);
		if (rc < 0)
			return rc;
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
	loaded.entry = GPA(eh.e_entry);
	*ret_loaded = loaded;
	return 0;
}
