/* SPDX-License-Identifier: GPL-2.0-only */
/* Fake engine (see engine.h). Everything is under `lock`; events are made by the thread that calls. */
#include "tests/fake/engine.h"

#include "common/clock.h"
#include "proto/pb.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct engine {
	struct engine_config config;
	pthread_mutex_t lock, event_lock;
	pthread_cond_t changed;
	bool released, scenario;
	unsigned busy, runs, early_cancels;
	uint64_t seq; /* under event_lock */
	char cancelled[200];
	bool answered; /* a set-up came */
	char said[300];
};

struct engine *engine_new(const struct engine_config *config, struct err *err)
{
	struct engine *engine = calloc(1, sizeof(*engine));
	engine->config = *config;
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&engine->changed, &attr);
	pthread_mutex_init(&engine->lock, NULL);
	pthread_mutex_init(&engine->event_lock, NULL);
	return engine;
}

struct vm *engine_vm(const struct engine *engine)
{
	return engine->config.vm;
}

void fake_engine_set_vm(struct engine *engine, struct vm *vm)
{
	engine->config.vm = vm;
}

void engine_free(struct engine *engine)
{
	free(engine);
}

void engine_emit(struct engine *engine, Schedrig__V1__Event *event)
{
	SCOPE_LOCK(&engine->event_lock);
	event->seq = ++engine->seq;
	event->time_ns = clock_now_ns();
	engine->config.event(event, engine->config.arg);
}

static char *copy(const char *text)
{
	return strdup(text ? text : "");
}

int engine_validate(const Schedrig__V1__Scenario *scenario, const struct cpu_layout *layout,
	const char *const *staged, Schedrig__V1__ValidateResponse **ret, struct err *err)
{
	Schedrig__V1__ValidateResponse *response = calloc(1, sizeof(*response));
	schedrig__v1__validate_response__init(response);
	if (strcmp(scenario->name, "invalid") == 0) {
		response->errors = calloc(2, sizeof(*response->errors));
		for (unsigned i = 0; i < 2; i++) {
			Schedrig__V1__Error *e = response->errors[response->n_errors++] =
				calloc(1, sizeof(*e));
			schedrig__v1__error__init(e);
			e->code = SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_NOT_FOUND;
			e->message = copy(i ? "second mistake" : "first mistake");
			e->place = copy(i ? "steps[0].hold" : "steps[0].ops[0]");
		}
	}
	*ret = response;
	return 0;
}

/* Under lock: until released, or the scenario is cancelled. */
static void wait_released(struct engine *engine, bool scenario)
{
	while (!engine->released && !(scenario && engine->cancelled[0]))
		pthread_cond_wait(&engine->changed, &engine->lock);
}

static void set_busy(struct engine *engine, int by, bool scenario)
{
	SCOPE_LOCK(&engine->lock);
	engine->busy += (unsigned)by;
	if (scenario) {
		engine->scenario = by > 0;
		engine->runs += by > 0;
		if (by > 0)
			engine->cancelled[0] = '\0';
	}
	pthread_cond_broadcast(&engine->changed);
}

