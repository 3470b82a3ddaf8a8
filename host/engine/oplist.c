/* SPDX-License-Identifier: GPL-2.0-only */
/* Lists of ops: consecutive guest ops go to the agent as one batch, host ops are done here, adjacent cold
 * writes land in one freeze. The first error that was not asked for ends the list. One thread a list. */
#include "common/clock.h"
#include "common/frame.h"
#include "host/engine/adopted.h"
#include "host/engine/age.h"
#include "host/engine/engine_internal.h"
#include "host/engine/ops.h"
#include "host/engine/payload_end.h"
#include "host/link/link.h"
#include "proto/pb.h"

#include <errno.h>
#include <string.h>

/* Default deadline of an op in guest time. */
#define OP_TIMEOUT_NS (30 * NS_PER_S)
/* Room for the request around its ops. */
#define BATCH_BYTES (FRAME_MAX_BYTES - 4096)

int result_list_add(struct result_list *list, Schedrig__V1__OpResult *result)
{
	if (list->n == list->size) {
		size_t size = list->size ? list->size * 2 : 16;
		Schedrig__V1__OpResult **more = reallocarray(list->result, size, sizeof(*more));
		if (!more)
			return -ENOMEM;
		list->result = more;
		list->size = size;
	}
	list->result[list->n++] = result;
	return 0;
}

void result_list_deinit(struct result_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		pb_free(list->result[i]);
	free(list->result);
	*list = (struct result_list){0};
}

static int out_of_memory(struct err *err)
{
	return err_set_os(err, ERR_HOST, ENOMEM, "cannot apply the ops");
}

/* Takes the result over, puts our place and kind on it (the guest's word is not needed for these), tells. */
static int keep_result(struct op_context *context, const struct planned_op *planned,
	Schedrig__V1__OpResult *result, struct err *err)
{
	char *place = strdup(planned->place), *kind = strdup(op_kind_name(op_kind(planned->op)));
	if (!place || !kind || result_list_add(context->results, result) < 0) {
		free(place);
		free(kind);
		pb_free(result);
		return out_of_memory(err);
	}
	if (result->place != protobuf_c_empty_string)
		free(result->place);
	if (result->kind != protobuf_c_empty_string)
		free(result->kind);
	result->place = place;
	result->kind = kind;
	bool adhoc = context->scope == SCHEDRIG__V1__SCOPE__SCOPE_ADHOC;
	const Schedrig__V1__Payload *own =
		result->payload
			? payload_find(context->definitions, context->n_definitions, result->payload->name)
			: NULL;
	if (result->payload && adhoc && !(own && result->payload->adhoc)) {
		/* Whether that ends a step is the scenario's to know, not this list's. */
		adopted_take(context->engine, context->adopts, result->payload);
	} else if (result->payload) {
		payload_take(context->engine, own, adhoc, result->payload);
		context->stopped |= result->payload->stop;
	}
	if (!context->quiet) {
		Schedrig__V1__Event event = SCHEDRIG__V1__EVENT__INIT;
		Schedrig__V1__OpDone done = SCHEDRIG__V1__OP_DONE__INIT;
		done.result = result;
		event.kind_case = SCHEDRIG__V1__EVENT__KIND_OP_DONE;
		event.op_done = &done;
		engine_emit(context->engine, &event);
	}
	return 0;
}

/* Whether the op went as the scenario wants it. */
static int judge(const struct planned_op *planned, const Schedrig__V1__OpResult *result, struct err *err)
{
	if (result->error && !(result->expected_error && planned->op->expect_error == result->error->code)) {
		link_error_from_wire(result->error, err);
		snprintf(err->place, sizeof(err->place), "%s", planned->place);
		return err_errno(err->code);
	}
	if (!result->error && planned->op->expect_error) {
		err_set(err, ERR_FAILED_PRECONDITION, "%s succeeded, but %s was expected",
			op_kind_name(op_kind(planned->op)),
			err_code_name((enum err_code)planned->op->expect_error));
		err_reason(err, "unexpected-success");
		return err_at(err, "%s", planned->place);
	}
	return 0;
}

/* The second half of an op that the agent has begun: a failure is the op's, and is judged here. */
static void make_older(
	struct op_context *context, const struct planned_op *planned, Schedrig__V1__OpResult *result)
{
	struct err err = ERR_INIT;
	uint64_t limit_ns = planned->op->timeout ? planned->op->timeout->ns : OP_TIMEOUT_NS;
	if (!result->error && result->n_held > 0 &&
		age_workers(context, result, clock_deadline_ns(limit_ns), &err) < 0)
		result->error = error_message(&err);
	result->expected_error = result->error && planned->op->expect_error == result->error->code;
}

