/* SPDX-License-Identifier: GPL-2.0-only */
/* Power and reset registers. No state; vCPU threads. */
#include "host/vm/power.h"

#include "host/arch/x86_64/layout.h"

#include <string.h>

/* ACPI 6.5, 4.8.3.7: SLP_TYPx in bits 2..4, SLP_EN in bit 5. */
#define SLEEP_TYPE(value) ((value) >> 2 & 7u)
#define SLEEP_ENABLE 0x20u
#define I8042_COMMAND_PORT 0x64u
#define I8042_RESET 0xfeu

static void end(struct vm *vm, enum vm_end why)
{
	struct vm_end_info info = {.why = why};
	vm_end(vm, &info);
}

static void read_zero(void *arg, uint64_t offset, uint8_t *data, unsigned length)
{
	memset(data, 0, length);
}

static void write_power(void *arg, uint64_t offset, const uint8_t *data, unsigned length)
{
	uint64_t port = LAYOUT_SLEEP_CONTROL_PORT + offset;
	if (port == LAYOUT_SLEEP_CONTROL_PORT && data[0] & SLEEP_ENABLE &&
		SLEEP_TYPE(data[0]) == LAYOUT_SLEEP_S5)
		end(arg, VM_END_POWEROFF);
	if (port == LAYOUT_RESET_PORT && data[0] == LAYOUT_RESET_VALUE)
		end(arg, VM_END_RESET);
}

/* All ones as if nothing were there: the driver then looks no further. */
static void read_ones(void *arg, uint64_t offset, uint8_t *data, unsigned length)
{
	memset(data, 0xff, length);
}

static void write_i8042(void *arg, uint64_t offset, const uint8_t *data, unsigned length)
{
	if (data[0] == I8042_RESET)
		end(arg, VM_END_RESET);
}

int power_attach(struct vm *vm, struct err *err)
{
	struct vm_region power = {
		.base = LAYOUT_SLEEP_CONTROL_PORT,
		.size_bytes = LAYOUT_RESET_PORT - LAYOUT_SLEEP_CONTROL_PORT + 1,
		.read = read_zero,
		.write = write_power,
		.arg = vm,
	};
	struct vm_region i8042 = {.base = I8042_COMMAND_PORT,
		.size_bytes = 1,
		.read = read_ones,
		.write = write_i8042,
		.arg = vm};
	int rc = vm_add_pio(vm, &power, err);
	return rc < 0 ? rc : vm_add_pio(vm, &i8042, err);
}
