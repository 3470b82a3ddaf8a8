/* SPDX-License-Identifier: GPL-2.0-only */
/* Writing ACPI bytes: little-endian numbers, table headers with checksums, and the few AML terms that a DSDT
 * of devices needs (ACPI specification 6.3, chapter 20 for AML, 6.4 for resource descriptors). A writer on
 * the caller's storage; once it is full it stays so and the owner looks at `full` once at the end. */
#ifndef HOST_ARCH_X86_64_AML_H
#define HOST_ARCH_X86_64_AML_H

#include "common/check.h"

#include <stdbool.h>

struct aml {
	uint8_t *bytes;
	size_t size, used;
	bool full; /* something did not fit: the bytes are incomplete */
};

void aml_bytes(struct aml *aml, const void *bytes, size_t length);
void aml_u8(struct aml *aml, uint8_t value);
void aml_u16(struct aml *aml, uint16_t value);
void aml_u32(struct aml *aml, uint32_t value);
void aml_u64(struct aml *aml, uint64_t value);
void aml_zeros(struct aml *aml, size_t length);
/* Zeros up to a multiple of `alignment`. */
void aml_align(struct aml *aml, size_t alignment);

/* A table: header, what is written until aml_table_end(), then length and checksum are filled in.
 * `signature` is four characters. Returns the offset of the table for aml_table_end(). */
size_t aml_table_begin(struct aml *aml, const char *signature, uint8_t revision);
void aml_table_end(struct aml *aml, size_t table);
/* Makes the sum of bytes[from..to) zero by the byte at `at`. */
void aml_checksum(struct aml *aml, size_t from, size_t to, size_t at);

/* Things with a length around others: returns a mark for aml_close(). Names are four characters ("_SB_"). */
size_t aml_scope_open(struct aml *aml, const char *name); /* name: root-relative, one segment */
size_t aml_device_open(struct aml *aml, const char *name);
size_t aml_package_open(struct aml *aml, uint8_t n_elements);
void aml_close(struct aml *aml, size_t mark);

/* Name (NAME, what follows). */
void aml_name(struct aml *aml, const char *name);
void aml_integer(struct aml *aml, uint32_t value);
void aml_string(struct aml *aml, const char *text);
/* "PNP0501": three capitals and four hexadecimal digits. */
void aml_eisa_id(struct aml *aml, const char *id);

/* ResourceTemplate: the descriptors between begin and end. */
size_t aml_resources_open(struct aml *aml);
void aml_resource_io(struct aml *aml, uint16_t port, uint8_t length);
void aml_resource_memory32(struct aml *aml, uint32_t base, uint32_t length);
/* Edge-triggered, active-high, exclusive. */
void aml_resource_interrupt(struct aml *aml, uint32_t gsi);
void aml_resources_close(struct aml *aml, size_t mark);

#endif
