/* SPDX-License-Identifier: GPL-2.0-only */
/* The freeze rendezvous, on the side of the thread that asks for it: the gate, kicks, release. Turns are in
 * freeze_turn.c, what vCPU threads do in vcpu.c. */
#include "host/vm/freeze.h"

#include "common/fsat.h"
#include "common/strbuf.h"
#include "host/vm/vm_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* A kick can be lost to nothing we know of; these bound what it would cost. After the last, every 20 ms. */
static const uint64_t rekick_after_ns[] = {200 * NS_PER_US, NS_PER_MS, 5 * NS_PER_MS};
#define REKICK_EVERY_NS (20 * NS_PER_MS)

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

static void rendezvous_begin(struct vm *vm, const struct freeze_options *options, struct rendezvous *r)
{
	*r = (struct rendezvous){.options = options ? *options : (struct freeze_options){0}};
	uint32_t expected = GATE_NUMBER(atomic_load(&vm->gate)) + 1;
	atomic_store_explicit(
		&vm->unparked, (GATE_NUMBER(expected) & 0xffff) << 16 | vm->n_vcpus, memory_order_release);
	r->times.asked_ns = clock_now_ns();
	r->number = GATE_NUMBER(gate_advance(vm));
	r->times.kicks = kick(vm, r->number);
	r->limit_ns = clock_add_ns(r->times.asked_ns, vm_freeze_limit(vm));
	r->next_kick_ns = clock_add_ns(r->times.asked_ns, rekick_after_ns[0]);
}

static uint64_t look_again_ns(const struct rendezvous *r)
{
	return MIN_OF(r->next_kick_ns, r->limit_ns);
}

/* Whether every vCPU has parked, and kicks whoever is due. Between vm_signals_begin() and its end. 0,
 * FREEZE_PENDING (*ret_seen: the count that says so), -ETIMEDOUT, -ECANCELED with the gate still closed. */
static int rendezvous_look(struct vm *vm, struct rendezvous *r, uint32_t *ret_seen, struct err *err)
{
	for (;;) {
		uint32_t unparked = atomic_load_explicit(&vm->unparked, memory_order_acquire);
		if (atomic_load(&vm->gate) & GATE_STOP)
			return vm_freeze_cancelled(err);
		if ((unparked & 0xffff) == 0)
			break;
		uint64_t now = clock_now_ns();
		if (now >= r->limit_ns)
			return rendezvous_failed(vm, r->number, r->times.asked_ns, err);
		if (now < r->next_kick_ns) {
			*ret_seen = unparked;
			return FREEZE_PENDING;
		}
		r->times.kicks += kick(vm, r->number);
		r->n_rekicks++;
		r->next_kick_ns = r->n_rekicks < ARRAY_SIZE(rekick_after_ns)
					  ? clock_add_ns(r->times.asked_ns, rekick_after_ns[r->n_rekicks])
					  : clock_add_ns(now, REKICK_EVERY_NS);
	}
	r->times.parked_ns = clock_now_ns();
	return 0;
}

/* What stands still with the vCPUs. Time first, at the last park; what the rest takes is no time to the
 * guest.
 */
static struct freeze *hold(struct vm *vm, struct rendezvous *r)
{
	for (unsigned i = 0; i < vm->n_quiesce; i++)
		vm->quiesce[i].quiesce(vm->quiesce[i].arg);
	vm->token = (struct freeze){.vm = vm, .times = r->times};
	return &vm->token;
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

static int check_may_freeze(struct vm *vm, struct err *err)
{
	assert(!vcpu_current());
	if (!atomic_load_explicit(&vm->started, memory_order_acquire))
		return err_set(err, ERR_FAILED_PRECONDITION, "the VM has not been started yet");
	return 0;
}

static void let_everybody_go(struct vm *vm)
{
	gate_open(vm);
	vm_give_turn(vm);
}

/* Every vCPU has parked. */
static void frozen(struct vm *vm, struct rendezvous *r)
{
	vm_signals_end(vm);
	atomic_store(&vm->steps_over, false);
	count_frozen(vm, true);
	vm_time_stop(vm, &r->times, r->options.clock_runs);
	count_standing(vm, &r->times);
}

int vm_freeze_with(struct vm *vm, const struct freeze_options *options, uint64_t deadline_ns,
	struct freeze **ret_freeze, struct err *err)
{
	struct rendezvous r;
	uint32_t seen;
	int rc = check_may_freeze(vm, err);
	if (rc == 0)
		rc = vm_take_turn(vm, deadline_ns, err);
	if (rc < 0)
		return rc;
	rendezvous_begin(vm, options, &r);
	while ((rc = rendezvous_look(vm, &r, &seen, err)) == FREEZE_PENDING)
		vm_futex_wait(&vm->unparked, seen, look_again_ns(&r));
	if (rc < 0) {
		let_everybody_go(vm);
		return rc;
	}
	frozen(vm, &r);
	*ret_freeze = hold(vm, &r);
	return 0;
}

int vm_freeze(struct vm *vm, uint64_t deadline_ns, struct freeze **ret_freeze, struct err *err)
{
	return vm_freeze_with(vm, NULL, deadline_ns, ret_freeze, err);
}

/* --- without waiting --- */

int vm_freeze_begin(
	struct vm *vm, const struct freeze_options *options, uint64_t *ret_again_ns, struct err *err)
{
	int rc = check_may_freeze(vm, err);
	if (rc == 0)
		rc = vm_try_turn(vm, err);
	if (rc != 0)
		return rc;
	/* Before the gate closes, which publishes it. */
	atomic_store_explicit(&vm->has_begun, true, memory_order_relaxed);
	rendezvous_begin(vm, options, &vm->begun);
	vm_signals_end(vm);
	*ret_again_ns = look_again_ns(&vm->begun);
	return FREEZE_PENDING;
}

static void begun_over(struct vm *vm)
{
	atomic_store_explicit(&vm->has_begun, false, memory_order_relaxed);
}

int vm_freeze_look(struct vm *vm, struct freeze **ret_freeze, uint64_t *ret_again_ns, struct err *err)
{
	assert(atomic_load_explicit(&vm->has_begun, memory_order_relaxed));
	uint64_t wakes;
	uint32_t seen;
	/* Not there after a look that came by time. */
	(void)!read(vm->begun_fd, &wakes, sizeof(wakes));
	int rc = vm_signals_begin(vm, err);
	if (rc == 0)
		rc = rendezvous_look(vm, &vm->begun, &seen, err);
	if (rc == FREEZE_PENDING) {
		vm_signals_end(vm);
		*ret_again_ns = look_again_ns(&vm->begun);
		return rc;
	}
	begun_over(vm);
	if (rc < 0) {
		let_everybody_go(vm);
		return rc;
	}
	frozen(vm, &vm->begun);
	*ret_freeze = hold(vm, &vm->begun);
	return FREEZE_GOT;
}

void vm_freeze_abandon(struct vm *vm)
{
	if (!atomic_load_explicit(&vm->has_begun, memory_order_relaxed))
		return;
	begun_over(vm);
	let_everybody_go(vm);
}

int vm_freeze_fd(const struct vm *vm)
{
	return vm->begun_fd;
}

/* --- release --- */

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
	vm_give_turn(vm);
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
