/* SPDX-License-Identifier: GPL-2.0-only */
/* A made-up kernel: an ELF image with symbols and types, "loaded" into made-up guest memory, with page
 * tables, so that access is tested without a VM. */
#ifndef TESTS_UNIT_KMEM_FAKE_KERNEL_H
#define TESTS_UNIT_KMEM_FAKE_KERNEL_H

#include "host/kmem/kmem.h"
#include "tests/unit/kmem/synthetic.h"

#define FAKE_TEXT UINT64_C(0xffffffff81000000)        /* _text; loaded at 0x1000000 */
#define FAKE_DATA UINT64_C(0xffffffff83000000)        /* variables; loaded at 0x3000000 */
#define FAKE_PAGE_OFFSET UINT64_C(0xffff888000000000) /* direct map */
#define FAKE_LOW_BYTES (UINT64_C(64) << 20)
#define FAKE_HIGH UINT64_C(0x100000000)
#define FAKE_HIGH_BYTES (UINT64_C(2) << 20)
#define FAKE_CPUS 4 /* possible; the last one is offline */

/* Offsets of variables from FAKE_DATA. */
enum {
	FAKE_PAGE_OFFSET_BASE = 0x0,
	FAKE_JIFFIES = 0x10,
	FAKE_L5 = 0x18,
	FAKE_WORD = 0x20,            /* "word" */
	FAKE_PIDS = 0x40,            /* init_pid_ns, of those BTFs that have a struct pid_namespace */
	FAKE_MAPS = 0x60,            /* map_idr, of those that have a struct idr */
	FAKE_PER_CPU_OFFSET = 0x100, /* 8 CPUs */
	FAKE_POSSIBLE = 0x140,
	FAKE_ONLINE = 0x148,
	FAKE_PHYS_BASE = 0x150,
	FAKE_VMALLOC_BASE = 0x158,
	FAKE_VMEMMAP_BASE = 0x160,
	FAKE_ROOT = 0x1000,
	FAKE_PER_CPU = 0x2000, /* runqueues, a struct rq of synthetic_btf_build() */
	FAKE_END = 0x3000,
};

/* Offsets from FAKE_TEXT. */
#define FAKE_ENTRY 0x400  /* of system calls */
#define FAKE_BANNER 0x800 /* the only text in the page but for the ELF headers */

/* Where the other regions begin. */
#define FAKE_VMALLOC UINT64_C(0xffffc90000000000)
#define FAKE_VMEMMAP UINT64_C(0xffffea0000000000)

struct fake_kernel {
	uint8_t *elf;
	size_t elf_bytes;
	struct gmem memory;
	struct kmem *kmem;
	uint64_t slide, gpa_move; /* running less link addresses */
	uint64_t next_table;      /* guest-physical, for page tables */
};

void fake_kernel_init(struct fake_kernel *fake);
/* With other types than those of synthetic_btf_build(). */
void fake_kernel_init_with(struct fake_kernel *fake, const uint8_t *btf, size_t btf_bytes);
/* As if the kernel had placed itself there and mapped its text and data. kmem is the caller's to make. */
void fake_kernel_init_moved(struct fake_kernel *fake, uint64_t slide, uint64_t gpa_move);
void fake_kernel_deinit(struct fake_kernel *fake);
/* Host address of guest-physical memory. */
void *fake_ptr(struct fake_kernel *fake, uint64_t gpa);
/* Host address of a variable of the image. */
static inline void *fake_data(struct fake_kernel *fake, uint64_t offset)
{
	return fake_ptr(fake, 0x3000000 + fake->gpa_move + offset);
}
/* Guest-physical address of CPU `cpu`'s run queue. */
uint64_t fake_rq_gpa(unsigned cpu);
/* Maps the page of 1 << (12 + 9 * (level - 1)) bytes at `at` to `gpa`; returns its entry. */
uint64_t *fake_map(struct fake_kernel *fake, uint64_t at, uint64_t gpa, unsigned level);

#endif
