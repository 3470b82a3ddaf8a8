/* SPDX-License-Identifier: GPL-2.0-only */
/* Batches: resolve everything, then access. No state beyond a batch, any thread. */
#include "host/kmem/access.h"
#include "host/kmem/task.h"

#include <errno.h>
#include <string.h>

/* Attempts of a `stable` read: a value that still changes then is one that does not hold still. */
#define STABLE_TRIES 64

/* The resolved pieces of all entries, one after the other. */
struct pieces {
	struct kmem_span *span;
	size_t n, size;
	uint64_t bytes;
};

/* One entry ready for access. */
struct ready {
	struct kmem_resolved where;
	size_t first, count; /* its pieces */
};

struct batch {
	struct pieces pieces;
	struct ready *ready;
	uint64_t hops; /* of all of ready[].where */
};

static void batch_deinit(struct batch *batch)
{
	free(batch->pieces.span);
	free(batch->ready);
}

static int piece_add(struct pieces *pieces, const struct kmem_span *span, struct err *err)
{
	if (pieces->n == pieces->size) {
		size_t size = pieces->size ? pieces->size * 2 : 64;
		struct kmem_span *grown = reallocarray(pieces->span, size, sizeof(*grown));
		if (!grown)
			return err_set(err, ERR_HOST, "out of memory for %zu pieces of kernel memory", size);
		pieces->span = grown;
		pieces->size = size;
	}
	pieces->span[pieces->n++] = *span;
	return 0;
}

static int pieces_find(struct pieces *pieces, const struct kmem *kmem, const struct kmem_resolved *where,
	uint64_t length, struct err *err)
{
	struct kmem_range_iter iter = {kmem, where->way, where->address, length};
	struct kmem_span span;
	int rc;

	pieces->bytes += length;
	if (pieces->bytes > KMEM_BATCH_BYTES_MAX)
		return err_set(err, ERR_LIMIT_EXCEEDED, "a batch moves at most %llu MiB",
			(unsigned long long)(KMEM_BATCH_BYTES_MAX >> 20));
	while ((rc = kmem_range_next(&iter, &span, err)) > 0) {
		rc = piece_add(pieces, &span, err);
		if (rc < 0)
			return rc;
	}
	return rc;
}

/* What reads and writes have in common. */
struct shape {
	enum kmem_width width;
	uint64_t length;
	bool force;
};

static int shape_check(const struct shape *shape, const void *bytes, struct err *err)
{
	switch (shape->width) {
	case KMEM_U8:
	case KMEM_U16:
	case KMEM_U32:
	case KMEM_U64:
		return 0;
	case KMEM_NATURAL: /* resolved by then, or a write */
		break;
	case KMEM_BYTES:
		if (shape->length == 0 || shape->length > KMEM_BYTES_MAX || !bytes)
			return err_set(err, ERR_INVALID_ARGUMENT, "bytes need a length of 1 to %llu",
				(unsigned long long)KMEM_BYTES_MAX);
		return 0;
	}
	return err_set(err, ERR_INVALID_ARGUMENT, "unknown width %d", (int)shape->width);
}

static int place_find(struct batch *batch, size_t i, const struct kmem *kmem,
	const struct kmem_target *target, struct err *err)
{
	struct kmem_resolved *where = &batch->ready[i].where;
	int rc = kmem_target_resolve(kmem, target, where, err);

	return rc < 0 ? rc : kmem_spend_hops(kmem, &batch->hops, where->hops, err);
}

/* After place_find(). */
static int entry_place(
	struct batch *batch, size_t i, const struct kmem *kmem, const struct shape *shape, struct err *err)
{
	struct ready *ready = &batch->ready[i];
	uint64_t length = shape->width == KMEM_BYTES ? shape->length : (uint64_t)shape->width;
	int rc;

