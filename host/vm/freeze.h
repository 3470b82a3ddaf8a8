/* SPDX-License-Identifier: GPL-2.0-only */
/* The freeze rendezvous: every vCPU parked at an instruction boundary, and released again.
 *
 * One freeze at a time; further requests queue in order. What needs a frozen VM takes `const struct freeze *`
 * as proof. Any thread but a vCPU's; and what blocks, as vm_freeze() does, not on the main loop's. */
#ifndef HOST_VM_FREEZE_H
#define HOST_VM_FREEZE_H

#include "common/err.h"
#include "host/vm/vm.h"

struct freeze;

/* Requests that may wait for their turn; one more is ERR_BUSY. */
#define FREEZE_QUEUE_MAX 64
/* A rendezvous that takes longer fails: ERR_TIMEOUT naming each vCPU that did not park, and everybody is
 * thawed. vm_set_freeze_limit() has it changed for slow hosts. */
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

/* What became of the guest's time: its TSCs, kvmclock and the timers that they drive. */
enum freeze_guest_time {
	FREEZE_TIME_STOPPED = 1, /* it does not contain time_stopped_ns..time_restarted_ns */
	FREEZE_TIME_RAN,         /* as asked */
	FREEZE_TIME_UNSUPPORTED, /* it ran on: this host's KVM has no KVM_VCPU_TSC_OFFSET (before Linux
				  * 5.16), or has it in name only */
	FREEZE_TIME_FAILED,      /* it ran on: KVM refused, see guest_time_errno */
};

struct freeze_times {
	uint64_t asked_ns, parked_ns, thawed_ns; /* CLOCK_MONOTONIC; thawed_ns 0 while frozen */
	uint32_t kicks;                          /* signals sent, re-kicks included */
	/* CLOCK_MONOTONIC: within parked_ns..thawed_ns; time_restarted_ns 0 while frozen. Between the latter
	 * and thawed_ns the guest's time goes on without its vCPUs: the jump that it can see. */
	uint64_t time_stopped_ns, time_restarted_ns;
	uint64_t stepped_ns; /* of that, the guest's time went on: vCPUs were stepped (step.h) */
	enum freeze_guest_time guest_time; /* final once thawed */
	int guest_time_errno;              /* of FREEZE_TIME_FAILED */
};

/* All zero is the default. */
struct freeze_options {
	bool clock_runs; /* the guest's time goes on while it is frozen; it is told, so that its watchdogs
			    keep still */
};

/* Parks every vCPU, and stops the guest's time unless told otherwise. deadline_ns (CLOCK_MONOTONIC) bounds
 * the wait for its turn; the rendezvous has its own limit. ERR_BUSY, ERR_TIMEOUT, ERR_CANCELLED (the VM
 * stops). A VM that has ended by itself can be frozen and read. */
int vm_freeze(struct vm *vm, uint64_t deadline_ns, struct freeze **ret_freeze, struct err *err) must_check;
/* The same with options (NULL: the default). */
int vm_freeze_with(struct vm *vm, const struct freeze_options *options, uint64_t deadline_ns,
	struct freeze **ret_freeze, struct err *err) must_check;
/* The same without a thread that waits, for the main loop, which must not: begin, and look when the
 * descriptor is readable, and at ret_again_ns at the latest, until a look does not say FREEZE_PENDING. One
 * thread. */
enum freeze_look {
	FREEZE_GOT = 0,     /* vm_freeze_look() only */
	FREEZE_PENDING = 1, /* begun, and not over */
	FREEZE_TAKEN,       /* vm_freeze_begin() only: others hold the VM, or wait to; vm_freeze() queues */
};
int vm_freeze_begin(struct vm *vm, const struct freeze_options *options, uint64_t *ret_again_ns,
	struct err *err) must_check;
/* Failures as vm_freeze()'s: then everybody is released, and nothing is begun any more. */
int vm_freeze_look(
	struct vm *vm, struct freeze **ret_freeze, uint64_t *ret_again_ns, struct err *err) must_check;
/* Gives up what was begun; if nothing was, does nothing. */
void vm_freeze_abandon(struct vm *vm);
/* Readable (an eventfd that vm_freeze_look() resets) when the last vCPU has parked. The VM's. */
int vm_freeze_fd(const struct vm *vm);
/* Releases the vCPUs (does not wait until they run) and frees the token; ret_times may be NULL. */
void vm_thaw(struct freeze *freeze, struct freeze_times *ret_times);

struct vm *freeze_vm(const struct freeze *freeze);
/* Valid until the thaw. */
const struct vcpu_state *freeze_vcpu_state(const struct freeze *freeze, unsigned vcpu);
/* A model-specific register of a parked vCPU. ERR_HOST: KVM does not have it. */
int freeze_read_msr(const struct freeze *freeze, unsigned vcpu, uint32_t msr, uint64_t *ret_value,
	struct err *err) must_check;
struct freeze_times freeze_times_so_far(const struct freeze *freeze);

/* (any thread) How long the VM has been frozen since its start, from each last park to its thaw; a freeze
 * that is held now counts up to now. Deadlines of what the guest does are measured without it. */
uint64_t vm_frozen_ns_total(struct vm *vm);
/* (any thread) Freezes since its start, one that is held included. */
uint64_t vm_freeze_count(struct vm *vm);
/* (any thread) CLOCK_MONOTONIC without that time: stands still while frozen, never goes back. */
uint64_t vm_thawed_ns(struct vm *vm);
/* What the guest's clocks have seen pass. */
struct vm_passed {
	uint64_t ns;      /* CLOCK_MONOTONIC less all time in which they stood still; never goes back */
	uint64_t held_ns; /* of that, with every vCPU parked: freezes in which they ran on, and the moments
			   * between their going on and the thaw; never goes back either */
};
/* (any thread) While single vCPUs are stepped the clocks count as standing, until the thaw. */
struct vm_passed vm_passed(struct vm *vm);
/* (any thread) May have changed on return. */
bool vm_is_frozen(struct vm *vm);
/* (any thread) Instead of FREEZE_LIMIT_NS, from the next freeze on: for a host that is slower than most. */
void vm_set_freeze_limit(struct vm *vm, uint64_t limit_ns);
uint64_t vm_freeze_limit(const struct vm *vm);

#endif
