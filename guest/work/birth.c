/* SPDX-License-Identifier: GPL-2.0-only */
/* A worker's set-up: from the clone to its first unit. Runs in worker processes; each call that fails is put
 * into the slot with its name and errno. */
#include "guest/work/affinity.h"
#include "guest/work/worker.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* linux/sched/types.h; bookworm's glibc has no wrapper and its headers clash with sched.h. */
struct sched_attributes {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime_ns, deadline_ns, period_ns;
};
#define KERNEL_SCHED_DEADLINE 6
#define KERNEL_SCHED_EXT 7

static void say(const struct worker_birth *birth, enum slot_state state)
{
	char byte = 0;
	atomic_store_explicit(&birth->slot->state, state, memory_order_release);
	(void)!write(birth->ready_fd, &byte, 1);
}

static void fail(const struct worker_birth *birth, const char *call, int errnum)
{
	strncpy(birth->slot->call, call, sizeof(birth->slot->call) - 1);
	birth->slot->call_errno = errnum;
	say(birth, SLOT_FAILED);
	_exit(1);
}

static void reset_signals(void)
{
	struct sigaction standard = {.sa_handler = SIG_DFL};
	sigset_t none;
	for (int signum = 1; signum < NSIG; signum++)
		sigaction(signum, &standard, NULL);
	/* A pair's partner may be gone: the write says so. */
	standard.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &standard, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Everything but standard streams and these (-1: none): descriptors of the agent's must not live on here. */
static void close_others(const int *keep, unsigned count)
{
	unsigned from = 3;
	for (;;) {
		unsigned next = ~0u;
		for (unsigned i = 0; i < count; i++)
			if (keep[i] >= 0 && (unsigned)keep[i] >= from && (unsigned)keep[i] < next)
				next = (unsigned)keep[i];
		if (next > from)
			syscall(SYS_close_range, from, next == ~0u ? next : next - 1, 0);
		if (next == ~0u)
			return;
		from = next + 1;
	}
}

static int set_policy(const struct work_sched *sched, bool has_nice, int nice)
{
	static const uint32_t policies[] = {
		[WORK_NORMAL] = SCHED_OTHER,
		[WORK_BATCH] = SCHED_BATCH,
		[WORK_IDLE] = SCHED_IDLE,
		[WORK_FIFO] = SCHED_FIFO,
		[WORK_ROUND_ROBIN] = SCHED_RR,
		[WORK_DEADLINE] = KERNEL_SCHED_DEADLINE,
		[WORK_EXT] = KERNEL_SCHED_EXT,
	};
	struct sched_attributes attributes = {
		.size = sizeof(attributes),
		.policy = policies[sched->policy],
		.nice = has_nice ? nice : 0,
		.priority = sched->priority,
		.runtime_ns = sched->runtime_ns,
		.deadline_ns = sched->deadline_ns,
		.period_ns = sched->period_ns,
	};
	return (int)syscall(SYS_sched_setattr, 0, &attributes, 0);
}

static void set_up(const struct worker_birth *birth)
{
	const struct work_spec *spec = birth->spec;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		fail(birth, "prctl(PR_SET_PDEATHSIG)", errno);
	if (getppid() != birth->parent)
		_exit(1); /* the agent died before the line above */
	if (setpgid(0, 0) < 0)
		fail(birth, "setpgid", errno);
	if (prctl(PR_SET_NAME, spec->comm) < 0)
		fail(birth, "prctl(PR_SET_NAME)", errno);
	if (spec->affinity &&
		syscall(SYS_sched_setaffinity, 0, sizeof(struct cpuset), &spec->affinity[birth->index]) < 0)
		fail(birth, "sched_setaffinity", errno);
	struct work_sched sched = worker_sched(spec, birth->member);
	if ((sched.policy != WORK_NORMAL || spec->has_nice) &&
		set_policy(&sched, spec->has_nice, spec->nice) < 0)
		fail(birth, "sched_setattr", errno);
	/* Raw calls: glibc's would signal threads that do not exist here. */
	if (spec->has_gid && (syscall(SYS_setgroups, 0, NULL) < 0 ||
				     syscall(SYS_setresgid, spec->gid, spec->gid, spec->gid) < 0))
		fail(birth, "setresgid", errno);
	if (spec->has_uid && syscall(SYS_setresuid, spec->uid, spec->uid, spec->uid) < 0)
		fail(birth, "setresuid", errno);
	/* A change of credentials clears the parent-death signal (prctl(2)). */
	if ((spec->has_uid || spec->has_gid) && prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		fail(birth, "prctl(PR_SET_PDEATHSIG)", errno);
}

void worker_main(const struct worker_birth *birth)
{
	reset_signals();
	const int keep[] = {birth->read_fd, birth->write_fd, birth->ready_fd};
	close_others(keep, ARRAY_SIZE(keep));
	set_up(birth);
	struct work_slot *slot = birth->slot;
	struct worker worker = {
		.slot = slot,
		.slots = birth->slots,
		.params = &birth->spec->params,
		.index = birth->index,
		.member = birth->member,
		.members = birth->members,
		.group = birth->group,
		.read_fd = birth->read_fd,
		.write_fd = birth->write_fd,
		.seed = affinity_draw(birth->spec->seed, birth->index),
		.sink = (uint64_t)birth->index,
	};
	if (syscall(SYS_sched_getaffinity, 0, sizeof(worker.allowed), &worker.allowed) < 0)
		fail(birth, "sched_getaffinity", errno);
	slot->pid = (pid_t)syscall(SYS_getpid);
	worker_mind_stop(&worker);
	say(birth, SLOT_READY);
	close(birth->ready_fd);
	while (!atomic_load_explicit(&slot->go, memory_order_acquire))
		slot_futex_wait(&slot->go, 0, UINT64_MAX);
	worker_work(&worker);
	_exit(0);
}
