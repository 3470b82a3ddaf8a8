/* SPDX-License-Identifier: GPL-2.0-only */
/* Guest-physical memory: where it is mapped, and bounded access to it. Built by one thread, then constant. */
#include "host/vm/gmem.h"

#include "host/arch/x86_64/layout.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define PAGE_BYTES UINT64_C(4096)
#define HUGE_BYTES (UINT64_C(2) << 20)
/* Guest-physical addresses that every x86-64 CPU has: 40 bits. */
#define GPA_LIMIT (UINT64_C(1) << 40)

/* Guest memory is neither dumped nor forked: advice, too. */
static void keep_inside(void *p, uint64_t size)
{
	(void)madvise(p, size, MADV_DONTDUMP);
	(void)madvise(p, size, MADV_DONTFORK);
}

/* Aligned to 2 MiB in our space as in the guest's, so that both can use large pages. */
static uint8_t *map_aligned(uint64_t size, struct err *err)
{
	uint64_t wanted = size + HUGE_BYTES;
	uint8_t *p = mmap(
		NULL, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		err_set_os(err, ERR_HOST, errno, "cannot map %llu MiB of guest memory",
			(unsigned long long)(size >> 20));
		return NULL;
	}
	uint64_t head = round_up_u64((uintptr_t)p, HUGE_BYTES) - (uintptr_t)p;
	if (head)
		munmap(p, head);
	if (HUGE_BYTES - head)
		munmap(p + head + size, HUGE_BYTES - head);
	p += head;
	/* Advice only: a host without it is slower, not wrong. */
	(void)madvise(p, size, MADV_HUGEPAGE);
	keep_inside(p, size);
	return p;
}

static int add_region(struct gmem *mem, uint64_t start, uint64_t size, unsigned node, struct err *err)
{
	if (mem->n_regions == GMEM_REGIONS_MAX)
		return err_set(
			err, ERR_LIMIT_EXCEEDED, "guest memory in more than %d pieces", GMEM_REGIONS_MAX);
	uint8_t *host = map_aligned(size, err);
	if (!host)
		return -EIO;
	mem->region[mem->n_regions++] =
		(struct gmem_region){.start = GPA(start), .size_bytes = size, .host = host, .node = node};
	mem->total_bytes += size;
	return 0;
}

struct gmem *gmem_new(const uint64_t *node_bytes, unsigned n_nodes, struct err *err)
{
	_cleanup_(gmem_free_p) struct gmem *mem = calloc(1, sizeof(*mem));
	if (!mem) {
		err_set(err, ERR_HOST, "out of memory");
		return NULL;
	}
	uint64_t next = 0;
	for (unsigned node = 0; node < n_nodes; node++) {
		uint64_t left = node_bytes[node];
		if (left % HUGE_BYTES) {
			err_set(err, ERR_INVALID_ARGUMENT,
				"memory of node %u is %llu bytes, no multiple of 2 MiB", node,
				(unsigned long long)left);
			return NULL;
		}
		if (left > GPA_LIMIT - mem->total_bytes) {
			err_set(err, ERR_LIMIT_EXCEEDED, "more than 1 TiB of guest memory");
			return NULL;
		}
		while (left) {
			uint64_t room = next < LAYOUT_HOLE ? LAYOUT_HOLE - next : left;
			uint64_t size = MIN_OF(left, room);
			if (add_region(mem, next, size, node, err) < 0)
				return NULL;
			left -= size;
			next += size;
			if (next == LAYOUT_HOLE)
				next = LAYOUT_HIGH;
		}
	}
	if (mem->n_regions == 0) {
		err_set(err, ERR_INVALID_ARGUMENT, "a VM without memory");
		return NULL;
	}
	return TAKE_PTR(mem);
}

void gmem_free(struct gmem *mem)
{
	if (!mem)
		return;
	for (unsigned i = 0; i < mem->n_regions; i++)
		munmap(mem->region[i].host, mem->region[i].size_bytes);
	free(mem);
}

/* The region that holds the byte at gpa. */
static const struct gmem_region *find(const struct gmem *mem, uint64_t gpa)
{
	unsigned low = 0, high = mem->n_regions;
	while (low < high) {
		unsigned mid = (low + high) / 2;
		const struct gmem_region *r = &mem->region[mid];
		if (gpa < r->start.v)
			high = mid;
		else if (gpa - r->start.v >= r->size_bytes)
			low = mid + 1;
		else
			return r;
	}
	return NULL;
}

void *gmem_ptr(const struct gmem *mem, gpa_t gpa, uint64_t length)
{
	const struct gmem_region *r = length ? find(mem, gpa.v) : NULL;
	if (!r || !range_fits(gpa.v - r->start.v, length, r->size_bytes))
		return NULL;
	return r->host + (gpa.v - r->start.v);
}

int gmem_map_file(const struct gmem *mem, gpa_t gpa, uint64_t length, int fd, uint64_t offset)
{
	struct stat st;
	uint64_t size = round_up_u64(length, PAGE_BYTES);
	uint8_t *host = size < length ? NULL : gmem_ptr(mem, gpa, size);
	if (!host || gpa.v % PAGE_BYTES || offset % PAGE_BYTES)
		return -EINVAL;
	if (fstat(fd, &st) < 0)
		return -errno;
	/* Beyond the last page of a file there is nothing to be had but SIGBUS. */
	if (!range_fits(offset, length, (uint64_t)MAX_OF(st.st_size, 0)))
		return -EINVAL;
	if (mmap(host, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd,
		    (off_t)offset) == MAP_FAILED)
		return -errno;
	keep_inside(host, size);
	return 0;
}

static int copy(const struct gmem *mem, gpa_t gpa, void *out, const void *in, size_t length)
{
	/* The whole range first: a copy happens whole or not at all. */
	for (uint64_t at = gpa.v, left = length; left;) {
		const struct gmem_region *r = find(mem, at);
		if (!r)
			return -EFAULT;
		uint64_t n = MIN_OF(left, r->size_bytes - (at - r->start.v));
		at += n;
		left -= n;
	}
	size_t done = 0;
	while (done < length) {
		uint64_t at = gpa.v + done;
		const struct gmem_region *r = find(mem, at);
		size_t n = MIN_OF(length - done, r->size_bytes - (at - r->start.v));
		uint8_t *host = r->host + (at - r->start.v);
		if (out)
			memcpy((uint8_t *)out + done, host, n);
		else
			memcpy(host, (const uint8_t *)in + done, n);
		done += n;
	}
	return 0;
}

int gmem_read(const struct gmem *mem, gpa_t gpa, void *bytes, size_t length)
{
	return copy(mem, gpa, bytes, NULL, length);
}

int gmem_write(const struct gmem *mem, gpa_t gpa, const void *bytes, size_t length)
{
	return copy(mem, gpa, NULL, bytes, length);
}
