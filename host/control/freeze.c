/* SPDX-License-Identifier: GPL-2.0-only */
/* Freezes of clients: Freeze waits for its turn on a worker, what it got belongs to the loop, which thaws
 * when a client asks for it, when the lease runs out, when the client goes away (unless it said otherwise),
 * and when the control stops. At most one: it is the VM's only freeze. Cold accesses, captures and steps of
 * its client (of anybody, if it was detached) work within it, and what would need the guest to run is refused
 * to its client. A thaw of another client's that comes meanwhile waits for them, who are bounded: steps are
 * cut short, lists of ops end before their next cold op. A thaw of the client's own has its place in the
 * order of its requests: what it asked for before comes to its end first, unless that could wait for this
 * very thaw. Loop thread, but for request_run_freeze() and request_run_step(). */
#include "host/control/internal.h"

#include "common/clock.h"
#include "common/loop.h"
#include "common/parse.h"
#include "host/engine/engine.h"
#include "host/vm/step.h"

#include <event2/event.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#define LEASE_DEFAULT_NS (30 * NS_PER_S)
/* The guest's heart, and whoever waits for it, stand still meanwhile. */
#define LEASE_MAX_NS (3600 * NS_PER_S)
/* For its turn, when the request has no deadline of its own: longer than most leases. */
#define TURN_NS (60 * NS_PER_S)
/* For a step that names no limit. */
#define STEP_NS (10 * NS_PER_S)

static void info_fill(const struct freeze_times *times, Schedrig__V1__FreezeInfo *info)
{
	schedrig__v1__freeze_info__init(info);
	info->park_ns = times->parked_ns - times->asked_ns;
	info->kicks = times->kicks;
	info->stepped_ns = times->stepped_ns;
	if (!times->thawed_ns)
		return;
	info->frozen_ns = times->thawed_ns - times->parked_ns;
	info->resume_ns = times->thawed_ns - times->time_restarted_ns;
	info->guest_time = (Schedrig__V1__GuestTime)times->guest_time;
}

static int check_freeze(struct request *request, struct err *err)
{
	const Schedrig__V1__FreezeRequest *ask = request->message->freeze;
	char text[32];
	request->lease_ns = ask->lease && ask->lease->ns ? ask->lease->ns : LEASE_DEFAULT_NS;
	if (!engine_vm(request->control->engine))
		return err_set(err, ERR_FAILED_PRECONDITION, "there is no VM that could be frozen");
	if (request->lease_ns > LEASE_MAX_NS)
		return err_set(err, ERR_INVALID_ARGUMENT, "a lease of %s is too long: at most an hour",
			format_duration(request->lease_ns, text, sizeof(text)));
	if (request->slot_holds_freeze)
		return err_set(err, ERR_FAILED_PRECONDITION,
			"this client holds the VM frozen already: thaw it first");
	return 0;
}

static struct freeze_options freeze_options(const struct request *request)
{
	return (struct freeze_options){.clock_runs = request->message->freeze->clock_runs};
}

/* Packs what became of it: `frozen`, or why not. */
static void pack_freeze(struct request *request, const struct err *err)
{
	Schedrig__V1__FreezeInfo info;
	Schedrig__V1__Frozen frozen = SCHEDRIG__V1__FROZEN__INIT;
	Schedrig__V1__Response response = SCHEDRIG__V1__RESPONSE__INIT;
	if (request->frozen) {
		struct freeze_times times = freeze_times_so_far(request->frozen);
		info_fill(&times, &info);
		frozen.freeze = &info;
		frozen.lease_ns = request->lease_ns;
		response.kind_case = SCHEDRIG__V1__RESPONSE__KIND_FROZEN;
		response.frozen = &frozen;
	}
	request_pack(request, err, &response);
}

/* Worker, when it has to wait for its turn. */
void request_run_freeze(struct request *request)
{
	const Schedrig__V1__Duration *deadline = request->message->deadline;
	struct freeze_options options = freeze_options(request);
	struct err err = ERR_INIT;
	if (check_freeze(request, &err) == 0)
		(void)!vm_freeze_with(engine_vm(request->control->engine), &options,
			clock_deadline_ns(deadline ? deadline->ns : TURN_NS), &request->frozen, &err);
	pack_freeze(request, &err);
}

