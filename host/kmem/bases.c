/* SPDX-License-Identifier: GPL-2.0-only */
/* Bases of a running kernel. No state, any thread. */
#include "host/kmem/bases.h"
#include "host/kmem/member.h"

#include <errno.h>
#include <inttypes.h>

static int disagree(struct err *err)
{
	(void)err_reason(err, "bases-disagree");
	return -ENOTSUP;
}

static int variable(const struct kmem *kmem, const char *name, uint64_t *ret_value, struct err *err)
{
	gva_t at;
	int rc = kmem_symbol(kmem, name, &at, err);

	return rc < 0 ? rc : kmem_copy(kmem, at, ret_value, sizeof(*ret_value), err);
}

static int walk(const struct kmem *kmem, uint64_t at, uint64_t *ret_gpa, struct err *err)
{
	struct page_hit hit;
	bool five_level;
	gpa_t root;
	int rc = kmem_root(kmem, &root, &five_level, err);

	if (rc == 0)
		rc = page_walk(kmem_memory(kmem), root, five_level, GVA(at), &hit, err);
	if (rc == 0)
		*ret_gpa = hit.gpa.v;
	return rc;
}

/* The kernel's own place: by its entry, its page tables, its variable, and what the guest says. */
static int text_find(const struct kmem *kmem, uint64_t syscall_entry, uint64_t agent_text,
	struct kmem_bases *bases, uint64_t *ret_gpa, struct err *err)
{
	uint64_t phys_base, left;
	gva_t text, entry;
	gpa_t loaded;
	int rc = kmem_symbol(kmem, "_text", &text, err);

	if (rc == 0)
		rc = kmem_symbol(kmem, "entry_SYSCALL_64", &entry, err);
	if (rc < 0)
		return rc;
	if (syscall_entry == 0)
		return err_set(err, ERR_FAILED_PRECONDITION,
			"the kernel has not set up its system calls yet: too early to say where it is");
	/* Symbols have running addresses: by them, too, it is at `text`. */
	bases->text = text.v + (syscall_entry - entry.v);
	bases->slide = (int64_t)(kmem_slide(kmem) + (bases->text - text.v));
	if (agent_text && agent_text != bases->text) {
		(void)err_set(err, ERR_KERNEL_LAYOUT,
			"by its system call entry the kernel is at 0x%" PRIx64
			", and the guest says 0x%" PRIx64,
			bases->text, agent_text);
		return disagree(err);
	}
	if (bases->text != text.v) {
		(void)err_set(err, ERR_KERNEL_LAYOUT,
			"by its system call entry the kernel is at 0x%" PRIx64 ", %s 0x%" PRIx64, bases->text,
			kmem_slide(kmem) ? "and by its build id and page tables at"
					 : "and nothing moved it from where it was linked,",
			text.v);
		return disagree(err);
	}
	rc = walk(kmem, bases->text, ret_gpa, err);
	if (rc < 0)
		return rc;
	bases->phys_base = *ret_gpa - (bases->text - START_KERNEL_MAP);
	rc = variable(kmem, "phys_base", &phys_base, err);
	if (rc < 0)
		return rc;
	if (phys_base != bases->phys_base || !kimage_gpa(kmem_image(kmem), text, &loaded, &left) ||
		loaded.v != *ret_gpa) {
		(void)err_set(err, ERR_KERNEL_LAYOUT,
			"page tables have the kernel at guest-physical 0x%" PRIx64
			", where its phys_base is 0x%" PRIx64 " and it does not lie",
			*ret_gpa, phys_base);
		return disagree(err);
	}
	return 0;
}

/* Each region begins where its variable says if the page tables have the kernel's first page there, too. */
static int regions_find(const struct kmem *kmem, uint64_t text_gpa, struct kmem_bases *bases, struct err *err)
{
	struct kbtf_place page;
	uint64_t gpa = 0;
	gva_t page_offset;
	int rc = kmem_page_offset(kmem, &page_offset, err);

	if (rc == 0)
		rc = variable(kmem, "vmalloc_base", &bases->vmalloc, err);
	if (rc == 0)
		rc = variable(kmem, "vmemmap_base", &bases->vmemmap, err);
	if (rc == 0)
		rc = kmem_struct_member(kmem, "page", "", &page, err);
	if (rc < 0)
		return rc;
	bases->page_offset = page_offset.v;
	rc = walk(kmem, bases->page_offset + text_gpa, &gpa, err);
	if (rc < 0)
		return err_wrap(err, "the direct map");
	if (gpa != text_gpa) {
		(void)err_set(err, ERR_KERNEL_LAYOUT,
			"page_offset_base is 0x%" PRIx64 ", and what is mapped there is not the direct map",
			bases->page_offset);
		return disagree(err);
	}
	rc = walk(kmem, bases->vmemmap + (text_gpa >> 12) * page.size_bytes, &gpa, err);
	if (rc < 0)
		return err_wrap(err, "the memory map");
	/* arch/x86/mm/kaslr.c keeps them in this order. */
	if (bases->vmalloc <= bases->page_offset || bases->vmemmap <= bases->vmalloc ||
		bases->vmemmap >= START_KERNEL_MAP) {
		(void)err_set(err, ERR_KERNEL_LAYOUT,
			"direct map, vmalloc space and memory map begin at 0x%" PRIx64 ", 0x%" PRIx64
			" and 0x%" PRIx64 ": not in this order",
			bases->page_offset, bases->vmalloc, bases->vmemmap);
		return disagree(err);
	}
	return 0;
}

int kmem_bases_find(const struct kmem *kmem, uint64_t syscall_entry, uint64_t agent_text,
	struct kmem_bases *ret_bases, struct err *err)
{
	struct kmem_bases bases = {0};
	uint64_t text_gpa = 0;
	gpa_t root;
	int rc = kmem_check(kmem, err);

	if (rc == 0)
		rc = kmem_root(kmem, &root, &bases.five_level, err);
	if (rc == 0)
		rc = text_find(kmem, syscall_entry, agent_text, &bases, &text_gpa, err);
	if (rc == 0)
		rc = regions_find(kmem, text_gpa, &bases, err);
	if (rc == 0)
		*ret_bases = bases;
	return rc;
}
