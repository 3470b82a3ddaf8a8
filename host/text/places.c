/* SPDX-License-Identifier: GPL-2.0-only */
/* Places of a message and where they stand in its file (see text.h). One owner at a time; reading is any
 * thread. */
#include "common/arena.h"
#include "host/text/load.h"

#include <stdlib.h>
#include <string.h>

/* Paths of a file at its limits. */
#define PLACES_CAP_BYTES (64u * 1024 * 1024)

struct place {
	const char *path;
	unsigned line, column;
};

struct text_places {
	struct arena *arena;
	struct place *place;
	size_t n, size;
};

struct text_places *text_places_new(void)
{
	struct text_places *places = calloc(1, sizeof(*places));
	if (places)
		places->arena = arena_new(PLACES_CAP_BYTES);
	if (places && !places->arena) {
		free(places);
		return NULL;
	}
	return places;
}

void text_places_free(struct text_places *places)
{
	if (!places)
		return;
	arena_free(places->arena);
	free(places->place);
	free(places);
}

/* A place that cannot be kept makes positions coarser, nothing else. */
void text_places_add(struct text_places *places, const char *path, unsigned line, unsigned column)
{
	if (!places)
		return;
	if (places->n == places->size) {
		size_t size = places->size ? places->size * 2 : 64;
		struct place *more = reallocarray(places->place, size, sizeof(*more));
		if (!more)
			return;
		places->place = more;
		places->size = size;
	}
	const char *copy = arena_strdup(places->arena, path);
	if (copy)
		places->place[places->n++] = (struct place){.path = copy, .line = line, .column = column};
}

static int by_path(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	int order = strcmp(x->path, y->path);
	if (order)
		return order;
	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return x->column < y->column ? -1 : x->column > y->column;
}

static int by_path_only(const void *key, const void *b)
{
	return strcmp(key, ((const struct place *)b)->path);
}

void text_places_sort(struct text_places *places)
{
	if (places && places->n)
		qsort(places->place, places->n, sizeof(*places->place), by_path);
}

void text_places_find(
	const struct text_places *places, const char *path, unsigned *ret_line, unsigned *ret_column)
{
	*ret_line = *ret_column = 0;
	if (!places || !places->n)
		return;
	char at[sizeof(((struct err *)NULL)->place)];
	snprintf(at, sizeof(at), "%s", path);
	for (;;) {
		const struct place *found =
			bsearch(at, places->place, places->n, sizeof(*places->place), by_path_only);
		while (found && found > places->place && strcmp(found[-1].path, at) == 0)
			found--;
		if (found) {
			*ret_line = found->line;
			*ret_column = found->column;
			return;
		}
		if (!*at)
			return;
		char *dot = strrchr(at, '.'), *bracket = strrchr(at, '[');
		char *cut = dot > bracket ? dot : bracket;
		*(cut ? cut : at) = '\0';
	}
}
