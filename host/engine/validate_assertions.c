/* SPDX-License-Identifier: GPL-2.0-only */
/* Assertions and expectations: ranges, references, forms. Pure. */
#include "host/engine/assertions.h"
#include "host/engine/payload_end.h"
#include "host/engine/pool.h"
#include "host/engine/validate.h"
#include "proto/klog_list.h"
#include "proto/wire.h"

#include <math.h>
#include <string.h>

#define TEXT_MAX 200
#define LIST_MAX 256

static void check_number(
	struct check *check, const Schedrig__V1__DoubleValue *value, const char *field, double max)
{
	if (!value || (isfinite(value->value) && value->value >= 0 && value->value <= max))
		return;
	if (isinf(max))
		check_bad(check, ERR_INVALID_ARGUMENT, field, "%g is not a number from 0 up", value->value);
	else
		check_bad(check, ERR_INVALID_ARGUMENT, field, "%g is not a %s in 0..%g", value->value,
			max == 100 ? "percentage" : "number", max);
}

/* A least value of 0 asks for nothing. */
static void check_floor(
	struct check *check, const Schedrig__V1__DoubleValue *value, const char *field, double max)
{
	check_number(check, value, field, max);
	if (value && value->value == 0)
		check_bad(check, ERR_INVALID_ARGUMENT, field, "a least value of 0 asks for nothing");
}

static void check_list(struct check *check, size_t n, const char *field)
{
	if (n > LIST_MAX)
		check_bad(check, ERR_LIMIT_EXCEEDED, field, "%zu entries: at most %d are possible", n,
			LIST_MAX);
}

/* What its output will hold only the payload knows. */
static void check_payload_metric(struct check *check, const Schedrig__V1__Delta *delta)
{
	const Schedrig__V1__Scenario *s = check->scenario;
	const Schedrig__V1__Payload *payload = payload_find(s->payloads, s->n_payloads, delta->payload);
	if (!*delta->metric)
		check_bad(check, ERR_INVALID_ARGUMENT, "metric",
			"which of the payload's metrics? give its dotted name, as in jobs.0.read.iops");
	if (!payload)
		check_bad(check, ERR_NOT_FOUND, "payload",
			"there is no payload '%.80s': define it in `payloads`", delta->payload);
	else if (!payload_has_metrics(payload))
		check_bad(check, ERR_FAILED_PRECONDITION, "payload",
			"payload '%.80s' has no metrics: give its definition `output: json`", delta->payload);
}

static void check_delta(struct check *check, const Schedrig__V1__Delta *delta)
{
	size_t n_steps = check->scenario->n_steps;
	if (*delta->payload)
		check_payload_metric(check, delta);
	else if (metric_find(delta->metric) == METRICS)
		check_bad(check, ERR_NOT_FOUND, "metric",
			"there is no metric '%.60s': see schedrig list metrics", delta->metric);
	if (delta->step >= n_steps || delta->against >= n_steps)
		check_bad(check, ERR_NOT_FOUND, delta->step >= n_steps ? "step" : "against",
			"there is no step %u: the scenario has %zu, counted from 0",
			delta->step >= n_steps ? delta->step : delta->against, n_steps);
	else if (delta->step == delta->against)
		check_bad(check, ERR_INVALID_ARGUMENT, "against", "a step does not differ from itself");
	if (!delta->min_change_pct && !delta->max_change_pct)
		check_bad(check, ERR_INVALID_ARGUMENT, NULL,
			"no bound is given: min_change_pct, max_change_pct or both");
	if ((delta->min_change_pct && !isfinite(delta->min_change_pct->value)) ||
		(delta->max_change_pct && !isfinite(delta->max_change_pct->value)))
		check_bad(check, ERR_INVALID_ARGUMENT, NULL, "a bound is not a finite number");
	else if (delta->min_change_pct && delta->max_change_pct &&
		 delta->min_change_pct->value > delta->max_change_pct->value)
		check_bad(check, ERR_INVALID_ARGUMENT, "min_change_pct",
			"at least %g and at most %g cannot both be", delta->min_change_pct->value,
			delta->max_change_pct->value);
	if (delta->cgroup && strlen(delta->cgroup->name) > LIMIT_CGROUP_NAME_BYTES)
		check_bad(check, ERR_LIMIT_EXCEEDED, "cgroup", "a cgroup's name has at most %u bytes",
			LIMIT_CGROUP_NAME_BYTES);
}

static void check_kernel_log(struct check *check, const Schedrig__V1__ExpectKernelLog *expect)
{
	bool known = !*expect->class_;
	if (!*expect->contains && !*expect->class_)
		check_bad(check, ERR_INVALID_ARGUMENT, NULL, "which lines? give `contains`, `class` or both");
	if (strlen(expect->contains) > TEXT_MAX)
		check_bad(check, ERR_LIMIT_EXCEEDED, "contains", "at most %d bytes", TEXT_MAX);
#define X(upper, snake, what) known |= strcmp(expect->class_, #snake) == 0;
	KLOG_CLASS_LIST(X)
#undef X
#define X(upper, snake, what) ", " #snake
	/* The list begins with a comma. */
	if (!known)
		check_bad(check, ERR_NOT_FOUND, "class", "there is no class '%.40s': there are %s",
			expect->class_, &(KLOG_CLASS_LIST(X))[2]);
#undef X
}

