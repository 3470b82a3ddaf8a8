/* SPDX-License-Identifier: GPL-2.0-only */
/* How a machine lives: start, ready, watched, and the ways in which it ends. Loop thread, but for the two
 * threads that are named here; they and vCPU threads only post. */
#include "host/machine/machine_internal.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/parse.h"
#include "host/vm/freeze.h"
#include "proto/pb.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

/* Boot deadline at full speed (spec/7, 7.6); slower hosts get as much more as they are slower. */
#define BOOT_LIMIT_NS (10 * NS_PER_S)
#define BOOT_LIMIT_PER_CPU_NS (150 * NS_PER_MS)
/* The heartbeat comes every 100 ms from a thread of the highest priority: no beat for this long is a hang. */
#define HANG_LIMIT_NS (10 * NS_PER_S)
/* An agent that lost its connection comes back within this time, or is lost. */
#define RECONNECT_LIMIT_NS (3 * NS_PER_S)
/* Power-off by the agent, before the VM is stopped from outside. */
#define STOP_LIMIT_NS (2 * NS_PER_S)

static uint64_t scaled(const struct machine *m, uint64_t ns)
{
	unsigned percent = m->speed_known && m->speed.percent ? m->speed.percent : 100;
	return ns * 100 / percent;
}

static void arm(struct event *timer, uint64_t ns)
{
	struct timeval limit = clock_timeval(ns);
	evtimer_add(timer, &limit);
}

/* --- the end
 * ------------------------------------------------------------------------------------------------------ */

/* Tells everybody once. */
static void tell_end(struct machine *m)
{
	if (m->end_told)
		return;
	m->end_told = true;
	bool was_ready = m->state == MACHINE_READY;
	m->state = MACHINE_ENDED;
	if (!was_ready && m->ended_err.code != ERR_NONE)
		m->ops.ready(m, &m->ended_err, m->ops.arg);
	else
		m->ops.ended(m, &m->ended_err, m->ops.arg);
}

static const char *const end_words[] = {
	[0] = "agent lost",
	[VM_END_POWEROFF] = "power-off",
	[VM_END_RESET] = "reset",
	[VM_END_TRIPLE_FAULT] = "triple fault",
	[VM_END_KVM_ERROR] = "KVM error",
	[VM_END_STOPPED] = "stopped",
};

static void emit_guest_end(struct machine *m)
{
	enum { TAIL = 60 };
	char *lines[TAIL];
	Schedrig__V1__Error error = SCHEDRIG__V1__ERROR__INIT;
	Schedrig__V1__GuestEnd end = SCHEDRIG__V1__GUEST_END__INIT;
	Schedrig__V1__Event event = SCHEDRIG__V1__EVENT__INIT;
	end.why = (char *)end_words[m->vm_has_ended ? m->end_info.why : 0];
	if (m->ended_err.code == ERR_GUEST_HUNG)
		end.why = (char *)"hung";
	if (m->ended_err.code != ERR_NONE) {
		link_error_to_wire(&m->ended_err, &error);
		end.error = &error;
	}
	end.n_log_tail = console_log_tail(m->console, lines, TAIL);
	end.log_tail = lines;
	event.kind_case = SCHEDRIG__V1__EVENT__KIND_GUEST_END;
	event.guest_end = &end;
	engine_emit(m->engine, &event);
	for (size_t i = 0; i < end.n_log_tail; i++)
		free(lines[i]);
}

static void on_end_thread_done(void *arg)
{
	struct machine *m = arg;
	pthread_join(m->end_thread, NULL);
	m->end_started = false;
	tell_end(m);
}

/* End thread: what must block. The VM is frozen as it is, what can be seen of it is kept, then it is stopped,
 * and everybody who waits for the guest is told. */
