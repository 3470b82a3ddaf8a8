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
	engine->definitions_of++;
	engine->n_taking = 0;
}

/* Nothing more of this scenario can be ended: whoever holds one now has had the agent's answer, or the answer
 * says that there was nothing. But for one who waits for a payload of his own that is called the same: not
 * for ever, and not when the scenario was cancelled. */
static bool may_come(const struct engine *engine)
{
	return engine->n_taking || (engine->n_ending && !engine->cancelled);
}

void adopted_end(struct run *run)
{
	struct engine *engine = run->engine;
	struct timespec until = clock_timespec(clock_deadline_ns(RELEASE_NS));
	pthread_mutex_lock(&engine->lock);
	while (may_come(engine))
		if (pthread_cond_timedwait(&engine->changed, &engine->lock, &until) == ETIMEDOUT)
			break;
	engine->definitions = NULL;
	engine->n_definitions = 0;
	unsigned lost = engine->n_taking;
	struct adopted *first = TAKE_PTR(engine->adopted);
	pthread_mutex_unlock(&engine->lock);
	while (first) {
		struct adopted *next = first->next;
		run_keep_payload(run, first->report);
		free(first);
		first = next;
	}
	if (lost)
		run_find(run, SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_INCONCLUSIVE, "payload_check", "", 0,
			"clients ended %u payloads of this scenario, and what they left was not fetched "
			"within "
			"%u s of its end",
			lost, (unsigned)(RELEASE_NS / NS_PER_S));
}

uint64_t adopted_hold(struct engine *engine, const char *name)
{
	SCOPE_LOCK(&engine->lock);
	if (!payload_find(engine->definitions, engine->n_definitions, name))
		return 0;
	engine->n_ending++;
	return engine->definitions_of;
}

void adopted_release(struct engine *engine)
{
	SCOPE_LOCK(&engine->lock);
	engine->n_ending--;
	pthread_cond_broadcast(&engine->changed);
}

/* What is to be known of the moment at which the agent's answer came: the scenario, or its step, may end
 * while output is fetched. */
struct taking {
	uint64_t run, step;
	Schedrig__V1__Payload *definition; /* a copy; NULL: none */
	bool counts;                       /* the scenario started it */
};

static struct taking taking_begin(
	struct engine *engine, uint64_t run, const Schedrig__V1__PayloadReport *report)
{
	SCOPE_LOCK(&engine->lock);
	struct taking taking = {.run = run ? run : engine->definitions_of};
	const Schedrig__V1__Payload *payload =
		taking.run == engine->definitions_of
			? payload_find(engine->definitions, engine->n_definitions, report->name)
			: NULL;
	if (!payload)
		return taking;
	taking.step = engine->step_number;
	taking.definition = copy_of(&payload->base);
	taking.counts = !report->adhoc;
	engine->n_taking += taking.counts;
	return taking;
}

/* Without memory for the copy it stays among those that are being taken, and so is missed. */
static void hand_over(
	struct engine *engine, const struct taking *taking, const Schedrig__V1__PayloadReport *report)
{
	struct adopted *one = malloc(sizeof(*one));
	Schedrig__V1__PayloadReport *copy = one ? copy_of(&report->base) : NULL;
	uint64_t loop_seq = 0;
	pthread_mutex_lock(&engine->lock);
	bool runs = engine->definitions && engine->definitions_of == taking->run;
	if (runs && report->stop && engine->step_number == taking->step) {
		engine->step_over = true;
		loop_seq = engine->loop_seq;
	}
	if (runs && copy) {
		struct adopted **at = &engine->adopted;
		while (*at)
			at = &(*at)->next;
		*one = (struct adopted){.report = TAKE_PTR(copy)};
		*at = TAKE_PTR(one);
		engine->n_taking--;
	}
	pthread_cond_broadcast(&engine->changed);
	pthread_mutex_unlock(&engine->lock);
	/* The agent's own loop ends early; every other list ends before its next request. */
	if (loop_seq)
		agent_cancel(engine, loop_seq);
	pb_free(copy);
	free(one);
}

void adopted_take(struct engine *engine, uint64_t run, Schedrig__V1__PayloadReport *report)
{
	struct taking taking = taking_begin(engine, run, report);
	payload_take(engine, taking.definition, report->adhoc || !taking.definition, report);
	if (taking.counts)
		hand_over(engine, &taking, report);
	pb_free(taking.definition);
}
