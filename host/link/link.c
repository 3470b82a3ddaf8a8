/* SPDX-License-Identifier: GPL-2.0-only */
/* The connection to the agent: life, calls from other threads (see link.h). */
#include "common/clock.h"
#include "common/parse.h"
#include "host/link/link_internal.h"
#include "host/vm/freeze.h"
#include "proto/pb.h"
#include "proto/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct link *link_new(const struct link_config *config, struct err *err)
{
	struct link *link = calloc(1, sizeof(*link));
	pthread_condattr_t attr;
	if (!link || pthread_condattr_init(&attr)) {
		free(link);
		err_set_os(err, ERR_HOST, ENOMEM, "cannot set up the link to the agent");
		return NULL;
	}
	link->config = *config;
	link->next_seq = 1;
	pthread_mutex_init(&link->lock, NULL);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&link->changed, &attr);
	pthread_condattr_destroy(&attr);
	return link;
}

void link_free(struct link *link)
{
	if (!link)
		return;
	struct err gone = ERR_INIT;
	err_set(&gone, ERR_CANCELLED, "the controller stops");
	link_cancel(link, &gone);
	loop_drain(link->config.loop, link);
	/* Callers leave by themselves now; they still use the lock to do it. */
	pthread_mutex_lock(&link->lock);
	while (link->n_calls)
		pthread_cond_wait(&link->changed, &link->lock);
	pthread_mutex_unlock(&link->lock);
	conn_free(link->conn);
	pb_free(link->hello);
	pb_free(link->ready_message);
	pthread_cond_destroy(&link->changed);
	pthread_mutex_destroy(&link->lock);
	free(link);
}

void link_set_speed(struct link *link, unsigned percent)
{
	__atomic_store_n(&link->config.speed_percent, percent, __ATOMIC_RELAXED);
}

unsigned link_speed_percent(struct link *link)
{
	/* A number by itself: nothing to be ordered with. */
	unsigned percent = __atomic_load_n(&link->config.speed_percent, __ATOMIC_RELAXED);
	return percent ? percent : 100;
}

void link_accept(struct link *link, int fd)
{
	struct err err = ERR_INIT;
	if (link->conn) {
		struct err replaced = ERR_INIT;
		err_set(&replaced, ERR_AGENT_LOST, "the agent connected anew");
		link_drop(link, &replaced);
	}
	link->greeted = false;
	link->refusal = ERR_INIT;
	link->conn = conn_new(link->config.loop, fd, LINK_QUEUE_BYTES, &link_conn_ops, link, &err);
	if (!link->conn && link->config.ops.lost)
		link->config.ops.lost(link, &err, link->config.arg);
}

struct link_call *link_find_call(struct link *link, uint64_t seq)
{
	struct link_call *call = link->calls;
	while (call && call->seq != seq)
		call = call->next;
	return call;
}

void link_end_calls(struct link *link, const struct err *why)
{
	for (struct link_call *call = link->calls; call; call = call->next) {
		if (call->done)
			continue;
		call->done = true;
		call->err = *why;
	}
	pthread_cond_broadcast(&link->changed);
}

int link_send_message(
	struct link *link, uint16_t type, uint64_t seq, const ProtobufCMessage *message, struct err *err)
{
	size_t length = protobuf_c_message_get_packed_size(message);
	if (length > FRAME_MAX_BYTES)
		return err_set(err, ERR_LIMIT_EXCEEDED,
			"a message of %zu bytes to the agent: at most %u are possible", length,
			FRAME_MAX_BYTES);
	_cleanup_free_ uint8_t *bytes = malloc(length ? length : 1);
	if (!bytes)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot send to the agent");
	protobuf_c_message_pack(message, bytes);
	struct frame_header header = {.length = (uint32_t)length, .type = type, .seq = seq};
	int r = link->conn ? conn_send(link->conn, &header, bytes) : -ENOTCONN;
	if (r == -ENOBUFS)
		return err_set(err, ERR_BUSY, "the agent does not read: too much waits to be sent to it");
	if (r < 0)
		return err_set(err, ERR_AGENT_LOST, "the agent is not connected");
	return 0;
}

/* A packed request on its way to the loop. */
struct outgoing {
	struct link *link;
	uint64_t seq;
	bool unawaited; /* nobody waits for the answer */
	size_t length;
	uint8_t bytes[];
};

