/* SPDX-License-Identifier: GPL-2.0-only */
/* Workers from the agent's side (see work.h). */
#include "guest/work/work.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/scope.h"
#include "guest/work/slot.h"
#include "guest/work/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct work_shared *work_shared;

/* Slots of workers that were started together. */
struct work_batch {
	struct work_slot *slots;
	char *groups;         /* WORK_GROUP_BYTES for each group; NULL: groups of one */
	unsigned count, live; /* live: works not released yet */
	unsigned members;     /* of a group */
	int ready_read, ready_write;
};

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
	atomic_store_explicit(&work_shared->phase, phase, memory_order_release);
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

/* --- starting --- */

static void batch_free(struct work_batch *batch)
{
	if (!batch)
		return;
	fd_close(&batch->ready_read);
	fd_close(&batch->ready_write);
	if (batch->slots)
		munmap(batch->slots, batch->count * sizeof(*batch->slots));
	if (batch->groups)
		munmap(batch->groups, batch->count / batch->members * (size_t)WORK_GROUP_BYTES);
	free(batch);
}
SCOPE_GUARD(struct work_batch *, batch_free, batch_free)

static struct work_batch *batch_new(unsigned count, unsigned members, struct err *err)
{
	_cleanup_(batch_free_p) struct work_batch *batch = calloc(1, sizeof(*batch));
	int fds[2];
	if (batch) {
		batch->count = count;
		batch->members = members;
		batch->ready_read = batch->ready_write = -1;
		batch->slots = map_shared(count * sizeof(*batch->slots));
		if (members > 1)
			batch->groups = map_shared(count / members * (size_t)WORK_GROUP_BYTES);
	}
	if (!batch || !batch->slots || (members > 1 && !batch->groups)) {
		err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot map the slots of %u workers", count);
		return NULL;
	}
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0) {
		err_set_os(err, ERR_GUEST_OS, errno, "cannot make a pipe");
		return NULL;
	}
	batch->ready_read = fds[0];
	batch->ready_write = fds[1];
	return TAKE_PTR(batch);
}

/* Under the lock of the children, on any thread. */
static void died_early(struct child *child)
{
	struct work *work = container_of(child, struct work, child);
	char byte = 0;
	(void)!write(work->batch->ready_write, &byte, 1);
}

/* Pipes of the group that is being started: pipe m goes from member m to the next one. */
struct ring {
	unsigned n;
	int (*ends)[2];
};

static void ring_deinit(struct ring *ring)
{
	for (unsigned m = 0; m < ring->n; m++) {
		fd_close(&ring->ends[m][0]);
		fd_close(&ring->ends[m][1]);
	}
	free(ring->ends);
	*ring = (struct ring){0};
}

static int ring_init(struct ring *ring, unsigned n, struct err *err)
{
	ring->ends = calloc(n, sizeof(*ring->ends));
	if (!ring->ends)
		return err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot make the pipes of a group of workers");
	for (; ring->n < n; ring->n++)
		if (pipe2(ring->ends[ring->n], O_CLOEXEC) < 0)
			return err_set_os(
				err, ERR_GUEST_OS, errno, "cannot make the pipes of a group of workers");
	return 0;
}

static int start_all(struct work **works, unsigned count, const struct work_spec *spec,
	struct work_batch *batch, int cgroup_fd, unsigned set, struct err *err)
{
	_cleanup_(ring_deinit) struct ring ring = {0};
	unsigned members = batch->members;
	bool pipes = worker_has_pipes(&spec->params);
	pid_t parent = getpid();
	for (unsigned k = 0; k < count; k++) {
		struct work *work = works[k];
		struct work_slot *slot = &batch->slots[k];
		unsigned member = k % members;
		if (pipes && member == 0) {
			ring_deinit(&ring);
			int r = ring_init(&ring, members, err);
			if (r < 0)
				return r;
		}
		atomic_store(&slot->set, set);
		work->batch = batch;
		work->slot = slot;
		work->type = spec->params.type;
		memcpy(work->comm, spec->comm, sizeof(work->comm));
		work->child.on_exit = died_early;
		struct worker_birth birth = {
			.spec = spec,
			.slot = slot,
			.slots = slot - member,
			.index = k,
			.member = member,
			.members = members,
			.group = batch->groups ? batch->groups + (k / members) * (size_t)WORK_GROUP_BYTES
					       : NULL,
			.read_fd = pipes ? ring.ends[(member + members - 1) % members][0] : -1,
			.write_fd = pipes ? ring.ends[member][1] : -1,
			.ready_fd = batch->ready_write,
			.parent = parent,
		};
		pid_t pid = child_clone(&work->child, cgroup_fd, err);
		if (pid == 0)
			worker_main(&birth);
		if (pid < 0)
			return err_wrap(err, "worker %u of %u (%s)", k, count, spec->comm);
		work->started = true;
	}
	return 0;
}

