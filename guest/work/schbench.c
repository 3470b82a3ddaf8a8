/* SPDX-License-Identifier: GPL-2.0-only */
/* schbench: messengers hand requests to workers of theirs, who sleep first, as if they waited for a device,
 * and then multiply matrices. Measured are the wake-up of a worker, from the messenger's order until it runs,
 * and the whole request. All of them are processes below one worker, which counts. A unit is a product. Runs
 * in worker processes. */
#include "guest/work/hands.h"
#include "guest/work/matrix.h"

/* Hands are, for each messenger, the messenger and then its workers. order of a worker: requests handed to
 * it; `done` of it: requests that it has finished. */
struct bench {
	unsigned workers;           /* of each messenger */
	_Atomic uint32_t *done;     /* by hand */
	_Atomic uint32_t *finished; /* by messenger: of all its workers together; futex of the messenger */
};

static void messenger(struct hands *hands, unsigned me, const struct bench *bench)
{
	unsigned which = me / (bench->workers + 1);
	for (;;) {
		uint32_t finished = atomic_load_explicit(&bench->finished[which], memory_order_acquire);
		bool gave = false;
		for (unsigned w = me + 1; w <= me + bench->workers; w++) {
			struct hand *hand = &hands->all[w];
			uint32_t order = atomic_load_explicit(&hand->order, memory_order_relaxed);
			if (order != atomic_load_explicit(&bench->done[w], memory_order_acquire))
				continue;
			atomic_store_explicit(&hand->ordered_ns, worker_now_ns(), memory_order_relaxed);
			atomic_store_explicit(&hand->order, order + 1, memory_order_release);
			slot_futex_wake(&hand->order);
			gave = true;
		}
		if (gave ? worker_stopping(hands->worker)
			 : !hand_wait(hands, &bench->finished[which], finished))
			return;
	}
}

static void serve(struct hands *hands, unsigned me, const struct bench *bench)
{
	const struct work_schbench *params = &hands->worker->params->schbench;
	struct hand *hand = &hands->all[me];
	unsigned which = me / (bench->workers + 1), n = matrix_rows(params->footprint_bytes);
	uint64_t *matrices = worker_map_for_now(hands->worker, params->footprint_bytes, false);
	matrix_fill(matrices, n);
	for (uint32_t done = 0;; done++) {
		uint64_t asked_ns = worker_now_ns();
		if (!hand_wait(hands, &hand->order, done))
			return;
		uint64_t now_ns = worker_now_ns();
		uint64_t ordered_ns = atomic_load_explicit(&hand->ordered_ns, memory_order_relaxed);
		struct hand_result result = {
			.wake_ns = ordered_ns >= asked_ns ? now_ns - ordered_ns : UINT64_MAX};
		if (params->sleep_ns && !hand_rest(hands, params->sleep_ns))
			return;
		for (uint64_t i = 0; i < params->operations; i++) {
			for (unsigned row = 0; row < n && !worker_stopping(hands->worker); row++)
				matrix_row(matrices, n, row);
			matrix_done(matrices, n);
		}
		if (worker_stopping(hands->worker))
			return;
		result.units = (uint32_t)params->operations;
		result.request_ns = worker_now_ns() - now_ns;
		if (!hand_tell(hands, me, &result))
			return;
		atomic_store_explicit(&bench->done[me], done + 1, memory_order_release);
		atomic_fetch_add_explicit(&bench->finished[which], 1, memory_order_release);
		slot_futex_wake(&bench->finished[which]);
	}
}

static void run(struct hands *hands, unsigned me, void *arg)
{
	const struct bench *bench = arg;
	if (me % (bench->workers + 1) == 0)
		messenger(hands, me, bench);
	else
		serve(hands, me, bench);
}

void worker_run_schbench(struct worker *worker)
{
	const struct work_schbench *params = &worker->params->schbench;
	struct bench bench = {.workers = (unsigned)params->workers};
	if (!bench.workers)
		bench.workers = cpuset_count(&worker->allowed);
	unsigned count = (unsigned)params->messengers * (bench.workers + 1);
	_Atomic uint32_t *words =
		worker_map_for_now(worker, (count + params->messengers) * sizeof(*words), true);
	bench.done = words;
	bench.finished = words + count;
	struct hands hands;
	hands_start(&hands, worker, count, run, &bench);
	hands_watch(&hands);
}
