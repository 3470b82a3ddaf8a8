/* SPDX-License-Identifier: GPL-2.0-only */
/* A scenario's payloads that others have ended (see adopted.h). Any thread. */
#include "host/engine/adopted.h"

#include "common/clock.h"
#include "host/engine/payload_end.h"
#include "proto/pb.h"

#include <errno.h>

/* What is held lasts as long as the agent takes to end a payload that is dead, and its output to come. */
#define RELEASE_NS (30 * NS_PER_S)

static void *copy_of(const ProtobufCMessage *message)
{
	_cleanup_free_ uint8_t *bytes = malloc(protobuf_c_message_get_packed_size(message) + 1);
	return bytes ? pb_unpack(message->descriptor, bytes, protobuf_c_message_pack(message, bytes)) : NULL;
}

void adopted_begin(struct run *run)
{
	struct engine *engine = run->engine;
	SCOPE_LOCK(&engine->lock);
	engine->definitions = run->scenario->payloads;
	engine->n_definitions = run->scenario->n_payloads;
}

void adopted_end(struct run *run)
{
	struct engine *engine = run->engine;
	struct timespec until = clock_timespec(clock_deadline_ns(RELEASE_NS));
	pthread_mutex_lock(&engine->lock);
	/* Nothing more of this scenario can be ended: whoever holds one now has had the agent's answer, or
	 * the answer says that there was nothing. But for one who waits for a payload of his own that is
	 * called the same, so not for ever. */
	while (engine->n_ending)
		if (pthread_cond_timedwait(&engine->changed, &engine->lock, &until) == ETIMEDOUT)
			break;
	engine->definitions = NULL;
	engine->n_definitions = 0;
	struct adopted *first = TAKE_PTR(engine->adopted);
	pthread_mutex_unlock(&engine->lock);
	while (first) {
		struct adopted *next = first->next;
		run_keep_payload(run, first->report);
		free(first);
		first = next;
	}
}

bool adopted_hold(struct engine *engine, const char *name)
{
	SCOPE_LOCK(&engine->lock);
	bool known = payload_find(engine->definitions, engine->n_definitions, name) != NULL;
	engine->n_ending += known;
	return known;
}

void adopted_release(struct engine *engine)
{
	SCOPE_LOCK(&engine->lock);
	engine->n_ending--;
	pthread_cond_broadcast(&engine->changed);
}

/* The scenario may end, and its definitions with it, while output is fetched. */
static Schedrig__V1__Payload *definition_of(struct engine *engine, const char *name)
{
	SCOPE_LOCK(&engine->lock);
	const Schedrig__V1__Payload *payload = payload_find(engine->definitions, engine->n_definitions, name);
	return payload ? copy_of(&payload->base) : NULL;
}

static void hand_over(struct engine *engine, const Schedrig__V1__PayloadReport *report)
{
	struct adopted *one = malloc(sizeof(*one));
	Schedrig__V1__PayloadReport *copy = one ? copy_of(&report->base) : NULL;
	uint64_t loop_seq = 0;
	pthread_mutex_lock(&engine->lock);
	bool runs = engine->definitions != NULL;
	if (runs && report->stop) {
		engine->step_over = true;
		loop_seq = engine->loop_seq;
	}
	if (runs && copy) {
		struct adopted **at = &engine->adopted;
		while (*at)
			at = &(*at)->next;
		*one = (struct adopted){.report = TAKE_PTR(copy)};
		*at = TAKE_PTR(one);
	}
	pthread_cond_broadcast(&engine->changed);
	pthread_mutex_unlock(&engine->lock);
	/* The agent's own loop ends early; every other list ends before its next request. */
	if (loop_seq)
		agent_cancel(engine, loop_seq);
	pb_free(copy);
	free(one);
}

void adopted_take(struct engine *engine, Schedrig__V1__PayloadReport *report)
{
	Schedrig__V1__Payload *definition = definition_of(engine, report->name);
	payload_take(engine, definition, report->adhoc || !definition, report);
	if (definition && !report->adhoc)
		hand_over(engine, report);
	pb_free(definition);
}
