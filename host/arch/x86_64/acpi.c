/* SPDX-License-Identifier: GPL-2.0-only */
/* ACPI tables (see acpi.h). No state. Section numbers are those of the ACPI specification 6.3.
 *
 *     base: RSDP -> XSDT -> FADT -> DSDT
 *                        -> MADT, SRAT, SLIT
 */
#include "host/arch/x86_64/acpi.h"

#include "host/arch/x86_64/aml.h"
#include "host/arch/x86_64/layout.h"

#include <stdio.h>

#define RSDP_BYTES 36

/* Largest id of the short forms; 255 is the broadcast id. */
#define XAPIC_ID_MAX 254

/* 5.2.3.2: a generic address that is an 8-bit port. */
static void put_port(struct aml *aml, uint16_t port)
{
	aml_u8(aml, 1); /* system I/O */
	aml_u8(aml, 8); /* bits */
	aml_u8(aml, 0);
	aml_u8(aml, 1); /* byte access */
	aml_u64(aml, port);
}

static void put_device_virtio(struct aml *aml, unsigned i)
{
	char name[5];
	snprintf(name, sizeof(name), "VR%02X", i & 0xff);
	size_t device = aml_device_open(aml, name);
	aml_name(aml, "_HID");
	aml_string(aml, "LNRO0005"); /* virtio-mmio: drivers/virtio/virtio_mmio.c */
	aml_name(aml, "_UID");
	aml_integer(aml, i);
	aml_name(aml, "_CRS");
	size_t resources = aml_resources_open(aml);
	aml_resource_memory32(
		aml, (uint32_t)(LAYOUT_VIRTIO + (uint64_t)i * LAYOUT_VIRTIO_STRIDE), LAYOUT_VIRTIO_STRIDE);
	aml_resource_interrupt(aml, LAYOUT_VIRTIO_GSI + i);
	aml_resources_close(aml, resources);
	aml_close(aml, device);
}

static size_t put_dsdt(struct aml *aml, const struct acpi_config *config)
{
	size_t table = aml_table_begin(aml, "DSDT", 2);
	aml_name(aml, "_S5_");
	size_t package = aml_package_open(aml, 4);
	aml_integer(aml, LAYOUT_SLEEP_S5);
	aml_integer(aml, LAYOUT_SLEEP_S5);
	aml_integer(aml, 0);
	aml_integer(aml, 0);
	aml_close(aml, package);

	size_t scope = aml_scope_open(aml, "_SB_");
	size_t device = aml_device_open(aml, "COM1");
	aml_name(aml, "_HID");
	aml_eisa_id(aml, "PNP0501"); /* 16550A-compatible serial port */
	aml_name(aml, "_UID");
	aml_integer(aml, 0);
	aml_name(aml, "_CRS");
	size_t resources = aml_resources_open(aml);
	aml_resource_io(aml, LAYOUT_SERIAL_PORT, 8);
	aml_resource_interrupt(aml, LAYOUT_SERIAL_GSI);
	aml_resources_close(aml, resources);
	aml_close(aml, device);
	for (unsigned i = 0; i < config->n_virtio; i++)
		put_device_virtio(aml, i);
	aml_close(aml, scope);
	aml_table_end(aml, table);
	return table;
}

