/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside of host/engine: the engine, one run, one list of ops. Fields say who touches them: [lock] any thread
 * under engine.lock, [event_lock] under engine.event_lock, [run] the thread of the run only. */
#ifndef HOST_ENGINE_ENGINE_INTERNAL_H
#define HOST_ENGINE_ENGINE_INTERNAL_H

#include "host/engine/engine.h"
#include "host/engine/hash.h"
#include "host/engine/hold.h"
#include "host/engine/record.h"
#include "schedrig/v1/agent.pb-c.h"

#include <pthread.h>
#include <stdatomic.h>

struct gap_run;
struct snapshot_layout;

struct engine {
	struct engine_config config;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* CLOCK_MONOTONIC; cancelled, lost, the link gone or back */
	bool running;           /* [lock] */
	bool applying;          /* [lock] an Apply, or the end of what they made, is at work */
	unsigned n_held;        /* [lock] Applies at work within freezes of their clients, beside that */
	char name[129];         /* [lock] of what runs */
	bool cancelled;         /* [lock] the running scenario */
	char cancel_why[200];   /* [lock] */
	uint64_t run_seq;       /* [lock] the running scenario's ops at the agent, 0: none */
	struct err lost;        /* [lock] code set: the guest is gone */
	bool link_down;         /* [lock] and neither back nor given up yet */
	struct err link_lost;   /* [lock] code set: the link was lost since the running scenario began */

	atomic_bool time_told; /* a warning said that guest time runs on while frozen */

	/* The next client's handles; starts anywhere, so that those of another controller's are not ours. */
	_Atomic uint32_t next_tag;

	pthread_mutex_t event_lock; /* never taken inside of lock */
	uint64_t next_seq;          /* [event_lock] */
	uint64_t clock_begin_ns;    /* [event_lock] scenario's clock in host time less frozen time, 0: not
				       started */
	uint32_t phase;             /* [event_lock] */
	struct record *record;      /* [event_lock] of the controller's life; NULL: nowhere */
	struct record *run_record;  /* [event_lock] of the running scenario; may be the same */
	unsigned runs;              /* [lock] begun so far */
	struct log_watch *watches;  /* [event_lock] lines that the running scenario looks for (expect.h) */
	size_t n_watches;           /* [event_lock] */
	pthread_cond_t logged;      /* [event_lock] CLOCK_MONOTONIC; one of them came */

	/* Of the running scenario, for who ends its payloads from outside (adopted.h). */
	Schedrig__V1__Payload *const *definitions; /* [lock] borrowed from it; NULL: none runs */
	size_t n_definitions;                      /* [lock] */
	uint64_t definitions_of;                   /* [lock] number of the run that they are of, or were */
	unsigned n_ending;                         /* [lock] requests under way that may end one */
	unsigned n_taking;                         /* [lock] of the run's that have ended, being taken */
	struct adopted *adopted;                   /* [lock] their reports, until the run takes them */
	bool step_over;          /* [lock] a check failed in one of them that ends the step */
	uint64_t step_number;    /* [lock] steps begun so far, of all runs */
	uint64_t loop_seq;       /* [lock] of the ops that the agent repeats now; 0: none */
	struct gap_run *gap_run; /* [run] of the running scenario; NULL: none */

	uint64_t ask;                        /* [lock] number of the last question to a client */
	bool ask_open;                       /* [lock] its answer is waited for */
	Schedrig__V1__FactoryAnswer *answer; /* [lock] it came: the waiter's */

	/* Nobody waits for a freeze with it: who holds one may be about to take it. */
	pthread_mutex_t store_lock;     /* config.snapshots, layout */
	struct snapshot_layout *layout; /* [store_lock] made on first use, never changed then */

	atomic_uint payload_serial; /* of files of ended payloads */
	char **staged;              /* [lock] names, pushed ones included; one block; NULL: not checked */

	pthread_mutex_t tags_lock;   /* of every list of ops */
	struct read_tag *adhoc_tags; /* [tags_lock] */
};

