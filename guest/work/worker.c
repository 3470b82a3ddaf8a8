/* SPDX-License-Identifier: GPL-2.0-only */
/* Checkpoints: what a worker measures about itself (see worker.h). Runs in worker processes. */
#include "guest/work/worker.h"

#include <errno.h>
#include <fcntl.h>
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

uint64_t worker_cpu_ns(void)
{
	return read_clock(CLOCK_THREAD_CPUTIME_ID);
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

static void note_migration(struct worker *worker, uint32_t cpu, uint64_t now_ns)
{
	struct work_slot *slot = worker->slot;
	uint32_t n = atomic_load_explicit(&slot->n_migrated, memory_order_relaxed);
	if (n < WORK_MIGRATIONS) {
		slot->migrated[n] = (struct work_migration){
			.from = worker->last_cpu, .to = cpu, .phase = worker->part.phase, .at_ns = now_ns};
		atomic_store_explicit(&slot->n_migrated, n + 1, memory_order_release);
	}
	worker->numbers.migrations++;
	worker->last_cpu = cpu;
}

static struct work_gap note_gap(struct worker *worker, uint32_t cpu, uint64_t now_ns)
{
	struct work_gap gap = {.at_ns = now_ns, .cpu = cpu};
	gap.ns = now_ns > worker->last_ns ? now_ns - worker->last_ns : 0;
	if (gap.ns > worker->part.gap.ns)
		worker->part.gap = gap;
	/* The longest of all is at least the phase's longest. */
	if (gap.ns > worker->numbers.gap.ns)
		worker->numbers.gap = gap;
	worker->last_ns = now_ns;
	return gap;
}

/* Another phase has begun since the last checkpoint, which `across` ago. Phases that passed without a single
 * checkpoint were spent in that gap, and so were the end of the last one and the beginning of the new one. */
static void change_phase(struct worker *worker, uint32_t phase, const struct work_gap *across)
{
	for (uint32_t p = worker->part.phase; p != phase;) {
		worker_part_close(worker, across->at_ns);
		/* Phases only go up within a scenario; an ad-hoc worker outlives scenarios. */
		p = p < phase ? p + 1 : phase;
		worker_part_open(worker, p, across->at_ns);
		worker->part.gap = *across;
	}
}

void worker_checkpoint(struct worker *worker)
{
	uint64_t now_ns = worker_now_ns();
	uint32_t cpu = look_at_cpu(worker, now_ns);
	struct work_gap gap = note_gap(worker, cpu, now_ns);
	if (cpu != worker->last_cpu)
		note_migration(worker, cpu, now_ns);
	worker->numbers.cpus_used[cpu / 64] |= UINT64_C(1) << (cpu % 64);
	worker->part.cpus_used.bits[cpu / 64] |= UINT64_C(1) << (cpu % 64);
	uint32_t phase = atomic_load_explicit(&work_shared->phase, memory_order_acquire);
	if (phase != worker->part.phase)
		change_phase(worker, phase, &gap);
	else if (now_ns - worker->published_ns >= WORKER_PUBLISH_NS)
		worker_publish(worker, now_ns);
}

void worker_burst(struct worker *worker, uint32_t units)
{
	worker->sink = worker_chain(worker->sink | 1, units);
	__asm__ volatile("" : : "r"(worker->sink));
	worker->numbers.units += units;
	worker_checkpoint(worker);
}

void worker_did(struct worker *worker, uint32_t units)
{
	worker->numbers.units += units;
	worker_checkpoint(worker);
}

void *worker_map_for_now(struct worker *worker, uint64_t bytes, bool shared)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		(shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		worker_fail(worker, "mmap");
	return at;
}

void *worker_map(struct worker *worker, uint64_t bytes)
{
	void *at = worker_map_for_now(worker, bytes, false);
	if (worker->n_maps < WORKER_MAPS) {
		worker->maps[worker->n_maps].at = at;
		worker->maps[worker->n_maps++].bytes = bytes;
	}
	return at;
}

struct worker_file worker_scratch(struct worker *worker, uint64_t bytes)
{
	if (worker->file_fd >= 0)
		return (struct worker_file){worker->file_fd, worker->file_at};
	static const char *const places[] = {"/var/tmp", "/tmp", "/"};
	static const char filling[16384];
	int fd = -1;
	for (unsigned i = 0; i < ARRAY_SIZE(places) && fd < 0; i++)
		fd = open(places[i], O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		worker_fail(worker, "open(O_TMPFILE)");
	for (uint64_t at = 0; at < bytes && !worker_stopping(worker);) {
		ssize_t n = write(fd, filling, MIN_OF(sizeof(filling), bytes - at));
		if (n < 0 && errno != EINTR)
			worker_fail(worker, "write");
		at += n > 0 ? (uint64_t)n : 0;
		worker_checkpoint(worker);
	}
	return (struct worker_file){fd, 0};
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

static void note_latency(struct worker *worker, enum dist_kind kind, uint64_t due_ns, uint64_t now_ns)
{
	uint64_t latency_ns = now_ns > due_ns ? now_ns - due_ns : 0;
	dist_add(&worker->slot->dists[kind], latency_ns);
	worker->numbers.wakeups++;
	worker->numbers.wake_sum_ns += latency_ns;
	if (latency_ns > worker->numbers.wake_max_ns)
		worker->numbers.wake_max_ns = latency_ns;
}

void worker_woken(struct worker *worker, uint64_t due_ns, uint64_t now_ns)
{
	note_latency(worker, DIST_WAKE, due_ns, now_ns);
}

void worker_timed(struct worker *worker, uint64_t due_ns, uint64_t now_ns)
{
	note_latency(worker, DIST_TIMER, due_ns, now_ns);
}

void worker_cost(struct worker *worker, uint64_t ns)
{
	dist_add(&worker->slot->dists[DIST_COST], ns);
}

void worker_served(struct worker *worker, uint64_t ns)
{
	dist_add(&worker->slot->dists[DIST_REQUEST], ns);
}

static void (*const runs[WORK_TYPES])(struct worker *worker) = {
#define X(number, snake, upper, ...) [WORK_##upper] = worker_run_##snake,
	WORK_TYPE_LIST(X)
#undef X
};

/* Where the pages of its own memory are: move_pages(2) without nodes moves nothing and says. */
static void count_pages(struct worker *worker)
{
	enum { CHUNK = 256 };
	struct work_slot *slot = worker->slot;
	void *pages[CHUNK];
	int nodes[CHUNK];
	uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
	for (unsigned m = 0; m < worker->n_maps; m++) {
		uint64_t count = (worker->maps[m].bytes + page_bytes - 1) / page_bytes;
		for (uint64_t at = 0; at < count;) {
			unsigned n = (unsigned)MIN_OF(count - at, CHUNK);
			for (unsigned i = 0; i < n; i++)
				pages[i] = (char *)worker->maps[m].at + (at + i) * page_bytes;
			if (syscall(SYS_move_pages, 0, (unsigned long)n, pages, NULL, nodes, 0) < 0)
				return; /* a kernel without NUMA or migration has nothing to say */
			/* Negative: never touched. */
			for (unsigned i = 0; i < n; i++)
				if (nodes[i] >= 0 && nodes[i] < SLOT_NODES)
					slot->numa_pages[nodes[i]]++;
			at += n;
		}
		slot->has_pages = true;
	}
}

static void finish(struct worker *worker)
{
	worker_checkpoint(worker);
	worker_part_close(worker, worker_now_ns());
	count_pages(worker);
}

static void end_as(struct worker *worker, enum slot_state state)
{
	atomic_store_explicit(&worker->slot->state, state, memory_order_release);
	slot_futex_wake(&worker->slot->state);
}

void worker_fail(struct worker *worker, const char *call)
{
	struct work_slot *slot = worker->slot;
	slot->call_errno = errno;
	strncpy(slot->call, call, sizeof(slot->call) - 1);
	finish(worker);
	end_as(worker, SLOT_FAILED);
	/* This thread alone: others of its group go on. */
	for (;;)
		syscall(SYS_exit, 1);
}

void worker_work(struct worker *worker)
{
	/* From the release and not from its first instruction: the wait for a CPU is the first gap. */
	uint64_t now_ns = worker->slot->released_ns;
	worker->start_ns = worker->last_ns = worker->published_ns = now_ns;
	int cpu = sched_getcpu();
	worker->last_cpu = cpu < 0 ? 0 : (uint32_t)cpu;
	worker_part_open(worker, atomic_load_explicit(&work_shared->phase, memory_order_acquire), now_ns);
	runs[worker->params->type](worker);
	finish(worker);
	end_as(worker, SLOT_REPORTED);
}
