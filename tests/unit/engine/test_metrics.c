/* SPDX-License-Identifier: GPL-2.0-only */
/* Numbers out of output: documents between noise, names, limits, and text that is out to cost time. */
#include "host/engine/metrics.h"

#include "common/clock.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct metrics of(const char *text)
{
	struct metrics metrics = {0};
	metrics_parse(&metrics, text, strlen(text));
	return metrics;
}

static double value(const struct metrics *metrics, const char *name)
{
	const struct metric *metric = metrics_find(metrics, name);
	cr_assert_not_null(metric, "no %s", name);
	return metric->value;
}

Test(metrics, leaves_get_dotted_names)
{
	struct metrics m = of("{\"a\": {\"b\": 1, \"c\": [2, {\"d\": -3.5e2}, \"no\", true, null]}, \"big\": "
			      "123456789012345678901234567890}");
	cr_expect_eq(m.documents, 1);
	cr_expect_eq(m.n, 4);
	cr_expect_eq(value(&m, "a.b"), 1);
	cr_expect_eq(value(&m, "a.c.0"), 2);
	cr_expect_eq(value(&m, "a.c.1.d"), -350);
	cr_expect_float_eq(value(&m, "big"), 1.2345678901234568e29, 1e20);
	cr_expect_null(metrics_find(&m, "a.c.3"));
	cr_expect_str_eq(metrics_nearest(&m, "a.bb"), "a.b");
	cr_expect_null(metrics_nearest(&m, "entirely different"));
	metrics_deinit(&m);
}

Test(metrics, every_document_between_noise)
{
	struct metrics m = of("starting {not this}\n"
			      "[1] worker is no document\n"
			      "  {\"x\": 1} {\"x\": 2}\t\n"
			      "result: {\"y\": 9}\n"
			      "{\"broken\": \n"
			      "{\"x\": 3}\r\n"
			      "[10, 20]");
	cr_expect_eq(value(&m, "x"), 3, "the last one");
	cr_expect_eq(metrics_find(&m, "x")->seen, 3);
	cr_expect_eq(value(&m, "1"), 20);
	cr_expect_null(metrics_find(&m, "y"), "a document begins its line");
	cr_expect_null(metrics_find(&m, "broken"));
	cr_expect_eq(m.documents, 4);
	metrics_deinit(&m);
}

static char *nested(unsigned levels, const char *inner)
{
	char *text = malloc(levels * 6 + strlen(inner) + 1), *at = text;
	for (unsigned i = 0; i < levels; i++)
		at = stpcpy(at, "{\"a\":");
	at = stpcpy(at, inner);
	for (unsigned i = 0; i < levels; i++)
		*at++ = '}';
	*at = '\0';
	return text;
}

Test(metrics, depth)
{
	char *text = nested(METRICS_DEPTH_MAX, "5");
	struct metrics m = of(text);
	cr_expect_eq(m.n, 1);
	cr_expect(!m.too_deep);
	metrics_deinit(&m);
	free(text);
	text = nested(METRICS_DEPTH_MAX + 1, "5");
	m = of(text);
	cr_expect_eq(m.n, 0);
	cr_expect(m.too_deep);
	cr_expect_eq(m.documents, 1);
	metrics_deinit(&m);
	free(text);
}

Test(metrics, limits)
{
	size_t size = 40 * (METRICS_MAX + 10);
	char *text = malloc(size);
	cr_assert_not_null(text);
	char *at = text + sprintf(text, "{");
	for (unsigned i = 0; i < METRICS_MAX + 5; i++)
		at += sprintf(at, "%s\"k%u\": %u", i ? "," : "", i, i);
	strcpy(at, "}");
	struct metrics m = of(text);
	cr_expect_eq(m.n, METRICS_MAX);
	cr_expect(m.too_many);
	metrics_deinit(&m);
	at = text + sprintf(text, "{\"");
	memset(at, 'n', METRIC_NAME_MAX + 1);
	strcpy(at + METRIC_NAME_MAX + 1, "\": 1, \"ok\": 2}");
	m = of(text);
	cr_expect_eq(m.n, 1);
	cr_expect(m.too_long);
	metrics_deinit(&m);
	free(text);
}

/* Each line looks like the beginning of a document that goes on to the end. */
Test(metrics, hostile_text_is_given_up, .timeout = 60)
{
	size_t size = 4u << 20;
	char *text = malloc(size);
	for (size_t i = 0; i + 8 <= size; i += 8)
		memcpy(text + i, "[1,1,1,\n", 8);
	struct metrics m = {0};
	metrics_parse(&m, text, size);
	cr_expect(m.gave_up);
	cr_expect_eq(m.documents, 0);
	metrics_deinit(&m);
	memset(text, '[', size);
	m = (struct metrics){0};
	metrics_parse(&m, text, size);
	cr_expect_eq(m.documents, 0);
	metrics_deinit(&m);
	/* Bytes of any kind. */
	for (size_t i = 0; i < size; i++)
		text[i] = (char)(i * 131 + i / 255);
	m = (struct metrics){0};
	metrics_parse(&m, text, size);
	metrics_deinit(&m);
	metrics_parse(&m, NULL, 0);
	cr_expect_eq(m.n, 0);
	free(text);
}
