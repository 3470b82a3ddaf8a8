/* SPDX-License-Identifier: GPL-2.0-only */
/* Files into the VM and out of it, chunk by chunk. Nothing is open between two chunks, but for one file that
 * the kernel writes as it is read: a client that goes away leaves a temporary file at most, which the next
 * push of that name takes over. Plain C, any thread; pushes of one name are one thread's. */
#ifndef GUEST_FILES_FILES_H
#define GUEST_FILES_FILES_H

#include "common/err.h"

#include <stdbool.h>
#include <sys/types.h>

#define FILES_CHUNK_BYTES (128u << 10)
#define FILES_PUSH_MAX_BYTES (UINT64_C(512) << 20)
#define FILES_NAME_BYTES 128

/* 1 to 128 bytes, no slash, no control characters, not beginning with a dot. */
int files_check_name(const char *name, struct err *err) must_check;

struct files_push {
	const char *staged; /* directory of staged files */
	const char *name;   /* a staged name, or an absolute path whose parents are made */
	mode_t mode;        /* permission bits */
	uint64_t offset;    /* of the chunk; 0 begins anew */
	const void *data;
	size_t length;
	bool last;        /* puts it in place: whoever opens it from then on gets the new one, whole */
	const char *link; /* not "": makes a symbolic link to this instead, where nothing is */
	bool keep;        /* ERR_ALREADY_EXISTS when a regular file of `size` bytes is there */
	uint64_t size;    /* of the whole file */
};
/* ERR_INVALID_ARGUMENT (name, path), ERR_LIMIT_EXCEEDED (size, memory of the VM), ERR_FAILED_PRECONDITION (a
 * chunk out of turn), ERR_ALREADY_EXISTS (see keep), ERR_GUEST_OS. */
int files_push(const struct files_push *push, struct err *err) must_check;

struct files_chunk {
	size_t length;     /* less than what was asked for only at the end */
	uint64_t size;     /* of the whole file; 0 for files of the kernel */
	uint64_t identity; /* another one: the file has been replaced; 0 for files of the kernel */
	mode_t mode;
};
/* path: absolute, or a staged name. ERR_NOT_FOUND, ERR_INVALID_ARGUMENT (not a regular file), ERR_GUEST_OS.
 */
int files_pull(const char *staged, const char *path, uint64_t offset, void *buffer, size_t size,
	struct files_chunk *ret_chunk, struct err *err) must_check;

#endif
