/* SPDX-License-Identifier: GPL-2.0-only */
/* Copies into guest memory. Threads of its own from start to finish. */
#include "host/vm/boot_copy.h"

#include "common/cpuset.h"
#include "common/scope.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>

#define PAGE_BYTES 4096u
/* A large page of the guest's memory: two threads should not fault in the same one. */
#define CHUNK_BYTES (UINT64_C(2) << 20)
/* Not worth a thread. */
#define ALONE_BYTES (4 * CHUNK_BYTES)

static bool is_zero(const uint8_t *p, size_t n)
{
	return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

/* Guest memory is zero already: pages of zeroes (a third of a kernel's data) are not even touched. */
static void copy_sparse(uint8_t *out, const uint8_t *in, uint64_t length)
{
	while (length) {
		size_t n = MIN_OF(length, PAGE_BYTES);
		if (!is_zero(in, n))
			memcpy(out, in, n);
		out += n;
		in += n;
		length -= n;
	}
}

/* -1 when the file cannot be read this way: what is there then is right, but not all of it. Threads share the
 * descriptor: only its offset would be theirs, and nobody uses that. */
static int read_sparse(uint8_t *out, int fd, uint64_t offset, uint64_t length)
{
	uint64_t at = offset, end = offset + length;
	while (at < end) {
		off_t data = lseek(fd, (off_t)at, SEEK_DATA);
		if (data < 0 && errno == ENXIO) /* a hole up to the end of the file */
			return 0;
		off_t hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			return -1;
		if ((uint64_t)data >= end)
			return 0;
		for (at = (uint64_t)data; at < MIN_OF((uint64_t)hole, end);) {
			uint64_t n = MIN_OF((uint64_t)hole, end) - at;
			ssize_t got = pread(fd, out + (at - offset), n, (off_t)at);
			if (got <= 0)
				return -1;
			at += (uint64_t)got;
		}
	}
	return 0;
}

/* Chunks end where large pages of `out` do. */
static uint64_t chunks_of(const struct boot_copy *copy)
{
	uint64_t first = (uintptr_t)copy->out / CHUNK_BYTES;
	return copy->length ? ((uintptr_t)copy->out + copy->length - 1) / CHUNK_BYTES - first + 1 : 0;
}

static void copy_chunk(const struct boot_copy *copy, uint64_t chunk)
{
	uintptr_t start = (uintptr_t)copy->out;
	uintptr_t from = MAX_OF(start, (start / CHUNK_BYTES + chunk) * CHUNK_BYTES);
	uintptr_t to = MIN_OF(start + copy->length, (start / CHUNK_BYTES + chunk + 1) * CHUNK_BYTES);
	uint64_t skip = from - start;
	if (copy->fd < 0 || read_sparse(copy->out + skip, copy->fd, copy->offset + skip, to - from) < 0)
		copy_sparse(copy->out + skip, copy->in + skip, to - from);
}

static void *take_chunks(void *arg)
{
	struct boot_copy_job *job = arg;
	for (;;) {
		/* Relaxed: the number is all that is shared; the bytes are seen by who joins the helpers. */
		uint64_t chunk = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed);
		unsigned i = 0;
		while (i < job->n && chunk >= chunks_of(&job->copies[i]))
			chunk -= chunks_of(&job->copies[i++]);
		if (i == job->n)
			return NULL;
		copy_chunk(&job->copies[i], chunk);
	}
}

void boot_copy_start(struct boot_copy_job *job, const struct boot_copy *copies, unsigned n)
{
	*job = (struct boot_copy_job){.copies = copies, .n = n};
	uint64_t bytes = 0;
	for (unsigned i = 0; i < n; i++)
		bytes += copies[i].length;
	unsigned cpus = cpuset_usable_count();
	/* As many as there are CPUs, although the caller comes to help: until then it creates the VM. With
	 * two CPUs a start takes 9.9 ms so, and 10.9 ms with one helper less (bench-startup, medians of ten
	 * passes). */
	unsigned wanted = bytes <= ALONE_BYTES || cpus < 2 ? 0 : MIN_OF(cpus, BOOT_COPY_HELPERS_MAX);
	/* Signals stay with the threads that expect them. */
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (job->n_helpers < wanted &&
		pthread_create(&job->helpers[job->n_helpers], NULL, take_chunks, job) == 0)
		job->n_helpers++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void boot_copy_finish(struct boot_copy_job *job)
{
	take_chunks(job);
	for (unsigned i = 0; i < job->n_helpers; i++)
		pthread_join(job->helpers[i], NULL);
	job->n_helpers = 0;
}