/* 0 when all are ready, 1 when some are not yet. */
static int look_at_slots(struct work *const *works, unsigned count, struct err *err)
{
	bool all = true;
	for (unsigned k = 0; k < count; k++) {
		const struct work *work = works[k];
		uint32_t state = atomic_load_explicit(&work->slot->state, memory_order_acquire);
		if (state == SLOT_FAILED)
			return err_set_os(err, ERR_GUEST_OS, work->slot->call_errno,
				"worker %u of %u (%s, pid %d): %s failed", k, count, work->comm,
				work->child.pid, work->slot->call);
		if (state != SLOT_NEW)
			continue;
		all = false;
		if (child_exited(&work->child)) {
			char text[40];
			return err_set(err, ERR_GUEST_OS,
				"worker %u of %u (%s, pid %d) ended during its set-up (%s)", k, count,
				work->comm, work->child.pid,
				child_status_text(work->child.status, text, sizeof(text)));
		}
	}
	return all ? 0 : 1;
}

static int wait_ready(struct work *const *works, unsigned count, struct work_batch *batch,
	uint64_t deadline_ns, struct cancel *cancel, struct err *err)
{
	for (;;) {
		char bytes[256];
		while (read(batch->ready_read, bytes, sizeof(bytes)) > 0)
			;
		int r = look_at_slots(works, count, err);
		if (r <= 0)
			return r;
		if (!clock_left_ns(deadline_ns))
			return err_set(err, ERR_TIMEOUT,
				"workers (%s) did not get through their set-up in time: they get no CPU",
				works[0]->comm);
		struct pollfd fds[2] = {{.fd = batch->ready_read, .events = POLLIN},
			{.fd = cancel ? cancel->fd : -1, .events = POLLIN}};
		if (poll(fds, 2, clock_poll_ms(deadline_ns)) < 0 && errno != EINTR)
			return err_set_os(err, ERR_GUEST_OS, errno, "cannot wait for workers");
		if (fds[1].revents)
			return err_set(err, ERR_CANCELLED, "given up while workers were starting");
	}
}

static void silence_all(struct work **works, unsigned count)
{
	for (unsigned k = 0; k < count; k++)
		if (works[k]->started)
			child_silence(&works[k]->child);
}

static void kill_all(struct work **works, unsigned count)
{
	for (unsigned k = 0; k < count; k++)
		if (works[k]->started)
			child_kill(&works[k]->child, SIGKILL);
	for (unsigned k = 0; k < count; k++) {
		if (!works[k]->started)
			continue;
		child_wait(&works[k]->child, CLOCK_NEVER_NS, NULL);
		child_forget(&works[k]->child);
		works[k]->started = false;
	}
}

int work_start(struct work **works, unsigned count, const struct work_spec *spec, int cgroup_fd, unsigned set,
	uint64_t deadline_ns, struct cancel *cancel, struct err *err)
{
	uint64_t members = work_group_size(&spec->params);
	if (count % members)
		return err_set(err, ERR_INVALID_ARGUMENT, "%s needs a multiple of %llu workers, not %u",
			work_type_name(spec->params.type), (unsigned long long)members, count);
	_cleanup_(batch_free_p) struct work_batch *batch = batch_new(count, (unsigned)members, err);
	if (!batch)
		return err_errno(ERR_GUEST_OS);
	struct work_spec named = *spec;
	if (!named.comm[0])
		strncpy(named.comm, work_type_name(spec->params.type), sizeof(named.comm) - 1);
	int r = start_all(works, count, &named, batch, cgroup_fd, set, err);
	if (r == 0)
		r = wait_ready(works, count, batch, deadline_ns, cancel, err);
	silence_all(works, count);
	fd_close(&batch->ready_read);
	fd_close(&batch->ready_write);
	if (r < 0) {
		kill_all(works, count);
		return r;
	}
	batch->live = count;
	uint64_t now_ns = clock_now_ns();
	for (unsigned k = 0; k < count; k++) {
		works[k]->start_ns = now_ns;
		works[k]->slot->released_ns = now_ns;
		atomic_store_explicit(&works[k]->slot->go, 1, memory_order_release);
		slot_futex_wake(&works[k]->slot->go);
	}
	(void)TAKE_PTR(batch);
	return 0;
}

void work_use_set(struct work *work, unsigned set)
{
	atomic_store_explicit(&work->slot->set, set, memory_order_release);
}

void work_ask_stop(struct work *work)
{
	atomic_store_explicit(&work->slot->stop, 1, memory_order_release);
	slot_futex_wake(&work->slot->stop);
	child_kill(&work->child, WORK_STOP_SIGNAL);
}

