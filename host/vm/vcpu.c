/* SPDX-License-Identifier: GPL-2.0-only */
/* A vCPU and its thread: KVM_RUN, exits, parking at the gate. Nothing here allocates, logs or takes a lock
 * once the thread runs. */
#include "host/vm/vm_internal.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define VCPU_STACK_BYTES (256u << 10)

static _Thread_local struct vcpu *current;

struct vcpu *vcpu_current(void)
{
	return current;
}

void vm_futex_wait_in(_Atomic uint32_t *word, uint32_t seen, uint64_t deadline_ns, uint32_t groups)
{
	struct timespec ts = clock_timespec(deadline_ns);
	/* FUTEX_WAIT_BITSET takes an absolute CLOCK_MONOTONIC time. Every caller looks at the word again. */
	syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, seen,
		deadline_ns == CLOCK_NEVER_NS ? NULL : &ts, NULL, groups);
}

void vm_futex_wake_in(_Atomic uint32_t *word, uint32_t groups)
{
	syscall(SYS_futex, word, FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG, INT32_MAX, NULL, NULL, groups);
}

void vm_futex_wait(_Atomic uint32_t *word, uint32_t seen, uint64_t deadline_ns)
{
	vm_futex_wait_in(word, seen, deadline_ns, FUTEX_GROUP_ALL);
}

void vm_futex_wake(_Atomic uint32_t *word)
{
	vm_futex_wake_in(word, FUTEX_GROUP_ALL);
}

void vcpu_set_immediate_exit(struct vcpu *vcpu, uint8_t value)
{
	/* Sequentially consistent, against the gate: a freezer writes gate then flag, the vCPU thread clears
	 * the flag then reads the gate. So either it sees the gate closed or KVM_RUN sees the flag. */
	__atomic_store_n(&vcpu->run->immediate_exit, value, __ATOMIC_SEQ_CST);
}

void vcpu_signal(struct vcpu *vcpu)
{
	/* Against the store in vcpu_thread(): a thread that is not seen here has yet to look at the gate. */
	pid_t tid = atomic_load(&vcpu->tid);
	if (!tid)
		return;
	atomic_fetch_add_explicit(&vcpu->n_kicks, 1, memory_order_relaxed);
	/* pthread_kill() takes four system calls, three of them for threads that may end any time. Should
	 * this one have left, and its number be another thread's of ours by now, that one has the signal
	 * blocked or ignores it. */
	syscall(SYS_tgkill, vcpu->vm->pid, tid, VCPU_KICK_SIGNAL);
}

/* --- life --- */

int vcpu_create(struct vm *vm, unsigned index, unsigned long id, struct err *err)
{
	struct vcpu *vcpu = &vm->vcpus[index];
	vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, id);
	if (vcpu->fd < 0) {
		int e = errno;
		if (e == EMFILE || e == ENFILE)
			return err_set_os(err, ERR_HOST, e,
				"cannot create vCPU %u: each takes a file descriptor; raise the limit "
				"(ulimit -n)",
				index);
		return err_set_os(err, ERR_HOST, e, "cannot create vCPU %u (APIC id %lu)", index, id);
	}
	void *run = mmap(NULL, vm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (run == MAP_FAILED)
		return err_set_os(err, ERR_HOST, errno, "cannot map the state of vCPU %u", index);
	vcpu->run = run;
	return 0;
}

void vcpu_destroy(struct vcpu *vcpu)
{
	if (vcpu->run)
		munmap(vcpu->run, vcpu->vm->run_bytes);
	if (vcpu->fd >= 0)
		close(vcpu->fd);
}

/* --- parking --- */

void vcpu_capture(struct vcpu *vcpu)
{
	struct vcpu_state *s = &vcpu->state;
	s->read_errno = 0;
	if (ioctl(vcpu->fd, KVM_GET_REGS, &s->regs) < 0 || ioctl(vcpu->fd, KVM_GET_SREGS, &s->sregs) < 0)
		s->read_errno = errno;
	struct kvm_mp_state mp = {.mp_state = KVM_MP_STATE_RUNNABLE};
	if (vcpu->vm->irqchip && ioctl(vcpu->fd, KVM_GET_MP_STATE, &mp) < 0)
		s->read_errno = errno;
	s->mp_state = mp.mp_state;
	s->exit_reason = atomic_load_explicit(&vcpu->last_exit, memory_order_relaxed);
	s->dead = vcpu->dead;
	vcpu_time_capture(vcpu);
}

/* Tells a freeze that waits under this gate number that one more has arrived; the last one wakes it. */
static void count_parked(struct vcpu *vcpu, uint32_t gate)
{
	struct vm *vm = vcpu->vm;
	uint32_t number = GATE_NUMBER(gate);
	if (atomic_load_explicit(&vcpu->parked_at, memory_order_relaxed) == number)
		return;
	/* Release: the captured state is there for whoever reads this, or the count below, with acquire. */
	atomic_store_explicit(&vcpu->parked_at, number, memory_order_release);
	uint32_t seen = atomic_load_explicit(&vm->unparked, memory_order_relaxed);
	do {
		if (seen >> 16 != (number & 0xffff) || (seen & 0xffff) == 0)
			return;
	} while (!atomic_compare_exchange_weak_explicit(
		&vm->unparked, &seen, seen - 1, memory_order_acq_rel, memory_order_relaxed));
	if ((seen & 0xffff) != 1)
		return;
	/* Read after the gate was seen closed. One that is begun this moment has another number: it learns of
	 * its own last one, and a wake too many harms nobody. */
	if (atomic_load_explicit(&vm->has_begun, memory_order_relaxed))
		(void)!write(vm->begun_fd, &(uint64_t){1}, sizeof(uint64_t));
	else
		vm_futex_wake(&vm->unparked);
}

