/* SPDX-License-Identifier: GPL-2.0-only */
/* Numbers out of a program's output: every JSON document in it, objects and arrays that begin a line, noise
 * between them passed over. A number's name is the way to it ("jobs.0.read.iops"). The text is anybody's:
 * depth, count and work are bounded. One thread. */
#ifndef HOST_ENGINE_METRICS_H
#define HOST_ENGINE_METRICS_H

#include "host/engine/hash.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define METRICS_MAX 16384
#define METRICS_DEPTH_MAX 64 /* levels of objects and arrays */
#define METRIC_NAME_MAX 255

struct metric {
	char *name;
	double value;  /* the last one */
	uint32_t seen; /* times the name came */
	UT_hash_handle hh;
};

struct metrics {
	struct metric *table; /* in order of coming */
	size_t n;
	unsigned documents;
	bool too_many, too_deep, too_long; /* names beyond the limits were left out */
	bool gave_up; /* too much that looks like JSON and is none: the rest was not read */
	bool out_of_memory;
};

/* A zeroed struct is empty. */
void metrics_deinit(struct metrics *metrics);
/* Adds what the text holds. */
void metrics_parse(struct metrics *metrics, const char *text, size_t length);
const struct metric *metrics_find(const struct metrics *metrics, const char *name);
/* The name nearest to that one if it is near enough to be meant, else NULL. */
const char *metrics_nearest(const struct metrics *metrics, const char *name);

#endif
