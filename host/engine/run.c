/* SPDX-License-Identifier: GPL-2.0-only */
/* One run from begin to verdict: order, backdrop, teardown, result. The thread that called engine_run(). */
#include "common/clock.h"
#include "common/log.h"
#include "common/parse.h"
#include "host/engine/adopted.h"
#include "host/engine/controllers.h"
#include "host/engine/engine_internal.h"
#include "host/engine/expect.h"
#include "host/engine/gap_run.h"
#include "host/engine/verdict_kinds.h"
#include "host/engine/ops.h"
#include "host/engine/payload_end.h"
#include "host/link/link.h"
#include "proto/pb.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/random.h>

#define TEARDOWN_NS (60 * NS_PER_S)
#define BEGIN_NS (30 * NS_PER_S)

static char *copy(const char *text)
{
	return *text ? strdup(text) : (char *)protobuf_c_empty_string;
}

/* Appends to one of the result's lists, which double at powers of two. */
static bool append(void *list, size_t *n, void *item)
{
	void ***array = list;
	if ((*n & (*n - 1)) == 0) {
		void **more = reallocarray(*array, *n ? *n * 2 : 1, sizeof(*more));
		if (!more)
			return false;
		*array = more;
	}
	(*array)[(*n)++] = item;
	return true;
}

Schedrig__V1__VerdictPart *run_find(struct run *run, Schedrig__V1__VerdictKind verdict, const char *kind,
	const char *place, uint32_t phase, const char *fmt, ...)
{
	char text[1024];
	va_list args;
	assert(verdict_kind_known(kind));
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	Schedrig__V1__VerdictPart *part = malloc(sizeof(*part));
	if (!part)
		return NULL;
	schedrig__v1__verdict_part__init(part);
	part->verdict = verdict;
	part->kind = copy(kind);
	part->message = copy(text);
	part->place = copy(place);
	part->phase = phase;
	Schedrig__V1__Verdict *whole = run->result->verdict;
	if (append(&whole->parts, &whole->n_parts, part))
		return part;
	pb_free(part);
	return NULL;
}

void run_note(struct run *run, const char *text)
{
	char *note = strdup(text);
	if (note && !append(&run->result->notes, &run->result->n_notes, note))
		free(note);
}

void run_fail(struct run *run, const struct err *why, uint32_t phase)
{
	struct err err = *why;
	run->stop = true;
	engine_explain_loss(run->engine, &err);
	snprintf(err.place, sizeof(err.place), "%s", why->place);
	Schedrig__V1__VerdictPart *part = NULL;
	switch (err.code) {
	case ERR_CANCELLED:
		part = run_find(run, SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_INCONCLUSIVE, "op_error",
			err.place, phase, "the scenario was given up: %s", err.message);
		break;
	case ERR_GUEST_CRASHED:
	case ERR_GUEST_HUNG:
	case ERR_AGENT_LOST:
		part = run_find(run, SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_FAIL, "guest_crash", err.place,
			phase, "%s", err.message);
		break;
	default:
		part = run_find(run, SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_FAIL, "op_error", err.place,
			phase, "%s", err.message);
	}
	if (part)
		part->error = error_message(&err);
}

void run_keep_payload(struct run *run, Schedrig__V1__PayloadReport *report)
{
	if (!append(&run->result->payloads, &run->result->n_payloads, report))
		pb_free(report);
}

void run_take_teardown(struct run *run, Schedrig__V1__AgentResponse *response, uint32_t phase)
{
	if (!response || response->kind_case != SCHEDRIG__V1__AGENT_RESPONSE__KIND_TEARDOWN)
		return;
	Schedrig__V1__Teardown *teardown = response->teardown;
	Schedrig__V1__RunResult *result = run->result;
	const Schedrig__V1__Scenario *s = run->scenario;
	for (size_t i = 0; i < teardown->n_payloads; i++) {
		Schedrig__V1__PayloadReport *report = teardown->payloads[i];
		payload_take(
			run->engine, payload_find(s->payloads, s->n_payloads, report->name), false, report);
		engine_emit_payload(run->engine, report);
	}
	gap_run_complete(run->engine->gap_run, teardown->workers, teardown->n_workers);
	for (size_t i = 0; i < teardown->n_workers; i++)
		if (append(&result->workers, &result->n_workers, teardown->workers[i]))
			teardown->workers[i] = NULL;
	for (size_t i = 0; i < teardown->n_payloads; i++)
		if (append(&result->payloads, &result->n_payloads, teardown->payloads[i]))
			teardown->payloads[i] = NULL;
	for (size_t i = 0; i < teardown->n_errors; i++) {
		const Schedrig__V1__Error *error = teardown->errors[i];
		engine_warning(run->engine, "teardown: %s", error->message);
		run_find(run, SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_INCONCLUSIVE, "op_error", error->place,
			phase, "not everything could be cleaned up: %s", error->message);
	}
}

