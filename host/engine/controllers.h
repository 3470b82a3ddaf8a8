/* SPDX-License-Identifier: GPL-2.0-only */
/* Which cgroup controllers a scenario needs. Pure. */
#ifndef HOST_ENGINE_CONTROLLERS_H
#define HOST_ENGINE_CONTROLLERS_H

#include "common/err.h"
#include "schedrig/v1/agent.pb-c.h"
#include "schedrig/v1/scenario.pb-c.h"

#define CONTROLLERS_MAX 5

/* The union over every definition and op. ERR_UNSUPPORTED names a controller that the kernel lacks and who
 * needs it. hello NULL: not checked. Names are static. */
int controllers_needed(const Schedrig__V1__Scenario *scenario, const Schedrig__V1__AgentHello *hello,
	const char *ret_names[CONTROLLERS_MAX], size_t *ret_n, struct err *err) must_check;

#endif
