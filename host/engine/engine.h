/* SPDX-License-Identifier: GPL-2.0-only */
/* The engine: validates a scenario, runs it, judges it. Ops inside the VM go to the agent over the link;
 * kernel memory and snapshots are done here. Everything that runs blocks, so it runs on a worker thread,
 * never on the main loop. */
#ifndef HOST_ENGINE_ENGINE_H
#define HOST_ENGINE_ENGINE_H

#include "common/cpu_layout.h"
#include "common/err.h"
#include "common/scope.h"
#include "schedrig/v1/control.pb-c.h"
#include "schedrig/v1/result.pb-c.h"
#include "schedrig/v1/scenario.pb-c.h"

#include <stdatomic.h>
#include <stdbool.h>

struct engine;
struct link;
struct vm;
struct kmem;
struct snapshot_store;

/* A vCPU thread's time so far: on a CPU, and ready but without one. */
struct host_time {
	uint64_t run_ns, wait_ns;
};

/* What scenarios run on. Everything is borrowed and outlives the engine. */
struct engine_config {
	const struct cpu_layout *layout;
	const char *topology; /* "2n4l4c2t", for results */
	struct link *link;
	struct vm *vm; /* NULL (loop ring): host ops that need it are FailedPrecondition */
	struct kmem *(*kmem)(
		void *arg, struct err *err); /* kernel knowledge, loaded on first use; NULL fn: none */
	struct snapshot_store *snapshots;    /* may be NULL */
	const char *const *staged; /* names shipped at boot, NULL-terminated; NULL: names are not checked */
	const char *run_dir;       /* where run.json, events.jsonl, ... go; NULL: nowhere */
	const char *build;         /* for results */
	/* Every event, in order, with its number, from whichever thread made it; must not block long. */
	void (*event)(const Schedrig__V1__Event *event, void *arg);
	/* What the host gave vCPU threads; NULL: asked of `vm`. Negative: not known. */
	int (*host_time)(void *arg, unsigned vcpu, struct host_time *ret);
	void *arg; /* of kmem(), event() and host_time() */
	/* How often a running scenario asks for the guest's time; 0: as often as the product does. */
	uint64_t ask_clock_ns;
};

struct engine *engine_new(const struct engine_config *config, struct err *err) must_check;
void engine_free(struct engine *engine);
/* (any thread) As configured. */
struct vm *engine_vm(const struct engine *engine);
SCOPE_GUARD(struct engine *, engine_free, engine_free)

/* Finds every mistake in the scenario (any thread, pure). NULL layout: what needs a topology is not checked.
 * The response is the caller's: pb_free() it. */
int engine_validate(const Schedrig__V1__Scenario *scenario, const struct cpu_layout *layout,
	const char *const *staged, Schedrig__V1__ValidateResponse **ret, struct err *err) must_check;

/* Runs a scenario from begin to verdict; blocks. A scenario that is invalid is ERR_INVALID_ARGUMENT with the
 * first mistake and no result; everything else, a guest that dies included, ends in a result with a verdict.
 * One at a time: ERR_BUSY. The result is the caller's: pb_free() it. */
int engine_run(struct engine *engine, const Schedrig__V1__Scenario *scenario,
	Schedrig__V1__RunResult **ret_result, struct err *err) must_check;
/* (any thread) The running scenario ends as Inconclusive; its teardown runs. */
void engine_cancel(struct engine *engine, const char *why);
/* (any thread) The guest is gone: what runs ends at once as a failure of this class (ERR_GUEST_CRASHED, ...).
 * Sticky. */
void engine_guest_lost(struct engine *engine, const struct err *why);
/* (any thread) The connection to the agent ended. The agent then gives up whatever it had for us, so the
 * running scenario ends as a failure (ERR_AGENT_LOST), once one of these two has followed: */
void engine_link_lost(struct engine *engine, const struct err *why);
/* (any thread) ... the agent is connected again, and a new scenario can run; or engine_guest_lost(). */
void engine_link_back(struct engine *engine);
/* (any thread) What a FactoryAsk event asked for; takes the answer over on success. ERR_NOT_FOUND: nobody
 * waits for it. */
int engine_factory_answer(
	struct engine *engine, Schedrig__V1__FactoryAnswer *answer, struct err *err) must_check;
/* (any thread) Name of the running scenario copied into buffer; false when there is none. */
bool engine_running(struct engine *engine, char *buffer, size_t size);

struct freeze;
struct freeze_times;
/* A freeze of the caller's for a list of ops to work in. */
struct engine_held {
	const struct freeze *freeze; /* not thawed before the call returns */
	/* Set (any thread) when it is to end soon: no further op begins in it. */
	const atomic_bool *wanted_back;
};
/* Whether some of these ops need the VM to be frozen, or the guest to run. */
bool engine_apply_is_cold(const Schedrig__V1__ApplyRequest *request);
bool engine_apply_needs_guest(const Schedrig__V1__ApplyRequest *request);
/* Ops outside a scenario, or beside one, in the ad-hoc scope; blocks. Results up to and with the failed one
 * come back also on failure. pb_free() the response. Two at a time are ERR_BUSY.
 *
 * held (NULL: none): cold accesses and captures work in it, whatever else is being applied. A list with an op
 * that needs the guest to run is ERR_FAILED_PRECONDITION reason own-freeze, with nothing done; one whose
 * freeze is wanted back ends before its next cold op with ERR_CANCELLED reason freeze-over. */
