/* SPDX-License-Identifier: GPL-2.0-only */
/* A running kernel seen from outside: its image's symbols and types together with the guest's memory.
 * Immutable once made: any thread, vCPUs running or not. Values read from the guest are hostile: they are
 * read anew for each use and checked.
 *
 * All addresses here and in what is built on this are those of the running kernel. A kernel that was booted
 * unpacked runs where it was linked, whatever else it randomises (bases.h); one that placed itself is found
 * in memory first (place.h), and image and symbols are moved there. */
#ifndef HOST_KMEM_KMEM_H
#define HOST_KMEM_KMEM_H

#include "common/cpuset.h"
#include "host/kmem/btf.h"
#include "host/kmem/memo.h"
#include "host/kmem/symbols.h"

struct kmem;

struct kmem_config {
	const void *elf; /* vmlinux (vm/kernel_image.h); borrowed, outlives the object */
	uint64_t elf_bytes;
	const struct gmem *memory; /* borrowed, outlives the object */
	bool places_itself;  /* the kernel chose its place (boot.h, BOOT_PACKED): it is found in memory */
	uint64_t agent_text; /* with places_itself: `_text` as the guest says, or 0: not known yet */
	/* Text of the guest's /proc/kallsyms, borrowed for the call: symbols come from it. NULL: from the
	 * image */
	const char *guest_symbols;
	size_t guest_symbols_bytes;
};

/* Reads symbols and types: some milliseconds, so not on the way to the first KVM_RUN. A kernel without BTF is
 * accepted: what needs types then says so. With places_itself errors are those of kernel_place_find();
 * ERR_FAILED_PRECONDITION, too early, is worth another try. */
struct kmem *kmem_new(const struct kmem_config *config, struct err *err) must_check;
void kmem_free(struct kmem *kmem);
SCOPE_GUARD(struct kmem *, kmem_free, kmem_free)

const struct kimage *kmem_image(const struct kmem *kmem);
const struct symbols *kmem_symbols(const struct kmem *kmem);
const struct gmem *kmem_memory(const struct kmem *kmem);
/* Running less link addresses of the kernel's image. */
uint64_t kmem_slide(const struct kmem *kmem);
/* Whether the kernel is where its guest says that it is: `_text`. ERR_KERNEL_LAYOUT reason bases-disagree. */
int kmem_check_text(const struct kmem *kmem, uint64_t agent_text, struct err *err) must_check;
/* The kernel's types, or NULL with ERR_KERNEL_LAYOUT. */
const struct kbtf *kmem_btf(const struct kmem *kmem, struct err *err);

/* Elements and nodes of the guest's tables that finding the places of one batch may pass; beyond that it is
 * ERR_LIMIT_EXCEEDED. Each place has its own limits, but thousands of them would keep a frozen guest, or a
 * thread of ours, for hours. Some ten seconds' worth unless set, which is done before others use the object.
 */
uint64_t kmem_batch_hops(const struct kmem *kmem);
void kmem_set_batch_hops(struct kmem *kmem, uint64_t hops);
/* Adds what one more place has cost. */
int kmem_spend_hops(const struct kmem *kmem, uint64_t *spent, uint64_t hops, struct err *err) must_check;

/* What lookups in this image gave before. */
enum kmem_memo { KMEM_MEMO_SYMBOL = 1, KMEM_MEMO_FIELD, KMEM_MEMO_MEMBER, KMEM_MEMO_TYPE };
struct memo *kmem_memo(const struct kmem *kmem);
/* Types read from guest memory (guest_btf.h). */
struct guest_btfs *kmem_guest_btfs(const struct kmem *kmem);
/* symbols_find(), remembering. */
int kmem_symbol(const struct kmem *kmem, const char *name, gva_t *ret_address, struct err *err) must_check;

/* Whether guest memory holds this very kernel, by build id: before that no address means anything.
 * ERR_FAILED_PRECONDITION: not loaded yet, or another one. Every batch checks it. */
int kmem_check(const struct kmem *kmem, struct err *err) must_check;

/* Whether `at` is the link address of a per-CPU variable (an offset, not a place). */
bool kmem_is_per_cpu(const struct kmem *kmem, gva_t at);
/* Address of CPU `cpu`'s instance of the per-CPU variable linked at `variable`. ERR_NOT_FOUND: no such CPU is
 * possible; ERR_FAILED_PRECONDITION reason cpu-offline, or per-cpu-not-ready in early boot. */
int kmem_per_cpu(const struct kmem *kmem, gva_t variable, unsigned cpu, gva_t *ret_address,
	struct err *err) must_check;
/* The same without looking at the online mask (a CPU on its way down still has its variables). */
int kmem_per_cpu_any(const struct kmem *kmem, gva_t variable, unsigned cpu, gva_t *ret_address,
	struct err *err) must_check;

/* CPUs that are online and have their per-CPU variables. */
int kmem_online(const struct kmem *kmem, struct cpuset *ret_cpus, struct err *err) must_check;

/* Start of the direct map, as the kernel has it now; checked to be canonical. */
int kmem_page_offset(const struct kmem *kmem, gva_t *ret_start, struct err *err) must_check;
/* The kernel's own page-table root and depth. */
int kmem_root(const struct kmem *kmem, gpa_t *ret_root, bool *ret_five_level, struct err *err) must_check;

#endif
