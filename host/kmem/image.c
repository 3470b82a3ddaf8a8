/* SPDX-License-Identifier: GPL-2.0-only */
/* ELF headers of vmlinux. No state beyond the caller's struct. */
#include "host/kmem/image.h"

#include <elf.h>
#include <stdio.h>
#include <string.h>

#define SECTIONS_MAX 4096u

static bool header_get(const struct kimage *image, Elf64_Ehdr *ret)
{
	if (image->length < sizeof(*ret))
		return false;
	memcpy(ret, image->bytes, sizeof(*ret));
	return true;
}

static bool section_get(const struct kimage *image, const Elf64_Ehdr *eh, unsigned i, Elf64_Shdr *ret)
{
	uint64_t at = (uint64_t)i * sizeof(*ret);

	if (eh->e_shentsize != sizeof(*ret) || i >= eh->e_shnum || eh->e_shnum > SECTIONS_MAX)
		return false;
	if (eh->e_shoff > image->length || !range_fits(at, sizeof(*ret), image->length - eh->e_shoff))
		return false;
	memcpy(ret, image->bytes + eh->e_shoff + at, sizeof(*ret));
	return true;
}

bool kimage_section(const struct kimage *image, const char *name, struct kimage_range *ret_range)
{
	size_t name_bytes = strlen(name) + 1;
	Elf64_Shdr names, sh;
	Elf64_Ehdr eh;

	if (!header_get(image, &eh) || !section_get(image, &eh, eh.e_shstrndx, &names) ||
		!range_fits(names.sh_offset, names.sh_size, image->length))
		return false;
	for (unsigned i = 1; section_get(image, &eh, i, &sh); i++) {
		if (sh.sh_type == SHT_NOBITS || !range_fits(sh.sh_name, name_bytes, names.sh_size) ||
			memcmp(image->bytes + names.sh_offset + sh.sh_name, name, name_bytes) != 0)
			continue;
		if (!range_fits(sh.sh_offset, sh.sh_size, image->length) || sh.sh_size == 0)
			return false;
		*ret_range = (struct kimage_range){image->bytes + sh.sh_offset, sh.sh_size, GVA(sh.sh_addr)};
		return true;
	}
	return false;
}

/* Finds NT_GNU_BUILD_ID of owner "GNU" in a run of notes. */
static void build_id_find(struct kimage *image, const struct kimage_range *notes)
{
	uint64_t at = 0;
	Elf64_Nhdr nh;

	while (range_fits(at, sizeof(nh), notes->length)) {
		memcpy(&nh, notes->bytes + at, sizeof(nh));
		uint64_t name = at + sizeof(nh), desc = name + round_up_u64(nh.n_namesz, 4);
		if (!range_fits(desc, nh.n_descsz, notes->length))
			return;
		if (nh.n_type == NT_GNU_BUILD_ID && nh.n_namesz == 4 &&
			memcmp(notes->bytes + name, "GNU", 4) == 0 && nh.n_descsz > 0 &&
			nh.n_descsz <= KIMAGE_BUILD_ID_MAX) {
			image->build_note = (struct kimage_range){
				notes->bytes + desc, nh.n_descsz, GVA(notes->vaddr.v + desc)};
			image->build_id_length = nh.n_descsz;
			memcpy(image->build_id, notes->bytes + desc, nh.n_descsz);
			return;
		}
		at = desc + round_up_u64(nh.n_descsz, 4);
	}
}