int engine_apply(struct engine *engine, const Schedrig__V1__ApplyRequest *request,
	const struct engine_held *held, Schedrig__V1__ApplyResponse **ret, struct err *err) must_check;
/* Removes what Apply made; blocks. */
int engine_end_adhoc(struct engine *engine, struct err *err) must_check;

/* Kernel memory for requests, beside whatever runs; block (a cold one waits for its turn to freeze, unless it
 * is to work within `held`, a freeze of the caller's, NULL: none). Batches are checked and resolved whole
 * before anything is touched; errors name the entry ("reads[2]"). pb_free() the responses. */
int engine_read(struct engine *engine, const Schedrig__V1__ReadRequest *request, const struct freeze *held,
	Schedrig__V1__ReadResponse **ret, struct err *err) must_check;
int engine_write(struct engine *engine, const Schedrig__V1__WriteRequest *request, const struct freeze *held,
	Schedrig__V1__ReadResponse **ret, struct err *err) must_check;
int engine_resolve(struct engine *engine, const Schedrig__V1__ResolveRequest *request,
	Schedrig__V1__ResolveResponse **ret, struct err *err) must_check;
/* What the kernel's image says: the guest need not be up. */
int engine_symbols(struct engine *engine, const Schedrig__V1__SymbolsRequest *request,
	Schedrig__V1__SymbolsResponse **ret, struct err *err) must_check;
int engine_types(struct engine *engine, const Schedrig__V1__TypesRequest *request,
	Schedrig__V1__TypesResponse **ret, struct err *err) must_check;

/* Cold. */
int engine_bases(struct engine *engine, const Schedrig__V1__BasesRequest *request, const struct freeze *held,
	Schedrig__V1__KernelBases **ret, struct err *err) must_check;

/* What one client has prepared, with its handles. The client's requests use it one at a time; it does not
 * outlive the engine. NULL: out of memory. */
#define ENGINE_PREPARED_MAX 65536u
struct engine_prepared;
struct engine_prepared *engine_prepared_new(struct engine *engine);
void engine_prepared_free(struct engine_prepared *prepared);
/* All or nothing: on failure what was prepared before stays as it was. */
int engine_prepare(struct engine_prepared *prepared, const Schedrig__V1__PrepareRequest *request,
	Schedrig__V1__PrepareResponse **ret, struct err *err) must_check;
/* Handles that are none of these, and places that cannot be reached now, fail alone. */
int engine_read_prepared(struct engine_prepared *prepared, const Schedrig__V1__ReadPreparedRequest *request,
	const struct freeze *held, Schedrig__V1__ReadPreparedResponse **ret, struct err *err) must_check;

/* Files and cgroups for requests, beside whatever runs; block. */
int engine_push(struct engine *engine, const Schedrig__V1__PushRequest *request, struct err *err) must_check;
int engine_pull(struct engine *engine, const Schedrig__V1__PullRequest *request,
	Schedrig__V1__PullResponse **ret, struct err *err) must_check;
int engine_list_staged(struct engine *engine, const Schedrig__V1__ListStagedRequest *request,
	Schedrig__V1__ListStagedResponse **ret, struct err *err) must_check;
int engine_set_cgroup_knobs(struct engine *engine, const Schedrig__V1__SetCgroupKnobsRequest *request,
	Schedrig__V1__SetCgroupKnobsResponse **ret, struct err *err) must_check;
/* Counters of every worker that is alive, of the running scenario and of ad-hoc ops; blocks for as long as
 * the agent takes to answer, but not for what it is doing. */
int engine_workers(struct engine *engine, const Schedrig__V1__WorkersRequest *request,
	Schedrig__V1__WorkerTotals **ret, struct err *err) must_check;
/* (any thread) Names that payloads may use now, pushed ones included: NULL-terminated, in one block of heap
 * memory. NULL: not checked (engine_config.staged was NULL), or out of memory. */
char **engine_staged(struct engine *engine);

/* Keeps registers and run queues of a guest that has come to its end, as a snapshot of that name, in the
 * store and the run directory. Any thread but the loop's; what cannot be read is said in the snapshot. */
void engine_capture_end(struct engine *engine, const struct freeze *freeze, const char *name);

/* (any thread) A freeze is over: a warning says once if the guest's time does not stand still in them. */
void engine_account_freeze(struct engine *engine, const struct freeze_times *times);

/* Numbers and hands on an event that did not come from a run (kernel log, guest end). (any thread)
 * event->seq, time and phase are filled in. */
void engine_emit(struct engine *engine, Schedrig__V1__Event *event);

#endif
