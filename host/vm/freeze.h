/* SPDX-License-Identifier: GPL-2.0-only */
/* The freeze rendezvous: every vCPU parked at an instruction boundary, and released again.
 *
 * One freeze at a time; further requests queue in order. What needs a frozen VM takes `const struct freeze *`
 * as proof. Any thread but a vCPU's and (because it blocks) the main loop's. */
#ifndef HOST_VM_FREEZE_H
#define HOST_VM_FREEZE_H

#include "common/err.h"
#include "host/vm/vm.h"

struct freeze;

/* Requests that may wait for their turn; one more is ERR_BUSY. */
#define FREEZE_QUEUE_MAX 64
/* A rendezvous that takes longer fails: ERR_TIMEOUT naming each vCPU that did not park, and everybody is
 * thawed. */
#define FREEZE_LIMIT_NS (2 * UINT64_C(1000000000))

/* Captured by each vCPU thread for itself as it parks. */
struct vcpu_state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	uint32_t mp_state;    /* KVM_MP_STATE_*: halted, waiting for SIPI, ... */
	uint32_t exit_reason; /* last KVM_EXIT_* */
	bool dead;            /* has shut down or failed: registers as far as KVM still has them */
	int read_errno;       /* 0, or why registers could not be read */
};

struct freeze_times {
	uint64_t asked_ns, parked_ns, thawed_ns; /* CLOCK_MONOTONIC; thawed_ns 0 while frozen */
	uint32_t kicks;                          /* signals sent, re-kicks included */
};

/* Parks every vCPU. deadline_ns (CLOCK_MONOTONIC) bounds the wait for its turn; the rendezvous has its own
 * limit. ERR_BUSY, ERR_TIMEOUT, ERR_CANCELLED (the VM stops). A VM that has ended by itself can be frozen and
 * read. */
int vm_freeze(struct vm *vm, uint64_t deadline_ns, struct freeze **ret_freeze, struct err *err) must_check;
/* Releases the vCPUs (does not wait until they run) and frees the token; ret_times may be NULL. */
void vm_thaw(struct freeze *freeze, struct freeze_times *ret_times);

struct vm *freeze_vm(const struct freeze *freeze);
/* Valid until the thaw. */
const struct vcpu_state *freeze_vcpu_state(const struct freeze *freeze, unsigned vcpu);
struct freeze_times freeze_times_so_far(const struct freeze *freeze);

#endif
