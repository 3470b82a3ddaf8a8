/* SPDX-License-Identifier: GPL-2.0-only */
/* The control as a whole (see control.h): accepting, events from other threads, stopping. Loop thread, but
 * for control_event(). */
#include "host/control/internal.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/loop.h"
#include "common/log.h"
#include "common/tpool.h"
#include "host/engine/engine.h"
#include "host/vm/freeze.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

#define ACCEPT_RETRY_NS (200 * NS_PER_MS)
#define STOP_LINGER_NS (1 * NS_PER_S)
/* A scenario, and a client that asks one thing after the other. */
#define CONTROL_IDLE_THREADS 2

void control_kick(struct control *control)
{
	if (!control->freeing)
		event_active(control->kick_event, EV_TIMEOUT, 0);
}

/* Answers that are not written yet keep the loop a little longer. */
static bool is_idle(const struct control *control, bool patient)
{
	const struct request *request;
	const struct session *session;
	DL_FOREACH (control->requests, request)
		if (request->state == REQUEST_RUNNING || request->state == REQUEST_WAITING ||
			(patient && request->state == REQUEST_ANSWERING))
			return false;
	DL_FOREACH (control->sessions, session)
		if (patient && conn_queued_bytes(session->conn) > 0)
			return false;
	return true;
}

static void check_idle(struct control *control, bool patient)
{
	if (!control->idle || !is_idle(control, patient))
		return;
	void (*idle)(void *arg) = TAKE_PTR(control->idle);
	idle(control->idle_arg);
}

static void on_kick(evutil_socket_t fd, short what, void *arg)
{
	struct control *control = arg;
	struct session *session;
	request_schedule(control);
	DL_FOREACH (control->sessions, session)
		session_pump(session);
	check_idle(control, true);
}

/* Polls after control_stop(): a queue that runs empty is not told of unless it was full. */
static void on_linger(evutil_socket_t fd, short what, void *arg)
{
	struct control *control = arg;
	struct timeval soon = clock_timeval(10 * NS_PER_MS);
	control->linger_left = control->linger_left ? control->linger_left - 1 : 0;
	check_idle(control, control->linger_left > 0);
	if (control->idle)
		event_add(control->linger_timer, &soon);
}

static void on_accept_retry(evutil_socket_t fd, short what, void *arg)
{
	struct control *control = arg;
	if (!control->stopping)
		event_add(control->accept_event, NULL);
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct control *control = arg;
	int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (client >= 0) {
		session_new(control, client);
		return;
	}
	if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
		/* It stays readable: without a pause the loop would do nothing else. */
		struct timeval wait = clock_timeval(ACCEPT_RETRY_NS);
		event_del(control->accept_event);
		event_add(control->retry_timer, &wait);
	}
}

struct control *control_new(const struct control_config *config, struct err *err)
{
	struct control *control = calloc(1, sizeof(*control));
	if (!control) {
		err_set_os(err, ERR_HOST, ENOMEM, "cannot set up the control socket");
		return NULL;
	}
	/* libevent writes without MSG_NOSIGNAL: a client that goes away would take the process along. */
	struct sigaction pipe;
	if (sigaction(SIGPIPE, NULL, &pipe) == 0 && pipe.sa_handler == SIG_DFL)
		signal(SIGPIPE, SIG_IGN);
	control->config = *config;
	control->loop = config->loop;
	control->engine = config->engine;
	control->socket.fd = -1;
	struct event_base *base = loop_base(config->loop);
	unsigned events = config->ring_events ? config->ring_events : CONTROL_RING_EVENTS_DEFAULT;
	size_t bytes = config->ring_bytes ? config->ring_bytes : CONTROL_RING_BYTES_DEFAULT;
	if (control_socket_open(config->path, &control->socket, err) < 0) {
		free(control);
		return NULL;
	}
	control->pool = tpool_new(CONTROL_IDLE_THREADS, err);
	int r = control_ring_init(&control->ring, events, bytes);
	control->kick_event = event_new(base, -1, 0, on_kick, control);
	control->accept_event = event_new(base, control->socket.fd, EV_READ | EV_PERSIST, on_accept, control);
	control->retry_timer = evtimer_new(base, on_accept_retry, control);
	control->linger_timer = evtimer_new(base, on_linger, control);
	control->lease_timer = evtimer_new(base, control_on_lease, control);
	if (r < 0 || !control->pool || !control->kick_event || !control->accept_event ||
		!control->retry_timer || !control->linger_timer || !control->lease_timer ||
		event_add(control->accept_event, NULL) < 0) {
		err_set_os(err, ERR_HOST, ENOMEM, "cannot set up the control socket");
		control_free(control);
		return NULL;
	}
	return control;
}

