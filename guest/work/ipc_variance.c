/* SPDX-License-Identifier: GPL-2.0-only */
/* ipc_variance: stretches of independent arithmetic, many instructions a cycle, in turn with stretches of
 * loads that each need the one before, hardly any. Runs in worker processes. */
#include "guest/work/affinity.h"
#include "guest/work/worker.h"

/* Larger than a private cache. */
#define CHASE_BYTES (UINT64_C(4) << 20)
#define LINE_BYTES 64
#define LINES (CHASE_BYTES / LINE_BYTES)

struct line {
	uint64_t next;
	char rest[LINE_BYTES - sizeof(uint64_t)];
};

static void high(struct worker *worker, uint64_t units)
{
	uint64_t a = worker->sink, b = 1, c = 2, d = 3;
	while (units && !worker_stopping(worker)) {
		uint32_t now = (uint32_t)MIN_OF(units, WORKER_BURST_UNITS);
		for (uint32_t i = 0; i < now; i++) {
			a += i;
			b ^= i;
			c += 3;
			d -= i;
			__asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d));
		}
		worker_did(worker, now);
		units -= now;
	}
	worker->sink = a ^ b ^ c ^ d;
}

static uint64_t low(struct worker *worker, const struct line *lines, uint64_t at, uint64_t units)
{
	while (units && !worker_stopping(worker)) {
		uint32_t now = (uint32_t)MIN_OF(units, WORKER_BURST_UNITS);
		for (uint32_t i = 0; i < now; i++)
			at = lines[at].next;
		__asm__ volatile("" : : "r"(at));
		worker_did(worker, now);
		units -= now;
	}
	return at;
}

/* One cycle through all lines, in an order that no prefetcher knows (Sattolo 1986). */
static void shuffle(struct worker *worker, struct line *lines)
{
	for (uint64_t i = 0; i < LINES; i++)
		lines[i].next = i;
	for (uint64_t i = LINES - 1; i > 0; i--) {
		uint64_t k = affinity_draw(worker->seed, i) % i, was = lines[i].next;
		lines[i].next = lines[k].next;
		lines[k].next = was;
		if (i % WORKER_BURST_UNITS == 0)
			worker_checkpoint(worker);
	}
}

void worker_run_ipc_variance(struct worker *worker)
{
	const struct work_ipc_variance *params = &worker->params->ipc_variance;
	struct line *lines = worker_map(worker, CHASE_BYTES);
	uint64_t at = 0;
	shuffle(worker, lines);
	worker_burst(worker, 1);
	do {
		uint64_t begin_ns = worker_cpu_ns();
		for (uint64_t turn = 0; turn < params->turns && !worker_stopping(worker); turn++) {
			high(worker, params->high);
			at = low(worker, lines, at, params->low);
		}
		if (!worker_stopping(worker))
			worker_cost(worker, worker_cpu_ns() - begin_ns);
		worker_iteration(worker);
	} while (!worker_stopping(worker));
}
