/* SPDX-License-Identifier: GPL-2.0-only */
/* Freezes that are begun and looked at, as the main loop does it: no thread waits for them. */
#include "bare.h"
#include "common/clock.h"
#include "host/vm/vm_internal.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <string.h>

TestSuite(begin, .timeout = 300);

BARE_GUEST(guest_step, "1: incq (%rdi)\n jmp 1b");
BARE_GUEST(guest_asks, "1: in %dx, %eax\n incq (%rdi)\n jmp 1b");

#define COUNTERS(n) bare_start(bare_new(n, guest_step, guest_step_end, 0))

static uint64_t begin(struct bare *b)
{
	uint64_t again_ns = 0;
	struct err err = ERR_INIT;
	cr_assert_eq(vm_freeze_begin(b->vm, NULL, &again_ns, &err), FREEZE_PENDING, "%s", err.message);
	cr_assert_gt(again_ns, 0);
	return again_ns;
}

/* Looks as it is told to. */
static int look_until_over(struct bare *b, uint64_t again_ns, struct freeze **ret_freeze, struct err *err)
{
	int r;
	do {
		struct pollfd parked = {.fd = vm_freeze_fd(b->vm), .events = POLLIN};
		(void)!poll(&parked, 1, clock_poll_ms(again_ns));
		r = vm_freeze_look(b->vm, ret_freeze, &again_ns, err);
	} while (r == FREEZE_PENDING);
	return r;
}

static struct freeze *get(struct bare *b)
{
	struct freeze *f = NULL;
	struct err err = ERR_INIT;
	cr_assert_eq(look_until_over(b, begin(b), &f, &err), FREEZE_GOT, "%s", err.message);
	return f;
}

Test(begin, what_is_begun_comes_to_a_freeze)
{
	_cleanup_(bare_free_p) struct bare *b = COUNTERS(4);
	bare_wait_all_running(b);
	for (int round = 0; round < 300; round++) {
		struct freeze *f = get(b);
		uint64_t at[4];
		for (unsigned i = 0; i < 4; i++) {
			at[i] = bare_cell(b, i);
			uint64_t rip = freeze_vcpu_state(f, i)->regs.rip;
			cr_assert(rip >= BARE_CODE && rip < BARE_CODE + 16);
		}
		cr_assert(vm_is_frozen(b->vm));
		for (unsigned i = 0; i < 4; i++)
			cr_assert_eq(bare_cell(b, i), at[i], "vCPU %u counts while frozen", i);
		struct freeze_times times;
		vm_thaw(f, &times);
		cr_assert(times.asked_ns <= times.parked_ns && times.parked_ns <= times.thawed_ns);
		cr_assert_not(vm_is_frozen(b->vm));
	}
	bare_wait_all_running(b);
	cr_assert_eq(vm_freeze_count(b->vm), 300);
}

struct asker {
	struct bare *bare;
	pthread_t thread;
	atomic_bool got;
};

static void *ask(void *arg)
{
	struct asker *a = arg;
	struct freeze *f = bare_freeze(a->bare);
	atomic_store(&a->got, true);
	vm_thaw(f, NULL);
	return NULL;
}

static unsigned waiters(struct bare *b)
{
	SCOPE_LOCK(&b->vm->freeze_lock);
	return b->vm->n_waiters;
}

Test(begin, it_takes_its_turn_and_queues_for_none)
{
	_cleanup_(bare_free_p) struct bare *b = COUNTERS(2);
	struct asker asker = {.bare = b};
	struct freeze *f;
	uint64_t again_ns = begin(b);
	cr_assert_eq(pthread_create(&asker.thread, NULL, ask, &asker), 0);
	bare_wait(waiters(b) == 1, "another freeze waits for what was begun");
	cr_assert_eq(look_until_over(b, again_ns, &f, NULL), FREEZE_GOT);
	cr_assert_not(atomic_load(&asker.got));
	cr_assert_eq(vm_freeze_begin(b->vm, NULL, &again_ns, NULL), FREEZE_TAKEN, "two at once");
	vm_thaw(f, NULL);
	pthread_join(asker.thread, NULL);
	cr_assert(atomic_load(&asker.got));
	vm_thaw(get(b), NULL);
}

