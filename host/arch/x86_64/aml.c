/* SPDX-License-Identifier: GPL-2.0-only */
/* Writing ACPI bytes (see aml.h). No state. */
#include "host/arch/x86_64/aml.h"

#include <string.h>

/* Where header fields are (ACPI 6.3, 5.2.6). */
#define HEADER_LENGTH_AT 4
#define HEADER_CHECKSUM_AT 9

/* Every PkgLength is written in its four-byte form, so that it can be filled in afterwards. */
#define PKG_LENGTH_BYTES 4

void aml_bytes(struct aml *aml, const void *bytes, size_t length)
{
	if (aml->full || length > aml->size - aml->used) {
		aml->full = true;
		return;
	}
	memcpy(aml->bytes + aml->used, bytes, length);
	aml->used += length;
}

static void put_number(struct aml *aml, uint64_t value, size_t length)
{
	uint8_t bytes[8];
	for (size_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)(value >> (8 * i));
	aml_bytes(aml, bytes, length);
}

void aml_u8(struct aml *aml, uint8_t value)
{
	put_number(aml, value, 1);
}

void aml_u16(struct aml *aml, uint16_t value)
{
	put_number(aml, value, 2);
}

void aml_u32(struct aml *aml, uint32_t value)
{
	put_number(aml, value, 4);
}

void aml_u64(struct aml *aml, uint64_t value)
{
	put_number(aml, value, 8);
}

void aml_zeros(struct aml *aml, size_t length)
{
	for (size_t i = 0; i < length; i++)
		aml_u8(aml, 0);
}

void aml_align(struct aml *aml, size_t alignment)
{
	aml_zeros(aml, round_up_u64(aml->used, alignment) - aml->used);
}

void aml_checksum(struct aml *aml, size_t from, size_t to, size_t at)
{
	if (aml->full)
		return;
	assert(from <= at && at < to && to <= aml->used);
	uint8_t sum = 0;
	aml->bytes[at] = 0;
	for (size_t i = from; i < to; i++)
		sum = (uint8_t)(sum + aml->bytes[i]);
	aml->bytes[at] = (uint8_t)-sum;
}

static void patch_u32(struct aml *aml, size_t at, uint32_t value)
{
	for (size_t i = 0; i < 4; i++)
		aml->bytes[at + i] = (uint8_t)(value >> (8 * i));
}

size_t aml_table_begin(struct aml *aml, const char *signature, uint8_t revision)
{
	size_t table = aml->used;
	aml_bytes(aml, signature, 4);
	aml_u32(aml, 0); /* length */
	aml_u8(aml, revision);
	aml_u8(aml, 0); /* checksum */
	aml_bytes(aml, "SCHRIG", 6);
	aml_bytes(aml, "SCHEDRIG", 8);
	aml_u32(aml, 1);
	aml_bytes(aml, "SCHR", 4);
	aml_u32(aml, 1);
	return table;
}

void aml_table_end(struct aml *aml, size_t table)
{
	if (aml->full)
		return;
	patch_u32(aml, table + HEADER_LENGTH_AT, (uint32_t)(aml->used - table));
	aml_checksum(aml, table, aml->used, table + HEADER_CHECKSUM_AT);
}

static size_t pkg_length_open(struct aml *aml)
{
	size_t mark = aml->used;
	aml_zeros(aml, PKG_LENGTH_BYTES);
	return mark;
}

void aml_close(struct aml *aml, size_t mark)
{
	if (aml->full)
		return;
	/* 20.2.4: the length counts its own bytes; bits 7:6 of the first say how many follow, its low four
	 * are the length's lowest, the rest is in the bytes behind. */
	size_t length = aml->used - mark;
	assert(length < 1u << 28);
	aml->bytes[mark] = (uint8_t)((PKG_LENGTH_BYTES - 1) << 6 | (length & 0xf));
	aml->bytes[mark + 1] = (uint8_t)(length >> 4);
	aml->bytes[mark + 2] = (uint8_t)(length >> 12);
	aml->bytes[mark + 3] = (uint8_t)(length >> 20);
}

size_t aml_scope_open(struct aml *aml, const char *name)
{
	aml_u8(aml, 0x10); /* ScopeOp */
	size_t mark = pkg_length_open(aml);
	aml_u8(aml, '\\');
	aml_bytes(aml, name, 4);
	return mark;
}

