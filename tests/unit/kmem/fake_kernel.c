/* SPDX-License-Identifier: GPL-2.0-only */
/* The made-up kernel. Without criterion: fuzz targets use it too. */
#include "tests/unit/kmem/fake_kernel.h"

#include <elf.h>
#include <string.h>
#include <sys/mman.h>

static const struct synthetic_symbol symbols[] = {
	{FAKE_TEXT, "T_text"},
	{FAKE_TEXT + 0x100, "Tschedule"},
	{FAKE_TEXT + 0x200, "ttwin"},
	{FAKE_TEXT + 0x300, "ttwin"},
	{FAKE_TEXT + FAKE_ENTRY, "Tentry_SYSCALL_64"},
	{FAKE_TEXT + FAKE_BANNER, "Dlinux_banner"},
	{FAKE_DATA + FAKE_PAGE_OFFSET_BASE, "Dpage_offset_base"},
	{FAKE_DATA + FAKE_JIFFIES, "Djiffies_64"},
	{FAKE_DATA + FAKE_L5, "D__pgtable_l5_enabled"},
	{FAKE_DATA + FAKE_WORD, "Dword"},
	{FAKE_DATA + FAKE_PIDS, "Dinit_pid_ns"},
	{FAKE_DATA + FAKE_MAPS, "dmap_idr"},
	{FAKE_DATA + FAKE_PER_CPU_OFFSET, "D__per_cpu_offset"},
	{FAKE_DATA + FAKE_POSSIBLE, "D__cpu_possible_mask"},
	{FAKE_DATA + FAKE_ONLINE, "D__cpu_online_mask"},
	{FAKE_DATA + FAKE_PHYS_BASE, "Dphys_base"},
	{FAKE_DATA + FAKE_VMALLOC_BASE, "Dvmalloc_base"},
	{FAKE_DATA + FAKE_VMEMMAP_BASE, "Dvmemmap_base"},
	{FAKE_DATA + FAKE_ROOT, "Dinit_top_pgt"},
	{FAKE_DATA + FAKE_PER_CPU, "D__per_cpu_start"},
	{FAKE_DATA + FAKE_PER_CPU, "Drunqueues"},
	{FAKE_DATA + FAKE_END, "D__per_cpu_end"},
};

static const char section_names[] = "\0.text\0.rodata\0.BTF\0.shstrtab";

uint64_t fake_rq_gpa(unsigned cpu)
{
	return 0x2000000 + cpu * UINT64_C(0x10000);
}

static void elf_build(struct fake_kernel *fake, const uint8_t *btf, size_t btf_bytes)
{
	static struct synthetic tables;
	struct {
		Elf64_Ehdr eh;
		Elf64_Phdr ph[4];
		Elf64_Shdr sh[5];
		Elf64_Nhdr note;
		char owner[4];
		uint8_t id[20];
		char names[sizeof(section_names)];
	} head = {
		.eh = {.e_ident = ELFMAG,
			.e_machine = EM_X86_64,
			.e_phoff = sizeof(Elf64_Ehdr),
			.e_phentsize = sizeof(Elf64_Phdr),
			.e_phnum = 4,
			.e_shentsize = sizeof(Elf64_Shdr),
			.e_shnum = 5,
			.e_shstrndx = 4},
		.note = {4, 20, NT_GNU_BUILD_ID},
		.owner = "GNU",
		.id = {0xfa, 0xce},
	};

	synthetic_build(&tables, KALLSYMS_SELF_RELATIVE, symbols, ARRAY_SIZE(symbols), 0);
	uint64_t at_tables = 0x1000, at_btf = at_tables + round_up_u64(tables.length, 4096);
	fake->elf_bytes = at_btf + btf_bytes;
	fake->elf = calloc(1, fake->elf_bytes);
	head.eh.e_ident[EI_CLASS] = ELFCLASS64;
	head.eh.e_ident[EI_DATA] = ELFDATA2LSB;
	head.eh.e_shoff = offsetof(__typeof__(head), sh);
	memcpy(head.names, section_names, sizeof(section_names));
	uint64_t note = offsetof(__typeof__(head), note), names = offsetof(__typeof__(head), names);
	head.ph[0] = (Elf64_Phdr){.p_type = PT_LOAD,
		.p_filesz = 0x1000,
		.p_memsz = 0x1000,
		.p_vaddr = FAKE_TEXT,
		.p_paddr = 0x1000000};
	head.ph[1] = (Elf64_Phdr){.p_type = PT_LOAD,
		.p_offset = at_tables,
		.p_filesz = fake->elf_bytes - at_tables,
		.p_memsz = fake->elf_bytes - at_tables,
		.p_vaddr = SYNTHETIC_VADDR,
		.p_paddr = 0x2800000};
	head.ph[2] = (Elf64_Phdr){
		.p_type = PT_LOAD, .p_memsz = FAKE_END, .p_vaddr = FAKE_DATA, .p_paddr = 0x3000000};
	head.ph[3] = (Elf64_Phdr){.p_type = PT_NOTE,
		.p_offset = note,
		.p_filesz = 12 + 4 + 20,
		.p_memsz = 12 + 4 + 20,
		.p_vaddr = FAKE_TEXT + note};
	head.sh[1] =
		(Elf64_Shdr){.sh_name = 1, .sh_type = SHT_PROGBITS, .sh_addr = FAKE_TEXT, .sh_size = 0x1000};
	head.sh[2] = (Elf64_Shdr){.sh_name = 7,
		.sh_type = SHT_PROGBITS,
		.sh_addr = SYNTHETIC_VADDR,
		.sh_offset = at_tables,
		.sh_size = tables.length};
	head.sh[3] = (Elf64_Shdr){
		.sh_name = 15, .sh_type = SHT_PROGBITS, .sh_offset = at_btf, .sh_size = btf_bytes};
	head.sh[4] = (Elf64_Shdr){
		.sh_name = 20, .sh_type = SHT_STRTAB, .sh_offset = names, .sh_size = sizeof(section_names)};
	_Static_assert(sizeof(head) <= FAKE_BANNER, "the banner is behind the headers");
	memcpy(fake->elf, &head, sizeof(head));
	strcpy((char *)fake->elf + FAKE_BANNER, "Linux version 1.0 (made up)");
	memcpy(fake->elf + at_tables, tables.bytes, tables.length);
	memcpy(fake->elf + at_btf, btf, btf_bytes);
}

