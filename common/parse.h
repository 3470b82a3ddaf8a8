/* SPDX-License-Identifier: GPL-2.0-only */
/* Text to numbers with units. Whole string or nothing; overflow is an error. No state, any thread. */
#ifndef COMMON_PARSE_H
#define COMMON_PARSE_H

#include "common/check.h"
#include "common/err.h"

/* Decimal or 0x hexadecimal, no sign, no spaces. ERR_INVALID_ARGUMENT otherwise. */
int parse_u64(const char *text, uint64_t *ret_value, struct err *err) must_check;
int parse_u32(const char *text, uint32_t *ret_value, struct err *err) must_check;
/* With an optional sign. */
int parse_i64(const char *text, int64_t *ret_value, struct err *err) must_check;
/* Durations: one or more of NUMBER UNIT with ns, us, ms, s, m, h ("250us", "1m30s", "1.5s"); "0" alone needs
 * no unit. A number without unit or an unknown unit is refused with the units listed. */
int parse_duration_ns(const char *text, uint64_t *ret_ns, struct err *err) must_check;
/* Sizes: NUMBER with optional K, M, G, T, KiB, MiB, GiB, TiB (all powers of 1024) or B. */
int parse_size_bytes(const char *text, uint64_t *ret_bytes, struct err *err) must_check;
/* Writes a duration as people read it ("1.5s", "250us"); returns buffer. */
const char *format_duration(uint64_t ns, char *buffer, size_t size);

#endif
