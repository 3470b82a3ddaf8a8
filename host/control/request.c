/* SPDX-License-Identifier: GPL-2.0-only */
/* Life of a request: order, start, deadline, answer, end (see internal.h). Loop thread, but for worker() and
 * request_pack(). Who may start when:
 *
 *   Submit    when the guest is ready and no other scenario runs; the oldest of all clients first
 *   others    when their client has no other in work and nothing unread; those about the guest when it is
 *             ready; those within a client's freeze one at a time
 *   Thaw      at once, on the loop, or in its client's order (freeze.c)
 */
#include "host/control/internal.h"

#include "common/clock.h"
#include "common/loop.h"
#include "common/tpool.h"
#include "host/engine/engine.h"
#include "proto/pb.h"
#include "proto/wire.h"
#include "proto/wire_err.h"

#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <utlist.h>

#define LOOP false
#define WORKER true
#define ANYTIME false, false
#define READY true, false
#define RUNNING true, true
static const struct request_kind kinds[] = {
#define X(upper, snake, where, when)                                                                         \
	[SCHEDRIG__V1__REQUEST__KIND_##upper] = {#snake, where, when, request_run_##snake},
	CONTROL_REQUEST_LIST(X)
#undef X
};

const struct request_kind *request_kind_find(unsigned kind_case)
{
	return kind_case < ARRAY_SIZE(kinds) && kinds[kind_case].run ? &kinds[kind_case] : NULL;
}

void request_pack(struct request *request, const struct err *err, Schedrig__V1__Response *response)
{
	Schedrig__V1__Error wire = SCHEDRIG__V1__ERROR__INIT;
	Schedrig__V1__Response failed = SCHEDRIG__V1__RESPONSE__INIT;
	struct err too_long = ERR_INIT;
	if (err && err->code != ERR_NONE) {
		wire_err_to(err, &wire);
		response->error = &wire;
	}
	size_t length = protobuf_c_message_get_packed_size(&response->base);
	if (length > WIRE_MESSAGE_MAX_BYTES) {
		err_set(&too_long, ERR_LIMIT_EXCEEDED,
			"the answer has %zu bytes and the limit is %u: ask for less", length,
			WIRE_MESSAGE_MAX_BYTES);
		wire = (Schedrig__V1__Error)SCHEDRIG__V1__ERROR__INIT;
		wire_err_to(&too_long, &wire);
		failed.error = &wire;
		length = protobuf_c_message_get_packed_size(&failed.base);
		response = &failed;
	}
	free(request->answer);
	request->answer = malloc(length ? length : 1);
	/* Without memory an empty answer would say "success": the length stays and request_answer() sees it.
	 */
	request->answer_length = length;
	if (request->answer)
		protobuf_c_message_pack(&response->base, request->answer);
}

void prepared_unref(struct prepared *prepared)
{
	if (!prepared || --prepared->refs > 0)
		return;
	engine_prepared_free(prepared->reads);
	free(prepared);
}

/* Its client's, made at the first use. */
static int prepared_get(struct request *request, struct err *err)
{
	struct session *session = request->session;
	unsigned kind = request->message->kind_case;
	if (kind != SCHEDRIG__V1__REQUEST__KIND_PREPARE && kind != SCHEDRIG__V1__REQUEST__KIND_READ_PREPARED)
		return 0;
	if (!session->prepared) {
		struct prepared *made = calloc(1, sizeof(*made));
		struct engine_prepared *reads = made ? engine_prepared_new(request->control->engine) : NULL;
		if (!reads) {
			free(made);
			return err_set_os(err, ERR_HOST, ENOMEM, "cannot prepare reads");
		}
		*made = (struct prepared){reads, 1};
		session->prepared = made;
	}
	request->prepared = session->prepared;
	request->prepared->refs++;
	return 0;
}

static void detach_session(struct request *request)
{
	struct session *session = TAKE_PTR(request->session);
	if (!session)
		return;
	session->n_requests--;
	session->request_bytes -= request->length;
	if (request->state == REQUEST_STREAMING)
		session->n_streams--;
}

void request_free(struct request *request)
{
	if (!request)
		return;
	struct control *control = request->control;
	if (control->scenario == request)
		control->scenario = NULL;
	if (request->slot && request->slot->working == request)
		request->slot->working = NULL;
	detach_session(request);
	DL_DELETE(control->requests, request);
	prepared_unref(request->prepared);
	if (request->deadline_timer)
		event_free(request->deadline_timer);
	pb_free(request->message);
	free(request->answer);
	free(request);
}

void request_answer(struct request *request)
{
	struct control *control = request->control;
	control_kick(control);
	if (request->deadline_timer)
		event_del(request->deadline_timer);
	if (!request->session || !request->answer) {
		/* Nobody listens; or there is no memory for the answer, and the id will be found unanswered.
		 */
		request_free(request);
		return;
	}
	request->state = REQUEST_ANSWERING;
}

void request_fail(struct request *request, const struct err *err)
{
	Schedrig__V1__Response response = SCHEDRIG__V1__RESPONSE__INIT;
	request_pack(request, err, &response);
	request_answer(request);
}

void request_cancel(struct request *request, const char *why)
{
	struct control *control = request->control;
	struct err err = ERR_INIT;
	if (request->state == REQUEST_RUNNING && request->is_submit) {
		snprintf(request->cancel_why, sizeof(request->cancel_why), "%s", why);
		engine_cancel(control->engine, request->cancel_why);
	} else if (request->state == REQUEST_WAITING) {
		err_set(&err, ERR_CANCELLED, "%s", why);
		request_fail(request, &err);
	}
}

void request_abandon(struct request *request)
{
	bool detached = request->is_submit && request->message->submit->detach;
	detach_session(request);
	switch (request->state) {
	case REQUEST_WAITING:
		if (detached)
			return;
		break;
	case REQUEST_RUNNING:
		if (request->is_submit && !detached)
			request_cancel(request, "the client went away");
		return;
	case REQUEST_ANSWERING:
	case REQUEST_STREAMING:
		break;
	}
	request_free(request);
}

/* Hands the id over to a request that only answers; the original works on unheard. */
static void answer_early(struct request *request, const struct err *err)
{
	struct control *control = request->control;
	struct request *stand_in = calloc(1, sizeof(*stand_in));
	if (!stand_in)
		return;
	stand_in->control = control;
	stand_in->seq = request->seq;
	stand_in->kind = request->kind;
	stand_in->session = request->session;
	request->session->n_requests++;
	DL_APPEND(control->requests, stand_in);
	detach_session(request);
	request_fail(stand_in, err);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct request *request = arg;
	struct err err = ERR_INIT;
	if (request->state == REQUEST_WAITING) {
		err_set(&err, ERR_TIMEOUT, "the deadline of the %s request passed before it could start",
			request->kind->name);
		request_fail(request, &err);
	} else if (request->state == REQUEST_RUNNING && request->is_submit) {
		request_cancel(request, "the deadline of the request passed");
	} else if (request->state == REQUEST_RUNNING && request->session) {
		err_set(&err, ERR_TIMEOUT,
			"the deadline of the %s request passed; what it has begun goes on to its own end",
			request->kind->name);
		answer_early(request, &err);
	}
}

static int arm_deadline(struct request *request)
{
	if (!request->message->deadline)
		return 0;
	request->deadline_timer = evtimer_new(loop_base(request->control->loop), on_deadline, request);
	struct timeval wait = clock_timeval(request->message->deadline->ns);
	return request->deadline_timer && event_add(request->deadline_timer, &wait) == 0 ? 0 : -ENOMEM;
}

void request_done(void *arg)
{
	struct request *request = arg;
	struct control *control = request->control;
	request->threadless = true;
	if (request->slot && request->slot->working == request)
		request->slot->working = NULL;
	request->slot = NULL;
	if (control->scenario == request)
		control->scenario = NULL;
	control_freeze_adopt(request);
	control_freeze_release(request);
	request->last_event = control_ring_last(&control->ring);
	request_answer(request);
}

static void worker(void *arg)
{
	struct request *request = arg;
	request->kind->run(request);
	/* Whoever waits for this answer has no other way to learn of it, so an allocation that fails is tried
	 * again rather than lost. */
	while (loop_post(request->control->loop, request->control, request_done, request) < 0)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void start(struct request *request)
{
	struct control *control = request->control;
	struct err err = ERR_INIT;
	if (prepared_get(request, &err) < 0) {
		request_fail(request, &err);
		return;
	}
	request->state = REQUEST_RUNNING;
	if (request->is_submit) {
		control->scenario = request;
		request->streams = true;
		request->next_event = control_ring_last(&control->ring) + 1;
		request->last_event = UINT64_MAX;
	} else if (request->session) {
		request->slot = request->session;
		request->slot->working = request;
		request->slot_holds_freeze = control->frozen && control->frozen_by == request->session;
		control_freeze_use(request);
	}
	if (request->message->kind_case == SCHEDRIG__V1__REQUEST__KIND_FREEZE &&
		control_freeze_begin(request))
		return;
	int r = tpool_run(control->pool, worker, request, &err);
	if (r == 0)
		return;
	request->state = REQUEST_WAITING;
	request->streams = false;
	control_freeze_release(request);
	err_wrap(&err, "the %s request", request->kind->name);
	if (request->slot)
		request->slot->working = NULL;
	if (control->scenario == request)
		control->scenario = NULL;
	request_fail(request, &err);
}

/* Whether its client has something unread: then nothing new is begun for it. */
static bool has_unread(const struct session *session)
{
	const struct request *request;
	DL_FOREACH (session->control->requests, request)
		if (request->session == session && request->state == REQUEST_ANSWERING)
			return true;
	return false;
}

void request_schedule(struct control *control)
{
	struct request *request, *next;
	struct err err = ERR_INIT;
	DL_FOREACH_SAFE(control->requests, request, next)
	{
		if (request->state != REQUEST_WAITING)
			continue;
		if (control->stopping) {
			request_cancel(request, control->stop_why);
		} else if (!request->kind->worker) {
			/* A thaw that had to wait. It may end requests that stand after it in the list. */
			if (control_thaw_must_wait(request))
				continue;
			request->kind->run(request);
			control_kick(control);
			return;
		} else if (request->kind->needs_ready && control->ended.code != ERR_NONE) {
			err = control->ended;
			request_fail(request, &err);
		} else if (request->kind->needs_ready && !control->ready) {
			continue;
		} else if (request->is_submit) {
			if (!control->scenario)
				start(request);
		} else if (!request->session->working && !has_unread(request->session) &&
			   !control_freeze_is_busy(request) && !control_thaw_is_ahead(request)) {
			err = (struct err)ERR_INIT;
			if (control_freeze_forbids(request, &err))
				request_fail(request, &err);
			else
				start(request);
		}
	}
}

/* Another scenario runs or waits. */
static const struct request *find_submit(const struct control *control)
{
	const struct request *request;
	DL_FOREACH (control->requests, request)
		if (request->is_submit &&
			(request->state == REQUEST_WAITING || request->state == REQUEST_RUNNING))
			return request;
	return NULL;
}

static int admit_submit(struct control *control, const Schedrig__V1__SubmitRequest *submit, struct err *err)
{
	const struct request *other = find_submit(control);
	if (!submit->scenario)
		return err_set(err, ERR_INVALID_ARGUMENT, "the submit request has no scenario");
	if (other && !submit->queue)
		return err_set(err, ERR_BUSY, "scenario %s %s: wait for its end, or ask to be queued",
			other->message->submit->scenario->name,
			other->state == REQUEST_RUNNING ? "is running" : "waits to run");
	unsigned waiting = 0;
	DL_FOREACH (control->requests, other)
		waiting += other->is_submit && other->state == REQUEST_WAITING;
	if (waiting >= CONTROL_QUEUE_MAX)
		return err_set(
			err, ERR_BUSY, "%u scenarios wait already, which is the limit", CONTROL_QUEUE_MAX);
	return 0;
}

void request_new(struct session *session, const struct frame_header *header, Schedrig__V1__Request *message)
{
	struct control *control = session->control;
	struct err err = ERR_INIT;
	struct request *request = calloc(1, sizeof(*request));
	if (!request) {
		err_set_os(&err, ERR_HOST, ENOMEM, "cannot take the request");
		pb_free(message);
		session_send_error(session, header->seq, &err);
		return;
	}
	request->control = control;
	request->session = session;
	request->seq = header->seq;
	request->length = header->length;
	request->message = message;
	request->kind = request_kind_find(message->kind_case);
	session->n_requests++;
	session->request_bytes += request->length;
	/* In the list only now is it counted as a submit. */
	int r = 0;
	if (!request->kind)
		r = err_set(&err, ERR_UNSUPPORTED,
			"this controller does not know that request: it may be older than the client");
	else if (request->kind->needs_ready && control->stopping)
		r = err_set(
			&err, ERR_FAILED_PRECONDITION, "the controller is stopping: %s", control->stop_why);
	else if (message->kind_case == SCHEDRIG__V1__REQUEST__KIND_SUBMIT)
		r = admit_submit(control, message->submit, &err);
	DL_APPEND(control->requests, request);
	if (r == 0 && arm_deadline(request) < 0)
		r = err_set_os(&err, ERR_HOST, ENOMEM, "cannot set the request's deadline");
	if (r < 0) {
		request_fail(request, &err);
		return;
	}
	request->is_submit = message->kind_case == SCHEDRIG__V1__REQUEST__KIND_SUBMIT;
	if (request->kind->worker)
		control_kick(control);
	else
		request->kind->run(request);
}
