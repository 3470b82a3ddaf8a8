/* SPDX-License-Identifier: GPL-2.0-only */
/* Metrics of payloads (see metrics.h). */
#include "host/engine/metrics.h"

#include "common/check.h"
#include "host/text/shape.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Looking at every place where a document may begin must not take more than some passes over the text. */
#define WORK_FACTOR 4
#define WORK_MIN_BYTES (1u << 20)

void metrics_deinit(struct metrics *metrics)
{
	struct metric *metric, *next;
	HASH_ITER (hh, metrics->table, metric, next) {
		HASH_DEL(metrics->table, metric);
		free(metric->name);
		free(metric);
	}
	*metrics = (struct metrics){0};
}

const struct metric *metrics_find(const struct metrics *metrics, const char *name)
{
	struct metric *metric;
	HASH_FIND_STR(metrics->table, name, metric);
	return metric;
}

static void add(struct metrics *metrics, const char *name, double value)
{
	struct metric *metric;
	HASH_FIND_STR(metrics->table, name, metric);
	if (!metric) {
		if (metrics->n == METRICS_MAX) {
			metrics->too_many = true;
			return;
		}
		metric = calloc(1, sizeof(*metric));
		char *copy = strdup(name);
		if (!metric || !copy) {
			free(metric);
			free(copy);
			metrics->out_of_memory = true;
			return;
		}
		metric->name = copy;
		HASH_ADD_KEYPTR(hh, metrics->table, metric->name, strlen(metric->name), metric);
		metrics->n++;
	}
	metric->value = value;
	metric->seen++;
}

/* name: of the value, `length` bytes of a buffer of METRIC_NAME_MAX + 1. */
static void collect(struct metrics *metrics, const json_t *value, char *name, size_t length, unsigned depth);

static void collect_member(struct metrics *metrics, const json_t *value, const char *key, char *name,
	size_t length, unsigned depth)
{
	int n = snprintf(name + length, METRIC_NAME_MAX + 1 - length, "%s%s", length ? "." : "", key);
	if (n < 0 || length + (size_t)n > METRIC_NAME_MAX)
		metrics->too_long = true;
	else
		collect(metrics, value, name, length + (size_t)n, depth);
	name[length] = '\0';
}

static void collect(struct metrics *metrics, const json_t *value, char *name, size_t length, unsigned depth)
{
	if (json_is_number(value)) {
		add(metrics, name, json_number_value(value));
		return;
	}
	if (!json_is_object(value) && !json_is_array(value))
		return;
	if (depth == METRICS_DEPTH_MAX) {
		metrics->too_deep = true;
		return;
	}
	if (json_is_object(value)) {
		const char *key;
		json_t *member;
		json_object_foreach((json_t *)value, key, member)
			collect_member(metrics, member, key, name, length, depth + 1);
		return;
	}
	char index[24];
	for (size_t i = 0; i < json_array_size(value); i++) {
		snprintf(index, sizeof(index), "%zu", i);
		collect_member(metrics, json_array_get(value, i), index, name, length, depth + 1);
	}
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* "[1] worker started" is no document: behind one the line ends, or another one begins. */
static bool ends_well(const char *text, size_t length)
{
	size_t i = 0;
	while (i < length && is_blank(text[i]))
		i++;
	return i == length || text[i] == '\n' || text[i] == '{' || text[i] == '[';
}

void metrics_parse(struct metrics *metrics, const char *text, size_t length)
{
	char name[METRIC_NAME_MAX + 1] = "";
	size_t work = 0;
	bool fresh = true; /* nothing but blanks since the line's begin or a document */
	for (size_t at = 0; at < length;) {
		char c = text[at];
		if (fresh && (c == '{' || c == '[')) {
			json_error_t error = {0};
			/* Whole numbers of any size are numbers. */
			json_t *json = json_loadb(text + at, length - at,
				JSON_DISABLE_EOF_CHECK | JSON_DECODE_INT_AS_REAL, &error);
			size_t used = error.position > 0 ? (size_t)error.position : 1;
			bool good = json && used <= length - at &&
				    ends_well(text + at + used, length - at - used);
			if (good) {
				metrics->documents++;
				collect(metrics, json, name, 0, 0);
			}
			json_decref(json);
			if (good) {
				at += used;
				continue;
			}
			work += used;
			if (work / WORK_FACTOR > length + WORK_MIN_BYTES) {
				metrics->gave_up = true;
				return;
			}
		}
		fresh = c == '\n' || (fresh && is_blank(c));
		at++;
	}
}

const char *metrics_nearest(const struct metrics *metrics, const char *name)
{
	/* Each alone: the list may be long, and the nearest of two is the nearest of both. */
	const char *best = NULL;
	for (const struct metric *metric = metrics->table; metric; metric = metric->hh.next) {
		const char *two[] = {best, metric->name};
		const char *near = best ? shape_nearest(name, two, 2) : shape_nearest(name, two + 1, 1);
		best = near ? near : best;
	}
	return best;
}
