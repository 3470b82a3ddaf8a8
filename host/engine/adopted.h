/* SPDX-License-Identifier: GPL-2.0-only */
/* Payloads of the running scenario that are waited for or killed by ops outside of it: judged by the
 * scenario's definition, and the scenario's to count. */
#ifndef HOST_ENGINE_ADOPTED_H
#define HOST_ENGINE_ADOPTED_H

#include "host/engine/engine_internal.h"

/* The run's thread. From begin to end ops outside of the scenario find its definitions; the end waits for
 * those that may have collected one of its payloads already, and takes their reports into the result. */
void adopted_begin(struct run *run);
void adopted_end(struct run *run);

/* Who applies ops outside of a scenario, around a request to the agent that may end a payload of this name.
 * The number of the run that knows it; adopted_release() must follow, once the results have been dealt with.
 * 0: no run does. */
uint64_t adopted_hold(struct engine *engine, const char *name);
void adopted_release(struct engine *engine);
/* Completes what the agent said of a payload that the request does not define: by the definition of that run
 * (0: the one that goes on now), if it goes on. If the scenario started it, too, it gets a copy, and its step
 * ends if a check asks for that, unless another has begun meanwhile. */
void adopted_take(struct engine *engine, uint64_t run, Schedrig__V1__PayloadReport *report);

#endif