/* What an op outside of the scenario had of one of its payloads. Owned. */
struct adopted {
	Schedrig__V1__PayloadReport *report;
	struct adopted *next;
};

/* What a read saw last under a tag. */
struct read_tag {
	char *tag;
	uint64_t value;
	unsigned width_bytes;
	UT_hash_handle hh;
};
void read_tags_free(struct read_tag **tags);
int read_tags_set(struct read_tag **tags, const char *tag, uint64_t value, unsigned width_bytes,
	struct err *err) must_check;

/* events.c: number, stamp, write down, hand on. */
void engine_progress(struct engine *engine, const char *fmt, ...) printf_like(2, 3);
void engine_warning(struct engine *engine, const char *fmt, ...) printf_like(2, 3);
void engine_clock_start(struct engine *engine);
void engine_clock_stop(struct engine *engine);
/* Scenario time: host time since the clock started without freezes. */
uint64_t engine_scenario_ns(struct engine *engine);
void engine_phase_set(struct engine *engine, uint32_t phase);
/* How long the VM has been frozen so far, by whomever. */
uint64_t engine_frozen_ns(struct engine *engine);
/* How many freezes there have been, by whomever. */
uint64_t engine_freezes(struct engine *engine);

/* A payload that was drained. */
void engine_emit_payload(struct engine *engine, Schedrig__V1__PayloadReport *report);

/* What ends a hold. OVER: the step is, by a payload's check. */
enum engine_wait {
	ENGINE_WAIT_TIME = 1,
	ENGINE_WAIT_CANCEL,
	ENGINE_WAIT_LOST,
	ENGINE_WAIT_UNLINKED,
	ENGINE_WAIT_OVER
};
/* Waits until that scenario time. */
enum engine_wait engine_wait_until(struct engine *engine, uint64_t scenario_ns);
/* Whether that has happened; a step begins without. */
bool engine_step_over(struct engine *engine);
void engine_step_begin(struct engine *engine);
/* Positive enum as above without waiting, but not OVER; 0: nothing has happened. */
int engine_interrupted(struct engine *engine);
/* The same, and why. */
int engine_interruption(struct engine *engine, struct err *ret);
/* Whether the agent has nothing (any more) of the running scenario: the guest is gone, or the link was. */
bool engine_agent_forgot(struct engine *engine);
/* After the agent's connection went away: waits until it is known whether the guest went with it, which says
 * more. */
void engine_explain_loss(struct engine *engine, struct err *err);

/* A growing list of op results; the list owns them. */
struct result_list {
	Schedrig__V1__OpResult **result;
	size_t n, size;
};
int result_list_add(struct result_list *list, Schedrig__V1__OpResult *result) must_check;
void result_list_deinit(struct result_list *list);

/* Where a list of ops is applied. */
struct op_context {
	struct engine *engine;
	Schedrig__V1__Scope scope;
	uint32_t phase, pass;
	uint64_t wait_ns; /* for a WaitPayload that names no timeout: what is left of the scenario */
	struct read_tag **tags;
	struct result_list *results;
	Schedrig__V1__Payload **payloads; /* ad-hoc */
	size_t n_payloads;
	Schedrig__V1__Payload *const *definitions; /* of payloads that may end here; may be NULL */
	size_t n_definitions;
	uint64_t adopts; /* ad-hoc: run whose payload the request under way may end (adopted.h); 0: none */
	const struct engine_held *held; /* cold ops work in this freeze; NULL: each has its own */
	bool stopped; /* a failed check asked for the step's end: the rest of the list was not applied */
	bool quiet;   /* no OpDone events */
};

/* One op and where it stands. Borrowed. */
struct planned_op {
	const Schedrig__V1__Op *op;
	char place[96];
};

/* oplist.c: applies ops in order; results (also of the failed one) are added. The error has the op's place.
 * 0 with context->stopped: a payload's check ended the list. */
