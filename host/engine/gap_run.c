/* SPDX-License-Identifier: GPL-2.0-only */
/* Looks at vCPUs, and gaps in their run time (see gap_run.h). The run's thread, and the one that looks. */
#include "host/engine/gap_run.h"

#include "common/clock.h"
#include "host/engine/sample.h"
#include "host/engine/vcpu_time.h"
#include "host/vm/freeze.h"

#include <signal.h>
#include <string.h>

/* Of looks that are kept: 2 MiB, all looks of 205 s with 254 vCPUs and of 410 s with few. */
#define HISTORY_BYTES (2u << 20)
#define HISTORY_LOOKS_MIN 256
#define HISTORY_LOOKS_MAX 8192
/* The guest is asked for its time until that is known so well, but not for ever: its host may be busy. Who is
 * kept waiting by the host for one answer mostly has the next at once. */
#define CLOCK_WIDTH_NS (10 * NS_PER_MS)
#define CLOCK_TRIES 6

struct gap_run {
	struct engine *engine;
	unsigned n_vcpus;
	uint64_t period_ns;
	uint64_t *taken_ns; /* [n_vcpus], [lock] for one look */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;  /* CLOCK_MONOTONIC */
	bool stop;               /* [lock] */
	uint64_t looked_ns;      /* [lock] begin of the last look */
	struct vcpu_time *times; /* [lock] */
};

static struct vm_passed passed(struct engine *engine)
{
	return engine->config.vm ? vm_passed(engine->config.vm) : (struct vm_passed){clock_now_ns(), 0};
}

uint64_t gap_run_now_ns(struct engine *engine)
{
	return passed(engine).ns;
}

/* With the lock held. A vCPU whose account cannot be had makes it no look at all. */
static void look(struct gap_run *watch)
{
	struct vm_passed begin = passed(watch->engine);
	for (unsigned i = 0; i < watch->n_vcpus; i++) {
		struct host_time time;
		if (sample_host_time(watch->engine, i, &time) < 0)
			return;
		watch->taken_ns[i] = time.wait_ns;
	}
	/* What freezes add is that of the begin: a part of the look like the waits. */
	struct vm_passed end = passed(watch->engine);
	for (unsigned i = 0; i < watch->n_vcpus; i++)
		watch->taken_ns[i] += begin.held_ns;
	vcpu_time_look(watch->times, begin.ns, end.ns, watch->taken_ns);
	watch->looked_ns = begin.ns;
}

static void *look_thread(void *arg)
{
	struct gap_run *watch = arg;
	pthread_mutex_lock(&watch->lock);
	while (!watch->stop) {
		/* While the VM is frozen there is nothing new. */
		if (passed(watch->engine).ns - watch->looked_ns >= watch->period_ns / 2)
			look(watch);
		struct timespec until = clock_timespec(clock_deadline_ns(watch->period_ns));
		pthread_cond_timedwait(&watch->changed, &watch->lock, &until);
	}
	pthread_mutex_unlock(&watch->lock);
	return NULL;
}

static void release(struct gap_run *watch)
{
	pthread_cond_destroy(&watch->changed);
	pthread_mutex_destroy(&watch->lock);
	vcpu_time_free(watch->times);
	free(watch->taken_ns);
	free(watch);
}

/* Signals are for other threads. */
static bool start_thread(struct gap_run *watch)
{
	pthread_attr_t attr;
	sigset_t mask;
	sigfillset(&mask);
	if (pthread_attr_init(&attr))
		return false;
	pthread_attr_setsigmask_np(&attr, &mask);
	int rc = pthread_create(&watch->thread, &attr, look_thread, watch);
	pthread_attr_destroy(&attr);
	if (rc == 0)
		pthread_setname_np(watch->thread, "vcpu looks");
	return rc == 0;
}