size_t aml_device_open(struct aml *aml, const char *name)
{
	aml_u8(aml, 0x5b); /* ExtOpPrefix */
	aml_u8(aml, 0x82); /* DeviceOp */
	size_t mark = pkg_length_open(aml);
	aml_bytes(aml, name, 4);
	return mark;
}

size_t aml_package_open(struct aml *aml, uint8_t n_elements)
{
	aml_u8(aml, 0x12); /* PackageOp */
	size_t mark = pkg_length_open(aml);
	aml_u8(aml, n_elements);
	return mark;
}

void aml_name(struct aml *aml, const char *name)
{
	aml_u8(aml, 0x08); /* NameOp */
	aml_bytes(aml, name, 4);
}

void aml_integer(struct aml *aml, uint32_t value)
{
	if (value <= 1) {
		aml_u8(aml, (uint8_t)value); /* ZeroOp, OneOp */
	} else if (value <= 0xff) {
		aml_u8(aml, 0x0a);
		aml_u8(aml, (uint8_t)value);
	} else if (value <= 0xffff) {
		aml_u8(aml, 0x0b);
		aml_u16(aml, (uint16_t)value);
	} else {
		aml_u8(aml, 0x0c);
		aml_u32(aml, value);
	}
}

void aml_string(struct aml *aml, const char *text)
{
	aml_u8(aml, 0x0d);
	aml_bytes(aml, text, strlen(text) + 1);
}

static uint32_t hex_digit(char c)
{
	return c >= 'A' ? (uint32_t)(c - 'A' + 10) : (uint32_t)(c - '0');
}

void aml_eisa_id(struct aml *aml, const char *id)
{
	/* 19.3.4: five bits a letter from 'A' = 1, four a digit, in big-endian order. */
	assert(strlen(id) == 7);
	uint32_t value = (uint32_t)(id[0] - '@') << 26 | (uint32_t)(id[1] - '@') << 21 |
			 (uint32_t)(id[2] - '@') << 16 | hex_digit(id[3]) << 12 | hex_digit(id[4]) << 8 |
			 hex_digit(id[5]) << 4 | hex_digit(id[6]);
	aml_u8(aml, 0x0c);
	aml_u32(aml, __builtin_bswap32(value));
}

/* A buffer's size is an AML integer before its bytes; the two-byte form holds what we write. */
#define BUFFER_SIZE_BYTES 3

size_t aml_resources_open(struct aml *aml)
{
	aml_u8(aml, 0x11); /* BufferOp */
	size_t mark = pkg_length_open(aml);
	aml_u8(aml, 0x0b);
	aml_u16(aml, 0);
	return mark;
}

void aml_resource_io(struct aml *aml, uint16_t port, uint8_t length)
{
	aml_u8(aml, 0x47); /* 6.4.2.5, small: seven bytes */
	aml_u8(aml, 1);    /* decodes 16 bits */
	aml_u16(aml, port);
	aml_u16(aml, port);
	aml_u8(aml, 1); /* alignment */
	aml_u8(aml, length);
}

void aml_resource_memory32(struct aml *aml, uint32_t base, uint32_t length)
{
	aml_u8(aml, 0x86); /* 6.4.3.4 */
	aml_u16(aml, 9);
	aml_u8(aml, 1); /* read and write */
	aml_u32(aml, base);
	aml_u32(aml, length);
}

void aml_resource_interrupt(struct aml *aml, uint32_t gsi)
{
	aml_u8(aml, 0x89); /* 6.4.3.6 */
	aml_u16(aml, 6);
	aml_u8(aml, 0x03); /* consumer, edge; active-high and exclusive are 0 */
	aml_u8(aml, 1);
	aml_u32(aml, gsi);
}

void aml_resources_close(struct aml *aml, size_t mark)
{
	aml_u8(aml, 0x79); /* end tag; checksum 0 means not computed */
	aml_u8(aml, 0);
	if (aml->full)
		return;
	size_t length = aml->used - mark - PKG_LENGTH_BYTES - BUFFER_SIZE_BYTES;
	assert(length <= UINT16_MAX);
	aml->bytes[mark + PKG_LENGTH_BYTES + 1] = (uint8_t)length;
	aml->bytes[mark + PKG_LENGTH_BYTES + 2] = (uint8_t)(length >> 8);
	aml_close(aml, mark);
}
