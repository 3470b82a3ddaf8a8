/* SPDX-License-Identifier: GPL-2.0-only */
/* What each request does. Those of the list with LOOP run on the loop and answer at once; those with WORKER
 * run on a thread of their own and leave a packed answer. */
#include "host/control/internal.h"

#include "common/arena.h"
#include "host/engine/engine.h"
#include "proto/pb.h"
#include "proto/wire_err.h"

#include <utlist.h>

#define INFO_ARENA_BYTES (4u * 1024 * 1024)

static void answer_ok(struct request *request)
{
	Schedrig__V1__Empty empty = SCHEDRIG__V1__EMPTY__INIT;
	Schedrig__V1__Response response = SCHEDRIG__V1__RESPONSE__INIT;
	response.kind_case = SCHEDRIG__V1__RESPONSE__KIND_OK;
	response.ok = &empty;
	request_pack(request, NULL, &response);
	request_answer(request);
}

void request_run_info(struct request *request)
{
	struct control *control = request->control;
	struct err err = ERR_INIT;
	_cleanup_(arena_free_p) struct arena *arena = arena_new(INFO_ARENA_BYTES);
	if (!arena) {
		err_set(&err, ERR_HOST, "out of memory");
		request_fail(request, &err);
		return;
	}
	Schedrig__V1__Info info = SCHEDRIG__V1__INFO__INIT;
	info.build = (char *)(control->config.build ? control->config.build : "");
	info.clients = control->n_sessions;
	if (control->config.info)
		control->config.info(arena, &info, control->config.arg);
	Schedrig__V1__Response response = SCHEDRIG__V1__RESPONSE__INIT;
	response.kind_case = SCHEDRIG__V1__RESPONSE__KIND_INFO;
	response.info = &info;
	request_pack(request, NULL, &response);
	request_answer(request);
}

void request_run_cancel(struct request *request)
{
	struct control *control = request->control;
	struct err err = ERR_INIT;
	if (control->scenario) {
		request_cancel(control->scenario, "a client asked for it");
		answer_ok(request);
		return;
	}
	err_set(&err, ERR_FAILED_PRECONDITION, "no scenario is running");
	request_fail(request, &err);
}

/* The engine keeps the message's definitions until the step is over, so they become its own. */
void request_run_factory_answer(struct request *request)
{
	struct control *control = request->control;
	struct err err = ERR_INIT;
	if (!control->scenario || control->scenario->session != request->session)
		err_set(&err, ERR_FAILED_PRECONDITION,
			"no scenario of this client is running: only the client that submitted one makes its "
			"set-ups");
	else if (engine_factory_answer(control->engine, request->message->factory_answer, &err) == 0)
		request->message->factory_answer = NULL;
	if (err.code != ERR_NONE) {
		request_fail(request, &err);
		return;
	}
	request->message->kind_case = SCHEDRIG__V1__REQUEST__KIND__NOT_SET;
	answer_ok(request);
}

void request_run_shutdown(struct request *request)
{
	struct control *control = request->control;
	answer_ok(request);
	if (!control->shutdown_asked && control->config.shutdown) {
		control->shutdown_asked = true;
		control->config.shutdown(control->config.arg);
	}
}

void request_run_events(struct request *request)
{
	struct control *control = request->control;
	struct session *session = request->session;
	struct err err = ERR_INIT;
	uint64_t from = request->message->events->from_seq, last = control_ring_last(&control->ring);
	if (session->n_streams >= SESSION_STREAMS_MAX)
		err_set(&err, ERR_LIMIT_EXCEEDED, "this connection has %u streams of events already",
			SESSION_STREAMS_MAX);
	else if (from > last + 1)
		err_set(&err, ERR_INVALID_ARGUMENT,
			"there is no event %llu yet, the last one was %llu: is this another controller than "
			"before?",
			(unsigned long long)from, (unsigned long long)last);
	if (err.code != ERR_NONE) {
		request_fail(request, &err);
		return;
	}
	session->n_streams++;
	request->state = REQUEST_STREAMING;
	request->streams = true;
	request->next_event = from ? from : last + 1;
	request->last_event = UINT64_MAX;
	control_kick(control);
}

/* ---- on worker threads: they read the request's message and what of the control never changes */

static void pack_validated(
	struct request *request, const struct err *err, Schedrig__V1__ValidateResponse *validated)
{
	Schedrig__V1__Response response = SCHEDRIG__V1__RESPONSE__INIT;
	if (validated) {
		response.kind_case = SCHEDRIG__V1__RESPONSE__KIND_VALIDATED;
		response.validated = validated;
	}
	request_pack(request, err, &response);
	pb_free(validated);
}

static int validate(struct request *request, const Schedrig__V1__Scenario *scenario,
	Schedrig__V1__ValidateResponse **ret, struct err *err)
{
	const struct control_config *config = &request->control->config;
	if (!scenario)
		return err_set(err, ERR_INVALID_ARGUMENT, "the request has no scenario");
	/* Pushed names count; the list of the machine's start is all there is before the engine. */
	_cleanup_free_ char **staged =
		request->control->engine ? engine_staged(request->control->engine) : NULL;
	return engine_validate(
		scenario, config->layout, staged ? (const char *const *)staged : config->staged, ret, err);
}

