/* SPDX-License-Identifier: GPL-2.0-only */
/* Looks at vCPUs, and gaps in their run time (see gap_run.h). The run's thread, one that looks and one that
 * asks for the guest's time: an answer may take long just when looks tell most. */
#include "host/engine/gap_run.h"

#include "common/clock.h"
#include "host/engine/sample.h"
#include "host/engine/vcpu_time.h"
#include "host/link/link.h"
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
	pthread_t looker, asker;
	bool looks, asks; /* their threads are there; the run's thread */
	pthread_mutex_t lock;
	pthread_cond_t changed;  /* CLOCK_MONOTONIC */
	bool stop;               /* [lock] */
	uint64_t looked_ns;      /* [lock] begin of the last look */
	uint64_t question;       /* [lock] the call that waits for the guest's time; 0: none */
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

/* With the lock held. Nobody waits for a guest that is busy, or hangs, when the scenario is over. */
static void drop_question(struct gap_run *watch)
{
	struct err over = ERR_INIT;
	err_set(&over, ERR_CANCELLED, "the scenario is over");
	if (watch->question)
		link_give_up(watch->engine->config.link, watch->question, &over);
}

static void on_asked(uint64_t seq, void *arg)
{
	struct gap_run *watch = arg;
	SCOPE_LOCK(&watch->lock);
	watch->question = seq;
	if (watch->stop)
		drop_question(watch);
}

static void ask(struct gap_run *watch)
{
	uint64_t guest_ns = 0, before_ns = gap_run_now_ns(watch->engine);
	bool known = agent_clock(watch->engine, on_asked, watch, &guest_ns);
	uint64_t after_ns = gap_run_now_ns(watch->engine);
	SCOPE_LOCK(&watch->lock);
	watch->question = 0;
	if (known)
		vcpu_time_clock(watch->times, before_ns, guest_ns, after_ns);
}

static void *ask_thread(void *arg)
{
	struct gap_run *watch = arg;
	uint64_t apart_ns = watch->engine->config.ask_clock_ns, at_ns;
	apart_ns = apart_ns ? apart_ns : GAP_RUN_ASK_NS;
	at_ns = clock_deadline_ns(apart_ns);
	pthread_mutex_lock(&watch->lock);
	while (!watch->stop) {
		struct timespec until = clock_timespec(at_ns);
		if (clock_left_ns(at_ns)) {
			pthread_cond_timedwait(&watch->changed, &watch->lock, &until);
			continue;
		}
		pthread_mutex_unlock(&watch->lock);
		ask(watch);
		at_ns = clock_deadline_ns(apart_ns);
		pthread_mutex_lock(&watch->lock);
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
static bool start_thread(struct gap_run *watch, pthread_t *thread, void *(*run)(void *), const char *name)
{
	pthread_attr_t attr;
	sigset_t mask;
	sigfillset(&mask);
	if (pthread_attr_init(&attr))
		return false;
	pthread_attr_setsigmask_np(&attr, &mask);
	int rc = pthread_create(thread, &attr, run, watch);
	pthread_attr_destroy(&attr);
	if (rc == 0)
		pthread_setname_np(*thread, name);
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
	watch->looks = start_thread(watch, &watch->looker, look_thread, "vcpu looks");
	watch->asks = watch->looks && start_thread(watch, &watch->asker, ask_thread, "guest clock");
	if (watch->asks)
		return watch;
	gap_run_stop(watch);
	return NULL;
}

void gap_run_stop(struct gap_run *watch)
{
	if (!watch)
		return;
	pthread_mutex_lock(&watch->lock);
	watch->stop = true;
	drop_question(watch);
	pthread_cond_broadcast(&watch->changed);
	pthread_mutex_unlock(&watch->lock);
	if (watch->looks)
		pthread_join(watch->looker, NULL);
	if (watch->asks)
		pthread_join(watch->asker, NULL);
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
