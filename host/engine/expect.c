/* SPDX-License-Identifier: GPL-2.0-only */
/* Expectations (see expect.h). */
#include "host/engine/expect.h"

#include "common/clock.h"
#include "host/link/link.h"
#include "proto/pb.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define FAIL SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_FAIL
#define PASS SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_PASS
#define INCONCLUSIVE SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_INCONCLUSIVE

/* The log comes by another way than the answers to ops: what an op caused may be behind it. Who waits this
 * long has a line that does not come, and fails; on a slow host it is as much longer. */
#define LOG_WAIT_NS (10 * NS_PER_S)

struct log_watch {
	const Schedrig__V1__ExpectKernelLog *expect;
	char place[160];
	uint32_t phase; /* 0: any */
	bool due;       /* its step was reached, or the scenario's end */
	size_t hits;
	char first[200];
};

static size_t count_watches(const Schedrig__V1__Scenario *s)
{
	size_t n = s->assertions ? s->assertions->n_expect_kernel_log : 0;
	for (size_t i = 0; i < s->n_steps; i++)
		n += s->steps[i]->assertions ? s->steps[i]->assertions->n_expect_kernel_log : 0;
	return n;
}

static size_t add_watches(
	struct log_watch *watch, const Schedrig__V1__Assertions *a, const char *place, uint32_t phase)
{
	size_t n = a ? a->n_expect_kernel_log : 0;
	for (size_t i = 0; i < n; i++) {
		watch[i].expect = a->expect_kernel_log[i];
		watch[i].phase = phase;
		snprintf(watch[i].place, sizeof(watch[i].place), "%s.expect_kernel_log[%zu]", place, i);
	}
	return n;
}

int expect_begin(struct run *run, struct err *err)
{
	const Schedrig__V1__Scenario *s = run->scenario;
	size_t n = count_watches(s), at = 0;
	if (!n)
		return 0;
	struct log_watch *watches = calloc(n, sizeof(*watches));
	if (!watches)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot watch the kernel log");
	at += add_watches(watches, s->assertions, "assertions", 0);
	for (size_t i = 0; i < s->n_steps; i++) {
		char place[48];
		snprintf(place, sizeof(place), "steps[%zu].assertions", i);
		at += add_watches(watches + at, s->steps[i]->assertions, place, (uint32_t)i + 1);
	}
	SCOPE_LOCK(&run->engine->event_lock);
	run->engine->watches = watches;
	run->engine->n_watches = n;
	return 0;
}

static bool fits(const Schedrig__V1__ExpectKernelLog *expect, const Schedrig__V1__LogLine *line)
{
	if (*expect->class_ && strcmp(expect->class_, line->class_) != 0)
		return false;
	return !*expect->contains || strstr(line->text, expect->contains);
}

void expect_log(struct engine *engine, const Schedrig__V1__LogLine *line, uint32_t phase)
{
	for (size_t i = 0; i < engine->n_watches; i++) {
		struct log_watch *watch = &engine->watches[i];
		if ((watch->phase && watch->phase != phase) || !fits(watch->expect, line))
			continue;
		if (watch->hits++ == 0)
			snprintf(watch->first, sizeof(watch->first), "%s", line->text);
		pthread_cond_broadcast(&engine->logged);
	}
}

static bool all_came(const struct engine *engine, uint32_t phase)
{
	for (size_t i = 0; i < engine->n_watches; i++) {
		const struct log_watch *watch = &engine->watches[i];
		if (watch->phase == phase && !watch->expect->never && !watch->hits)
			return false;
	}
	return true;
}

static void wait_for_lines(struct run *run, uint32_t phase)
{
	struct engine *engine = run->engine;
	unsigned percent = engine->config.link ? link_speed_percent(engine->config.link) : 100;
	struct timespec until = clock_timespec(clock_deadline_ns(LOG_WAIT_NS * 100 / MAX_OF(percent, 1u)));
	bool patient = !run->stop && !engine_interrupted(engine);
	SCOPE_LOCK(&engine->event_lock);
	for (size_t i = 0; i < engine->n_watches; i++)
		engine->watches[i].due |= engine->watches[i].phase == phase;
	while (patient && !all_came(engine, phase))
		if (pthread_cond_timedwait(&engine->logged, &engine->event_lock, &until) == ETIMEDOUT)
			break;
}

