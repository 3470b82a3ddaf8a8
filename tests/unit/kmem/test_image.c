/* SPDX-License-Identifier: GPL-2.0-only */
/* ELF headers: good, hostile and real. */
#include "host/kmem/image.h"
#include "tests/unit/kmem/real.h"

#include <criterion/criterion.h>
#include <elf.h>
#include <errno.h>

struct small_elf {
	Elf64_Ehdr eh;
	Elf64_Phdr ph[2];
	uint8_t text[64];
	Elf64_Nhdr note;
	char owner[4];
	uint8_t id[20];
};

static struct small_elf small_elf(void)
{
	struct small_elf e = {.eh = {.e_ident = ELFMAG,
				      .e_machine = EM_X86_64,
				      .e_phoff = sizeof(Elf64_Ehdr),
				      .e_phentsize = sizeof(Elf64_Phdr),
				      .e_phnum = 2},
		.note = {4, 20, NT_GNU_BUILD_ID},
		.owner = "GNU",
		.id = {0xab, 1, 2, 3}};
	e.eh.e_ident[EI_CLASS] = ELFCLASS64;
	e.eh.e_ident[EI_DATA] = ELFDATA2LSB;
	e.ph[0] = (Elf64_Phdr){.p_type = PT_LOAD,
		.p_offset = offsetof(struct small_elf, text),
		.p_filesz = 64,
		.p_memsz = 4096,
		.p_vaddr = 0xffffffff81000000,
		.p_paddr = 0x1000000};
	e.ph[1] = (Elf64_Phdr){.p_type = PT_NOTE,
		.p_offset = offsetof(struct small_elf, note),
		.p_filesz = sizeof(e) - offsetof(struct small_elf, note),
		.p_vaddr = 0xffffffff81000010};
	return e;
}

Test(image, segments_and_build_id)
{
	struct small_elf e = small_elf();
	struct kimage image;
	struct err err = ERR_INIT;
	char text[80];
	gpa_t gpa;
	uint64_t left;

	cr_assert_eq(kimage_init(&image, &e, sizeof(e), &err), 0, "%s", err.message);
	cr_assert_eq(image.build_id_length, 20);
	cr_assert_eq(memcmp(kimage_build_id_text(&image, text, sizeof(text)), "ab010203", 8), 0);
	cr_assert_eq(kimage_at(&image, GVA(0xffffffff81000008), 56), e.text + 8);
	cr_assert_null(kimage_at(&image, GVA(0xffffffff81000008), 57));
	cr_assert_null(kimage_at(&image, GVA(0xffffffff80ffffff), 1));
	cr_assert(kimage_gpa(&image, GVA(0xffffffff81000fff), &gpa, &left));
	cr_assert_eq(gpa.v, 0x1000fff);
	cr_assert_eq(left, 1);
	cr_assert_not(kimage_gpa(&image, GVA(0xffffffff81001000), &gpa, &left));
}

Test(image, hostile_headers_are_refused)
{
	struct kimage image;
	struct small_elf e;

	for (size_t length = 0; length < sizeof(e); length++) {
		e = small_elf();
		uint8_t *copy = malloc(length + 1);
		memcpy(copy, &e, length);
		cr_assert_lt(kimage_init(&image, copy, length, NULL), 0, "%zu", length);
		free(copy);
	}
#define REFUSED(change)                                                                                      \
	do {                                                                                                 \
		e = small_elf();                                                                             \
		change;                                                                                      \
		cr_assert_lt(kimage_init(&image, &e, sizeof(e), NULL), 0, #change);                          \
	} while (0)
	REFUSED(e.eh.e_phoff = UINT64_MAX);
	REFUSED(e.eh.e_phnum = UINT16_MAX);
	REFUSED(e.eh.e_machine = EM_AARCH64);
	REFUSED(e.eh.e_ident[EI_CLASS] = ELFCLASS32);
	REFUSED(e.ph[0].p_offset = UINT64_MAX - 3);
	REFUSED(e.ph[0].p_filesz = UINT64_MAX);
	REFUSED(e.ph[0].p_memsz = 1);
	REFUSED(e.ph[0].p_memsz = UINT64_MAX);
	REFUSED(e.ph[0].p_type = PT_NULL);
	REFUSED(e.ph[1].p_filesz = UINT64_MAX);
	/* A damaged note only loses the build id. */
	e = small_elf();
	e.note.n_descsz = UINT32_MAX;
	cr_assert_eq(kimage_init(&image, &e, sizeof(e), NULL), 0);
	cr_assert_eq(image.build_id_length, 0);
	/* Section headers beyond the end: no sections. */
	struct kimage_range range;
	e = small_elf();
	e.eh.e_shoff = UINT64_MAX - 64;
	e.eh.e_shnum = 8;
	e.eh.e_shentsize = sizeof(Elf64_Shdr);
	cr_assert_eq(kimage_init(&image, &e, sizeof(e), NULL), 0);
	cr_assert_not(kimage_section(&image, ".text", &range));
}

Test(image, real_kernels)
{
	struct real_kernels real;

	real_kernels_load(&real);
	for (unsigned k = 0; k < real.n; k++) {
		struct err err = ERR_INIT;
		struct kimage image;
		struct kimage_range range;

		cr_assert_eq(kimage_init(&image, real.image[k]->elf, real.image[k]->elf_bytes, &err), 0, "%s",
			err.message);
		cr_assert_eq(image.build_id_length, 20);
		cr_assert_gt(image.btf.length, 1u << 20);
		cr_assert(kimage_section(&image, ".rodata", &range));
		cr_assert_eq(kimage_at(&image, range.vaddr, range.length), range.bytes);
		cr_assert_eq(kimage_at(&image, image.build_note.vaddr, 20), image.build_note.bytes);
		cr_assert_not(kimage_section(&image, ".bss", &range));
	}
	real_kernels_free(&real);
}
