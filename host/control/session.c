/* SPDX-License-Identifier: GPL-2.0-only */
/* One client: Hello, frames in, answers and events out. Loop thread. Nothing that a client sends or does not
 * read makes memory grow beyond its queue and its answers, whose number is bounded too. */
#include "host/control/internal.h"

#include "common/clock.h"
#include "common/loop.h"
#include "proto/pb.h"
#include "proto/wire.h"
#include "proto/wire_err.h"

#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <utlist.h>

#define HELLO_WAIT_NS (10 * NS_PER_S)
#define LAST_WORDS_NS (1 * NS_PER_S)

/* Sends a message as one frame. */
static int send_message(struct session *session, uint16_t type, uint64_t seq, const ProtobufCMessage *message)
{
	size_t length = protobuf_c_message_get_packed_size(message);
	if (length > FRAME_MAX_BYTES)
		return -EMSGSIZE;
	uint8_t *bytes = session->control->scratch;
	protobuf_c_message_pack(message, bytes);
	struct frame_header header = {.length = (uint32_t)length, .type = type, .seq = seq};
	return conn_send(session->conn, &header, bytes);
}

void session_end_soon(struct session *session)
{
	if (session->ending)
		return;
	session->ending = true;
	conn_pause(session->conn, true);
	event_add(session->end_timer, &(struct timeval){0});
}

void session_send_error(struct session *session, uint64_t seq, const struct err *err)
{
	Schedrig__V1__Error wire = SCHEDRIG__V1__ERROR__INIT;
	wire_err_to(err, &wire);
	/* A client that makes mistakes faster than it reads about them has lost its say. */
	if (send_message(session, WIRE_ERROR, seq, &wire.base) < 0)
		session_end_soon(session);
}

static void refuse(struct session *session, uint64_t seq, const struct err *err)
{
	session_send_error(session, seq, err);
	session_end_soon(session);
}

static void greet(struct session *session, const struct frame_header *header, const uint8_t *payload)
{
	struct err err = ERR_INIT;
	if (header->type != WIRE_HELLO) {
		err_set(&err, ERR_FAILED_PRECONDITION, "the first frame of a connection must be Hello");
		refuse(session, header->seq, &err);
		return;
	}
	Schedrig__V1__Hello *hello = pb_unpack(&schedrig__v1__hello__descriptor, payload, header->length);
	if (!hello || hello->major != WIRE_MAJOR) {
		if (hello)
			err_set(&err, ERR_UNSUPPORTED,
				"the client speaks protocol %u.%u and this controller %u.%u: use programs of "
				"one version",
				hello->major, hello->minor, WIRE_MAJOR, WIRE_MINOR);
		else
			err_set(&err, ERR_INVALID_ARGUMENT, "the first frame is not a Hello message");
		pb_free(hello);
		refuse(session, header->seq, &err);
		return;
	}
	pb_free(hello);
	const struct control *control = session->control;
	static char replay[] = "events-replay", parts[] = "message-parts", role[] = "controller";
	char *features[] = {replay, parts};
	Schedrig__V1__Hello ours = SCHEDRIG__V1__HELLO__INIT;
	ours.major = WIRE_MAJOR;
	ours.minor = WIRE_MINOR;
	ours.build = (char *)(control->config.build ? control->config.build : "");
	ours.n_features = ARRAY_SIZE(features);
	ours.features = features;
	ours.max_frame_bytes = FRAME_MAX_BYTES;
	ours.role = role;
	ours.clock_ns = clock_now_ns();
	session->greeted = true;
	event_del(session->end_timer);
	if (send_message(session, WIRE_HELLO, header->seq, &ours.base) < 0)
		session_end_soon(session);
}

/* Reading stops while too much is in work. */
static void pace(struct session *session)
{
	bool pause = session->n_requests >= CONTROL_IN_FLIGHT_MAX ||
		     session->request_bytes >= SESSION_REQUEST_BYTES || session->ending;
	if (pause != session->paused) {
		session->paused = pause;
		conn_pause(session->conn, pause);
	}
}