void *fake_ptr(struct fake_kernel *fake, uint64_t gpa)
{
	const struct gmem_region *r = &fake->memory.region[gpa >= FAKE_HIGH];

	assert(gpa - r->start.v < r->size_bytes);
	return r->host + (gpa - r->start.v);
}

void fake_kernel_init(struct fake_kernel *fake)
{
	static struct synthetic_btf btf;

	synthetic_btf_build(&btf);
	fake_kernel_init_with(fake, btf.bytes, btf.length);
}

static void memory_build(struct fake_kernel *fake)
{
	uint8_t *host = mmap(NULL, FAKE_LOW_BYTES + FAKE_HIGH_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert(host != MAP_FAILED);
	fake->memory = (struct gmem){.n_regions = 2, .total_bytes = FAKE_LOW_BYTES + FAKE_HIGH_BYTES};
	fake->memory.region[0] = (struct gmem_region){GPA(0), FAKE_LOW_BYTES, host, 0};
	fake->memory.region[1] =
		(struct gmem_region){GPA(FAKE_HIGH), FAKE_HIGH_BYTES, host + FAKE_LOW_BYTES, 0};
	fake->next_table = 0x10000;
}

/* As the loader and the kernel's start do. */
static void memory_fill(struct fake_kernel *fake)
{
	memcpy(fake_ptr(fake, 0x1000000 + fake->gpa_move), fake->elf, 0x1000);
	*(uint64_t *)fake_data(fake, FAKE_PAGE_OFFSET_BASE) = FAKE_PAGE_OFFSET;
	for (unsigned cpu = 0; cpu < FAKE_CPUS; cpu++)
		((uint64_t *)fake_data(fake, FAKE_PER_CPU_OFFSET))[cpu] =
			FAKE_PAGE_OFFSET + fake_rq_gpa(cpu) - (FAKE_DATA + fake->slide + FAKE_PER_CPU);
	*(uint64_t *)fake_data(fake, FAKE_POSSIBLE) = 0xf;
	*(uint64_t *)fake_data(fake, FAKE_ONLINE) = 0x7;
	*(uint64_t *)fake_data(fake, FAKE_PHYS_BASE) = fake->gpa_move - fake->slide;
	*(uint64_t *)fake_data(fake, FAKE_VMALLOC_BASE) = FAKE_VMALLOC;
	*(uint64_t *)fake_data(fake, FAKE_VMEMMAP_BASE) = FAKE_VMEMMAP;
}

void fake_kernel_init_moved(struct fake_kernel *fake, uint64_t slide, uint64_t gpa_move)
{
	static struct synthetic_btf btf;

	synthetic_btf_build(&btf);
	*fake = (struct fake_kernel){.slide = slide, .gpa_move = gpa_move};
	elf_build(fake, btf.bytes, btf.length);
	memory_build(fake);
	memory_fill(fake);
	fake_map(fake, FAKE_TEXT + slide, 0x1000000 + gpa_move, 2);
	fake_map(fake, FAKE_DATA + slide, 0x3000000 + gpa_move, 2);
}

void fake_kernel_init_with(struct fake_kernel *fake, const uint8_t *btf, size_t btf_bytes)
{
	struct err err = ERR_INIT;

	*fake = (struct fake_kernel){0};
	elf_build(fake, btf, btf_bytes);
	memory_build(fake);
	struct kmem_config config = {.elf = fake->elf, .elf_bytes = fake->elf_bytes, .memory = &fake->memory};
	fake->kmem = kmem_new(&config, &err);
	assert(fake->kmem);
	memory_fill(fake);
}

void fake_kernel_deinit(struct fake_kernel *fake)
{
	kmem_free(fake->kmem);
	munmap(fake->memory.region[0].host, FAKE_LOW_BYTES + FAKE_HIGH_BYTES);
	free(fake->elf);
}

uint64_t *fake_map(struct fake_kernel *fake, uint64_t at, uint64_t gpa, unsigned level)
{
	unsigned depth = *(uint32_t *)fake_data(fake, FAKE_L5) ? 5 : 4;
	uint64_t *table = fake_data(fake, FAKE_ROOT);

	for (unsigned l = depth;; l--) {
		uint64_t *entry = &table[at >> (12 + 9 * (l - 1)) & 511];
		if (l == level) {
			*entry = gpa | 3 | (level > 1 ? 0x80 : 0);
			return entry;
		}
		if (!(*entry & 1)) {
			*entry = fake->next_table | 3;
			fake->next_table += 4096;
		}
		table = fake_ptr(fake, *entry & ~UINT64_C(0xfff));
	}
}
