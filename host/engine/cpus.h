/* SPDX-License-Identifier: GPL-2.0-only */
/* CPU set descriptions and layouts between the wire and common/. Pure, any thread. */
#ifndef HOST_ENGINE_CPUS_H
#define HOST_ENGINE_CPUS_H

#include "common/cpuspec.h"
#include "schedrig/v1/scenario.pb-c.h"

/* ERR_INVALID_ARGUMENT: no form, or a list that cannot be read. */
int cpus_from_wire(
	const Schedrig__V1__CpusetSpec *wire, struct cpuspec *ret_spec, struct err *err) must_check;

#endif
