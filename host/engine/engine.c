/* SPDX-License-Identifier: GPL-2.0-only */
/* The engine's life, what may interrupt a run, ops outside of a scenario (see engine.h). */
#include "common/clock.h"
#include "common/log.h"
#include "host/engine/engine_internal.h"
#include "host/engine/files.h"
#include "host/engine/ops.h"
#include "host/engine/payload_end.h"
#include "host/engine/validate.h"
#include "host/link/link.h"
#include "host/snapshot/capture.h"
#include "proto/pb.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

/* A teardown in the guest: workers get 5 s together, then everything is killed and removed. */
#define TEARDOWN_NS (60 * NS_PER_S)

struct engine *engine_new(const struct engine_config *config, struct err *err)
{
	struct engine *engine = calloc(1, sizeof(*engine));
	pthread_condattr_t attr;
	if (!engine || pthread_condattr_init(&attr)) {
		free(engine);
		err_set_os(err, ERR_HOST, ENOMEM, "cannot set up the engine");
		return NULL;
	}
	engine->config = *config;
	uint32_t tag;
	if (getrandom(&tag, sizeof(tag), 0) == (ssize_t)sizeof(tag))
		atomic_init(&engine->next_tag, tag);
	pthread_mutex_init(&engine->lock, NULL);
	pthread_mutex_init(&engine->event_lock, NULL);
	pthread_mutex_init(&engine->store_lock, NULL);
	pthread_mutex_init(&engine->tags_lock, NULL);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&engine->changed, &attr);
	pthread_cond_init(&engine->logged, &attr);
	pthread_condattr_destroy(&attr);
	if (config->staged && !(engine->staged = files_copy_names(config->staged))) {
		engine_free(engine);
		err_set_os(err, ERR_HOST, ENOMEM, "cannot set up the engine");
		return NULL;
	}
	if (config->run_dir) {
		engine->record = record_open(config->run_dir, err);
		if (!engine->record) {
			engine_free(engine);
			return NULL;
		}
	}
	return engine;
}

struct vm *engine_vm(const struct engine *engine)
{
	return engine->config.vm;
}

void engine_free(struct engine *engine)
{
	if (!engine)
		return;
	assert(!engine->running && !engine->applying && !engine->n_held);
	record_close(engine->record);
	snapshot_layout_free(engine->layout);
	read_tags_free(&engine->adhoc_tags);
	free(engine->staged);
	pthread_cond_destroy(&engine->changed);
	pthread_cond_destroy(&engine->logged);
	pthread_mutex_destroy(&engine->tags_lock);
	pthread_mutex_destroy(&engine->store_lock);
	pthread_mutex_destroy(&engine->event_lock);
	pthread_mutex_destroy(&engine->lock);
	free(engine);
}

void engine_cancel(struct engine *engine, const char *why)
{
	pthread_mutex_lock(&engine->lock);
	bool running = engine->running;
	if (running && !engine->cancelled) {
		engine->cancelled = true;
		snprintf(engine->cancel_why, sizeof(engine->cancel_why), "%s",
			why && *why ? why : "cancelled");
		pthread_cond_broadcast(&engine->changed);
	}
	uint64_t seq = running ? engine->run_seq : 0;
	pthread_mutex_unlock(&engine->lock);
	/* What the agent is at ends early; teardown comes from the run itself. */
	if (seq)
		agent_cancel(engine, seq);
}

void engine_guest_lost(struct engine *engine, const struct err *why)
{
	SCOPE_LOCK(&engine->lock);
	if (engine->lost.code == ERR_NONE) {
		engine->lost = *why;
		if (engine->lost.code == ERR_NONE)
			err_set(&engine->lost, ERR_GUEST_CRASHED, "the guest is gone");
	}
	pthread_cond_broadcast(&engine->changed);
}

void engine_link_lost(struct engine *engine, const struct err *why)
{
	SCOPE_LOCK(&engine->lock);
	engine->link_down = true;
	if (engine->running && engine->link_lost.code == ERR_NONE)
		err_set(&engine->link_lost, ERR_AGENT_LOST,
			"the connection to the agent was lost in the middle of the scenario, whose workers "
			"and "
			"payloads the agent has ended: %s",
			why->code == ERR_NONE ? "it was closed" : why->message);
	pthread_cond_broadcast(&engine->changed);
}

void engine_link_back(struct engine *engine)
{
	SCOPE_LOCK(&engine->lock);
	engine->link_down = false;
	pthread_cond_broadcast(&engine->changed);
}

bool engine_running(struct engine *engine, char *buffer, size_t size)
{
	SCOPE_LOCK(&engine->lock);
	if (engine->running)
		snprintf(buffer, size, "%s", engine->name);
	return engine->running;
}

Schedrig__V1__Error *error_message(const struct err *err)
{
	Schedrig__V1__Error *error = malloc(sizeof(*error));
	if (!error)
		return NULL;
	link_error_to_wire(err, error);
	error->message = strdup(err->message);
	error->place = strdup(err->place);
	error->reason = strdup(err->reason);
	if (error->message && error->place && error->reason)
		return error;
	free(error->message);
	free(error->place);
	free(error->reason);
	free(error);
	return NULL;
}

/* Who works within a freeze is not kept waiting by one that waits for the end of that freeze. */
static int begin_adhoc(struct engine *engine, bool held, struct err *err)
{
	SCOPE_LOCK(&engine->lock);
	if (engine->lost.code != ERR_NONE) {
		*err = engine->lost;
		return err_errno(err->code);
	}
	if (held) {
		engine->n_held++;
		return 0;
	}
	if (engine->applying)
		return err_set(err, ERR_BUSY,
			"other ops outside of a scenario are being applied: try again when they are done");
	engine->applying = true;
	return 0;
}

