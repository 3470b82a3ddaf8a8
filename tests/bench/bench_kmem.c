/* SPDX-License-Identifier: GPL-2.0-only */
/* Speed of kernel memory access and of captures, on a kernel image loaded into plain memory with run queues
 * and page tables made by hand: no VM. Usage: bench-kmem KERNEL. One line per figure. */
#include "common/clock.h"
#include "host/kmem/access.h"
#include "host/snapshot/capture.h"
#include "host/vm/kernel_image.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MEMORY_BYTES (UINT64_C(512) << 20)
#define PAGE_OFFSET UINT64_C(0xffff888000000000)
#define VMALLOC UINT64_C(0xffffc90000000000)
#define PER_CPU UINT64_C(0x10000000)
#define PER_CPU_STRIDE UINT64_C(0x40000)
#define CPUS 64u
#define FIELDS 10000u
#define ROUNDS 20u

static struct kmem *kmem;
static struct gmem *memory;

static void *at_symbol(const char *name)
{
	gva_t at;
	gpa_t gpa;
	uint64_t left;

	if (symbols_find(kmem_symbols(kmem), name, &at, NULL) < 0 ||
		!kimage_gpa(kmem_image(kmem), at, &gpa, &left)) {
		fprintf(stderr, "bench-kmem: the kernel has no symbol %s\n", name);
		exit(1);
	}
	return gmem_ptr(memory, gpa, 8);
}

static void load(void)
{
	const struct kimage *image = kmem_image(kmem);
	gva_t start;

	for (unsigned i = 0; i < image->n_segments; i++)
		if (gmem_write(memory, image->segment[i].paddr, image->bytes + image->segment[i].file_offset,
			    image->segment[i].file_bytes) < 0)
			exit(1);
	if (symbols_find(kmem_symbols(kmem), "__per_cpu_start", &start, NULL) < 0)
		exit(1);
	uint64_t *offset = at_symbol("__per_cpu_offset");
	for (unsigned cpu = 0; cpu < CPUS; cpu++)
		offset[cpu] = PAGE_OFFSET + PER_CPU + cpu * PER_CPU_STRIDE - start.v;
	*(uint64_t *)at_symbol("__cpu_possible_mask") = UINT64_MAX;
	*(uint64_t *)at_symbol("__cpu_online_mask") = UINT64_MAX;
	/* One 4 KiB page of vmalloc space. */
	uint64_t *root = at_symbol("init_top_pgt"), *table = gmem_ptr(memory, GPA(0x1000), 0x4000);
	root[VMALLOC >> 39 & 511] = 0x1003;
	table[VMALLOC >> 30 & 511] = 0x2003;
	table[512 + (VMALLOC >> 21 & 511)] = 0x3003;
	table[1024 + (VMALLOC >> 12 & 511)] = 0x4003;
}

static void copies(const char *what, uint64_t base, uint64_t span)
{
	const uint64_t n = 2000000;
	uint64_t sum = 0, value, start = clock_now_ns();

	for (uint64_t i = 0; i < n; i++) {
		if (kmem_copy(kmem, GVA(base + i * 64 % span), &value, 8, NULL) < 0)
			exit(1);
		sum += value;
	}
	uint64_t ns = clock_now_ns() - start;
	printf("%-34s %8.2f M/s (checksum %" PRIx64 ")\n", what, (double)n * 1e3 / (double)ns, sum);
}

static void batches(const char *what, enum kmem_target_form form)
{
	static const char *const members[] = {"nr_running", "clock", "scx.flags", "cfs.h_nr_queued", "curr"};
	static struct kmem_read entries[FIELDS];
	static char text[FIELDS][64];
	uint64_t best = UINT64_MAX, first = 0;
	struct err err = ERR_INIT;

	for (unsigned i = 0; i < FIELDS; i++) {
		unsigned m = i % ARRAY_SIZE(members), cpu = i / ARRAY_SIZE(members) % CPUS;
		snprintf(text[i], sizeof(text[i]), "runqueues@%u.%s", cpu, members[m]);
		entries[i] = (struct kmem_read){.target = {.form = form,
							.name = "runqueues",
							.cpu = cpu,
							.field = form == KMEM_PATH ? text[i] : members[m]},
			.width = KMEM_U32};
	}
	for (unsigned r = 0; r < ROUNDS; r++) {
		uint64_t start = clock_now_ns();
		if (kmem_read_batch(kmem, entries, FIELDS, NULL, &err) < 0) {
			fprintf(stderr, "bench-kmem: %s\n", err.message);
			exit(1);
		}
		uint64_t ns = clock_now_ns() - start;
		best = MIN_OF(best, ns);
		first = r == 0 ? ns : first;
	}
	printf("%-34s %8.3f ms best, %.3f ms first\n", what, (double)best / 1e6, (double)first / 1e6);
}

static void captures(void)
{
	struct err err = ERR_INIT;
	struct snapshot_layout *layout = snapshot_layout_new(kmem, &err);
	struct snapshot_raw *raw = snapshot_raw_new(layout, NULL, "bench", SNAPSHOT_ALL, CPUS, &err);
	uint64_t best = UINT64_MAX;

	for (unsigned r = 0; raw && r < ROUNDS; r++) {
		uint64_t start = clock_now_ns();
		snapshot_capture_kernel(raw);
		best = MIN_OF(best, clock_now_ns() - start);
	}
	printf("%-34s %8.3f ms\n", "copy of 64 run queues", (double)best / 1e6);
	snapshot_raw_free(raw);
	snapshot_layout_free(layout);
}

int main(int argc, char **argv)
{
	struct kernel_image *image;
	struct err err = ERR_INIT;
	gva_t at;

	if (argc != 2) {
		fprintf(stderr, "usage: bench-kmem KERNEL\n");
		return 64;
	}
	if (kernel_image_load(argv[1], &image, &err) < 0 ||
		!(memory = gmem_new(&(uint64_t){MEMORY_BYTES}, 1, &err))) {
		fprintf(stderr, "bench-kmem: %s\n", err.message);
		return 69;
	}
	struct kmem_config config = {image->elf, image->elf_bytes, memory};
	uint64_t start = clock_now_ns();
	kmem = kmem_new(&config, &err);
	if (!kmem) {
		fprintf(stderr, "bench-kmem: %s\n", err.message);
		return 69;
	}
	printf("%-34s %8.3f ms\n", "open symbols and types", (double)(clock_now_ns() - start) / 1e6);
	start = clock_now_ns();
	for (unsigned i = 0; i < 1000; i++)
		if (symbols_find(kmem_symbols(kmem), i & 1 ? "jiffies_64" : "init_task", &at, &err) < 0)
			return 1;
	printf("%-34s %8.3f us\n", "symbol by name", (double)(clock_now_ns() - start) / 1e6);
	load();
	copies("u64 in the kernel's image", kmem_image(kmem)->segment[0].vaddr.v, 1 << 20);
	copies("u64 in the direct map", PAGE_OFFSET + PER_CPU, 1 << 20);
	copies("u64 by page-table walk", VMALLOC, 4096);
	batches("10000 per-CPU fields in a batch", KMEM_PER_CPU_FIELD);
	batches("10000 paths in a batch", KMEM_PATH);
	captures();
	kmem_free(kmem);
	gmem_free(memory);
	kernel_image_free(image);
	return 0;
}
