/* SPDX-License-Identifier: GPL-2.0-only */
/* Lists of ops, once or again and again against the agent's own clock. Lane threads. */
#include "common/clock.h"
#include "common/scope.h"
#include "guest/agent/state.h"
#include "proto/wire.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define PASS_ARENA_BYTES (16u << 20)
/* Results of this many passes are kept from the beginning, and as many from the end. */
#define PASSES_KEPT 16

struct list {
	struct lane *lane;
	PB(PlacedOp) * *ops;
	size_t n_ops;
	PB(Scope) scope;
	uint32_t phase;
	uint64_t deadline_ns;
	const PB(ScenarioBegin) * begin;
	PB(Payload) * *payloads; /* of an ad-hoc request */
	size_t n_payloads;
	bool untold; /* there was no memory for a result */
};

/* The results of one time through the list. */
struct pass {
	struct arena *arena;
	PB(OpResult) * *results;
	size_t n_results;
};

static void pass_deinit(struct pass *pass)
{
	arena_free(pass->arena);
	*pass = (struct pass){0};
}

enum scene_scope apply_scope(PB(Scope) scope)
{
	return scope == SCHEDRIG__V1__SCOPE__SCOPE_BACKDROP ? SCENE_BACKDROP
	       : scope == SCHEDRIG__V1__SCOPE__SCOPE_ADHOC  ? SCENE_ADHOC
							    : SCENE_STEP;
}

static uint64_t op_deadline(const struct list *list, const PB(Op) * op)
{
	uint32_t speed = atomic_load(&list->lane->agent->speed_percent);
	uint64_t length_ns = op->timeout ? op->timeout->ns : OPS_DEADLINE_NS * 100 / MAX_OF(speed, 1);
	return MIN_OF(clock_deadline_ns(length_ns), list->deadline_ns);
}

/* What the op came to, with expect_error turned round. True: the list goes on. */
static bool judge(const PB(Op) * op, int r, struct err *err, PB(OpResult) * result, struct arena *arena)
{
	enum err_code expected = (enum err_code)op->expect_error;
	if (r == 0 && !expected)
		return true;
	if (r == 0)
		err_set(err, ERR_FAILED_PRECONDITION, "%s was expected, but the op succeeded",
			err_code_name(expected));
	else if (err->code == expected)
		result->expected_error = true;
	else if (expected)
		err_wrap(err, "%s was expected", err_code_name(expected));
	result->error = ops_error(arena, err);
	return result->expected_error;
}

static bool apply_one(struct list *list, const PB(PlacedOp) * placed, uint32_t number, struct pass *pass)
{
	struct agent *agent = list->lane->agent;
	PB(OpResult) *result = PB_NEW(pass->arena, OpResult, op_result);
	if (!ops_append(pass->arena, &pass->results, &pass->n_results, result)) {
		list->untold = true;
		return false;
	}
	int kind = placed->op ? ops_kind(placed->op) : -1;
	struct op_run run = {
		.scene = agent->scene,
		.begin = list->begin,
		.payloads = list->payloads,
		.n_payloads = list->n_payloads,
		.call =
			{
				.scope = apply_scope(list->scope),
				.adhoc = list->scope == SCHEDRIG__V1__SCOPE__SCOPE_ADHOC,
				.strict = !list->begin || list->begin->strict,
				.cancel = &list->lane->cancel,
				.place = placed->place,
				.note = ops_add_note,
				.arg = &run,
			},
		.request_deadline_ns = list->deadline_ns,
		.arena = pass->arena,
		.result = result,
		.phase = list->phase,
		.pass = number,
	};
	struct err err = ERR_INIT;
	result->place = arena_strdup(pass->arena, placed->place);
	result->kind = arena_strdup(pass->arena, ops_kind_name(kind));
	result->pass = number;
	if (!result->place || !result->kind) {
		pass->n_results--;
		list->untold = true;
		return false;
	}
	result->begin_ns = clock_now_ns();
	int r;
	if (atomic_load(&list->lane->cancel.asked))
		r = err_set(&err, ERR_CANCELLED, "given up before it began");
	else if (!placed->op)
		r = err_set(&err, ERR_INVALID_ARGUMENT, "there is no op");
	else {
		run.own_timeout = placed->op->timeout != NULL;
		run.call.deadline_ns = op_deadline(list, placed->op);
		page_op(agent, list->lane, kind);
		r = ops_apply(&run, placed->op, &err);
		page_op(agent, list->lane, -1);
	}
	result->end_ns = clock_now_ns();
	static const PB(Op) none = SCHEDRIG__V1__OP__INIT;
	const PB(Op) *op = placed->op ? placed->op : &none;
	bool good = judge(op, r, &err, result, pass->arena);
	/* A failure without its error would be read as success. What succeeds may have met an error on its
	 * way: a name that nobody tracks, where that is only a note. */
	if ((r < 0 || op->expect_error) && !result->error) {
		pass->n_results--;
		list->untold = true;
	}
	return good && !list->untold;
}

