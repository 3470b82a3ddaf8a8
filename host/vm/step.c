/* SPDX-License-Identifier: GPL-2.0-only */
/* Stepping (see step.h): the asker's side, and what the parked vCPU's thread does meanwhile.
 *
 *	asker                         vCPU's thread, parked at the gate
 *	job, ASKED, NOTE turns over -> wakes, executes, parks its registers
 *	reads them <------------------ DONE, wakes the asker
 *
 * The state is a futex. NEVER: the thread has left, and nobody will answer. */
#include "host/vm/step.h"

#include "host/vm/step_debug.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

enum { STEP_NONE, STEP_ASKED, STEP_DONE, STEP_NEVER };

/* How a job went, beside enum vm_step_end. */
enum { STEP_CANCELLED = VM_STEP_DEAD + 1, STEP_FAILED };

struct step_job {
	uint32_t count, executed;
	atomic_bool late; /* the asker: its deadline has passed */
	int outcome;
	int errnum; /* of STEP_FAILED */
};

/* The asker says it again as long as there is no answer: a signal can come just before KVM_RUN. */
#define REKICK_NS (20 * NS_PER_MS)

/* --- the vCPU's thread --- */

static bool is_over(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;
	return atomic_load(&vm->gate) & GATE_STOP || atomic_load(&vm->steps_over) ||
	       atomic_load(&vcpu->step_job->late);
}

static bool has_halted(struct vcpu *vcpu)
{
	struct kvm_mp_state mp;
	return vcpu->vm->irqchip && ioctl(vcpu->fd, KVM_GET_MP_STATE, &mp) == 0 &&
	       mp.mp_state == KVM_MP_STATE_HALTED;
}

/* 0: one instruction more has been executed. */
static int execute_one(struct vcpu *vcpu, const struct step_guards *guards, uint64_t rip)
{
	/* Each time: an instruction that loads the flags takes the trap flag away. */
	int r = step_arm(vcpu->vm, vcpu->fd, guards, rip);
	if (r < 0) {
		vcpu->step_job->errnum = -r;
		return STEP_FAILED;
	}
	vcpu->stepped = false;
	while (!vcpu->stepped) {
		/* Cleared, then looked: as with the gate, one of the two sees who cancels. */
		vcpu_set_immediate_exit(vcpu, 0);
		if (is_over(vcpu)) {
			vcpu_complete_access(vcpu);
			return vcpu->stepped ? 0 : STEP_CANCELLED;
		}
		/* An access to a device takes two rounds: the exit, and its completion. */
		vcpu_run_once(vcpu);
		if (vcpu->dead) {
			vcpu_complete_access(vcpu);
			return VM_STEP_DEAD;
		}
	}
	step_guards_hide_trap(vcpu);
	return 0;
}

static int execute(struct vcpu *vcpu)
{
	struct step_job *job = vcpu->step_job;
	struct step_guards guards;
	uint64_t rip = vcpu->state.regs.rip;
	step_guards_find(vcpu, &guards);
	for (;;) {
		if (job->executed && has_halted(vcpu))
			return VM_STEP_HALTED;
		if (job->executed == job->count)
			return VM_STEP_ALL;
		int outcome = execute_one(vcpu, &guards, rip);
		if (outcome)
			return outcome;
		job->executed++;
		rip = vcpu->run->debug.arch.pc;
	}
}

void vcpu_step_serve(struct vcpu *vcpu)
{
	if (atomic_load_explicit(&vcpu->step_state, memory_order_acquire) != STEP_ASKED)
		return;
	struct step_job *job = vcpu->step_job;
	vcpu->stepping = true;
	job->outcome = execute(vcpu);
	vcpu->stepping = false;
	int r = step_disarm(vcpu->fd);
	if (r < 0 && job->outcome != STEP_FAILED) {
		job->outcome = STEP_FAILED;
		job->errnum = -r;
	}
	vcpu_capture(vcpu);
	atomic_store_explicit(&vcpu->step_state, STEP_DONE, memory_order_release);
	vm_futex_wake(&vcpu->step_state);
}

void vcpu_step_leave(struct vcpu *vcpu)
{
	atomic_store_explicit(&vcpu->step_state, STEP_NEVER, memory_order_release);
	vm_futex_wake(&vcpu->step_state);
}

/* --- the asker --- */

static void kick(struct vcpu *vcpu)
{
	vcpu_set_immediate_exit(vcpu, 1);
	vcpu_signal(vcpu);
}

void vm_step_cancel(struct vm *vm)
{
	/* Said, then looked: who begins says whose step it is, then looks. */
	atomic_store(&vm->steps_over, true);
	unsigned index = atomic_load(&vm->stepping_vcpu);
	if (index)
		kick(&vm->vcpus[index - 1]);
}

