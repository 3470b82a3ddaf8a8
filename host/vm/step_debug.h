/* SPDX-License-Identifier: GPL-2.0-only */
/* KVM's single-stepping: armed for an instruction, and whether it works at all. Internal to host/vm. */
#ifndef HOST_VM_STEP_DEBUG_H
#define HOST_VM_STEP_DEBUG_H

#include "host/vm/vm_internal.h"

/* Where an instruction can leave to without the trap flag: hardware breakpoints stand there. 0: none. */
enum { STEP_GUARD_SYSCALL, STEP_GUARD_UD, STEP_GUARD_GP, STEP_GUARD_PF, STEP_GUARDS };
struct step_guards {
	uint64_t address[STEP_GUARDS];
};

/* Those of the guest's system call entry and exception table, as they are now. Its own thread. */
void step_guards_find(struct vcpu *vcpu, struct step_guards *ret);
/* One instruction at rip, then KVM_EXIT_DEBUG. guards may be NULL. -errno. */
int step_arm(const struct vm *vm, int vcpu_fd, const struct step_guards *guards, uint64_t rip) must_check;
int step_disarm(int vcpu_fd) must_check;
/* After KVM_EXIT_DEBUG: takes the trap flag out of what a guarded entry has saved. */
void step_guards_hide_trap(struct vcpu *vcpu);
/* Whether this KVM really stops after each instruction, in both rings: tried once on a VM of its own, since
 * some accept the request and let the guest run. ERR_UNSUPPORTED reason no-single-step. Any thread but a
 * vCPU's. */
int step_probe(struct err *err) must_check;

#endif
