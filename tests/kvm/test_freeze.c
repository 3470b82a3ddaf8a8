/* SPDX-License-Identifier: GPL-2.0-only */
/* The freeze rendezvous: everybody stands still, in turn, under load, and whatever else happens. */
#include "bare.h"
#include "common/clock.h"
#include "host/vm/vm_internal.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(freeze, .timeout = 300);

BARE_GUEST(guest_hammer, "1: incq (%rdi)\n jmp 1b");
BARE_GUEST(guest_in_loop, "1: in %dx, %eax\n incq (%rdi)\n jmp 1b");

#define COUNTERS(n) bare_start(bare_new(n, guest_hammer, guest_hammer_end, 0))

static void stands_still(struct bare *b, struct freeze *f)
{
	uint64_t first[64], again[64];
	unsigned n = vm_n_vcpus(b->vm);
	for (unsigned i = 0; i < n; i++)
		first[i] = bare_cell(b, i);
	struct timespec ts = {.tv_nsec = 2000000}; /* time in which a running vCPU counts hundreds */
	nanosleep(&ts, NULL);
	for (unsigned i = 0; i < n; i++) {
		again[i] = bare_cell(b, i);
		cr_assert_eq(first[i], again[i], "vCPU %u of %u counts while frozen", i, n);
		uint64_t rip = freeze_vcpu_state(f, i)->regs.rip;
		cr_assert(rip >= BARE_CODE && rip < BARE_CODE + 16, "vCPU %u at %#llx", i,
			(unsigned long long)rip);
	}
}

static void freezes_and_thaws(unsigned n, int rounds)
{
	_cleanup_(bare_free_p) struct bare *b = COUNTERS(n);
	bare_wait_all_running(b);
	for (int round = 0; round < rounds; round++) {
		struct freeze *f = bare_freeze(b);
		stands_still(b, f);
		uint64_t at[64];
		for (unsigned i = 0; i < n; i++)
			at[i] = bare_cell(b, i);
		struct freeze_times times;
		vm_thaw(f, &times);
		cr_assert(times.asked_ns <= times.parked_ns && times.parked_ns <= times.thawed_ns);
		cr_assert_geq(times.kicks, n);
		for (unsigned i = 0; i < n; i++)
			bare_wait_moved(b, i, at[i]);
	}
}

Test(freeze, one_vcpu)
{
	freezes_and_thaws(1, 20);
}
Test(freeze, two_vcpus)
{
	freezes_and_thaws(2, 20);
}
Test(freeze, eight_vcpus)
{
	freezes_and_thaws(8, 20);
}
Test(freeze, sixty_four_vcpus)
{
	freezes_and_thaws(64, 4);
}

Test(freeze, thousands_in_a_row)
{
	_cleanup_(bare_free_p) struct bare *b = bare_start(bare_new(4, guest_in_loop, guest_in_loop_end, 0));
	for (int i = 0; i < 4000; i++)
		vm_thaw(bare_freeze(b), NULL);
	bare_wait_all_running(b);
}

Test(freeze, not_before_the_start_and_not_after_the_stop)
{
	_cleanup_(bare_free_p) struct bare *b = bare_new(2, guest_hammer, guest_hammer_end, 0);
	struct freeze *f;
	struct err err = ERR_INIT;
	cr_assert_lt(vm_freeze(b->vm, CLOCK_NEVER_NS, &f, &err), 0);
	cr_assert_eq(err.code, ERR_FAILED_PRECONDITION);
	bare_start(b);
	vm_stop(b->vm);
	vm_stop(b->vm);
	cr_assert_lt(vm_freeze(b->vm, CLOCK_NEVER_NS, &f, &err), 0);
	cr_assert_eq(err.code, ERR_CANCELLED);
}

struct asker {
	struct bare *bare;
	pthread_t thread;
	unsigned number;
	uint64_t deadline_ns;
	int rc;
	struct err err;
	_Atomic unsigned *order; /* next place */
	unsigned place;
};

static void *ask(void *arg)
{
	struct asker *a = arg;
	struct freeze *f;
	a->rc = vm_freeze(a->bare->vm, a->deadline_ns, &f, &a->err);
	if (a->rc == 0) {
		a->place = atomic_fetch_add(a->order, 1);
		vm_thaw(f, NULL);
	}
	return NULL;
}

