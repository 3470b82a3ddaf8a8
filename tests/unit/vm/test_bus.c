/* SPDX-License-Identifier: GPL-2.0-only */
/* Buses: lookup at every edge, overlaps, nobody at home. */
#include "host/vm/bus.h"

#include <criterion/criterion.h>

static void rd(void *arg, uint64_t offset, uint8_t *data, unsigned length)
{
	for (unsigned i = 0; i < length; i++)
		data[i] = (uint8_t)(*(char *)arg + (char)offset);
}
static uint64_t written_at;
static void wr(void *arg, uint64_t offset, const uint8_t *data, unsigned length)
{
	written_at = offset;
}

static struct vm_region region(uint64_t base, uint64_t size, char *tag)
{
	return (struct vm_region){.base = base, .size_bytes = size, .read = rd, .write = wr, .arg = tag};
}

Test(bus, finds_what_was_added_in_any_order)
{
	static struct bus bus;
	char tags[BUS_REGIONS_MAX];
	struct err err = ERR_INIT;
	for (unsigned i = 0; i < BUS_REGIONS_MAX; i++) {
		unsigned k = i * 37 % BUS_REGIONS_MAX; /* 37 and 64 share no factor: each once */
		tags[k] = (char)k;
		struct vm_region r = region(0x1000 + 0x10 * k, 8, &tags[k]);
		cr_assert_eq(bus_add(&bus, &r, 0x10000, &err), 0, "%s", err.message);
	}
	for (unsigned k = 0; k < BUS_REGIONS_MAX; k++) {
		uint64_t base = 0x1000 + 0x10 * k;
		uint8_t byte;
		cr_assert(bus_read(&bus, base + 3, &byte, 1));
		cr_assert_eq(byte, k + 3);
		cr_assert_null(bus_find(&bus, base - 1, 1));
		cr_assert_not_null(bus_find(&bus, base + 7, 1));
		cr_assert_null(bus_find(&bus, base + 7, 2));
		cr_assert_null(bus_find(&bus, base + 8, 1));
	}
	struct vm_region more = region(0x100, 1, tags);
	cr_assert_lt(bus_add(&bus, &more, 0x10000, &err), 0);
	cr_assert_eq(err.code, ERR_LIMIT_EXCEEDED);
}

Test(bus, overlaps_are_refused)
{
	static struct bus bus;
	char tag = 0;
	struct vm_region r = region(0x100, 0x10, &tag);
	cr_assert_eq(bus_add(&bus, &r, 0x10000, NULL), 0);
	static const struct {
		uint64_t base, size;
		bool fits;
	} cases[] = {
		{0x100, 1, false},
		{0x10f, 1, false},
		{0xff, 2, false},
		{0xf0, 0x40, false},
		{0xfe, 2, true},
		{0x110, 1, true},
		{0, 0, false},
		{0xffff, 2, false},
		{0xffff, 1, true},
		{UINT64_MAX, 1, false},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		r = region(cases[i].base, cases[i].size, &tag);
		cr_assert_eq(bus_add(&bus, &r, 0x10000, NULL) == 0, cases[i].fits, "case %zu", i);
	}
}

Test(bus, nobody_at_home_reads_all_ones)
{
	static struct bus bus;
	uint8_t data[8] = {0};
	cr_assert_not(bus_read(&bus, 0xd0000000, data, 8));
	for (int i = 0; i < 8; i++)
		cr_assert_eq(data[i], 0xff);
	cr_assert_not(bus_write(&bus, 0, data, 8));
}