	if (ready->where.size_bytes > 0 && length > ready->where.size_bytes && !shape->force) {
		rc = err_set(err, ERR_INVALID_ARGUMENT,
			"the target has %llu bytes, so %llu would reach into its neighbour",
			(unsigned long long)ready->where.size_bytes, (unsigned long long)length);
		(void)err_reason(err, "width");
		return rc;
	}
	ready->first = batch->pieces.n;
	rc = pieces_find(&batch->pieces, kmem, &ready->where, length, err);
	ready->count = batch->pieces.n - ready->first;
	return rc;
}

int kmem_natural_width(
	const struct kmem_resolved *where, enum kmem_width *ret_width, uint64_t *ret_bytes, struct err *err)
{
	uint64_t size = where->size_bytes;
	unsigned kind = BTF_KIND_INT;
	int rc;

	if (size == 0) {
		rc = err_set(err, ERR_INVALID_ARGUMENT,
			"the kernel's BTF does not tell the size of this: give a width (u8, u16, u32, u64, "
			"bytes)");
		(void)err_reason(err, "no-width");
		return rc;
	}
	if (where->btf && where->pointers == 0)
		kind = kbtf_kind(where->btf, kbtf_resolve(where->btf, where->type));
	*ret_bytes = size;
	*ret_width = KMEM_BYTES;
	if (kind != BTF_KIND_STRUCT && kind != BTF_KIND_UNION && kind != BTF_KIND_ARRAY &&
		kind != BTF_KIND_DATASEC && size <= 8 && (size & (size - 1)) == 0)
		*ret_width = (enum kmem_width)size;
	else if (size > KMEM_BYTES_MAX)
		return err_set(err, ERR_LIMIT_EXCEEDED,
			"the target has %llu bytes, and at most %llu can be read", (unsigned long long)size,
			(unsigned long long)KMEM_BYTES_MAX);
	return 0;
}

/* What a value of the target's own type is read as. */
static int natural_width(const struct kmem_resolved *where, struct kmem_read *entry, struct err *err)
{
	uint64_t bytes;
	int rc = kmem_natural_width(where, &entry->width, &bytes, err);

	if (rc < 0 || entry->width != KMEM_BYTES)
		return rc;
	entry->length = bytes;
	entry->bytes = malloc(bytes);
	return entry->bytes
		       ? 0
		       : err_set(err, ERR_HOST, "out of memory for %llu bytes", (unsigned long long)bytes);
}

static int batch_begin(struct batch *batch, const struct kmem *kmem, size_t n, struct err *err)
{
	if (n == 0 || n > KMEM_BATCH_MAX)
		return err_set(err, n ? ERR_LIMIT_EXCEEDED : ERR_INVALID_ARGUMENT,
			"a batch has 1 to %u entries", KMEM_BATCH_MAX);
	batch->ready = calloc(n, sizeof(*batch->ready));
	if (!batch->ready)
		return err_set(err, ERR_HOST, "out of memory for %zu entries", n);
	return kmem_check(kmem, err);
}

static void bytes_read(const struct batch *batch, const struct ready *ready, uint8_t *to)
{
	for (size_t k = 0; k < ready->count; k++) {
		const struct kmem_span *span = &batch->pieces.span[ready->first + k];
		memcpy(to, span->host, span->length);
		to += span->length;
	}
}

static void bytes_write(const struct batch *batch, const struct ready *ready, const uint8_t *from)
{
	for (size_t k = 0; k < ready->count; k++) {
		const struct kmem_span *span = &batch->pieces.span[ready->first + k];
		memcpy(span->host, from, span->length);
		from += span->length;
	}
}

/* The whole value's address if one access reaches it, else NULL. */
static uint8_t *single(const struct batch *batch, const struct ready *ready, enum kmem_width width)
{
	uint8_t *host = batch->pieces.span[ready->first].host;

	return ready->count == 1 && ((uintptr_t)host & ((uintptr_t)width - 1)) == 0 ? host : NULL;
}

