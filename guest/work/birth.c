/* SPDX-License-Identifier: GPL-2.0-only */
/* A worker's set-up: from the clone to its first unit. Runs in worker processes; each call that fails is put
 * into the slot with its name and errno. */
#include "guest/work/affinity.h"
#include "guest/work/worker.h"
#include "proto/worker_page.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
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

/* Descriptors that stay open; those of the agent's must not live on here. */
#define KEEP_MAX 65536
struct keep {
	uint64_t bits[KEEP_MAX / 64];
};

static void keep_fd(struct keep *keep, int fd)
{
	if (fd >= 0 && fd < KEEP_MAX)
		keep->bits[fd / 64] |= UINT64_C(1) << (fd % 64);
}

static void keep_birth(struct keep *keep, const struct worker_birth *birth)
{
	keep_fd(keep, birth->ready_fd);
	keep_fd(keep, birth->read_fd);
	keep_fd(keep, birth->write_fd);
	keep_fd(keep, birth->cgroup_fd);
	keep_fd(keep, birth->page_fd);
	keep_fd(keep, birth->spec->other_fd);
	keep_fd(keep, birth->file_fd);
	for (unsigned i = 0; i < birth->n_fds; i++)
		keep_fd(keep, birth->fds[i]);
}

/* All but standard streams and these. */
static void close_others(const struct keep *keep)
{
	unsigned from = 3;
	for (unsigned fd = 3; fd < KEEP_MAX; fd++) {
		if (fd % 64 == 0 && !keep->bits[fd / 64]) {
			fd += 63;
			continue;
		}
		if (!(keep->bits[fd / 64] >> (fd % 64) & 1))
			continue;
		if (fd > from)
			syscall(SYS_close_range, from, fd - 1, 0);
		from = fd + 1;
	}
	syscall(SYS_close_range, from, ~0u, 0);
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

/* include/uapi/linux/mempolicy.h; some are newer than the headers. */
#define KERNEL_MPOL_F_NUMA_BALANCING (1 << 13)
#define KERNEL_MPOL_F_RELATIVE_NODES (1 << 14)
#define KERNEL_MPOL_F_STATIC_NODES (1 << 15)

static int set_memory(const struct work_mem *mem)
{
	static const int modes[] = {
		[WORK_MEM_DEFAULT] = 0,
		[WORK_MEM_PREFERRED] = 1,
		[WORK_MEM_BIND] = 2,
		[WORK_MEM_INTERLEAVE] = 3,
		[WORK_MEM_LOCAL] = 4,
		[WORK_MEM_PREFERRED_MANY] = 5,      /* 5.15 */
		[WORK_MEM_WEIGHTED_INTERLEAVE] = 6, /* 6.9 */
	};
	int mode = modes[mem->kind];
	bool has_nodes = mem->kind != WORK_MEM_DEFAULT && mem->kind != WORK_MEM_LOCAL;
	int flags = (mem->static_nodes ? KERNEL_MPOL_F_STATIC_NODES : 0) |
		    (mem->relative_nodes ? KERNEL_MPOL_F_RELATIVE_NODES : 0) |
		    (mem->numa_balancing ? KERNEL_MPOL_F_NUMA_BALANCING : 0);
	/* The kernel takes one bit less than it is told (get_nodes() in mm/mempolicy.c). */
	if (syscall(SYS_set_mempolicy, mode | flags, has_nodes ? mem->nodes.bits : NULL,
		    has_nodes ? CPUSET_MAX + 1ul : 0ul) == 0)
		return 0;
	int errnum = errno;
	/* Does it refuse the nodes, or not know the mode? Any node that it may use tells. */
	struct cpuset allowed = CPUSET_EMPTY;
	if (errnum == EINVAL && mode > 4 &&
		syscall(SYS_get_mempolicy, NULL, allowed.bits, CPUSET_MAX + 1ul, NULL,
			4ul /* MEMS_ALLOWED */) == 0 &&
		syscall(SYS_set_mempolicy, mode, allowed.bits, CPUSET_MAX + 1ul) < 0 && errno == EINVAL)
		errnum = ENOSYS;
	errno = errnum;
	return -1;
}

static void set_up_process(const struct worker_birth *birth)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		fail(birth, "prctl(PR_SET_PDEATHSIG)", errno);
	if (getppid() != birth->parent)
		_exit(1); /* the agent died before the line above */
	if (setpgid(0, 0) < 0)
		fail(birth, "setpgid", errno);
}

