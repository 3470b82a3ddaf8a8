/* SPDX-License-Identifier: GPL-2.0-only */
/* The page tables a guest starts with: one PML4, one PDPT, four page directories. Before the VM runs. */
#include "host/arch/x86_64/pgtable.h"

#include "host/arch/x86_64/layout.h"

#define PAGE_BYTES 4096u
#define ENTRIES 512u
#define GIBS 4u
/* Intel SDM volume 3, 4.5: present, writable, and "this maps a page" in a directory. */
#define PTE_PRESENT 1u
#define PTE_WRITE 2u
#define PTE_LARGE 0x80u

void pgtable_write_identity(const struct gmem *memory)
{
	uint64_t *tables = gmem_ptr(memory, GPA(LAYOUT_PAGE_TABLES), (2 + GIBS) * PAGE_BYTES);
	assert(tables);
	uint64_t *pml4 = tables, *pdpt = tables + ENTRIES, *pd = tables + 2 * ENTRIES;
	pml4[0] = (LAYOUT_PAGE_TABLES + PAGE_BYTES) | PTE_PRESENT | PTE_WRITE;
	for (unsigned g = 0; g < GIBS; g++)
		pdpt[g] = (LAYOUT_PAGE_TABLES + (2 + g) * PAGE_BYTES) | PTE_PRESENT | PTE_WRITE;
	for (uint64_t i = 0; i < GIBS * ENTRIES; i++)
		pd[i] = i << 21 | PTE_PRESENT | PTE_WRITE | PTE_LARGE;
}
