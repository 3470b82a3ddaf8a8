/* SPDX-License-Identifier: GPL-2.0-only */
/* Instructions of one vCPU within a freeze, while the others stay parked. The guest's time goes on for as
 * long as that takes and stands still again, so that it never steps back.
 *
 * Interrupts and NMIs are held back where KVM can (KVM_GUESTDBG_BLOCKIRQ, Linux 5.16). System calls, page
 * faults, #GP and #UD count as an instruction that ends at the first one of the kernel's handler; what else
 * enters the kernel by itself (INT n, other exceptions) runs unstepped to its return. A PUSHF that is stepped
 * stores the trap flag. A guest that uses debug registers does not hit them meanwhile. */
#ifndef HOST_VM_STEP_H
#define HOST_VM_STEP_H

#include "host/vm/freeze.h"

#define VM_STEP_MAX 100000u

struct vm_step {
	unsigned vcpu;
	uint32_t count;       /* instructions, at most VM_STEP_MAX; 0: none */
	uint64_t deadline_ns; /* CLOCK_MONOTONIC */
};

enum vm_step_end {
	VM_STEP_ALL = 1, /* as many as asked for */
	VM_STEP_HALTED,  /* the last one was HLT */
	VM_STEP_DEAD,    /* the vCPU has shut down, failed or ended the VM: it never runs again */
};

struct vm_stepped {
	uint32_t executed; /* a repeated string instruction counts at each repetition; set on failure, too */
	enum vm_step_end end;
	struct vcpu_state state; /* afterwards */
	uint64_t guest_ns;       /* guest time that passed */
};

/* The token's thread (any but a vCPU's and the main loop's); blocks. Conditions: ret->end. On failure the
 * vCPU is parked after ret->executed instructions. ERR_INVALID_ARGUMENT; ERR_FAILED_PRECONDITION with reason
 * vcpu-dead, vcpu-halted or vcpu-waiting (for its SIPI); ERR_UNSUPPORTED reason no-single-step: this KVM does
 * not stop after an instruction, whatever it says; ERR_TIMEOUT; ERR_CANCELLED: vm_step_cancel(), or the VM
 * stops. */
int vm_step(struct freeze *freeze, const struct vm_step *step, struct vm_stepped *ret,
	struct err *err) must_check;
/* (any thread) Ends the step in progress, and those to come in the freeze that is held: it is about to end.
 */
void vm_step_cancel(struct vm *vm);

#endif
