/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of host/vm share: the VM, its vCPUs, and the gate at which vCPUs park.
 *
 * The gate is one futex word, so that no change of it can be slept through:
 *
 *     31     30        29..1            0
 *    STOP   NOTE   freeze number     CLOSED
 *
 * A vCPU thread runs while STOP and CLOSED are clear, parks while CLOSED is set, leaves when STOP is set.
 * NOTE turns over, within a freeze, when a parked vCPU is given something to do (step.c). */
#ifndef HOST_VM_VM_INTERNAL_H
#define HOST_VM_VM_INTERNAL_H

#include "common/clock.h"
#include "host/vm/bus.h"
#include "host/vm/freeze.h"
#include "host/vm/vm.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/types.h>

#define GATE_CLOSED 1u
#define GATE_STOP 0x80000000u
#define GATE_NOTE 0x40000000u
#define GATE_NUMBER(gate) ((gate) & ~(GATE_STOP | GATE_NOTE))

/* Interrupts KVM_RUN and futex waits of vCPU threads. The handler does nothing. No real-time signal: those
 * queue, and a thread that waits for a CPU would have to handle every repeated kick. */
#define VCPU_KICK_SIGNAL SIGUSR1

#define VM_QUIESCE_MAX 16

struct vcpu {
	struct vm *vm;
	unsigned index;
	int fd;
	struct kvm_run
		*run; /* shared with the kernel; immediate_exit also with the freezing thread (atomic) */
	pthread_t thread;
	bool started; /* vm_start, vm_stop */

	_Atomic pid_t tid;          /* written once by its thread, before it looks at the gate */
	_Atomic uint32_t last_exit; /* KVM_EXIT_*, its thread */
	_Atomic uint64_t n_exits;   /* its thread */
	_Atomic uint64_t n_kicks;   /* any thread adds */
	_Atomic uint32_t parked_at; /* gate number it has last parked for, its thread */
	_Atomic uint32_t
		leaving_at;    /* gate number it has last left KVM_RUN for: needs no more kicks, its thread
				*/
	_Atomic uint32_t gone; /* futex: its thread has nothing left to do but return */
	bool dead;             /* its thread only: shut down, failed or ended the VM */
	bool completing;       /* its thread only: the last exit waits for its completion by KVM_RUN */
	/* step.c. The state is a futex; the job is the asker's while it is not ASKED, its thread's while it
	 * is. */
	_Atomic uint32_t step_state;
	struct step_job *step_job;
	bool stepping, stepped; /* its thread only: an exit for debugging is awaited, has come */
	/* guest_time.c: written by its thread before parked_at, read by the freezer */
	uint64_t tsc_offset, tsc_deadline;
	int tsc_offset_errno;
	struct vcpu_state state; /* written by its thread before parked_at (release), read by the freezer */
};

/* Waits for its turn to freeze; on the waiter's stack. */
struct freeze_waiter {
	pthread_cond_t turn;
	bool granted;
	struct freeze_waiter *next;
};

/* A rendezvous in progress; the freezer's own. */
struct rendezvous {
	struct freeze_options options;
	struct freeze_times times;
	uint32_t number;    /* of the gate */
	unsigned n_rekicks; /* rounds */
	uint64_t next_kick_ns, limit_ns;
};

struct freeze {
	struct vm *vm;
	struct freeze_times times;
};

struct vm {
	int kvm_fd, fd;
	pid_t pid; /* of this process, whose threads are kicked: set before they start */
	struct gmem *memory;
	bool irqchip;
	_Atomic bool
		can_stop_time; /* cleared by the freezer; a vCPU thread that still sees it set does no harm */
	bool has_pin;
	struct cpuset pin;
	vm_ended_fn ended;
	void *ended_arg;
	size_t run_bytes;
	unsigned n_vcpus;   /* 0 until they are there */
	struct vcpu *vcpus; /* [n_vcpus] */

	struct bus mmio, pio; /* constant once started */
	unsigned n_quiesce;
	struct vm_quiesce quiesce[VM_QUIESCE_MAX];

	_Atomic uint64_t first_run_ns;
	_Atomic bool has_ended; /* the first who sets it reports */

	_Atomic uint32_t gate; /* futex; see above */
	/* Futex: how many vCPUs a freeze still waits for, tagged with the low 16 bits of its gate number in
	 * the upper half, so that a latecomer of a failed freeze does not count for the next. */
	_Atomic uint32_t unparked;
	_Atomic uint64_t freeze_limit_ns;
	/* Of vm_freeze_begin(): what it has begun, the freezer's; whether there is one, for the last vCPU
	 * that parks to know whom to wake; its eventfd. */
	struct rendezvous begun;
	atomic_bool has_begun;
	int begun_fd;
	int tsc_khz; /* of guest and host; constant */
	/* guest_time.c, the freezer only: T1; how much earlier freezes have left kvmclock ahead of the TSC */
	struct kvm_clock_data stopped_at;
	int64_t clock_ahead_ns;
	uint64_t lent_since_ns; /* guest time goes on for a step since then; 0: none */

	/* step.c: the asker sets and clears whose step is in progress (index + 1, 0: none); any thread says
	 * that there are to be no more in this freeze. */
	_Atomic unsigned stepping_vcpu;
	atomic_bool steps_over;

