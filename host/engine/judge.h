/* SPDX-License-Identifier: GPL-2.0-only */
/* One layer of assertions over the reports of workers. The run's thread. */
#ifndef HOST_ENGINE_JUDGE_H
#define HOST_ENGINE_JUDGE_H

#include "host/engine/assertions.h"
#include "host/engine/engine_internal.h"
#include "host/engine/pool.h"

struct layer {
	struct run *run;
	const Schedrig__V1__Assertions *limits; /* merged */
	struct shares shares;
	const char *place; /* for findings, as `phase` */
	uint32_t phase;
	double steal_pct; /* of the vCPU and phase where it was worst; negative: not known */
	unsigned steal_vcpu;
};

/* governed[phase]: the layer judges what happened in that phase. */
void judge_layer(struct run *run, const Schedrig__V1__Assertions *limits, const bool *governed,
	size_t n_phases, const char *place, uint32_t phase);
/* Deltas of one layer, which name their steps themselves. NULL layer: none. */
void judge_deltas(
	struct run *run, const Schedrig__V1__Assertions *layer, const char *place, double max_steal_pct);

/* Between the files of the judge: */

/* judge_rates.c: everything but not_stuck, gap, spread and isolation. */
void judge_rates(struct layer *layer);
/* judge_delta.c: max_cross_node_migration_ratio. */
void judge_page_moves(struct layer *layer);
/* A finding about timing: Fail, or Inconclusive when the host was too busy to tell. */
Schedrig__V1__VerdictPart *judge_timing(struct layer *layer, const char *kind, double value, double threshold,
	const char *fmt, ...) printf_like(5, 6);
/* A finding with its numbers. */
Schedrig__V1__VerdictPart *judge_find(struct layer *layer, Schedrig__V1__VerdictKind verdict,
	const char *kind, double value, double threshold, const char *fmt, ...) printf_like(6, 7);
/* "worker 123 (spinner in cgroup web)" and "cgroup web" or "the runner cgroup", into the buffer. */
#define JUDGE_NAME_BYTES 400
const char *judge_worker(const Schedrig__V1__WorkerReport *worker, char buffer[JUDGE_NAME_BYTES]);
const char *judge_cgroup(const char *cgroup, char buffer[JUDGE_NAME_BYTES]);
/* Steal of the phases that are looked at: the worst vCPU's share in the worst phase, except that one's;
 * negative: not known. */
#define JUDGE_EVERY_VCPU UINT32_MAX
double judge_steal(const Schedrig__V1__RunResult *result, const bool *phases, size_t n_phases,
	uint32_t except_vcpu, unsigned *ret_vcpu);

#endif
