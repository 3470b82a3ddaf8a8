/* SPDX-License-Identifier: GPL-2.0-only */
/* Making workers older (see age.h). */
#include "host/engine/age.h"

#include "common/clock.h"
#include "host/engine/kernel_access.h"
#include "host/kmem/task.h"
#include "proto/pb.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define START "start_boottime"
#define VTIME "scx.dsq_vtime"
/* Between looks whether a worker, which has said that it is ready, is asleep by now. */
#define LOOK_NS (2 * NS_PER_MS)
/* Of releasing, in guest time. */
#define RELEASE_NS (30 * NS_PER_S)

bool op_has_uptime(const Schedrig__V1__Op *op)
{
	const Schedrig__V1__CgroupDef *def =
		op->kind_case == SCHEDRIG__V1__OP__KIND_ADD_CGROUP_DEF ? op->add_cgroup_def->def : NULL;
	if (op->kind_case == SCHEDRIG__V1__OP__KIND_SPAWN)
		return op->spawn->work && op->spawn->work->uptime;
	for (size_t i = 0; def && i < def->n_work; i++)
		if (def->work[i]->uptime)
			return true;
	return false;
}

static bool has_vtime(const struct kmem *kmem)
{
	struct kbtf_place place;
	return kmem_struct_member(kmem, "task_struct", VTIME, &place, NULL) == 0;
}

/* Its word on which it is has been checked by nobody: a PID that is another task's fails by its identity. */
static struct kmem_write older(const Schedrig__V1__HeldWorker *held, const char *field, uint64_t by)
{
	return (struct kmem_write){
		.target = {.form = KMEM_TASK_FIELD,
			.field = field,
			.task = {.pid = held->pid > 0 ? (uint32_t)held->pid : 0,
				.pidfs_inode = held->pidfs_inode,
				.start_time_ns = held->pidfs_inode ? 0 : held->start_time_ns}},
		.width = KMEM_U64,
		.op = KMEM_ADD,
		.value = by,
	};
}

static bool is_awake(const struct err *err)
{
	static const char *const reasons[] = {"task-queued", "task-dispatched", "task-runnable"};
	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
		if (strcmp(err->reason, reasons[i]) == 0)
			return true;
	return false;
}

int age_workers(
	struct op_context *context, Schedrig__V1__OpResult *result, uint64_t deadline_ns, struct err *err)
{
	struct engine *engine = context->engine;
	struct kmem *kmem = engine_kernel(engine, err);
	if (!kmem)
		return err_wrap(err, "cannot make workers older");
	bool vtime = has_vtime(kmem);
	size_t n = 0;
	_cleanup_free_ struct kmem_write *writes = calloc(2 * result->n_held + 1, sizeof(*writes));
	if (!writes)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot make workers older");
	for (size_t i = 0; i < result->n_held; i++) {
		const Schedrig__V1__HeldWorker *held = result->held[i];
		uint64_t by = held->uptime ? held->uptime->ns : 0;
		writes[n++] = older(held, START, -by);
		if (!vtime)
			continue;
		/* Whatever its class: with a scheduler to come it is of another one. That it sleeps, the
		 * first one checks. */
		writes[n] = older(held, VTIME, by);
		writes[n++].force = true;
	}
	const struct kernel_way way = {.cold = true, .deadline_ns = deadline_ns};
	for (;;) {
		_cleanup_(pb_free_p) Schedrig__V1__FreezeInfo *freeze = NULL;
		int r = kernel_write(engine, writes, n, &way, &freeze, err);
		if (r == 0 || !is_awake(err) || clock_left_ns(deadline_ns) == 0 ||
			engine_interrupted(engine)) {
			result->freeze = TAKE_PTR(freeze);
			return r < 0 ? err_wrap(err, "cannot make workers older") : 0;
		}
		*err = ERR_INIT;
		nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
	}
}

int age_release(struct op_context *context, struct err *err)
{
	Schedrig__V1__AgentRequest request = SCHEDRIG__V1__AGENT_REQUEST__INIT;
	Schedrig__V1__ReleaseWorkers release = SCHEDRIG__V1__RELEASE_WORKERS__INIT;
	Schedrig__V1__AgentResponse *response = NULL;
	release.scope = context->scope;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_RELEASE_WORKERS;
	request.release_workers = &release;
	int r = agent_call(context->engine, &request, RELEASE_NS, &response, err);
	pb_free(response);
	return r;
}
