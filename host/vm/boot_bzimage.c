/* SPDX-License-Identifier: GPL-2.0-only */
/* The bzImage format: header and packed vmlinux. Pure, any thread. */
#include "host/vm/boot_bzimage.h"

#include "host/vm/kernel_image.h"

#include <endian.h>
#include <limits.h>
#include <lz4.h>
#include <lzma.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#if __has_include(<bzlib.h>)
#include <bzlib.h>
#define HAVE_BZ2 1
#else
#define HAVE_BZ2 0
#endif

/* Offsets of struct setup_header's fields in the file. */
#define HDR_SETUP_SECTS 0x1f1
#define HDR_BOOT_FLAG 0x1fe
#define HDR_MAGIC 0x202
#define HDR_VERSION 0x206
#define HDR_KERNEL_VERSION 0x20e
#define HDR_LOADFLAGS 0x211
#define HDR_XLOADFLAGS 0x236
#define HDR_PAYLOAD_OFFSET 0x248
#define HDR_PAYLOAD_LENGTH 0x24c
#define HDR_END 0x250
#define HDR_JUMP_LENGTH 0x201 /* of the jump at 0x200, which leads to the header's end */
#define HDR_PREF_ADDRESS 0x258
#define HDR_INIT_SIZE 0x260
#define HDR_BOOT_END 0x264

#define XLF_KERNEL_64 1
#define PROTOCOL_PAYLOAD 0x0208 /* payload_offset and payload_length */
#define PROTOCOL_XLOADFLAGS 0x020c
/* sizeof(struct setup_header) may grow; boot_params has room up to its e820 table. */
#define HDR_ROOM_END 0x290

/* A dictionary of a hostile payload may not take more than this from the host. */
#define UNPACK_MEMORY_MAX (UINT64_C(256) << 20)
/* lz4's legacy frames hold blocks that unpack to 8 MiB each. */
#define LZ4_LEGACY_BLOCK (8u << 20)

static uint16_t get16(const uint8_t *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

bool bzimage_is(const uint8_t *bytes, size_t length)
{
	return length >= HDR_END && get16(bytes + HDR_BOOT_FLAG) == 0xaa55 &&
	       memcmp(bytes + HDR_MAGIC, "HdrS", 4) == 0;
}

int bzimage_parse(const uint8_t *bytes, size_t length, uint64_t file_bytes, struct bzimage_info *ret_info,
	struct err *err)
{
	assert(bzimage_is(bytes, length));
	unsigned protocol = get16(bytes + HDR_VERSION);
	if (protocol < PROTOCOL_PAYLOAD)
		return err_set(err, ERR_UNSUPPORTED,
			"its boot protocol is %u.%02u; kernels from 2.6.26 on (2.08) are supported",
			protocol >> 8, protocol & 0xff);
	if (!(bytes[HDR_LOADFLAGS] & 1))
		return err_set(err, ERR_UNSUPPORTED, "it is a zImage, not a bzImage");
	if (protocol >= PROTOCOL_XLOADFLAGS && !(get16(bytes + HDR_XLOADFLAGS) & XLF_KERNEL_64))
		return err_set(err, ERR_INVALID_ARGUMENT, "it is a 32-bit kernel, not an x86-64 one");

	/* 0 means 4 for loaders of old: boot.rst, "setup_sects". */
	uint64_t sectors = bytes[HDR_SETUP_SECTS] ? bytes[HDR_SETUP_SECTS] : 4;
	uint64_t protected_mode = (sectors + 1) * 512;
	struct bzimage_info info = {
		.payload_offset = protected_mode + get32(bytes + HDR_PAYLOAD_OFFSET),
		.payload_bytes = get32(bytes + HDR_PAYLOAD_LENGTH),
	};
	if (info.payload_bytes < 16 || !range_fits(info.payload_offset, info.payload_bytes, file_bytes))
		return err_set(err, ERR_INVALID_ARGUMENT,
			"its header says that the packed kernel is %llu bytes at offset %llu, but the file "
			"has %llu bytes: "
			"cut short or damaged",
			(unsigned long long)info.payload_bytes, (unsigned long long)info.payload_offset,
			(unsigned long long)file_bytes);
	unsigned version = get16(bytes + HDR_KERNEL_VERSION);
	if (version && version + 0x200u < protected_mode && version + 0x200u < file_bytes)
		info.version_offset = version + 0x200u;
	*ret_info = info;
	return 0;
}

int bzimage_parse_boot(const uint8_t *bytes, size_t length, uint64_t file_bytes,
	struct bzimage_boot *ret_boot, struct err *err)
{
	assert(bzimage_is(bytes, length));
	unsigned header_end = 0x202u + bytes[HDR_JUMP_LENGTH];
	if (length < HDR_BOOT_END || header_end < HDR_BOOT_END || header_end > length ||
		get16(bytes + HDR_VERSION) < PROTOCOL_XLOADFLAGS ||
		!(get16(bytes + HDR_XLOADFLAGS) & XLF_KERNEL_64))
		return err_set(err, ERR_UNSUPPORTED,
			"it has no 64-bit entry (boot protocol 2.12 and later have), so it cannot place "
			"itself; boot it without --kaslr");
	uint64_t sectors = bytes[HDR_SETUP_SECTS] ? bytes[HDR_SETUP_SECTS] : 4;
	struct bzimage_boot boot = {
		.code_offset = (sectors + 1) * 512,
		.load = get64(bytes + HDR_PREF_ADDRESS),
		.init_bytes = get32(bytes + HDR_INIT_SIZE),
		.header_bytes = MIN_OF(header_end, (unsigned)HDR_ROOM_END) - BZIMAGE_SETUP_HEADER,
	};
	if (file_bytes <= boot.code_offset || file_bytes - boot.code_offset <= BZIMAGE_ENTRY_64)
		return err_set(err, ERR_INVALID_ARGUMENT, "it ends before its code begins: cut short");
	boot.code_bytes = file_bytes - boot.code_offset;
	boot.init_bytes = MAX_OF(boot.init_bytes, boot.code_bytes);
	if (boot.load == 0 || boot.load % 4096)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"its header says that it loads at %#llx, which cannot be",
			(unsigned long long)boot.load);
	*ret_boot = boot;
	return 0;
}

