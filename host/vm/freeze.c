/* SPDX-License-Identifier: GPL-2.0-only */
/* The freeze rendezvous, on the side of the thread that asks for it: turns, the gate, kicks, release. What
 * vCPU threads do is in vcpu.c. */
#include "host/vm/freeze.h"

#include "common/fsat.h"
#include "common/strbuf.h"
#include "host/vm/vm_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>

/* A kick can be lost to nothing we know of; these bound what it would cost. After the last, every 20 ms. */
static const uint64_t rekick_after_ns[] = {200 * NS_PER_US, NS_PER_MS, 5 * NS_PER_MS};
#define REKICK_EVERY_NS (20 * NS_PER_MS)

/* --- turns --- */

static void leave_queue(struct vm *vm, struct freeze_waiter *waiter)
{
	struct freeze_waiter *before = NULL;
	for (struct freeze_waiter *w = vm->first_waiter; w; before = w, w = w->next) {
		if (w != waiter)
			continue;
		if (before)
			before->next = w->next;
		else
			vm->first_waiter = w->next;
		if (vm->last_waiter == w)
			vm->last_waiter = before;
		vm->n_waiters--;
		return;
	}
}

static int cancelled(struct err *err)
{
	return err_set(err, ERR_CANCELLED, "the VM is being stopped, so it cannot be frozen any more");
}

static int take_turn(struct vm *vm, uint64_t deadline_ns, struct err *err)
{
	SCOPE_LOCK(&vm->freeze_lock);
	if (vm->freeze_shut)
		return cancelled(err);
	if (vm->freeze_held) {
		if (vm->n_waiters >= FREEZE_QUEUE_MAX)
			return err_set(err, ERR_BUSY, "%u requests already wait for the VM to be frozen",
				vm->n_waiters);
		struct freeze_waiter self = {0};
		pthread_condattr_t attr;
		pthread_condattr_init(&attr);
		pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
		pthread_cond_init(&self.turn, &attr);
		pthread_condattr_destroy(&attr);
		if (vm->last_waiter)
			vm->last_waiter->next = &self;
		else
			vm->first_waiter = &self;
		vm->last_waiter = &self;
		vm->n_waiters++;

		struct timespec until = clock_timespec(deadline_ns);
		int rc = 0;
		while (!self.granted && !vm->freeze_shut && rc != ETIMEDOUT)
			rc = deadline_ns == CLOCK_NEVER_NS
				     ? pthread_cond_wait(&self.turn, &vm->freeze_lock)
				     : pthread_cond_timedwait(&self.turn, &vm->freeze_lock, &until);
		pthread_cond_destroy(&self.turn);
		if (!self.granted) {
			leave_queue(vm, &self);
			return vm->freeze_shut
				       ? cancelled(err)
				       : err_set(err, ERR_TIMEOUT,
						 "another client held the VM frozen until the deadline");
		}
	}
	vm->freeze_held = true;
	/* Granted, and stopped since: the rendezvous finds out by the gate. */
	vm->rendezvous = true;
	return 0;
}

static void rendezvous_end(struct vm *vm)
{
	SCOPE_LOCK(&vm->freeze_lock);
	vm->rendezvous = false;
	pthread_cond_broadcast(&vm->rendezvous_over);
}

static void give_turn(struct vm *vm)
{
	SCOPE_LOCK(&vm->freeze_lock);
	vm->rendezvous = false;
	pthread_cond_broadcast(&vm->rendezvous_over);
	vm->freeze_held = false;
	struct freeze_waiter *next = vm->first_waiter;
	if (!next || vm->freeze_shut)
		return;
	/* Handed over, not put up for grabs: first come, first served. */
	leave_queue(vm, next);
	vm->freeze_held = true;
	vm->rendezvous = true;
	next->granted = true;
	pthread_cond_signal(&next->turn);
}

