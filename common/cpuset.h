/* SPDX-License-Identifier: GPL-2.0-only */
/* Sets of CPU (or node) numbers, 0..1023, in the kernel's list notation. Plain values, any thread. */
#ifndef COMMON_CPUSET_H
#define COMMON_CPUSET_H

#include "common/check.h"
#include "common/err.h"

#include <stdbool.h>

#define CPUSET_MAX 1024

struct cpuset {
	uint64_t bits[CPUSET_MAX / 64];
};

#define CPUSET_EMPTY ((struct cpuset){{0}})
/* Longest list text with its NUL: every second CPU of 1024 ("1,3,5,..."). */
#define CPUSET_TEXT_BYTES 2560

void cpuset_add(struct cpuset *set, unsigned cpu);
void cpuset_remove(struct cpuset *set, unsigned cpu);
bool cpuset_has(const struct cpuset *set, unsigned cpu);
unsigned cpuset_count(const struct cpuset *set);
bool cpuset_is_empty(const struct cpuset *set);
bool cpuset_equal(const struct cpuset *a, const struct cpuset *b);
/* Every member of `a` is in `b`. */
bool cpuset_is_subset(const struct cpuset *a, const struct cpuset *b);
struct cpuset cpuset_and(const struct cpuset *a, const struct cpuset *b);
struct cpuset cpuset_or(const struct cpuset *a, const struct cpuset *b);
/* How many CPUs the host has online, 1 or more. */
unsigned cpuset_online_count(void);
/* How many CPUs the calling thread may run on, 1 or more: those of its cpuset and affinity, not all of the
 * host. */
unsigned cpuset_usable_count(void);
/* 0..n-1. */
struct cpuset cpuset_first_n(unsigned n);
/* Smallest member >= from, or -1. */
int cpuset_next(const struct cpuset *set, unsigned from);
/* k-th member (k from 0), or -1. */
int cpuset_nth(const struct cpuset *set, unsigned k);
/* "0-3,8": the kernel's list form, "" for the empty set. Returns buffer. */
const char *cpuset_format(const struct cpuset *set, char *buffer, size_t size);
/* Parses the list form; spaces and a newline at the end are allowed, "" is the empty set. */
int cpuset_parse(const char *text, struct cpuset *ret_set, struct err *err) must_check;

#define cpuset_for_each(cpu, set)                                                                            \
	for (int cpu = cpuset_next(set, 0); cpu >= 0; cpu = cpuset_next(set, (unsigned)cpu + 1))

#endif