int bzimage_unpacked_bytes(const uint8_t *payload, size_t length, size_t *ret_bytes, struct err *err)
{
	/* The build appends the size as the payload's last four bytes; gzip ends with it of its own. */
	if (length < 16)
		return err_set(err, ERR_INVALID_ARGUMENT, "its packed kernel is only %zu bytes", length);
	uint64_t size = get32(payload + length - 4);
	if (size < 64 || size > KERNEL_IMAGE_MAX_BYTES)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"it says that its kernel unpacks to %llu bytes, which cannot be (damaged, or packed "
			"in an "
			"unknown way)",
			(unsigned long long)size);
	*ret_bytes = size;
	return 0;
}

/* Each unpacker: exactly out_bytes, or a text that says what is wrong. NULL is success. */
typedef const char *(*unpack_fn)(const uint8_t *in, size_t in_bytes, uint8_t *out, size_t out_bytes);

#define DAMAGED "damaged data"
#define WRONG_SIZE "its size is not what the header says"

static const char *unpack_zstd(const uint8_t *in, size_t in_bytes, uint8_t *out, size_t out_bytes)
{
	size_t frame = ZSTD_findFrameCompressedSize(in, in_bytes);
	if (ZSTD_isError(frame))
		return ZSTD_getErrorName(frame);
	size_t n = ZSTD_decompress(out, out_bytes, in, frame);
	if (ZSTD_isError(n))
		return ZSTD_getErrorName(n);
	return n == out_bytes ? NULL : WRONG_SIZE;
}

static const char *run_lzma(
	lzma_stream *s, const uint8_t *in, size_t in_bytes, uint8_t *out, size_t out_bytes)
{
	s->next_in = in;
	s->avail_in = in_bytes;
	s->next_out = out;
	s->avail_out = out_bytes;
	lzma_ret rc = lzma_code(s, LZMA_FINISH);
	size_t left = s->avail_out;
	lzma_end(s);
	switch (rc) {
	case LZMA_STREAM_END:
	case LZMA_OK:
	case LZMA_BUF_ERROR: /* lzma without an end marker: the output is full, the appended size is left over
			      */
		return left == 0 ? NULL : WRONG_SIZE;
	case LZMA_MEMLIMIT_ERROR:
		return "it needs more memory than 256 MiB to unpack";
	case LZMA_MEM_ERROR:
		return "out of memory";
	default:
		return DAMAGED;
	}
}

static const char *unpack_xz(const uint8_t *in, size_t in_bytes, uint8_t *out, size_t out_bytes)
{
	lzma_stream s = LZMA_STREAM_INIT;
	if (lzma_stream_decoder(&s, UNPACK_MEMORY_MAX, 0) != LZMA_OK)
		return "out of memory";
	return run_lzma(&s, in, in_bytes, out, out_bytes);
}

static const char *unpack_lzma(const uint8_t *in, size_t in_bytes, uint8_t *out, size_t out_bytes)
{
	lzma_stream s = LZMA_STREAM_INIT;
	if (lzma_alone_decoder(&s, UNPACK_MEMORY_MAX) != LZMA_OK)
		return "out of memory";
	return run_lzma(&s, in, in_bytes, out, out_bytes);
}