static void send_outgoing(void *arg)
{
	struct outgoing *out = arg;
	struct link *link = out->link;
	struct frame_header header = {.length = (uint32_t)out->length, .type = WIRE_REQUEST, .seq = out->seq};
	pthread_mutex_lock(&link->lock);
	struct link_call *call = link_find_call(link, out->seq);
	bool wanted = out->unawaited || (call && !call->done);
	pthread_mutex_unlock(&link->lock);
	int r = !wanted ? 0 : link->conn ? conn_send(link->conn, &header, out->bytes) : -ENOTCONN;
	if (r < 0) {
		pthread_mutex_lock(&link->lock);
		call = link_find_call(link, out->seq);
		if (call && !call->done) {
			call->done = true;
			if (r == -ENOBUFS)
				err_set(&call->err, ERR_BUSY,
					"the agent does not read: too much waits to be sent to it");
			else
				err_set(&call->err, ERR_AGENT_LOST, "the connection to the agent has ended");
			pthread_cond_broadcast(&link->changed);
		}
		pthread_mutex_unlock(&link->lock);
	}
	free(out);
}

/* With the lock held. */
static int may_call(struct link *link, struct err *err)
{
	if (link->cancelled.code != ERR_NONE) {
		*err = link->cancelled;
		return err_errno(err->code);
	}
	if (!link->ready)
		return err_set(err, ERR_AGENT_LOST, "the agent is not connected");
	if (link->n_calls >= LINK_CALLS_MAX)
		return err_set(
			err, ERR_BUSY, "%d requests to the agent are in flight already", LINK_CALLS_MAX);
	return 0;
}

static int post(struct link *link, struct outgoing *out, struct err *err)
{
	/* The loop drops what is queued when it is freed; whoever waits is told by link_free(). */
	if (loop_post(link->config.loop, link, send_outgoing, out) == 0)
		return 0;
	free(out);
	return err_set_os(err, ERR_HOST, ENOMEM, "cannot send to the agent");
}

static struct outgoing *pack(struct link *link, const Schedrig__V1__AgentRequest *request, struct err *err)
{
	size_t length = schedrig__v1__agent_request__get_packed_size(request);
	if (length > FRAME_MAX_BYTES) {
		err_set(err, ERR_LIMIT_EXCEEDED,
			"a request of %zu bytes to the agent: at most %u are possible", length,
			FRAME_MAX_BYTES);
		return NULL;
	}
	struct outgoing *out = malloc(sizeof(*out) + length);
	if (!out) {
		err_set_os(err, ERR_HOST, ENOMEM, "cannot send to the agent");
		return NULL;
	}
	*out = (struct outgoing){.link = link, .length = length};
	schedrig__v1__agent_request__pack(request, out->bytes);
	return out;
}

/* How often a deadline that stands still is looked at. */
#define FROZEN_LOOK_NS (50 * NS_PER_MS)

static uint64_t frozen_ns(const struct link *link)
{
	return link->config.vm ? vm_frozen_ns_total(link->config.vm) : 0;
}

static void wait_done(struct link *link, struct link_call *call, uint64_t deadline_ns)
{
	uint64_t frozen_before_ns = frozen_ns(link), at_ns = deadline_ns;
	while (!call->done) {
		if (deadline_ns == CLOCK_NEVER_NS) {
			pthread_cond_wait(&link->changed, &link->lock);
			continue;
		}
		struct timespec until = clock_timespec(at_ns);
		if (pthread_cond_timedwait(&link->changed, &link->lock, &until) != ETIMEDOUT || call->done)
			continue;
		uint64_t moved_ns = clock_add_ns(deadline_ns, frozen_ns(link) - frozen_before_ns);
		if (clock_now_ns() >= moved_ns)
			return;
		at_ns = MAX_OF(moved_ns, clock_deadline_ns(FROZEN_LOOK_NS));
	}
}

/* With the lock held. */
static void unlist(struct link *link, struct link_call *call)
{
	for (struct link_call **at = &link->calls; *at; at = &(*at)->next) {
		if (*at != call)
			continue;
		*at = call->next;
		break;
	}
	link->n_calls--;
	link->part_bytes -= call->part_bytes;
	free(call->part);
	pthread_cond_broadcast(&link->changed);
}

