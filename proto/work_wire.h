/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/* Work types off the wire. Any thread. */
#ifndef PROTO_WORK_WIRE_H
#define PROTO_WORK_WIRE_H

#include "proto/work.h"
#include "schedrig/v1/scenario.pb-c.h"

/* Reads and checks; what is not given is the type's default. NULL: the default type. A type that is not set
 * at all, an unknown one, a value beyond its limits: ERR_INVALID_ARGUMENT. */
int work_params_read(
	const Schedrig__V1__WorkType *type, struct work_params *ret_params, struct err *err) must_check;

#endif