static void *end_thread(void *arg)
{
	struct machine *m = arg;
	if (m->ended_err.code != ERR_NONE) {
		struct freeze *freeze;
		struct err err = ERR_INIT;
		if (vm_freeze(m->vm, clock_deadline_ns(vm_freeze_limit(m->vm)), &freeze, &err) == 0) {
			engine_capture_end(m->engine, freeze, "guest-end");
			vm_thaw(freeze, NULL);
		}
		engine_guest_lost(m->engine, &m->ended_err);
	}
	vm_stop(m->vm);
	emit_guest_end(m);
	struct err gone = m->ended_err;
	if (gone.code == ERR_NONE)
		err_set(&gone, ERR_CANCELLED, "the VM has been switched off");
	link_cancel(m->link, &gone);
	/* -ENOMEM: machine_halt() joins this thread all the same. */
	if (loop_post(m->loop, m, on_end_thread_done, m) < 0)
		log_error("out of memory while the VM ended");
	return NULL;
}

/* The machine is at its end, for the reason in m->ended_err (none: as asked). */
static void begin_end(struct machine *m)
{
	if (m->end_started || m->state == MACHINE_ENDED)
		return;
	event_del(m->boot_limit);
	event_del(m->watch);
	event_del(m->stop_limit);
	event_del(m->lost_limit);
	m->end_started = true;
	int r = pthread_create(&m->end_thread, NULL, end_thread, m);
	if (r) {
		m->end_started = false;
		engine_guest_lost(m->engine, &m->ended_err);
		link_cancel(m->link, &m->ended_err);
		vm_stop(m->vm);
		tell_end(m);
	}
}

/* Why a guest that ended by itself did: the sentence in its own last words where there are any. */
static void explain_end(struct machine *m)
{
	struct err *err = &m->ended_err;
	const struct vm_end_info *info = &m->end_info;
	char line[CONSOLE_LINE_BYTES];
	if (m->stopping && info->why == VM_END_POWEROFF)
		return;
	if (info->why == VM_END_KVM_ERROR) {
		*err = info->err;
		return;
	}
	if (console_log_find(m->console, "schedrig-agent: cannot", line, sizeof(line))) {
		err_set(err, ERR_AGENT_LOST, "the agent gave up: %s", strstr(line, "schedrig-agent: ") + 16);
	} else if (console_log_find(m->console, "Attempted to kill init", line, sizeof(line))) {
		err_set(err, ERR_AGENT_LOST, "the agent died, and the kernel with it: %s", line);
	} else if (console_log_find(m->console, "Kernel panic", line, sizeof(line))) {
		err_set(err, ERR_GUEST_CRASHED, "the guest's kernel panicked: %s", line);
	} else if (info->why == VM_END_TRIPLE_FAULT) {
		err_set(err, ERR_GUEST_CRASHED,
			"vCPU %u triple-faulted; its registers may be lost (AMD resets them before the exit)",
			info->vcpu);
	} else if (info->why == VM_END_RESET) {
		err_set(err, ERR_GUEST_CRASHED, "the guest reset itself without a panic message");
	} else {
		err_set(err, ERR_AGENT_LOST, "the guest switched itself off");
	}
	if (m->state == MACHINE_BOOTING)
		err_wrap(err, "the VM did not come up");
}

static void on_vm_ended_posted(void *arg)
{
	struct machine *m = arg;
	m->vm_has_ended = true;
	console_log_drain(m->console);
	if (!m->end_started && m->state != MACHINE_ENDED && m->ended_err.code == ERR_NONE)
		explain_end(m);
	begin_end(m);
}

/* vCPU thread; once. */
void machine_on_vm_ended(const struct vm_end_info *info, void *arg)
{
	struct machine *m = arg;
	m->end_info = *info;
	if (loop_post(m->loop, m, on_vm_ended_posted, m) < 0)
		log_error("out of memory as the VM ended");
}

static void fail_end(struct machine *m)
{
	begin_end(m);
}

/* --- timers
 * ------------------------------------------------------------------------------------------------------- */

static void on_boot_limit(evutil_socket_t fd, short what, void *arg)
{
	struct machine *m = arg;
	char *last[1] = {NULL};
	unsigned n = console_log_tail(m->console, last, 1);
	char text[32];
	format_duration(scaled(m, BOOT_LIMIT_NS + m->topology.layout.n_cpus * BOOT_LIMIT_PER_CPU_NS), text,
		sizeof(text));
	err_set(&m->ended_err, ERR_TIMEOUT, "the agent did not come up within %s; last console line: %s%s",
		text, n ? last[0] : "(none)",
		m->speed.emulated ? " (this host's KVM emulates kernel mode: see the warning)" : "");
	if (n)
		free(last[0]);
	fail_end(m);
}

