/* SPDX-License-Identifier: GPL-2.0-only */
/* A worker from its own side. Everything below runs in a worker process, which came of a multi-threaded one
 * by a bare clone: async-signal-safe calls only, no heap, no stdio. */
#ifndef GUEST_WORK_WORKER_H
#define GUEST_WORK_WORKER_H

#include "guest/work/slot.h"

#define WORKER_BURST_UNITS 1024
#define WORKER_PUBLISH_NS UINT64_C(1000000)

#define WORKER_MAPS 8
struct worker {
	struct work_slot *slot, *slots; /* slots: of its group, by member */
	const struct work_params *params;
	const struct work_spec *spec;
	unsigned index;           /* in its batch */
	unsigned member, members; /* its place in its group */
	void *group; /* WORK_GROUP_BYTES of the group, zero at first, laid out by the type; NULL for one */
	int read_fd, write_fd; /* pipes from the member before and to the next (worker_has_pipes()), or a
				  socket on the network device, the same twice (worker_has_nic()), or -1 */
	uint32_t channel;      /* of that socket's frames */
	const int *fds;        /* what the agent opened for its group (worker_group_fds()) */
	int file_fd;      /* the batch's file (worker_shares_file()), the disk (worker_needs_file()), or -1 */
	uint64_t file_at; /* its place there, in bytes */
	int cgroup_fd;    /* its cgroup's directory, types that change it (worker_needs_cgroup()); or -1 */
	int schedstat_fd; /* or -1 */
	struct cpuset allowed; /* CPUs it could use when it was set up */
	uint64_t seed;         /* of its random choices */
	uint64_t sink;         /* result of the units: keeps the compiler from dropping them */
	uint64_t start_ns;
	uint64_t last_ns; /* last checkpoint */
	uint64_t published_ns;
	uint64_t others_cpu_ns; /* CPU time of processes that work for it */
	uint32_t last_cpu;
	struct slot_numbers numbers;
	struct work_switches first_switches;
	struct work_schedstat first_schedstat;
	struct work_part part; /* of the current phase */
	struct slot_numbers part_begin;
	uint64_t part_begin_ns;
	struct {
		void *at;
		uint64_t bytes;
	} maps[WORKER_MAPS]; /* its own memory, as far as it fits here */
	unsigned n_maps;
};

/* Work types: at least one round (whoever was released has worked), then until worker_stopping(). */
#define X(number, snake, ...) void worker_run_##snake(struct worker *worker);
WORK_TYPE_LIST(X)
#undef X

static inline int worker_stopping(const struct worker *worker)
{
	return atomic_load_explicit(&worker->slot->stop, memory_order_relaxed) != 0;
}
/* A unit is 16 links of a chain of dependent multiplications, some 64 cycles anywhere: long enough for a
 * checkpoint after 1024 of them to cost next to nothing (tests/bench/worker.c), short enough for a gap to be
 * seen on time. */
#define WORKER_UNIT_LINKS 16
static inline uint64_t worker_chain(uint64_t value, uint32_t units)
{
	for (uint32_t i = 0; i < units * WORKER_UNIT_LINKS; i++)
		value = value * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return value;
}
/* Does `units` (<= 1024) units of work and then a checkpoint. */
void worker_burst(struct worker *worker, uint32_t units);
void worker_checkpoint(struct worker *worker);
/* It did `units` (<= 1024) units of another kind; then a checkpoint. */
void worker_did(struct worker *worker, uint32_t units);
/* Fresh memory of its own for the rest of its life: its pages are reported. It ends if there is none. */
void *worker_map(struct worker *worker, uint64_t bytes);
/* The same, for munmap(), and not in the report. shared: with processes that it makes. */
void *worker_map_for_now(struct worker *worker, uint64_t bytes, bool shared);
/* CPU time of this worker. */
uint64_t worker_cpu_ns(void);
/* A round's CPU time. */
void worker_cost(struct worker *worker, uint64_t ns);
/* A request that arrived took so long. */
void worker_served(struct worker *worker, uint64_t ns);
/* Where it reads and writes: from `at` on, in bytes. */
struct worker_file {
	int fd;
	uint64_t at;
};
/* Its place on the machine's scratch disk (at least 4 MiB), holding whatever is there; or else an unlinked
 * file of its own of so many bytes, filled, on whatever /var/tmp, /tmp or / are on. It ends if there is none.
 */
