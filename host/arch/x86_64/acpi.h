/* SPDX-License-Identifier: GPL-2.0-only */
/* ACPI tables for hardware-reduced ACPI: RSDP, XSDT, FADT, MADT, SRAT, SLIT, DSDT (serial port, virtio-mmio
 * devices). */
#ifndef HOST_ARCH_X86_64_ACPI_H
#define HOST_ARCH_X86_64_ACPI_H

#include "common/err.h"
#include "host/topology/topology.h"
#include "host/vm/gmem.h"

struct acpi_config {
	const struct topology *topology;
	const struct gmem *memory; /* for SRAT */
	unsigned n_virtio;         /* devices 0..n-1 at LAYOUT_VIRTIO */
};

/* Writes the tables to `bytes` (size bytes that will stand at guest-physical `base`). The RSDP is at the
 * start. ret_used: bytes used. ERR_LIMIT_EXCEEDED when they do not fit. Pure, any thread. */
int acpi_build(const struct acpi_config *config, gpa_t base, uint8_t *bytes, size_t size, size_t *ret_used,
	struct err *err) must_check;

#endif
