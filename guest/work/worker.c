/* SPDX-License-Identifier: GPL-2.0-only */
/* Checkpoints: what a worker measures about itself (see worker.h). Runs in worker processes. */
#include "guest/work/worker.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

long slot_futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns)
{
	/* FUTEX_WAIT_BITSET takes an absolute CLOCK_MONOTONIC time. */
	struct timespec until = {(time_t)(deadline_ns / 1000000000), (long)(deadline_ns % 1000000000)};
	return syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value, deadline_ns == UINT64_MAX ? NULL : &until,
		NULL, FUTEX_BITSET_MATCH_ANY);
}

void slot_futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, 0x7fffffff, NULL, NULL, 0);
}

static uint64_t read_clock(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t worker_now_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

/* Ends the current phase's part: what is counted since part_begin belongs to it. */
static void part_close(struct worker *worker, uint64_t now_ns)
{
	struct work_slot *slot = worker->slot;
	struct work_part *part = &worker->part;
	const struct slot_numbers *now = &worker->numbers, *begin = &worker->part_begin;
	part->units = now->units - begin->units;
	part->iterations = now->iterations - begin->iterations;
	part->cpu_ns = now->cpu_ns - begin->cpu_ns;
	part->migrations = now->migrations - begin->migrations;
	part->wall_ns = now_ns - worker->part_begin_ns;
	part->max_gap_ns = worker->part_max_gap_ns;
	uint32_t n = atomic_load_explicit(&slot->n_parts, memory_order_relaxed);
	if (n < SLOT_PARTS) {
		slot->parts[n] = *part;
		atomic_store_explicit(&slot->n_parts, n + 1, memory_order_release);
	}
}

static void part_open(struct worker *worker, uint32_t phase, uint64_t now_ns)
{
	worker->part = (struct work_part){.phase = phase};
	worker->part_begin = worker->numbers;
	worker->part_begin_ns = now_ns;
	worker->part_max_gap_ns = 0;
}

static void publish(struct worker *worker, uint64_t now_ns)
{
	struct work_slot *slot = worker->slot;
	worker->numbers.cpu_ns = read_clock(CLOCK_THREAD_CPUTIME_ID);
	worker->numbers.wall_ns = now_ns - worker->start_ns;
	uint32_t seq = atomic_load_explicit(&slot->seq, memory_order_relaxed);
	atomic_store_explicit(&slot->seq, seq + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release); /* odd before the numbers; pairs with read_numbers() */
	slot->numbers = worker->numbers;
	atomic_store_explicit(&slot->seq, seq + 2, memory_order_release);
	atomic_store_explicit(&slot->iterations, worker->numbers.iterations, memory_order_relaxed);
	worker->published_ns = now_ns;
}

static void note_trespass(struct worker *worker, const struct shared_set *set, uint32_t cpu, uint64_t now_ns)
{
	struct work_slot *slot = worker->slot;
	uint32_t n = atomic_load_explicit(&slot->n_trespasses, memory_order_relaxed);
	/* The same CPU in the same phase once: the list is short and a stretch has many checkpoints. */
	if (n == WORK_TRESPASSES || (n && slot->trespasses[n - 1].cpu == cpu &&
					    slot->trespasses[n - 1].phase == worker->part.phase))
		return;
	struct work_trespass *trespass = &slot->trespasses[n];
	trespass->cpu = cpu;
	trespass->phase = worker->part.phase;
	trespass->at_ns = now_ns;
	for (unsigned i = 0; i < CPUSET_MAX / 64; i++)
		trespass->allowed.bits[i] = atomic_load_explicit(&set->cpus[i], memory_order_relaxed);
	atomic_store_explicit(&slot->n_trespasses, n + 1, memory_order_release);
}

/* CPU it is on, judged against the set in force. Sound without any tolerance: a cpuset write returns only
 * when every task of the cgroup has left the CPUs it lost (set_cpus_allowed_ptr() waits for the migration),
 * and the agent brackets the write with two generations. A getcpu() between two reads of the same even
 * generation was made while that set was fully in force. */
static uint32_t look_at_cpu(struct worker *worker, uint64_t now_ns)
{
	uint32_t number = atomic_load_explicit(&worker->slot->set, memory_order_acquire);
	const struct shared_set *set = &work_shared->sets[number < WORK_SETS ? number : 0];
	uint32_t before = atomic_load_explicit(&set->generation, memory_order_acquire);
	uint32_t in_force = atomic_load_explicit(&set->in_force, memory_order_relaxed);
	int got = sched_getcpu();
	if (got < 0 || got >= CPUSET_MAX)
		return worker->last_cpu;
	uint32_t cpu = (uint32_t)got;
	uint64_t word = atomic_load_explicit(&set->cpus[cpu / 64], memory_order_relaxed);
	atomic_thread_fence(memory_order_acquire); /* the reads above before the second look */
	bool steady = !(before & 1) &&
		      before == atomic_load_explicit(&set->generation, memory_order_relaxed) &&
		      number == atomic_load_explicit(&worker->slot->set, memory_order_relaxed);
	if (steady && in_force && !(word >> (cpu % 64) & 1))
		note_trespass(worker, set, cpu, now_ns);
	return cpu;
}

void worker_checkpoint(struct worker *worker)
{
	uint64_t now_ns = worker_now_ns();
	struct slot_numbers *numbers = &worker->numbers;
	uint32_t cpu = look_at_cpu(worker, now_ns);
	uint64_t gap_ns = now_ns > worker->last_ns ? now_ns - worker->last_ns : 0;
	if (gap_ns > numbers->max_gap_ns) {
		numbers->max_gap_ns = gap_ns;
		numbers->max_gap_at_ns = now_ns;
		numbers->max_gap_cpu = cpu;
	}
	if (gap_ns > worker->part_max_gap_ns)
		worker->part_max_gap_ns = gap_ns;
	worker->last_ns = now_ns;
	if (cpu != worker->last_cpu) {
		numbers->migrations++;
		worker->last_cpu = cpu;
	}
	numbers->cpus_used[cpu / 64] |= UINT64_C(1) << (cpu % 64);
	uint32_t phase = atomic_load_explicit(&work_shared->phase, memory_order_acquire);
	if (phase != worker->part.phase) {
		publish(worker, now_ns);
		part_close(worker, now_ns);
		/* Phases that passed without a single checkpoint were spent in this gap. */
		for (uint32_t p = worker->part.phase + 1; p < phase; p++) {
			part_open(worker, p, now_ns);
			worker->part_max_gap_ns = gap_ns;
			part_close(worker, now_ns);
		}
		part_open(worker, phase, now_ns);
		worker->part_max_gap_ns = gap_ns;
	} else if (now_ns - worker->published_ns >= WORKER_PUBLISH_NS) {
		publish(worker, now_ns);
	}
}

void worker_burst(struct worker *worker, uint32_t units)
{
	/* A chain of dependent multiplications: a unit is one link, some 4 cycles anywhere. */
	uint64_t value = worker->sink | 1;
	for (uint32_t i = 0; i < units; i++)
		value = value * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	worker->sink = value;
	__asm__ volatile("" : : "r"(value));
	worker->numbers.units += units;
	worker_checkpoint(worker);
}

void worker_did(struct worker *worker, uint32_t units)
{
	worker->numbers.units += units;
	worker_checkpoint(worker);
}

void *worker_map(struct worker *worker, uint64_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		worker_fail(worker, "mmap");
	return at;
}

void worker_units(struct worker *worker, uint64_t units)
{
	do {
		uint32_t now = units < WORKER_BURST_UNITS ? (uint32_t)units : WORKER_BURST_UNITS;
		worker_burst(worker, now);
		units -= now;
	} while (units && !worker_stopping(worker));
}

void worker_spin(struct worker *worker, uint64_t ns)
{
	uint64_t until_ns = worker_now_ns() + ns;
	do
		worker_burst(worker, WORKER_BURST_UNITS);
	while (worker->last_ns < until_ns && !worker_stopping(worker));
}

void worker_iteration(struct worker *worker)
{
	worker->numbers.iterations++;
}

void worker_blocked_until(struct worker *worker, uint64_t runnable_ns)
{
	if (runnable_ns > worker->last_ns)
		worker->last_ns = runnable_ns;
}

void worker_woken(struct worker *worker, uint64_t due_ns, uint64_t now_ns)
{
	uint64_t latency_ns = now_ns > due_ns ? now_ns - due_ns : 0;
	worker->numbers.wakeups++;
	worker->numbers.wake_sum_ns += latency_ns;
	if (latency_ns > worker->numbers.wake_max_ns)
		worker->numbers.wake_max_ns = latency_ns;
}

static void (*const runs[WORK_TYPES])(struct worker *worker) = {
#define X(number, snake, upper, ...) [WORK_##upper] = worker_run_##snake,
	WORK_TYPE_LIST(X)
#undef X
};

static void finish(struct worker *worker)
{
	worker_checkpoint(worker);
	publish(worker, worker_now_ns());
	part_close(worker, worker_now_ns());
}

void worker_fail(struct worker *worker, const char *call)
{
	struct work_slot *slot = worker->slot;
	slot->call_errno = errno;
	strncpy(slot->call, call, sizeof(slot->call) - 1);
	finish(worker);
	atomic_store_explicit(&slot->state, SLOT_FAILED, memory_order_release);
	_exit(1);
}

void worker_work(struct worker *worker)
{
	/* From the release and not from its first instruction: the wait for a CPU is the first gap. */
	uint64_t now_ns = worker->slot->released_ns;
	worker->start_ns = worker->last_ns = worker->published_ns = now_ns;
	int cpu = sched_getcpu();
	worker->last_cpu = cpu < 0 ? 0 : (uint32_t)cpu;
	part_open(worker, atomic_load_explicit(&work_shared->phase, memory_order_acquire), now_ns);
	runs[worker->params->type](worker);
	finish(worker);
	atomic_store_explicit(&worker->slot->state, SLOT_REPORTED, memory_order_release);
}