/* Takes the agent's results over, in order. */
static int take_results(struct op_context *context, const struct planned_op *ops, size_t n,
	Schedrig__V1__AgentResponse *response, bool looped, struct err *err)
{
	Schedrig__V1__OpsDone *done = response->kind_case == SCHEDRIG__V1__AGENT_RESPONSE__KIND_OPS_DONE
					      ? response->ops_done
					      : NULL;
	size_t count = done ? done->n_results : 0, taken = 0;
	int r = 0;
	if (!looped && count > n)
		return err_set(err, ERR_INTERNAL, "the agent answered %zu ops with %zu results", n, count);
	for (; taken < count && r == 0; taken++) {
		Schedrig__V1__OpResult *result = done->results[taken];
		const struct planned_op *planned = &ops[taken % n];
		done->results[taken] = NULL;
		for (size_t i = 0; looped && i < n; i++)
			if (strcmp(ops[i].place, result->place) == 0)
				planned = &ops[i];
		if (op_has_uptime(planned->op))
			make_older(context, planned, result);
		r = keep_result(context, planned, result, err);
		if (r == 0)
			r = judge(planned, result, err);
	}
	if (r < 0)
		return r;
	if (response->error) {
		link_error_from_wire(response->error, err);
		if (!*err->place)
			err_at(err, "%s", ops[MIN_OF(taken, n - 1)].place);
		return err_errno(err->code);
	}
	if (!done || (!looped && taken < n)) {
		err_set(err, ERR_INTERNAL, "the agent left an op without an answer");
		return err_at(err, "%s", ops[MIN_OF(taken, n - 1)].place);
	}
	return 0;
}

static uint64_t op_limit_ns(const struct op_context *context, const Schedrig__V1__Op *op)
{
	if (op->timeout)
		return op->timeout->ns;
	if (op->kind_case == SCHEDRIG__V1__OP__KIND_WAIT_PAYLOAD)
		return clock_add_ns(OP_TIMEOUT_NS,
			op->wait_payload->timeout ? op->wait_payload->timeout->ns : context->wait_ns);
	return OP_TIMEOUT_NS;
}

/* Messages of one batch, all in one block: ops are borrowed but for waits that get a timeout. */
struct batch {
	Schedrig__V1__PlacedOp *placed;
	Schedrig__V1__PlacedOp **list;
	Schedrig__V1__Op *op;
	Schedrig__V1__WaitPayload *wait;
	Schedrig__V1__Duration *timeout;
	uint64_t limit_ns;
};

static void batch_deinit(struct batch *batch)
{
	free(batch->placed);
	free(batch->list);
	free(batch->op);
	free(batch->wait);
	free(batch->timeout);
}

static int batch_init(struct batch *batch, const struct op_context *context, const struct planned_op *ops,
	size_t n, struct err *err)
{
	*batch = (struct batch){.placed = calloc(n, sizeof(*batch->placed)),
		.list = calloc(n, sizeof(*batch->list)),
		.op = calloc(n, sizeof(*batch->op)),
		.wait = calloc(n, sizeof(*batch->wait)),
		.timeout = calloc(n, sizeof(*batch->timeout))};
	if (!batch->placed || !batch->list || !batch->op || !batch->wait || !batch->timeout) {
		batch_deinit(batch);
		return out_of_memory(err);
	}
	for (size_t i = 0; i < n; i++) {
		const Schedrig__V1__Op *op = ops[i].op;
		schedrig__v1__placed_op__init(&batch->placed[i]);
		batch->placed[i].op = (Schedrig__V1__Op *)op;
		batch->placed[i].place = (char *)ops[i].place;
		batch->list[i] = &batch->placed[i];
		batch->limit_ns = clock_add_ns(batch->limit_ns, op_limit_ns(context, op));
		if (op_has_uptime(op)) {
			/* The agent does half of it, and cannot tell whether it went as expected. */
			batch->op[i] = *op;
			batch->op[i].expect_error = SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_NONE;
			batch->placed[i].op = &batch->op[i];
		}
		if (op->kind_case != SCHEDRIG__V1__OP__KIND_WAIT_PAYLOAD || op->wait_payload->timeout)
			continue;
		/* "Until the scenario's end" is a time that only the engine knows. */
		batch->op[i] = *op;
		batch->wait[i] = *op->wait_payload;
		schedrig__v1__duration__init(&batch->timeout[i]);
		batch->timeout[i].ns = context->wait_ns;
		batch->wait[i].timeout = &batch->timeout[i];
		batch->op[i].wait_payload = &batch->wait[i];
		batch->placed[i].op = &batch->op[i];
	}
	return 0;
}