void vm_freeze_shut(struct vm *vm)
{
	SCOPE_LOCK(&vm->freeze_lock);
	vm->freeze_shut = true;
	for (struct freeze_waiter *w = vm->first_waiter; w; w = w->next)
		pthread_cond_signal(&w->turn);
	while (vm->rendezvous)
		pthread_cond_wait(&vm->rendezvous_over, &vm->freeze_lock);
}

/* --- the gate --- */

/* Next number: odd is closed. Only the holder of the turn changes it; STOP may come in between. */
static uint32_t gate_advance(struct vm *vm)
{
	uint32_t seen = atomic_load(&vm->gate), next;
	do
		next = GATE_NUMBER(GATE_NUMBER(seen) + 1) | (seen & GATE_STOP);
	while (!atomic_compare_exchange_weak(&vm->gate, &seen, next));
	return next;
}

static void gate_open(struct vm *vm)
{
	gate_advance(vm);
	vm_futex_wake(&vm->gate);
}

static bool is_parked(const struct vcpu *vcpu, uint32_t number)
{
	return atomic_load_explicit(&vcpu->parked_at, memory_order_acquire) == number;
}

/* Parked, or on its way: it may be amid the ioctls that read its state. */
static bool is_told(const struct vcpu *vcpu, uint32_t number)
{
	return atomic_load_explicit(&vcpu->leaving_at, memory_order_relaxed) == number ||
	       is_parked(vcpu, number);
}

static uint32_t kick(struct vm *vm, uint32_t number)
{
	uint32_t kicks = 0;
	/* All flags before the first signal: a vCPU that is woken late has been told at the same time as the
	 * others. */
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		if (!is_told(&vm->vcpus[i], number))
			vcpu_set_immediate_exit(&vm->vcpus[i], 1);
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		if (is_told(&vm->vcpus[i], number))
			continue;
		vcpu_signal(&vm->vcpus[i]);
		kicks++;
	}
	return kicks;
}

static void read_task_file(pid_t tid, const char *name, char *text, size_t size)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/task/%d/%s", (int)tid, name);
	if (fsat_read(AT_FDCWD, path, text, size) <= 0)
		snprintf(text, size, "?");
}

/* "vCPU 3 (thread 71 is D in kvm_vcpu_block, system call 16, last exit IO)" */
static void describe_straggler(const struct vcpu *vcpu, struct strbuf *out)
{
	pid_t tid = atomic_load_explicit(&vcpu->tid, memory_order_relaxed);
	char stat[512], wchan[64], call[128];
	read_task_file(tid, "stat", stat, sizeof(stat));
	read_task_file(tid, "wchan", wchan, sizeof(wchan));
	read_task_file(tid, "syscall", call, sizeof(call));
	const char *name_end = strrchr(stat, ')');
	call[strcspn(call, " ")] = '\0';
	strbuf_printf(out, "vCPU %u (thread %d is %c", vcpu->index, (int)tid,
		name_end && name_end[1] && name_end[2] ? name_end[2] : '?');
	if (strcmp(wchan, "0") != 0 && strcmp(wchan, "?") != 0)
		strbuf_printf(out, " in %s", wchan);
	strbuf_printf(out, ", system call %s, last exit %s)", call,
		vcpu_exit_name(atomic_load_explicit(&vcpu->last_exit, memory_order_relaxed)));
}

static int rendezvous_failed(struct vm *vm, uint32_t number, uint64_t asked_ns, struct err *err)
{
	_cleanup_strbuf_ struct strbuf list = STRBUF_INIT;
	unsigned missing = 0, named = 0;
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		if (is_parked(&vm->vcpus[i], number))
			continue;
		missing++;
		if (named >= 4)
			continue;
		strbuf_puts(&list, named++ ? ", " : "");
		describe_straggler(&vm->vcpus[i], &list);
	}
	return err_set(err, ERR_TIMEOUT, "%u of %u vCPUs did not park within %llu ms of the kick: %s%s",
		missing, vm->n_vcpus, (unsigned long long)((clock_now_ns() - asked_ns) / NS_PER_MS),
		strbuf_str(&list), missing > named ? ", and more" : "");
}

