/* SPDX-License-Identifier: GPL-2.0-only */
/* What is kept of output: all, or beginning and end with a marker; bounded together. */
#include "guest/payload/output.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Byte number i of a text that never repeats at ring sizes. */
static char byte_at(uint64_t i)
{
	return (char)('a' + (i * 7 + i / 65521) % 26);
}

static void add_bytes(struct output *output, uint64_t count, size_t piece)
{
	char buffer[70000];
	while (count) {
		size_t n = (size_t)MIN_OF(count, piece);
		for (size_t i = 0; i < n; i++)
			buffer[i] = byte_at(output->total + i);
		output_add(output, buffer, n);
		count -= n;
	}
}

/* Everything that is kept, read in pieces of that size. */
static char *read_all(const struct output *output, size_t piece, uint64_t *ret_length)
{
	uint64_t kept = output_kept_bytes(output), at = 0;
	char *text = malloc(kept + 1);
	for (size_t n; (n = output_read(output, at, text + at, MIN_OF(piece, kept - at + 1))) > 0; at += n)
		cr_assert_leq(at + n, kept);
	cr_assert_eq(at, kept);
	*ret_length = at;
	return text;
}

Test(output, all_of_it)
{
	static const uint64_t sizes[] = {0, 1, 1023, 65536, 65537, 3000000, PAYLOAD_KEEP_BYTES};
	for (unsigned k = 0; k < ARRAY_SIZE(sizes); k++) {
		struct output output = {0};
		uint64_t length;
		add_bytes(&output, sizes[k], 16384);
		char *text = read_all(&output, 100000, &length);
		cr_assert_eq(length, sizes[k]);
		for (uint64_t i = 0; i < length; i++)
			if (text[i] != byte_at(i))
				cr_assert_fail("byte %lu of %lu", i, length);
		free(text);
		output_deinit(&output);
	}
}

static void check_cut(uint64_t size, size_t piece, size_t read_piece)
{
	struct output output = {0};
	uint64_t length;
	char marker[100];
	const uint64_t half = PAYLOAD_KEEP_BYTES / 2;
	add_bytes(&output, size, piece);
	char *text = read_all(&output, read_piece, &length);
	int n = snprintf(marker, sizeof(marker), "\n[schedrig: %lu bytes were cut out here]\n",
		size - PAYLOAD_KEEP_BYTES);
	cr_assert_eq(length, PAYLOAD_KEEP_BYTES + (uint64_t)n);
	for (uint64_t i = 0; i < half; i++)
		if (text[i] != byte_at(i))
			cr_assert_fail("byte %lu of the beginning", i);
	cr_assert_eq(memcmp(text + half, marker, (size_t)n), 0);
	for (uint64_t i = 0; i < half; i++)
		if (text[half + (uint64_t)n + i] != byte_at(size - half + i))
			cr_assert_fail("byte %lu of the end", i);
	char tail[11];
	output_tail(&output, tail, sizeof(tail));
	for (unsigned i = 0; i < 10; i++)
		cr_assert_eq(tail[i], byte_at(size - 10 + i));
	free(text);
	output_deinit(&output);
}

Test(output, cut_in_the_middle)
{
	check_cut(PAYLOAD_KEEP_BYTES + 1, 16384, 131072);
	check_cut(PAYLOAD_KEEP_BYTES + 5000000, 70000, 99991);
	check_cut(3 * (uint64_t)PAYLOAD_KEEP_BYTES + 17, 65536, 1 << 20);
}

Test(output, tails)
{
	struct output output = {0};
	char tail[1025];
	output_tail(&output, tail, sizeof(tail));
	cr_expect_str_eq(tail, "");
	output_add(&output, "short\n", 6);
	output_tail(&output, tail, sizeof(tail));
	cr_expect_str_eq(tail, "short\n");
	output_tail(&output, tail, 4);
	cr_expect_str_eq(tail, "rt\n");
	output_deinit(&output);
}

/* When all outputs together have used up what there is, one keeps less, and says how much is missing. */
Test(output, a_budget_for_all)
{
	struct output first = {0}, second = {0}, third = {0};
	uint64_t length;
	output_set_budget(256 << 10);
	add_bytes(&first, 100000, 1000);  /* takes 128 KiB */
	add_bytes(&second, 200000, 1000); /* gets 128 KiB, then no more */
	add_bytes(&third, 5, 5);
	char *text = read_all(&first, 5000, &length);
	cr_expect_eq(length, 100000);
	free(text);
	text = read_all(&second, 5000, &length);
	cr_assert_gt(length, 128 << 10);
	cr_expect_not_null(memmem(text, length, "[schedrig: 68928 bytes were cut", 31));
	cr_expect_eq(text[0], byte_at(0));
	cr_expect_eq(text[length - 1], byte_at(199999));
	free(text);
	text = read_all(&third, 5000, &length);
	cr_expect_not_null(memmem(text, length, "[schedrig: 5 bytes were cut", 27));
	free(text);
	output_deinit(&first);
	/* What is given back is there for others. */
	struct output fourth = {0};
	add_bytes(&fourth, 5, 5);
	text = read_all(&fourth, 5000, &length);
	cr_expect_eq(length, 5);
	free(text);
	output_deinit(&second);
	output_deinit(&third);
	output_deinit(&fourth);
	output_set_budget(0);
}
