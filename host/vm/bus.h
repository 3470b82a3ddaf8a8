/* SPDX-License-Identifier: GPL-2.0-only */
/* A bus: address ranges and the device registers behind them. Filled by one thread, then constant and safe on
 * any thread. */
#ifndef HOST_VM_BUS_H
#define HOST_VM_BUS_H

#include "host/vm/vm.h"

#define BUS_REGIONS_MAX 64

struct bus {
	unsigned n;
	struct vm_region region[BUS_REGIONS_MAX]; /* ascending by base, no overlap */
};

/* ERR_ALREADY_EXISTS when it overlaps another region, ERR_LIMIT_EXCEEDED when the bus is full. */
int bus_add(struct bus *bus, const struct vm_region *region, uint64_t limit, struct err *err) must_check;
/* The region that holds [address, address + length) whole, or NULL. */
const struct vm_region *bus_find(const struct bus *bus, uint64_t address, unsigned length);
/* Reads all ones and loses writes where nothing answers, as a PC's bus does. False then. */
bool bus_read(const struct bus *bus, uint64_t address, uint8_t *data, unsigned length);
bool bus_write(const struct bus *bus, uint64_t address, const uint8_t *data, unsigned length);

#endif
