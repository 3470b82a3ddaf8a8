/* SPDX-License-Identifier: GPL-2.0-only */
/* Gaps in a vCPU's own run time, by the host's account: a thread looks at what the host took of each vCPU
 * while a scenario runs, and reports are completed as they come. The run's thread. */
#ifndef HOST_ENGINE_GAP_RUN_H
#define HOST_ENGINE_GAP_RUN_H

#include "host/engine/engine_internal.h"

/* How far apart looks are, for each 64 vCPUs: what was taken around a gap's ends is known to twice that. A
 * look costs 6 us a vCPU (measured on 2 shared virtual CPUs: 1.6 ms for 254), so all of them less than 1 % of
 * a host CPU, while a gap of 2 s is known to 5 % with up to 64 vCPUs and to 20 % with 254. */
#define GAP_RUN_LOOK_NS (50 * NS_PER_MS)
#define GAP_RUN_LOOK_VCPUS 64

/* How far apart questions for the guest's clock are, beside those at the ends of steps: between two of them
 * it is known to 5 ms and what an answer took. */
#define GAP_RUN_ASK_NS (10 * NS_PER_S)

struct gap_run;

/* Starts to look. NULL: this host keeps no such account, or there is no memory; gaps then have no run time.
 */
struct gap_run *gap_run_start(struct engine *engine);
void gap_run_stop(struct gap_run *watch);
/* The guest's clock, as it answered. NULL: nothing happens. */
void gap_run_clock(struct gap_run *watch, uint64_t before_ns, uint64_t guest_ns, uint64_t after_ns);
/* Asks the guest until its clock is known well enough, or for some times. */
void gap_run_learn_clock(struct gap_run *watch);
/* For before_ns and after_ns: the time of vm_passed(), of the host's clock without a VM. */
uint64_t gap_run_now_ns(struct engine *engine);
/* Fills in what the guest does not know of its own gaps. */
void gap_run_complete(struct gap_run *watch, Schedrig__V1__WorkerReport *const *workers, size_t n);

#endif