int ops_apply(struct op_context *context, const struct planned_op *ops, size_t n, struct err *err) must_check;
/* Lets the agent repeat guest ops until `length_ns` from now. */
int ops_loop(struct op_context *context, const struct planned_op *ops, size_t n, uint64_t interval_ns,
	uint64_t length_ns, uint32_t *ret_passes, uint32_t *ret_late, uint32_t *ret_dropped,
	struct err *err) must_check;
/* Whether the agent can repeat these by itself. */
bool ops_loop_in_guest(const struct planned_op *ops, size_t n);
/* agent.c: gives up the request of that number. */
void agent_cancel(struct engine *engine, uint64_t seq);
/* One request with its host deadline; guest_ns: what the guest may take. */
int agent_call(struct engine *engine, const Schedrig__V1__AgentRequest *request, uint64_t guest_ns,
	Schedrig__V1__AgentResponse **ret, struct err *err) must_check;
int agent_set_phase(struct engine *engine, uint32_t phase, struct err *err) must_check;
/* Waits for what the guest's clock shows as long as that takes, or until link_give_up() of the number that
 * queued() was told. False: it cannot be had. Any thread. */
bool agent_clock(struct engine *engine, void (*queued)(uint64_t seq, void *arg), void *arg, uint64_t *ret_ns);
/* Zeroes when it cannot be had. The run's thread. */
Schedrig__V1__WorkerTotals agent_totals(struct engine *engine);

/* How long an op that names no timeout waits for its turn to freeze. */
#define FREEZE_TURN_NS (30 * NS_PER_S)
/* kernel_access.c: the VM's kernel, or NULL with the reason. */
struct kmem *engine_kernel(struct engine *engine, struct err *err);
/* What is known of a freeze so far. Heap memory, or NULL when there is none. */
Schedrig__V1__FreezeInfo *engine_freeze_info(const struct freeze_times *times);
/* Thaws, and charges the time to nobody's hold. Heap memory, or NULL when there is none. ret_times may be
 * NULL. */
Schedrig__V1__FreezeInfo *engine_thaw(
	struct engine *engine, struct freeze *freeze, struct freeze_times *ret_times);
/* kernel_ops.c: as host_ops_apply(). */
int kernel_op_read(struct op_context *context, const Schedrig__V1__Op *op, Schedrig__V1__OpResult *result,
	struct err *err) must_check;
int kernel_op_write(struct op_context *context, const struct planned_op *ops, size_t n,
	Schedrig__V1__OpResult **results, size_t *ret_failed, struct err *err) must_check;
/* host_ops.c: ops of the controller's side. n > 1: adjacent cold writes that land in one freeze. Fills the
 * results (allocated, with place and kind set); the error is that of results[*ret_failed]. */
int host_ops_apply(struct op_context *context, const struct planned_op *ops, size_t n,
	Schedrig__V1__OpResult **results, size_t *ret_failed, struct err *err) must_check;

/* One run. All [run]. */
struct run {
	struct engine *engine;
	const Schedrig__V1__Scenario *scenario;
	const char *name;
	Schedrig__V1__RunResult *result;
	struct result_list ops;
	struct read_tag *tags;
	uint64_t budget_ns;
	bool stop; /* no further step */
};
/* A finding; copies everything. Out of memory drops it. */
Schedrig__V1__VerdictPart *run_find(struct run *run, Schedrig__V1__VerdictKind verdict, const char *kind,
	const char *place, uint32_t phase, const char *fmt, ...) printf_like(6, 7);
void run_note(struct run *run, const char *text);
/* A failure that ends the scenario: becomes the finding that fits (op_error, guest_crash, cancelled). */
void run_fail(struct run *run, const struct err *err, uint32_t phase);
/* Takes the report over. */
void run_keep_payload(struct run *run, Schedrig__V1__PayloadReport *report);
/* step.c */
void run_step(struct run *run, size_t index);
/* Takes what a teardown brought: workers, payloads, errors. */
void run_take_teardown(struct run *run, Schedrig__V1__AgentResponse *response, uint32_t phase);
/* verdict.c: judges the assertions and closes the verdict. */
void run_judge(struct run *run);
Schedrig__V1__Error *error_message(const struct err *err);

#endif
