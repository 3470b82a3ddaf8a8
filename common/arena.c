/* SPDX-License-Identifier: GPL-2.0-only */
/* Bump allocator over a chain of blocks (see arena.h). */
#include "common/arena.h"

#include <stdio.h>
#include <string.h>

enum { BLOCK_BYTES = 16384, ALIGN_BYTES = 16 };

struct block {
	struct block *next;
	size_t size, used; /* bytes of data[] */
	_Alignas(ALIGN_BYTES) unsigned char data[];
};

struct arena {
	struct block *head;
	size_t cap, used;
};

struct arena *arena_new(size_t cap_bytes)
{
	struct arena *arena = calloc(1, sizeof(*arena));
	if (arena)
		arena->cap = cap_bytes;
	return arena;
}

void arena_free(struct arena *arena)
{
	if (!arena)
		return;
	for (struct block *b = arena->head, *next; b; b = next) {
		next = b->next;
		free(b);
	}
	free(arena);
}

void *arena_alloc(struct arena *arena, size_t size_bytes)
{
	if (size_bytes > arena->cap)
		return NULL;
	size_t need = (size_bytes + ALIGN_BYTES - 1) & ~(size_t)(ALIGN_BYTES - 1);
	if (need == 0)
		need = ALIGN_BYTES;
	if (!range_fits(arena->used, need, arena->cap))
		return NULL;
	struct block *b = arena->head;
	if (!b || !range_fits(b->used, need, b->size)) {
		size_t size = MAX_OF(need, (size_t)BLOCK_BYTES);
		b = malloc(sizeof(*b) + size);
		if (!b)
			return NULL;
		b->size = size;
		b->used = 0;
		b->next = arena->head;
		arena->head = b;
	}
	void *p = b->data + b->used;
	b->used += need;
	arena->used += need;
	return p;
}

void *arena_zalloc(struct arena *arena, size_t count, size_t size_bytes)
{
	size_t total;
	if (__builtin_mul_overflow(count, size_bytes, &total))
		return NULL;
	void *p = arena_alloc(arena, total);
	if (p)
		memset(p, 0, total);
	return p;
}

char *arena_strndup(struct arena *arena, const char *text, size_t length)
{
	length = strnlen(text, length);
	char *copy = arena_alloc(arena, length + 1);
	if (copy) {
		memcpy(copy, text, length);
		copy[length] = '\0';
	}
	return copy;
}

char *arena_strdup(struct arena *arena, const char *text)
{
	return arena_strndup(arena, text, strlen(text));
}

char *arena_printf(struct arena *arena, const char *fmt, ...)
{
	va_list args, again;
	va_start(args, fmt);
	va_copy(again, args);
	int n = vsnprintf(NULL, 0, fmt, args);
	char *text = n < 0 ? NULL : arena_alloc(arena, (size_t)n + 1);
	if (text)
		vsnprintf(text, (size_t)n + 1, fmt, again);
	va_end(again);
	va_end(args);
	return text;
}

size_t arena_used_bytes(const struct arena *arena)
{
	return arena->used;
}
