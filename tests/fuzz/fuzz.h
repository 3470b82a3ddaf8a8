/* SPDX-License-Identifier: GPL-2.0-only */
/* What every fuzz target is: one function, called for one input at a time by libFuzzer or by replay.c. It
 * leaves nothing behind. A broken promise of the code under test is an abort. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* Takes an input apart, front to back; behind its end there are zeros. */
struct fuzz_input {
	const uint8_t *at;
	size_t left;
};

static inline void fuzz_take(struct fuzz_input *in, void *bytes, size_t length)
{
	size_t n = length < in->left ? length : in->left;
	memset(bytes, 0, length);
	if (n)
		memcpy(bytes, in->at, n);
	in->at += n;
	in->left -= n;
}
static inline uint8_t fuzz_u8(struct fuzz_input *in)
{
	uint8_t v;
	fuzz_take(in, &v, sizeof(v));
	return v;
}
static inline uint16_t fuzz_u16(struct fuzz_input *in)
{
	uint16_t v;
	fuzz_take(in, &v, sizeof(v));
	return v;
}
static inline uint32_t fuzz_u32(struct fuzz_input *in)
{
	uint32_t v;
	fuzz_take(in, &v, sizeof(v));
	return v;
}

#endif
