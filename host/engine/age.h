/* SPDX-License-Identifier: GPL-2.0-only */
/* WorkSpec.uptime: workers that the agent holds asleep are made older in kernel memory before they begin. The
 * thread of the list of ops. */
#ifndef HOST_ENGINE_AGE_H
#define HOST_ENGINE_AGE_H

#include "host/engine/engine_internal.h"

/* Whether it starts workers that are to be made older: then it is the last of its batch. */
bool op_has_uptime(const Schedrig__V1__Op *op);
/* Makes those that the result names older, all in one freeze: start_boottime is set back, and scx.dsq_vtime
 * forth where the kernel has it, each modulo 2^64: ages are differences. The freeze goes to the result. */
int age_workers(struct op_context *context, Schedrig__V1__OpResult *result, uint64_t deadline_ns,
	struct err *err) must_check;
/* Lets those of the context's scope begin, made older or not. */
int age_release(struct op_context *context, struct err *err) must_check;

#endif
