/* SPDX-License-Identifier: GPL-2.0-only */
/* One wakes many, as several work types do it: member 0 starts a round, the others do their share and say so.
 * Runs in worker processes. */
#ifndef GUEST_WORK_FAN_OUT_H
#define GUEST_WORK_FAN_OUT_H

#include "guest/work/worker.h"

struct fan_out {
	_Alignas(64) _Atomic uint32_t round; /* member 0 W: futex of the others */
	_Alignas(64) _Atomic uint32_t
		done; /* the others W: how many have done their share; member 0's futex */
};

/* Member 0: wakes all others, waits until they have done their share. False: it is to stop. */
bool fan_out_wake(struct worker *worker);
/* The others: waits for a round after *round (0 at first). False: it is to stop. */
bool fan_out_wait(struct worker *worker, uint32_t *round);
void fan_out_done(struct worker *worker);

#endif
