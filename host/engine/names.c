/* SPDX-License-Identifier: GPL-2.0-only */
/* The model of tracked names (see names.h). */
#include "host/engine/names.h"

#include <stdlib.h>
#include <string.h>

static void free_table(struct name **table)
{
	struct name *name, *next;
	HASH_ITER (hh, *table, name, next) {
		HASH_DEL(*table, name);
		free(name->name);
		free(name);
	}
}

void names_deinit(struct names *names)
{
	free_table(&names->cgroups);
	free_table(&names->tags);
	names_drop_live(names, NULL, NULL);
	free(names->live);
	*names = (struct names){0};
}

static struct name *enter(struct names *names, struct name **table, const char *text)
{
	struct name *name = NULL;
	HASH_FIND_STR(*table, text, name);
	if (name)
		return name;
	name = calloc(1, sizeof(*name));
	char *copy = strdup(text);
	if (name && copy) {
		*name = (struct name){.name = copy, .last_step = -1, .setup_step = -1};
		HASH_ADD_KEYPTR(hh, *table, name->name, strlen(name->name), name);
		if (name->hh.tbl)
			return name;
	}
	free(name);
	free(copy);
	names->out_of_memory = true;
	return NULL;
}

struct name *names_find(const struct names *names, const char *text)
{
	struct name *name = NULL;
	HASH_FIND_STR(names->cgroups, text, name);
	return name;
}

struct name *names_enter(struct names *names, const char *text)
{
	return enter(names, &names->cgroups, text);
}

void names_end_step(struct names *names, int step)
{
	struct name *name, *next;
	HASH_ITER (hh, names->cgroups, name, next) {
		if (!name->tracked || name->owner != NAME_STEP)
			continue;
		name->tracked = false;
		name->last_step = step;
	}
	size_t kept = 0;
	for (size_t i = 0; i < names->n_live; i++) {
		if (names->live[i].owner != NAME_STEP) {
			names->live[kept++] = names->live[i];
			continue;
		}
		free(names->live[i].payload);
		free(names->live[i].cgroup);
	}
	names->n_live = kept;
}

static bool matches(const struct live *live, const char *payload, const char *cgroup)
{
	return (!payload || strcmp(live->payload, payload) == 0) &&
	       (!cgroup || strcmp(live->cgroup, cgroup) == 0);
}

size_t names_count_live(
	const struct names *names, const char *payload, const char *cgroup, const struct live **ret_live)
{
	size_t n = 0;
	for (size_t i = 0; i < names->n_live; i++) {
		if (!matches(&names->live[i], payload, cgroup))
			continue;
		n++;
		if (ret_live)
			*ret_live = &names->live[i];
	}
	return n;
}

bool names_add_live(struct names *names, const char *payload, const char *cgroup, enum name_owner owner)
{
	if (names->n_live == NAMES_LIVE_MAX)
		return false;
	if (names->n_live == names->size_live) {
		size_t size = names->size_live ? names->size_live * 2 : 16;
		struct live *more = reallocarray(names->live, size, sizeof(*more));
		if (!more) {
			names->out_of_memory = true;
			return true;
		}
		names->live = more;
		names->size_live = size;
	}
	struct live live = {.payload = strdup(payload), .cgroup = strdup(cgroup), .owner = owner};
	if (!live.payload || !live.cgroup) {
		free(live.payload);
		free(live.cgroup);
		names->out_of_memory = true;
		return true;
	}
	names->live[names->n_live++] = live;
	return true;
}

void names_drop_live(struct names *names, const char *payload, const char *cgroup)
{
	size_t kept = 0;
	for (size_t i = 0; i < names->n_live; i++) {
		if (!matches(&names->live[i], payload, cgroup)) {
			names->live[kept++] = names->live[i];
			continue;
		}
		free(names->live[i].payload);
		free(names->live[i].cgroup);
	}
	names->n_live = kept;
}

void names_move_live(struct names *names, const char *from, const char *to, enum name_owner owner)
{
	for (size_t i = 0; i < names->n_live; i++) {
		struct live *live = &names->live[i];
		if (strcmp(live->cgroup, from) != 0)
			continue;
		char *copy = strdup(to);
		if (!copy) {
			names->out_of_memory = true;
			return;
		}
		free(live->cgroup);
		live->cgroup = copy;
		if (owner == NAME_BACKDROP)
			live->owner = NAME_BACKDROP;
	}
}

void names_add_tag(struct names *names, const char *tag)
{
	if (*tag)
		(void)enter(names, &names->tags, tag);
}

bool names_has_tag(const struct names *names, const char *tag)
{
	struct name *name = NULL;
	HASH_FIND_STR(names->tags, tag, name);
	return name != NULL;
}