static const char *unpack_gzip(const uint8_t *in, size_t in_bytes, uint8_t *out, size_t out_bytes)
{
	z_stream s = {
		.next_in = (uint8_t *)in,
		.avail_in = (uInt)in_bytes,
		.next_out = out,
		.avail_out = (uInt)out_bytes,
	};
	if (inflateInit2(&s, 15 + 16) != Z_OK)
		return "out of memory";
	int rc = inflate(&s, Z_FINISH);
	size_t left = s.avail_out;
	inflateEnd(&s);
	if (rc != Z_STREAM_END)
		return rc == Z_BUF_ERROR || rc == Z_OK ? WRONG_SIZE : DAMAGED;
	return left == 0 ? NULL : WRONG_SIZE;
}

static const char *unpack_lz4(const uint8_t *in, size_t in_bytes, uint8_t *out, size_t out_bytes)
{
	size_t pos = 4, done = 0; /* behind the magic number */
	while (done < out_bytes) {
		if (!range_fits(pos, 4, in_bytes))
			return WRONG_SIZE;
		uint32_t block = get32(in + pos);
		pos += 4;
		if (block > INT_MAX || !range_fits(pos, block, in_bytes))
			return DAMAGED;
		int room = (int)MIN_OF(out_bytes - done, LZ4_LEGACY_BLOCK);
		int n = LZ4_decompress_safe((const char *)in + pos, (char *)out + done, (int)block, room);
		if (n <= 0)
			return DAMAGED;
		done += (size_t)n;
		pos += block;
	}
	return NULL;
}

#if HAVE_BZ2
static const char *unpack_bzip2(const uint8_t *in, size_t in_bytes, uint8_t *out, size_t out_bytes)
{
	unsigned n = (unsigned)out_bytes;
	int rc = BZ2_bzBuffToBuffDecompress((char *)out, &n, (char *)in, (unsigned)in_bytes, 0, 0);
	if (rc == BZ_OUTBUFF_FULL)
		return WRONG_SIZE;
	if (rc != BZ_OK)
		return rc == BZ_MEM_ERROR ? "out of memory" : DAMAGED;
	return n == out_bytes ? NULL : WRONG_SIZE;
}
#else
#define unpack_bzip2 NULL
#endif

static const struct packing {
	const char *name;
	const char *magic;
	size_t magic_bytes;
	unpack_fn unpack; /* NULL: recognised, but not ours */
} packings[] = {
	{"zstd", "\x28\xb5\x2f\xfd", 4, unpack_zstd},
	{"xz",
		"\xfd"
		"7zXZ\0",
		6, unpack_xz},
	{"gzip", "\x1f\x8b", 2, unpack_gzip},
	{"lz4", "\x02\x21\x4c\x18", 4, unpack_lz4},
	{"bzip2", "BZh", 3, unpack_bzip2},
	{"lzma", "\x5d\0\0", 3, unpack_lzma},
	{"lzo", "\x89LZO", 4, NULL},
};

int bzimage_unpack(const uint8_t *payload, size_t length, uint8_t *out, size_t out_bytes, struct err *err)
{
	if (length > KERNEL_IMAGE_MAX_BYTES || length < 16)
		return err_set(
			err, ERR_INVALID_ARGUMENT, "its packed kernel is %zu bytes, which cannot be", length);
	if (memcmp(payload,
		    "\x7f"
		    "ELF",
		    4) == 0) { /* CONFIG_KERNEL_UNCOMPRESSED */
		if (length < out_bytes)
			return err_set(err, ERR_INVALID_ARGUMENT, "cannot read its kernel: " WRONG_SIZE);
		memcpy(out, payload, out_bytes);
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(packings); i++) {
		const struct packing *p = &packings[i];
		if (memcmp(payload, p->magic, p->magic_bytes) != 0)
			continue;
		if (!p->unpack)
			return err_set(err, ERR_UNSUPPORTED,
				"it is packed with %s; build it with zstd, xz, gzip, lz4, lzma or bzip2, or "
				"give the vmlinux",
				p->name);
		const char *why = p->unpack(payload, length, out, out_bytes);
		if (why)
			return err_set(
				err, ERR_INVALID_ARGUMENT, "cannot unpack its kernel (%s): %s", p->name, why);
		return 0;
	}
	return err_set(err, ERR_UNSUPPORTED,
		"it is packed in an unknown way (first bytes %02x %02x %02x %02x); supported are zstd, xz, "
		"gzip, lz4, "
		"lzma and bzip2",
		payload[0], payload[1], payload[2], payload[3]);
}
