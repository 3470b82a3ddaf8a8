/* SPDX-License-Identifier: GPL-2.0-only */
/* The store. Main loop only. */
#include "host/snapshot/store.h"

#include "common/strbuf.h"

#include <errno.h>
#include <string.h>
#include <utlist.h>

/* What remains of a name when its snapshots are evicted: the next number. */
struct name_entry {
	char name[SNAPSHOT_NAME_MAX];
	uint32_t next_sequence;
	struct name_entry *next;
};

struct item {
	struct snapshot *snapshot;
	struct item *prev, *next;
};

struct snapshot_store {
	uint64_t max_bytes, bytes;
	unsigned n;
	struct item *items; /* oldest first */
	struct name_entry *names;
};

struct snapshot_store *snapshot_store_new(uint64_t max_bytes, struct err *err)
{
	struct snapshot_store *store = calloc(1, sizeof(*store));

	if (store)
		store->max_bytes = max_bytes;
	else
		(void)err_set(err, ERR_HOST, "out of memory");
	return store;
}

static void item_drop(struct snapshot_store *store, struct item *item)
{
	DL_DELETE(store->items, item);
	store->bytes -= item->snapshot->bytes;
	store->n--;
	snapshot_free(item->snapshot);
	free(item);
}

void snapshot_store_free(struct snapshot_store *store)
{
	struct name_entry *entry, *next;

	if (!store)
		return;
	while (store->items)
		item_drop(store, store->items);
	LL_FOREACH_SAFE(store->names, entry, next)
	free(entry);
	free(store);
}

int snapshot_store_add(struct snapshot_store *store, struct snapshot *snapshot, struct err *err)
{
	struct name_entry *entry;
	int evicted = 0;

	if (snapshot->bytes > store->max_bytes)
		return err_set(err, ERR_LIMIT_EXCEEDED,
			"snapshot '%s' has %llu bytes and the store holds %llu at most", snapshot->name,
			(unsigned long long)snapshot->bytes, (unsigned long long)store->max_bytes);
	struct item *item = calloc(1, sizeof(*item));
	LL_FOREACH(store->names, entry)
	if (strcmp(entry->name, snapshot->name) == 0)
		break;
	if (!entry && item) {
		entry = calloc(1, sizeof(*entry));
		if (entry) {
			strcpy(entry->name, snapshot->name);
			LL_PREPEND(store->names, entry);
		}
	}
	if (!entry || !item) {
		free(item);
		return err_set(err, ERR_HOST, "out of memory");
	}
	while (store->bytes + snapshot->bytes > store->max_bytes) {
		item_drop(store, store->items);
		evicted++;
	}
	snapshot->sequence = entry->next_sequence++;
	item->snapshot = snapshot;
	DL_APPEND(store->items, item);
	store->bytes += snapshot->bytes;
	store->n++;
	return evicted;
}

const struct snapshot *snapshot_store_get(
	const struct snapshot_store *store, const char *name, int64_t sequence, struct err *err)
{
	_cleanup_strbuf_ struct strbuf list = STRBUF_INIT;
	const struct snapshot *found = NULL;
	const struct item *item;

	DL_FOREACH (store->items, item) {
		if (strcmp(item->snapshot->name, name) == 0 &&
			(sequence < 0 || item->snapshot->sequence == sequence))
			found = item->snapshot;
		strbuf_printf(&list, "%s%s.%u", list.length ? ", " : "", item->snapshot->name,
			item->snapshot->sequence);
	}
	if (!found)
		(void)err_set(err, ERR_NOT_FOUND, "there is no snapshot '%.64s'; there %s%.400s", name,
			store->n ? "are: " : "are none", strbuf_str(&list));
	return found;
}

unsigned snapshot_store_count(const struct snapshot_store *store)
{
	return store->n;
}

uint64_t snapshot_store_bytes(const struct snapshot_store *store)
{
	return store->bytes;
}

const struct snapshot *snapshot_store_at(const struct snapshot_store *store, unsigned i)
{
	const struct item *item;

	DL_FOREACH (store->items, item)
		if (i-- == 0)
			return item->snapshot;
	return NULL;
}