/* Until every vCPU is parked. -ETIMEDOUT, -ECANCELED with the gate still closed. */
static int rendezvous(struct vm *vm, struct freeze_times *times, struct err *err)
{
	uint32_t expected = GATE_NUMBER(atomic_load(&vm->gate)) + 1;
	atomic_store_explicit(
		&vm->unparked, (GATE_NUMBER(expected) & 0xffff) << 16 | vm->n_vcpus, memory_order_release);
	times->asked_ns = clock_now_ns();
	uint32_t number = GATE_NUMBER(gate_advance(vm));
	times->kicks = kick(vm, number);

	uint64_t limit_ns = clock_add_ns(times->asked_ns, vm_freeze_limit(vm));
	unsigned kicked = 0;
	uint64_t next_kick_ns = clock_add_ns(times->asked_ns, rekick_after_ns[0]);
	for (;;) {
		uint32_t unparked = atomic_load_explicit(&vm->unparked, memory_order_acquire);
		if (atomic_load(&vm->gate) & GATE_STOP)
			return cancelled(err);
		if ((unparked & 0xffff) == 0)
			break;
		uint64_t now = clock_now_ns();
		if (now >= limit_ns)
			return rendezvous_failed(vm, number, times->asked_ns, err);
		if (now >= next_kick_ns) {
			times->kicks += kick(vm, number);
			kicked++;
			next_kick_ns = kicked < ARRAY_SIZE(rekick_after_ns)
					       ? clock_add_ns(times->asked_ns, rekick_after_ns[kicked])
					       : clock_add_ns(now, REKICK_EVERY_NS);
			continue;
		}
		vm_futex_wait(&vm->unparked, unparked, MIN_OF(next_kick_ns, limit_ns));
	}
	times->parked_ns = clock_now_ns();
	return 0;
}

/* What stands still with the vCPUs. Time first, at the last park; what the rest takes is no time to the
 * guest.
 */
static void hold(struct vm *vm, struct freeze_times *times, const struct freeze_options *options)
{
	vm_time_stop(vm, times, options && options->clock_runs);
	for (unsigned i = 0; i < vm->n_quiesce; i++)
		vm->quiesce[i].quiesce(vm->quiesce[i].arg);
}

static void let_go(struct vm *vm, struct freeze_times *times)
{
	for (unsigned i = vm->n_quiesce; i-- > 0;)
		vm->quiesce[i].resume(vm->quiesce[i].arg);
	vm_time_restart(vm, times);
}

/* Not from when the freeze was asked for: vm_thawed_ns() would step back. */
static void count_frozen(struct vm *vm, bool frozen)
{
	SCOPE_LOCK(&vm->freeze_lock);
	uint64_t now_ns = clock_now_ns();
	if (vm->frozen_since_ns)
		vm->frozen_total_ns += now_ns - vm->frozen_since_ns;
	vm->frozen_since_ns = frozen ? now_ns : 0;
	vm->n_freezes += frozen;
}

static void count_standing(struct vm *vm, const struct freeze_times *times)
{
	SCOPE_LOCK(&vm->freeze_lock);
	bool stood = times->guest_time == FREEZE_TIME_STOPPED;
	if (!times->time_restarted_ns) {
		vm->stood_since_ns = stood ? times->time_stopped_ns : 0;
		return;
	}
	/* Whether they did is only known now: KVM may have refused to set them back. */
	uint64_t for_ns = times->time_restarted_ns - times->time_stopped_ns;
	vm->stood_total_ns += stood ? for_ns - MIN_OF(for_ns, times->stepped_ns) : 0;
	vm->stood_since_ns = 0;
}