static void on_watch(evutil_socket_t fd, short what, void *arg)
{
	struct machine *m = arg;
	/* While it is frozen a guest cannot beat. */
	uint64_t beat = link_heartbeat(m->link), now = vm_thawed_ns(m->vm);
	if (beat != m->beat || beat == 0) {
		m->beat = beat;
		m->beat_seen_ns = now;
	} else if (now - m->beat_seen_ns > scaled(m, HANG_LIMIT_NS)) {
		char text[32];
		format_duration(now - m->beat_seen_ns, text, sizeof(text));
		err_set(&m->ended_err, ERR_GUEST_HUNG, "the guest hangs: no heartbeat of the agent for %s",
			text);
		fail_end(m);
		return;
	}
	arm(m->watch, NS_PER_S);
}

static void on_stop_limit(evutil_socket_t fd, short what, void *arg)
{
	begin_end(arg);
}

static void on_lost_limit(evutil_socket_t fd, short what, void *arg)
{
	struct machine *m = arg;
	uint64_t beat = link_heartbeat(m->link);
	if ((beat && beat != m->beat) || vm_is_frozen(m->vm)) {
		/* It lives: its way to us may be blocked by what it tests. */
		m->beat = beat;
		m->beat_seen_ns = vm_thawed_ns(m->vm);
		arm(m->lost_limit, scaled(m, RECONNECT_LIMIT_NS));
		return;
	}
	if (m->ended_err.code == ERR_NONE)
		err_set(&m->ended_err, ERR_AGENT_LOST,
			"the agent is gone: its connection ended and its heartbeat stands still");
	fail_end(m);
}

/* --- the way up
 * --------------------------------------------------------------------------------------------------- */

/* The agent is ready, and so is what the machine had to ask it for. */
static void become_ready(struct machine *m)
{
	if (m->state != MACHINE_BOOTING || m->end_started)
		return;
	m->state = MACHINE_READY;
	m->ready_ns = clock_now_ns();
	m->beat_seen_ns = vm_thawed_ns(m->vm);
	arm(m->watch, NS_PER_S);
	/* It may have gone meanwhile; it then comes back, or is lost. */
	if (!link_is_ready(m->link))
		arm(m->lost_limit, scaled(m, RECONNECT_LIMIT_NS));
	m->ops.ready(m, NULL, m->ops.arg);
}

void machine_agent_ready(struct machine *m, const struct err *err)
{
	event_del(m->lost_limit);
	machine_hear_agent(m);
	engine_link_back(m->engine);
	if (m->state != MACHINE_BOOTING || m->end_started)
		return;
	if (err) {
		m->ended_err = *err;
		err_wrap(&m->ended_err, "the VM is not as it should be");
		fail_end(m);
		return;
	}
	event_del(m->boot_limit);
	if (!machine_read_guest_symbols(m, become_ready))
		become_ready(m);
}

void machine_agent_lost(struct machine *m, const struct err *err)
{
	if (m->state == MACHINE_ENDED || m->end_started || m->stopping)
		return;
	if (m->state != MACHINE_READY)
		return;
	engine_link_lost(m->engine, err);
	arm(m->lost_limit, scaled(m, RECONNECT_LIMIT_NS));
}

static void on_speed(void *arg)
{
	struct machine *m = arg;
	pthread_join(m->speed_thread, NULL);
	m->speed_started = false;
	m->speed_known = m->speed_err.code == ERR_NONE;
	if (m->speed_known) {
		link_set_speed(m->link, m->speed.percent);
		vm_set_freeze_limit(m->vm, scaled(m, FREEZE_LIMIT_NS));
		if (m->speed.emulated)
			log_warn("this host's KVM emulates kernel mode at %llu loop iterations/s: stock "
				 "kernels will not come up; "
				 "use a host with hardware virtualisation, or run this in tests/lab/lab.sh",
				(unsigned long long)m->speed.loops_per_s);
	}
	if (m->state == MACHINE_BOOTING && !m->end_started)
		arm(m->boot_limit,
			scaled(m, BOOT_LIMIT_NS + m->topology.layout.n_cpus * BOOT_LIMIT_PER_CPU_NS));
}

