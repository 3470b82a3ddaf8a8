/* SPDX-License-Identifier: GPL-2.0-only */
/* sequence: does one thing for a while, then the next, in the order of its phases, again and again. Runs in
 * worker processes. */
#include "guest/work/alu.h"
#include "guest/work/worker.h"

#include <errno.h>
#include <sched.h>
#include <unistd.h>

#define IO_BYTES 65536
#define YIELD_UNITS 64

static bool over(const struct worker *worker, uint64_t until_ns)
{
	return worker_stopping(worker) || worker_now_ns() >= until_ns;
}

static void write_and_read(struct worker *worker, struct worker_file file, uint64_t until_ns)
{
	static char block[4096];
	do {
		for (unsigned at = 0; at < IO_BYTES && !over(worker, until_ns); at += sizeof(block)) {
			off_t there = (off_t)(file.at + at);
			if (pwrite(file.fd, block, sizeof(block), there) < 0 ||
				pread(file.fd, block, sizeof(block), there) < 0)
				if (errno != EINTR)
					worker_fail(worker, "pwrite or pread");
			worker_did(worker, 1);
		}
	} while (!over(worker, until_ns));
}

static void step(struct worker *worker, const struct work_step *step, struct worker_file *file)
{
	uint64_t until_ns = worker_now_ns() + step->ns;
	switch (step->kind) {
	case WORK_STEP_SPIN:
		worker_spin(worker, step->ns);
		break;
	case WORK_STEP_SLEEP:
		(void)worker_rest(worker, until_ns);
		break;
	case WORK_STEP_YIELD:
		do {
			worker_burst(worker, YIELD_UNITS);
			sched_yield();
		} while (!over(worker, until_ns));
		break;
	case WORK_STEP_IO:
		if (file->fd < 0)
			*file = worker_scratch(worker, IO_BYTES);
		write_and_read(worker, *file, until_ns);
		break;
	case WORK_STEP_ALU:
		do {
			worker->sink = alu_chain(alu_widest(), WORKER_BURST_UNITS, worker->sink);
			worker_did(worker, WORKER_BURST_UNITS);
		} while (!over(worker, until_ns));
		break;
	case WORK_STEP_KINDS:
		break;
	}
}

void worker_run_sequence(struct worker *worker)
{
	const struct work_params *params = worker->params;
	struct work_step each[WORK_STEP_KINDS];
	const struct work_step *steps = params->steps;
	uint64_t count = params->sequence.n_phases;
	struct worker_file file = {.fd = -1};
	if (!count) {
		for (unsigned kind = 0; kind < WORK_STEP_KINDS; kind++)
			each[kind] = (struct work_step){(enum work_step_kind)kind, WORK_MS};
		steps = each;
		count = WORK_STEP_KINDS;
	}
	/* A unit at least, whatever its phases are. */
	do {
		worker_burst(worker, 1);
		for (uint64_t i = 0; i < count && !worker_stopping(worker); i++)
			step(worker, &steps[i], &file);
		worker_iteration(worker);
	} while (!worker_stopping(worker));
}
