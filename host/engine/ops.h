/* SPDX-License-Identifier: GPL-2.0-only */
/* Kinds of ops as the engine sees them: number, names, side. Pure, any thread. */
#ifndef HOST_ENGINE_OPS_H
#define HOST_ENGINE_OPS_H

#include "proto/op_list.h"
#include "schedrig/v1/scenario.pb-c.h"

#include <stdbool.h>

/* enum op_kind, or -1: no kind is set. */
int op_kind(const Schedrig__V1__Op *op);
/* "SetCpuset"; "unknown" for -1. */
const char *op_kind_name(int kind);
enum op_side op_kind_side(int kind);
/* Whether the agent does it, so that the guest has to run; whether it needs the VM to be frozen. */
bool op_is_guests(const Schedrig__V1__Op *op);
bool op_is_cold(const Schedrig__V1__Op *op);
/* "set_cpuset": as in files. */
const char *op_kind_field(int kind);
/* What a payload's program is called in the guest: the last part of its path. */
const char *staged_name(const char *program);

#endif
