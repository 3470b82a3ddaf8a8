/* SPDX-License-Identifier: GPL-2.0-only */
/* CPU sets (see cpuset.h). No state. */
#include "common/cpuset.h"

#include <ctype.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void cpuset_add(struct cpuset *set, unsigned cpu)
{
	assert(cpu < CPUSET_MAX);
	set->bits[cpu / 64] |= UINT64_C(1) << (cpu % 64);
}

void cpuset_remove(struct cpuset *set, unsigned cpu)
{
	assert(cpu < CPUSET_MAX);
	set->bits[cpu / 64] &= ~(UINT64_C(1) << (cpu % 64));
}

bool cpuset_has(const struct cpuset *set, unsigned cpu)
{
	return cpu < CPUSET_MAX && (set->bits[cpu / 64] >> (cpu % 64) & 1);
}

unsigned cpuset_count(const struct cpuset *set)
{
	unsigned n = 0;
	for (size_t i = 0; i < ARRAY_SIZE(set->bits); i++)
		n += (unsigned)__builtin_popcountll(set->bits[i]);
	return n;
}

bool cpuset_is_empty(const struct cpuset *set)
{
	return cpuset_next(set, 0) < 0;
}

bool cpuset_equal(const struct cpuset *a, const struct cpuset *b)
{
	return memcmp(a->bits, b->bits, sizeof(a->bits)) == 0;
}

bool cpuset_is_subset(const struct cpuset *a, const struct cpuset *b)
{
	for (size_t i = 0; i < ARRAY_SIZE(a->bits); i++)
		if (a->bits[i] & ~b->bits[i])
			return false;
	return true;
}

struct cpuset cpuset_and(const struct cpuset *a, const struct cpuset *b)
{
	struct cpuset r;
	for (size_t i = 0; i < ARRAY_SIZE(r.bits); i++)
		r.bits[i] = a->bits[i] & b->bits[i];
	return r;
}

struct cpuset cpuset_or(const struct cpuset *a, const struct cpuset *b)
{
	struct cpuset r;
	for (size_t i = 0; i < ARRAY_SIZE(r.bits); i++)
		r.bits[i] = a->bits[i] | b->bits[i];
	return r;
}

unsigned cpuset_online_count(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	return n > 0 ? (unsigned)n : 1;
}

unsigned cpuset_usable_count(void)
{
	cpu_set_t cpus;
	/* It fails on hosts of more CPUs than a cpu_set_t holds. */
	return sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? (unsigned)CPU_COUNT(&cpus)
							      : cpuset_online_count();
}

struct cpuset cpuset_first_n(unsigned n)
{
	struct cpuset r = CPUSET_EMPTY;
	for (unsigned i = 0; i < n && i < CPUSET_MAX; i++)
		cpuset_add(&r, i);
	return r;
}

int cpuset_next(const struct cpuset *set, unsigned from)
{
	for (unsigned word = from / 64; word < ARRAY_SIZE(set->bits); word++) {
		uint64_t bits = set->bits[word];
		if (word == from / 64)
			bits &= ~UINT64_C(0) << (from % 64);
		if (bits)
			return (int)(word * 64 + (unsigned)__builtin_ctzll(bits));
	}
	return -1;
}

int cpuset_nth(const struct cpuset *set, unsigned k)
{
	cpuset_for_each (cpu, set) {
		if (k-- == 0)
			return cpu;
	}
	return -1;
}

const char *cpuset_format(const struct cpuset *set, char *buffer, size_t size)
{
	size_t used = 0;
	buffer[0] = '\0';
	for (int first = cpuset_next(set, 0); first >= 0;) {
		unsigned last = (unsigned)first;
		while (cpuset_has(set, last + 1))
			last++;
		const char *comma = used ? "," : "";
		int n = last == (unsigned)first
				? snprintf(buffer + used, size - used, "%s%d", comma, first)
				: snprintf(buffer + used, size - used, "%s%d-%u", comma, first, last);
		if (n < 0 || (size_t)n >= size - used)
			break;
		used += (size_t)n;
		first = cpuset_next(set, last + 1);
	}
	return buffer;
}

/* Decimal below CPUSET_MAX; false otherwise. */
static bool number(const char **p, unsigned *ret)
{
	if (!isdigit((unsigned char)**p))
		return false;
	unsigned value = 0;
	for (; isdigit((unsigned char)**p); (*p)++) {
		value = value * 10 + (unsigned)(**p - '0');
		if (value >= CPUSET_MAX)
			return false;
	}
	*ret = value;
	return true;
}

int cpuset_parse(const char *text, struct cpuset *ret_set, struct err *err)
{
	struct cpuset set = CPUSET_EMPTY;
	const char *p = text;
	while (isspace((unsigned char)*p))
		p++;
	while (*p && !isspace((unsigned char)*p)) {
		unsigned first, last;
		if (!number(&p, &first))
			goto bad;
		last = first;
		if (*p == '-') {
			p++;
			if (!number(&p, &last) || last < first)
				goto bad;
		}
		for (unsigned i = first; i <= last; i++)
			cpuset_add(&set, i);
		if (*p == ',' && p[1])
			p++;
		else if (*p && !isspace((unsigned char)*p))
			goto bad;
	}
	while (isspace((unsigned char)*p))
		p++;
	if (*p)
		goto bad;
	*ret_set = set;
	return 0;
bad:
	return err_set(err, ERR_INVALID_ARGUMENT,
		"'%.60s' is not a CPU list: write numbers below %d and ranges, such as 0-3,8", text,
		CPUSET_MAX);
}