static void *speed_thread(void *arg)
{
	struct machine *m = arg;
	/* While the guest boots, which takes longer: nobody needs to wait for it. */
	m->image_lacks_symbols = machine_image_lacks_symbols(m);
	int r = speed_measure(&m->speed, &m->speed_err);
	(void)r; /* deadlines are then those of full speed */
	if (loop_post(m->loop, m, on_speed, m) < 0)
		log_error("out of memory");
	return NULL;
}

int machine_start(struct machine *m, struct err *err)
{
	struct event_base *base = loop_base(m->loop);
	m->boot_limit = evtimer_new(base, on_boot_limit, m);
	m->watch = evtimer_new(base, on_watch, m);
	m->stop_limit = evtimer_new(base, on_stop_limit, m);
	m->lost_limit = evtimer_new(base, on_lost_limit, m);
	if (!m->boot_limit || !m->watch || !m->stop_limit || !m->lost_limit)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot set timers");
	int r = vm_start(m->vm, err);
	if (r < 0)
		return r;
	r = pthread_create(&m->speed_thread, NULL, speed_thread, m);
	if (r)
		return err_set_os(err, ERR_HOST, r, "cannot start a thread");
	m->speed_started = true;
	return 0;
}

/* --- the way down
 * ------------------------------------------------------------------------------------------------- */

/* Stop thread: asks the agent; the power-off that follows ends the VM. */
static void *stop_thread(void *arg)
{
	struct machine *m = arg;
	Schedrig__V1__AgentRequest request = SCHEDRIG__V1__AGENT_REQUEST__INIT;
	Schedrig__V1__PowerOff off = SCHEDRIG__V1__POWER_OFF__INIT;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_POWER_OFF;
	request.power_off = &off;
	Schedrig__V1__AgentResponse *response = NULL;
	struct err err = ERR_INIT;
	int r = link_call(m->link, &request, clock_deadline_ns(STOP_LIMIT_NS), &response, &err);
	(void)r; /* whatever it says: the VM ends, or the limit ends it */
	pb_free(response);
	return NULL;
}

void machine_stop(struct machine *m)
{
	if (m->stopping)
		return;
	m->stopping = true;
	if (m->state == MACHINE_ENDED) {
		if (!m->end_told)
			tell_end(m);
		return;
	}
	if (m->end_started)
		return;
	if (m->state != MACHINE_READY || pthread_create(&m->stop_thread, NULL, stop_thread, m)) {
		/* Nobody to ask. */
		m->state = MACHINE_READY; /* an end that was asked for is no failure to come up */
		begin_end(m);
		return;
	}
	m->stop_thread_started = true;
	arm(m->stop_limit, scaled(m, STOP_LIMIT_NS));
}

void machine_halt(struct machine *m)
{
	m->end_told = true; /* no callback any more */
	struct err gone = ERR_INIT;
	err_set(&gone, ERR_CANCELLED, "the controller stops");
	if (m->engine)
		engine_guest_lost(m->engine, &gone);
	if (m->link)
		link_cancel(m->link, &gone);
	if (m->end_started)
		pthread_join(m->end_thread, NULL);
	if (m->stop_thread_started)
		pthread_join(m->stop_thread, NULL);
	if (m->speed_started)
		pthread_join(m->speed_thread, NULL);
	machine_join_guest_symbols(m);
	m->end_started = m->stop_thread_started = m->speed_started = false;
	if (m->vm)
		vm_stop(m->vm);
	struct event **timers[] = {&m->boot_limit, &m->watch, &m->stop_limit, &m->lost_limit};
	for (size_t i = 0; i < ARRAY_SIZE(timers); i++) {
		if (*timers[i])
			event_free(*timers[i]);
		*timers[i] = NULL;
	}
}