/* Ends the backdrop; also after a failure, as far as the guest still answers. */
static void end_scenario(struct run *run)
{
	Schedrig__V1__AgentRequest request = SCHEDRIG__V1__AGENT_REQUEST__INIT;
	Schedrig__V1__EndScenario end = SCHEDRIG__V1__END_SCENARIO__INIT;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_END_SCENARIO;
	request.end_scenario = &end;
	Schedrig__V1__AgentResponse *response = NULL;
	struct err err = ERR_INIT;
	uint32_t phase = (uint32_t)run->scenario->n_steps;
	if (engine_agent_forgot(run->engine))
		return;
	int r = agent_call(run->engine, &request, TEARDOWN_NS, &response, &err);
	run_take_teardown(run, response, phase);
	if (r < 0 && !run->stop)
		run_fail(run, &err, phase);
	else if (r < 0 && !engine_agent_forgot(run->engine))
		run_find(run, SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_INCONCLUSIVE, "op_error", "", phase,
			"the scenario could not be torn down: %s", err.message);
	pb_free(response);
}

/* Tells the agent what ops need to know; enables controllers. */
static int begin_scenario(struct run *run, struct err *err)
{
	const Schedrig__V1__Scenario *s = run->scenario;
	Schedrig__V1__AgentRequest request = SCHEDRIG__V1__AGENT_REQUEST__INIT;
	Schedrig__V1__ScenarioBegin begin = SCHEDRIG__V1__SCENARIO_BEGIN__INIT;
	_cleanup_(pb_free_p) Schedrig__V1__AgentHello *hello = link_agent_hello(run->engine->config.link);
	const char *controllers[CONTROLLERS_MAX];
	begin.n_controllers = 0;
	if (controllers_needed(s, hello, controllers, &begin.n_controllers, err) < 0)
		return err_errno(err->code);
	begin.name = (char *)run->name;
	begin.seed = run->result->seed;
	begin.workers_per_cgroup = s->workers_per_cgroup ? s->workers_per_cgroup->value : 1;
	begin.work_type_override = s->work_type_override;
	begin.strict = !s->strict || s->strict->value;
	begin.controllers = (char **)controllers;
	/* The guest knows programs by their staged names. */
	_cleanup_free_ Schedrig__V1__Payload *payloads = calloc(s->n_payloads + 1, sizeof(*payloads));
	_cleanup_free_ Schedrig__V1__Payload **list = calloc(s->n_payloads + 1, sizeof(*list));
	if (!payloads || !list)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot begin the scenario");
	for (size_t i = 0; i < s->n_payloads; i++) {
		payloads[i] = *s->payloads[i];
		payloads[i].program = (char *)staged_name(payloads[i].program);
		list[i] = &payloads[i];
	}
	begin.n_payloads = s->n_payloads;
	begin.payloads = list;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_SCENARIO_BEGIN;
	request.scenario_begin = &begin;
	Schedrig__V1__AgentResponse *response = NULL;
	int r = agent_call(run->engine, &request, BEGIN_NS, &response, err);
	pb_free(response);
	return r;
}

/* Definitions, then ops, then payloads, as one list. */
static int apply_backdrop(struct run *run, struct err *err)
{
	const Schedrig__V1__Backdrop *b = run->scenario->backdrop;
	if (!b)
		return 0;
	size_t n = b->n_cgroups + b->n_ops + b->n_payloads, at = 0;
	_cleanup_free_ struct planned_op *ops = calloc(n + 1, sizeof(*ops));
	_cleanup_free_ Schedrig__V1__Op *made = calloc(n + 1, sizeof(*made));
	_cleanup_free_ Schedrig__V1__AddCgroupDef *defs = calloc(b->n_cgroups + 1, sizeof(*defs));
	if (!ops || !made || !defs)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot set up the backdrop");
	for (size_t i = 0; i < b->n_cgroups; i++, at++) {
		schedrig__v1__op__init(&made[at]);
		schedrig__v1__add_cgroup_def__init(&defs[i]);
		defs[i].def = b->cgroups[i];
		made[at].kind_case = SCHEDRIG__V1__OP__KIND_ADD_CGROUP_DEF;
		made[at].add_cgroup_def = &defs[i];
		ops[at].op = &made[at];
		snprintf(ops[at].place, sizeof(ops[at].place), "backdrop.cgroups[%zu]", i);
	}
	for (size_t i = 0; i < b->n_ops; i++, at++) {
		ops[at].op = b->ops[i];
		snprintf(ops[at].place, sizeof(ops[at].place), "backdrop.ops[%zu]", i);
	}
	for (size_t i = 0; i < b->n_payloads; i++, at++) {
		schedrig__v1__op__init(&made[at]);
		made[at].kind_case = SCHEDRIG__V1__OP__KIND_RUN_PAYLOAD;
		made[at].run_payload = b->payloads[i];
		ops[at].op = &made[at];
		snprintf(ops[at].place, sizeof(ops[at].place), "backdrop.payloads[%zu]", i);
	}
	struct op_context context = {.engine = run->engine,
		.scope = SCHEDRIG__V1__SCOPE__SCOPE_BACKDROP,
		.wait_ns = run->budget_ns,
		.tags = &run->tags,
		.results = &run->ops,
		.definitions = run->scenario->payloads,
		.n_definitions = run->scenario->n_payloads};
	int r = ops_apply(&context, ops, n, err);
	if (r == 0 && context.stopped)
		r = err_set(err, ERR_FAILED_PRECONDITION,
			"a payload's check failed that asks to stop (see its payload_check)");
	return r;
}

