/* SPDX-License-Identifier: GPL-2.0-only */
/* A growing string. Not shared between threads. Out of memory marks it broken; the owner checks once at the
 * end. */
#ifndef COMMON_STRBUF_H
#define COMMON_STRBUF_H

#include "common/check.h"

#include <stdbool.h>

struct strbuf {
	char *text; /* NUL-terminated, or NULL while empty */
	size_t length, size;
	bool broken; /* memory ran out: the content is incomplete */
};

#define STRBUF_INIT ((struct strbuf){0})

void strbuf_deinit(struct strbuf *sb);
void strbuf_add(struct strbuf *sb, const char *bytes, size_t length);
void strbuf_puts(struct strbuf *sb, const char *text);
void strbuf_printf(struct strbuf *sb, const char *fmt, ...) printf_like(2, 3);
void strbuf_clear(struct strbuf *sb);
/* The text, "" while empty; stays valid until the next change. */
const char *strbuf_str(const struct strbuf *sb);
/* Hands the heap string over (never NULL unless broken) and empties the buffer. */
char *strbuf_take(struct strbuf *sb) must_check;

#define _cleanup_strbuf_ __attribute__((cleanup(strbuf_deinit)))

#endif
