/* SPDX-License-Identifier: GPL-2.0-only */
/* An ELF vmlinux into guest memory: its loadable segments at their physical addresses. Bytes from a file, so
 * nothing in them is trusted. Before the VM runs. */
#ifndef HOST_VM_BOOT_ELF_H
#define HOST_VM_BOOT_ELF_H

#include "common/err.h"
#include "host/vm/boot_copy.h"
#include "host/vm/gmem.h"

#define ELF_SEGMENTS_MAX 64

struct elf_loaded {
	gpa_t entry;      /* e_entry: physical, and not where a segment starts */
	gpa_t start, end; /* all segments lie in [start, end) */
	struct boot_copy copies[2 * ELF_SEGMENTS_MAX + 1]; /* before and behind each one's mapped constants */
	struct boot_copy_job job;
};

/* `fd`: the same bytes as a file that nobody shortens, or -1; constants are then mapped from it
 * (gmem_map_file()), and reading the rest from there is quicker than faulting a mapping in, and skips its
 * holes. Segments must lie in one piece of RAM from LAYOUT_KERNEL on; `memory` must still be all zero there.
 * ERR_INVALID_ARGUMENT for a damaged file, ERR_LIMIT_EXCEEDED when it does not fit; guest memory is then
 * untouched. On success copying has begun, and boot_copy_finish(&ret->job) ends it; until then, elf, fd,
 * memory and *ret stay in their place. */
int elf_load(const uint8_t *elf, size_t length, int fd, const struct gmem *memory, struct elf_loaded *ret,
	struct err *err) must_check;

#endif