static const char *quoted(const Schedrig__V1__ExpectKernelLog *expect, char *buffer, size_t size)
{
	if (*expect->class_ && *expect->contains)
		snprintf(buffer, size, "line of class %.40s with '%.150s'", expect->class_, expect->contains);
	else if (*expect->class_)
		snprintf(buffer, size, "line of class %.40s", expect->class_);
	else
		snprintf(buffer, size, "line with '%.150s'", expect->contains);
	return buffer;
}

static void judge_watch(struct run *run, const struct log_watch *watch)
{
	char what[260];
	quoted(watch->expect, what, sizeof(what));
	const char *where = watch->phase ? " in this step" : "";
	if (watch->hits && !watch->expect->never)
		run_find(run, PASS, "expectation", watch->place, watch->phase,
			"the kernel's log had a %s: %s", what, watch->first);
	else if (watch->hits)
		run_find(run, FAIL, "expectation", watch->place, watch->phase,
			"the kernel's log must not have a %s%s, and had %zu, the first: %s", what, where,
			watch->hits, watch->first);
	else if (!watch->due)
		run_find(run, INCONCLUSIVE, "expectation", watch->place, watch->phase,
			"the scenario ended before this was due");
	else if (watch->expect->never)
		run_find(run, PASS, "expectation", watch->place, watch->phase, "the kernel's log had no %s%s",
			what, where);
	else
		run_find(run, FAIL, "expectation", watch->place, watch->phase, "the kernel's log had no %s%s",
			what, where);
}

void expect_end(struct run *run)
{
	pthread_mutex_lock(&run->engine->event_lock);
	struct log_watch *watches = run->engine->watches;
	size_t n = run->engine->n_watches;
	run->engine->watches = NULL;
	run->engine->n_watches = 0;
	pthread_mutex_unlock(&run->engine->event_lock);
	for (size_t i = 0; i < n; i++)
		judge_watch(run, &watches[i]);
	free(watches);
}

/* ---- values */

static const struct {
	const char *word;
	bool less, equal, greater; /* what is true of the value then */
} comparisons[] = {
	[SCHEDRIG__V1__COMPARISON__FORM_EQ] = {"==", false, true, false},
	[SCHEDRIG__V1__COMPARISON__FORM_NE] = {"!=", true, false, true},
	[SCHEDRIG__V1__COMPARISON__FORM_LT] = {"<", true, false, false},
	[SCHEDRIG__V1__COMPARISON__FORM_LE] = {"<=", true, true, false},
	[SCHEDRIG__V1__COMPARISON__FORM_GT] = {">", false, false, true},
	[SCHEDRIG__V1__COMPARISON__FORM_GE] = {">=", false, true, true},
};

static bool holds(__int128 have, const Schedrig__V1__Comparison *compare)
{
	__int128 want = compare->eq->value; /* members of a oneof share their place */
	return have < want    ? comparisons[compare->form_case].less
	       : have == want ? comparisons[compare->form_case].equal
			      : comparisons[compare->form_case].greater;
}

static __int128 number_of(const Schedrig__V1__ReadValue *value)
{
	if (!value->is_signed || value->bits == 0 || value->bits > 64)
		return value->value;
	uint64_t sign = UINT64_C(1) << (value->bits - 1);
	return (__int128)(int64_t)((value->value ^ sign) - sign);
}

struct expected {
	struct run *run;
	const Schedrig__V1__ExpectValue *expect;
	char place[160], what[300];
	uint32_t phase;
};

static void name_it(struct expected *e)
{
	const Schedrig__V1__Target *t = e->expect->target;
	if (!t)
		snprintf(e->what, sizeof(e->what), "what was read under tag '%.100s'", e->expect->tag);
	else if (t->form_case == SCHEDRIG__V1__TARGET__FORM_PATH)
		snprintf(e->what, sizeof(e->what), "%.250s", t->path->text);
	else if (t->form_case == SCHEDRIG__V1__TARGET__FORM_SYMBOL)
		snprintf(e->what, sizeof(e->what), "%.250s", t->symbol->name);
	else
		snprintf(e->what, sizeof(e->what), "the value");
}