uint64_t work_iterations(const struct work *work)
{
	return atomic_load_explicit(&work->slot->iterations, memory_order_relaxed);
}

/* --- what they did --- */

static void read_numbers(const struct work_slot *slot, struct slot_numbers *ret_numbers)
{
	/* The worker is gone: a publication it was killed in stays odd for ever, and is taken as it is. */
	for (unsigned tries = 0; tries < 3; tries++) {
		uint32_t before = atomic_load_explicit(&slot->seq, memory_order_acquire);
		*ret_numbers = slot->numbers;
		atomic_thread_fence(memory_order_acquire);
		if (!(before & 1) && before == atomic_load_explicit(&slot->seq, memory_order_relaxed))
			return;
	}
}

/* What is published but in no closed part belongs to the part the worker was killed in. */
static void add_open_part(struct work_report *report, unsigned size)
{
	if (!report->missing || report->n_parts >= size)
		return;
	struct work_part open = {
		.units = report->units,
		.iterations = report->iterations,
		.cpu_ns = report->cpu_ns,
		.wall_ns = report->wall_ns,
		.migrations = report->migrations,
	};
	for (unsigned i = 0; i < report->n_parts; i++) {
		const struct work_part *part = &report->parts[i];
		open.units -= MIN_OF(part->units, open.units);
		open.iterations -= MIN_OF(part->iterations, open.iterations);
		open.cpu_ns -= MIN_OF(part->cpu_ns, open.cpu_ns);
		open.wall_ns -= MIN_OF(part->wall_ns, open.wall_ns);
		open.migrations -= MIN_OF(part->migrations, open.migrations);
	}
	open.phase = report->n_parts ? report->parts[report->n_parts - 1].phase + 1 : work_phase();
	open.max_gap_ns = report->n_parts ? 0 : report->max_gap_ns;
	report->parts[report->n_parts++] = open;
}

void work_report(struct work *work, struct work_report *ret)
{
	struct work_slot *slot = work->slot;
	struct slot_numbers n;
	read_numbers(slot, &n);
	*ret = (struct work_report){
		.pid = work->child.pid,
		.type = work->type,
		.units = n.units,
		.iterations = n.iterations,
		.cpu_ns = n.cpu_ns,
		.wall_ns = n.wall_ns,
		.migrations = n.migrations,
		.max_gap_ns = n.max_gap_ns,
		.max_gap_at_ns = n.max_gap_at_ns,
		.max_gap_cpu = n.max_gap_cpu,
		.wakeups = n.wakeups,
		.wake_max_ns = n.wake_max_ns,
		.wake_sum_ns = n.wake_sum_ns,
		.missing = atomic_load_explicit(&slot->state, memory_order_acquire) != SLOT_REPORTED,
		.n_trespasses = atomic_load_explicit(&slot->n_trespasses, memory_order_acquire),
	};
	memcpy(ret->comm, work->comm, sizeof(ret->comm));
	memcpy(ret->cpus_used.bits, n.cpus_used, sizeof(n.cpus_used));
	if (ret->n_trespasses > WORK_TRESPASSES)
		ret->n_trespasses = WORK_TRESPASSES;
	memcpy(ret->trespasses, slot->trespasses, ret->n_trespasses * sizeof(ret->trespasses[0]));
	unsigned parts = atomic_load_explicit(&slot->n_parts, memory_order_acquire);
	parts = MIN_OF(parts, SLOT_PARTS);
	ret->parts = calloc(parts + 1, sizeof(*ret->parts));
	if (ret->parts) {
		memcpy(ret->parts, slot->parts, parts * sizeof(*ret->parts));
		ret->n_parts = parts;
		add_open_part(ret, parts + 1);
	}
	if (ret->missing && !ret->wall_ns)
		ret->wall_ns = work->child.end_ns - work->start_ns;
	uint32_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
	if (!ret->missing)
		strcpy(ret->exit, "stopped");
	else if (state == SLOT_FAILED)
		snprintf(ret->exit, sizeof(ret->exit), "%.24s: %.12s", slot->call,
			strerrorname_np(slot->call_errno));
	else if (WIFSIGNALED(work->child.status) && WTERMSIG(work->child.status) == SIGKILL)
		strcpy(ret->exit, "killed");
	else
		child_status_text(work->child.status, ret->exit, sizeof(ret->exit));
}

void work_report_deinit(struct work_report *report)
{
	free(report->parts);
	report->parts = NULL;
}

void work_release(struct work *work)
{
	struct work_batch *batch = work->batch;
	child_forget(&work->child);
	work->batch = NULL;
	work->slot = NULL;
	if (--batch->live == 0)
		batch_free(batch);
}
