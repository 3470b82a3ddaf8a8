/* SPDX-License-Identifier: GPL-2.0-only */
/* The agent's page and its heartbeat thread (see proto/agent_page.h). */
#include "common/clock.h"
#include "common/scope.h"
#include "guest/agent/state.h"
#include "guest/init/init.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Twice as often as promised. */
#define BEAT_NS (AGENT_PAGE_BEAT_NS / 2)
#define BEAT_STACK_BYTES (256u * 1024) /* sanitizers need some */
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_PFN ((UINT64_C(1) << 55) - 1)
#define POLICY_BIND 2 /* linux/mempolicy.h MPOL_BIND */

/* Documentation/admin-guide/mm/pagemap.rst. */
static int find_gpa(const void *page, uint64_t *ret_gpa, struct err *err)
{
	_cleanup_close_ int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry;
	if (fd < 0 || pread(fd, &entry, sizeof(entry),
			      (off_t)((uintptr_t)page / AGENT_PAGE_BYTES * sizeof(entry))) != sizeof(entry))
		return err_set_os(err, ERR_GUEST_OS, errno, "cannot read /proc/self/pagemap");
	if (!(entry & PAGEMAP_PRESENT) || !(entry & PAGEMAP_PFN))
		return err_set(err, ERR_GUEST_OS, "cannot find out where the agent's page is");
	*ret_gpa = (entry & PAGEMAP_PFN) * AGENT_PAGE_BYTES;
	return 0;
}

/* Automatic NUMA balancing moves pages of a mapping without a policy of its own; one bound to a node is left
 * alone (vma_policy_mof()). */
static void pin_to_node(void *page)
{
	unsigned cpu, node = 0;
	if (getcpu(&cpu, &node) < 0 || node >= 1024)
		return;
	unsigned long mask[1024 / (8 * sizeof(long))] = {0};
	mask[node / (8 * sizeof(long))] = 1ul << (node % (8 * sizeof(long)));
	(void)!syscall(SYS_mbind, page, AGENT_PAGE_BYTES, POLICY_BIND, mask, 1024ul, 0);
}

static uint64_t sleep_to_next(uint64_t next_ns)
{
	next_ns = MAX_OF(next_ns + BEAT_NS, clock_now_ns());
	struct timespec until = clock_timespec(next_ns);
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
	return next_ns;
}

/* Not the beat's business: to look at the scene means to write into memory that a fork has made
 * copy-on-write, and where memory has run out such a copy takes seconds. */
static void *sample_thread(void *arg)
{
	struct agent *agent = arg;
	struct agent_page *page = agent->page;
	if (agent->config.realtime)
		(void)!init_raise_thread();
	uint64_t next_ns = clock_now_ns();
	while (!atomic_load(&agent->stopping)) {
		struct scene_totals totals;
		/* Numbers of a busy scene come with the next look. */
		if (scene_try_sample(agent->scene, &totals)) {
			__atomic_store_n(&page->workers, totals.workers, __ATOMIC_RELAXED);
			__atomic_store_n(&page->cgroups, totals.cgroups, __ATOMIC_RELAXED);
			__atomic_store_n(&page->iterations, totals.iterations, __ATOMIC_RELAXED);
		}
		next_ns = sleep_to_next(next_ns);
	}
	return NULL;
}

/* Writes its stack and the page, both shared mappings, and nothing else: it never waits for memory. */
static void *beat_thread(void *arg)
{
	struct agent *agent = arg;
	struct agent_page *page = agent->page;
	if (agent->config.realtime)
		(void)!init_raise_thread();
	uint64_t next_ns = clock_now_ns();
	while (!atomic_load(&agent->stopping)) {
		uint64_t now_ns = clock_now_ns();
		if (page->beat_ns && now_ns - page->beat_ns > page->max_gap_ns)
			__atomic_store_n(&page->max_gap_ns, now_ns - page->beat_ns, __ATOMIC_RELAXED);
		__atomic_store_n(&page->beat_ns, now_ns, __ATOMIC_RELAXED);
		__atomic_store_n(&page->heartbeat, page->heartbeat + 1, __ATOMIC_RELEASE);
		next_ns = sleep_to_next(next_ns);
	}
	return NULL;
}

/* Private memory is write-protected by every fork; a shared mapping stays as it is. */
static int start_beat(struct agent *agent)
{
	pthread_attr_t attributes;
	agent->beat_stack = mmap(NULL, BEAT_STACK_BYTES, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (agent->beat_stack == MAP_FAILED)
		return errno;
	int errnum = pthread_attr_init(&attributes);
	if (errnum)
		return errnum;
	errnum = pthread_attr_setstack(&attributes, agent->beat_stack, BEAT_STACK_BYTES);
	if (errnum == 0)
		errnum = pthread_create(&agent->beat, &attributes, beat_thread, agent);
	pthread_attr_destroy(&attributes);
	return errnum;
}

int page_start(struct agent *agent, struct err *err)
{
	void *page = mmap(NULL, AGENT_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return err_set_os(err, ERR_GUEST_OS, errno, "cannot map the agent's page");
	agent->page = page;
	pin_to_node(page);
	agent->page->version = AGENT_PAGE_VERSION;
	agent->page->pid = (uint32_t)getpid();
	if (agent->config.in_vm) {
		if (mlock(page, AGENT_PAGE_BYTES) < 0)
			return err_set_os(err, ERR_GUEST_OS, errno, "cannot lock the agent's page");
		int r = find_gpa(page, &agent->page_gpa, err);
		if (r < 0)
			return r;
	}
	__atomic_store_n(&agent->page->magic, AGENT_PAGE_MAGIC, __ATOMIC_RELEASE);
	int errnum = start_beat(agent);
	agent->beating = errnum == 0;
	if (errnum == 0)
		errnum = pthread_create(&agent->sample, NULL, sample_thread, agent);
	agent->sampling = errnum == 0;
	return errnum ? err_set_os(err, ERR_GUEST_OS, errnum, "cannot start the heartbeat") : 0;
}

void page_stop(struct agent *agent)
{
	atomic_store(&agent->stopping, true);
	if (agent->beating)
		pthread_join(agent->beat, NULL);
	if (agent->sampling)
		pthread_join(agent->sample, NULL);
	if (agent->beat_stack && agent->beat_stack != MAP_FAILED)
		munmap(agent->beat_stack, BEAT_STACK_BYTES);
	munmap(agent->page, AGENT_PAGE_BYTES);
	agent->page = NULL;
}

void page_op(struct agent *agent, const struct lane *lane, int kind)
{
	/* One op can be shown: the scenario's. */
	if (lane->number != LANE_SCENARIO)
		return;
	__atomic_store_n(&agent->page->op_begin_ns, kind < 0 ? 0 : clock_now_ns(), __ATOMIC_RELAXED);
	__atomic_store_n(&agent->page->op_kind, (uint32_t)(kind + 1), __ATOMIC_RELEASE);
}

void page_phase(struct agent *agent, uint32_t phase)
{
	work_set_phase(phase);
	__atomic_store_n(&agent->page->phase, phase, __ATOMIC_RELEASE);
}
