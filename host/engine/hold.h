/* SPDX-License-Identifier: GPL-2.0-only */
/* Holds: what is legal, what each asks for, what the scenario's time leaves of it. Pure, any thread. */
#ifndef HOST_ENGINE_HOLD_H
#define HOST_ENGINE_HOLD_H

#include "common/err.h"
#include "schedrig/v1/scenario.pb-c.h"

#include <stdbool.h>

#define HOLD_DEFAULT_DURATION_NS (12 * UINT64_C(1000000000))

/* NULL is the default hold. ERR_INVALID_ARGUMENT. */
int hold_check(const Schedrig__V1__Hold *hold, struct err *err) must_check;
bool hold_is_loop(const Schedrig__V1__Hold *hold);

/* The scenario's whole time: duration plus the settle time that holds ask for; saturates. */
uint64_t hold_budget_ns(const Schedrig__V1__Scenario *scenario);

struct hold_length {
	uint64_t asked_ns;     /* UINT64_MAX for a loop: all that is left */
	uint64_t effective_ns; /* min(asked, budget - now) */
	bool cut;              /* by more than 1 per cent: worth an event */
	bool nothing;          /* asked for some time and gets none */
};
/* now_ns: scenario time. The hold must be legal. */
struct hold_length hold_resolve(
	const Schedrig__V1__Scenario *scenario, const Schedrig__V1__Hold *hold, uint64_t now_ns);

#endif
