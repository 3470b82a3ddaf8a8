/* SPDX-License-Identifier: GPL-2.0-only OR LGPL-2.1-only OR BSD-2-Clause */
/* Attributes and small macros that every room uses. No state, any thread. */
#ifndef COMMON_CHECK_H
#define COMMON_CHECK_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

/* The caller must look at the result. */
#define must_check __attribute__((warn_unused_result))
#define printf_like(fmt, args) __attribute__((format(printf, fmt, args)))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN_OF(a, b) ((a) < (b) ? (a) : (b))
#define MAX_OF(a, b) ((a) > (b) ? (a) : (b))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* a + b <= limit without wrapping. For every offset + length that comes from elsewhere. */
static inline int range_fits(uint64_t offset, uint64_t length, uint64_t limit)
{
	return offset <= limit && length <= limit - offset;
}

/* Rounds up to a power of two; saturates at UINT64_MAX. */
static inline uint64_t round_up_u64(uint64_t value, uint64_t power_of_two)
{
	uint64_t up = value + (power_of_two - 1);
	return up < value ? UINT64_MAX : up & ~(power_of_two - 1);
}

#endif