static void take_request(struct session *session, const struct frame_header *header, const uint8_t *payload)
{
	struct err err = ERR_INIT;
	Schedrig__V1__Request *message =
		pb_unpack(&schedrig__v1__request__descriptor, payload, header->length);
	if (!message) {
		err_set(&err, ERR_INVALID_ARGUMENT,
			"request %llu is not a message of this protocol, or holds an enum value it does not "
			"know",
			(unsigned long long)header->seq);
		session_send_error(session, header->seq, &err);
		return;
	}
	struct request *other;
	DL_FOREACH (session->control->requests, other)
		if (other->session == session && other->seq == header->seq)
			break;
	if (header->seq == 0 || other) {
		err_set(&err, ERR_INVALID_ARGUMENT,
			other ? "request id %llu is still in use"
			      : "a request's id (sequence number) cannot be %llu",
			(unsigned long long)header->seq);
		pb_free(message);
		session_send_error(session, header->seq, &err);
		return;
	}
	request_new(session, header, message);
}

static void on_frame(struct conn *conn, const struct frame_header *header, const uint8_t *payload, void *arg)
{
	struct session *session = arg;
	if (session->ending)
		return;
	if (!session->greeted) {
		greet(session, header, payload);
		return;
	}
	struct err err = ERR_INIT;
	if (header->type == WIRE_REQUEST) {
		take_request(session, header, payload);
	} else {
		err_set(&err, header->type == WIRE_HELLO ? ERR_INVALID_ARGUMENT : ERR_UNSUPPORTED,
			header->type == WIRE_HELLO ? "Hello was said already (frame type %u)"
						   : "frames of type %u are not for a controller",
			header->type);
		session_send_error(session, header->seq, &err);
	}
	pace(session);
}

static void on_oversize(struct conn *conn, const struct frame_header *header, void *arg)
{
	struct session *session = arg;
	struct err err = ERR_INIT;
	if (session->ending)
		return;
	err_set(&err, ERR_LIMIT_EXCEEDED, "a message of %u bytes is too long: the limit is %u bytes",
		header->length, FRAME_MAX_BYTES);
	if (session->greeted)
		session_send_error(session, header->seq, &err);
	else
		refuse(session, header->seq, &err);
}

static void on_closed(struct conn *conn, const struct err *err, void *arg)
{
	/* Why it ended concerns nobody but the client: its requests are abandoned either way. */
	session_free(arg);
}

static void on_drained(struct conn *conn, void *arg)
{
	struct session *session = arg;
	control_kick(session->control);
}

static void on_end_timer(evutil_socket_t fd, short what, void *arg)
{
	session_free(arg);
}

struct session *session_new(struct control *control, int fd)
{
	static const struct conn_ops ops = {
		.frame = on_frame, .oversize = on_oversize, .closed = on_closed, .drained = on_drained};
	struct err err = ERR_INIT;
	struct session *session = calloc(1, sizeof(*session));
	if (!session) {
		close(fd);
		return NULL;
	}
	session->control = control;
	int refused = control_socket_peer(fd, &session->pid, &err);
	session->conn = conn_new(control->loop, fd, SESSION_QUEUE_BYTES, &ops, session, NULL);
	session->end_timer = evtimer_new(loop_base(control->loop), on_end_timer, session);
	DL_APPEND(control->sessions, session);
	control->n_sessions++;
	struct timeval wait = clock_timeval(HELLO_WAIT_NS);
	if (!session->conn || !session->end_timer || event_add(session->end_timer, &wait) < 0) {
		session_free(session);
		return NULL;
	}
	if (refused == 0 && control->n_sessions > CONTROL_CLIENTS_MAX)
		refused = err_set(&err, ERR_LIMIT_EXCEEDED,
			"%u clients are connected already, which is the limit", CONTROL_CLIENTS_MAX);
	if (refused < 0)
		refuse(session, 0, &err);
	return session;
}

