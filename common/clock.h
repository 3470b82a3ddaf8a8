/* SPDX-License-Identifier: GPL-2.0-only */
/* Time in nanoseconds of CLOCK_MONOTONIC, saturating. Any thread. */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include "common/check.h"

#include <time.h>

#define NS_PER_US UINT64_C(1000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)
/* No deadline. */
#define CLOCK_NEVER_NS UINT64_MAX

uint64_t clock_now_ns(void);
/* now + d, saturating at CLOCK_NEVER_NS. */
uint64_t clock_deadline_ns(uint64_t d_ns);
/* a + b, saturating. */
uint64_t clock_add_ns(uint64_t a_ns, uint64_t b_ns);
/* Time left until the deadline: 0 when passed, CLOCK_NEVER_NS when there is none. */
uint64_t clock_left_ns(uint64_t deadline_ns);
struct timespec clock_timespec(uint64_t ns);
struct timeval clock_timeval(uint64_t ns);
/* For poll(2): time left rounded up to ms, -1 for no deadline, capped at INT_MAX. */
int clock_poll_ms(uint64_t deadline_ns);

#endif
