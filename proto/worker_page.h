/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/* The worker protocol: how a program of the user's (work type `custom`) is started, stopped and measured like
 * schedrig's own workers. This header is all there is to it: C programs include it and call the functions
 * below, others do what they do. An example is tests/fake/custom_worker.c.
 *
 * The program is executed with two descriptors open, and policy, affinity, credentials and cgroup as its
 * WorkSpec says:
 *
 *   3  WORKER_PAGE_FD   WORKER_PAGE_BYTES of memory to be mapped shared: struct worker_page. The agent has
 * mapped it too. 4  WORKER_READY_FD  a pipe to the agent.
 *
 * It maps the page, checks `magic` and `version`, prepares what it needs, sets `state` to WORKER_PAGE_READY,
 * writes one byte to the pipe and waits until `go` is 1 (a futex, shared). Then it works; after at most a few
 * milliseconds of work it looks at `stop` and updates its numbers. When `stop` is 1 it updates them for the
 * last time, sets `state` to WORKER_PAGE_DONE and exits with status 0; five seconds after `stop` it is
 * killed. While it sleeps for longer than 100 ms it waits on the futex `stop` instead (worker_page_sleep()).
 * A program that ends, with whatever status, before it has said DONE is reported as one that never reported.
 *
 * All numbers are little-endian, naturally aligned, monotonic, and each is written by one side only: A the
 * agent, P the program. Each is read alone, at any time; none needs a lock. Times are nanoseconds of
 * CLOCK_MONOTONIC. */
#ifndef PROTO_WORKER_PAGE_H
#define PROTO_WORKER_PAGE_H

#include <linux/futex.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define WORKER_PAGE_FD 3
#define WORKER_READY_FD 4
#define WORKER_PAGE_MAGIC UINT64_C(0x316b726f77646573) /* "sedwork1" */
#define WORKER_PAGE_VERSION 1u
#define WORKER_PAGE_BYTES 65536

enum worker_page_state { WORKER_PAGE_NEW, WORKER_PAGE_READY, WORKER_PAGE_DONE };

/* Measured times: values[hist_bucket] counts; see worker_page_bucket(). */
#define WORKER_PAGE_BUCKETS 1280
struct worker_page_times {
	uint64_t count, sum_ns, max_ns;
	uint64_t buckets[WORKER_PAGE_BUCKETS];
};
enum worker_page_kind {
	WORKER_PAGE_WAKE,    /* from being made runnable by somebody to running */
	WORKER_PAGE_TIMER,   /* from the time that it wanted to sleep until to running */
	WORKER_PAGE_COST,    /* CPU time of a round */
	WORKER_PAGE_REQUEST, /* from a request's arrival to its end */
	WORKER_PAGE_KINDS
};

struct worker_page {
	uint64_t magic;       /* A: WORKER_PAGE_MAGIC */
	uint32_t version;     /* A: WORKER_PAGE_VERSION; later ones only add at the end */
	uint32_t bytes;       /* A: WORKER_PAGE_BYTES */
	uint32_t go, stop;    /* A: 0, then 1; futexes */
	uint32_t state;       /* P: enum worker_page_state */
	uint32_t index;       /* A: which of the workers started together it is, from 0 */
	uint64_t seed;        /* A: of its random choices */
	uint64_t released_ns; /* A, before go: its time counts from here */
	uint64_t units;       /* P: units of work done: whatever the program counts */
	uint64_t iterations;  /* P: rounds done */
	uint64_t cpu_ns;      /* P: CPU time used by all that works for it */
	uint64_t migrations;  /* P: changes of CPU that it has seen */
	uint64_t gap_ns;      /* P: longest time between two checkpoints, voluntary blocking excluded */
	uint64_t gap_at_ns;   /* P: when that one ended */
	uint32_t gap_cpu;     /* P: CPU on which it ended */
	uint32_t cpu;         /* P: CPU at the last checkpoint */
	uint64_t cpus[16];    /* P: bit map of CPUs used */
	uint64_t reserved[32];
	struct worker_page_times times[WORKER_PAGE_KINDS]; /* P */
};
_Static_assert(sizeof(struct worker_page) <= WORKER_PAGE_BYTES, "the page");

/* --- for programs: one thread --- */

/* Where a program keeps what the page has no place for. Zero at first. */
struct worker_page_user {
	struct worker_page *page;
	uint64_t last_ns, published_ns;
	uint32_t last_cpu;
};