int vm_freeze_with(struct vm *vm, const struct freeze_options *options, uint64_t deadline_ns,
	struct freeze **ret_freeze, struct err *err)
{
	assert(!vcpu_current());
	if (!atomic_load_explicit(&vm->started, memory_order_acquire))
		return err_set(err, ERR_FAILED_PRECONDITION, "the VM has not been started yet");
	int rc = take_turn(vm, deadline_ns, err);
	if (rc < 0)
		return rc;
	struct freeze_times times = {0};
	rc = rendezvous(vm, &times, err);
	if (rc < 0) {
		gate_open(vm);
		give_turn(vm);
		return rc;
	}
	rendezvous_end(vm);
	atomic_store(&vm->steps_over, false);
	count_frozen(vm, true);
	hold(vm, &times, options);
	count_standing(vm, &times);
	vm->token = (struct freeze){.vm = vm, .times = times};
	*ret_freeze = &vm->token;
	return 0;
}

int vm_freeze(struct vm *vm, uint64_t deadline_ns, struct freeze **ret_freeze, struct err *err)
{
	return vm_freeze_with(vm, NULL, deadline_ns, ret_freeze, err);
}

void vm_thaw(struct freeze *freeze, struct freeze_times *ret_times)
{
	struct vm *vm = freeze->vm;
	let_go(vm, &freeze->times);
	count_standing(vm, &freeze->times);
	gate_open(vm);
	freeze->times.thawed_ns = clock_now_ns();
	if (ret_times)
		*ret_times = freeze->times;
	count_frozen(vm, false);
	give_turn(vm);
}

uint64_t vm_frozen_ns_total(struct vm *vm)
{
	SCOPE_LOCK(&vm->freeze_lock);
	return vm->frozen_total_ns + (vm->frozen_since_ns ? clock_now_ns() - vm->frozen_since_ns : 0);
}

uint64_t vm_freeze_count(struct vm *vm)
{
	SCOPE_LOCK(&vm->freeze_lock);
	return vm->n_freezes;
}

uint64_t vm_thawed_ns(struct vm *vm)
{
	SCOPE_LOCK(&vm->freeze_lock);
	return (vm->frozen_since_ns ? vm->frozen_since_ns : clock_now_ns()) - vm->frozen_total_ns;
}

struct vm_passed vm_passed(struct vm *vm)
{
	SCOPE_LOCK(&vm->freeze_lock);
	uint64_t now_ns = clock_now_ns();
	uint64_t stood_ns = vm->stood_total_ns + (vm->stood_since_ns ? now_ns - vm->stood_since_ns : 0);
	uint64_t frozen_ns = vm->frozen_total_ns + (vm->frozen_since_ns ? now_ns - vm->frozen_since_ns : 0);
	return (struct vm_passed){now_ns - stood_ns, frozen_ns - stood_ns};
}

bool vm_is_frozen(struct vm *vm)
{
	SCOPE_LOCK(&vm->freeze_lock);
	return vm->frozen_since_ns != 0;
}

void vm_set_freeze_limit(struct vm *vm, uint64_t limit_ns)
{
	atomic_store_explicit(&vm->freeze_limit_ns, limit_ns, memory_order_relaxed);
}

uint64_t vm_freeze_limit(const struct vm *vm)
{
	return atomic_load_explicit(&vm->freeze_limit_ns, memory_order_relaxed);
}

struct vm *freeze_vm(const struct freeze *freeze)
{
	return freeze->vm;
}

const struct vcpu_state *freeze_vcpu_state(const struct freeze *freeze, unsigned vcpu)
{
	assert(vcpu < freeze->vm->n_vcpus);
	return &freeze->vm->vcpus[vcpu].state;
}

int freeze_read_msr(
	const struct freeze *freeze, unsigned vcpu, uint32_t msr, uint64_t *ret_value, struct err *err)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} ask = {.head.nmsrs = 1, .entry.index = msr};
	assert(vcpu < freeze->vm->n_vcpus);
	int r = ioctl(freeze->vm->vcpus[vcpu].fd, KVM_GET_MSRS, &ask);
	if (r != 1)
		return err_set_os(
			err, ERR_HOST, r < 0 ? errno : EINVAL, "cannot read MSR 0x%x of vCPU %u", msr, vcpu);
	*ret_value = ask.entry.data;
	return 0;
}

struct freeze_times freeze_times_so_far(const struct freeze *freeze)
{
	return freeze->times;
}
