/* SPDX-License-Identifier: GPL-2.0-only */
/* Snapshots kept by name, bounded by bytes: the oldest go first. One thread (the main loop). */
#ifndef HOST_SNAPSHOT_STORE_H
#define HOST_SNAPSHOT_STORE_H

#include "host/snapshot/snapshot.h"

#define SNAPSHOT_STORE_BYTES (UINT64_C(256) << 20)

struct snapshot_store;
struct snapshot_store *snapshot_store_new(uint64_t max_bytes, struct err *err) must_check;
void snapshot_store_free(struct snapshot_store *store);
SCOPE_GUARD(struct snapshot_store *, snapshot_store_free, snapshot_store_free)

/* Gives the snapshot its sequence number and takes it over; evicts the oldest as far as needed. Returns how
 * many were evicted (the caller says so in an event), or ERR_LIMIT_EXCEEDED when this one alone is too large
 * (it is then still the caller's). Numbers of evicted ones are not given again. */
int snapshot_store_add(struct snapshot_store *store, struct snapshot *snapshot, struct err *err) must_check;

/* Newest of that name, or the one of that sequence (sequence >= 0). Valid until the next add. ERR_NOT_FOUND
 * lists the names there are. */
const struct snapshot *snapshot_store_get(
	const struct snapshot_store *store, const char *name, int64_t sequence, struct err *err) must_check;

unsigned snapshot_store_count(const struct snapshot_store *store);
uint64_t snapshot_store_bytes(const struct snapshot_store *store);
/* i-th from the oldest, or NULL. */
const struct snapshot *snapshot_store_at(const struct snapshot_store *store, unsigned i);

#endif
