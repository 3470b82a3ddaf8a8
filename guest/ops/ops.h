/* SPDX-License-Identifier: GPL-2.0-only */
/* From the wire's ops to the scene's calls and back: one handler per kind, a dispatch table that comes of the
 * one list (proto/op_list.h). Handlers run on lane threads; what they allocate is the request's arena. */
#ifndef GUEST_OPS_OPS_H
#define GUEST_OPS_OPS_H

#include "common/arena.h"
#include "guest/scene/scene.h"
#include "proto/op_list.h"
#include "schedrig/v1/agent.pb-c.h"

/* Generated names are long: PB(Op) is Schedrig__V1__Op. */
#define PB(name) Schedrig__V1__##name
/* A zeroed message in the arena; NULL when that is full. PB_NEW(arena, OpResult, op_result). */
#define PB_NEW(arena, name, snake)                                                                           \
	((PB(name) *)ops_message_new((arena), &schedrig__v1__##snake##__descriptor))
void *ops_message_new(struct arena *arena, const ProtobufCMessageDescriptor *type);

struct op_run {
	struct scene *scene;
	const PB(ScenarioBegin) * begin; /* what the scenario said; NULL outside one */
	PB(Payload) * *payloads;         /* an ad-hoc request's own definitions, [n_payloads] */
	size_t n_payloads;
	struct scene_call call;
	uint64_t request_deadline_ns; /* of the whole request, or CLOCK_NEVER_NS */
	bool own_timeout;             /* the op carries `timeout` */
	struct arena *arena;
	PB(OpResult) * result;
	uint32_t phase, pass;
};

/* Name of the op's kind ("SetCpuset") and its number, -1 for none. */
int ops_kind(const PB(Op) * op);
const char *ops_kind_name(int kind);
/* Default deadline of an op, before it is widened for slow hosts. */
#define OPS_DEADLINE_NS (UINT64_C(30) * 1000000000)

/* Applies one op and fills run->result but for place, kind and times. */
int ops_apply(struct op_run *run, const PB(Op) * op, struct err *err) must_check;

#define X_HANDLER_GUEST(snake, camel)                                                                        \
	int op_##snake(struct op_run *run, const PB(camel) * op, struct err * err) must_check;
#define X_HANDLER_HOST(snake, camel)
#define X(number, snake, upper, camel, side) X_HANDLER_##side(snake, camel)
OP_LIST(X)
#undef X

/* The wire's error for ours, strings in the arena; NULL when that is full. */
PB(Error) * ops_error(struct arena *arena, const struct err *err);
/* Appends to a repeated field (an array of pointers in the arena). False when the arena is full. */
bool ops_append(struct arena *arena, void *array, size_t *count, void *item);
void ops_add_note(void *run, const char *note); /* scene_call.note */
/* Bytes of the guest's as a proto string, which is UTF-8: others become '?'. NULL when the arena is full. */
char *ops_text(struct arena *arena, const char *bytes);
PB(PayloadReport) * ops_payload_report(struct arena *arena, const struct scene_payload_report *report);
PB(WorkerReport) * ops_worker_report(struct arena *arena, const struct scene_worker_report *report);

/* Plain forms of what the wire describes; places in errors are relative to the message. */
int ops_cpuset(const struct cpu_layout *layout, const PB(CpusetSpec) * spec, struct cpuset *ret_set,
	struct err *err) must_check;
/* Each part may be NULL. Strings of ret_knobs are the messages'. */
int ops_knobs(const PB(CpuKnobs) * cpu, const PB(MemoryKnobs) * memory, const PB(PidsKnobs) * pids,
	const PB(IoKnobs) * io, struct cg_knobs *ret_knobs, struct err *err) must_check;
/* SetKnobs: `ret` is initialised and gets what was skipped and what was written; on failure, too. */
int ops_set_knobs(struct scene *scene, const PB(SetKnobs) * set, uint64_t deadline_ns, struct arena *arena,
	PB(KnobsSet) * ret, struct err *err) must_check;
int ops_affinity(
	const PB(AffinityIntent) * intent, struct affinity *ret_affinity, struct err *err) must_check;
struct op_defaults {
	const PB(WorkType) * type; /* replaces the spec's when not NULL */
	const PB(CgroupDef) * def; /* defaults of nice, comm, uid, gid; may be NULL */
};
/* cgroup NULL: the runner cgroup. Everything of a WorkSpec, its count resolved. */
int ops_work(struct op_run *run, const PB(WorkSpec) * spec, const char *cgroup,
	const struct op_defaults *defaults, struct scene_spawn *ret_spawn, struct err *err) must_check;
/* Starts them and adds their PIDs to the result. */
int ops_spawn(
	struct op_run *run, const struct scene_spawn *spawns, unsigned n_spawns, struct err *err) must_check;
/* custom: its payload's definition, with its arguments. */
int ops_custom(struct op_run *run, struct work_spec *work, struct err *err) must_check;
int ops_mem_policy(const PB(MemPolicy) * policy, struct work_mem *ret_mem, struct err *err) must_check;
PB(WorkerSample) * ops_worker_sample(struct arena *arena, const struct work *work, const char *cgroup);
int ops_run_payload(
	struct op_run *run, const PB(RunPayload) * op, const char *cgroup, struct err *err) must_check;

#endif