static void emit_progress(struct engine *engine, unsigned n)
{
	char text[1024];
	memset(text, 'p', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	Schedrig__V1__LogLine line = SCHEDRIG__V1__LOG_LINE__INIT;
	line.text = text;
	for (unsigned i = 0; i < n; i++) {
		Schedrig__V1__Event event = SCHEDRIG__V1__EVENT__INIT;
		event.kind_case = SCHEDRIG__V1__EVENT__KIND_PROGRESS;
		event.progress = &line;
		engine_emit(engine, &event);
	}
}

/* What is to be set up; what the client said of it becomes the result's summary. */
static void ask(struct engine *engine)
{
	Schedrig__V1__Event event = SCHEDRIG__V1__EVENT__INIT;
	Schedrig__V1__FactoryAsk ask = SCHEDRIG__V1__FACTORY_ASK__INIT;
	ask.ask = 41;
	ask.factory = (char *)"mine";
	event.kind_case = SCHEDRIG__V1__EVENT__KIND_FACTORY_ASK;
	event.factory_ask = &ask;
	engine_emit(engine, &event);
	SCOPE_LOCK(&engine->lock);
	while (!engine->answered && !engine->released && !engine->cancelled[0])
		pthread_cond_wait(&engine->changed, &engine->lock);
}

int engine_factory_answer(struct engine *engine, Schedrig__V1__FactoryAnswer *answer, struct err *err)
{
	SCOPE_LOCK(&engine->lock);
	if (answer->ask != 41)
		return err_set(err, ERR_NOT_FOUND, "nobody waits");
	engine->answered = true;
	snprintf(engine->said, sizeof(engine->said), "%s",
		answer->n_cgroups ? answer->cgroups[0]->name : answer->refused);
	pb_free(answer);
	pthread_cond_broadcast(&engine->changed);
	return 0;
}

int engine_run(struct engine *engine, const Schedrig__V1__Scenario *scenario,
	Schedrig__V1__RunResult **ret_result, struct err *err)
{
	unsigned n = 0;
	if (strcmp(scenario->name, "broken") == 0)
		return err_set(err, ERR_INTERNAL, "the engine is broken");
	bool late = strcmp(scenario->name, "late") == 0;
	if (late) {
		SCOPE_LOCK(&engine->lock);
		while (!engine->released && !engine->early_cancels)
			pthread_cond_wait(&engine->changed, &engine->lock);
	}
	set_busy(engine, 1, true);
	if (late) {
		emit_progress(engine, 1);
		SCOPE_LOCK(&engine->lock);
		wait_released(engine, true);
	}
	Schedrig__V1__Event event = SCHEDRIG__V1__EVENT__INIT;
	Schedrig__V1__ScenarioStart start = SCHEDRIG__V1__SCENARIO_START__INIT;
	start.name = scenario->name;
	event.kind_case = SCHEDRIG__V1__EVENT__KIND_SCENARIO_START;
	event.scenario_start = &start;
	engine_emit(engine, &event);
	/* Bounds for the fuzzer's sake. */
	if (sscanf(scenario->name, "events %u", &n) == 1)
		emit_progress(engine, MIN_OF(n, 50000u));
	if (strcmp(scenario->name, "ask") == 0)
		ask(engine);
	if (strcmp(scenario->name, "block") == 0) {
		SCOPE_LOCK(&engine->lock);
		wait_released(engine, true);
	}
	Schedrig__V1__ScenarioEnd end = SCHEDRIG__V1__SCENARIO_END__INIT;
	event.kind_case = SCHEDRIG__V1__EVENT__KIND_SCENARIO_END;
	event.scenario_end = &end;
	engine_emit(engine, &event);
	Schedrig__V1__RunResult *result = calloc(1, sizeof(*result));
	schedrig__v1__run_result__init(result);
	result->scenario = copy(scenario->name);
	result->verdict = calloc(1, sizeof(*result->verdict));
	schedrig__v1__verdict__init(result->verdict);
	pthread_mutex_lock(&engine->lock);
	bool cancelled = engine->cancelled[0];
	result->verdict->verdict = cancelled ? SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_INCONCLUSIVE
					     : SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_PASS;
	result->verdict->summary = copy(cancelled ? engine->cancelled : engine->said);
	pthread_mutex_unlock(&engine->lock);
	if (sscanf(scenario->name, "big %u", &n) == 1) {
		n = MIN_OF(n, 8u << 20);
		result->notes = calloc(1, sizeof(*result->notes));
		result->notes[result->n_notes++] = malloc(n + 1);
		memset(result->notes[0], 'n', n);
		result->notes[0][n] = '\0';
	}
	*ret_result = result;
	set_busy(engine, -1, true);
	return 0;
}

void engine_cancel(struct engine *engine, const char *why)
{
	SCOPE_LOCK(&engine->lock);
	/* As the real one: what does not run yet cannot be cancelled. */
	if (engine->scenario)
		snprintf(engine->cancelled, sizeof(engine->cancelled), "%s", why);
	else
		engine->early_cancels++;
	pthread_cond_broadcast(&engine->changed);
}

bool engine_apply_needs_guest(const Schedrig__V1__ApplyRequest *request)
{
	for (size_t i = 0; i < request->n_ops; i++)
		if (request->ops[i]->kind_case == SCHEDRIG__V1__OP__KIND_ADD_CGROUP)
			return true;
	return false;
}

bool engine_apply_is_cold(const Schedrig__V1__ApplyRequest *request)
{
	for (size_t i = 0; i < request->n_ops; i++)
		if (request->ops[i]->kind_case == SCHEDRIG__V1__OP__KIND_READ_KERNEL_COLD ||
			request->ops[i]->kind_case == SCHEDRIG__V1__OP__KIND_CAPTURE_SNAPSHOT)
			return true;
	return false;
}

static bool wait_wanted_back(struct engine *engine, const struct engine_held *held)
{
	uint64_t until = clock_deadline_ns(20 * NS_PER_S);
	for (;;) {
		if (atomic_load(held->wanted_back))
			return true;
		pthread_mutex_lock(&engine->lock);
		bool released = engine->released;
		pthread_mutex_unlock(&engine->lock);
		if (released || !clock_left_ns(until))
			return false;
		nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
	}
}

int engine_apply(struct engine *engine, const Schedrig__V1__ApplyRequest *request,
	const struct engine_held *held, Schedrig__V1__ApplyResponse **ret, struct err *err)
{
	int r = 0;
	set_busy(engine, 1, false);
	Schedrig__V1__ApplyResponse *response = calloc(1, sizeof(*response));
	schedrig__v1__apply_response__init(response);
	response->results = calloc(request->n_ops + 1, sizeof(*response->results));
	for (size_t i = 0; i < request->n_ops && r == 0; i++) {
		const Schedrig__V1__Op *op = request->ops[i];
		const char *name =
			op->kind_case == SCHEDRIG__V1__OP__KIND_ADD_CGROUP ? op->add_cgroup->name : "";
		Schedrig__V1__OpResult *result = response->results[response->n_results++] =
			calloc(1, sizeof(*result));
		schedrig__v1__op_result__init(result);
		if (op->kind_case == SCHEDRIG__V1__OP__KIND_READ_KERNEL_COLD)
			name = held ? "held" : "own";
		if (op->kind_case == SCHEDRIG__V1__OP__KIND_CAPTURE_SNAPSHOT)
			name = !held ? "own" : wait_wanted_back(engine, held) ? "wanted-back" : "released";
		result->kind = copy(name);
		if (strcmp(name, "slow") == 0) {
			SCOPE_LOCK(&engine->lock);
			wait_released(engine, false);
		}
		if (strcmp(name, "fail") == 0) {
			r = err_set(err, ERR_NOT_FOUND, "it had to fail");
			err_at(err, "ops[%zu]", i);
		}
	}
	*ret = response;
	set_busy(engine, -1, false);
	return r;
}

int engine_end_adhoc(struct engine *engine, struct err *err)
{
	return 0;
}

static bool wait_busy(struct engine *engine, bool busy)
{
	struct timespec until = clock_timespec(clock_deadline_ns(100 * NS_PER_S));
	SCOPE_LOCK(&engine->lock);
	while ((engine->busy > 0) != busy)
		if (pthread_cond_timedwait(&engine->changed, &engine->lock, &until) == ETIMEDOUT)
			return false;
	return true;
}

bool fake_engine_wait_busy(struct engine *engine)
{
	return wait_busy(engine, true);
}

bool fake_engine_wait_idle(struct engine *engine)
{
	return wait_busy(engine, false);
}

void fake_engine_release(struct engine *engine)
{
	SCOPE_LOCK(&engine->lock);
	engine->released = true;
	pthread_cond_broadcast(&engine->changed);
}

const char *fake_engine_cancelled(struct engine *engine)
{
	return engine->cancelled;
}

unsigned fake_engine_runs(struct engine *engine)
{
	SCOPE_LOCK(&engine->lock);
	return engine->runs;
}

/* Kernel memory: nothing is in it, but symbols, which are all that is asked for and "none" is not. */

#define FAKE_QUERY_LIST(X)                                                                                   \
	X(resolve, ResolveRequest, ResolveResponse, resolve_response)                                        \
	X(types, TypesRequest, TypesResponse, types_response)                                                \
	X(set_cgroup_knobs, SetCgroupKnobsRequest, SetCgroupKnobsResponse, set_cgroup_knobs_response)        \
	X(pull, PullRequest, PullResponse, pull_response)                                                    \
	X(list_staged, ListStagedRequest, ListStagedResponse, list_staged_response)
#define X(name, request_type, type, lower)                                                                   \
	int engine_##name(struct engine *engine, const Schedrig__V1__##request_type *request,                \
		Schedrig__V1__##type **ret, struct err *err)                                                 \
	{                                                                                                    \
		*ret = malloc(sizeof(**ret));                                                                \
		schedrig__v1__##lower##__init(*ret);                                                         \
		return 0;                                                                                    \
	}
FAKE_QUERY_LIST(X)
#undef X

/* Two of them, in a cgroup of a long name. */
int engine_workers(struct engine *engine, const Schedrig__V1__WorkersRequest *request,
	Schedrig__V1__WorkerTotals **ret, struct err *err)
{
	Schedrig__V1__WorkerTotals *totals = *ret = malloc(sizeof(*totals));
	schedrig__v1__worker_totals__init(totals);
	totals->workers = 2;
	totals->each = calloc(2, sizeof(*totals->each));
	for (; totals->n_each < 2; totals->n_each++) {
		Schedrig__V1__WorkerSample *one = totals->each[totals->n_each] = malloc(sizeof(*one));
		schedrig__v1__worker_sample__init(one);
		one->tid = 100 + (int32_t)totals->n_each;
		one->cgroup = copy("web/of/some/depth");
	}
	return 0;
}

struct engine_prepared {
	uint64_t first, n; /* handles */
};

struct engine_prepared *engine_prepared_new(struct engine *engine)
{
	static atomic_uint tag;
	struct engine_prepared *prepared = calloc(1, sizeof(*prepared));
	prepared->first = (uint64_t)++tag << 32;
	return prepared;
}

void engine_prepared_free(struct engine_prepared *prepared)
{
	free(prepared);
}

/* One handle for each entry. */
int engine_prepare(struct engine_prepared *prepared, const Schedrig__V1__PrepareRequest *request,
	Schedrig__V1__PrepareResponse **ret, struct err *err)
{
	Schedrig__V1__PrepareResponse *response = *ret = malloc(sizeof(*response));
	schedrig__v1__prepare_response__init(response);
	response->reads = calloc(request->n_reads, sizeof(*response->reads));
	for (; response->n_reads < request->n_reads; response->n_reads++) {
		Schedrig__V1__PreparedRead *read = malloc(sizeof(*read));
		schedrig__v1__prepared_read__init(read);
		read->handle = prepared->first + prepared->n++;
		response->reads[response->n_reads] = read;
	}
	return 0;
}

/* A value is its handle's number; NotFound for all if one is not this client's. */
int engine_read_prepared(struct engine_prepared *prepared, const Schedrig__V1__ReadPreparedRequest *request,
	const struct freeze *held, Schedrig__V1__ReadPreparedResponse **ret, struct err *err)
{
	for (size_t i = 0; i < request->n_handles; i++)
		if (request->handles[i] < prepared->first ||
			request->handles[i] >= prepared->first + prepared->n)
			return err_set(err, ERR_NOT_FOUND, "not this client's");
	Schedrig__V1__ReadPreparedResponse *response = *ret = malloc(sizeof(*response));
	schedrig__v1__read_prepared_response__init(response);
	response->values = calloc(request->n_handles, sizeof(*response->values));
	for (; response->n_values < request->n_handles; response->n_values++)
		response->values[response->n_values] = request->handles[response->n_values] - prepared->first;
	return 0;
}

int engine_push(struct engine *engine, const Schedrig__V1__PushRequest *request, struct err *err)
{
	return 0;
}

char **engine_staged(struct engine *engine)
{
	return NULL;
}

/* One cold read in the freeze of the caller's: whether it was given one is the value. */
static int touch(bool cold, const struct freeze *held, Schedrig__V1__ReadResponse **ret)
{
	Schedrig__V1__ReadResponse *response = *ret = malloc(sizeof(*response));
	schedrig__v1__read_response__init(response);
	if (!cold)
		return 0;
	response->values = malloc(sizeof(*response->values));
	response->values[response->n_values++] = malloc(sizeof(**response->values));
	schedrig__v1__read_value__init(response->values[0]);
	response->values[0]->value = held != NULL;
	return 0;
}

int engine_read(struct engine *engine, const Schedrig__V1__ReadRequest *request, const struct freeze *held,
	Schedrig__V1__ReadResponse **ret, struct err *err)
{
	return touch(request->cold, held, ret);
}

int engine_bases(struct engine *engine, const Schedrig__V1__BasesRequest *request, const struct freeze *held,
	Schedrig__V1__KernelBases **ret, struct err *err)
{
	*ret = malloc(sizeof(**ret));
	schedrig__v1__kernel_bases__init(*ret);
	return 0;
}

int engine_write(struct engine *engine, const Schedrig__V1__WriteRequest *request, const struct freeze *held,
	Schedrig__V1__ReadResponse **ret, struct err *err)
{
	return touch(request->cold, held, ret);
}

void engine_account_freeze(struct engine *engine, const struct freeze_times *times)
{
}

int engine_symbols(struct engine *engine, const Schedrig__V1__SymbolsRequest *request,
	Schedrig__V1__SymbolsResponse **ret, struct err *err)
{
	if (strcmp(request->pattern, "none") == 0)
		return err_set(err, ERR_NOT_FOUND, "the kernel has no symbol 'none'");
	Schedrig__V1__SymbolsResponse *response = *ret = malloc(sizeof(*response));
	schedrig__v1__symbols_response__init(response);
	response->symbols = malloc(sizeof(*response->symbols));
	response->symbols[response->n_symbols++] = malloc(sizeof(**response->symbols));
	schedrig__v1__kernel_symbol__init(response->symbols[0]);
	response->symbols[0]->name = copy(request->pattern);
	return 0;
}