Test(begin, not_before_the_start_and_not_after_the_stop)
{
	_cleanup_(bare_free_p) struct bare *b = bare_new(2, guest_step, guest_step_end, 0);
	struct err err = ERR_INIT;
	uint64_t again_ns;
	cr_assert_lt(vm_freeze_begin(b->vm, NULL, &again_ns, &err), 0);
	cr_assert_eq(err.code, ERR_FAILED_PRECONDITION);
	vm_freeze_abandon(b->vm);
	bare_start(b);
	vm_stop(b->vm);
	err = (struct err)ERR_INIT;
	cr_assert_lt(vm_freeze_begin(b->vm, NULL, &again_ns, &err), 0);
	cr_assert_eq(err.code, ERR_CANCELLED);
}

/* By the very thread that looks: nobody would be there to look meanwhile. */
Test(begin, a_stop_does_not_wait_for_what_is_begun)
{
	for (int round = 0; round < 50; round++) {
		_cleanup_(bare_free_p) struct bare *b = COUNTERS(3);
		struct freeze *f;
		struct err err = ERR_INIT;
		uint64_t again_ns = begin(b);
		vm_stop(b->vm);
		if (round % 2) {
			cr_assert_lt(vm_freeze_look(b->vm, &f, &again_ns, &err), 0);
			cr_assert_eq(err.code, ERR_CANCELLED, "%s", err.message);
		}
		vm_freeze_abandon(b->vm);
	}
}

static void *stop_it(void *arg)
{
	vm_stop(((struct bare *)arg)->vm);
	return NULL;
}

Test(begin, a_stop_may_come_at_every_moment)
{
	for (int round = 0; round < 100; round++) {
		_cleanup_(bare_free_p) struct bare *b = COUNTERS(3);
		struct freeze *f;
		struct err err = ERR_INIT;
		pthread_t stopper;
		uint64_t again_ns;
		cr_assert_eq(pthread_create(&stopper, NULL, stop_it, b), 0);
		int r;
		while ((r = vm_freeze_begin(b->vm, NULL, &again_ns, &err)) == FREEZE_PENDING) {
			r = look_until_over(b, again_ns, &f, &err);
			if (r < 0)
				break;
			vm_thaw(f, NULL);
		}
		cr_assert_eq(err.code, ERR_CANCELLED, "%d %s", r, err.message);
		pthread_join(stopper, NULL);
	}
}

Test(begin, what_is_given_up_lets_everybody_go)
{
	_cleanup_(bare_free_p) struct bare *b = COUNTERS(3);
	for (int round = 0; round < 100; round++) {
		(void)!begin(b);
		vm_freeze_abandon(b->vm);
	}
	vm_freeze_abandon(b->vm);
	bare_wait_all_running(b);
	vm_thaw(get(b), NULL);
	vm_thaw(bare_freeze(b), NULL);
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

Test(begin, a_vcpu_that_does_not_park_is_kicked_again_and_named)
{
	_cleanup_(bare_free_p) struct bare *b = bare_new(2, guest_asks, guest_asks_end, 0);
	b->on_access = block_once;
	/* The other one parks within that on any host. */
	vm_set_freeze_limit(b->vm, 4 * NS_PER_S);
	pthread_mutex_lock(&block_lock);
	bare_start(b);
	bare_wait(atomic_load(&blocked), "a vCPU is stuck in a device");
	uint64_t kicks = vm_vcpu_counts(b->vm, 0).kicks + vm_vcpu_counts(b->vm, 1).kicks;
	struct freeze *f;
	struct err err = ERR_INIT;
	cr_assert_lt(look_until_over(b, begin(b), &f, &err), 0);
	cr_assert_eq(err.code, ERR_TIMEOUT, "%s", err.message);
	cr_assert_not_null(strstr(err.message, "1 of 2 vCPUs did not park"), "%s", err.message);
	kicks = vm_vcpu_counts(b->vm, 0).kicks + vm_vcpu_counts(b->vm, 1).kicks - kicks;
	cr_assert_geq(kicks, 5, "%llu", (unsigned long long)kicks);
	pthread_mutex_unlock(&block_lock);
	vm_thaw(get(b), NULL);
	bare_wait_all_running(b);
}
