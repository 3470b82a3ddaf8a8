/* SPDX-License-Identifier: GPL-2.0-only */
/* Text to numbers with units (see parse.h). No state. */
#include "common/parse.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

int parse_u64(const char *text, uint64_t *ret_value, struct err *err)
{
	const char *p = text;
	unsigned base = 10;
	if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X')) {
		base = 16;
		p += 2;
	}
	if (!*p)
		return err_set(err, ERR_INVALID_ARGUMENT, "'%.40s' is not a number", text);
	uint64_t value = 0;
	for (; *p; p++) {
		unsigned digit;
		if (*p >= '0' && *p <= '9')
			digit = (unsigned)(*p - '0');
		else if (isxdigit((unsigned char)*p))
			digit = (unsigned)(tolower((unsigned char)*p) - 'a' + 10);
		else
			digit = base;
		if (digit >= base)
			return err_set(err, ERR_INVALID_ARGUMENT, "'%.40s' is not a number", text);
		if (__builtin_mul_overflow(value, (uint64_t)base, &value) ||
			__builtin_add_overflow(value, (uint64_t)digit, &value))
			return err_set(err, ERR_INVALID_ARGUMENT, "'%.40s' does not fit into 64 bits", text);
	}
	*ret_value = value;
	return 0;
}

int parse_u32(const char *text, uint32_t *ret_value, struct err *err)
{
	uint64_t value;
	int r = parse_u64(text, &value, err);
	if (r < 0)
		return r;
	if (value > UINT32_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "'%.40s' does not fit into 32 bits", text);
	*ret_value = (uint32_t)value;
	return 0;
}

int parse_i64(const char *text, int64_t *ret_value, struct err *err)
{
	bool negative = text[0] == '-';
	uint64_t value;
	int r = parse_u64(text + (text[0] == '-' || text[0] == '+'), &value, err);
	if (r < 0)
		return r;
	if (value > (uint64_t)INT64_MAX + negative)
		return err_set(
			err, ERR_INVALID_ARGUMENT, "'%.40s' does not fit into 64 bits with a sign", text);
	*ret_value = negative ? (int64_t)(0 - value) : (int64_t)value;
	return 0;
}

/* Reads digits[.digits] as value * scale; false on no digits or overflow. */
static bool scaled_number(const char **p, uint64_t *ret_whole, uint64_t *ret_fraction_1e9)
{
	uint64_t whole = 0, fraction = 0, weight = 100000000;
	const char *start = *p;
	for (; isdigit((unsigned char)**p); (*p)++)
		if (__builtin_mul_overflow(whole, UINT64_C(10), &whole) ||
			__builtin_add_overflow(whole, (uint64_t)(**p - '0'), &whole))
			return false;
	if (*p == start)
		return false;
	if (**p == '.') {
		(*p)++;
		if (!isdigit((unsigned char)**p))
			return false;
		for (; isdigit((unsigned char)**p); (*p)++) {
			fraction += weight * (uint64_t)(**p - '0');
			weight /= 10;
		}
	}
	*ret_whole = whole;
	*ret_fraction_1e9 = fraction;
	return true;
}

/* whole.fraction * unit, false on overflow. */
static bool times_unit(uint64_t whole, uint64_t fraction_1e9, uint64_t unit, uint64_t *ret_value)
{
	uint64_t value;
	if (__builtin_mul_overflow(whole, unit, &value))
		return false;
	uint64_t part = (uint64_t)(((unsigned __int128)fraction_1e9 * unit) / 1000000000u);
	return !__builtin_add_overflow(value, part, ret_value);
}

int parse_duration_ns(const char *text, uint64_t *ret_ns, struct err *err)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {/* longer names first: "ms" before "m" */
		{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}, {"m", UINT64_C(60) * 1000000000},
		{"h", UINT64_C(3600) * 1000000000}};
	if (strcmp(text, "0") == 0) {
		*ret_ns = 0;
		return 0;
	}
	uint64_t total = 0;
	const char *p = text;
	size_t last = ARRAY_SIZE(units);
	do {
		uint64_t whole, fraction, value;
		bool digits = isdigit((unsigned char)*p);
		if (!scaled_number(&p, &whole, &fraction))
			return err_set(err, ERR_INVALID_ARGUMENT,
				digits && isdigit((unsigned char)*p)
					? "'%.40s' is too long for a duration"
					: "'%.40s' is not a duration: write a number with a unit, such as "
					  "250us or 1m30s",
				text);
		size_t i = 0;
		for (; i < ARRAY_SIZE(units); i++) {
			size_t n = strlen(units[i].name);
			if (strncmp(p, units[i].name, n) == 0 && !isalpha((unsigned char)p[n])) {
				p += n;
				break;
			}
		}
		if (i == ARRAY_SIZE(units))
			return err_set(err, ERR_INVALID_ARGUMENT, "'%.40s' %s: units are ns, us, ms, s, m, h",
				text, *p ? "has an unknown unit" : "has no unit");
		if (i >= last)
			return err_set(err, ERR_INVALID_ARGUMENT,
				"'%.40s' has its units out of order: larger ones come first, each once",
				text);
		last = i;
		if (!times_unit(whole, fraction, units[i].ns, &value) ||
			__builtin_add_overflow(total, value, &total))
			return err_set(err, ERR_INVALID_ARGUMENT, "'%.40s' is too long for a duration", text);
	} while (*p);
	*ret_ns = total;
	return 0;
}

int parse_size_bytes(const char *text, uint64_t *ret_bytes, struct err *err)
{
	static const char letters[] = "KMGT";
	const char *p = text;
	uint64_t whole, fraction, unit = 1;
	if (!scaled_number(&p, &whole, &fraction))
		return err_set(err, ERR_INVALID_ARGUMENT,
			isdigit((unsigned char)*p) ? "'%.40s' is too large for a size"
						   : "'%.40s' is not a size: write it like 64M or 4GiB",
			text);
	const char *letter = *p ? strchr(letters, *p) : NULL;
	if (letter) {
		unit = UINT64_C(1) << (10 * (letter - letters + 1));
		p++;
		if (strcmp(p, "iB") == 0)
			p += 2;
	} else if (strcmp(p, "B") == 0) {
		p++;
	}
	if (*p)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"'%.40s' has an unknown unit: units are B, K, M, G, T (powers of 1024, KiB and so on "
			"too)",
			text);
	if (!times_unit(whole, fraction, unit, ret_bytes))
		return err_set(err, ERR_INVALID_ARGUMENT, "'%.40s' is too large for a size", text);
	return 0;
}

const char *format_duration(uint64_t ns, char *buffer, size_t size)
{
	static const struct {
		uint64_t ns;
		const char *unit;
	} steps[] = {{1000000000, "s"}, {1000000, "ms"}, {1000, "us"}, {1, "ns"}};
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		if (ns < steps[i].ns)
			continue;
		uint64_t thousandths = (uint64_t)(((unsigned __int128)ns * 1000) / steps[i].ns);
		if (steps[i].ns == 1 || thousandths % 1000 == 0)
			snprintf(buffer, size, "%llu%s", (unsigned long long)(ns / steps[i].ns),
				steps[i].unit);
		else
			snprintf(buffer, size, "%.3g%s", (double)ns / (double)steps[i].ns, steps[i].unit);
		return buffer;
	}
	snprintf(buffer, size, "0s");
	return buffer;
}
