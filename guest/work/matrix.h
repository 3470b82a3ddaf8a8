/* SPDX-License-Identifier: GPL-2.0-only */
/* Products of matrices, as several types use them for work with a footprint. Any process. */
#ifndef GUEST_WORK_MATRIX_H
#define GUEST_WORK_MATRIX_H

#include <stdint.h>

/* Rows of the largest square matrices of which three fit. */
static inline unsigned matrix_rows(uint64_t bytes)
{
	unsigned n = 1;
	while (3 * sizeof(uint64_t) * (n + 1) * (n + 1) <= bytes)
		n++;
	return n;
}

static inline void matrix_fill(uint64_t *matrices, unsigned n)
{
	for (uint64_t i = 0; i < 2 * (uint64_t)n * n; i++)
		matrices[i] = i | 1;
}

/* Row i of c = a * b, three n * n matrices one after the other. */
static inline void matrix_row(uint64_t *matrices, unsigned n, unsigned i)
{
	const uint64_t *a = matrices, *b = a + (uint64_t)n * n;
	uint64_t *c = matrices + 2 * (uint64_t)n * n;
	for (unsigned j = 0; j < n; j++) {
		uint64_t sum = 0;
		for (unsigned k = 0; k < n; k++)
			sum += a[i * n + k] * b[k * n + j];
		c[i * n + j] = sum;
	}
}

/* After all rows: the product is the next factor, or the compiler could do without it. */
static inline void matrix_done(uint64_t *matrices, unsigned n)
{
	matrices[0] = matrices[2 * (uint64_t)n * n] | 1;
}

#endif