static void emit_start(struct run *run)
{
	Schedrig__V1__Event event = SCHEDRIG__V1__EVENT__INIT;
	Schedrig__V1__ScenarioStart start = SCHEDRIG__V1__SCENARIO_START__INIT;
	start.name = (char *)run->name;
	start.seed = run->result->seed;
	start.budget_ns = run->budget_ns;
	start.steps = (uint32_t)run->scenario->n_steps;
	event.kind_case = SCHEDRIG__V1__EVENT__KIND_SCENARIO_START;
	event.scenario_start = &start;
	engine_emit(run->engine, &event);
}

static void emit_end(struct run *run, uint64_t iterations)
{
	Schedrig__V1__Event event = SCHEDRIG__V1__EVENT__INIT;
	Schedrig__V1__ScenarioEnd end = SCHEDRIG__V1__SCENARIO_END__INIT;
	Schedrig__V1__Verdict verdict = SCHEDRIG__V1__VERDICT__INIT;
	verdict.verdict = run->result->verdict->verdict;
	verdict.summary = run->result->verdict->summary;
	end.verdict = &verdict;
	end.total_iterations = iterations;
	event.kind_case = SCHEDRIG__V1__EVENT__KIND_SCENARIO_END;
	event.scenario_end = &end;
	engine_emit(run->engine, &event);
}

/* Everything between a valid scenario and its judgement. */
static uint64_t play(struct run *run)
{
	struct err err = ERR_INIT;
	uint64_t iterations = 0;
	engine_progress(run->engine, "setting up the backdrop");
	if (begin_scenario(run, &err) < 0) {
		run_fail(run, &err, 0);
		return 0;
	}
	/* From before the first worker. */
	run->engine->gap_run = gap_run_start(run->engine);
	gap_run_learn_clock(run->engine->gap_run);
	engine_step_begin(run->engine);
	adopted_begin(run);
	if (apply_backdrop(run, &err) < 0) {
		err_wrap(&err, "backdrop set-up failed");
		run_fail(run, &err, 0);
	} else {
		engine_clock_start(run->engine);
		emit_start(run);
		for (size_t i = 0; i < run->scenario->n_steps && !run->stop; i++)
			run_step(run, i);
		expect_scenario(run);
	}
	/* Whatever happened: the backdrop goes. Its reports count. */
	if (!engine_agent_forgot(run->engine))
		iterations = agent_totals(run->engine).iterations;
	end_scenario(run);
	adopted_end(run);
	gap_run_stop(TAKE_PTR(run->engine->gap_run));
	return iterations;
}

static int result_init(struct run *run, struct err *err)
{
	const struct engine_config *config = &run->engine->config;
	Schedrig__V1__RunResult *result = malloc(sizeof(*result));
	Schedrig__V1__Verdict *verdict = malloc(sizeof(*verdict));
	if (!result || !verdict) {
		free(result);
		free(verdict);
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot begin the scenario");
	}
	schedrig__v1__run_result__init(result);
	schedrig__v1__verdict__init(verdict);
	result->verdict = verdict;
	result->scenario = copy(run->name);
	result->topology = copy(config->topology ? config->topology : "");
	result->build = copy(config->build ? config->build : "");
	Schedrig__V1__AgentHello *hello = link_agent_hello(config->link);
	result->kernel = copy(hello ? hello->kernel : "");
	pb_free(hello);
	run->result = result;
	if (!result->scenario || !result->topology || !result->build || !result->kernel) {
		pb_free(result);
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot begin the scenario");
	}
	Schedrig__V1__AgentReady *ready = link_agent_ready(config->link);
	for (size_t i = 0; ready && i < ready->n_notes; i++)
		run_note(run, ready->notes[i]);
	pb_free(ready);
	if (run->scenario->seed)
		result->seed = run->scenario->seed->value;
	else if (getrandom(&result->seed, sizeof(result->seed), 0) != sizeof(result->seed))
		result->seed = clock_now_ns();
	return 0;
}

