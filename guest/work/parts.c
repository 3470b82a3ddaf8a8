/* SPDX-License-Identifier: GPL-2.0-only */
/* What a worker publishes, and its cuts per phase (see worker.h). Runs in worker processes. */
#include "guest/work/worker.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct work_switches read_switches(void)
{
	struct rusage usage = {0};
	(void)!getrusage(RUSAGE_THREAD, &usage);
	return (struct work_switches){(uint64_t)usage.ru_nvcsw, (uint64_t)usage.ru_nivcsw};
}

/* Documentation/scheduler/sched-stats.rst: three numbers, ns on a CPU, ns waiting for one, timeslices. */
static struct work_schedstat read_schedstat(const struct worker *worker)
{
	char text[96];
	uint64_t values[3] = {0};
	ssize_t n = worker->schedstat_fd < 0 ? -1 : pread(worker->schedstat_fd, text, sizeof(text), 0);
	unsigned field = 0;
	for (ssize_t i = 0; i < n && field < 3; i++) {
		if (text[i] >= '0' && text[i] <= '9')
			values[field] = values[field] * 10 + (uint64_t)(text[i] - '0');
		else
			field++;
	}
	return (struct work_schedstat){values[0], values[1], values[2], n > 0};
}

void worker_count_from_here(struct worker *worker)
{
	worker->first_switches = read_switches();
	worker->first_schedstat = read_schedstat(worker);
}

static void look_at_kernel(struct worker *worker)
{
	struct slot_numbers *numbers = &worker->numbers;
	struct work_switches switches = read_switches();
	numbers->switches.voluntary = switches.voluntary - worker->first_switches.voluntary;
	numbers->switches.involuntary = switches.involuntary - worker->first_switches.involuntary;
	struct work_schedstat stat = read_schedstat(worker);
	stat.known = stat.known && worker->first_schedstat.known;
	stat.cpu_ns -= worker->first_schedstat.cpu_ns;
	stat.run_delay_ns -= worker->first_schedstat.run_delay_ns;
	stat.timeslices -= worker->first_schedstat.timeslices;
	numbers->schedstat = stat;
}

void worker_publish(struct worker *worker, uint64_t now_ns)
{
	struct work_slot *slot = worker->slot;
	worker->numbers.cpu_ns = worker_cpu_ns() + worker->others_cpu_ns;
	worker->numbers.wall_ns = now_ns - worker->start_ns;
	worker->numbers.cpu = worker->last_cpu;
	worker->numbers.phase = worker->part.phase;
	uint32_t next = atomic_load_explicit(&slot->seq, memory_order_relaxed) + 1;
	slot->numbers[next % 2] = worker->numbers;
	/* Pairs with slot_read(). */
	atomic_store_explicit(&slot->seq, next, memory_order_release);
	atomic_store_explicit(&slot->iterations, worker->numbers.iterations, memory_order_relaxed);
	worker->published_ns = now_ns;
}

void worker_part_open(struct worker *worker, uint32_t phase, uint64_t now_ns)
{
	worker->part = (struct work_part){.phase = phase};
	worker->part_begin = worker->numbers;
	worker->part_begin_ns = now_ns;
}

void worker_part_close(struct worker *worker, uint64_t now_ns)
{
	struct work_slot *slot = worker->slot;
	struct work_part *part = &worker->part;
	look_at_kernel(worker);
	worker_publish(worker, now_ns);
	const struct slot_numbers *now = &worker->numbers, *begin = &worker->part_begin;
	part->units = now->units - begin->units;
	part->iterations = now->iterations - begin->iterations;
	part->cpu_ns = now->cpu_ns - begin->cpu_ns;
	part->migrations = now->migrations - begin->migrations;
	part->wall_ns = now_ns - worker->part_begin_ns;
	part->switches.voluntary = now->switches.voluntary - begin->switches.voluntary;
	part->switches.involuntary = now->switches.involuntary - begin->switches.involuntary;
	part->schedstat = now->schedstat;
	part->schedstat.cpu_ns -= begin->schedstat.cpu_ns;
	part->schedstat.run_delay_ns -= begin->schedstat.run_delay_ns;
	part->schedstat.timeslices -= begin->schedstat.timeslices;
	for (unsigned d = 0; d < DISTS; d++)
		part->dists[d] = dist_cut(&slot->dists[d], &slot->log);
	uint32_t n = atomic_load_explicit(&slot->n_parts, memory_order_relaxed);
	if (n < SLOT_PARTS) {
		slot->parts[n] = *part;
		atomic_store_explicit(&slot->n_parts, n + 1, memory_order_release);
	}
}