	pthread_mutex_t life_lock; /* start and stop; never held by vCPU threads */
	bool stopped;
	_Atomic bool started; /* written under life_lock when every thread is there */

	pthread_mutex_t freeze_lock; /* the fields below */
	pthread_cond_t rendezvous_over;
	bool freeze_held, freeze_shut;
	uint64_t n_freezes;       /* begun */
	uint64_t frozen_total_ns; /* of freezes that are over */
	uint64_t frozen_since_ns; /* of the one that is held; 0: none */
	uint64_t stood_total_ns;  /* of freezes that are over: the guest's clocks stood still */
	uint64_t stood_since_ns;  /* in the one that is held; 0: none, or they run */
	bool rendezvous;          /* someone may be signalling vCPU threads: they must not be joined */
	unsigned n_waiters;
	struct freeze_waiter *first_waiter, *last_waiter;
	struct freeze token; /* of the one freeze that can be */
};

/* vcpu.c */
int vcpu_create(struct vm *vm, unsigned index, unsigned long id, struct err *err) must_check;
void vcpu_destroy(struct vcpu *vcpu);
int vcpu_thread_start(struct vcpu *vcpu, struct err *err) must_check;
/* Makes KVM_RUN return at once; before vcpu_signal(). (any thread) */
void vcpu_set_immediate_exit(struct vcpu *vcpu, uint8_t value);
void vcpu_signal(struct vcpu *vcpu);
/* The vCPU whose thread this is, or NULL. */
struct vcpu *vcpu_current(void);

/* exit.c: serves the exit that KVM_RUN has just returned. */
enum vcpu_exit_result {
	VCPU_EXIT_RUN_ON = 1, /* nothing outstanding */
	VCPU_EXIT_COMPLETE,   /* served; the next KVM_RUN completes the instruction first */
	VCPU_EXIT_DEAD,       /* this vCPU never runs again */
};
enum vcpu_exit_result vcpu_serve_exit(struct vcpu *vcpu);
/* KVM_RUN itself failed with errnum. */
void vcpu_report_run_error(struct vcpu *vcpu, int errnum);
const char *vcpu_exit_name(uint32_t reason);

/* vcpu.c, its own thread: one KVM_RUN and what it asks for; ends what the last exit began, without entering
 * the guest; reads what others may see of it. */
void vcpu_run_once(struct vcpu *vcpu);
void vcpu_complete_access(struct vcpu *vcpu);
void vcpu_capture(struct vcpu *vcpu);
/* step.c, its own thread: does what was asked of it while parked; the last word before it leaves. */
void vcpu_step_serve(struct vcpu *vcpu);
void vcpu_step_leave(struct vcpu *vcpu);
/* vcpu.c: the futex words; deadline on CLOCK_MONOTONIC. Spurious returns happen. A waiter can be woken alone
 * by its group. */
#define FUTEX_GROUP_ALL UINT32_MAX
void vm_futex_wait(_Atomic uint32_t *word, uint32_t seen, uint64_t deadline_ns);
void vm_futex_wait_in(_Atomic uint32_t *word, uint32_t seen, uint64_t deadline_ns, uint32_t groups);
void vm_futex_wake(_Atomic uint32_t *word);
void vm_futex_wake_in(_Atomic uint32_t *word, uint32_t groups);
/* Of a parked vCPU at the gate. */
static inline uint32_t vcpu_futex_group(const struct vcpu *vcpu)
{
	return 1u << (vcpu->index % 32);
}
/* guest_time.c: of the freezing thread, within a freeze; but vm_time_can_stop() when the vCPUs are made, and
 * vcpu_time_capture() by each vCPU's thread as it parks. */
bool vm_time_can_stop(const struct vm *vm);
void vcpu_time_capture(struct vcpu *vcpu);
void vm_time_stop(struct vm *vm, struct freeze_times *times, bool clock_runs);
void vm_time_restart(struct vm *vm, struct freeze_times *times);
/* Guest time goes on while vCPUs stay frozen, for one of them to be stepped; and stands still again. */
void vm_time_lend(struct vm *vm, struct freeze_times *times);
void vm_time_take_back(struct vm *vm, struct freeze_times *times);
/* freeze_turn.c: whose freeze it is. take_turn waits; try_turn does not: false, others hold it or wait; both
 * fail when the VM is being stopped, and let the caller signal vCPU threads until vm_signals_end(). A turn
 * that goes on may signal again between vm_signals_begin() and its end. */
int vm_take_turn(struct vm *vm, uint64_t deadline_ns, struct err *err) must_check;
int vm_try_turn(struct vm *vm, struct err *err) must_check; /* 0, FREEZE_TAKEN, ERR_CANCELLED */
int vm_signals_begin(struct vm *vm, struct err *err) must_check;
void vm_signals_end(struct vm *vm);
void vm_give_turn(struct vm *vm);
int vm_freeze_cancelled(struct err *err); /* ERR_CANCELLED, with its sentence */
/* freeze_turn.c: who waits for a turn gets ERR_CANCELLED, now and later; nobody signals vCPU threads on
 * return. The gate has STOP set. */
void vm_freeze_shut(struct vm *vm);

/* host_time.c: a line of schedstat. False: it is none, or that of a host that keeps no account. */
bool vm_host_time_parse(const char *text, struct vm_host_time *ret);

#endif
