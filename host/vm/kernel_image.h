/* SPDX-License-Identifier: GPL-2.0-only */
/* A kernel file (bzImage or ELF vmlinux) as the bytes of its ELF vmlinux. Immutable once loaded, any thread.
 *
 * What was unpacked is kept by content in CACHE/vmlinux/ (CACHE: $SCHEDRIG_CACHE, else
 * ${XDG_CACHE_HOME:-$HOME/.cache}/schedrig) and mapped from there, so that a warm start reads one page of the
 * kernel file. ELF files are copied there too: a build that overwrites its vmlinux does not pull the mapping
 * from under us. */
#ifndef HOST_VM_KERNEL_IMAGE_H
#define HOST_VM_KERNEL_IMAGE_H

#include "common/err.h"
#include "common/scope.h"

#include <stdbool.h>

/* Neither a kernel file nor what is in it is larger. */
#define KERNEL_IMAGE_MAX_BYTES (UINT64_C(1) << 30)

struct kernel_image {
	const uint8_t *elf; /* the vmlinux; bytes from a file: check before use */
	size_t elf_bytes;   /* at least an ELF header */
	/* Version text of a bzImage's header ("7.3.4+deb13-cloud-amd64 (builder) #1 SMP ..."); "" for ELF. */
	char version[256];
	char content[33]; /* hash of the kernel file, 32 hex digits: names what was computed from it */
	int packed_fd;    /* the bzImage itself, open for reading; -1: the kernel was given as vmlinux */
	int fd;           /* a file of exactly these bytes, or -1 */
	bool cached;      /* came from the cache: nothing was unpacked */
};

/* Loads the kernel at `path`. A missing or unreadable file is ERR_NOT_FOUND or ERR_HOST; a file that is no
 * kernel for x86-64, or is packed in a way we cannot unpack, is ERR_INVALID_ARGUMENT or ERR_UNSUPPORTED with
 * the reason. A cache that cannot be used only costs time. */
int kernel_image_load(const char *path, struct kernel_image **ret_image, struct err *err) must_check;
void kernel_image_free(struct kernel_image *image);
SCOPE_GUARD(struct kernel_image *, kernel_image_free, kernel_image_free)

/* The kernel's release ("7.3.4+deb13-cloud-amd64"), from the header or the banner in the image. -ENOENT if
 * there is none. Reads the whole image when it is an ELF file. */
int kernel_image_release(const struct kernel_image *image, char *ret_text, size_t size) must_check;

#endif
