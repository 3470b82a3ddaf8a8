/* SPDX-License-Identifier: GPL-2.0-only */
/* A hundred thousand freezes and thaws of vCPUs that never rest: none is lost, none hangs. A program of its
 * own, since it takes a minute or more. */
#include "bare.h"
#include "common/clock.h"

#include <criterion/criterion.h>

/* 18 ms for each freeze, where a quiet host takes 0.2. */
TestSuite(endurance, .timeout = 1800);

BARE_GUEST(guest_never_rests, "1: incq (%rdi)\n jmp 1b");

Test(endurance, a_hundred_thousand_freezes_lose_nobody)
{
	enum { N = 2, FREEZES = 100000 };
	_cleanup_(bare_free_p) struct bare *b =
		bare_start(bare_new(N, guest_never_rests, guest_never_rests_end, 0));
	bare_wait_all_running(b);
	uint64_t begin_ns = clock_now_ns(), worst_ns = 0;
	for (unsigned i = 0; i < FREEZES; i++) {
		struct freeze_times times;
		struct freeze *f = bare_freeze(b);
		uint64_t at[N];
		for (unsigned k = 0; k < N; k++)
			at[k] = bare_cell(b, k);
		vm_thaw(f, &times);
		cr_assert(times.guest_time == FREEZE_TIME_STOPPED ||
				  times.guest_time == FREEZE_TIME_UNSUPPORTED,
			"freeze %u: errno %d", i, times.guest_time_errno);
		worst_ns = MAX_OF(worst_ns, times.parked_ns - times.asked_ns);
		/* Each in turn, so that the next freeze meets one that runs; and all of them now and then. */
		bare_wait_moved(b, i % N, at[i % N]);
		for (unsigned k = 0; k < N && i % 1000 == 0; k++)
			bare_wait_moved(b, k, at[k]);
	}
	cr_assert_eq(vm_freeze_count(b->vm), FREEZES);
	bare_wait_all_running(b);
	cr_log_info("%u freezes in %.1f s, the slowest took %.2f ms", FREEZES,
		(double)(clock_now_ns() - begin_ns) / 1e9, (double)worst_ns / 1e6);
}
