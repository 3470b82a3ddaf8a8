/* SPDX-License-Identifier: GPL-2.0-only */
/* One kernel, both of its tables: what the ELF symbol table says of it and what its kallsyms say agree. The
 * third source, the guest's /proc/kallsyms, is held against the image's by e2e-memory. */
#include "host/kmem/symbols.h"
#include "tests/unit/kmem/synthetic.h"

#include <criterion/criterion.h>
#include <elf.h>
#include <errno.h>
#include <string.h>

#define TEXT UINT64_C(0xffffffff81000000)

static const struct synthetic_symbol all[] = {
	{TEXT, "T_text"},
	{TEXT + 0x100, "Tsched_one"},
	{TEXT + 0x180, "tsched_two"},
	{TEXT + 0x200, "ttwin"},
	{TEXT + 0x300, "ttwin"},
	{TEXT + 0x400, "Dalias_a"},
	{TEXT + 0x400, "Dalias_b"},
	{TEXT + 0x500, "dname.with.dots"},
	{TEXT + 0x600, "B_end"},
};

/* file | .rodata with the kallsyms tables | .symtab | .strtab | .shstrtab */
static const char section_names[] = "\0.text\0.rodata\0.symtab\0.strtab\0.shstrtab";
enum { NAME_TEXT = 1, NAME_RODATA = 7, NAME_SYMTAB = 15, NAME_STRTAB = 23, NAME_SHSTRTAB = 31 };

struct made {
	uint8_t *bytes;
	uint64_t length;
	struct kimage image;
	struct symbols *symbols;
};

static void made_free(struct made *made)
{
	symbols_free(made->symbols);
	free(made->bytes);
}

/* stripped: without the ELF symbol table. */
static struct made make(bool stripped)
{
	static struct synthetic tables;
	struct made made = {0};
	struct err err = ERR_INIT;
	Elf64_Sym symtab[ARRAY_SIZE(all) + 3] = {0};
	char strtab[512] = "";
	uint32_t used = 1;

	synthetic_build(&tables, KALLSYMS_SELF_RELATIVE, all, ARRAY_SIZE(all), 0);
	/* In another order than that of addresses, with what is no symbol of the kernel's between. */
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		const struct synthetic_symbol *from = &all[(i * 4 + 3) % ARRAY_SIZE(all)];
		symtab[i + 1] = (Elf64_Sym){
			.st_name = used, .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT), .st_shndx = 1};
		symtab[i + 1].st_value = from->address;
		strcpy(strtab + used, from->name + 1);
		used += (uint32_t)strlen(from->name);
	}
	symtab[ARRAY_SIZE(all) + 1] =
		(Elf64_Sym){.st_info = ELF64_ST_INFO(STB_LOCAL, STT_SECTION), .st_shndx = 1};
	symtab[ARRAY_SIZE(all) + 2] = (Elf64_Sym){.st_name = 1, .st_shndx = SHN_UNDEF, .st_value = 77};
	uint64_t at_tables = 0x1000, at_symtab = at_tables + round_up_u64(tables.length, 16),
		 at_strtab = at_symtab + sizeof(symtab), at_names = at_strtab + used;
	struct {
		Elf64_Ehdr eh;
		Elf64_Phdr ph[2];
		Elf64_Shdr sh[6];
	} head = {.eh = {.e_ident = ELFMAG,
			  .e_machine = EM_X86_64,
			  .e_phoff = sizeof(Elf64_Ehdr),
			  .e_phentsize = sizeof(Elf64_Phdr),
			  .e_phnum = 2,
			  .e_shentsize = sizeof(Elf64_Shdr),
			  .e_shnum = 6,
			  .e_shstrndx = 5}};
	head.eh.e_ident[EI_CLASS] = ELFCLASS64;
	head.eh.e_ident[EI_DATA] = ELFDATA2LSB;
	head.eh.e_shoff = offsetof(__typeof__(head), sh);
	head.ph[0] = (Elf64_Phdr){.p_type = PT_LOAD,
		.p_filesz = 0x1000,
		.p_memsz = 0x1000,
		.p_vaddr = TEXT,
		.p_paddr = 0x1000000};
	head.ph[1] = (Elf64_Phdr){.p_type = PT_LOAD,
		.p_offset = at_tables,
		.p_filesz = tables.length,
		.p_memsz = tables.length,
		.p_vaddr = SYNTHETIC_VADDR,
		.p_paddr = 0x2800000};
	head.sh[1] = (Elf64_Shdr){
		.sh_name = NAME_TEXT, .sh_type = SHT_PROGBITS, .sh_addr = TEXT, .sh_size = 0x1000};
	head.sh[2] = (Elf64_Shdr){.sh_name = NAME_RODATA,
		.sh_type = SHT_PROGBITS,
		.sh_addr = SYNTHETIC_VADDR,
		.sh_offset = at_tables,
		.sh_size = tables.length};
	head.sh[3] = (Elf64_Shdr){.sh_name = stripped ? 0 : NAME_SYMTAB,
		.sh_type = SHT_SYMTAB,
		.sh_offset = at_symtab,
		.sh_size = sizeof(symtab)};
	head.sh[4] = (Elf64_Shdr){.sh_name = stripped ? 0 : NAME_STRTAB,
		.sh_type = SHT_STRTAB,
		.sh_offset = at_strtab,
		.sh_size = used};
	head.sh[5] = (Elf64_Shdr){.sh_name = NAME_SHSTRTAB,
		.sh_type = SHT_STRTAB,
		.sh_offset = at_names,
		.sh_size = sizeof(section_names)};
	made.length = at_names + sizeof(section_names);
	made.bytes = calloc(1, made.length);
	memcpy(made.bytes, &head, sizeof(head));
	memcpy(made.bytes + at_tables, tables.bytes, tables.length);
	memcpy(made.bytes + at_symtab, symtab, sizeof(symtab));
	memcpy(made.bytes + at_strtab, strtab, used);
	memcpy(made.bytes + at_names, section_names, sizeof(section_names));
	cr_assert_eq(kimage_init(&made.image, made.bytes, made.length, &err), 0, "%s", err.message);
	return made;
}

