/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/* libschedrig: talking to a controller over its Unix socket.
 *
 *	struct err err;
 *	struct schedrig *vm = schedrig_open("vm.sock", &err);
 *	Schedrig__V1__RunResult *result;
 *	if (vm && schedrig_submit(vm, scenario, NULL, &result, &err) == 0) ...
 *	schedrig_free_message(result);
 *	schedrig_close(vm);
 *
 * Messages are the generated ones of schedrig/v1/control.proto, which documents every field. Two ways to
 *wait: the blocking calls, or schedrig_start() with schedrig_fd(), schedrig_wants() and schedrig_process() in
 *an event loop of the caller's. No global state, no signals, no threads; a connection belongs to one thread
 *at a time. Functions return 0 or a negative errno, with code and sentence in the caller's `struct err`
 *(which may be NULL): the controller's own, or ERR_HOST when the connection is gone, ERR_INVALID_ARGUMENT for
 *a path or request that cannot be, ERR_UNSUPPORTED for a controller of another protocol version. */
#ifndef HOST_CLIENT_SCHEDRIG_H
#define HOST_CLIENT_SCHEDRIG_H

#include "common/err.h"
#include "schedrig/v1/control.pb-c.h"
#include "schedrig/v1/result.pb-c.h"
#include "schedrig/v1/scenario.pb-c.h"

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One connection. */
struct schedrig;

/* Connects and exchanges Hello; waits at most 10 s for it. NULL on failure. */
struct schedrig *schedrig_open(const char *path, struct err *err);
/* Requests in flight are dropped without a call; the controller ends what was theirs. Takes NULL. */
void schedrig_close(struct schedrig *schedrig);
/* What the controller said of itself; valid until schedrig_close(). */
const Schedrig__V1__Hello *schedrig_hello(const struct schedrig *schedrig);
/* For every message that this library returned. Takes NULL. */
void schedrig_free_message(void *message);

/* ---- blocking calls. Not from within a callback. */

/* An event arrived; valid during the call. Returns 0 to go on; anything else ends schedrig_events(), and is
 * ignored elsewhere. */
typedef int (*schedrig_event_fn)(const Schedrig__V1__Event *event, void *arg);

/* A step of the scenario needs the set-up that its factory `ask->factory` makes; `ask` is valid during the
 * call. Answer with schedrig_answer_factory(), in the call or within ask->deadline_ns. Anything but 0: there
 * is none, and the step fails. */
typedef int (*schedrig_factory_fn)(struct schedrig *schedrig, const Schedrig__V1__FactoryAsk *ask, void *arg);

/* All of Submit but the scenario. NULL stands for zeros. */
struct schedrig_submit_options {
	bool detach;                 /* it goes on when this client goes away */
	bool queue;                  /* wait for a running one instead of ERR_BUSY */
	uint64_t deadline_ns;        /* 0: none; then the scenario is cancelled */
	schedrig_event_fn event;     /* may be NULL */
	schedrig_factory_fn factory; /* NULL: steps that ask for a set-up fail */
	void *arg;
};

int schedrig_info(struct schedrig *schedrig, Schedrig__V1__Info **ret, struct err *err) must_check;
/* Mistakes in the scenario are in *ret and no failure. */
int schedrig_validate(struct schedrig *schedrig, const Schedrig__V1__Scenario *scenario,
	Schedrig__V1__ValidateResponse **ret, struct err *err) must_check;
/* Runs it and waits for its verdict. An invalid one is ERR_INVALID_ARGUMENT with its first mistake and place.
 */
int schedrig_submit(struct schedrig *schedrig, const Schedrig__V1__Scenario *scenario,
	const struct schedrig_submit_options *options, Schedrig__V1__RunResult **ret,
	struct err *err) must_check;
/* Queues the answer to a FactoryAsk; the definitions are the caller's again on return. refused: NULL, or why
 * there is no set-up. Also from within callbacks. */
