/* SPDX-License-Identifier: GPL-2.0-only */
/* A bump allocator with a cap: one per request, so that handlers never free. Not shared between threads. */
#ifndef COMMON_ARENA_H
#define COMMON_ARENA_H

#include "common/check.h"
#include "common/scope.h"

#include <stdarg.h>

struct arena;

/* cap_bytes bounds everything allocated from it over its life. NULL when out of memory. */
struct arena *arena_new(size_t cap_bytes);
/* Releases everything at once. Takes NULL. */
void arena_free(struct arena *arena);
SCOPE_GUARD(struct arena *, arena_free, arena_free)

/* Uninitialised, 16-byte aligned memory; NULL when the cap is reached. size 0 gives a valid pointer. */
void *arena_alloc(struct arena *arena, size_t size_bytes);
/* Zeroed; checks the product. */
void *arena_zalloc(struct arena *arena, size_t count, size_t size_bytes);
char *arena_strdup(struct arena *arena, const char *text);
char *arena_strndup(struct arena *arena, const char *text, size_t length);
char *arena_printf(struct arena *arena, const char *fmt, ...) printf_like(2, 3);
/* Bytes handed out so far. */
size_t arena_used_bytes(const struct arena *arena);

#endif