static void look_at_begun(evutil_socket_t fd, short what, void *arg)
{
	struct control *control = arg;
	struct request *request = control->begun;
	struct err err = ERR_INIT;
	uint64_t again_ns;
	if (!request) {
		/* Written after a look by time had seen the last one park. Nobody else resets it, and it
		 * would keep the loop turning. */
		uint64_t wakes;
		(void)!read(fd, &wakes, sizeof(wakes));
		return;
	}
	if (vm_freeze_look(engine_vm(control->engine), &request->frozen, &again_ns, &err) == FREEZE_PENDING) {
		struct timeval wait = clock_timeval(clock_left_ns(again_ns));
		event_add(control->begun_timer, &wait);
		return;
	}
	event_del(control->begun_timer);
	control->begun = NULL;
	pack_freeze(request, &err);
	request_done(request);
}

/* What looks at a begun freeze; made once there is a VM. */
static bool have_begun_events(struct control *control, struct vm *vm)
{
	struct event_base *base = loop_base(control->loop);
	if (!control->begun_timer)
		control->begun_timer = evtimer_new(base, look_at_begun, control);
	if (control->begun_event || !control->begun_timer)
		return control->begun_event;
	control->begun_event =
		event_new(base, vm_freeze_fd(vm), EV_READ | EV_PERSIST, look_at_begun, control);
	if (control->begun_event && event_add(control->begun_event, NULL) < 0) {
		event_free(control->begun_event);
		control->begun_event = NULL;
	}
	return control->begun_event;
}

bool control_freeze_begin(struct request *request)
{
	struct control *control = request->control;
	struct vm *vm = engine_vm(control->engine);
	struct freeze_options options = freeze_options(request);
	struct err err = ERR_INIT;
	uint64_t again_ns;
	if (control->begun || check_freeze(request, &err) < 0 || !have_begun_events(control, vm))
		return false;
	/* Whatever keeps it from beginning is told, or waited for, by the worker. */
	if (vm_freeze_begin(vm, &options, &again_ns, &err) != FREEZE_PENDING)
		return false;
	struct timeval wait = clock_timeval(clock_left_ns(again_ns));
	request->threadless = true;
	control->begun = request;
	event_add(control->begun_timer, &wait);
	return true;
}

static void answer_thaws(struct control *control, const struct freeze_times *times)
{
	struct request *request, *next;
	Schedrig__V1__FreezeInfo info;
	Schedrig__V1__Thawed thawed = SCHEDRIG__V1__THAWED__INIT;
	Schedrig__V1__Response response = SCHEDRIG__V1__RESPONSE__INIT;
	info_fill(times, &info);
	thawed.freeze = &info;
	response.kind_case = SCHEDRIG__V1__RESPONSE__KIND_THAWED;
	response.thawed = &thawed;
	DL_FOREACH_SAFE(control->requests, request, next)
	{
		if (request->state != REQUEST_RUNNING || !request->message ||
			request->message->kind_case != SCHEDRIG__V1__REQUEST__KIND_THAW)
			continue;
		request_pack(request, NULL, &response);
		request_answer(request);
	}
}

static void thaw_now(struct control *control)
{
	struct freeze_times times;
	control->thaw_asked = false;
	vm_thaw(TAKE_PTR(control->frozen), &times);
	engine_account_freeze(control->engine, &times);
	answer_thaws(control, &times);
}

static void thaw(struct control *control)
{
	if (!control->frozen || control->thaw_asked)
		return;
	event_del(control->lease_timer);
	control->frozen_by = NULL;
	if (!control->freeze_user) {
		thaw_now(control);
		return;
	}
	control->thaw_asked = true;
	atomic_store_explicit(&control->freeze_user->wanted_back, true, memory_order_relaxed);
	vm_step_cancel(freeze_vm(control->frozen));
}

void control_on_lease(evutil_socket_t fd, short what, void *arg)
{
	struct control *control = arg;
	char text[96], lease[32];
	Schedrig__V1__LogLine line = SCHEDRIG__V1__LOG_LINE__INIT;
	Schedrig__V1__Event event = SCHEDRIG__V1__EVENT__INIT;
	/* The loop's timers count from when its turn began, so they may be early. */
	uint64_t left_ns = clock_left_ns(control->lease_end_ns);
	struct timeval left = clock_timeval(left_ns);
	if (left_ns && event_add(control->lease_timer, &left) == 0)
		return;
	thaw(control);
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
	control->lease_end_ns = clock_deadline_ns(request->lease_ns);
	if (event_add(control->lease_timer, &lease) < 0)
		thaw(control);
}