/* True: every op succeeded, or failed as expected. */
static bool apply_pass(struct list *list, uint32_t number, struct pass *pass)
{
	*pass = (struct pass){.arena = arena_new(PASS_ARENA_BYTES)};
	if (!pass->arena) {
		list->untold = true;
		return false;
	}
	for (size_t i = 0; i < list->n_ops; i++)
		if (!apply_one(list, list->ops[i], number, pass))
			return false;
	return true;
}

static void add_results(struct list *list, struct arena *arena, PB(OpsDone) * done, const struct pass *pass)
{
	for (size_t i = 0; i < pass->n_results; i++)
		list->untold |= !ops_append(arena, &done->results, &done->n_results, pass->results[i]);
}

static uint64_t request_deadline(const PB(AgentRequest) * request)
{
	return request->deadline ? clock_deadline_ns(request->deadline->ns) : CLOCK_NEVER_NS;
}

static void send_done(struct list *list, struct job *job, PB(AgentResponse) * response, PB(OpsDone) * done)
{
	struct lane *lane = list->lane;
	struct err err = ERR_INIT;
	response->kind_case = SCHEDRIG__V1__AGENT_RESPONSE__KIND_OPS_DONE;
	response->ops_done = done;
	if (list->untold)
		err_set_os(&err, ERR_GUEST_OS, ENOMEM, "what the ops came to could not all be told");
	else if (atomic_load(&lane->cancel.asked))
		err_set(&err, ERR_CANCELLED, "given up on request");
	if (err.code)
		serve_refuse(lane, job, response, &err);
	else
		link_answer(lane->agent, job, response);
}

void apply_ops(struct lane *lane, struct job *job, struct arena *arena, PB(AgentResponse) * response)
{
	const PB(ApplyOps) *apply = job->request->apply_ops;
	struct list list = {lane, apply->ops, apply->n_ops, apply->scope, apply->phase,
		request_deadline(job->request), job->begin ? job->begin->message : NULL, apply->payloads,
		apply->n_payloads};
	PB(OpsDone) done = SCHEDRIG__V1__OPS_DONE__INIT;
	_cleanup_(pass_deinit) struct pass pass = {0};
	if (apply->scope != SCHEDRIG__V1__SCOPE__SCOPE_ADHOC)
		page_phase(lane->agent, apply->phase);
	done.begin_ns = clock_now_ns();
	(void)apply_pass(&list, 0, &pass);
	done.end_ns = clock_now_ns();
	add_results(&list, arena, &done, &pass);
	send_done(&list, job, response, &done);
}

/* False when given up. */
static bool sleep_until(struct lane *lane, uint64_t due_ns)
{
	for (;;) {
		uint64_t left_ns = clock_left_ns(due_ns);
		struct timespec left = clock_timespec(left_ns);
		struct pollfd fd = {.fd = lane->cancel.fd, .events = POLLIN};
		if (!left_ns)
			return !atomic_load(&lane->cancel.asked);
		if (ppoll(&fd, 1, &left, NULL) > 0)
			return false;
	}
}