static unsigned waiters(struct bare *b)
{
	SCOPE_LOCK(&b->vm->freeze_lock);
	return b->vm->n_waiters;
}

static void start_askers(struct bare *b, struct asker *askers, unsigned n, _Atomic unsigned *order)
{
	for (unsigned i = 0; i < n; i++) {
		askers[i] =
			(struct asker){.bare = b, .number = i, .deadline_ns = CLOCK_NEVER_NS, .order = order};
		cr_assert_eq(pthread_create(&askers[i].thread, NULL, ask, &askers[i]), 0);
		bare_wait(waiters(b) == i + 1, "the request is queued");
	}
}

Test(freeze, requests_are_served_in_order)
{
	_cleanup_(bare_free_p) struct bare *b = COUNTERS(2);
	static struct asker askers[FREEZE_QUEUE_MAX];
	_Atomic unsigned order = 0;
	struct freeze *f = bare_freeze(b);
	start_askers(b, askers, FREEZE_QUEUE_MAX, &order);
	struct err err = ERR_INIT;
	struct freeze *more;
	cr_assert_lt(vm_freeze(b->vm, CLOCK_NEVER_NS, &more, &err), 0, "the queue has no bound");
	cr_assert_eq(err.code, ERR_BUSY);
	vm_thaw(f, NULL);
	for (unsigned i = 0; i < FREEZE_QUEUE_MAX; i++) {
		pthread_join(askers[i].thread, NULL);
		cr_assert_eq(askers[i].rc, 0, "%s", askers[i].err.message);
		cr_assert_eq(askers[i].place, i, "request %u came as number %u", i, askers[i].place);
	}
}

Test(freeze, a_request_gives_up_at_its_deadline)
{
	_cleanup_(bare_free_p) struct bare *b = COUNTERS(2);
	static struct asker askers[3];
	_Atomic unsigned order = 0;
	struct freeze *f = bare_freeze(b), *late;
	start_askers(b, askers, 2, &order);
	struct err err = ERR_INIT;
	cr_assert_lt(vm_freeze(b->vm, clock_deadline_ns(10 * NS_PER_MS), &late, &err), 0);
	cr_assert_eq(err.code, ERR_TIMEOUT);
	cr_assert_eq(waiters(b), 2);
	vm_thaw(f, NULL);
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(askers[i].thread, NULL);
		cr_assert_eq(askers[i].rc, 0);
	}
	f = bare_freeze(b);
	stands_still(b, f);
	vm_thaw(f, NULL);
}

Test(freeze, stop_while_frozen_cancels_who_waits)
{
	_cleanup_(bare_free_p) struct bare *b = COUNTERS(4);
	bare_wait_all_running(b);
	static struct asker askers[5];
	_Atomic unsigned order = 0;
	struct freeze *f = bare_freeze(b);
	start_askers(b, askers, 5, &order);
	uint64_t rip = freeze_vcpu_state(f, 3)->regs.rip;
	vm_stop(b->vm);
	for (unsigned i = 0; i < 5; i++) {
		pthread_join(askers[i].thread, NULL);
		cr_assert_eq(askers[i].err.code, ERR_CANCELLED, "%d %s", askers[i].rc, askers[i].err.message);
	}
	cr_assert_eq(freeze_vcpu_state(f, 3)->regs.rip, rip, "what was captured stays until the thaw");
	vm_thaw(f, NULL);
}

static void *stop_it(void *arg)
{
	vm_stop(((struct bare *)arg)->vm);
	return NULL;
}

/* All at once, at every moment of each other. */
Test(freeze, stop_and_freeze_never_wait_for_each_other)
{
	for (int round = 0; round < 60; round++) {
		_cleanup_(bare_free_p) struct bare *b = COUNTERS(4);
		static struct asker askers[6];
		_Atomic unsigned order = 0;
		pthread_t stoppers[2];
		for (unsigned i = 0; i < 6; i++) {
			if (i == (unsigned)round % 6)
				for (unsigned k = 0; k < 2; k++)
					pthread_create(&stoppers[k], NULL, stop_it, b);
			askers[i] = (struct asker){.bare = b, .deadline_ns = CLOCK_NEVER_NS, .order = &order};
			pthread_create(&askers[i].thread, NULL, ask, &askers[i]);
		}
		for (unsigned i = 0; i < 6; i++) {
			pthread_join(askers[i].thread, NULL);
			cr_assert(askers[i].rc == 0 || askers[i].err.code == ERR_CANCELLED, "%s",
				askers[i].err.message);
		}
		for (unsigned k = 0; k < 2; k++)
			pthread_join(stoppers[k], NULL);
	}
}

