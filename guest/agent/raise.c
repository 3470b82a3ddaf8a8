/* SPDX-License-Identifier: GPL-2.0-only */
/* The thread that keeps the kernel workers of the link's CPU raised. virtio-vsock hands what has come to one
 * of them, and what could not be sent at once: at normal priority a hog, or a scheduler under test that
 * stalls, would silence the link. The kernel starts more of them when those that are there block, so it looks
 * again and again. */
#include "common/clock.h"
#include "common/scope.h"
#include "guest/agent/state.h"
#include "guest/init/init.h"

#include <errno.h>

#define LOOK_NS (500 * NS_PER_MS)

static void *raise_thread(void *arg)
{
	struct agent *agent = arg;
	if (agent->config.realtime)
		(void)!init_raise_thread();
	uint64_t next_ns = clock_now_ns();
	while (!atomic_load(&agent->stopping)) {
		/* What failed once may work with the next list. */
		(void)!init_raise_kworkers(agent->link_cpu);
		next_ns = MAX_OF(next_ns + LOOK_NS, clock_now_ns());
		struct timespec until = clock_timespec(next_ns);
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
	}
	return NULL;
}

int raise_start(struct agent *agent, unsigned cpu)
{
	if (agent->raising)
		return 0;
	agent->link_cpu = cpu;
	/* The first time here, so that what follows on the link finds them raised. */
	int r = init_raise_kworkers(cpu);
	if (r < 0)
		return r;
	int errnum = pthread_create(&agent->raise, NULL, raise_thread, agent);
	agent->raising = errnum == 0;
	return -errnum;
}

void raise_stop(struct agent *agent)
{
	atomic_store(&agent->stopping, true);
	if (agent->raising)
		pthread_join(agent->raise, NULL);
	agent->raising = false;
}
