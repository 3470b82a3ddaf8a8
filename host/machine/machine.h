/* SPDX-License-Identifier: GPL-2.0-only */
/* The machine as a whole: from options to a VM that boots, an agent that answers and an engine that runs
 * scenarios, and how all of it ends. One a process. Everything is the main loop's, unless marked (any
 * thread). */
#ifndef HOST_MACHINE_MACHINE_H
#define HOST_MACHINE_MACHINE_H

#include "common/err.h"
#include "common/loop.h"
#include "common/scope.h"
#include "host/machine/options.h"
#include "host/topology/topology.h"
#include "schedrig/v1/control.pb-c.h"

struct arena;
struct engine;
struct machine;

struct machine_ops {
	/* The agent is ready; or booting failed and the VM is gone (err says why). Once. */
	void (*ready)(struct machine *machine, const struct err *err, void *arg);
	/* The VM is gone after it was ready; err->code is ERR_NONE after machine_stop() and a guest's own
	 * power-off that was asked for. Once; what was running has been told already. */
	void (*ended)(struct machine *machine, const struct err *err, void *arg);
	/* (any thread) Every event in order. */
	void (*event)(const Schedrig__V1__Event *event, void *arg);
	void *arg;
};

/* Builds the VM and starts it: memory, devices, tables, kernel, initramfs, vCPU threads. options are
 * borrowed. start_ns: CLOCK_MONOTONIC when the process started. ERR_INVALID_ARGUMENT and ERR_NOT_FOUND are
 * the user's, ERR_HOST the host's. */
int machine_new(const struct options *options, struct loop *loop, uint64_t start_ns,
	const struct machine_ops *ops, struct machine **ret, struct err *err) must_check;
/* The loop has stopped; nothing calls the engine any more. Takes NULL. */
void machine_free(struct machine *machine);
SCOPE_GUARD(struct machine *, machine_free, machine_free)

/* Ends the VM now, if it has not ended: every vCPU thread and every thread of this room is gone on return,
 * calls into the engine fail. No callback comes any more. The loop has stopped. Idempotent. */
void machine_halt(struct machine *machine);

/* Ends the VM in order: the agent is asked to power off, and after a while it is stopped. ended() follows. */
void machine_stop(struct machine *machine);

struct engine *machine_engine(struct machine *machine);
const struct topology *machine_topology(struct machine *machine);
/* Names of staged files, NULL-terminated. */
const char *const *machine_staged(struct machine *machine);
const char *machine_build(void);
/* For control_config.info. */
void machine_info(struct machine *machine, struct arena *arena, Schedrig__V1__Info *ret);

#endif
