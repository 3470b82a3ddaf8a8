/* SPDX-License-Identifier: GPL-2.0-only */
/* Events: numbered, stamped, written down, handed on, in one order for everybody; and the scenario's clock.
 * Any thread. */
#include "common/clock.h"
#include "host/engine/engine_internal.h"
#include "host/engine/expect.h"
#include "host/vm/freeze.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

uint64_t engine_frozen_ns(struct engine *engine)
{
	return engine->config.vm ? vm_frozen_ns_total(engine->config.vm) : 0;
}

uint64_t engine_freezes(struct engine *engine)
{
	return engine->config.vm ? vm_freeze_count(engine->config.vm) : 0;
}

static uint64_t thawed_ns(const struct engine *engine)
{
	return engine->config.vm ? vm_thawed_ns(engine->config.vm) : clock_now_ns();
}

/* With event_lock held. */
static uint64_t scenario_now(const struct engine *engine)
{
	return engine->clock_begin_ns ? thawed_ns(engine) - engine->clock_begin_ns : 0;
}

void engine_emit(struct engine *engine, Schedrig__V1__Event *event)
{
	SCOPE_LOCK(&engine->event_lock);
	event->seq = ++engine->next_seq;
	event->time_ns = clock_now_ns();
	event->scenario_ns = scenario_now(engine);
	event->phase = engine->phase;
	if (event->kind_case == SCHEDRIG__V1__EVENT__KIND_KERNEL_LOG)
		expect_log(engine, event->kernel_log, engine->phase);
	if (engine->run_record)
		record_event(engine->run_record, event);
	else if (engine->record)
		record_event(engine->record, event);
	if (engine->config.event)
		engine->config.event(event, engine->config.arg);
}

static void emit_line(struct engine *engine, bool warning, const char *fmt, va_list args)
{
	Schedrig__V1__Event event = SCHEDRIG__V1__EVENT__INIT;
	Schedrig__V1__LogLine line = SCHEDRIG__V1__LOG_LINE__INIT;
	char text[1024];
	vsnprintf(text, sizeof(text), fmt, args);
	line.text = text;
	line.level = 4;
	event.kind_case = warning ? SCHEDRIG__V1__EVENT__KIND_WARNING : SCHEDRIG__V1__EVENT__KIND_PROGRESS;
	if (warning)
		event.warning = &line;
	else
		event.progress = &line;
	engine_emit(engine, &event);
}

void engine_progress(struct engine *engine, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	emit_line(engine, false, fmt, args);
	va_end(args);
}

void engine_warning(struct engine *engine, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	emit_line(engine, true, fmt, args);
	va_end(args);
}

void engine_emit_payload(struct engine *engine, Schedrig__V1__PayloadReport *report)
{
	Schedrig__V1__Event event = SCHEDRIG__V1__EVENT__INIT;
	event.kind_case = SCHEDRIG__V1__EVENT__KIND_PAYLOAD_END;
	event.payload_end = report;
	engine_emit(engine, &event);
}

void engine_clock_start(struct engine *engine)
{
	SCOPE_LOCK(&engine->event_lock);
	engine->clock_begin_ns = thawed_ns(engine);
}

void engine_clock_stop(struct engine *engine)
{
	SCOPE_LOCK(&engine->event_lock);
	engine->clock_begin_ns = 0;
	engine->phase = 0;
}

uint64_t engine_scenario_ns(struct engine *engine)
{
	SCOPE_LOCK(&engine->event_lock);
	return scenario_now(engine);
}

void engine_phase_set(struct engine *engine, uint32_t phase)
{
	pthread_mutex_lock(&engine->event_lock);
	engine->phase = phase;
	struct record *record = engine->run_record;
	pthread_mutex_unlock(&engine->event_lock);
	/* Unlocked: a disk may take seconds, and the loop emits events, too. The record is the run's own,
	 * that is this thread's, to close. */
	if (record)
		record_sync(record);
}

