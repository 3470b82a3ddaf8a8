/* SPDX-License-Identifier: GPL-2.0-only */
/* Reads and writes of kernel memory in batches, hot (vCPUs running) or cold (inside a freeze).
 *
 * A batch is resolved completely before the first access: one entry that cannot be resolved fails the batch
 * with nothing written. Errors carry the entry's index as their place ("[3]").
 *
 * Hot: entries in order; naturally aligned 1, 2, 4 and 8-byte values are single accesses; bytes and unaligned
 * values are not atomic; a release fence follows the last write. Cold: `frozen` proves that the vCPUs stand
 * still. Any thread; batches may run at once (hot), each on its own entries.
 *
 * Addresses are not filtered by meaning: a test may break the kernel on purpose. What a raw store silently
 * breaks: run-queue counters (nr_running, cfs.h_nr_*, rt, dl: cascades and side effects are skipped), PELT
 * averages (their sums disagree), task-group shares and bandwidth. What is safe: jiffies_64 forwards only, a
 * scheduler's own .bss, and rq.scx.clock together with its CLK_VALID flag in one cold batch, clock first. */
#ifndef HOST_KMEM_ACCESS_H
#define HOST_KMEM_ACCESS_H

#include "host/kmem/target.h"

struct freeze;

#define KMEM_BATCH_MAX 65536u
#define KMEM_BYTES_MAX (UINT64_C(1) << 20)        /* of one entry */
#define KMEM_BATCH_BYTES_MAX (UINT64_C(64) << 20) /* of a batch */

/* Little-endian unsigned values; the number is the length in bytes. */
enum kmem_width {
	KMEM_BYTES = 0,
	KMEM_U8 = 1,
	KMEM_U16 = 2,
	KMEM_U32 = 4,
	KMEM_U64 = 8,
	KMEM_NATURAL = 255, /* reads: the width of the target's own type; bytes for a struct or an array */
};

struct kmem_read {
	struct kmem_target target;
	enum kmem_width width; /* KMEM_NATURAL: set to what it is */
	uint8_t *bytes;  /* KMEM_BYTES: filled, [length]. KMEM_NATURAL that turns out to be bytes: allocated,
			    also  on failure of a later entry; the caller's to free */
	uint64_t length; /* KMEM_BYTES: 1..KMEM_BYTES_MAX; set with `bytes` */
	bool stable;     /* hot: read until two in a row are equal, a bounded number of times */

	/* Set on success: */
	gva_t address;  /* where it was */
	uint64_t value; /* unless KMEM_BYTES; a bit field is shifted down */
	uint32_t type;  /* BTF; or 0: unknown; with `btf` and `pointers` as in struct kmem_resolved */
	const struct kbtf *btf;
	uint8_t pointers;
	uint8_t bit_size; /* 0: no bit field */
};

/* Read-modify-write is for KMEM_U32 and KMEM_U64; hot it must be aligned and is one atomic operation. */
enum kmem_op { KMEM_SET = 1, KMEM_OR, KMEM_AND, KMEM_XOR, KMEM_ADD, KMEM_CAS };

struct kmem_write {
	struct kmem_target target;
	enum kmem_width width;
	enum kmem_op op;
	uint64_t value;       /* must fit the width */
	uint64_t expected;    /* KMEM_CAS */
	const uint8_t *bytes; /* KMEM_BYTES, KMEM_SET only */
	uint64_t length;
	bool want_old; /* read-modify-write has it anyway */
	bool verify;   /* read back after the write; a difference is ERR_FAILED_PRECONDITION, reason
			  verify-mismatch: the write stays done */
	bool force;    /* allow a width beyond the member's, whole words of bit fields, and tasks that are
			  queued or of another class (kmem/task.h) */
	uint8_t *old_bytes; /* KMEM_BYTES with want_old: filled, [length] */

	/* Set on success: */
	gva_t address;
	uint64_t old; /* with want_old or read-modify-write, unless KMEM_BYTES */
	bool swapped; /* KMEM_CAS: the value was the expected one (if not, nothing was written: no error) */
	const char *warning; /* NULL, or a sentence on what the kernel will do to the value; static */
};

/* The width in which a value of its own type is read: *ret_width with *ret_bytes, its length.
 * ERR_INVALID_ARGUMENT reason no-width: the type is not known. */
int kmem_natural_width(const struct kmem_resolved *where, enum kmem_width *ret_width, uint64_t *ret_bytes,
	struct err *err) must_check;

int kmem_read_batch(const struct kmem *kmem, struct kmem_read *entries, size_t n, const struct freeze *frozen,
	struct err *err) must_check;
int kmem_write_batch(const struct kmem *kmem, struct kmem_write *entries, size_t n,
	const struct freeze *frozen, struct err *err) must_check;

#endif
