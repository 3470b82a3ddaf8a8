/* SPDX-License-Identifier: GPL-2.0-only */
/* Whose freeze it is: one at a time, first come, first served; and that nobody signals vCPU threads while
 * they are joined. Any thread but a vCPU's. */
#include "host/vm/vm_internal.h"

#include <errno.h>

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

int vm_freeze_cancelled(struct err *err)
{
	return err_set(err, ERR_CANCELLED, "the VM is being stopped, so it cannot be frozen any more");
}

int vm_take_turn(struct vm *vm, uint64_t deadline_ns, struct err *err)
{
	SCOPE_LOCK(&vm->freeze_lock);
	if (vm->freeze_shut)
		return vm_freeze_cancelled(err);
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
				       ? vm_freeze_cancelled(err)
				       : err_set(err, ERR_TIMEOUT,
						 "another client held the VM frozen until the deadline");
		}
	}
	vm->freeze_held = true;
	/* Granted, and stopped since: the rendezvous finds out by the gate. */
	vm->rendezvous = true;
	return 0;
}

int vm_try_turn(struct vm *vm, struct err *err)
{
	SCOPE_LOCK(&vm->freeze_lock);
	if (vm->freeze_shut)
		return vm_freeze_cancelled(err);
	if (vm->freeze_held || vm->n_waiters)
		return FREEZE_TAKEN;
	vm->freeze_held = true;
	vm->rendezvous = true;
	return 0;
}

int vm_signals_begin(struct vm *vm, struct err *err)
{
	SCOPE_LOCK(&vm->freeze_lock);
	if (vm->freeze_shut)
		return vm_freeze_cancelled(err);
	vm->rendezvous = true;
	return 0;
}

void vm_signals_end(struct vm *vm)
{
	SCOPE_LOCK(&vm->freeze_lock);
	vm->rendezvous = false;
	pthread_cond_broadcast(&vm->rendezvous_over);
}

void vm_give_turn(struct vm *vm)
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