/* The first run's record is the controller's own; later ones get a directory below it. */
static struct record *open_record(struct run *run, unsigned number, struct err *err)
{
	const char *directory = run->engine->config.run_dir;
	if (!directory || number == 1)
		return run->engine->record;
	char path[4096];
	snprintf(path, sizeof(path), "%s/run-%u", directory, number);
	return record_open(path, err);
}

static void switch_record(struct engine *engine, struct record *record)
{
	SCOPE_LOCK(&engine->event_lock);
	engine->run_record = record;
}

static void write_results(struct run *run, struct record *record)
{
	struct err err = ERR_INIT;
	record_sync(record);
	if (record_message(record, "scenario.json", &run->scenario->base, &err) < 0 ||
		record_message(record, "run.json", &run->result->base, &err) < 0)
		log_error("%s", err.message);
}

static int validate(struct run *run, char **ret_skip, struct err *err)
{
	const struct engine_config *config = &run->engine->config;
	_cleanup_(pb_free_p) Schedrig__V1__ValidateResponse *response = NULL;
	_cleanup_free_ char **staged = engine_staged(run->engine);
	if (engine_validate(run->scenario, config->layout, (const char *const *)staged, &response, err) < 0)
		return err_errno(err->code);
	if (response->n_errors) {
		const Schedrig__V1__Error *first = response->errors[0];
		err_set(err, ERR_INVALID_ARGUMENT, "%s", first->message);
		return err_at(err, "%s", first->place);
	}
	for (size_t i = 0; i < response->n_warnings; i++)
		run_note(run, response->warnings[i]->message);
	*ret_skip = *response->skip_reason ? strdup(response->skip_reason) : NULL;
	return 0;
}

static int begin(struct engine *engine, const char *name, unsigned *ret_number, struct err *err)
{
	SCOPE_LOCK(&engine->lock);
	if (engine->running)
		return err_set(err, ERR_BUSY, "scenario '%.80s' is running", engine->name);
	engine->running = true;
	engine->cancelled = false;
	engine->link_lost.code = ERR_NONE;
	snprintf(engine->name, sizeof(engine->name), "%s", name);
	*ret_number = ++engine->runs;
	return 0;
}

static void end(struct engine *engine)
{
	SCOPE_LOCK(&engine->lock);
	engine->running = false;
}

int engine_run(struct engine *engine, const Schedrig__V1__Scenario *scenario,
	Schedrig__V1__RunResult **ret_result, struct err *err)
{
	struct run run = {.engine = engine,
		.scenario = scenario,
		.name = *scenario->name ? scenario->name : "scenario",
		.budget_ns = hold_budget_ns(scenario)};
	unsigned number = 0;
	if (result_init(&run, err) < 0)
		return err_errno(err->code);
	_cleanup_free_ char *skip = NULL;
	if (validate(&run, &skip, err) < 0 || begin(engine, run.name, &number, err) < 0) {
		pb_free(run.result);
		return err_errno(err->code);
	}
	struct record *record = open_record(&run, number, err);
	if (!record && engine->config.run_dir) {
		end(engine);
		pb_free(run.result);
		return err_errno(err->code);
	}
	switch_record(engine, record);
	uint64_t begin_ns = clock_now_ns(), iterations = 0;
	uint64_t frozen = engine_frozen_ns(engine);
	uint64_t freezes = engine_freezes(engine);
	if (skip)
		run_find(
			&run, SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_SKIP, "needs", "needs", 0, "%s", skip);
	else if (expect_begin(&run, err) == 0)
		iterations = play(&run);
	else
		run_fail(&run, err, 0);
	Schedrig__V1__RunResult *result = run.result;
	result->ops = run.ops.result;
	result->n_ops = run.ops.n;
	result->total_ns = clock_now_ns() - begin_ns;
	result->frozen_ns = engine_frozen_ns(engine) - frozen;
	result->freezes = (uint32_t)(engine_freezes(engine) - freezes);
	if (record)
		result->run_dir = copy(record_directory(record));
	run_judge(&run);
	emit_end(&run, iterations);
	engine_clock_stop(engine);
	switch_record(engine, NULL);
	if (record)
		write_results(&run, record);
	if (record != engine->record)
		record_close(record);
	read_tags_free(&run.tags);
	end(engine);
	*ret_result = result;
	return 0;
}