static void found(struct expected *e, __int128 have, const char *where)
{
	bool good = holds(have, e->expect->value);
	char number[48];
	/* Anything a kernel has fits either 64-bit form. */
	if (have < 0)
		snprintf(number, sizeof(number), "%" PRId64, (int64_t)have);
	else
		snprintf(number, sizeof(number), "%" PRIu64, (uint64_t)have);
	Schedrig__V1__VerdictPart *part = run_find(e->run, good ? PASS : FAIL, "expectation", e->place,
		e->phase, "%s%s is %s, %s %s %" PRId64, e->what, where, number,
		good ? "which is" : "and should be", comparisons[e->expect->value->form_case].word,
		e->expect->value->eq->value);
	if (!part)
		return;
	part->value = (double)have;
	part->threshold = (double)e->expect->value->eq->value;
	part->has_numbers = true;
}

static void check_tag(struct expected *e)
{
	struct read_tag *tag = NULL;
	HASH_FIND_STR(e->run->tags, e->expect->tag, tag);
	if (tag)
		found(e, tag->value, "");
	else
		run_find(e->run, INCONCLUSIVE, "expectation", e->place, e->phase,
			"nothing was read under tag '%s'", e->expect->tag);
}

/* A guest that is gone or does not answer says nothing; a place that is not there is an answer. */
static bool is_lost(const struct err *err)
{
	switch (err->code) {
	case ERR_GUEST_CRASHED:
	case ERR_GUEST_HUNG:
	case ERR_AGENT_LOST:
	case ERR_TIMEOUT:
	case ERR_CANCELLED:
	case ERR_HOST:
		return true;
	default:
		return false;
	}
}

static void check_target(struct expected *e)
{
	Schedrig__V1__KernelRead read = SCHEDRIG__V1__KERNEL_READ__INIT, *list[] = {&read};
	Schedrig__V1__ReadRequest request = SCHEDRIG__V1__READ_REQUEST__INIT;
	_cleanup_(pb_free_p) Schedrig__V1__ReadResponse *response = NULL;
	struct err err = ERR_INIT;
	read.target = e->expect->target;
	read.width = e->expect->width;
	request.n_reads = 1;
	request.reads = list;
	if (engine_read(e->run->engine, &request, NULL, &response, &err) < 0) {
		run_find(e->run, is_lost(&err) ? INCONCLUSIVE : FAIL, "expectation", e->place, e->phase,
			"%s could not be read: %s", e->what, err.message);
		return;
	}
	/* Of every CPU: one that is not as expected is enough, and names itself. */
	const Schedrig__V1__ReadValue *pick = response->n_values ? response->values[0] : NULL;
	for (size_t i = 0; i < response->n_values; i++) {
		if (holds(number_of(response->values[i]), e->expect->value))
			continue;
		pick = response->values[i];
		break;
	}
	char where[32] = "";
	if (!pick) {
		run_find(e->run, INCONCLUSIVE, "expectation", e->place, e->phase, "%s had no value", e->what);
		return;
	}
	if (pick->every_cpu)
		snprintf(where, sizeof(where), " on CPU %u", pick->cpu);
	found(e, number_of(pick), where);
}

static void check_values(
	struct run *run, const Schedrig__V1__Assertions *a, const char *place, uint32_t phase)
{
	for (size_t i = 0; a && i < a->n_expect_value; i++) {
		struct expected e = {.run = run, .expect = a->expect_value[i], .phase = phase};
		snprintf(e.place, sizeof(e.place), "%.48s.expect_value[%zu]", place, i);
		name_it(&e);
		int why = engine_interrupted(run->engine);
		if (why)
			run_find(run, INCONCLUSIVE, "expectation", e.place, phase,
				"the scenario ended before this was due");
		else if (e.expect->target)
			check_target(&e);
		else
			check_tag(&e);
	}
}

void expect_step(struct run *run, size_t index)
{
	const Schedrig__V1__Assertions *a = run->scenario->steps[index]->assertions;
	char place[48];
	if (!a)
		return;
	snprintf(place, sizeof(place), "steps[%zu].assertions", index);
	wait_for_lines(run, (uint32_t)index + 1);
	check_values(run, a, place, (uint32_t)index + 1);
}

void expect_scenario(struct run *run)
{
	if (!run->scenario->assertions)
		return;
	wait_for_lines(run, 0);
	check_values(run, run->scenario->assertions, "assertions", 0);
}
