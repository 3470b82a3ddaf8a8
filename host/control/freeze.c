/* SPDX-License-Identifier: GPL-2.0-only */
/* Freezes of clients: Freeze waits for its turn on a worker, what it got belongs to the loop, which thaws
 * when a client asks for it, when the lease runs out, when the client goes away (unless it said otherwise),
 * and when the control stops. At most one: it is the VM's only freeze. Loop thread, but for
 * request_run_freeze(). */
#include "host/control/internal.h"

#include "common/clock.h"
#include "common/loop.h"
#include "common/parse.h"
#include "host/engine/engine.h"
#include "host/vm/freeze.h"

#include <event2/event.h>
#include <string.h>

#define LEASE_DEFAULT_NS (30 * NS_PER_S)
/* The guest's heart, and whoever waits for it, stand still meanwhile. */
#define LEASE_MAX_NS (3600 * NS_PER_S)
/* For its turn, when the request has no deadline of its own: longer than most leases. */
#define TURN_NS (60 * NS_PER_S)

static void info_fill(const struct freeze_times *times, Schedrig__V1__FreezeInfo *info)
{
	schedrig__v1__freeze_info__init(info);
	info->park_ns = times->parked_ns - times->asked_ns;
	info->kicks = times->kicks;
	if (!times->thawed_ns)
		return;
	info->frozen_ns = times->thawed_ns - times->parked_ns;
	info->resume_ns = times->thawed_ns - times->time_restarted_ns;
	info->guest_time = (Schedrig__V1__GuestTime)times->guest_time;
}

/* Worker. */
void request_run_freeze(struct request *request)
{
	const Schedrig__V1__FreezeRequest *ask = request->message->freeze;
	const Schedrig__V1__Duration *deadline = request->message->deadline;
	struct vm *vm = engine_vm(request->control->engine);
	struct freeze_options options = {.clock_runs = ask->clock_runs};
	struct err err = ERR_INIT;
	Schedrig__V1__FreezeInfo info;
	Schedrig__V1__Frozen frozen = SCHEDRIG__V1__FROZEN__INIT;
	Schedrig__V1__Response response = SCHEDRIG__V1__RESPONSE__INIT;
	char text[32];
	request->lease_ns = ask->lease && ask->lease->ns ? ask->lease->ns : LEASE_DEFAULT_NS;
	int r = 0;
	if (!vm)
		r = err_set(&err, ERR_FAILED_PRECONDITION, "there is no VM that could be frozen");
	else if (request->lease_ns > LEASE_MAX_NS)
		r = err_set(&err, ERR_INVALID_ARGUMENT, "a lease of %s is too long: at most an hour",
			format_duration(request->lease_ns, text, sizeof(text)));
	else if (request->slot_holds_freeze)
		r = err_set(&err, ERR_FAILED_PRECONDITION,
			"this client holds the VM frozen already: thaw it first");
	if (r == 0)
		r = vm_freeze_with(vm, &options, clock_deadline_ns(deadline ? deadline->ns : TURN_NS),
			&request->frozen, &err);
	if (r == 0) {
		struct freeze_times times = freeze_times_so_far(request->frozen);
		info_fill(&times, &info);
		frozen.freeze = &info;
		frozen.lease_ns = request->lease_ns;
		response.kind_case = SCHEDRIG__V1__RESPONSE__KIND_FROZEN;
		response.frozen = &frozen;
	}
	request_pack(request, &err, &response);
}

static void thaw(struct control *control, struct freeze_times *ret_times)
{
	if (!control->frozen)
		return;
	event_del(control->lease_timer);
	control->frozen_by = NULL;
	vm_thaw(TAKE_PTR(control->frozen), ret_times);
}

void control_on_lease(evutil_socket_t fd, short what, void *arg)
{
	struct control *control = arg;
	char text[96], lease[32];
	Schedrig__V1__LogLine line = SCHEDRIG__V1__LOG_LINE__INIT;
	Schedrig__V1__Event event = SCHEDRIG__V1__EVENT__INIT;
	thaw(control, NULL);
	snprintf(text, sizeof(text), "a client's lease of %s ran out: the VM is thawed",
		format_duration(control->lease_ns, lease, sizeof(lease)));
	line.text = text;
	line.level = 4;
	event.kind_case = SCHEDRIG__V1__EVENT__KIND_WARNING;
	event.warning = &line;
	engine_emit(control->engine, &event);
}

void control_freeze_adopt(struct request *request)
{
	struct control *control = request->control;
	struct freeze *freeze = TAKE_PTR(request->frozen);
	if (!freeze)
		return;
	/* Nobody who would thaw it, or know that it is frozen. */
	if (!request->session || control->stopping || control->freeing) {
		vm_thaw(freeze, NULL);
		return;
	}
	assert(!control->frozen);
	struct timeval lease = clock_timeval(request->lease_ns);
	control->frozen = freeze;
	control->frozen_by = request->message->freeze->detach ? NULL : request->session;
	control->lease_ns = request->lease_ns;
	if (event_add(control->lease_timer, &lease) < 0)
		thaw(control, NULL);
}

void control_freeze_leave(struct control *control, const struct session *session)
{
	if (session && control->frozen_by == session)
		thaw(control, NULL);
}

void control_freeze_end(struct control *control)
{
	thaw(control, NULL);
}

void request_run_thaw(struct request *request)
{
	struct control *control = request->control;
	struct err err = ERR_INIT;
	Schedrig__V1__FreezeInfo info;
	Schedrig__V1__Thawed thawed = SCHEDRIG__V1__THAWED__INIT;
	Schedrig__V1__Response response = SCHEDRIG__V1__RESPONSE__INIT;
	struct freeze_times times;
	if (!control->frozen) {
		err_set(&err, ERR_FAILED_PRECONDITION, "no client holds the VM frozen");
		request_fail(request, &err);
		return;
	}
	thaw(control, &times);
	info_fill(&times, &info);
	thawed.freeze = &info;
	response.kind_case = SCHEDRIG__V1__RESPONSE__KIND_THAWED;
	response.thawed = &thawed;
	request_pack(request, NULL, &response);
	request_answer(request);
}
