/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside of engine_validate(): the state of one validation and what its files share. One thread. */
#ifndef HOST_ENGINE_VALIDATE_H
#define HOST_ENGINE_VALIDATE_H

#include "host/engine/engine.h"
#include "host/engine/names.h"
#include "proto/work.h"

/* Lengths of time beyond this cannot be added to a clock. */
#define CHECK_SPAN_MAX_NS (UINT64_MAX / 4)
#define CHECK_TOO_LONG "this is beyond the range of the clock: at most 1281023h"
_Static_assert(CHECK_SPAN_MAX_NS / UINT64_C(3600000000000) == 1281023, "the sentence tells another limit");

/* Mistakes that are reported; more are only counted. */
#define CHECK_ERRORS_MAX 1000

struct check_list {
	Schedrig__V1__Error **error;
	size_t n, size, dropped;
};

struct check {
	const Schedrig__V1__Scenario *scenario;
	const struct cpu_layout *layout;        /* NULL: what needs it is not checked */
	const char *const *staged;              /* NULL: not checked */
	Schedrig__V1__Payload *const *payloads; /* definitions */
	size_t n_payloads;
	struct check_list errors, warnings;
	bool out_of_memory;
	char place[512];
	size_t place_length;
	enum err_code waived; /* the error that the op at hand wants to see: not a mistake */
	bool waived_hit;      /* it came up */
	bool names_only;      /* a loop's second pass: all but names was checked in the first */
	bool strict, adhoc;   /* adhoc: what exists is not known here */
	bool in_loop, backdrop;
	int step;       /* -1: backdrop, ad-hoc */
	size_t cgroups; /* definitions and AddCgroup ops */
	uint32_t workers_default;
	/* Workers as far as their number is known: ever, and at once, of the backdrop and of the step. */
	size_t workers, workers_backdrop, workers_step;
	bool workers_stop; /* some may have been stopped: how many there are at once is not known any more */
	bool workers_told; /* that there are too many at once */
	char workers_place[512]; /* where there first were too many ever; "": nowhere */
	struct names names;
};

/* Goes into a part of the place ("steps[%zu]"); returns what check_leave() goes back to. */
size_t check_enter(struct check *check, const char *fmt, ...) printf_like(2, 3);
void check_leave(struct check *check, size_t before);
/* A mistake at the current place, or at `field` below it if not NULL. */
void check_bad(struct check *check, enum err_code code, const char *field, const char *fmt, ...)
	printf_like(4, 5);
/* One that expect_error does not ask for, because the scenario itself is wrong. */
void check_bad_always(struct check *check, enum err_code code, const char *field, const char *fmt, ...)
	printf_like(4, 5);
/* Names come up in reports and on terminals: no control characters. */
void check_printable(struct check *check, const char *text, const char *field);
void check_warn(struct check *check, const char *field, const char *fmt, ...) printf_like(3, 4);

/* validate_cgroup.c */
void check_definition(struct check *check, const Schedrig__V1__CgroupDef *def, enum name_owner owner);
bool check_cgroup_name(struct check *check, const char *name, const char *field);
/* False when it is wrong or cannot be known; ret_set then is undefined. */
bool check_cpus(
	struct check *check, const Schedrig__V1__CpusetSpec *spec, const char *field, struct cpuset *ret_set);
bool check_list_text(struct check *check, const char *text, const char *field, struct cpuset *ret_set);

/* validate_work.c */
struct work_place {
	bool narrowed, swappable;                   /* CPUs are fewer than all; the type may be overridden */
	bool in_runner;                             /* the runner cgroup's rules */
	const struct cpuset *mems;                  /* cpuset_mems, or NULL */
	const Schedrig__V1__Uint32Value *numa_node; /* the definition's default, or NULL */
};
/* pool: CPUs of the cgroup, NULL: unknown. */
void check_work(struct check *check, const Schedrig__V1__WorkSpec *work, const struct cpuset *pool,
	const struct work_place *place);
void check_thread_groups(struct check *check, const Schedrig__V1__CgroupDef *def);
/* False after a mistake; *ret_params is set otherwise. type NULL: the default. */
bool check_work_type(struct check *check, const Schedrig__V1__WorkType *type, const char *field,
	struct work_params *ret_params);
/* pool: NULL when it is not known here. */
void check_affinity(
	struct check *check, const Schedrig__V1__AffinityIntent *affinity, const struct cpuset *pool);
void check_comm_and_nice(struct check *check, const char *comm, const Schedrig__V1__Int32Value *nice);

/* A name that none of `names` is: they are listed, the nearest first. what: "payload". */
void check_undefined(struct check *check, const char *field, const char *what, const char *name,
	const char *const *names, size_t n);

/* validate_scheduler.c */
void check_scheduler_definitions(struct check *check);
/* NULL: the scenario defines none of that name, or there is no scenario. */
const Schedrig__V1__Scheduler *check_find_scheduler(const struct check *check, const char *name);
/* The field `scheduler` of an op. */
void check_names_scheduler(struct check *check, const char *name);
/* The field `program` of a payload: a scheduler is none. */
void check_payload_program(struct check *check, const char *program);

/* validate_payload.c */
/* The name of a file to stage; must be among the staged ones if those are known. */
void check_staged(struct check *check, const char *field, const char *program);
/* A payload that an op or a worker names; complains when there is none. end: the op ends it. */
bool check_names_payload(struct check *check, const char *name, const char *field, bool end);
void check_payload_definitions(struct check *check, Schedrig__V1__Payload *const *payloads, size_t n);
/* Knobs of a definition or a change; each part may be NULL. */
void check_knobs(struct check *check, const Schedrig__V1__CpuKnobs *cpu,
	const Schedrig__V1__MemoryKnobs *memory, const Schedrig__V1__IoKnobs *io,
	const Schedrig__V1__PidsKnobs *pids);
/* cgroup: where it runs, "" = runner. */
void check_run_payload(
	struct check *check, const Schedrig__V1__RunPayload *run, const char *cgroup, enum name_owner owner);
void check_end_payload(struct check *check, const char *name, const Schedrig__V1__CgroupRef *cgroup);

/* validate_kernel.c */
void check_kernel_op(struct check *check, const Schedrig__V1__Op *op);
/* A number that is read hot. */
void check_kernel_target(struct check *check, const Schedrig__V1__Target *target, Schedrig__V1__Width width);

/* validate_ops.c */
void check_ops(struct check *check, Schedrig__V1__Op *const *ops, size_t n, enum name_owner owner);
/* validate_step.c */
void check_step(struct check *check, const Schedrig__V1__Step *step, int index);
/* validate_assertions.c */
void check_assertions(struct check *check, const Schedrig__V1__Assertions *assertions);
/* After the ops that its values come from. */
void check_expected_tags(struct check *check, const Schedrig__V1__Assertions *assertions);
/* After all steps: what every layer names. */
void check_asserted_names(struct check *check);
/* validate_needs.c. True when the machine is not one for this scenario; *ret_reason is heap memory. */
bool check_needs(struct check *check, const Schedrig__V1__Needs *needs, char **ret_reason);

/* A change of knobs: the first mistake, or 0. */
int check_knobs_request(const Schedrig__V1__SetCgroupKnobsRequest *request, struct err *err) must_check;
/* Ops outside a scenario: the same rules as far as they do not need to know what exists. The first mistake,
 * or 0. */
int check_adhoc(const Schedrig__V1__ApplyRequest *request, const struct cpu_layout *layout,
	const char *const *staged, struct err *err) must_check;

#endif