void control_freeze_leave(struct control *control, const struct session *session)
{
	if (session && control->frozen_by == session)
		thaw(control);
}

void control_freeze_end(struct control *control)
{
	if (control->thaw_asked && !control->freeze_user)
		thaw_now(control);
	else
		thaw(control);
}

/* ---- requests within a client's freeze */

/* One of its client's own, that has not come to its end. */
static bool holds_freeze(const struct request *request)
{
	const struct control *control = request->control;
	return control->frozen && control->frozen_by && control->frozen_by == request->session;
}

static bool wants_freeze(const struct request *request)
{
	switch ((int)request->message->kind_case) {
	case SCHEDRIG__V1__REQUEST__KIND_STEP:
		return true;
	case SCHEDRIG__V1__REQUEST__KIND_READ:
		return request->message->read->cold;
	case SCHEDRIG__V1__REQUEST__KIND_WRITE:
		return request->message->write->cold;
	case SCHEDRIG__V1__REQUEST__KIND_READ_PREPARED:
		return request->message->read_prepared->cold;
	case SCHEDRIG__V1__REQUEST__KIND_BASES:
		return true;
	case SCHEDRIG__V1__REQUEST__KIND_APPLY:
		/* Within a freeze of one's own the engine refuses ops of the guest; they wait for the end of
		 * one that is nobody's, as what stands beside them does. */
		return engine_apply_needs_guest(request->message->apply)
			       ? holds_freeze(request)
			       : engine_apply_is_cold(request->message->apply);
	default:
		return false;
	}
}

static bool may_use(const struct request *request)
{
	const struct control *control = request->control;
	return control->frozen && !control->thaw_asked &&
	       (!control->frozen_by || control->frozen_by == request->session) && wants_freeze(request);
}

bool control_freeze_forbids(const struct request *request, struct err *err)
{
	if (!request->kind->needs_running || !holds_freeze(request))
		return false;
	err_set(err, ERR_FAILED_PRECONDITION,
		"the %s request needs the guest to run, but this client's own freeze holds the VM: thaw it "
		"first",
		request->kind->name);
	err_reason(err, "own-freeze");
	return true;
}

/* ---- the order of one client's requests around its thaw */

static bool is_kind(const struct request *request, Schedrig__V1__Request__KindCase kind)
{
	return request->message && request->message->kind_case == kind;
}

/* Of the same client, one after the other, and not at their ends. */
static bool pending_before(const struct request *other, const struct request *request)
{
	return other->session == request->session && !other->is_submit &&
	       (other->state == REQUEST_WAITING || other->state == REQUEST_RUNNING);
}

/* Whether it may not get on before the freeze that stands has ended. A Freeze waits for its turn, but not
 * longer than its deadline, and comes before its thaw. */
static bool may_need_thaw(const struct request *request)
{
	struct err refused = ERR_INIT;
	if (request->uses || is_kind(request, SCHEDRIG__V1__REQUEST__KIND_FREEZE))
		return false;
	/* Refused, or within the freeze, as soon as it begins. */
	if (request->state == REQUEST_WAITING &&
		(may_use(request) || control_freeze_forbids(request, &refused)))
		return false;
	return request->kind->needs_running || wants_freeze(request) ||
	       (is_kind(request, SCHEDRIG__V1__REQUEST__KIND_APPLY) &&
		       engine_apply_needs_guest(request->message->apply));
}

bool control_thaw_must_wait(const struct request *request)
{
	const struct control *control = request->control;
	/* The one at work, whose answer may be nobody's any more, or the first that is to come; the others
	 * come after it. */
	const struct request *other, *next = request->session->working;
	bool freeze = false;
	for (other = control->requests; other != request; other = other->next) {
		if (!pending_before(other, request) || !other->kind->worker)
			continue;
		next = next ? next : other;
		freeze |= is_kind(other, SCHEDRIG__V1__REQUEST__KIND_FREEZE);
	}
	/* A freeze of its own that is to come is what this one is to end, not whosever stands now. */
	if (freeze || control->thaw_asked)
		return freeze;
	return control->frozen && next && !may_need_thaw(next);
}

bool control_thaw_is_ahead(const struct request *request)
{
	const struct request *other;
	for (other = request->control->requests; other != request; other = other->next)
		if (pending_before(other, request) && is_kind(other, SCHEDRIG__V1__REQUEST__KIND_THAW))
			return true;
	return false;
}