int link_call(struct link *link, const Schedrig__V1__AgentRequest *request, uint64_t deadline_ns,
	Schedrig__V1__AgentResponse **ret_response, struct err *err)
{
	return link_call_noting(link, request, deadline_ns, NULL, NULL, ret_response, err);
}

int link_call_noting(struct link *link, const Schedrig__V1__AgentRequest *request, uint64_t deadline_ns,
	void (*queued)(uint64_t seq, void *arg), void *arg, Schedrig__V1__AgentResponse **ret_response,
	struct err *err)
{
	assert(!loop_is_current(link->config.loop));
	struct err local = ERR_INIT;
	err = err ? err : &local;
	uint64_t begin = clock_now_ns();
	struct outgoing *out = pack(link, request, err);
	if (!out)
		return err_errno(err->code);
	struct link_call call = {0};
	pthread_mutex_lock(&link->lock);
	int r = may_call(link, err);
	if (r < 0) {
		pthread_mutex_unlock(&link->lock);
		free(out);
		return r;
	}
	call.seq = out->seq = link->next_seq++;
	call.next = link->calls;
	link->calls = &call;
	link->n_calls++;
	pthread_mutex_unlock(&link->lock);
	r = post(link, out, err);
	if (r == 0 && queued)
		queued(call.seq, arg);
	pthread_mutex_lock(&link->lock);
	if (r == 0)
		wait_done(link, &call, deadline_ns);
	unlist(link, &call);
	pthread_mutex_unlock(&link->lock);
	if (r < 0) {
		/* A mad agent may have answered what was never sent. */
		pb_free(call.response);
		return r;
	}
	if (!call.done) {
		char text[32];
		return err_set(err, ERR_TIMEOUT, "the agent did not answer within %s",
			format_duration(clock_now_ns() - begin, text, sizeof(text)));
	}
	if (!call.response) {
		*err = call.err;
		return err_errno(err->code);
	}
	*ret_response = call.response;
	if (!call.response->error)
		return 0;
	link_error_from_wire(call.response->error, err);
	return err_errno(err->code);
}

int link_notify(struct link *link, const Schedrig__V1__AgentRequest *request, struct err *err)
{
	struct outgoing *out = pack(link, request, err);
	if (!out)
		return -ENOMEM;
	pthread_mutex_lock(&link->lock);
	bool ready = link->ready;
	out->seq = link->next_seq++;
	out->unawaited = true;
	pthread_mutex_unlock(&link->lock);
	if (ready)
		return post(link, out, err);
	free(out);
	return err_set(err, ERR_AGENT_LOST, "the agent is not connected");
}

void link_give_up(struct link *link, uint64_t seq, const struct err *why)
{
	SCOPE_LOCK(&link->lock);
	struct link_call *call = link_find_call(link, seq);
	if (!call || call->done)
		return;
	call->done = true;
	call->err = *why;
	pthread_cond_broadcast(&link->changed);
}

void link_cancel(struct link *link, const struct err *why)
{
	SCOPE_LOCK(&link->lock);
	link->cancelled = *why;
	if (link->cancelled.code == ERR_NONE)
		err_set(&link->cancelled, ERR_CANCELLED, "cancelled");
	link_end_calls(link, &link->cancelled);
}

void link_resume(struct link *link)
{
	SCOPE_LOCK(&link->lock);
	link->cancelled = ERR_INIT;
}

bool link_is_ready(struct link *link)
{
	SCOPE_LOCK(&link->lock);
	return link->ready;
}

/* A copy by way of the wire's form: messages have no other. */
static void *copy(const ProtobufCMessage *message)
{
	size_t length = protobuf_c_message_get_packed_size(message);
	_cleanup_free_ uint8_t *bytes = malloc(length ? length : 1);
	if (!bytes)
		return NULL;
	protobuf_c_message_pack(message, bytes);
	return pb_unpack(message->descriptor, bytes, length);
}

Schedrig__V1__AgentHello *link_agent_hello(struct link *link)
{
	SCOPE_LOCK(&link->lock);
	return link->hello ? copy(&link->hello->base) : NULL;
}

Schedrig__V1__AgentReady *link_agent_ready(struct link *link)
{
	SCOPE_LOCK(&link->lock);
	return link->ready_message ? copy(&link->ready_message->base) : NULL;
}