int schedrig_answer_factory(struct schedrig *schedrig, uint64_t ask, Schedrig__V1__CgroupDef *const *cgroups,
	size_t n_cgroups, const char *refused, struct err *err) must_check;
/* deadline_ns: 0 = the ops' own. On failure of an op *ret holds the results up to and with it, if any came.
 * Within a freeze of this connection's cold ops and captures use that; ops of the agent are refused. */
int schedrig_apply(struct schedrig *schedrig, const Schedrig__V1__ApplyRequest *apply, uint64_t deadline_ns,
	Schedrig__V1__ApplyResponse **ret, struct err *err) must_check;
/* Removes what Apply made. */
int schedrig_end_adhoc(struct schedrig *schedrig, struct err *err) must_check;
/* All of Freeze. NULL stands for zeros. */
struct schedrig_freeze_options {
	uint64_t lease_ns;    /* 0: 30 s */
	uint64_t deadline_ns; /* of waiting for its turn; 0: a minute */
	bool clock_runs;      /* the guest's time goes on meanwhile */
	bool detach;          /* stay frozen when this client goes away */
};
/* Parks every vCPU until schedrig_thaw(), the end of the lease, or that of this connection. */
int schedrig_freeze(struct schedrig *schedrig, const struct schedrig_freeze_options *options,
	Schedrig__V1__Frozen **ret, struct err *err) must_check;
/* Ends the freeze that a client holds, whoever it is. Started without waiting for answers, it comes after
 * what this connection started before it to be done in the freeze. */
int schedrig_thaw(struct schedrig *schedrig, Schedrig__V1__Thawed **ret, struct err *err) must_check;
/* Lets vCPU `vcpu` execute `count` instructions (0: only tells its registers) inside a freeze of this
 * connection's, or a detached one; the others stay parked. limit_ns: of host time; 0: 10 s. */
int schedrig_step(struct schedrig *schedrig, uint32_t vcpu, uint32_t count, uint64_t limit_ns,
	Schedrig__V1__Stepped **ret, struct err *err) must_check;
/* Kernel memory, beside whatever runs on the VM; cold accesses inside a freeze of this connection's (or a
 * detached one) use that. A batch is found and checked whole before anything is touched; an error's place is
 * the entry ("reads[2]"). */
int schedrig_read(struct schedrig *schedrig, const Schedrig__V1__ReadRequest *read,
	Schedrig__V1__ReadResponse **ret, struct err *err) must_check;
int schedrig_write(struct schedrig *schedrig, const Schedrig__V1__WriteRequest *write,
	Schedrig__V1__ReadResponse **ret, struct err *err) must_check;
/* Addresses, types and sizes; touches nothing at the places themselves. */
int schedrig_resolve(struct schedrig *schedrig, const Schedrig__V1__ResolveRequest *resolve,
	Schedrig__V1__ResolveResponse **ret, struct err *err) must_check;
/* What the kernel's image says; also while the guest boots. */
int schedrig_symbols(struct schedrig *schedrig, const Schedrig__V1__SymbolsRequest *symbols,
	Schedrig__V1__SymbolsResponse **ret, struct err *err) must_check;
int schedrig_types(struct schedrig *schedrig, const Schedrig__V1__TypesRequest *types,
	Schedrig__V1__TypesResponse **ret, struct err *err) must_check;
/* Where the kernel has itself and its regions; ERR_KERNEL_LAYOUT when the ways to tell disagree. */
int schedrig_bases(struct schedrig *schedrig, const Schedrig__V1__BasesRequest *bases,
	Schedrig__V1__KernelBases **ret, struct err *err) must_check;
/* For large or repeated batches: places are found once and read by handle. Handles are this connection's and
 * end with it; those of one call are consecutive. A message has at most 256 KiB: some thousand paths a call.
 */