void vcpu_run_once(struct vcpu *vcpu)
{
	int r = ioctl(vcpu->fd, KVM_RUN, 0), errnum = errno;
	/* No other thread writes it. */
	atomic_store_explicit(&vcpu->n_exits, atomic_load_explicit(&vcpu->n_exits, memory_order_relaxed) + 1,
		memory_order_relaxed);
	if (r < 0) {
		switch (errnum) {
		case EINTR:
			vcpu->completing = false;
			return;
		case EAGAIN: /* an AP that waits for its SIPI was woken by something else */
			return;
		default:
			vcpu_report_run_error(vcpu, errnum);
			vcpu->dead = true;
			/* KVM will not complete it any more, and whoever waits for that would wait for ever.
			 */
			vcpu->completing = false;
			return;
		}
	}
	atomic_store_explicit(&vcpu->last_exit, vcpu->run->exit_reason, memory_order_relaxed);
	/* vm_end() from a device's callback makes it dead, too. */
	enum vcpu_exit_result result = vcpu_serve_exit(vcpu);
	vcpu->completing = result == VCPU_EXIT_COMPLETE;
	if (result == VCPU_EXIT_DEAD)
		vcpu->dead = true;
}

/* Registers are only right at an instruction boundary: what the last exit began is ended first, without
 * entering the guest. String and split accesses exit more than once, so until KVM says EINTR. */
void vcpu_complete_access(struct vcpu *vcpu)
{
	if (!vcpu->completing)
		return;
	vcpu_set_immediate_exit(vcpu, 1);
	while (vcpu->completing)
		vcpu_run_once(vcpu);
}

static void park(struct vcpu *vcpu, uint32_t gate)
{
	struct vm *vm = vcpu->vm;
	atomic_store_explicit(&vcpu->leaving_at, GATE_NUMBER(gate), memory_order_relaxed);
	vcpu_complete_access(vcpu);
	vcpu_capture(vcpu);
	count_parked(vcpu, gate);
	for (;;) {
		uint32_t now = atomic_load_explicit(&vm->gate, memory_order_acquire);
		if (now & GATE_STOP || GATE_NUMBER(now) != GATE_NUMBER(gate))
			break;
		/* Asked before NOTE turned over: if this sees nothing, the wait sees another word. */
		vcpu_step_serve(vcpu);
		vm_futex_wait_in(&vm->gate, now, CLOCK_NEVER_NS, vcpu_futex_group(vcpu));
	}
	vcpu_set_immediate_exit(vcpu, 0); /* then the gate is looked at again: see there */
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;
	struct vm *vm = vcpu->vm;
	current = vcpu;
	atomic_store(&vcpu->tid, (pid_t)syscall(SYS_gettid));
	uint64_t none = 0;
	if (atomic_load_explicit(&vm->first_run_ns, memory_order_relaxed) == 0)
		atomic_compare_exchange_strong(&vm->first_run_ns, &none, clock_now_ns());

	uint32_t gate;
	while (!((gate = atomic_load(&vm->gate)) & GATE_STOP)) {
		if (gate & GATE_CLOSED || vcpu->dead) {
			/* A dead one waits here for freezes to take part in, and for the end. */
			if (gate & GATE_CLOSED)
				park(vcpu, gate);
			else
				vm_futex_wait(&vm->gate, gate, CLOCK_NEVER_NS);
			continue;
		}
		vcpu_run_once(vcpu);
		if (vcpu->dead)
			vcpu_complete_access(vcpu);
		else if (__atomic_load_n(&vcpu->run->immediate_exit, __ATOMIC_RELAXED))
			vcpu_set_immediate_exit(vcpu, 0);
	}
	/* A freeze that waits for us learns of the stop now, not at its next look. What was captured for one
	 * that is held stays: its holder may be reading it. */
	if (atomic_load_explicit(&vcpu->parked_at, memory_order_relaxed) != GATE_NUMBER(gate)) {
		vcpu_complete_access(vcpu);
		vcpu_capture(vcpu);
		if (gate & GATE_CLOSED)
			count_parked(vcpu, gate);
	}
	vcpu_step_leave(vcpu);
	atomic_store_explicit(&vcpu->gone, 1, memory_order_release);
	vm_futex_wake(&vcpu->gone);
	return NULL;
}

int vcpu_thread_start(struct vcpu *vcpu, struct err *err)
{
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, VCPU_STACK_BYTES);
	sigset_t mask;
	sigfillset(&mask);
	sigdelset(&mask, VCPU_KICK_SIGNAL);
	pthread_attr_setsigmask_np(&attr, &mask);
	if (vcpu->vm->has_pin) {
		cpu_set_t cpus;
		CPU_ZERO(&cpus);
		cpuset_for_each (cpu, &vcpu->vm->pin)
			CPU_SET((size_t)cpu, &cpus);
		pthread_attr_setaffinity_np(&attr, sizeof(cpus), &cpus);
	}
	int rc = pthread_create(&vcpu->thread, &attr, vcpu_thread, vcpu);
	pthread_attr_destroy(&attr);
	if (rc)
		return err_set_os(err, ERR_HOST, rc, "cannot start the thread of vCPU %u%s", vcpu->index,
			vcpu->vm->has_pin && rc == EINVAL ? " (none of the CPUs it is pinned to is there)"
							  : "");
	vcpu->started = true;
	char name[16];
	snprintf(name, sizeof(name), "vcpu %u", vcpu->index);
	pthread_setname_np(vcpu->thread, name);
	return 0;
}