static uint64_t value_read(const struct batch *batch, const struct ready *ready, enum kmem_width width)
{
	uint8_t *host = single(batch, ready, width);
	uint64_t value = 0;

	if (!host) {
		bytes_read(batch, ready, (uint8_t *)&value);
		return value;
	}
	switch (width) {
	case KMEM_U8:
		return __atomic_load_n(host, __ATOMIC_RELAXED);
	case KMEM_U16:
		return __atomic_load_n((uint16_t *)host, __ATOMIC_RELAXED);
	case KMEM_U32:
		return __atomic_load_n((uint32_t *)host, __ATOMIC_RELAXED);
	case KMEM_U64:
		return __atomic_load_n((uint64_t *)host, __ATOMIC_RELAXED);
	case KMEM_BYTES:
	case KMEM_NATURAL:
		break;
	}
	return 0;
}

static void value_write(
	const struct batch *batch, const struct ready *ready, enum kmem_width width, uint64_t value)
{
	uint8_t *host = single(batch, ready, width);

	if (!host) {
		bytes_write(batch, ready, (const uint8_t *)&value);
		return;
	}
	switch (width) {
	case KMEM_U8:
		__atomic_store_n(host, (uint8_t)value, __ATOMIC_RELAXED);
		return;
	case KMEM_U16:
		__atomic_store_n((uint16_t *)host, (uint16_t)value, __ATOMIC_RELAXED);
		return;
	case KMEM_U32:
		__atomic_store_n((uint32_t *)host, (uint32_t)value, __ATOMIC_RELAXED);
		return;
	case KMEM_U64:
		__atomic_store_n((uint64_t *)host, value, __ATOMIC_RELAXED);
		return;
	case KMEM_BYTES:
	case KMEM_NATURAL:
		return;
	}
}

static int value_read_stable(const struct batch *batch, const struct ready *ready, enum kmem_width width,
	uint64_t *ret_value, struct err *err)
{
	uint64_t value = value_read(batch, ready, width);

	for (unsigned i = 0; i < STABLE_TRIES; i++) {
		uint64_t again = value_read(batch, ready, width);
		if (again == value) {
			*ret_value = value;
			return 0;
		}
		value = again;
	}
	return err_set(err, ERR_TIMEOUT, "the value changed in each of %d reads: it does not hold still",
		STABLE_TRIES);
}

static int bytes_read_stable(
	const struct batch *batch, const struct ready *ready, uint8_t *to, uint64_t length, struct err *err)
{
	_cleanup_free_ uint8_t *again = malloc(length);

	if (!again)
		return err_set(err, ERR_HOST, "out of memory for %llu bytes", (unsigned long long)length);
	bytes_read(batch, ready, to);
	for (unsigned i = 0; i < STABLE_TRIES; i++) {
		bytes_read(batch, ready, again);
		if (memcmp(to, again, length) == 0)
			return 0;
		memcpy(to, again, length);
	}
	return err_set(err, ERR_TIMEOUT, "the bytes changed in each of %d reads: they do not hold still",
		STABLE_TRIES);
}

static int entry_read(
	const struct batch *batch, size_t i, struct kmem_read *entry, bool frozen, struct err *err)
{
	const struct ready *ready = &batch->ready[i];
	bool stable = entry->stable && !frozen;
	int rc = 0;

	entry->address = ready->where.address;
	if (entry->width == KMEM_BYTES) {
		if (stable)
			return bytes_read_stable(batch, ready, entry->bytes, entry->length, err);
		bytes_read(batch, ready, entry->bytes);
		return 0;
	}
	if (stable)
		rc = value_read_stable(batch, ready, entry->width, &entry->value, err);
	else
		entry->value = value_read(batch, ready, entry->width);
	if (rc == 0 && ready->where.bit_size > 0)
		entry->value = entry->value >> ready->where.bit_offset &
			       (UINT64_MAX >> (64 - MIN_OF(ready->where.bit_size, 64)));
	return rc;
}