void request_run_validate(struct request *request)
{
	struct err err = ERR_INIT;
	Schedrig__V1__ValidateResponse *validated = NULL;
	(void)!validate(request, request->message->validate->scenario, &validated, &err);
	pack_validated(request, &err, validated);
}

void request_run_submit(struct request *request)
{
	struct err err = ERR_INIT;
	const Schedrig__V1__Scenario *scenario = request->message->submit->scenario;
	Schedrig__V1__ValidateResponse *validated = NULL;
	int r = validate(request, scenario, &validated, &err);
	if (r < 0 || validated->n_errors) {
		if (r == 0)
			wire_err_from(validated->errors[0], &err);
		pack_validated(request, &err, validated);
		return;
	}
	pb_free(validated);
	Schedrig__V1__RunResult *result = NULL;
	(void)!engine_run(request->control->engine, scenario, &result, &err);
	Schedrig__V1__Response response = SCHEDRIG__V1__RESPONSE__INIT;
	if (result) {
		response.kind_case = SCHEDRIG__V1__RESPONSE__KIND_RESULT;
		response.result = result;
	}
	request_pack(request, &err, &response);
	pb_free(result);
}

void request_run_apply(struct request *request)
{
	struct err err = ERR_INIT;
	Schedrig__V1__ApplyResponse *applied = NULL;
	const struct engine_held held = {request->uses, &request->wanted_back};
	(void)!engine_apply(request->control->engine, request->message->apply, request->uses ? &held : NULL,
		&applied, &err);
	Schedrig__V1__Response response = SCHEDRIG__V1__RESPONSE__INIT;
	if (applied) {
		response.kind_case = SCHEDRIG__V1__RESPONSE__KIND_APPLIED;
		response.applied = applied;
	}
	request_pack(request, &err, &response);
	pb_free(applied);
}

void request_run_end_adhoc(struct request *request)
{
	struct err err = ERR_INIT;
	Schedrig__V1__Empty empty = SCHEDRIG__V1__EMPTY__INIT;
	Schedrig__V1__Response response = SCHEDRIG__V1__RESPONSE__INIT;
	if (engine_end_adhoc(request->control->engine, &err) == 0) {
		response.kind_case = SCHEDRIG__V1__RESPONSE__KIND_OK;
		response.ok = &empty;
	}
	request_pack(request, &err, &response);
}

void request_run_push(struct request *request)
{
	struct err err = ERR_INIT;
	Schedrig__V1__Empty empty = SCHEDRIG__V1__EMPTY__INIT;
	Schedrig__V1__Response response = SCHEDRIG__V1__RESPONSE__INIT;
	if (engine_push(request->control->engine, request->message->push, &err) == 0) {
		response.kind_case = SCHEDRIG__V1__RESPONSE__KIND_OK;
		response.ok = &empty;
	}
	request_pack(request, &err, &response);
}

/* X(request, member of the answer, its case, its type): those that only ask the engine; */
#define QUERY_LIST(X)                                                                                        \
	X(resolve, places, PLACES, ResolveResponse)                                                          \
	X(symbols, symbols, SYMBOLS, SymbolsResponse)                                                        \
	X(types, types, TYPES, TypesResponse)                                                                \
	X(set_cgroup_knobs, knobs, KNOBS, SetCgroupKnobsResponse)                                            \
	X(pull, pulled, PULLED, PullResponse)                                                                \
	X(list_staged, staged, STAGED, ListStagedResponse)                                                   \
	X(workers, workers, WORKERS, WorkerTotals)
/* that may work within a freeze of their client's; */
#define HELD_LIST(X)                                                                                         \
	X(read, values, VALUES, ReadResponse)                                                                \
	X(write, values, VALUES, ReadResponse)                                                               \
	X(bases, bases, BASES, KernelBases)
#define RUN(kind, member, upper, type, ...)                                                                  \
	void request_run_##kind(struct request *request)                                                     \
	{                                                                                                    \
		struct err err = ERR_INIT;                                                                   \
		Schedrig__V1__##type *answer = NULL;                                                         \
		(void)!engine_##kind(__VA_ARGS__, &answer, &err);                                            \
		Schedrig__V1__Response response = SCHEDRIG__V1__RESPONSE__INIT;                              \
		if (answer) {                                                                                \
			response.kind_case = SCHEDRIG__V1__RESPONSE__KIND_##upper;                           \
			response.member = answer;                                                            \
		}                                                                                            \
		request_pack(request, &err, &response);                                                      \
		pb_free(answer);                                                                             \
	}
#define X(kind, member, upper, type)                                                                         \
	RUN(kind, member, upper, type, request->control->engine, request->message->kind)
QUERY_LIST(X)
#undef X
#define X(kind, member, upper, type)                                                                         \
	RUN(kind, member, upper, type, request->control->engine, request->message->kind, request->uses)
HELD_LIST(X)
#undef X
/* and those that ask for what their client has prepared. */
RUN(prepare, prepared, PREPARED, PrepareResponse, request->prepared->reads, request->message->prepare)
RUN(read_prepared, packed, PACKED, ReadPreparedResponse, request->prepared->reads,
	request->message->read_prepared, request->uses)