static int check(const struct vcpu *vcpu, const struct vm_step *step, struct err *err)
{
	const char *reason = NULL;
	if (step->count > VM_STEP_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "at most %u instructions at once, not %u",
			VM_STEP_MAX, step->count);
	if (!step->count)
		return 0;
	if (vcpu->state.dead) {
		reason = "vcpu-dead";
		err_set(err, ERR_FAILED_PRECONDITION,
			"vCPU %u has shut down or failed: it never executes another instruction",
			vcpu->index);
	} else if (vcpu->state.mp_state == KVM_MP_STATE_HALTED) {
		reason = "vcpu-halted";
		err_set(err, ERR_FAILED_PRECONDITION,
			"vCPU %u is halted: an interrupt must come before its next instruction", vcpu->index);
	} else if (vcpu->state.mp_state != KVM_MP_STATE_RUNNABLE) {
		reason = "vcpu-waiting";
		err_set(err, ERR_FAILED_PRECONDITION, "vCPU %u has not been started by another one yet",
			vcpu->index);
	}
	return reason ? err_reason(err, reason) : step_probe(err);
}

/* Until the job is done; ends it at the deadline, or when all are to end. */
static void wait_done(struct vcpu *vcpu, uint64_t deadline_ns)
{
	struct step_job *job = vcpu->step_job;
	while (atomic_load_explicit(&vcpu->step_state, memory_order_acquire) == STEP_ASKED) {
		bool over = is_over(vcpu);
		vm_futex_wait(
			&vcpu->step_state, STEP_ASKED, over ? clock_deadline_ns(REKICK_NS) : deadline_ns);
		if (clock_now_ns() >= deadline_ns)
			atomic_store(&job->late, true);
		if (is_over(vcpu))
			kick(vcpu);
	}
}

static int explain(const struct vcpu *vcpu, const struct step_job *job, struct err *err)
{
	if (job->outcome == STEP_FAILED)
		return err_set_os(
			err, ERR_HOST, job->errnum, "KVM refuses to single-step vCPU %u", vcpu->index);
	if (job->late)
		return err_set(err, ERR_TIMEOUT, "vCPU %u executed %u of %u instructions in the time given",
			vcpu->index, job->executed, job->count);
	return err_set(err, ERR_CANCELLED,
		"stepping was given up after %u of %u instructions: the freeze ends", job->executed,
		job->count);
}

static int step_vcpu(struct vcpu *vcpu, const struct vm_step *step, struct vm_stepped *ret, struct err *err)
{
	struct vm *vm = vcpu->vm;
	struct step_job job = {.count = step->count};
	uint32_t none = STEP_NONE;
	vcpu->step_job = &job;
	atomic_store(&vm->stepping_vcpu, vcpu->index + 1);
	bool asked = atomic_compare_exchange_strong(&vcpu->step_state, &none, STEP_ASKED);
	if (asked) {
		atomic_fetch_xor(&vm->gate, GATE_NOTE);
		vm_futex_wake_in(&vm->gate, vcpu_futex_group(vcpu));
		wait_done(vcpu, step->deadline_ns);
		uint32_t done = STEP_DONE;
		asked = atomic_compare_exchange_strong(&vcpu->step_state, &done, STEP_NONE);
	}
	atomic_store(&vm->stepping_vcpu, 0);
	vcpu->step_job = NULL;
	if (!asked)
		return err_set(err, ERR_CANCELLED,
			"the VM is being stopped, so nothing runs on vCPU %u any more", vcpu->index);
	ret->executed = job.executed;
	if (job.outcome > VM_STEP_DEAD)
		return explain(vcpu, &job, err);
	ret->end = (enum vm_step_end)job.outcome;
	return 0;
}

int vm_step(struct freeze *freeze, const struct vm_step *step, struct vm_stepped *ret, struct err *err)
{
	struct vm *vm = freeze->vm;
	assert(!vcpu_current());
	*ret = (struct vm_stepped){.end = VM_STEP_ALL};
	if (step->vcpu >= vm->n_vcpus)
		return err_set(err, ERR_INVALID_ARGUMENT, "there is no vCPU %u: they are 0 to %u", step->vcpu,
			vm->n_vcpus - 1);
	struct vcpu *vcpu = &vm->vcpus[step->vcpu];
	int r = check(vcpu, step, err);
	if (r == 0 && step->count) {
		uint64_t before_ns = freeze->times.stepped_ns;
		vm_time_lend(vm, &freeze->times);
		r = step_vcpu(vcpu, step, ret, err);
		vm_time_take_back(vm, &freeze->times);
		ret->guest_ns = freeze->times.stepped_ns - before_ns;
	}
	ret->state = vcpu->state;
	return r;
}