void session_free(struct session *session)
{
	if (!session)
		return;
	struct control *control = session->control;
	control_freeze_leave(control, session);
	DL_DELETE(control->sessions, session);
	control->n_sessions--;
	struct request *request, *next;
	DL_FOREACH_SAFE(control->requests, request, next)
	{
		if (request->slot == session)
			request->slot = NULL;
		if (request->session == session)
			request_abandon(request);
	}
	prepared_unref(session->prepared);
	if (session->end_timer)
		event_free(session->end_timer);
	if (session->ending && !control->freeing)
		conn_free_flushed(session->conn, LAST_WORDS_NS);
	else
		conn_free(session->conn);
	free(session);
	control_kick(control);
}

/* As much of the answer as fits: PART frames, then the RESPONSE. True when all of it is queued. */
static bool pump_answer(struct session *session, struct request *request)
{
	for (;;) {
		size_t left = request->answer_length - request->answer_sent;
		struct frame_header header = {.length = (uint32_t)MIN_OF(left, (size_t)FRAME_MAX_BYTES),
			.type = left > FRAME_MAX_BYTES ? WIRE_PART : WIRE_RESPONSE,
			.seq = request->seq};
		if (conn_send(session->conn, &header, request->answer + request->answer_sent) < 0)
			return false;
		request->answer_sent += header.length;
		if (header.type == WIRE_RESPONSE)
			return true;
	}
}

static int send_gap(struct session *session, struct request *request, uint64_t lost)
{
	Schedrig__V1__Gap gap = SCHEDRIG__V1__GAP__INIT;
	Schedrig__V1__Event event = SCHEDRIG__V1__EVENT__INIT;
	gap.lost = lost;
	event.seq = request->next_event + lost - 1;
	event.time_ns = clock_now_ns();
	event.kind_case = SCHEDRIG__V1__EVENT__KIND_GAP;
	event.gap = &gap;
	return send_message(session, WIRE_EVENT, request->seq, &event.base);
}

/* Events up to the request's last one. True when there is nothing to send for now. */
static bool pump_events(struct session *session, struct request *request)
{
	struct control *control = session->control;
	while (request->next_event <= request->last_event) {
		uint64_t seq;
		size_t length;
		if (!control_ring_get(&control->ring, request->next_event, control->scratch,
			    sizeof(control->scratch), &seq, &length)) {
			/* Numbers at the end may be missing too: an event that did not fit into memory. */
			return true;
		}
		if (seq > request->last_event)
			seq = request->last_event + 1;
		if (seq > request->next_event) {
			if (send_gap(session, request, seq - request->next_event) < 0)
				return false;
			request->next_event = seq;
			continue;
		}
		struct frame_header header = {
			.length = (uint32_t)length, .type = WIRE_EVENT, .seq = request->seq};
		if (conn_send(session->conn, &header, control->scratch) < 0)
			return false;
		request->next_event++;
	}
	return true;
}

void session_pump(struct session *session)
{
	struct control *control = session->control;
	struct request *request, *next;
	if (session->ending)
		return;
	/* Answers first: a stream of events must not keep them back. A Submit's own events do. */
	bool room = true, answered = false;
	DL_FOREACH_SAFE(control->requests, request, next)
	{
		if (request->session != session || request->state != REQUEST_ANSWERING || !room)
			continue;
		room = (!request->streams || pump_events(session, request)) && pump_answer(session, request);
		if (room) {
			request_free(request);
			answered = true;
		}
	}
	DL_FOREACH_SAFE(control->requests, request, next)
	{
		if (room && request->session == session && request->streams &&
			request->state != REQUEST_ANSWERING)
			room = pump_events(session, request);
	}
	if (answered) {
		pace(session);
		control_kick(control);
	}
}