Test(symbols, elf_table_and_kallsyms_agree)
{
	static struct made made[2];
	made[0] = make(false);
	made[1] = make(true);
	for (unsigned m = 0; m < 2; m++) {
		made[m].symbols = symbols_new(&made[m].image, NULL);
		cr_assert_not_null(made[m].symbols);
	}
	const struct symbols *elf = made[0].symbols, *kallsyms = made[1].symbols;
	cr_assert_eq(symbols_count(elf), ARRAY_SIZE(all));
	cr_assert_eq(symbols_count(kallsyms), ARRAY_SIZE(all));
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		gva_t a = GVA(0), b = GVA(0);
		struct err err = ERR_INIT;
		int rc = symbols_find(elf, all[i].name + 1, &a, &err);
		cr_assert_eq(symbols_find(kallsyms, all[i].name + 1, &b, &err), rc, "%s", all[i].name);
		cr_assert_eq(rc == 0, strcmp(all[i].name, "ttwin") != 0, "%s: %d", all[i].name, rc);
		cr_assert_eq(a.v, b.v, "%s", all[i].name);
		cr_assert(rc < 0 || a.v == all[i].address);
	}
	for (uint64_t at = TEXT; at < TEXT + 0x600; at += 0x40) {
		struct symbol_at a, b;
		cr_assert(symbols_at(elf, GVA(at), &a) && symbols_at(kallsyms, GVA(at), &b));
		cr_assert_eq(a.start.v, b.start.v);
		cr_assert_eq(a.offset, b.offset);
		cr_assert_eq(a.size_bytes, b.size_bytes, "%s", a.name);
	}
	uint32_t i = 0, k = 0;
	struct symbol_at a, b;
	for (unsigned n = 0; n < 2; n++) {
		cr_assert(
			symbols_match(elf, "sched_*", &i, &a) && symbols_match(kallsyms, "sched_*", &k, &b));
		cr_assert_str_eq(a.name, b.name);
		cr_assert_eq(a.start.v, b.start.v);
	}
	cr_assert(!symbols_match(elf, "sched_*", &i, &a) && !symbols_match(kallsyms, "sched_*", &k, &b));
	made_free(&made[0]);
	made_free(&made[1]);
}
