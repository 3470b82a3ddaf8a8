/* SPDX-License-Identifier: GPL-2.0-only */
/* The one list of kinds of findings (specification 9.1). */
#ifndef HOST_ENGINE_VERDICT_KINDS_H
#define HOST_ENGINE_VERDICT_KINDS_H

#include <stdbool.h>
#include <string.h>

#define VERDICT_KIND_LIST(X)                                                                                 \
	X(not_stuck)                                                                                         \
	X(fairness)                                                                                          \
	X(isolation)                                                                                         \
	X(gap)                                                                                               \
	X(throughput)                                                                                        \
	X(wake_latency)                                                                                      \
	X(iteration_rate)                                                                                    \
	X(migration)                                                                                         \
	X(page_locality)                                                                                     \
	X(monitor)                                                                                           \
	X(scheduler_exit)                                                                                    \
	X(guest_crash)                                                                                       \
	X(op_error)                                                                                          \
	X(payload_check)                                                                                     \
	X(expectation)                                                                                       \
	X(needs)

static inline bool verdict_kind_known(const char *kind)
{
#define X(name)                                                                                              \
	if (strcmp(kind, #name) == 0)                                                                        \
		return true;
	VERDICT_KIND_LIST(X)
#undef X
	return false;
}

#endif
