/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/* The blocking calls (see schedrig.h): start a request, process until its answer is there. */
#include "host/client/schedrig.h"

#include <stddef.h>
#include <time.h>

/* One blocking call in flight; on the caller's stack. */
struct call {
	bool done, stopped, stoppable; /* stoppable: the event function's word ends it */
	struct err err;
	Schedrig__V1__Response *response;
	schedrig_event_fn event;
	schedrig_factory_fn factory;
	struct schedrig *schedrig; /* with `answers` */
	bool answers;              /* it is the one to ask for set-ups */
	void *arg;
};

static void on_done(const struct err *err, Schedrig__V1__Response *response, void *arg)
{
	struct call *call = arg;
	call->done = true;
	call->err = *err;
	call->response = response;
}

/* That it came is told by what the scenario does. */
static void on_answered(const struct err *err, Schedrig__V1__Response *response, void *arg)
{
	schedrig_free_message(response);
}

int schedrig_answer_factory(struct schedrig *schedrig, uint64_t ask, Schedrig__V1__CgroupDef *const *cgroups,
	size_t n_cgroups, const char *refused, struct err *err)
{
	Schedrig__V1__FactoryAnswer answer = SCHEDRIG__V1__FACTORY_ANSWER__INIT;
	Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
	answer.ask = ask;
	answer.n_cgroups = n_cgroups;
	answer.cgroups = (Schedrig__V1__CgroupDef **)cgroups;
	if (refused)
		answer.refused = (char *)refused;
	request.kind_case = SCHEDRIG__V1__REQUEST__KIND_FACTORY_ANSWER;
	request.factory_answer = &answer;
	return schedrig_start(schedrig, &request, NULL, on_answered, NULL, NULL, err);
}

static void answer_ask(struct call *call, const Schedrig__V1__FactoryAsk *ask)
{
	if (call->factory && call->factory(call->schedrig, ask, call->arg) == 0)
		return;
	/* A connection that cannot take it has ended, or will. */
	(void)!schedrig_answer_factory(call->schedrig, ask->ask, NULL, 0,
		call->factory ? "its factory has refused" : "it makes no set-ups", NULL);
}

static int on_event(const Schedrig__V1__Event *event, void *arg)
{
	struct call *call = arg;
	if (call->answers && event->kind_case == SCHEDRIG__V1__EVENT__KIND_FACTORY_ASK)
		answer_ask(call, event->factory_ask);
	if (call->event && !call->stopped && call->event(event, call->arg) != 0)
		call->stopped = true;
	return 0;
}

/* Sends the request and takes the member `wanted` out of its answer (ret may be NULL: not wanted). */
static int call_and_take(struct schedrig *schedrig, const Schedrig__V1__Request *request, struct call *call,
	Schedrig__V1__Response__KindCase wanted, void **ret, struct err *err)
{
	uint64_t id;
	int r = schedrig_start(
		schedrig, request, call->event || call->answers ? on_event : NULL, on_done, call, &id, err);
	if (r < 0)
		return r;
	/* The end of the connection makes the call, too; err stays empty for interruptions. */
	while (!call->done && !(call->stoppable && call->stopped) && call->err.code == ERR_NONE)
		(void)!schedrig_wait(schedrig, -1, &call->err);
	if (!call->done)
		schedrig_forget(schedrig, id); /* `call` is about to end */
	Schedrig__V1__Response *response = call->response;
	void *found = NULL;
	if (response && response->kind_case == wanted && wanted != SCHEDRIG__V1__RESPONSE__KIND__NOT_SET) {
		found = response->info; /* members of a oneof share their place */
		response->info = NULL;
		response->kind_case = SCHEDRIG__V1__RESPONSE__KIND__NOT_SET;
	}
	schedrig_free_message(response);
	if (call->err.code == ERR_NONE && ret && !found)
		err_set(&call->err, ERR_INTERNAL, "the controller's answer does not fit the request");
	if (ret)
		*ret = found;
	else
		schedrig_free_message(found);
	if (call->err.code == ERR_NONE)
		return 0;
	if (err)
		*err = call->err;
	return err_errno(call->err.code);
}