/* At most one mistake a tag: what is read under it later does not count. */
void check_expected_tags(struct check *check, const Schedrig__V1__Assertions *a)
{
	if (!a)
		return;
	size_t top = check_enter(check, "assertions");
	for (size_t i = 0; i < a->n_expect_value && i < LIST_MAX; i++) {
		const char *tag = a->expect_value[i]->tag;
		if (!*tag || a->expect_value[i]->target || names_has_tag(&check->names, tag))
			continue;
		size_t at = check_enter(check, "expect_value[%zu]", i);
		check_bad(
			check, ERR_NOT_FOUND, "tag", "nothing is read under the tag '%.80s' up to here", tag);
		check_leave(check, at);
	}
	check_leave(check, top);
}

/* A cgroup that no definition, op or factory can have made has no workers. */
static void check_delta_cgroups(struct check *check, const Schedrig__V1__Assertions *a)
{
	size_t top = check_enter(check, "assertions");
	for (size_t i = 0; a && i < a->n_delta && i < LIST_MAX; i++) {
		const Schedrig__V1__CgroupRef *cgroup = a->delta[i]->cgroup;
		if (!cgroup || !*cgroup->name || names_find(&check->names, cgroup->name))
			continue;
		size_t at = check_enter(check, "delta[%zu]", i);
		check_bad(check, ERR_NOT_FOUND, "cgroup",
			"the scenario never makes a cgroup '%.80s': leave it out to mean all workers",
			cgroup->name);
		check_leave(check, at);
	}
	check_leave(check, top);
}

void check_asserted_names(struct check *check)
{
	const Schedrig__V1__Scenario *s = check->scenario;
	for (size_t i = 0; i < s->n_steps; i++)
		/* What those will be called is known when they are made. */
		if (s->steps[i]->factory)
			return;
	check_delta_cgroups(check, s->assertions);
	for (size_t i = 0; i < s->n_steps && i < LIMIT_STEPS; i++) {
		size_t at = check_enter(check, "steps[%zu]", i);
		check_delta_cgroups(check, s->steps[i]->assertions);
		check_leave(check, at);
	}
}

static void check_expected_value(struct check *check, const Schedrig__V1__ExpectValue *expect)
{
	if (!expect->value || expect->value->form_case == SCHEDRIG__V1__COMPARISON__FORM__NOT_SET)
		check_bad(check, ERR_INVALID_ARGUMENT, NULL,
			"compared with what? one of eq, ne, lt, le, gt, ge");
	if (expect->target && *expect->tag)
		check_bad(check, ERR_INVALID_ARGUMENT, "tag",
			"a place is given already: leave one of the two out");
	else if (!expect->target && !*expect->tag)
		check_bad(check, ERR_INVALID_ARGUMENT, NULL,
			"what value? a place in kernel memory (`path`, `symbol`, ...) or the `tag` of a "
			"read");
	else if (!expect->target && strlen(expect->tag) > LIMIT_NAME_BYTES)
		check_bad(check, ERR_LIMIT_EXCEEDED, "tag", "a tag has at most %u bytes", LIMIT_NAME_BYTES);
	if (expect->width == SCHEDRIG__V1__WIDTH__WIDTH_BYTES)
		check_bad(check, ERR_INVALID_ARGUMENT, "width", "bytes are not a number to compare");
	else if (expect->target)
		check_kernel_target(check, expect->target, expect->width);
}

void check_assertions(struct check *check, const Schedrig__V1__Assertions *a)
{
	if (!a)
		return;
	size_t top = check_enter(check, "assertions");
	if (a->max_gap && a->max_gap->ns == 0)
		check_bad(check, ERR_INVALID_ARGUMENT, "max_gap",
			"no worker can do without any gap: give a time above 0");
	if (a->max_p99_wake_latency && a->max_p99_wake_latency->ns == 0)
		check_bad(check, ERR_INVALID_ARGUMENT, "max_p99_wake_latency",
			"nobody wakes up in no time: give a time above 0");
	check_number(check, a->max_spread_pct, "max_spread_pct", 100);
	check_number(check, a->max_throughput_cv, "max_throughput_cv", INFINITY);
	check_floor(check, a->min_work_rate, "min_work_rate", INFINITY);
	check_number(check, a->max_wake_latency_cv, "max_wake_latency_cv", INFINITY);
	check_floor(check, a->min_iteration_rate, "min_iteration_rate", INFINITY);
	check_number(check, a->max_migration_ratio, "max_migration_ratio", INFINITY);
	check_floor(check, a->min_page_locality, "min_page_locality", 1);
	check_number(check, a->max_cross_node_migration_ratio, "max_cross_node_migration_ratio", INFINITY);
	check_number(check, a->max_steal_pct, "max_steal_pct", 100);
	check_list(check, a->n_delta, "delta");
	check_list(check, a->n_expect_kernel_log, "expect_kernel_log");
	check_list(check, a->n_expect_value, "expect_value");
	for (size_t i = 0; i < a->n_delta; i++) {
		size_t at = check_enter(check, "delta[%zu]", i);
		check_delta(check, a->delta[i]);
		check_leave(check, at);
	}
	for (size_t i = 0; i < a->n_expect_kernel_log; i++) {
		size_t at = check_enter(check, "expect_kernel_log[%zu]", i);
		check_kernel_log(check, a->expect_kernel_log[i]);
		check_leave(check, at);
	}
	for (size_t i = 0; i < a->n_expect_value; i++) {
		size_t at = check_enter(check, "expect_value[%zu]", i);
		check_expected_value(check, a->expect_value[i]);
		check_leave(check, at);
	}
	check_leave(check, top);
}