int schedrig_prepare(struct schedrig *schedrig, const Schedrig__V1__PrepareRequest *prepare,
	Schedrig__V1__PrepareResponse **ret, struct err *err) must_check;
/* Entries that cannot be read are in (*ret)->failures and no failure of the call. */
int schedrig_read_prepared(struct schedrig *schedrig, const Schedrig__V1__ReadPreparedRequest *read,
	Schedrig__V1__ReadPreparedResponse **ret, struct err *err) must_check;
/* Changes limits of a cgroup, mid-run. */
int schedrig_set_cgroup_knobs(struct schedrig *schedrig, const Schedrig__V1__SetCgroupKnobsRequest *knobs,
	Schedrig__V1__SetCgroupKnobsResponse **ret, struct err *err) must_check;
/* One chunk of a file into the VM (at most 128 KiB, in order), or out of it. */
int schedrig_push(
	struct schedrig *schedrig, const Schedrig__V1__PushRequest *push, struct err *err) must_check;
int schedrig_pull(struct schedrig *schedrig, const Schedrig__V1__PullRequest *pull,
	Schedrig__V1__PullResponse **ret, struct err *err) must_check;
int schedrig_list_staged(struct schedrig *schedrig, const Schedrig__V1__ListStagedRequest *list,
	Schedrig__V1__ListStagedResponse **ret, struct err *err) must_check;
/* Counters of every worker that is alive, without disturbing any. */
int schedrig_workers(struct schedrig *schedrig, const Schedrig__V1__WorkersRequest *workers,
	Schedrig__V1__WorkerTotals **ret, struct err *err) must_check;
/* Ends the running scenario, whoever submitted it. */
int schedrig_cancel(struct schedrig *schedrig, struct err *err) must_check;
/* Ends the VM and the controller, and waits until it is gone (at most timeout_ms, -1: as long as it takes).
 */
int schedrig_shutdown(struct schedrig *schedrig, int timeout_ms, struct err *err) must_check;
/* Events from number from_seq on (0: from now), until the callback returns non-zero (0 is returned) or the
 * controller ends (ERR_HOST). A Gap event says how many were lost. */
int schedrig_events(struct schedrig *schedrig, uint64_t from_seq, schedrig_event_fn event, void *arg,
	struct err *err) must_check;

/* ---- for event loops */

/* The answer to a request, called from schedrig_process(): err->code is ERR_NONE on success. response is the
 * callee's to free with schedrig_free_message(); NULL when none came (the connection ended). May call
 * schedrig_start(). */
typedef void (*schedrig_done_fn)(const struct err *err, Schedrig__V1__Response *response, void *arg);

/* Queues a request; event may be NULL. ret_id (may be NULL) is its number on the wire. */
int schedrig_start(struct schedrig *schedrig, const Schedrig__V1__Request *request, schedrig_event_fn event,
	schedrig_done_fn done, void *arg, uint64_t *ret_id, struct err *err) must_check;
/* No more calls for this request: its answer and events are thrown away. The controller goes on with it. */
void schedrig_forget(struct schedrig *schedrig, uint64_t id);
/* For poll(2) and its like, level-triggered: one schedrig_process() need not use up all that it reports. */
int schedrig_fd(const struct schedrig *schedrig);
/* What to poll(2) the fd for: POLLIN, or POLLIN | POLLOUT. */
short schedrig_wants(const struct schedrig *schedrig);
/* Sends and receives what is possible without blocking and makes the calls due. Fails when the connection is
 * over, after every request in flight has had its done(). */
int schedrig_process(struct schedrig *schedrig, struct err *err) must_check;
/* Waits for something to process, then does it. -ETIMEDOUT (err untouched) after timeout_ms; -1: for ever.
 * -EINTR (err untouched) when a signal came. */
int schedrig_wait(struct schedrig *schedrig, int timeout_ms, struct err *err) must_check;

#ifdef __cplusplus
}
#endif

#endif