static void end_adhoc(struct engine *engine, bool held)
{
	SCOPE_LOCK(&engine->lock);
	if (held)
		engine->n_held--;
	else
		engine->applying = false;
}

bool engine_apply_is_cold(const Schedrig__V1__ApplyRequest *request)
{
	for (size_t i = 0; i < request->n_ops; i++)
		if (op_is_cold(request->ops[i]))
			return true;
	return false;
}

bool engine_apply_needs_guest(const Schedrig__V1__ApplyRequest *request)
{
	for (size_t i = 0; i < request->n_ops; i++)
		if (op_is_guests(request->ops[i]))
			return true;
	return false;
}

/* The agent would wait for the end of a freeze that lasts until its answer. */
static int check_held(const Schedrig__V1__ApplyRequest *request, struct err *err)
{
	for (size_t i = 0; i < request->n_ops; i++) {
		if (!op_is_guests(request->ops[i]))
			continue;
		err_set(err, ERR_FAILED_PRECONDITION,
			"%s needs the guest to run, but this client's own freeze holds the VM: thaw it first",
			op_kind_name(op_kind(request->ops[i])));
		err_reason(err, "own-freeze");
		return err_at(err, "ops[%zu]", i);
	}
	return 0;
}

static int apply_adhoc(struct engine *engine, const Schedrig__V1__ApplyRequest *request,
	const struct engine_held *held, struct result_list *results, struct err *err)
{
	_cleanup_free_ struct planned_op *ops = calloc(request->n_ops + 1, sizeof(*ops));
	if (!ops)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot apply the ops");
	for (size_t i = 0; i < request->n_ops; i++) {
		ops[i].op = request->ops[i];
		snprintf(ops[i].place, sizeof(ops[i].place), "ops[%zu]", i);
	}
	/* The guest knows programs by their staged names. */
	_cleanup_free_ Schedrig__V1__Payload *payloads = calloc(request->n_payloads + 1, sizeof(*payloads));
	_cleanup_free_ Schedrig__V1__Payload **list = calloc(request->n_payloads + 1, sizeof(*list));
	if (!payloads || !list)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot apply the ops");
	for (size_t i = 0; i < request->n_payloads; i++) {
		payloads[i] = *request->payloads[i];
		payloads[i].program = (char *)staged_name(payloads[i].program);
		list[i] = &payloads[i];
	}
	struct op_context context = {.engine = engine,
		.scope = SCHEDRIG__V1__SCOPE__SCOPE_ADHOC,
		.wait_ns = 30 * NS_PER_S,
		.tags = &engine->adhoc_tags,
		.held = held,
		.results = results,
		.payloads = list,
		.n_payloads = request->n_payloads,
		.definitions = request->payloads,
		.n_definitions = request->n_payloads};
	pthread_mutex_lock(&engine->event_lock);
	context.phase = engine->phase;
	pthread_mutex_unlock(&engine->event_lock);
	return ops_apply(&context, ops, request->n_ops, err);
}

int engine_apply(struct engine *engine, const Schedrig__V1__ApplyRequest *request,
	const struct engine_held *held, Schedrig__V1__ApplyResponse **ret, struct err *err)
{
	Schedrig__V1__ApplyResponse *response = malloc(sizeof(*response));
	if (!response)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot apply the ops");
	schedrig__v1__apply_response__init(response);
	_cleanup_free_ char **staged = engine_staged(engine);
	int r = check_adhoc(request, engine->config.layout, (const char *const *)staged, err);
	if (r == 0 && held)
		r = check_held(request, err);
	if (r == 0)
		r = begin_adhoc(engine, held, err);
	if (r == 0) {
		struct result_list results = {0};
		r = apply_adhoc(engine, request, held, &results, err);
		if (r < 0)
			engine_explain_loss(engine, err);
		response->results = results.result;
		response->n_results = results.n;
		end_adhoc(engine, held);
	}
	*ret = response;
	return r < 0 ? err_errno(err->code) : 0;
}

int engine_end_adhoc(struct engine *engine, struct err *err)
{
	int r = begin_adhoc(engine, false, err);
	if (r < 0)
		return r;
	Schedrig__V1__AgentRequest request = SCHEDRIG__V1__AGENT_REQUEST__INIT;
	Schedrig__V1__EndAdhoc end = SCHEDRIG__V1__END_ADHOC__INIT;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_END_ADHOC;
	request.end_adhoc = &end;
	Schedrig__V1__AgentResponse *response = NULL;
	r = agent_call(engine, &request, TEARDOWN_NS, &response, err);
	bool ended = response && response->kind_case == SCHEDRIG__V1__AGENT_RESPONSE__KIND_TEARDOWN;
	for (size_t i = 0; ended && i < response->teardown->n_errors; i++)
		engine_warning(engine, "clean-up: %s", response->teardown->errors[i]->message);
	/* Their definitions were the requests': what they left is kept, nothing is checked. */
	for (size_t i = 0; ended && i < response->teardown->n_payloads; i++) {
		payload_take(engine, NULL, true, response->teardown->payloads[i]);
		engine_emit_payload(engine, response->teardown->payloads[i]);
	}
	pb_free(response);
	pthread_mutex_lock(&engine->tags_lock);
	read_tags_free(&engine->adhoc_tags);
	pthread_mutex_unlock(&engine->tags_lock);
	end_adhoc(engine, false);
	return r;
}
