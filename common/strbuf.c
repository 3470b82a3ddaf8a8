/* SPDX-License-Identifier: GPL-2.0-only */
/* Growing string (see strbuf.h). */
#include "common/strbuf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void strbuf_deinit(struct strbuf *sb)
{
	free(sb->text);
	*sb = STRBUF_INIT;
}

static bool reserve(struct strbuf *sb, size_t more)
{
	size_t need;
	if (sb->broken || __builtin_add_overflow(sb->length, more, &need) || ++need == 0)
		goto broken;
	if (need > sb->size) {
		size_t size = MAX_OF(need, sb->size * 2);
		size = MAX_OF(size, (size_t)64);
		char *text = realloc(sb->text, size);
		if (!text)
			goto broken;
		sb->text = text;
		sb->size = size;
	}
	return true;
broken:
	sb->broken = true;
	return false;
}

void strbuf_add(struct strbuf *sb, const char *bytes, size_t length)
{
	if (!reserve(sb, length))
		return;
	if (length)
		memcpy(sb->text + sb->length, bytes, length);
	sb->length += length;
	sb->text[sb->length] = '\0';
}

void strbuf_puts(struct strbuf *sb, const char *text)
{
	strbuf_add(sb, text, strlen(text));
}

void strbuf_printf(struct strbuf *sb, const char *fmt, ...)
{
	va_list args, again;
	va_start(args, fmt);
	va_copy(again, args);
	int n = vsnprintf(NULL, 0, fmt, args);
	if (n >= 0 && reserve(sb, (size_t)n)) {
		vsnprintf(sb->text + sb->length, (size_t)n + 1, fmt, again);
		sb->length += (size_t)n;
	}
	va_end(again);
	va_end(args);
}

void strbuf_clear(struct strbuf *sb)
{
	sb->length = 0;
	if (sb->text)
		sb->text[0] = '\0';
}

const char *strbuf_str(const struct strbuf *sb)
{
	return sb->text ? sb->text : "";
}

char *strbuf_take(struct strbuf *sb)
{
	char *text = NULL;
	if (!sb->broken)
		text = sb->text ? sb->text : strdup("");
	else
		free(sb->text);
	*sb = STRBUF_INIT;
	return text;
}
