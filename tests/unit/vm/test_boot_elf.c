/* SPDX-License-Identifier: GPL-2.0-only */
/* The ELF loader, against files that lie. */
#include "host/vm/boot_elf.h"

#include "common/fd.h"

#include <criterion/criterion.h>
#include <elf.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

struct file {
	Elf64_Ehdr eh;
	Elf64_Phdr ph[3];
	uint8_t data[8192];
};

static struct file *good(void)
{
	struct file *f = calloc(1, sizeof(*f));
	memcpy(f->eh.e_ident, ELFMAG, SELFMAG);
	f->eh.e_ident[EI_CLASS] = ELFCLASS64;
	f->eh.e_ident[EI_DATA] = ELFDATA2LSB;
	f->eh.e_type = ET_EXEC;
	f->eh.e_machine = EM_X86_64;
	f->eh.e_phoff = offsetof(struct file, ph);
	f->eh.e_phentsize = sizeof(Elf64_Phdr);
	f->eh.e_phnum = 3;
	f->eh.e_entry = 2 * MIB + 16;
	f->ph[0] = (Elf64_Phdr){.p_type = PT_LOAD,
		.p_offset = offsetof(struct file, data),
		.p_filesz = 4096,
		.p_memsz = 4096,
		.p_paddr = MIB,
		.p_vaddr = 0xffffffff81000000};
	f->ph[1] = (Elf64_Phdr){.p_type = PT_LOAD,
		.p_offset = offsetof(struct file, data) + 4096,
		.p_filesz = 4096,
		.p_memsz = MIB,
		.p_paddr = 2 * MIB,
		.p_vaddr = 0xffffffff82000000};
	f->ph[2] = (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = UINT64_MAX, .p_filesz = UINT64_MAX};
	memset(f->data, 'a', 4096);
	memset(f->data + 4096, 'b', 4096);
	return f;
}

static struct gmem *memory(void)
{
	uint64_t nodes[] = {8 * MIB, 8 * MIB};
	return gmem_new(nodes, 2, NULL);
}

static int load(const struct file *f, size_t length, struct elf_loaded *ret, struct err *err)
{
	_cleanup_(gmem_free_p) struct gmem *mem = memory();
	int r = elf_load((const uint8_t *)f, length, -1, mem, ret, err);
	if (r == 0)
		boot_copy_finish(&ret->job);
	return r;
}

Test(boot_elf, loads_by_physical_address)
{
	_cleanup_free_ struct file *f = good();
	_cleanup_(gmem_free_p) struct gmem *mem = memory();
	struct elf_loaded loaded;
	struct err err = ERR_INIT;
	cr_assert_eq(elf_load((const uint8_t *)f, sizeof(*f), -1, mem, &loaded, &err), 0, "%s", err.message);
	boot_copy_finish(&loaded.job);
	cr_assert_eq(loaded.entry.v, 2 * MIB + 16);
	cr_assert_eq(loaded.start.v, MIB);
	cr_assert_eq(loaded.end.v, 3 * MIB);
	const uint8_t *p = gmem_ptr(mem, GPA(0), 8 * MIB);
	cr_assert_eq(p[MIB - 1], 0);
	cr_assert_eq(p[MIB], 'a');
	cr_assert_eq(p[MIB + 4095], 'a');
	cr_assert_eq(p[MIB + 4096], 0);
	cr_assert_eq(p[2 * MIB + 4095], 'b');
	cr_assert_eq(p[2 * MIB + 4096], 0);
}

static void refused(struct file *f, size_t length, enum err_code code, const char *what)
{
	struct elf_loaded loaded;
	struct err err = ERR_INIT;
	cr_assert_lt(load(f, length, &loaded, &err), 0, "%s was taken", what);
	cr_assert_eq(err.code, code, "%s: %s", what, err.message);
	free(f);
}