/* 5.2.9, revision 6.3. What hardware-reduced ACPI ignores is zero. */
static size_t put_fadt(struct aml *aml, uint64_t dsdt)
{
	enum {
		NO_VGA = 1 << 2, /* 5.2.9.3; bit 0 (legacy devices) and bit 1 (8042) are off */
		NO_CMOS_RTC = 1 << 5,
		WBINVD = 1 << 0,
		PROC_C1 = 1 << 2,
		PWR_BUTTON = 1 << 4, /* no fixed-hardware button */
		SLP_BUTTON = 1 << 5, /* no fixed-hardware button */
		RESET_REG_SUP = 1 << 10,
		HW_REDUCED = 1 << 20,
	};
	size_t table = aml_table_begin(aml, "FACP", 6);
	aml_u32(aml, 0); /* FACS: none */
	aml_u32(aml, (uint32_t)dsdt);
	aml_u8(aml, 0);
	aml_u8(aml, 4);                          /* enterprise server */
	aml_zeros(aml, table + 109 - aml->used); /* SCI_INT .. CENTURY */
	aml_u16(aml, NO_VGA | NO_CMOS_RTC);
	aml_u8(aml, 0);
	aml_u32(aml, WBINVD | PROC_C1 | PWR_BUTTON | SLP_BUTTON | RESET_REG_SUP | HW_REDUCED);
	put_port(aml, LAYOUT_RESET_PORT);
	aml_u8(aml, LAYOUT_RESET_VALUE);
	aml_u16(aml, 0); /* ARM boot flags */
	aml_u8(aml, 3);  /* minor version */
	aml_u64(aml, 0); /* X_FIRMWARE_CTRL */
	aml_u64(aml, dsdt);
	aml_zeros(aml, table + 244 - aml->used); /* X_PM1a_EVT_BLK .. X_GPE1_BLK */
	put_port(aml, LAYOUT_SLEEP_CONTROL_PORT);
	put_port(aml, LAYOUT_SLEEP_STATUS_PORT);
	aml_u64(aml, 0); /* hypervisor vendor */
	aml_table_end(aml, table);
	return table;
}

/* 5.2.12. CPUs in the topology's order, which kernels number them in. */
static size_t put_madt(struct aml *aml, const struct topology *t)
{
	size_t table = aml_table_begin(aml, "APIC", 5);
	aml_u32(aml, (uint32_t)LAYOUT_LAPIC);
	aml_u32(aml, 0); /* no 8259 */
	for (unsigned cpu = 0; cpu < t->layout.n_cpus; cpu++) {
		if (t->apic_id[cpu] <= XAPIC_ID_MAX) {
			aml_u8(aml, 0); /* local APIC */
			aml_u8(aml, 8);
			aml_u8(aml, (uint8_t)cpu); /* at most the APIC id */
			aml_u8(aml, (uint8_t)t->apic_id[cpu]);
			aml_u32(aml, 1); /* enabled */
		} else {
			aml_u8(aml, 9); /* local x2APIC */
			aml_u8(aml, 16);
			aml_u16(aml, 0);
			aml_u32(aml, t->apic_id[cpu]);
			aml_u32(aml, 1); /* enabled */
			aml_u32(aml, cpu);
		}
	}
	aml_u8(aml, 1); /* I/O APIC */
	aml_u8(aml, 12);
	aml_u8(aml, 0); /* id: what KVM's I/O APIC reads as */
	aml_u8(aml, 0);
	aml_u32(aml, (uint32_t)LAYOUT_IOAPIC);
	aml_u32(aml, 0); /* first GSI */
	aml_table_end(aml, table);
	return table;
}

/* 5.2.16. */
static size_t put_srat(struct aml *aml, const struct topology *t, const struct gmem *memory)
{
	size_t table = aml_table_begin(aml, "SRAT", 3);
	aml_u32(aml, 1); /* for old readers */
	aml_u64(aml, 0);
	for (unsigned cpu = 0; cpu < t->layout.n_cpus; cpu++) {
		uint32_t node = t->layout.cpu[cpu].node;
		if (t->apic_id[cpu] <= XAPIC_ID_MAX) {
			aml_u8(aml, 0);
			aml_u8(aml, 16);
			aml_u8(aml, (uint8_t)node);
			aml_u8(aml, (uint8_t)t->apic_id[cpu]);
			aml_u32(aml, 1); /* enabled */
			aml_zeros(aml,
				8); /* SAPIC EID, high bits of the node (at most 64 nodes), clock domain */
		} else {
			aml_u8(aml, 2);
			aml_u8(aml, 24);
			aml_u16(aml, 0);
			aml_u32(aml, node);
			aml_u32(aml, t->apic_id[cpu]);
			aml_u32(aml, 1); /* enabled */
			aml_u32(aml, 0); /* clock domain */
			aml_u32(aml, 0);
		}
	}
	for (unsigned i = 0; i < memory->n_regions; i++) {
		const struct gmem_region *region = &memory->region[i];
		aml_u8(aml, 1);
		aml_u8(aml, 40);
		aml_u32(aml, region->node);
		aml_u16(aml, 0);
		aml_u64(aml, region->start.v);
		aml_u64(aml, region->size_bytes);
		aml_u32(aml, 0);
		aml_u32(aml, 1); /* enabled */
		aml_u64(aml, 0);
	}
	aml_table_end(aml, table);
	return table;
}