static int segments_read(struct kimage *image, const Elf64_Ehdr *eh, struct err *err)
{
	if (eh->e_phentsize != sizeof(Elf64_Phdr) || eh->e_phoff > image->length ||
		(uint64_t)eh->e_phnum * sizeof(Elf64_Phdr) > image->length - eh->e_phoff)
		return err_set(err, ERR_KERNEL_LAYOUT,
			"kernel image is truncated: its program headers lie beyond the end");
	for (unsigned i = 0; i < eh->e_phnum; i++) {
		Elf64_Phdr ph;
		memcpy(&ph, image->bytes + eh->e_phoff + (uint64_t)i * sizeof(ph), sizeof(ph));
		if (ph.p_type != PT_LOAD && ph.p_type != PT_NOTE)
			continue;
		if (!range_fits(ph.p_offset, ph.p_filesz, image->length))
			return err_set(err, ERR_KERNEL_LAYOUT,
				"kernel image is truncated: segment %u ends beyond the file", i);
		if (ph.p_type == PT_NOTE) {
			build_id_find(image, &(struct kimage_range){image->bytes + ph.p_offset, ph.p_filesz,
						     GVA(ph.p_vaddr)});
			continue;
		}
		if (ph.p_filesz > ph.p_memsz || !range_fits(ph.p_vaddr, ph.p_memsz, UINT64_MAX) ||
			!range_fits(ph.p_paddr, ph.p_memsz, UINT64_MAX))
			return err_set(
				err, ERR_KERNEL_LAYOUT, "kernel image: segment %u has impossible sizes", i);
		if (image->n_segments == KIMAGE_SEGMENTS_MAX)
			return err_set(err, ERR_KERNEL_LAYOUT, "kernel image has more than %d segments",
				KIMAGE_SEGMENTS_MAX);
		image->segment[image->n_segments++] = (struct kimage_segment){
			GVA(ph.p_vaddr), GPA(ph.p_paddr), ph.p_offset, ph.p_filesz, ph.p_memsz};
	}
	if (image->n_segments == 0)
		return err_set(err, ERR_KERNEL_LAYOUT, "kernel image has no loadable segment");
	return 0;
}

int kimage_init(struct kimage *image, const void *bytes, uint64_t length, struct err *err)
{
	struct kimage_range notes;
	Elf64_Ehdr eh;
	int rc;

	*image = (struct kimage){.bytes = bytes, .length = length};
	if (!header_get(image, &eh) || memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0)
		return err_set(err, ERR_KERNEL_LAYOUT, "kernel image is not an ELF file");
	if (eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_ident[EI_DATA] != ELFDATA2LSB ||
		eh.e_machine != EM_X86_64)
		return err_set(err, ERR_KERNEL_LAYOUT, "kernel image is not for 64-bit x86");
	rc = segments_read(image, &eh, err);
	if (rc < 0)
		return rc;
	if (image->build_id_length == 0 && kimage_section(image, ".notes", &notes))
		build_id_find(image, &notes);
	if (!kimage_section(image, ".BTF", &image->btf))
		image->btf = (struct kimage_range){0};
	return 0;
}

const void *kimage_at(const struct kimage *image, gva_t at, uint64_t length)
{
	for (unsigned i = 0; i < image->n_segments; i++) {
		const struct kimage_segment *seg = &image->segment[i];
		if (at.v >= seg->vaddr.v && range_fits(at.v - seg->vaddr.v, length, seg->file_bytes))
			return image->bytes + seg->file_offset + (at.v - seg->vaddr.v);
	}
	return NULL;
}

bool kimage_gpa(const struct kimage *image, gva_t at, gpa_t *ret_gpa, uint64_t *ret_length)
{
	for (unsigned i = 0; i < image->n_segments; i++) {
		const struct kimage_segment *seg = &image->segment[i];
		if (at.v < seg->vaddr.v || at.v - seg->vaddr.v >= seg->mem_bytes)
			continue;
		*ret_gpa = GPA(seg->paddr.v + (at.v - seg->vaddr.v));
		*ret_length = seg->mem_bytes - (at.v - seg->vaddr.v);
		return true;
	}
	return false;
}

void kimage_place(struct kimage *image, uint64_t slide, uint64_t gpa_move)
{
	for (unsigned i = 0; i < image->n_segments; i++) {
		image->segment[i].vaddr.v += slide;
		image->segment[i].paddr.v += gpa_move;
	}
	image->build_note.vaddr.v += slide;
}

const char *kimage_build_id_text(const struct kimage *image, char *buffer, size_t size)
{
	size_t n = 0;

	if (size > 0)
		buffer[0] = '\0';
	for (unsigned i = 0; i < image->build_id_length && n + 3 <= size; i++, n += 2)
		snprintf(buffer + n, size - n, "%02x", image->build_id[i]);
	return buffer;
}
