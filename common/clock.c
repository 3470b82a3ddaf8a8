/* SPDX-License-Identifier: GPL-2.0-only */
/* Monotonic time (see clock.h). No state. */
#include "common/clock.h"

#include <limits.h>
#include <sys/time.h>

uint64_t clock_now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t clock_add_ns(uint64_t a_ns, uint64_t b_ns)
{
	uint64_t sum;
	return __builtin_add_overflow(a_ns, b_ns, &sum) ? CLOCK_NEVER_NS : sum;
}

uint64_t clock_deadline_ns(uint64_t d_ns)
{
	return clock_add_ns(clock_now_ns(), d_ns);
}

uint64_t clock_left_ns(uint64_t deadline_ns)
{
	if (deadline_ns == CLOCK_NEVER_NS)
		return CLOCK_NEVER_NS;
	uint64_t now = clock_now_ns();
	return deadline_ns > now ? deadline_ns - now : 0;
}

struct timespec clock_timespec(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
}

struct timeval clock_timeval(uint64_t ns)
{
	return (struct timeval){
		.tv_sec = (time_t)(ns / NS_PER_S), .tv_usec = (suseconds_t)(ns % NS_PER_S / NS_PER_US)};
}

int clock_poll_ms(uint64_t deadline_ns)
{
	if (deadline_ns == CLOCK_NEVER_NS)
		return -1;
	uint64_t left = clock_left_ns(deadline_ns);
	uint64_t ms = left / NS_PER_MS + (left % NS_PER_MS != 0);
	return ms > INT_MAX ? INT_MAX : (int)ms;
}