/* The payload that an op waits for or kills; NULL: the op is of another kind. */
static const char *ended_payload(const Schedrig__V1__Op *op)
{
	switch (op->kind_case) {
	case SCHEDRIG__V1__OP__KIND_WAIT_PAYLOAD:
		return op->wait_payload->name;
	case SCHEDRIG__V1__OP__KIND_KILL_PAYLOAD:
		return op->kill_payload->name;
	default:
		return NULL;
	}
}

static int apply_guest(struct op_context *context, const struct planned_op *ops, size_t n, struct err *err)
{
	struct batch batch __attribute__((cleanup(batch_deinit)));
	if (batch_init(&batch, context, ops, n, err) < 0)
		return -EIO;
	Schedrig__V1__AgentRequest request = SCHEDRIG__V1__AGENT_REQUEST__INIT;
	Schedrig__V1__ApplyOps apply = SCHEDRIG__V1__APPLY_OPS__INIT;
	apply.scope = context->scope;
	apply.phase = context->phase;
	apply.n_ops = n;
	apply.ops = batch.list;
	apply.n_payloads = context->n_payloads;
	apply.payloads = context->payloads;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_APPLY_OPS;
	request.apply_ops = &apply;
	Schedrig__V1__AgentResponse *response = NULL;
	const char *ended = ended_payload(ops[n - 1].op);
	context->adopts = ended && context->scope == SCHEDRIG__V1__SCOPE__SCOPE_ADHOC
				  ? adopted_hold(context->engine, ended)
				  : 0;
	int r = agent_call(context->engine, &request, batch.limit_ns, &response, err);
	if (response)
		r = take_results(context, ops, n, response, false, err);
	else if (!*err->place)
		err_at(err, "%s", ops[0].place);
	if (context->adopts)
		adopted_release(context->engine);
	pb_free(response);
	/* Also when that failed: it may have been expected, and the list goes on. */
	struct err why = ERR_INIT;
	if (op_has_uptime(ops[n - 1].op) && age_release(context, &why) < 0 && r == 0) {
		*err = why;
		r = err_at(err, "%s", ops[n - 1].place);
	}
	return r;
}

int ops_loop(struct op_context *context, const struct planned_op *ops, size_t n, uint64_t interval_ns,
	uint64_t length_ns, uint32_t *ret_passes, uint32_t *ret_late, uint32_t *ret_dropped, struct err *err)
{
	struct batch batch __attribute__((cleanup(batch_deinit)));
	if (batch_init(&batch, context, ops, n, err) < 0)
		return -EIO;
	Schedrig__V1__AgentRequest request = SCHEDRIG__V1__AGENT_REQUEST__INIT;
	Schedrig__V1__LoopOps loop = SCHEDRIG__V1__LOOP_OPS__INIT;
	Schedrig__V1__Duration interval = SCHEDRIG__V1__DURATION__INIT, length = SCHEDRIG__V1__DURATION__INIT;
	interval.ns = interval_ns;
	length.ns = length_ns;
	loop.scope = context->scope;
	loop.phase = context->phase;
	loop.n_ops = n;
	loop.ops = batch.list;
	loop.interval = &interval;
	loop.length = &length;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_LOOP_OPS;
	request.loop_ops = &loop;
	Schedrig__V1__AgentResponse *response = NULL;
	int r = agent_call(
		context->engine, &request, clock_add_ns(length_ns, batch.limit_ns), &response, err);
	if (response && response->kind_case == SCHEDRIG__V1__AGENT_RESPONSE__KIND_OPS_DONE) {
		*ret_passes = response->ops_done->passes;
		*ret_late = response->ops_done->late_passes;
		*ret_dropped = response->ops_done->dropped;
	}
	if (response)
		r = take_results(context, ops, n, response, true, err);
	else if (!*err->place)
		err_at(err, "%s", ops[0].place);
	pb_free(response);
	return r;
}

/* Payloads are judged here, each of them: in a loop of the agent's most passes are counted, not told. */
bool ops_loop_in_guest(const struct planned_op *ops, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!op_is_guests(ops[i].op) || ended_payload(ops[i].op) || op_has_uptime(ops[i].op))
			return false;
	return true;
}