int schedrig_info(struct schedrig *schedrig, Schedrig__V1__Info **ret, struct err *err)
{
	Schedrig__V1__InfoRequest info = SCHEDRIG__V1__INFO_REQUEST__INIT;
	Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
	struct call call = {0};
	void *found = NULL;
	request.kind_case = SCHEDRIG__V1__REQUEST__KIND_INFO;
	request.info = &info;
	int r = call_and_take(schedrig, &request, &call, SCHEDRIG__V1__RESPONSE__KIND_INFO, &found, err);
	if (r == 0)
		*ret = found;
	return r;
}

int schedrig_validate(struct schedrig *schedrig, const Schedrig__V1__Scenario *scenario,
	Schedrig__V1__ValidateResponse **ret, struct err *err)
{
	Schedrig__V1__ValidateRequest validate = SCHEDRIG__V1__VALIDATE_REQUEST__INIT;
	Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
	struct call call = {0};
	void *found = NULL;
	validate.scenario = (Schedrig__V1__Scenario *)scenario;
	request.kind_case = SCHEDRIG__V1__REQUEST__KIND_VALIDATE;
	request.validate = &validate;
	int r = call_and_take(schedrig, &request, &call, SCHEDRIG__V1__RESPONSE__KIND_VALIDATED, &found, err);
	if (r == 0)
		*ret = found;
	else
		schedrig_free_message(found);
	return r;
}

int schedrig_submit(struct schedrig *schedrig, const Schedrig__V1__Scenario *scenario,
	const struct schedrig_submit_options *options, Schedrig__V1__RunResult **ret, struct err *err)
{
	static const struct schedrig_submit_options none;
	const struct schedrig_submit_options *use = options ? options : &none;
	Schedrig__V1__SubmitRequest submit = SCHEDRIG__V1__SUBMIT_REQUEST__INIT;
	Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
	Schedrig__V1__Duration deadline = SCHEDRIG__V1__DURATION__INIT;
	struct call call = {.event = use->event,
		.factory = use->factory,
		.schedrig = schedrig,
		.answers = true,
		.arg = use->arg};
	void *found = NULL;
	submit.scenario = (Schedrig__V1__Scenario *)scenario;
	submit.detach = use->detach;
	submit.queue = use->queue;
	deadline.ns = use->deadline_ns;
	request.deadline = use->deadline_ns ? &deadline : NULL;
	request.kind_case = SCHEDRIG__V1__REQUEST__KIND_SUBMIT;
	request.submit = &submit;
	int r = call_and_take(schedrig, &request, &call, SCHEDRIG__V1__RESPONSE__KIND_RESULT, &found, err);
	if (r == 0)
		*ret = found;
	else
		schedrig_free_message(found);
	return r;
}

int schedrig_apply(struct schedrig *schedrig, const Schedrig__V1__ApplyRequest *apply, uint64_t deadline_ns,
	Schedrig__V1__ApplyResponse **ret, struct err *err)
{
	Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
	Schedrig__V1__Duration deadline = SCHEDRIG__V1__DURATION__INIT;
	struct call call = {0};
	void *found = NULL;
	deadline.ns = deadline_ns;
	request.deadline = deadline_ns ? &deadline : NULL;
	request.kind_case = SCHEDRIG__V1__REQUEST__KIND_APPLY;
	request.apply = (Schedrig__V1__ApplyRequest *)apply;
	int r = call_and_take(schedrig, &request, &call, SCHEDRIG__V1__RESPONSE__KIND_APPLIED, &found, err);
	*ret = found;
	return r;
}

/* Requests that take and give one message: X(request, its case, its type, case of the answer, type of the
 * answer) */
