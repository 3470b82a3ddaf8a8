/* SPDX-License-Identifier: GPL-2.0-only */
/* Custom workers, the agent's side: programs of the user's that publish into a page of theirs
 * (proto/worker_page.h). The program knows nothing of phases: what it has published is cut when the phase
 * changes, so a cut is as late as its last checkpoint was early. What it publishes is its own affair and is
 * copied as it is; no number of it is used as an index or a length. Any thread. */
#include "common/clock.h"
#include "common/fd.h"
#include "common/scope.h"
#include "guest/work/batch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

_Static_assert((int)WORKER_PAGE_KINDS == (int)DISTS && WORKER_PAGE_BUCKETS == HIST_BUCKETS &&
		       (int)WORKER_PAGE_REQUEST == (int)DIST_REQUEST,
	"the page has the slot's distributions");
_Static_assert(sizeof(((struct worker_page *)0)->cpus) == sizeof(((struct slot_numbers *)0)->cpus_used),
	"and its CPU sets");

/* Guards the list and all slots of custom workers. */
static pthread_mutex_t custom_lock = PTHREAD_MUTEX_INITIALIZER;
static struct custom_worker *customs;

int custom_new(struct work *work, unsigned index, uint64_t seed, struct err *err)
{
	struct custom_worker *custom = calloc(1, sizeof(*custom));
	if (!custom)
		return err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot make a worker's page");
	custom->work = work;
	custom->fd = memfd_create("schedrig-worker", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	/* Sealed: a file that a program shortened would kill who reads its mapping, the agent. */
	if (custom->fd >= 0 && ftruncate(custom->fd, WORKER_PAGE_BYTES) == 0 &&
		fcntl(custom->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
		custom->page =
			mmap(NULL, WORKER_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, custom->fd, 0);
	if (!custom->page || custom->page == MAP_FAILED) {
		int errnum = errno;
		fd_close(&custom->fd);
		free(custom);
		return err_set_os(err, ERR_GUEST_OS, errnum, "cannot make a worker's page");
	}
	struct worker_page *page = custom->page;
	page->magic = WORKER_PAGE_MAGIC;
	page->version = WORKER_PAGE_VERSION;
	page->bytes = WORKER_PAGE_BYTES;
	page->index = index;
	page->seed = seed;
	work->custom = custom;
	return 0;
}

enum slot_state custom_state(const struct custom_worker *custom)
{
	switch (WORKER_PAGE_GET(custom->page->state)) {
	case WORKER_PAGE_NEW:
		return SLOT_NEW;
	case WORKER_PAGE_DONE:
		return SLOT_REPORTED;
	default:
		return SLOT_READY;
	}
}

void custom_release(struct work *work, uint64_t now_ns)
{
	struct custom_worker *custom = work->custom;
	fd_close(&custom->fd);
	SCOPE_LOCK(&custom_lock);
	custom->part.phase = work_phase();
	custom->part_begin_ns = now_ns;
	custom->next = customs;
	customs = custom;
	custom->page->released_ns = now_ns;
	WORKER_PAGE_SET(custom->page->go, 1);
	slot_futex_wake((_Atomic uint32_t *)&custom->page->go);
}

void custom_ask_stop(struct custom_worker *custom)
{
	WORKER_PAGE_SET(custom->page->stop, 1);
	slot_futex_wake((_Atomic uint32_t *)&custom->page->stop);
}

/* Whole counters at least as large as before, whatever the program writes. */
static uint64_t grown(uint64_t before, const uint64_t *field)
{
	uint64_t now = __atomic_load_n(field, __ATOMIC_ACQUIRE);
	return MAX_OF(now, before);
}

static void sync_times(struct dist *dist, const struct worker_page_times *times)
{
	uint64_t before = atomic_load(&dist->count), count = grown(before, &times->count), top = 0;
	if (count == before)
		return;
	for (uint32_t b = 0; b < HIST_BUCKETS; b++) {
		uint64_t was = atomic_load(&dist->buckets[b]), now = grown(was, &times->buckets[b]);
		if (now != was)
			top = hist_high(b);
		atomic_store(&dist->buckets[b], now);
	}
	atomic_store(&dist->sum_ns, grown(atomic_load(&dist->sum_ns), &times->sum_ns));
	uint64_t was_ns = atomic_load(&dist->max_ns), max_ns = grown(was_ns, &times->max_ns);
	atomic_store(&dist->max_ns, max_ns);
	/* Of the part: exact where it is the longest of all, else its bucket's end. */
	dist->part_max_ns = MAX_OF(dist->part_max_ns, MIN_OF(top, max_ns));
	atomic_store(&dist->count, count);
}

/* With the lock held. */
static void take_numbers(struct custom_worker *custom, uint64_t now_ns)
{
	const struct worker_page *page = custom->page;
	struct work_slot *slot = custom->work->slot;
	uint32_t seq = atomic_load(&slot->seq);
	struct slot_numbers n = slot->numbers[seq % 2];
	n.units = grown(n.units, &page->units);
	n.iterations = grown(n.iterations, &page->iterations);
	n.cpu_ns = grown(n.cpu_ns, &page->cpu_ns);
	n.migrations = grown(n.migrations, &page->migrations);
	n.wall_ns = now_ns - custom->work->start_ns;
	uint64_t gap_ns = grown(n.gap.ns, &page->gap_ns);
	if (gap_ns > n.gap.ns) {
		n.gap.ns = gap_ns;
		n.gap.at_ns = __atomic_load_n(&page->gap_at_ns, __ATOMIC_ACQUIRE);
		n.gap.cpu = __atomic_load_n(&page->gap_cpu, __ATOMIC_ACQUIRE);
		custom->part.gap = n.gap;
	}
	n.cpu = __atomic_load_n(&page->cpu, __ATOMIC_ACQUIRE);
	n.phase = custom->part.phase;
	for (unsigned i = 0; i < ARRAY_SIZE(n.cpus_used); i++) {
		uint64_t used = __atomic_load_n(&page->cpus[i], __ATOMIC_ACQUIRE);
		custom->part.cpus_used.bits[i] |= used & ~n.cpus_used[i];
		n.cpus_used[i] |= used;
	}
	n.wakeups = n.wake_sum_ns = n.wake_max_ns = 0;
	for (unsigned d = 0; d < DISTS; d++) {
		sync_times(&slot->dists[d], &page->times[d]);
		if (d != DIST_WAKE && d != DIST_TIMER)
			continue;
		n.wakeups += atomic_load(&slot->dists[d].count);
		n.wake_sum_ns += atomic_load(&slot->dists[d].sum_ns);
		n.wake_max_ns = MAX_OF(n.wake_max_ns, atomic_load(&slot->dists[d].max_ns));
	}
	slot->numbers[(seq + 1) % 2] = n;
	atomic_store_explicit(&slot->seq, seq + 1, memory_order_release);
	atomic_store_explicit(&slot->iterations, n.iterations, memory_order_relaxed);
}

static void close_part(struct custom_worker *custom, uint64_t now_ns)
{
	struct work_slot *slot = custom->work->slot;
	const struct slot_numbers *now = &slot->numbers[atomic_load(&slot->seq) % 2];
	const struct slot_numbers *begin = &custom->part_begin;
	struct work_part *part = &custom->part;
	part->units = now->units - begin->units;
	part->iterations = now->iterations - begin->iterations;
	part->cpu_ns = now->cpu_ns - begin->cpu_ns;
	part->migrations = now->migrations - begin->migrations;
	part->wall_ns = now_ns - custom->part_begin_ns;
	for (unsigned d = 0; d < DISTS; d++)
		part->dists[d] = dist_cut(&slot->dists[d], &slot->log);
	uint32_t n = atomic_load(&slot->n_parts);
	if (n < SLOT_PARTS) {
		slot->parts[n] = *part;
		atomic_store(&slot->n_parts, n + 1);
	}
	custom->part_begin = *now;
	custom->part_begin_ns = now_ns;
	*part = (struct work_part){.phase = part->phase};
}

void custom_sync(struct work *work, bool last)
{
	SCOPE_LOCK(&custom_lock);
	uint64_t now_ns = clock_now_ns();
	take_numbers(work->custom, now_ns);
	if (last)
		close_part(work->custom, now_ns);
}

void custom_change_phase(uint32_t phase)
{
	SCOPE_LOCK(&custom_lock);
	uint64_t now_ns = clock_now_ns();
	for (struct custom_worker *custom = customs; custom; custom = custom->next) {
		if (custom->part.phase == phase)
			continue;
		take_numbers(custom, now_ns);
		close_part(custom, now_ns);
		custom->part.phase = phase;
	}
}

void custom_free(struct work *work)
{
	struct custom_worker *custom = work->custom;
	if (!custom)
		return;
	SCOPE_LOCK(&custom_lock);
	for (struct custom_worker **at = &customs; *at; at = &(*at)->next)
		if (*at == custom) {
			*at = custom->next;
			break;
		}
	munmap(custom->page, WORKER_PAGE_BYTES);
	fd_close(&custom->fd);
	free(custom);
	work->custom = NULL;
}
