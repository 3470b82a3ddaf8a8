/* SPDX-License-Identifier: GPL-2.0-only */
/* Guest-physical memory: a few regions of the controller's own address space. Built before the first vCPU
 * runs and constant afterwards, so every function is safe on any thread; what the bytes hold is the guest's
 * and changes under the reader: copy once, then check the copy. */
#ifndef HOST_VM_GMEM_H
#define HOST_VM_GMEM_H

#include "common/err.h"
#include "common/scope.h"

/* Guest-physical address: must not mix with gva_t or host pointers. */
typedef struct {
	uint64_t v;
} gpa_t;
#define GPA(x) ((gpa_t){(x)})
/* Guest-virtual (kernel) address. */
typedef struct {
	uint64_t v;
} gva_t;
#define GVA(x) ((gva_t){(x)})

#define GMEM_REGIONS_MAX 128

struct gmem_region {
	gpa_t start;
	uint64_t size_bytes; /* multiple of 4096 */
	uint8_t *host;
	unsigned node; /* NUMA node it belongs to */
};

struct gmem {
	unsigned n_regions;
	struct gmem_region region[GMEM_REGIONS_MAX]; /* ascending by start, no overlap */
	uint64_t total_bytes;
};

/* Maps memory for `node_bytes[n_nodes]` (multiples of 2 MiB) at the addresses of arch/x86_64/layout.h: low
 * memory up to the hole below 4 GiB, the rest above it. Sparse, private, not reserved. ERR_HOST when the host
 * refuses. */
struct gmem *gmem_new(const uint64_t *node_bytes, unsigned n_nodes, struct err *err) must_check;
void gmem_free(struct gmem *mem);
SCOPE_GUARD(struct gmem *, gmem_free, gmem_free)

/* Replaces [gpa, gpa + length) of RAM by private pages of a file: nothing is copied before the guest writes
 * to it. gpa and offset in whole pages, the last page in file order is taken whole; whoever keeps the file
 * must not shorten it. Before the VM runs. -EINVAL when the range is no RAM in one piece, not in whole pages
 * or not in the file, -errno when the host refuses; memory is then as it was. */
int gmem_map_file(const struct gmem *mem, gpa_t gpa, uint64_t length, int fd, uint64_t offset) must_check;

/* Host address of [gpa, gpa + length) if it lies in one region whole, else NULL. length 0 is NULL. */
void *gmem_ptr(const struct gmem *mem, gpa_t gpa, uint64_t length);
/* Copies across adjacent regions. -EFAULT if any byte is not RAM (then nothing was copied). */
int gmem_read(const struct gmem *mem, gpa_t gpa, void *bytes, size_t length) must_check;
int gmem_write(const struct gmem *mem, gpa_t gpa, const void *bytes, size_t length) must_check;

#endif
