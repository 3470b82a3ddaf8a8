/* SPDX-License-Identifier: GPL-2.0-only */
/* A kernel's vmlinux as bytes: segments, sections, build id and BTF, every one bounds-checked against the
 * file. Immutable once placed: any thread. The bytes are the mapped file of
 * vm/kernel_image.h: nothing is copied. */
#ifndef HOST_KMEM_IMAGE_H
#define HOST_KMEM_IMAGE_H

#include "common/err.h"
#include "common/scope.h"
#include "host/vm/gmem.h"

#include <stdbool.h>

#define KIMAGE_SEGMENTS_MAX 16
#define KIMAGE_BUILD_ID_MAX 32

struct kimage_segment {
	gva_t vaddr;
	gpa_t paddr;
	uint64_t file_offset, file_bytes; /* lie in the file whole */
	uint64_t mem_bytes;               /* >= file_bytes: the rest is zero at boot */
};

/* Bytes of the image with their link address. */
struct kimage_range {
	const uint8_t *bytes;
	uint64_t length;
	gva_t vaddr;
};

struct kimage {
	const uint8_t *bytes;
	uint64_t length;
	unsigned n_segments;
	struct kimage_segment segment[KIMAGE_SEGMENTS_MAX]; /* PT_LOAD, as in the file */
	uint8_t build_id[KIMAGE_BUILD_ID_MAX];
	unsigned build_id_length;       /* 0: the image has none */
	struct kimage_range build_note; /* where the build id's bytes lie */
	struct kimage_range btf;        /* length 0: the image has none */
};

/* Reads the ELF headers of `bytes` (borrowed; outlive the image). x86-64 ELF64 executables only. */
int kimage_init(struct kimage *image, const void *bytes, uint64_t length, struct err *err) must_check;

/* Section by name; false when there is none or it holds no bytes in the file (.bss). */
bool kimage_section(const struct kimage *image, const char *name, struct kimage_range *ret_range);
/* File bytes of [at, at + length), or NULL when any of it is not in the file. */
const void *kimage_at(const struct kimage *image, gva_t at, uint64_t length);
/* Where `at` lies in guest memory: where the loader put it, unless the image was placed. *ret_length: bytes
 * from there to the segment's end. */
bool kimage_gpa(const struct kimage *image, gva_t at, gpa_t *ret_gpa, uint64_t *ret_length);
/* Gives every segment its running addresses: kimage_at() and kimage_gpa() take those from then on, and notes
 * have them; kimage_section() goes on telling link addresses. Once, before anybody else sees the image. */
void kimage_place(struct kimage *image, uint64_t slide, uint64_t gpa_move);
/* Build id in hexadecimal; "" if none. Returns buffer. */
const char *kimage_build_id_text(const struct kimage *image, char *buffer, size_t size);

#endif
