/* SPDX-License-Identifier: GPL-2.0-only */
/* Kept output (see output.h). */
#include "guest/payload/output.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_BYTES (64u << 10)
#define BUDGET_MAX_BYTES ((size_t)128 << 20)
#define MARKER_BYTES 96

/* Numbers that order nothing else. */
static _Atomic size_t budget, used;

void output_set_budget(size_t bytes)
{
	atomic_store_explicit(&budget, bytes, memory_order_relaxed);
}

static size_t budget_bytes(void)
{
	size_t bytes = atomic_load_explicit(&budget, memory_order_relaxed);
	if (bytes)
		return bytes;
	long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
	bytes = pages > 0 && page > 0 ? (size_t)pages * (size_t)page / 8 : BUDGET_MAX_BYTES;
	bytes = MIN_OF(bytes, BUDGET_MAX_BYTES);
	atomic_store_explicit(&budget, bytes, memory_order_relaxed);
	return bytes;
}

static int budget_take(size_t bytes)
{
	size_t now = atomic_load_explicit(&used, memory_order_relaxed);
	do
		if (!range_fits(now, bytes, budget_bytes()))
			return 0;
	while (!atomic_compare_exchange_weak_explicit(
		&used, &now, now + bytes, memory_order_relaxed, memory_order_relaxed));
	return 1;
}

void output_deinit(struct output *output)
{
	free(output->bytes);
	atomic_fetch_sub_explicit(&used, output->size, memory_order_relaxed);
	*output = (struct output){0};
}

/* Room for `wanted` bytes, or as much as there will ever be. */
static void grow(struct output *output, uint64_t wanted)
{
	if (output->none)
		return;
	if (!output->limit)
		output->limit = PAYLOAD_KEEP_BYTES;
	while (output->size < output->limit && output->size < wanted) {
		size_t more = output->size ? output->size : FIRST_BYTES;
		bool mine = budget_take(more);
		char *bytes = mine ? realloc(output->bytes, output->size + more) : NULL;
		if (!bytes) {
			if (mine)
				atomic_fetch_sub_explicit(&used, more, memory_order_relaxed);
			/* What is there stays as it lies: the second half of it becomes the ring. */
			output->limit = output->size;
			output->none = !output->size;
			return;
		}
		output->bytes = bytes;
		output->size += more;
	}
}

/* Where byte number `at` lies. */
static size_t place_of(const struct output *output, uint64_t at)
{
	size_t half = output->limit / 2;
	return at < half ? (size_t)at : half + (size_t)((at - half) % half);
}

void output_add(struct output *output, const void *bytes, size_t count)
{
	const char *from = bytes;
	if (!count)
		return;
	grow(output, output->total + count);
	if (output->none) {
		output->total += count;
		return;
	}
	while (count) {
		size_t half = output->limit / 2, place = place_of(output, output->total);
		size_t room = place < half ? half - place : output->limit - place;
		size_t n = MIN_OF(room, count);
		memcpy(output->bytes + place, from, n);
		output->total += n;
		from += n;
		count -= n;
	}
}

static uint64_t cut_bytes(const struct output *output)
{
	return output->total > output->limit ? output->total - output->limit : 0;
}

static size_t marker(const struct output *output, char text[MARKER_BYTES])
{
	return (size_t)snprintf(
		text, MARKER_BYTES, "\n[schedrig: %" PRIu64 " bytes were cut out here]\n", cut_bytes(output));
}

uint64_t output_kept_bytes(const struct output *output)
{
	char text[MARKER_BYTES];
	if (!cut_bytes(output))
		return output->total;
	return output->limit + marker(output, text);
}

/* Bytes [offset, offset + size) of those written, which must be kept. */
static void copy_out(const struct output *output, uint64_t offset, char *to, size_t size)
{
	while (size) {
		size_t half = output->limit / 2, place = place_of(output, offset);
		size_t n = MIN_OF(size, place < half ? half - place : output->limit - place);
		memcpy(to, output->bytes + place, n);
		to += n;
		offset += n;
		size -= n;
	}
}

size_t output_read(const struct output *output, uint64_t offset, void *buffer, size_t size)
{
	char text[MARKER_BYTES];
	uint64_t half = output->limit / 2, cut = cut_bytes(output), length = cut ? marker(output, text) : 0;
	uint64_t kept = output_kept_bytes(output);
	char *to = buffer;
	size_t done = 0;
	if (offset >= kept)
		return 0;
	size = (size_t)MIN_OF(size, kept - offset);
	while (done < size) {
		uint64_t at = offset + done;
		size_t left = size - done;
		if (!cut || at < half) {
			size_t n = cut ? (size_t)MIN_OF(left, half - at) : left;
			copy_out(output, at, to + done, n);
			done += n;
		} else if (at < half + length) {
			size_t n = (size_t)MIN_OF(left, half + length - at);
			memcpy(to + done, text + (at - half), n);
			done += n;
		} else {
			copy_out(output, at - length + cut, to + done, left);
			done += left;
		}
	}
	return done;
}

void output_tail(const struct output *output, char *buffer, size_t size)
{
	size_t half = output->limit / 2;
	uint64_t there = cut_bytes(output) ? half : output->total;
	size_t n = (size_t)MIN_OF(there, size - 1);
	if (n)
		copy_out(output, output->total - n, buffer, n);
	buffer[n] = '\0';
}