int kmem_read_batch(const struct kmem *kmem, struct kmem_read *entries, size_t n, const struct freeze *frozen,
	struct err *err)
{
	_cleanup_(batch_deinit) struct batch batch = {0};
	int rc = batch_begin(&batch, kmem, n, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < n; i++) {
		const struct kmem_resolved *where = &batch.ready[i].where;
		rc = place_find(&batch, i, kmem, &entries[i].target, err);
		if (rc == 0 && entries[i].width == KMEM_NATURAL)
			rc = natural_width(where, &entries[i], err);
		struct shape shape = {entries[i].width, entries[i].length, false};
		if (rc == 0)
			rc = shape_check(&shape, entries[i].bytes, err);
		if (rc == 0)
			rc = entry_place(&batch, i, kmem, &shape, err);
		if (rc < 0)
			return err_at(err, "[%zu]", i), rc;
		entries[i].type = where->type;
		entries[i].btf = where->btf;
		entries[i].pointers = where->pointers;
		entries[i].bit_size = where->bit_size;
	}
	for (size_t i = 0; i < n; i++) {
		rc = entry_read(&batch, i, &entries[i], frozen != NULL, err);
		if (rc < 0)
			return err_at(err, "[%zu]", i), rc;
	}
	return 0;
}

static uint64_t width_mask(enum kmem_width width)
{
	return width == KMEM_U64 ? UINT64_MAX : (UINT64_C(1) << 8 * (unsigned)width) - 1;
}

static int write_check(const struct kmem_write *entry, struct err *err)
{
	struct shape shape = {entry->width, entry->length, entry->force};
	int rc = shape_check(&shape, entry->bytes, err);

	if (rc < 0)
		return rc;
	if (entry->op < KMEM_SET || entry->op > KMEM_CAS)
		return err_set(err, ERR_INVALID_ARGUMENT, "unknown operation %d", (int)entry->op);
	if (entry->op != KMEM_SET && entry->width != KMEM_U32 && entry->width != KMEM_U64)
		return err_set(err, ERR_INVALID_ARGUMENT, "read-modify-write is for u32 and u64 only");
	if (entry->width == KMEM_BYTES)
		return entry->want_old && !entry->old_bytes
			       ? err_set(err, ERR_INVALID_ARGUMENT, "the old bytes have nowhere to go")
			       : 0;
	if (entry->value > width_mask(entry->width) ||
		(entry->op == KMEM_CAS && entry->expected > width_mask(entry->width)))
		return err_set(err, ERR_INVALID_ARGUMENT, "0x%llx does not fit in u%d",
			(unsigned long long)MAX_OF(entry->value, entry->expected), (int)entry->width * 8);
	return 0;
}

/* After resolving, before the first access. */
static int write_check_place(
	const struct batch *batch, size_t i, const struct kmem_write *entry, bool frozen, struct err *err)
{
	const struct ready *ready = &batch->ready[i];

	if (ready->where.bit_size > 0 && !entry->force) {
		int rc = err_set(err, ERR_INVALID_ARGUMENT,
			"the target is a bit field: a store would change its neighbours; use or and and on "
			"their "
			"word with force");
		(void)err_reason(err, "bit-field");
		return rc;
	}
	if (entry->op != KMEM_SET && !frozen && !single(batch, ready, entry->width))
		return err_set(err, ERR_INVALID_ARGUMENT,
			"0x%llx is not aligned to %d bytes: a hot read-modify-write must be one atomic "
			"operation",
			(unsigned long long)ready->where.address.v, (int)entry->width);
	return 0;
}

static int task_check(const struct kmem *kmem, const struct kmem_resolved *where, struct kmem_write *entry,
	bool frozen, struct err *err)
{
	struct kmem_task_write write = {
		.task = where->task,
		.at = where->address,
		.identified = where->identified,
		.frozen = frozen,
		.force = entry->force,
	};

	return where->task.v ? kmem_task_check_write(kmem, &write, &entry->warning, err) : 0;
}

static uint64_t op_apply(const struct kmem_write *entry, uint64_t old)
{
	uint64_t value = entry->value;

	switch (entry->op) {
	case KMEM_OR:
		value = old | entry->value;
		break;
	case KMEM_AND:
		value = old & entry->value;
		break;
	case KMEM_XOR:
		value = old ^ entry->value;
		break;
	case KMEM_ADD:
		value = old + entry->value;
		break;
	case KMEM_CAS:
		value = old == entry->expected ? entry->value : old;
		break;
	case KMEM_SET:
		break;
	}
	return value & width_mask(entry->width);
}

