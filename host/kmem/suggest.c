/* SPDX-License-Identifier: GPL-2.0-only */
/* Edit distance (insert, remove, replace), bounded. No state. */
#include "host/kmem/suggest.h"

#include <stdio.h>
#include <string.h>

void suggest_init(struct suggest *s, const char *wanted, size_t length)
{
	*s = (struct suggest){.length = MIN_OF(length, SUGGEST_NAME_MAX - 1)};
	memcpy(s->wanted, wanted, s->length);
}

static unsigned distance(const char *a, size_t n, const char *b, size_t m, unsigned limit)
{
	unsigned row[SUGGEST_NAME_MAX + 1];

	for (size_t j = 0; j <= m; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= n; i++) {
		unsigned diagonal = row[0], least = row[0] = (unsigned)i;
		for (size_t j = 1; j <= m; j++) {
			unsigned up = row[j];
			unsigned value = diagonal + (a[i - 1] != b[j - 1]);
			value = MIN_OF(value, MIN_OF(up, row[j - 1]) + 1);
			diagonal = up;
			row[j] = value;
			least = MIN_OF(least, value);
		}
		if (least > limit)
			return limit + 1;
	}
	return row[m];
}

void suggest_offer(struct suggest *s, const char *name, size_t length)
{
	unsigned limit = s->length <= 4 ? 1 : s->length <= 10 ? 2 : 3;
	size_t apart = length > s->length ? length - s->length : s->length - length;
	unsigned d, at;

	if (length >= SUGGEST_NAME_MAX || apart > limit)
		return;
	if (s->n == SUGGEST_MAX)
		limit = MIN_OF(limit, s->best[s->n - 1].distance);
	d = distance(s->wanted, s->length, name, length, limit);
	if (d > limit || (s->n == SUGGEST_MAX && d == s->best[s->n - 1].distance))
		return;
	for (at = 0; at < s->n; at++)
		if (strncmp(s->best[at].name, name, length) == 0 && s->best[at].name[length] == '\0')
			return;
	for (at = 0; at < s->n && s->best[at].distance <= d; at++)
		;
	s->n = MIN_OF(s->n + 1, SUGGEST_MAX);
	memmove(&s->best[at + 1], &s->best[at], (s->n - 1 - at) * sizeof(s->best[0]));
	s->best[at].distance = d;
	memcpy(s->best[at].name, name, length);
	s->best[at].name[length] = '\0';
}

const char *suggest_text(const struct suggest *s, char *buffer, size_t size)
{
	size_t n = 0;

	buffer[0] = '\0';
	for (unsigned i = 0; i < s->n && n < size; i++)
		n += (size_t)snprintf(
			buffer + n, size - n, "%s'%s'", i ? ", " : "; did you mean ", s->best[i].name);
	return buffer;
}