void engine_account_freeze(struct engine *engine, const struct freeze_times *times)
{
	if (times->guest_time == FREEZE_TIME_STOPPED || times->guest_time == FREEZE_TIME_RAN ||
		atomic_exchange(&engine->time_told, true))
		return;
	if (times->guest_time == FREEZE_TIME_UNSUPPORTED)
		engine_warning(engine, "this host's KVM cannot set a guest's TSC back (KVM_VCPU_TSC_OFFSET): "
				       "the guest's time "
				       "runs on while it is frozen");
	else
		engine_warning(engine,
			"KVM did not set the guest's time back after a freeze, so it ran on: %s",
			strerrordesc_np(times->guest_time_errno));
}

/* With the lock held. */
static int interrupted(const struct engine *engine)
{
	if (engine->lost.code != ERR_NONE)
		return ENGINE_WAIT_LOST;
	if (engine->link_lost.code != ERR_NONE)
		return ENGINE_WAIT_UNLINKED;
	return engine->cancelled ? ENGINE_WAIT_CANCEL : 0;
}

/* With the lock held. */
static int interrupted_or_over(const struct engine *engine)
{
	int why = interrupted(engine);
	return why ? why : engine->step_over ? ENGINE_WAIT_OVER : 0;
}

bool engine_step_over(struct engine *engine)
{
	SCOPE_LOCK(&engine->lock);
	return engine->step_over;
}

void engine_step_begin(struct engine *engine)
{
	SCOPE_LOCK(&engine->lock);
	engine->step_over = false;
	engine->step_number++;
}

int engine_interrupted(struct engine *engine)
{
	SCOPE_LOCK(&engine->lock);
	return interrupted(engine);
}

int engine_interruption(struct engine *engine, struct err *ret)
{
	SCOPE_LOCK(&engine->lock);
	int why = interrupted(engine);
	if (why == ENGINE_WAIT_LOST)
		*ret = engine->lost;
	else if (why == ENGINE_WAIT_UNLINKED)
		*ret = engine->link_lost;
	else if (why == ENGINE_WAIT_CANCEL)
		err_set(ret, ERR_CANCELLED, "%s", engine->cancel_why);
	return why;
}

bool engine_agent_forgot(struct engine *engine)
{
	int why = engine_interrupted(engine);
	return why == ENGINE_WAIT_LOST || why == ENGINE_WAIT_UNLINKED;
}

#define FROZEN_LOOK_NS (20 * NS_PER_MS)

enum engine_wait engine_wait_until(struct engine *engine, uint64_t scenario_ns)
{
	for (;;) {
		/* A freeze during the wait moves its end: look again each time. */
		uint64_t now = engine_scenario_ns(engine);
		pthread_mutex_lock(&engine->lock);
		int why = interrupted_or_over(engine);
		if (!why && now < scenario_ns) {
			/* While the VM is frozen scenario time stands still, and tells nothing of when to
			 * look. */
			uint64_t wait_ns = scenario_ns - now;
			if (engine->config.vm && vm_is_frozen(engine->config.vm))
				wait_ns = MAX_OF(wait_ns, FROZEN_LOOK_NS);
			struct timespec until = clock_timespec(clock_deadline_ns(wait_ns));
			pthread_cond_timedwait(&engine->changed, &engine->lock, &until);
			why = interrupted_or_over(engine);
		}
		pthread_mutex_unlock(&engine->lock);
		if (why)
			return (enum engine_wait)why;
		if (now >= scenario_ns)
			return ENGINE_WAIT_TIME;
	}
}

/* A guest that crashes takes its connection along before the VM's exit is seen, and may write a dump in
 * between; one that lives connects again. Neither takes this long. */
#define LOSS_WAIT_NS (60 * NS_PER_S)

void engine_explain_loss(struct engine *engine, struct err *err)
{
	if (err->code != ERR_AGENT_LOST && err->code != ERR_CANCELLED)
		return;
	struct timespec until = clock_timespec(clock_deadline_ns(LOSS_WAIT_NS));
	SCOPE_LOCK(&engine->lock);
	while (engine->lost.code == ERR_NONE && engine->link_down && !engine->cancelled &&
		err->code == ERR_AGENT_LOST)
		if (pthread_cond_timedwait(&engine->changed, &engine->lock, &until) == ETIMEDOUT)
			break;
	if (engine->lost.code != ERR_NONE)
		*err = engine->lost;
	else if (engine->link_lost.code != ERR_NONE && err->code == ERR_AGENT_LOST)
		*err = engine->link_lost;
}
