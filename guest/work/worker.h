/* SPDX-License-Identifier: GPL-2.0-only */
/* A worker from its own side. Everything below runs in a worker process, which came of a multi-threaded one
 * by a bare clone: async-signal-safe calls only, no heap, no stdio. */
#ifndef GUEST_WORK_WORKER_H
#define GUEST_WORK_WORKER_H

#include "guest/work/slot.h"

#define WORKER_BURST_UNITS 1024
#define WORKER_PUBLISH_NS UINT64_C(1000000)

struct worker {
	struct work_slot *slot, *peer; /* peer: the other of a pair, or NULL */
	const struct work_params *params;
	unsigned index;        /* in its batch */
	int read_fd, write_fd; /* pipe_io, else -1 */
	uint64_t sink;         /* result of the units: keeps the compiler from dropping them */
	uint64_t start_ns;
	uint64_t last_ns; /* last checkpoint */
	uint64_t published_ns;
	uint32_t last_cpu;
	struct slot_numbers numbers;
	struct work_part part; /* of the current phase */
	struct slot_numbers part_begin;
	uint64_t part_begin_ns;
	uint64_t part_max_gap_ns;
};

/* Work types: at least one round (whoever was released has worked), then until worker_stopping(). */
#define X(snake, upper, group) void worker_run_##snake(struct worker *worker);
WORK_TYPE_LIST(X)
#undef X

static inline int worker_stopping(const struct worker *worker)
{
	return atomic_load_explicit(&worker->slot->stop, memory_order_relaxed) != 0;
}
/* Does `units` (<= 1024) units of work and then a checkpoint. */
void worker_burst(struct worker *worker, uint32_t units);
void worker_checkpoint(struct worker *worker);
/* One round of the work type is done. */
void worker_iteration(struct worker *worker);
/* It blocked of its own will and could run again from `runnable_ns` on: the gap starts there. */
void worker_blocked_until(struct worker *worker, uint64_t runnable_ns);
/* A wake-up that was due at due_ns has happened. */
void worker_woken(struct worker *worker, uint64_t due_ns, uint64_t now_ns);
uint64_t worker_now_ns(void);

/* From the release to the last report. */
void worker_work(struct worker *worker);

/* Life of a worker after the clone; never returns. */
struct worker_birth {
	const struct work_spec *spec;
	struct work_slot *slot, *peer;
	unsigned index;
	int read_fd, write_fd;
	int ready_fd; /* one byte says: look at my slot */
	pid_t parent;
};
void worker_main(const struct worker_birth *birth) __attribute__((noreturn));

#endif