struct kept {
	struct pass first[PASSES_KEPT], last[PASSES_KEPT]; /* last: a ring by pass number */
	uint32_t passes, late, dropped;
};

static struct pass *kept_slot(struct kept *kept)
{
	if (kept->passes < PASSES_KEPT)
		return &kept->first[kept->passes];
	struct pass *pass = &kept->last[kept->passes % PASSES_KEPT];
	if (pass->arena)
		kept->dropped += (uint32_t)pass->n_results;
	pass_deinit(pass);
	return pass;
}

static void kept_deinit(struct kept **kept)
{
	for (unsigned i = 0; *kept && i < PASSES_KEPT; i++) {
		pass_deinit(&(*kept)->first[i]);
		pass_deinit(&(*kept)->last[i]);
	}
	free(*kept);
}

static void run_loop(struct lane *lane, struct list *list, uint64_t begin_ns, uint64_t interval_ns,
	uint64_t length_ns, struct kept *kept)
{
	uint64_t slot = 0, end_ns = clock_add_ns(begin_ns, length_ns);
	for (;;) {
		uint64_t due_ns = interval_ns && slot > (UINT64_MAX - begin_ns) / interval_ns
					  ? UINT64_MAX
					  : begin_ns + slot * interval_ns;
		if (due_ns >= end_ns)
			break;
		if (!sleep_until(lane, due_ns))
			return;
		bool good = apply_pass(list, kept->passes, kept_slot(kept));
		kept->passes++;
		if (!good)
			return;
		slot++;
		/* A pass that overran: those whose time has come meanwhile are late and left out, not queued
		 * up. */
		uint64_t now_ns = MIN_OF(clock_now_ns(), end_ns);
		uint64_t next = (now_ns - begin_ns + interval_ns - 1) / interval_ns;
		if (next > slot) {
			kept->late += (uint32_t)MIN_OF(next - slot, UINT32_MAX - kept->late);
			slot = next;
		}
	}
	(void)sleep_until(lane, end_ns);
}

void apply_loop(struct lane *lane, struct job *job, struct arena *arena, PB(AgentResponse) * response)
{
	const PB(LoopOps) *loop = job->request->loop_ops;
	struct list list = {lane, loop->ops, loop->n_ops, loop->scope, loop->phase,
		request_deadline(job->request), job->begin ? job->begin->message : NULL};
	_cleanup_(kept_deinit) struct kept *kept = calloc(1, sizeof(*kept));
	PB(OpsDone) done = SCHEDRIG__V1__OPS_DONE__INIT;
	struct err err = ERR_INIT;
	if (!kept) {
		err_set_os(&err, ERR_GUEST_OS, ENOMEM, "cannot keep the results of a loop");
		serve_refuse(lane, job, response, &err);
		return;
	}
	if (!loop->interval || !loop->interval->ns || !loop->length) {
		err_set(&err, ERR_INVALID_ARGUMENT, "a loop needs an interval above 0 and a length");
		serve_refuse(lane, job, response, &err);
		return;
	}
	if (loop->scope != SCHEDRIG__V1__SCOPE__SCOPE_ADHOC)
		page_phase(lane->agent, loop->phase);
	done.begin_ns = clock_now_ns();
	run_loop(lane, &list, done.begin_ns, loop->interval->ns, loop->length->ns, kept);
	done.end_ns = clock_now_ns();
	done.passes = kept->passes;
	done.late_passes = kept->late;
	done.dropped = kept->dropped;
	for (uint32_t n = 0; n < kept->passes; n++) {
		if (n < PASSES_KEPT)
			add_results(&list, arena, &done, &kept->first[n]);
		else if (n + PASSES_KEPT >= kept->passes)
			add_results(&list, arena, &done, &kept->last[n % PASSES_KEPT]);
	}
	send_done(&list, job, response, &done);
}
