/* SPDX-License-Identifier: GPL-2.0-only */
/* The bzImage format: its header, and the ELF vmlinux packed inside. Pure functions on bytes from a file, any
 * thread. Source: Documentation/arch/x86/boot.rst of Linux. */
#ifndef HOST_VM_BOOT_BZIMAGE_H
#define HOST_VM_BOOT_BZIMAGE_H

#include "common/err.h"

#include <stdbool.h>

/* The header lies in the first so many bytes. */
#define BZIMAGE_HEADER_BYTES 1024

struct bzimage_info {
	uint64_t payload_offset, payload_bytes; /* the packed vmlinux; inside the file */
	uint64_t version_offset;                /* of the version text, or 0 */
};

/* True if these first bytes of a file say bzImage. */
bool bzimage_is(const uint8_t *bytes, size_t length);
/* Reads the header from the first `length` bytes of a file of `file_bytes`. Text of errors follows the words
 * "kernel PATH: ". */
int bzimage_parse(const uint8_t *bytes, size_t length, uint64_t file_bytes, struct bzimage_info *ret_info,
	struct err *err) must_check;

/* What starts a bzImage by itself, through its 64-bit entry. */
struct bzimage_boot {
	uint64_t code_offset, code_bytes; /* the protected-mode part: the rest of the file */
	uint64_t load;                    /* where it prefers to lie: guest-physical, a multiple of 4 KiB */
	uint64_t init_bytes;              /* from there on, what it needs to unpack itself; >= code_bytes */
	unsigned header_bytes;            /* of struct setup_header, from BZIMAGE_SETUP_HEADER on */
};
/* Where struct setup_header begins in the file, and in boot_params. */
#define BZIMAGE_SETUP_HEADER 0x1f1u
/* The 64-bit entry, from where the code was loaded (boot.rst, "64-bit boot protocol"). */
#define BZIMAGE_ENTRY_64 0x200u

/* As bzimage_parse(), for a file that it took. ERR_UNSUPPORTED: it has no 64-bit entry. */
int bzimage_parse_boot(const uint8_t *bytes, size_t length, uint64_t file_bytes,
	struct bzimage_boot *ret_boot, struct err *err) must_check;

/* Size of what the payload unpacks to, as it says itself (bounded by KERNEL_IMAGE_MAX_BYTES). */
int bzimage_unpacked_bytes(
	const uint8_t *payload, size_t length, size_t *ret_bytes, struct err *err) must_check;
/* Unpacks (zstd, xz, lzma, gzip, lz4, bzip2) exactly `out_bytes` into `out`. */
int bzimage_unpack(
	const uint8_t *payload, size_t length, uint8_t *out, size_t out_bytes, struct err *err) must_check;

#endif
