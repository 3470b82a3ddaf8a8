/* SPDX-License-Identifier: GPL-2.0-only */
/* What measuring costs a worker:
 *
 *   bench-worker [ROUNDS]
 *
 * Rounds of plain units and rounds of bursts as spin_wait does them, with their checkpoints and publications,
 * take turns on one CPU in one process, so that both see the same clock and the same neighbours. Printed is
 * what a burst takes longer than its units, in CPU time: median and quartiles over the rounds. The aim is 1
 * %. */
#include "guest/work/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define ROUNDS_MAX 10000
#define ROUND_BURSTS 2000

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static uint64_t plain_ns(uint64_t *value)
{
	uint64_t begin_ns = worker_cpu_ns();
	for (unsigned i = 0; i < ROUND_BURSTS; i++) {
		*value = worker_chain(*value | 1, WORKER_BURST_UNITS);
		__asm__ volatile("" : : "r"(*value));
	}
	return worker_cpu_ns() - begin_ns;
}

static uint64_t measured_ns(struct worker *worker)
{
	uint64_t begin_ns = worker_cpu_ns();
	for (unsigned i = 0; i < ROUND_BURSTS; i++) {
		worker_burst(worker, WORKER_BURST_UNITS);
		worker_iteration(worker);
	}
	return worker_cpu_ns() - begin_ns;
}

int main(int argc, char **argv)
{
	static struct worker worker;
	static double cost[ROUNDS_MAX], burst_us[ROUNDS_MAX];
	unsigned rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 50;
	struct err err = ERR_INIT;
	if (!rounds || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: %s [ROUNDS], 1 to %d\n", argv[0], ROUNDS_MAX);
		return 64;
	}
	if (work_init(&err) < 0) {
		fprintf(stderr, "%s\n", err.message);
		return 70;
	}
	worker.slot = mmap(NULL, sizeof(*worker.slot), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (worker.slot == MAP_FAILED) {
		perror("mmap");
		return 70;
	}
	worker.schedstat_fd = -1;
	worker.start_ns = worker.last_ns = worker.published_ns = worker_now_ns();
	uint64_t value = 1;
	plain_ns(&value);
	measured_ns(&worker);
	for (unsigned i = 0; i < rounds; i++) {
		/* Whichever comes second has the warmer caches: they take turns in that, too. */
		uint64_t first = i % 2 ? measured_ns(&worker) : plain_ns(&value);
		uint64_t second = i % 2 ? plain_ns(&value) : measured_ns(&worker);
		double plain = (double)(i % 2 ? second : first), with = (double)(i % 2 ? first : second);
		cost[i] = 100 * (with - plain) / plain;
		burst_us[i] = plain / ROUND_BURSTS / 1000;
	}
	qsort(cost, rounds, sizeof(*cost), compare);
	qsort(burst_us, rounds, sizeof(*burst_us), compare);
	printf("burst of %d units: %.2f us\n", WORKER_BURST_UNITS, burst_us[rounds / 2]);
	printf("checkpoint and publication: %.2f %% (quartiles %.2f and %.2f)\n", cost[rounds / 2],
		cost[rounds / 4], cost[rounds * 3 / 4]);
	return 0;
}