void control_free(struct control *control)
{
	if (!control)
		return;
	control->freeing = true;
	struct request *request, *next_request;
	DL_FOREACH (control->requests, request)
		if (request->state == REQUEST_RUNNING && request->is_submit && !request->threadless)
			engine_cancel(control->engine, "the controller is ending");
	/* First: others may wait for their turn behind it. */
	if (control->begun)
		vm_freeze_abandon(engine_vm(control->engine));
	tpool_free(TAKE_PTR(control->pool));
	DL_FOREACH (control->requests, request) {
		if (request->state != REQUEST_RUNNING || request->threadless)
			continue;
		request->threadless = true;
		control_freeze_adopt(request);
		control_freeze_release(request);
	}
	control_freeze_end(control);
	loop_drain(control->loop, control);
	while (control->sessions)
		session_free(control->sessions);
	DL_FOREACH_SAFE(control->requests, request, next_request)
	request_free(request);
	struct event *events[] = {control->kick_event, control->accept_event, control->retry_timer,
		control->linger_timer, control->lease_timer, control->begun_event, control->begun_timer};
	for (unsigned i = 0; i < ARRAY_SIZE(events); i++)
		if (events[i])
			event_free(events[i]);
	control_socket_close(&control->socket);
	control_ring_deinit(&control->ring);
	free(control);
}

void control_set_engine(struct control *control, struct engine *engine, const struct cpu_layout *layout,
	const char *const *staged)
{
	control->engine = engine;
	control->config.layout = layout;
	control->config.staged = staged;
}

void control_set_ready(struct control *control)
{
	assert(control->engine);
	control->ready = true;
	control_kick(control);
}

void control_set_ended(struct control *control, const struct err *why)
{
	assert(why->code != ERR_NONE);
	control->ended = *why;
	control_kick(control);
}

void control_stop(struct control *control, const char *why, void (*idle)(void *arg), void *arg)
{
	struct timeval soon = {0};
	assert(!control->stopping);
	control->stopping = true;
	snprintf(control->stop_why, sizeof(control->stop_why), "%s", why);
	control->idle = idle;
	control->idle_arg = arg;
	control->linger_left = (unsigned)(STOP_LINGER_NS / (10 * NS_PER_MS));
	event_del(control->accept_event);
	/* The guest must run to end in order. */
	control_freeze_end(control);
	if (control->scenario)
		request_cancel(control->scenario, why);
	event_add(control->linger_timer, &soon);
	control_kick(control);
}

/* ---- events (any thread) */

static void on_events(void *arg)
{
	struct control *control = arg;
	/* Pairs with the exchange in wake(): events added after this get a post of their own. */
	atomic_store_explicit(&control->wake_posted, false, memory_order_seq_cst);
	if (atomic_exchange_explicit(&control->scenario_started, false, memory_order_relaxed) &&
		control->scenario && control->scenario->cancel_why[0])
		engine_cancel(control->engine, control->scenario->cancel_why);
	control_kick(control);
}

static void wake(struct control *control)
{
	if (atomic_exchange_explicit(&control->wake_posted, true, memory_order_seq_cst))
		return;
	if (loop_post(control->loop, control, on_events, control) < 0)
		atomic_store_explicit(&control->wake_posted, false, memory_order_seq_cst);
}

/* What stands in for an event that is longer than a frame. */
static uint8_t *pack_stand_in(const Schedrig__V1__Event *event, size_t length, size_t *ret_length)
{
	char text[160];
	snprintf(text, sizeof(text),
		"an event of %zu bytes is too long for the stream: it is in the result only", length);
	Schedrig__V1__LogLine line = SCHEDRIG__V1__LOG_LINE__INIT;
	Schedrig__V1__Event small = SCHEDRIG__V1__EVENT__INIT;
	line.text = text;
	line.level = 4;
	small.seq = event->seq;
	small.time_ns = event->time_ns;
	small.scenario_ns = event->scenario_ns;
	small.phase = event->phase;
	small.kind_case = SCHEDRIG__V1__EVENT__KIND_WARNING;
	small.warning = &line;
	*ret_length = protobuf_c_message_get_packed_size(&small.base);
	uint8_t *bytes = malloc(*ret_length);
	if (bytes)
		protobuf_c_message_pack(&small.base, bytes);
	return bytes;
}

void control_event(struct control *control, const Schedrig__V1__Event *event)
{
	if (!control)
		return;
	size_t length = protobuf_c_message_get_packed_size(&event->base);
	uint8_t *bytes;
	if (length > FRAME_MAX_BYTES)
		bytes = pack_stand_in(event, length, &length);
	else if ((bytes = malloc(length ? length : 1)))
		protobuf_c_message_pack(&event->base, bytes);
	if (!bytes)
		return; /* its number is missing: readers get a gap record */
	control_ring_add(&control->ring, event->seq, bytes, length);
	/* The first thing a run tells is the progress of its preparation, which may take long. */
	if (event->kind_case == SCHEDRIG__V1__EVENT__KIND_PROGRESS ||
		event->kind_case == SCHEDRIG__V1__EVENT__KIND_SCENARIO_START)
		atomic_store_explicit(&control->scenario_started, true, memory_order_relaxed);
	wake(control);
}