struct gap_run *gap_run_start(struct engine *engine)
{
	struct host_time time;
	unsigned n = engine->config.layout->n_cpus;
	pthread_condattr_t attr;
	for (unsigned i = 0; i < n; i++)
		if (sample_host_time(engine, i, &time) < 0)
			return NULL;
	struct gap_run *watch = calloc(1, sizeof(*watch));
	if (!watch || pthread_condattr_init(&attr)) {
		free(watch);
		return NULL;
	}
	size_t looks = HISTORY_BYTES / ((n + 2) * sizeof(uint64_t));
	*watch = (struct gap_run){.engine = engine,
		.n_vcpus = n,
		.period_ns = GAP_RUN_LOOK_NS * ((n + GAP_RUN_LOOK_VCPUS - 1) / GAP_RUN_LOOK_VCPUS)};
	watch->taken_ns = calloc(n, sizeof(*watch->taken_ns));
	watch->times = vcpu_time_new(n, MAX_OF(HISTORY_LOOKS_MIN, MIN_OF(HISTORY_LOOKS_MAX, looks)));
	pthread_mutex_init(&watch->lock, NULL);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&watch->changed, &attr);
	pthread_condattr_destroy(&attr);
	if (!watch->taken_ns || !watch->times) {
		release(watch);
		return NULL;
	}
	look(watch);
	if (start_thread(watch))
		return watch;
	release(watch);
	return NULL;
}

void gap_run_stop(struct gap_run *watch)
{
	if (!watch)
		return;
	pthread_mutex_lock(&watch->lock);
	watch->stop = true;
	pthread_cond_signal(&watch->changed);
	pthread_mutex_unlock(&watch->lock);
	pthread_join(watch->thread, NULL);
	release(watch);
}

void gap_run_clock(struct gap_run *watch, uint64_t before_ns, uint64_t guest_ns, uint64_t after_ns)
{
	if (!watch)
		return;
	SCOPE_LOCK(&watch->lock);
	vcpu_time_clock(watch->times, before_ns, guest_ns, after_ns);
}

void gap_run_learn_clock(struct gap_run *watch)
{
	for (unsigned i = 0; watch && i < CLOCK_TRIES; i++) {
		uint64_t guest_ns = agent_totals(watch->engine).now_ns;
		SCOPE_LOCK(&watch->lock);
		if (!guest_ns || vcpu_time_clock_width_ns(watch->times, guest_ns) <= CLOCK_WIDTH_NS)
			return;
	}
}

/* A worker that came from another CPU may have been waiting there: nobody knows since when it was here. */
static bool stayed(const Schedrig__V1__WorkerReport *worker, uint64_t at_ns)
{
	uint64_t listed_ns = 0;
	for (size_t i = 0; i < worker->n_migrated; i++) {
		listed_ns = worker->migrated[i]->at_ns;
		if (listed_ns == at_ns)
			return false;
	}
	return worker->migrations <= worker->n_migrated || at_ns <= listed_ns;
}

static Schedrig__V1__GapRunTime *gap_message(uint64_t gap_ns, const struct vcpu_taken *taken)
{
	Schedrig__V1__GapRunTime *message = malloc(sizeof(*message));
	if (!message)
		return NULL;
	schedrig__v1__gap_run_time__init(message);
	message->stolen_ns = taken->ns;
	message->ns = gap_ns - taken->ns;
	message->error_ns = taken->error_ns;
	message->by_host = true;
	return message;
}

/* With the lock held. */
static Schedrig__V1__GapRunTime *complete(const struct gap_run *watch,
	const Schedrig__V1__WorkerReport *worker, uint64_t gap_ns, uint64_t at_ns, uint32_t cpu,
	uint64_t now_ns)
{
	struct vcpu_gap gap = {.vcpu = cpu, .end_ns = at_ns, .now_ns = now_ns};
	struct vcpu_taken taken;
	if (!gap_ns || gap_ns > at_ns || !stayed(worker, at_ns))
		return NULL;
	gap.begin_ns = at_ns - gap_ns;
	return vcpu_time_taken(watch->times, &gap, &taken) ? gap_message(gap_ns, &taken) : NULL;
}

void gap_run_complete(struct gap_run *watch, Schedrig__V1__WorkerReport *const *workers, size_t n)
{
	if (!watch || !n)
		return;
	SCOPE_LOCK(&watch->lock);
	/* Everything in the reports was before now, and the looks reach that far. */
	uint64_t now_ns = gap_run_now_ns(watch->engine);
	look(watch);
	for (size_t i = 0; i < n; i++) {
		Schedrig__V1__WorkerReport *w = workers[i];
		if (!w->max_gap_run)
			w->max_gap_run =
				complete(watch, w, w->max_gap_ns, w->max_gap_at_ns, w->max_gap_cpu, now_ns);
		for (size_t k = 0; k < w->n_phases; k++) {
			Schedrig__V1__PhasePart *part = w->phases[k];
			if (!part->max_gap_run)
				part->max_gap_run = complete(watch, w, part->max_gap_ns, part->max_gap_at_ns,
					part->max_gap_cpu, now_ns);
		}
	}
}