struct worker_file worker_scratch(struct worker *worker, uint64_t bytes);
/* worker_burst() in as many bursts as it takes, fewer if it is to stop. */
void worker_units(struct worker *worker, uint64_t units);
/* Bursts for this long: one at least, fewer if it is to stop. */
void worker_spin(struct worker *worker, uint64_t ns);
/* A system call that its work consists of failed (errno): it ends, and its report says why. */
void worker_fail(struct worker *worker, const char *call) __attribute__((noreturn));
/* One round of the work type is done. */
void worker_iteration(struct worker *worker);
/* It blocked of its own will and could run again from `runnable_ns` on: the gap starts there. */
void worker_blocked_until(struct worker *worker, uint64_t runnable_ns);
/* A wake-up by somebody else that was due at due_ns has happened; or one by a timer. */
void worker_woken(struct worker *worker, uint64_t due_ns, uint64_t now_ns);
void worker_timed(struct worker *worker, uint64_t due_ns, uint64_t now_ns);
uint64_t worker_now_ns(void);

/* --- parts and publication (parts.c) --- */

void worker_publish(struct worker *worker, uint64_t now_ns);
/* What was counted since the part began belongs to it. */
void worker_part_close(struct worker *worker, uint64_t now_ns);
void worker_part_open(struct worker *worker, uint32_t phase, uint64_t now_ns);
/* From here on what the kernel counts is the worker's: before it waits for its release. */
void worker_count_from_here(struct worker *worker);

/* --- waiting (wait.c); no wait outlives a request to stop by more than 100 ms --- */

/* Lets WORK_STOP_SIGNAL interrupt whatever this worker blocks in, and WORK_PEER_SIGNAL arrive. */
void worker_mind_stop(struct worker *worker);
/* Waits until *word is not `value` and counts the wake-up. False: it is to stop. */
bool worker_wait_while(struct worker *worker, _Atomic uint32_t *word, uint32_t value);
/* What it asked for at asked_ns is there: a wake-up, if it was handed over (worker_hand()) after that. */
void worker_received(struct worker *worker, uint64_t asked_ns);
/* Before waking that worker. */
void worker_hand(struct work_slot *to);
/* Hands over: sets the word and wakes who waits on it. */
void worker_post(struct work_slot *to, _Atomic uint32_t *word, uint32_t value);
/* Sleeps until then and counts the wake-up. False: it is to stop. */
bool worker_rest(struct worker *worker, uint64_t due_ns);
void worker_await_stop(struct worker *worker);
/* pipe_io.c: a byte to the next member, from the member before. False: it is to stop, or that one is gone. */
bool worker_pipe_write(struct worker *worker);
bool worker_pipe_read(struct worker *worker);

/* futex_ping_pong.c: the whole life of one of a pair. */
void worker_take_turns(struct worker *worker, uint64_t units);

/* Whether the group's members are joined to a ring by pipes. */
bool worker_has_pipes(const struct work_params *params);
/* Eventfds that every group of this type shares; 0: none. */
unsigned worker_group_fds(const struct work_params *params);
/* Whether it changes its cgroup, and so needs its directory. */
bool worker_needs_cgroup(const struct work_params *params);
/* Whether all workers of a batch share a file. */
bool worker_shares_file(const struct work_params *params);
/* Whether it reads or writes a file, and so uses the machine's scratch disk where there is one. */
bool worker_needs_file(const struct work_params *params);
/* Whether each member has a socket on the network device; a group's have one channel. */
bool worker_has_nic(const struct work_params *params);
/* Policy of a member: its type's where that gives the member one, else the spec's. */
struct work_sched worker_sched(const struct work_spec *spec, unsigned member);

/* From the release to the last report. */
void worker_work(struct worker *worker);

/* Life of a worker after the clone; never returns. */
struct worker_birth {
	const struct work_spec *spec;
	struct work_slot *slot, *slots;
	unsigned index, member, members;
	void *group;
	int read_fd, write_fd;
	const int *fds; /* [n_fds] */
	unsigned n_fds;
	int file_fd; /* or -1 */
	uint64_t file_at;
	int cgroup_fd; /* where a thread group goes, or where the worker is, types that change it; -1 */
	uint32_t channel;
	int ready_fd; /* one byte says: look at my slot */
	pid_t parent;
	int page_fd; /* custom: the page; -1 */
};
void worker_main(const struct worker_birth *birth) __attribute__((noreturn));
/* The process of a thread group; never returns. */
void worker_lead(const struct worker_birth *births, unsigned count) __attribute__((noreturn));

#endif
