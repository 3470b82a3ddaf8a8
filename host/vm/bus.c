/* SPDX-License-Identifier: GPL-2.0-only */
/* A bus: address ranges and the device registers behind them. Constant once the VM runs. */
#include "host/vm/bus.h"

#include <string.h>

int bus_add(struct bus *bus, const struct vm_region *region, uint64_t limit, struct err *err)
{
	assert(region->read && region->write);
	if (region->size_bytes == 0 || !range_fits(region->base, region->size_bytes, limit))
		return err_set(err, ERR_INVALID_ARGUMENT,
			"a device at %#llx with %llu bytes does not fit the bus",
			(unsigned long long)region->base, (unsigned long long)region->size_bytes);
	if (bus->n == BUS_REGIONS_MAX)
		return err_set(err, ERR_LIMIT_EXCEEDED, "more than %d devices on a bus", BUS_REGIONS_MAX);
	unsigned at = 0;
	while (at < bus->n && bus->region[at].base < region->base)
		at++;
	bool before = at > 0 && bus->region[at - 1].base + bus->region[at - 1].size_bytes > region->base;
	bool behind = at < bus->n && region->base + region->size_bytes > bus->region[at].base;
	if (before || behind)
		return err_set(err, ERR_ALREADY_EXISTS, "there is another device at %#llx",
			(unsigned long long)region->base);
	memmove(&bus->region[at + 1], &bus->region[at], (bus->n - at) * sizeof(bus->region[0]));
	bus->region[at] = *region;
	bus->n++;
	return 0;
}

const struct vm_region *bus_find(const struct bus *bus, uint64_t address, unsigned length)
{
	unsigned low = 0, high = bus->n;
	while (low < high) {
		unsigned mid = (low + high) / 2;
		const struct vm_region *r = &bus->region[mid];
		if (address < r->base)
			high = mid;
		else if (address - r->base >= r->size_bytes)
			low = mid + 1;
		else
			return range_fits(address - r->base, length, r->size_bytes) ? r : NULL;
	}
	return NULL;
}

bool bus_read(const struct bus *bus, uint64_t address, uint8_t *data, unsigned length)
{
	const struct vm_region *r = bus_find(bus, address, length);
	if (r)
		r->read(r->arg, address - r->base, data, length);
	else
		memset(data, 0xff, length);
	return r != NULL;
}

bool bus_write(const struct bus *bus, uint64_t address, const uint8_t *data, unsigned length)
{
	const struct vm_region *r = bus_find(bus, address, length);
	if (r)
		r->write(r->arg, address - r->base, data, length);
	return r != NULL;
}