/* Guest ops from here on that fit in one request, up to one whose outcome decides about the rest. */
static size_t guest_run(const struct op_context *context, const struct planned_op *ops, size_t n)
{
	size_t count = 0, bytes = 0;
	while (count < n && op_is_guests(ops[count].op)) {
		bytes += schedrig__v1__op__get_packed_size(ops[count].op) + sizeof(ops[count].place) + 16;
		if (count && bytes > BATCH_BYTES)
			break;
		/* Its workers wait until the answer is here: what comes after it may want them at work. */
		if (op_has_uptime(ops[count].op)) {
			count++;
			break;
		}
		const char *name = ended_payload(ops[count++].op);
		const Schedrig__V1__Payload *payload =
			name ? payload_find(context->definitions, context->n_definitions, name) : NULL;
		/* Whose it is, is only known from the answer. */
		if (name && context->scope == SCHEDRIG__V1__SCOPE__SCOPE_ADHOC)
			break;
		if (payload && payload_wants_turn(payload))
			break;
	}
	return count;
}

static bool merges(const Schedrig__V1__Op *op)
{
	return op->kind_case == SCHEDRIG__V1__OP__KIND_WRITE_KERNEL_COLD && !op->expect_error && !op->timeout;
}

/* Host ops from here on that land together: one, or adjacent cold writes. */
static size_t host_run(const struct planned_op *ops, size_t n)
{
	size_t count = 1;
	while (merges(ops[0].op) && count < n && merges(ops[count].op))
		count++;
	return count;
}

static int apply_host(struct op_context *context, const struct planned_op *ops, size_t n, struct err *err)
{
	_cleanup_free_ Schedrig__V1__OpResult **results = calloc(n, sizeof(*results));
	if (!results)
		return out_of_memory(err);
	for (size_t i = 0; i < n; i++) {
		results[i] = malloc(sizeof(**results));
		if (!results[i]) {
			for (size_t k = 0; k < i; k++)
				pb_free(results[k]);
			return out_of_memory(err);
		}
		schedrig__v1__op_result__init(results[i]);
		results[i]->begin_ns = clock_now_ns();
		results[i]->pass = context->pass;
	}
	size_t failed = n;
	struct err why = ERR_INIT;
	int r = host_ops_apply(context, ops, n, results, &failed, &why);
	if (r < 0) {
		/* Merged ops land all or none: the one that failed carries the error, the others were not
		 * done. */
		results[failed]->error = error_message(&why);
		results[failed]->expected_error =
			ops[failed].op->expect_error == (Schedrig__V1__ErrorCode)why.code;
	}
	int verdict = 0;
	for (size_t i = 0; i < n; i++) {
		if (verdict < 0 || (r < 0 && i != failed)) {
			pb_free(results[i]);
			continue;
		}
		results[i]->end_ns = clock_now_ns();
		verdict = keep_result(context, &ops[i], results[i], err);
		if (verdict == 0)
			verdict = judge(&ops[i], results[i], err);
	}
	return verdict;
}

/* Relaxed: whoever wants it back waits for the end of the list by other means. */
static bool freeze_wanted_back(const struct op_context *context)
{
	return context->held && atomic_load_explicit(context->held->wanted_back, memory_order_relaxed);
}

int ops_apply(struct op_context *context, const struct planned_op *ops, size_t n, struct err *err)
{
	for (size_t i = 0; i < n && !context->stopped;) {
		/* Ad-hoc ops outlive whatever happens to the scenario beside them. */
		int why = engine_interruption(context->engine, err);
		if (why == ENGINE_WAIT_LOST || (why && context->scope != SCHEDRIG__V1__SCOPE__SCOPE_ADHOC))
			return err_at(err, "%s", ops[i].place);
		*err = ERR_INIT;
		if (context->scope != SCHEDRIG__V1__SCOPE__SCOPE_ADHOC && engine_step_over(context->engine)) {
			context->stopped = true;
			break;
		}
		if (op_is_cold(ops[i].op) && freeze_wanted_back(context)) {
			err_set(err, ERR_CANCELLED,
				"%s was to be done within the client's freeze, which ended before: its lease "
				"ran out, the client went away, or somebody thawed the VM",
				op_kind_name(op_kind(ops[i].op)));
			err_reason(err, "freeze-over");
			return err_at(err, "%s", ops[i].place);
		}
		size_t count = guest_run(context, ops + i, n - i);
		int r;
		if (count) {
			r = apply_guest(context, ops + i, count, err);
		} else {
			count = host_run(ops + i, n - i);
			r = apply_host(context, ops + i, count, err);
		}
		if (r < 0)
			return r;
		i += count;
	}
	return 0;
}