/* What each thread of a group has for itself. */
static void set_up_thread(const struct worker_birth *birth)
{
	const struct work_spec *spec = birth->spec;
	if (prctl(PR_SET_NAME, spec->comm) < 0)
		fail(birth, "prctl(PR_SET_NAME)", errno);
	if (spec->affinity &&
		syscall(SYS_sched_setaffinity, 0, sizeof(struct cpuset), &spec->affinity[birth->index]) < 0)
		fail(birth, "sched_setaffinity", errno);
	if (spec->mem.kind != WORK_MEM_NONE && set_memory(&spec->mem) < 0)
		fail(birth, "set_mempolicy", errno);
	struct work_sched sched = worker_sched(spec, birth->member);
	if ((sched.policy != WORK_NORMAL || spec->has_nice) &&
		set_policy(&sched, spec->has_nice, spec->nice) < 0)
		fail(birth, "sched_setattr", errno);
}

static void set_credentials(const struct worker_birth *birth)
{
	const struct work_spec *spec = birth->spec;
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

/* From its set-up to its end. */
static void live(const struct worker_birth *birth)
{
	struct work_slot *slot = birth->slot;
	struct worker worker = {
		.slot = slot,
		.slots = birth->slots,
		.spec = birth->spec,
		.params = &birth->spec->params,
		.index = birth->index,
		.member = birth->member,
		.members = birth->members,
		.group = birth->group,
		.read_fd = birth->read_fd,
		.write_fd = birth->write_fd,
		.fds = birth->fds,
		.cgroup_fd = birth->cgroup_fd,
		.file_fd = birth->file_fd,
		.file_at = birth->file_at,
		.channel = birth->channel,
		.seed = affinity_draw(birth->spec->seed, birth->index),
		.sink = (uint64_t)birth->index,
	};
	if (syscall(SYS_sched_getaffinity, 0, sizeof(worker.allowed), &worker.allowed) < 0)
		fail(birth, "sched_getaffinity", errno);
	slot->tid = (pid_t)syscall(SYS_gettid);
	/* A kernel without CONFIG_SCHED_INFO has none, and neither has the report. */
	worker.schedstat_fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
	worker_mind_stop(&worker);
	worker_count_from_here(&worker);
	say(birth, SLOT_READY);
	while (!atomic_load_explicit(&slot->go, memory_order_acquire))
		slot_futex_wait(&slot->go, 0, UINT64_MAX);
	worker_work(&worker);
}

/* custom: the program takes over, see proto/worker_page.h. */
static void run_program(const struct worker_birth *birth)
{
	const struct work_spec *spec = birth->spec;
	if (dup2(birth->page_fd, WORKER_PAGE_FD) < 0 || dup2(birth->ready_fd, WORKER_READY_FD) < 0)
		fail(birth, "dup2", errno);
	execve(spec->program, spec->argv, spec->envp);
	fail(birth, "execve", errno);
}

/* Never called: by then the program has taken over. The list wants a function of every type. */
void worker_run_custom(struct worker *worker)
{
	errno = ENOEXEC;
	worker_fail(worker, "execve");
}

void worker_main(const struct worker_birth *birth)
{
	reset_signals();
	struct keep keep = {{0}};
	keep_birth(&keep, birth);
	close_others(&keep);
	set_up_process(birth);
	set_up_thread(birth);
	set_credentials(birth);
	if (birth->page_fd >= 0)
		run_program(birth);
	live(birth);
	_exit(0);
}

static void *run_thread(void *arg)
{
	const struct worker_birth *birth = arg;
	set_up_thread(birth);
	/* The kernel's credentials are each thread's own, and a policy may need those that are given up here.
	 */
	set_credentials(birth);
	live(birth);
	return NULL;
}

void worker_lead(const struct worker_birth *births, unsigned count)
{
	/* The stack of a worker is this file's and its type's: a page or two. */
	enum { STACK_BYTES = 262144 };
	const struct worker_birth *first = &births[0];
	pthread_attr_t attr;
	struct keep keep = {{0}};
	reset_signals();
	for (unsigned k = 0; k < count; k++)
		keep_birth(&keep, &births[k]);
	close_others(&keep);
	pthread_t *threads = calloc(count, sizeof(*threads)); /* fork() has left the heap usable */
	if (!threads)
		fail(first, "calloc", ENOMEM);
	set_up_process(first);
	if (prctl(PR_SET_NAME, first->spec->thread_group) < 0)
		fail(first, "prctl(PR_SET_NAME)", errno);
	if (first->cgroup_fd >= 0) {
		int procs = openat(first->cgroup_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
		if (procs < 0 || write(procs, "0", 1) < 0)
			fail(first, "write(cgroup.procs)", errno);
		close(procs);
	}
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	for (unsigned k = 0; k < count; k++) {
		int errnum = pthread_create(&threads[k], &attr, run_thread, (void *)&births[k]);
		if (errnum)
			fail(&births[k], "pthread_create", errnum);
	}
	set_credentials(first);
	for (unsigned k = 0; k < count; k++)
		pthread_join(threads[k], NULL);
	_exit(0);
}
