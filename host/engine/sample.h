/* SPDX-License-Identifier: GPL-2.0-only */
/* What is sampled from outside around a step's hold: what the host gave the vCPUs, pages that the kernel
 * moved. The run's thread. */
#ifndef HOST_ENGINE_SAMPLE_H
#define HOST_ENGINE_SAMPLE_H

#include "host/engine/engine_internal.h"

struct sample {
	uint64_t at_ns;         /* host time */
	struct host_time *vcpu; /* [n_vcpus]; NULL: not known */
	unsigned n_vcpus;
	bool has_pages;
	uint64_t pages_moved; /* since the guest's boot */
};

/* What the host gave a vCPU's thread so far. Negative: not known. Any thread. */
int sample_host_time(struct engine *engine, unsigned vcpu, struct host_time *ret) must_check;
/* pages: look into the guest's memory, too, which takes a while the first time. What cannot be had is left
 * out. */
void sample_take(struct engine *engine, bool pages, struct sample *ret);
void sample_deinit(struct sample *sample);
/* What lies between the two, into the step's result. */
void sample_record(const struct sample *begin, const struct sample *end, Schedrig__V1__StepResult *step);

#endif