/* 5.2.17. */
static size_t put_slit(struct aml *aml, const struct topology *t)
{
	size_t table = aml_table_begin(aml, "SLIT", 1);
	aml_u64(aml, t->n_nodes);
	for (unsigned from = 0; from < t->n_nodes; from++)
		aml_bytes(aml, t->distance[from], t->n_nodes);
	aml_table_end(aml, table);
	return table;
}

/* 5.2.5.3. The storage at offset 0 was left free for it. */
static void put_rsdp(struct aml *aml, uint64_t xsdt)
{
	struct aml rsdp = {.bytes = aml->bytes, .size = RSDP_BYTES};
	if (aml->full)
		return;
	aml_bytes(&rsdp, "RSD PTR ", 8);
	aml_u8(&rsdp, 0); /* checksum of the first 20 bytes */
	aml_bytes(&rsdp, "SCHRIG", 6);
	aml_u8(&rsdp, 2);  /* revision */
	aml_u32(&rsdp, 0); /* no RSDT */
	aml_u32(&rsdp, RSDP_BYTES);
	aml_u64(&rsdp, xsdt);
	aml_u8(&rsdp, 0); /* checksum of all */
	aml_zeros(&rsdp, 3);
	assert(!rsdp.full && rsdp.used == RSDP_BYTES);
	aml_checksum(&rsdp, 0, 20, 8);
	aml_checksum(&rsdp, 0, RSDP_BYTES, 32);
}

int acpi_build(const struct acpi_config *config, gpa_t base, uint8_t *bytes, size_t size, size_t *ret_used,
	struct err *err)
{
	const struct topology *t = config->topology;
	assert(config->n_virtio <= LAYOUT_VIRTIO_MAX);
	/* The FADT's old field for the DSDT is 32 bits wide, and kernels look for the RSDP below 1 MiB. */
	assert(base.v + size <= UINT32_MAX);
	for (unsigned i = 0; i < config->memory->n_regions; i++)
		assert(config->memory->region[i].node < t->n_nodes);

	struct aml aml = {.bytes = bytes, .size = size};
	uint64_t tables[4];
	aml_zeros(&aml, RSDP_BYTES);
	aml_align(&aml, 16);
	uint64_t dsdt = base.v + put_dsdt(&aml, config);
	aml_align(&aml, 16);
	tables[0] = base.v + put_fadt(&aml, dsdt);
	aml_align(&aml, 16);
	tables[1] = base.v + put_madt(&aml, t);
	aml_align(&aml, 16);
	tables[2] = base.v + put_srat(&aml, t, config->memory);
	aml_align(&aml, 16);
	tables[3] = base.v + put_slit(&aml, t);
	aml_align(&aml, 16);
	size_t xsdt = aml_table_begin(&aml, "XSDT", 1);
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		aml_u64(&aml, tables[i]);
	aml_table_end(&aml, xsdt);
	put_rsdp(&aml, base.v + xsdt);
	if (aml.full)
		return err_set(err, ERR_LIMIT_EXCEEDED,
			"the ACPI tables for %u CPUs need more than %zu bytes", t->layout.n_cpus, size);
	*ret_used = aml.used;
	return 0;
}