void request_run_thaw(struct request *request)
{
	struct control *control = request->control;
	struct err err = ERR_INIT;
	if (control_thaw_must_wait(request))
		return; /* stays WAITING: request_schedule() comes back to it */
	if (!control->frozen) {
		err_set(&err, ERR_FAILED_PRECONDITION, "no client holds the VM frozen");
		request_fail(request, &err);
		return;
	}
	/* Answered with the thaw, now or later. It has no thread. */
	request->state = REQUEST_RUNNING;
	request->threadless = true;
	thaw(control);
}

bool control_freeze_is_busy(const struct request *request)
{
	return request->control->freeze_user && may_use(request);
}

void control_freeze_use(struct request *request)
{
	struct control *control = request->control;
	request->others_freeze =
		control->frozen && control->frozen_by && control->frozen_by != request->session;
	if (!may_use(request))
		return;
	control->freeze_user = request;
	request->uses = control->frozen;
	request->uses_until_ns = control->lease_end_ns;
}

void control_freeze_release(struct request *request)
{
	struct control *control = request->control;
	if (!TAKE_PTR(request->uses))
		return;
	control->freeze_user = NULL;
	/* On the way out, the end does it. */
	if (control->thaw_asked && !control->freeing)
		thaw_now(control);
}

static void registers_fill(const struct vcpu_state *state, Schedrig__V1__Registers *ret)
{
	const struct kvm_regs *regs = &state->regs;
	const struct kvm_sregs *sregs = &state->sregs;
	schedrig__v1__registers__init(ret);
	ret->rip = regs->rip;
	ret->rflags = regs->rflags;
	ret->rax = regs->rax;
	ret->rbx = regs->rbx;
	ret->rcx = regs->rcx;
	ret->rdx = regs->rdx;
	ret->rsi = regs->rsi;
	ret->rdi = regs->rdi;
	ret->rsp = regs->rsp;
	ret->rbp = regs->rbp;
	ret->r8 = regs->r8;
	ret->r9 = regs->r9;
	ret->r10 = regs->r10;
	ret->r11 = regs->r11;
	ret->r12 = regs->r12;
	ret->r13 = regs->r13;
	ret->r14 = regs->r14;
	ret->r15 = regs->r15;
	ret->cr0 = sregs->cr0;
	ret->cr2 = sregs->cr2;
	ret->cr3 = sregs->cr3;
	ret->cr4 = sregs->cr4;
	ret->efer = sregs->efer;
	ret->fs_base = sregs->fs.base;
	ret->gs_base = sregs->gs.base;
	ret->cs = sregs->cs.selector;
	ret->ss = sregs->ss.selector;
	ret->mp_state = state->mp_state;
}

/* Worker. */
void request_run_step(struct request *request)
{
	const Schedrig__V1__StepRequest *ask = request->message->step;
	struct err err = ERR_INIT;
	struct vm_stepped stepped = {0};
	Schedrig__V1__Registers registers;
	Schedrig__V1__Stepped answer = SCHEDRIG__V1__STEPPED__INIT;
	Schedrig__V1__Response response = SCHEDRIG__V1__RESPONSE__INIT;
	int r;
	if (request->uses) {
		struct vm_step step = {.vcpu = ask->vcpu, .count = ask->count};
		step.deadline_ns = MIN_OF(
			clock_deadline_ns(ask->limit ? ask->limit->ns : STEP_NS), request->uses_until_ns);
		r = vm_step(request->uses, &step, &stepped, &err);
	} else if (request->others_freeze) {
		err_set(&err, ERR_FAILED_PRECONDITION,
			"another client holds the VM frozen, and did not detach its freeze: only that one "
			"can step");
		r = err_reason(&err, "not-owner");
	} else {
		err_set(&err, ERR_FAILED_PRECONDITION, "no client holds the VM frozen: freeze it first");
		r = err_reason(&err, "not-frozen");
	}
	if (r == 0) {
		registers_fill(&stepped.state, &registers);
		answer.vcpu = ask->vcpu;
		answer.executed = stepped.executed;
		answer.end = (Schedrig__V1__SteppedEnd)stepped.end;
		answer.guest_ns = stepped.guest_ns;
		answer.registers = &registers;
		response.kind_case = SCHEDRIG__V1__RESPONSE__KIND_STEPPED;
		response.stepped = &answer;
	}
	request_pack(request, &err, &response);
}