/* Aligned: one atomic operation (a compare-and-swap loop for all of them: the instruction that has to be
 * atomic is the swap). */
static uint64_t rmw_atomic(const struct kmem_write *entry, uint8_t *host)
{
	if (entry->width == KMEM_U32) {
		uint32_t old = __atomic_load_n((uint32_t *)host, __ATOMIC_RELAXED);
		while (!__atomic_compare_exchange_n((uint32_t *)host, &old, (uint32_t)op_apply(entry, old),
			false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			;
		return old;
	}
	uint64_t old = __atomic_load_n((uint64_t *)host, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(
		(uint64_t *)host, &old, op_apply(entry, old), false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		;
	return old;
}

static int verify_failed(const struct ready *ready, struct err *err)
{
	int rc = err_set(err, ERR_FAILED_PRECONDITION, "0x%llx does not hold what was written to it",
		(unsigned long long)ready->where.address.v);

	(void)err_reason(err, "verify-mismatch");
	return rc;
}

static int bytes_entry_write(
	const struct batch *batch, const struct ready *ready, const struct kmem_write *entry, struct err *err)
{
	if (entry->want_old)
		bytes_read(batch, ready, entry->old_bytes);
	bytes_write(batch, ready, entry->bytes);
	if (!entry->verify)
		return 0;
	const uint8_t *want = entry->bytes;
	for (size_t k = 0; k < ready->count; k++) {
		const struct kmem_span *span = &batch->pieces.span[ready->first + k];
		if (memcmp(span->host, want, span->length) != 0)
			return verify_failed(ready, err);
		want += span->length;
	}
	return 0;
}

static int entry_write(const struct batch *batch, size_t i, struct kmem_write *entry, struct err *err)
{
	const struct ready *ready = &batch->ready[i];

	entry->address = ready->where.address;
	if (entry->width == KMEM_BYTES)
		return bytes_entry_write(batch, ready, entry, err);
	uint8_t *host = single(batch, ready, entry->width);
	if (entry->op != KMEM_SET && host) {
		entry->old = rmw_atomic(entry, host);
	} else {
		if (entry->want_old || entry->op != KMEM_SET)
			entry->old = value_read(batch, ready, entry->width);
		value_write(batch, ready, entry->width, op_apply(entry, entry->old));
	}
	entry->swapped = entry->op == KMEM_CAS && entry->old == entry->expected;
	if (entry->verify && value_read(batch, ready, entry->width) != op_apply(entry, entry->old))
		return verify_failed(ready, err);
	return 0;
}

int kmem_write_batch(const struct kmem *kmem, struct kmem_write *entries, size_t n,
	const struct freeze *frozen, struct err *err)
{
	_cleanup_(batch_deinit) struct batch batch = {0};
	int rc = batch_begin(&batch, kmem, n, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < n; i++) {
		struct shape shape = {entries[i].width, entries[i].length, entries[i].force};
		rc = write_check(&entries[i], err);
		if (rc == 0)
			rc = place_find(&batch, i, kmem, &entries[i].target, err);
		if (rc == 0)
			rc = entry_place(&batch, i, kmem, &shape, err);
		if (rc == 0)
			rc = write_check_place(&batch, i, &entries[i], frozen != NULL, err);
		if (rc == 0)
			rc = task_check(kmem, &batch.ready[i].where, &entries[i], frozen != NULL, err);
		if (rc < 0)
			return err_at(err, "[%zu]", i), rc;
	}
	for (size_t i = 0; i < n; i++) {
		rc = entry_write(&batch, i, &entries[i], err);
		if (rc < 0) {
			__atomic_thread_fence(__ATOMIC_RELEASE);
			return err_at(err, "[%zu]", i), rc;
		}
	}
	/* Pairs with whatever barrier the guest's readers have: all stores are out before the caller is told.
	 */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	return 0;
}
