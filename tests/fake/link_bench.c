/* SPDX-License-Identifier: GPL-2.0-only */
/* See link_bench.h. */
#include "link_bench.h"

#include "common/clock.h"

#include <stdlib.h>

static void on_ready(struct link *link, const struct err *err, void *arg)
{
	struct link_bench *bench = arg;
	SCOPE_LOCK(&bench->lock);
	bench->readies++;
	bench->ready_err = err ? *err : ERR_INIT;
	pthread_cond_broadcast(&bench->changed);
}

static void on_event(struct link *link, const Schedrig__V1__AgentEvent *event, void *arg)
{
	struct link_bench *bench = arg;
	SCOPE_LOCK(&bench->lock);
	bench->events++;
}

static void on_lost(struct link *link, const struct err *err, void *arg)
{
	struct link_bench *bench = arg;
	SCOPE_LOCK(&bench->lock);
	bench->losses++;
	bench->lost_err = *err;
	pthread_cond_broadcast(&bench->changed);
}

static void *run(void *arg)
{
	loop_run(((struct link_bench *)arg)->loop);
	return NULL;
}

void link_bench_start(struct link_bench *bench, unsigned n_cpus)
{
	*bench = (struct link_bench){.layout = {.n_cpus = n_cpus,
					     .n_cores = n_cpus,
					     .n_llcs = (n_cpus + 1) / 2,
					     .n_nodes = (n_cpus + 3) / 4}};
	for (unsigned i = 0; i < n_cpus; i++)
		bench->layout.cpu[i] = (struct cpu_place){
			.node = (uint16_t)(i / 4), .llc = (uint16_t)(i / 2), .core = (uint16_t)i};
	pthread_mutex_init(&bench->lock, NULL);
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&bench->changed, &attr);
	bench->loop = loop_new(NULL);
	struct link_config config = {.loop = bench->loop,
		.layout = &bench->layout,
		.speed_percent = 100,
		.ops = {.ready = on_ready, .event = on_event, .lost = on_lost},
		.arg = bench};
	bench->link = link_new(&config, NULL);
	if (!bench->link || pthread_create(&bench->thread, NULL, run, bench))
		abort();
}

struct speed_call {
	struct link *link;
	unsigned percent;
};

static void set_speed_here(void *arg)
{
	struct speed_call *call = arg;
	link_set_speed(call->link, call->percent);
}

void link_bench_set_speed(struct link_bench *bench, unsigned percent)
{
	struct speed_call call = {bench->link, percent};
	if (loop_call(bench->loop, set_speed_here, &call) < 0)
		abort();
}

static void accept_here(void *arg)
{
	struct link_bench *bench = arg;
	link_accept(bench->link, bench->fd);
}

void link_bench_accept(struct link_bench *bench, int fd)
{
	bench->fd = fd;
	if (loop_call(bench->loop, accept_here, bench) < 0)
		abort();
}

bool link_bench_wait(struct link_bench *bench, unsigned readies, unsigned losses)
{
	struct timespec until = clock_timespec(clock_deadline_ns(100 * NS_PER_S));
	SCOPE_LOCK(&bench->lock);
	while (bench->readies < readies || bench->losses < losses)
		if (pthread_cond_timedwait(&bench->changed, &bench->lock, &until))
			return false;
	return true;
}

bool link_bench_lost(struct link_bench *bench, unsigned losses)
{
	SCOPE_LOCK(&bench->lock);
	return bench->losses >= losses;
}

void link_bench_stop(struct link_bench *bench)
{
	loop_stop(bench->loop);
	pthread_join(bench->thread, NULL);
	link_free(bench->link);
	loop_free(bench->loop);
	pthread_cond_destroy(&bench->changed);
	pthread_mutex_destroy(&bench->lock);
}