#define QUERY_LIST(X)                                                                                        \
	X(read, READ, ReadRequest, VALUES, ReadResponse)                                                     \
	X(write, WRITE, WriteRequest, VALUES, ReadResponse)                                                  \
	X(resolve, RESOLVE, ResolveRequest, PLACES, ResolveResponse)                                         \
	X(symbols, SYMBOLS, SymbolsRequest, SYMBOLS, SymbolsResponse)                                        \
	X(types, TYPES, TypesRequest, TYPES, TypesResponse)                                                  \
	X(bases, BASES, BasesRequest, BASES, KernelBases)                                                    \
	X(prepare, PREPARE, PrepareRequest, PREPARED, PrepareResponse)                                       \
	X(read_prepared, READ_PREPARED, ReadPreparedRequest, PACKED, ReadPreparedResponse)                   \
	X(set_cgroup_knobs, SET_CGROUP_KNOBS, SetCgroupKnobsRequest, KNOBS, SetCgroupKnobsResponse)          \
	X(pull, PULL, PullRequest, PULLED, PullResponse)                                                     \
	X(list_staged, LIST_STAGED, ListStagedRequest, STAGED, ListStagedResponse)                           \
	X(workers, WORKERS, WorkersRequest, WORKERS, WorkerTotals)
#define X(name, upper, type, answer, answer_type)                                                            \
	int schedrig_##name(struct schedrig *schedrig, const Schedrig__V1__##type *ask,                      \
		Schedrig__V1__##answer_type **ret, struct err *err)                                          \
	{                                                                                                    \
		Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;                                 \
		struct call call = {0};                                                                      \
		void *found = NULL;                                                                          \
		request.kind_case = SCHEDRIG__V1__REQUEST__KIND_##upper;                                     \
		request.name = (Schedrig__V1__##type *)ask;                                                  \
		int r = call_and_take(                                                                       \
			schedrig, &request, &call, SCHEDRIG__V1__RESPONSE__KIND_##answer, &found, err);      \
		if (r == 0)                                                                                  \
			*ret = found;                                                                        \
		else                                                                                         \
			schedrig_free_message(found);                                                        \
		return r;                                                                                    \
	}
QUERY_LIST(X)
#undef X

int schedrig_push(struct schedrig *schedrig, const Schedrig__V1__PushRequest *ask, struct err *err)
{
	Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
	struct call call = {0};
	request.kind_case = SCHEDRIG__V1__REQUEST__KIND_PUSH;
	request.push = (Schedrig__V1__PushRequest *)ask;
	return call_and_take(schedrig, &request, &call, SCHEDRIG__V1__RESPONSE__KIND__NOT_SET, NULL, err);
}

int schedrig_end_adhoc(struct schedrig *schedrig, struct err *err)
{
	Schedrig__V1__EndAdhocRequest end = SCHEDRIG__V1__END_ADHOC_REQUEST__INIT;
	Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
	struct call call = {0};
	request.kind_case = SCHEDRIG__V1__REQUEST__KIND_END_ADHOC;
	request.end_adhoc = &end;
	return call_and_take(schedrig, &request, &call, SCHEDRIG__V1__RESPONSE__KIND__NOT_SET, NULL, err);
}

int schedrig_freeze(struct schedrig *schedrig, const struct schedrig_freeze_options *options,
	Schedrig__V1__Frozen **ret, struct err *err)
{
	static const struct schedrig_freeze_options none;
	const struct schedrig_freeze_options *use = options ? options : &none;
	Schedrig__V1__FreezeRequest freeze = SCHEDRIG__V1__FREEZE_REQUEST__INIT;
	Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
	Schedrig__V1__Duration deadline = SCHEDRIG__V1__DURATION__INIT, lease = SCHEDRIG__V1__DURATION__INIT;
	struct call call = {0};
	void *found = NULL;
	lease.ns = use->lease_ns;
	deadline.ns = use->deadline_ns;
	freeze.lease = use->lease_ns ? &lease : NULL;
	freeze.clock_runs = use->clock_runs;
	freeze.detach = use->detach;
	request.deadline = use->deadline_ns ? &deadline : NULL;
	request.kind_case = SCHEDRIG__V1__REQUEST__KIND_FREEZE;
	request.freeze = &freeze;
	int r = call_and_take(schedrig, &request, &call, SCHEDRIG__V1__RESPONSE__KIND_FROZEN, &found, err);
	if (r == 0)
		*ret = found;
	return r;
}

int schedrig_thaw(struct schedrig *schedrig, Schedrig__V1__Thawed **ret, struct err *err)
{
	Schedrig__V1__ThawRequest thaw = SCHEDRIG__V1__THAW_REQUEST__INIT;
	Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
	struct call call = {0};
	void *found = NULL;
	request.kind_case = SCHEDRIG__V1__REQUEST__KIND_THAW;
	request.thaw = &thaw;
	int r = call_and_take(schedrig, &request, &call, SCHEDRIG__V1__RESPONSE__KIND_THAWED, &found, err);
	if (r == 0)
		*ret = found;
	return r;
}

int schedrig_step(struct schedrig *schedrig, uint32_t vcpu, uint32_t count, uint64_t limit_ns,
	Schedrig__V1__Stepped **ret, struct err *err)
{
	Schedrig__V1__StepRequest step = SCHEDRIG__V1__STEP_REQUEST__INIT;
	Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
	Schedrig__V1__Duration limit = SCHEDRIG__V1__DURATION__INIT;
	struct call call = {0};
	void *found = NULL;
	step.vcpu = vcpu;
	step.count = count;
	limit.ns = limit_ns;
	step.limit = limit_ns ? &limit : NULL;
	request.kind_case = SCHEDRIG__V1__REQUEST__KIND_STEP;
	request.step = &step;
	int r = call_and_take(schedrig, &request, &call, SCHEDRIG__V1__RESPONSE__KIND_STEPPED, &found, err);
	if (r == 0)
		*ret = found;
	else
		schedrig_free_message(found);
	return r;
}

int schedrig_cancel(struct schedrig *schedrig, struct err *err)
{
	Schedrig__V1__CancelRequest cancel = SCHEDRIG__V1__CANCEL_REQUEST__INIT;
	Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
	struct call call = {0};
	request.kind_case = SCHEDRIG__V1__REQUEST__KIND_CANCEL;
	request.cancel = &cancel;
	return call_and_take(schedrig, &request, &call, SCHEDRIG__V1__RESPONSE__KIND__NOT_SET, NULL, err);
}

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int schedrig_shutdown(struct schedrig *schedrig, int timeout_ms, struct err *err)
{
	Schedrig__V1__ShutdownRequest end = SCHEDRIG__V1__SHUTDOWN_REQUEST__INIT;
	Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
	struct call call = {0};
	request.kind_case = SCHEDRIG__V1__REQUEST__KIND_SHUTDOWN;
	request.shutdown = &end;
	int r = call_and_take(schedrig, &request, &call, SCHEDRIG__V1__RESPONSE__KIND__NOT_SET, NULL, err);
	if (r < 0)
		return r;
	/* The connection lives as long as the controller. */
	int64_t until = now_ms() + timeout_ms;
	for (;;) {
		int64_t left = timeout_ms < 0 ? -1 : until - now_ms();
		if (timeout_ms >= 0 && left <= 0)
			return err_set(
				err, ERR_TIMEOUT, "the controller has not ended within %d ms", timeout_ms);
		struct err over = ERR_INIT;
		r = schedrig_wait(schedrig, (int)left, &over);
		if (r < 0 && over.code != ERR_NONE)
			return 0;
	}
}

int schedrig_events(
	struct schedrig *schedrig, uint64_t from_seq, schedrig_event_fn event, void *arg, struct err *err)
{
	Schedrig__V1__EventsRequest events = SCHEDRIG__V1__EVENTS_REQUEST__INIT;
	Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
	struct call call = {.event = event, .arg = arg, .stoppable = true};
	events.from_seq = from_seq;
	request.kind_case = SCHEDRIG__V1__REQUEST__KIND_EVENTS;
	request.events = &events;
	return call_and_take(schedrig, &request, &call, SCHEDRIG__V1__RESPONSE__KIND__NOT_SET, NULL, err);
}
