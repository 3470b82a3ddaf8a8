/* SPDX-License-Identifier: GPL-2.0-only */
/* What a payload's end brings: its output and artifacts into the run directory, its metrics, its checks. */
#ifndef HOST_ENGINE_PAYLOAD_END_H
#define HOST_ENGINE_PAYLOAD_END_H

#include "host/engine/engine_internal.h"

/* NULL: not among them. */
const Schedrig__V1__Payload *payload_find(Schedrig__V1__Payload *const *payloads, size_t n, const char *name);
/* Whether its output is read for metrics: said so, or checks need them. */
bool payload_has_metrics(const Schedrig__V1__Payload *payload);
/* Whether its end must be dealt with before the next op: a check may stop the step, files may be replaced. */
bool payload_wants_turn(const Schedrig__V1__Payload *payload);
/* Fetches what the agent keeps and completes the report; blocks on the agent. definition NULL: nothing is
 * checked. adhoc: kept in the controller's own directory. Never fails: what could not be had is in the
 * report's notes. Has been done already: nothing happens. */
void payload_take(struct engine *engine, const Schedrig__V1__Payload *definition, bool adhoc,
	Schedrig__V1__PayloadReport *report);
/* Whether a check failed that counts. */
bool payload_failed(const Schedrig__V1__PayloadReport *report);

#endif
