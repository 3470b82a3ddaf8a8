/* SPDX-License-Identifier: GPL-2.0-only */
/* A two-way set-associative table under one lock. */
#include "host/kmem/memo.h"

#include <string.h>
#include <xxhash.h>

#define SETS 512u
#define WAYS 2u

struct slot {
	uint16_t kind, key_bytes; /* kind 0: empty */
	uint32_t size;
	char key[MEMO_KEY_MAX];
	uint8_t value[MEMO_VALUE_MAX];
};

struct memo {
	pthread_mutex_t lock;
	struct slot slot[SETS][WAYS]; /* under lock; the latest put is the first of its set */
};

struct memo *memo_new(void)
{
	struct memo *memo = calloc(1, sizeof(*memo));

	if (memo)
		pthread_mutex_init(&memo->lock, NULL);
	return memo;
}

void memo_free(struct memo *memo)
{
	if (!memo)
		return;
	pthread_mutex_destroy(&memo->lock);
	free(memo);
}

static struct slot *set_of(struct memo *memo, unsigned kind, const char *key, size_t key_bytes)
{
	return memo->slot[XXH3_64bits_withSeed(key, key_bytes, kind) % SETS];
}

bool memo_get(
	struct memo *memo, unsigned kind, const char *key, size_t key_bytes, void *ret_value, size_t size)
{
	if (key_bytes > MEMO_KEY_MAX)
		return false;
	struct slot *slot = set_of(memo, kind, key, key_bytes);
	SCOPE_LOCK(&memo->lock);
	for (unsigned w = 0; w < WAYS; w++, slot++) {
		if (slot->kind != kind || slot->key_bytes != key_bytes || slot->size != size ||
			memcmp(slot->key, key, key_bytes) != 0)
			continue;
		memcpy(ret_value, slot->value, size);
		return true;
	}
	return false;
}

void memo_put(
	struct memo *memo, unsigned kind, const char *key, size_t key_bytes, const void *value, size_t size)
{
	assert(kind > 0 && size <= MEMO_VALUE_MAX);
	if (key_bytes > MEMO_KEY_MAX)
		return;
	struct slot *slot = set_of(memo, kind, key, key_bytes);
	SCOPE_LOCK(&memo->lock);
	memmove(slot + 1, slot, (WAYS - 1) * sizeof(*slot));
	slot->kind = (uint16_t)kind;
	slot->key_bytes = (uint16_t)key_bytes;
	slot->size = (uint32_t)size;
	memcpy(slot->key, key, key_bytes);
	memcpy(slot->value, value, size);
}