static inline uint64_t worker_page_clock(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
static inline uint64_t worker_page_now(void)
{
	return worker_page_clock(CLOCK_MONOTONIC);
}
#define WORKER_PAGE_SET(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELEASE)
#define WORKER_PAGE_GET(field) __atomic_load_n(&(field), __ATOMIC_ACQUIRE)

/* Maps the page. 0, or -1: this process was not started as a worker. */
static inline int worker_page_open(struct worker_page_user *user)
{
	void *at = mmap(NULL, WORKER_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, WORKER_PAGE_FD, 0);
	if (at == MAP_FAILED)
		return -1;
	user->page = (struct worker_page *)at;
	if (user->page->magic != WORKER_PAGE_MAGIC || user->page->version < WORKER_PAGE_VERSION) {
		munmap(at, WORKER_PAGE_BYTES);
		user->page = NULL;
		return -1;
	}
	return 0;
}

/* Says that it is ready and waits for its release. */
static inline void worker_page_ready(struct worker_page_user *user)
{
	char byte = 0;
	ssize_t ignored;
	WORKER_PAGE_SET(user->page->state, WORKER_PAGE_READY);
	ignored = write(WORKER_READY_FD, &byte, 1);
	(void)ignored;
	close(WORKER_READY_FD);
	while (!WORKER_PAGE_GET(user->page->go))
		syscall(SYS_futex, &user->page->go, FUTEX_WAIT, 0, NULL, NULL, 0);
	int cpu = sched_getcpu();
	user->last_cpu = cpu < 0 ? 0 : (uint32_t)cpu;
	user->last_ns = user->published_ns = user->page->released_ns;
}

static inline int worker_page_stopping(const struct worker_page_user *user)
{
	return WORKER_PAGE_GET(user->page->stop) != 0;
}

/* It did so many units. To be called every few milliseconds of work. */
static inline void worker_page_checkpoint(struct worker_page_user *user, uint64_t units)
{
	struct worker_page *page = user->page;
	uint64_t now = worker_page_now(), gap = now > user->last_ns ? now - user->last_ns : 0;
	int got = sched_getcpu();
	uint32_t cpu = got < 0 || got >= 1024 ? user->last_cpu : (uint32_t)got;
	WORKER_PAGE_SET(page->units, page->units + units);
	WORKER_PAGE_SET(page->cpus[cpu / 64], page->cpus[cpu / 64] | UINT64_C(1) << (cpu % 64));
	if (cpu != user->last_cpu)
		WORKER_PAGE_SET(page->migrations, page->migrations + 1);
	if (gap > page->gap_ns) {
		WORKER_PAGE_SET(page->gap_cpu, cpu);
		WORKER_PAGE_SET(page->gap_at_ns, now);
		WORKER_PAGE_SET(page->gap_ns, gap);
	}
	if (now - user->published_ns >= 1000000 || worker_page_stopping(user)) {
		WORKER_PAGE_SET(page->cpu_ns, worker_page_clock(CLOCK_PROCESS_CPUTIME_ID));
		WORKER_PAGE_SET(page->cpu, cpu);
		user->published_ns = now;
	}
	user->last_ns = now;
	user->last_cpu = cpu;
}

/* One round is done. */
static inline void worker_page_iteration(struct worker_page_user *user)
{
	WORKER_PAGE_SET(user->page->iterations, user->page->iterations + 1);
}

/* It blocked of its own will and could run again from then on: the gap starts there. */
static inline void worker_page_blocked_until(struct worker_page_user *user, uint64_t runnable_ns)
{
	if (runnable_ns > user->last_ns)
		user->last_ns = runnable_ns;
}

/* Values below 32 have a bucket each, larger ones share theirs with those that differ by less than 1/32. */
static inline uint32_t worker_page_bucket(uint64_t value)
{
	if (value < 32)
		return (uint32_t)value;
	uint32_t shift = 58u - (uint32_t)__builtin_clzll(value);
	uint64_t bucket = ((uint64_t)shift << 5) + (value >> shift);
	return bucket < WORKER_PAGE_BUCKETS ? (uint32_t)bucket : WORKER_PAGE_BUCKETS - 1;
}

static inline void worker_page_measured(
	struct worker_page_user *user, enum worker_page_kind kind, uint64_t ns)
{
	struct worker_page_times *times = &user->page->times[kind];
	uint64_t *bucket = &times->buckets[worker_page_bucket(ns)];
	WORKER_PAGE_SET(*bucket, *bucket + 1);
	WORKER_PAGE_SET(times->sum_ns, times->sum_ns + ns);
	if (ns > times->max_ns)
		WORKER_PAGE_SET(times->max_ns, ns);
	WORKER_PAGE_SET(times->count, times->count + 1);
}

/* Sleeps until then and measures the wake-up. 0: it is to stop. */
static inline int worker_page_sleep(struct worker_page_user *user, uint64_t until_ns)
{
	struct timespec until = {(time_t)(until_ns / 1000000000u), (long)(until_ns % 1000000000u)};
	while (!worker_page_stopping(user) && worker_page_now() < until_ns)
		syscall(SYS_futex, &user->page->stop, FUTEX_WAIT_BITSET, 0, &until, NULL,
			FUTEX_BITSET_MATCH_ANY);
	uint64_t now = worker_page_now();
	if (worker_page_stopping(user)) {
		worker_page_blocked_until(user, now);
		return 0;
	}
	worker_page_blocked_until(user, until_ns);
	worker_page_measured(user, WORKER_PAGE_TIMER, now - until_ns);
	return 1;
}

/* Last numbers; exit(0) follows. */
static inline void worker_page_done(struct worker_page_user *user)
{
	worker_page_checkpoint(user, 0);
	WORKER_PAGE_SET(user->page->cpu_ns, worker_page_clock(CLOCK_PROCESS_CPUTIME_ID));
	WORKER_PAGE_SET(user->page->state, WORKER_PAGE_DONE);
}

#endif