static _Atomic int blocked;
static pthread_mutex_t block_lock = PTHREAD_MUTEX_INITIALIZER;

static void block_once(struct bare *b)
{
	if (atomic_exchange(&blocked, 1))
		return;
	pthread_mutex_lock(&block_lock);
	pthread_mutex_unlock(&block_lock);
}

#define LONG_LIMIT_NS (8 * NS_PER_S)

Test(freeze, a_vcpu_that_does_not_park_is_named)
{
	_cleanup_(bare_free_p) struct bare *b = bare_new(3, guest_in_loop, guest_in_loop_end, 0);
	b->on_access = block_once;
	/* The other two park within that on any host. */
	vm_set_freeze_limit(b->vm, LONG_LIMIT_NS);
	cr_assert_eq(vm_freeze_limit(b->vm), LONG_LIMIT_NS);
	pthread_mutex_lock(&block_lock);
	bare_start(b);
	bare_wait(atomic_load(&blocked), "a vCPU is stuck in a device");
	struct freeze *f;
	struct err err = ERR_INIT;
	uint64_t start_ns = clock_now_ns();
	cr_assert_lt(vm_freeze(b->vm, CLOCK_NEVER_NS, &f, &err), 0);
	uint64_t took_ns = clock_now_ns() - start_ns;
	cr_assert_eq(err.code, ERR_TIMEOUT, "%s", err.message);
	cr_assert_not_null(strstr(err.message, "1 of 3 vCPUs did not park"), "%s", err.message);
	cr_assert_not_null(strstr(err.message, "last exit IO"), "%s", err.message);
	cr_assert_not_null(strstr(err.message, " is S"), "its thread sleeps: %s", err.message);
	cr_assert_not_null(strstr(err.message, "system call 202"), "in a futex: %s", err.message);
	cr_assert_geq(took_ns, LONG_LIMIT_NS);
	/* Two vCPUs were parked, and count again. */
	unsigned counting = 0;
	uint64_t before[3];
	for (unsigned i = 0; i < 3; i++)
		before[i] = bare_cell(b, i);
	bare_wait(({
		counting = 0;
		for (unsigned i = 0; i < 3; i++)
			counting += bare_cell(b, i) != before[i];
		counting == 2;
	}),
		"the others run again");
	pthread_mutex_unlock(&block_lock);
	f = bare_freeze(b);
	vm_thaw(f, NULL);
	bare_wait_all_running(b);
}

static struct bare *hooked;
static int hook_calls[4], n_hook_calls;
static bool moved_in_hook;

static void note_hook(void *arg)
{
	hook_calls[n_hook_calls++] = (int)(intptr_t)arg;
	uint64_t at = bare_cell(hooked, 0);
	struct timespec ts = {.tv_nsec = 1000000};
	nanosleep(&ts, NULL);
	moved_in_hook |= bare_cell(hooked, 0) != at;
}

Test(freeze, back_ends_are_quiet_between_the_last_park_and_the_first_release)
{
	_cleanup_(bare_free_p) struct bare *b = bare_new(2, guest_hammer, guest_hammer_end, 0);
	hooked = b;
	struct vm_quiesce one = {note_hook, note_hook, (void *)1}, two = {note_hook, note_hook, (void *)2};
	cr_assert_eq(vm_add_quiesce(b->vm, &one, NULL), 0);
	cr_assert_eq(vm_add_quiesce(b->vm, &two, NULL), 0);
	bare_start(b);
	bare_wait_all_running(b);
	struct freeze *f = bare_freeze(b);
	cr_assert_eq(n_hook_calls, 2);
	vm_thaw(f, NULL);
	cr_assert_eq(n_hook_calls, 4);
	cr_assert(hook_calls[0] == 1 && hook_calls[1] == 2 && hook_calls[2] == 2 && hook_calls[3] == 1);
	cr_assert_not(moved_in_hook);
}
