/* SPDX-License-Identifier: GPL-2.0-only */
/* Workers from the agent's side: what all share, and the life of those that run (see work.h). */
#include "guest/work/work.h"

#include "guest/work/batch.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct work_shared *work_shared;

static void *map_shared(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return at == MAP_FAILED ? NULL : at;
}

int work_init(struct err *err)
{
	if (work_shared)
		return 0;
	work_shared = map_shared(sizeof(*work_shared));
	return work_shared ? 0
			   : err_set_os(err, ERR_GUEST_OS, errno, "cannot map the workers' shared memory");
}

void work_set_phase(uint32_t phase)
{
	if (atomic_exchange_explicit(&work_shared->phase, phase, memory_order_acq_rel) != phase)
		custom_change_phase(phase);
}

uint32_t work_phase(void)
{
	return atomic_load_explicit(&work_shared->phase, memory_order_acquire);
}

/* --- sets in force; the numbers are handed out under the callers' lock (the scene's) --- */

static bool set_used[WORK_SETS] = {[0] = true};

int work_set_alloc(unsigned *ret_set, struct err *err)
{
	for (unsigned i = 1; i < WORK_SETS; i++)
		if (!set_used[i]) {
			set_used[i] = true;
			*ret_set = i;
			return 0;
		}
	return err_set(err, ERR_LIMIT_EXCEEDED, "there are %d cgroups already", WORK_SETS - 1);
}

void work_set_free(unsigned set)
{
	if (!set)
		return;
	work_set_begin(set);
	work_set_end(set, NULL);
	set_used[set] = false;
}

void work_set_begin(unsigned set)
{
	struct shared_set *shared = &work_shared->sets[set];
	uint32_t generation = atomic_load_explicit(&shared->generation, memory_order_relaxed);
	atomic_store_explicit(&shared->generation, generation | 1, memory_order_release);
	/* Odd before anything that follows, the system call that moves workers included. */
	atomic_thread_fence(memory_order_seq_cst);
}

void work_set_end(unsigned set, const struct cpuset *cpus)
{
	struct shared_set *shared = &work_shared->sets[set];
	for (unsigned i = 0; i < CPUSET_MAX / 64; i++)
		atomic_store_explicit(&shared->cpus[i], cpus ? cpus->bits[i] : 0, memory_order_relaxed);
	atomic_store_explicit(&shared->in_force, cpus != NULL, memory_order_relaxed);
	uint32_t generation = atomic_load_explicit(&shared->generation, memory_order_relaxed);
	atomic_store_explicit(&shared->generation, (generation | 1) + 1, memory_order_release);
}

/* --- those that run --- */

struct child *work_child(const struct work *work)
{
	return work->process ? &work->process->child : (struct child *)&work->child;
}

enum slot_state work_state(const struct work *work)
{
	enum slot_state state =
		(enum slot_state)atomic_load_explicit(&work->slot->state, memory_order_acquire);
	/* Its set-up is ours: a failure of that is in the slot. */
	return work->custom && state == SLOT_NEW ? custom_state(work->custom) : state;
}

pid_t work_tid(const struct work *work)
{
	return work->process ? work->slot->tid : work->child.pid;
}

bool work_kill(struct work *work, int signum)
{
	if (!work->process)
		return child_kill(&work->child, signum);
	/* A thread that has ended leaves its number to others. */
	if (work_state(work) != SLOT_READY)
		return false;
	return child_kill_thread(&work->process->child, work->slot->tid, signum);
}

void work_use_set(struct work *work, unsigned set)
{
	atomic_store_explicit(&work->slot->set, set, memory_order_release);
}

void work_ask_stop(struct work *work)
{
	if (work->custom) {
		work_begin(work);
		custom_ask_stop(work->custom);
		return;
	}
	atomic_store_explicit(&work->slot->stop, 1, memory_order_release);
	slot_futex_wake(&work->slot->stop);
	/* One that is held looks up only when it may begin. */
	work_begin(work);
	work_kill(work, WORK_STOP_SIGNAL);
}

uint64_t work_iterations(const struct work *work)
{
	/* A custom worker's are in its page, whatever it says. */
	if (work->custom)
		return __atomic_load_n(&work->custom->page->iterations, __ATOMIC_RELAXED);
	return atomic_load_explicit(&work->slot->iterations, memory_order_relaxed);
}

bool slot_read(const struct work_slot *slot, struct slot_numbers *ret_numbers)
{
	for (unsigned tries = 0; tries < 100; tries++) {
		uint32_t version = atomic_load_explicit(&slot->seq, memory_order_acquire);
		*ret_numbers = slot->numbers[version % 2];
		atomic_thread_fence(memory_order_acquire); /* the copy before the second look */
		if (version == atomic_load_explicit(&slot->seq, memory_order_relaxed))
			return true;
	}
	return false;
}

void work_sample(const struct work *work, struct work_sample *ret)
{
	struct slot_numbers n;
	if (work->custom)
		custom_sync((struct work *)work, false);
	(void)slot_read(work->slot, &n);
	*ret = (struct work_sample){n.units, n.iterations, n.cpu_ns, n.migrations, n.cpu, n.phase};
}

void work_abandon(struct work *work)
{
	struct child *child = work_child(work);
	if (!child_exited(child))
		child_abandon(child);
}

void work_leave_process(struct work *work)
{
	struct child *child = work_child(work);
	if (work->process && --work->process->refs) {
		work->process = NULL;
		return;
	}
	if (child_exited(child))
		child_forget(child);
	free(work->process);
	work->process = NULL;
}

void work_release(struct work *work)
{
	struct work_batch *batch = work->batch;
	work_leave_process(work);
	custom_free(work);
	work->batch = NULL;
	work->slot = NULL;
	if (--batch->live == 0)
		batch_free(batch);
}