#define REFUSED(change, code)                                                                                \
	do {                                                                                                 \
		struct file *f = good();                                                                     \
		change;                                                                                      \
		refused(f, sizeof(*f), code, #change);                                                       \
	} while (0)

Test(boot_elf, hostile_headers_are_refused)
{
	REFUSED(f->eh.e_ident[0] = 0, ERR_INVALID_ARGUMENT);
	REFUSED(f->eh.e_ident[EI_CLASS] = ELFCLASS32, ERR_INVALID_ARGUMENT);
	REFUSED(f->eh.e_machine = EM_AARCH64, ERR_INVALID_ARGUMENT);
	REFUSED(f->eh.e_phnum = 0, ERR_INVALID_ARGUMENT);
	REFUSED(f->eh.e_phnum = 0xffff, ERR_INVALID_ARGUMENT);
	REFUSED(f->eh.e_phentsize = 1, ERR_INVALID_ARGUMENT);
	REFUSED(f->eh.e_phoff = UINT64_MAX, ERR_INVALID_ARGUMENT);
	REFUSED(f->eh.e_phoff = UINT64_MAX - 8, ERR_INVALID_ARGUMENT);
	REFUSED(f->eh.e_phoff = sizeof(*f) - 8, ERR_INVALID_ARGUMENT);
	REFUSED(f->eh.e_entry = 0, ERR_INVALID_ARGUMENT);
	REFUSED(f->eh.e_entry = 0xffffffff82000010, ERR_INVALID_ARGUMENT);
	REFUSED(f->eh.e_entry = 2 * MIB + 4096, ERR_INVALID_ARGUMENT);
	REFUSED(f->ph[0].p_offset = UINT64_MAX, ERR_INVALID_ARGUMENT);
	REFUSED(f->ph[0].p_offset = sizeof(*f) - 4095, ERR_INVALID_ARGUMENT);
	REFUSED(f->ph[0].p_filesz = UINT64_MAX, ERR_INVALID_ARGUMENT);
	REFUSED(f->ph[0].p_memsz = 4095, ERR_INVALID_ARGUMENT);
	REFUSED(f->ph[0].p_memsz = UINT64_MAX, ERR_LIMIT_EXCEEDED);
	REFUSED(f->ph[0].p_paddr = 0, ERR_INVALID_ARGUMENT);
	REFUSED(f->ph[0].p_paddr = MIB - 1, ERR_INVALID_ARGUMENT);
	REFUSED(f->ph[0].p_paddr = UINT64_MAX - 100, ERR_LIMIT_EXCEEDED);
	REFUSED(f->ph[0].p_paddr = 8 * MIB - 1, ERR_LIMIT_EXCEEDED);
	REFUSED(f->ph[1].p_paddr = 16 * MIB, ERR_LIMIT_EXCEEDED);
	REFUSED(f->ph[0].p_type = f->ph[1].p_type = PT_NOTE, ERR_INVALID_ARGUMENT);
	refused(good(), 0, ERR_INVALID_ARGUMENT, "empty");
	refused(good(), sizeof(Elf64_Ehdr) - 1, ERR_INVALID_ARGUMENT, "half a header");
	refused(good(), sizeof(Elf64_Ehdr), ERR_INVALID_ARGUMENT, "no program headers");
	refused(good(), sizeof(struct file) - 1, ERR_INVALID_ARGUMENT, "cut short");
}

#define CODE_BYTES 5000
#define SEGMENT_BYTES (2 * MIB + 5001)

struct large {
	Elf64_Ehdr eh;
	Elf64_Phdr ph;
	Elf64_Shdr sh[3];
	uint8_t padding[4096 - sizeof(Elf64_Ehdr) - sizeof(Elf64_Phdr) - 3 * sizeof(Elf64_Shdr)];
	uint8_t data[SEGMENT_BYTES];
};

static int large_file(struct large *f, uint32_t segment_flags)
{
	struct file *head = good();
	f->eh = head->eh;
	free(head);
	f->eh.e_phoff = offsetof(struct large, ph);
	f->eh.e_phnum = 1;
	f->eh.e_shoff = offsetof(struct large, sh);
	f->eh.e_shnum = 3;
	f->eh.e_shentsize = sizeof(Elf64_Shdr);
	uint64_t data = offsetof(struct large, data);
	f->ph = (Elf64_Phdr){.p_type = PT_LOAD,
		.p_flags = segment_flags,
		.p_offset = data,
		.p_filesz = SEGMENT_BYTES,
		.p_memsz = SEGMENT_BYTES,
		.p_paddr = 2 * MIB};
	f->sh[1] = (Elf64_Shdr){.sh_type = SHT_PROGBITS,
		.sh_flags = SHF_ALLOC | SHF_EXECINSTR,
		.sh_offset = data,
		.sh_size = CODE_BYTES};
	f->sh[2] = (Elf64_Shdr){.sh_type = SHT_PROGBITS,
		.sh_flags = SHF_ALLOC | SHF_WRITE,
		.sh_offset = data + CODE_BYTES,
		.sh_size = SEGMENT_BYTES - CODE_BYTES};
	for (size_t i = 0; i < SEGMENT_BYTES; i++)
		f->data[i] = (uint8_t)(i / 4096 + 1);
	int fd = memfd_create("kernel", MFD_CLOEXEC);
	cr_assert_eq(write(fd, f, sizeof(*f)), (ssize_t)sizeof(*f));
	return fd;
}

/* Whether a page of it still is the file's: then a change of the file shows. */
static bool is_mapped(const uint8_t *guest, int fd, uint64_t at)
{
	uint8_t before = guest[at], other = (uint8_t)~before;
	off_t offset = (off_t)(offsetof(struct large, data) + at);
	cr_assert_eq(pwrite(fd, &other, 1, offset), 1);
	bool mapped = guest[at] == other;
	cr_assert_eq(pwrite(fd, &before, 1, offset), 1);
	return mapped;
}

static void loads_large(uint32_t segment_flags, uint64_t section_flags, unsigned sections, bool mapped)
{
	_cleanup_free_ struct large *f = calloc(1, sizeof(*f));
	_cleanup_close_ int fd = large_file(f, segment_flags);
	f->sh[2].sh_flags = section_flags;
	_cleanup_(gmem_free_p) struct gmem *mem = memory();
	struct elf_loaded loaded;
	struct err err = ERR_INIT;
	f->eh.e_shnum = (uint16_t)sections;
	cr_assert_eq(elf_load((const uint8_t *)f, sizeof(*f), fd, mem, &loaded, &err), 0, "%s", err.message);
	boot_copy_finish(&loaded.job);
	const uint8_t *p = gmem_ptr(mem, GPA(2 * MIB), 4 * MIB);
	cr_assert_eq(memcmp(p, f->data, SEGMENT_BYTES), 0);
	cr_assert_eq(p[SEGMENT_BYTES], 0);
	cr_assert_not(is_mapped(p, fd, CODE_BYTES - 1), "code is copied");
	cr_assert_not(is_mapped(p, fd, 8191), "so is the page that it shares");
	cr_assert_eq(is_mapped(p, fd, 8192), mapped);
	cr_assert_eq(is_mapped(p, fd, 2 * MIB + 4095), mapped);
	cr_assert_not(is_mapped(p, fd, SEGMENT_BYTES - 1), "the end is no whole page");
}

Test(boot_elf, constants_are_mapped)
{
	const uint64_t constant = SHF_ALLOC, data = SHF_ALLOC | SHF_WRITE;
	/* ro_after_init makes a kernel's constants look writable, section by section. */
	loads_large(PF_R | PF_X, data, 3, true);
	loads_large(PF_R | PF_W, constant, 3, true);
	loads_large(PF_R | PF_W, data, 3, false);
	loads_large(PF_R | PF_X, data, 0, false); /* nothing says where code ends */
	loads_large(PF_R | PF_X, data, 0xffff, false);
}

/* Constants between data and data, as unwind tables are: both sides are copied. */
Test(boot_elf, constants_amid_data_are_mapped)
{
	_cleanup_free_ struct large *f = calloc(1, sizeof(*f));
	_cleanup_close_ int fd = large_file(f, PF_R | PF_W);
	_cleanup_(gmem_free_p) struct gmem *mem = memory();
	struct elf_loaded loaded;
	struct err err = ERR_INIT;
	f->sh[1].sh_flags = SHF_ALLOC;
	f->sh[1].sh_offset += 4096 + 100;
	f->sh[1].sh_size = 2 * MIB - 4096;
	f->sh[2].sh_offset = f->sh[1].sh_offset + f->sh[1].sh_size;
	f->sh[2].sh_size = SEGMENT_BYTES - 2 * MIB - 100;
	cr_assert_eq(elf_load((const uint8_t *)f, sizeof(*f), fd, mem, &loaded, &err), 0, "%s", err.message);
	boot_copy_finish(&loaded.job);
	const uint8_t *p = gmem_ptr(mem, GPA(2 * MIB), 4 * MIB);
	cr_assert_eq(memcmp(p, f->data, SEGMENT_BYTES), 0);
	cr_assert_not(is_mapped(p, fd, 8191), "a page that data shares is copied");
	cr_assert(is_mapped(p, fd, 8192));
	cr_assert(is_mapped(p, fd, 2 * MIB - 1));
	cr_assert_not(is_mapped(p, fd, 2 * MIB), "so is the last one");
}
