/* SPDX-License-Identifier: GPL-2.0-only */
/* Ops of the controller's side: snapshots here, kernel memory in kernel_ops.c. The thread of the list.
 * Whatever fails leaves nothing behind: a freeze is thawed on every way out. */
#include "common/clock.h"
#include "host/engine/engine_internal.h"
#include "host/engine/ops.h"
#include "host/snapshot/capture.h"
#include "host/snapshot/store.h"
#include "host/vm/freeze.h"

#include <errno.h>
#include <string.h>

static uint64_t freeze_deadline(const Schedrig__V1__Op *op)
{
	return clock_deadline_ns(op->timeout ? op->timeout->ns : FREEZE_TURN_NS);
}

/* The kernel's layout for captures, made once. NULL with the reason: registers only. */
static const struct snapshot_layout *layout(struct engine *engine, struct err *why)
{
	SCOPE_LOCK(&engine->store_lock);
	if (!engine->layout) {
		struct kmem *kmem = engine_kernel(engine, why);
		if (kmem)
			engine->layout = snapshot_layout_new(kmem, why);
	}
	return engine->layout;
}

/* Keeps a decoded snapshot; it is the store's then. */
static int keep_snapshot(
	struct engine *engine, struct snapshot *snapshot, Schedrig__V1__SnapshotInfo *info, struct err *err)
{
	SCOPE_LOCK(&engine->store_lock);
	char file[1100] = "";
	struct snapshot *kept = snapshot;
	int r = engine->config.snapshots ? snapshot_store_add(engine->config.snapshots, snapshot, err) : 0;
	if (r < 0)
		return r;
	pthread_mutex_lock(&engine->event_lock);
	struct record *record = engine->run_record ? engine->run_record : engine->record;
	char directory[512] = "";
	if (record)
		snprintf(directory, sizeof(directory), "%s/snapshots", record_directory(record));
	pthread_mutex_unlock(&engine->event_lock);
	if (*directory) {
		char path[1024];
		if (snapshot_write(kept, directory, path, sizeof(path), err) < 0)
			return err_errno(err->code);
		const char *base = strrchr(path, '/');
		snprintf(file, sizeof(file), "snapshots/%s", base ? base + 1 : path);
	}
	info->name = strdup(kept->name);
	info->file = strdup(file);
	info->sequence = kept->sequence;
	info->bytes = kept->bytes;
	info->n_incomplete = kept->kernel_err.code != ERR_NONE ? 1 : 0;
	info->incomplete = info->n_incomplete ? calloc(1, sizeof(char *)) : NULL;
	if (info->incomplete)
		info->incomplete[0] = strdup(kept->kernel_err.message);
	if (!info->name || !info->file ||
		(info->n_incomplete && (!info->incomplete || !info->incomplete[0]))) {
		info->n_incomplete = 0;
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot keep the snapshot");
	}
	return 0;
}

static void emit_snapshot(struct engine *engine, Schedrig__V1__SnapshotInfo *info)
{
	Schedrig__V1__Event event = SCHEDRIG__V1__EVENT__INIT;
	event.kind_case = SCHEDRIG__V1__EVENT__KIND_SNAPSHOT;
	event.snapshot = info;
	engine_emit(engine, &event);
}

/* In the freeze of the caller's if it lends one. */
static int capture(struct op_context *context, const Schedrig__V1__Op *op, struct snapshot_raw *raw,
	struct freeze_times *ret_times, Schedrig__V1__FreezeInfo **ret_info, struct err *err)
{
	struct engine *engine = context->engine;
	const struct freeze *held = context->held ? context->held->freeze : NULL;
	struct freeze *own;
	if (held) {
		snapshot_capture(raw, held);
		*ret_times = freeze_times_so_far(held);
		*ret_info = engine_freeze_info(ret_times);
		return 0;
	}
	if (vm_freeze(engine->config.vm, freeze_deadline(op), &own, err) < 0)
		return err_wrap(err, "cannot freeze the VM");
	snapshot_capture(raw, own);
	*ret_info = engine_thaw(engine, own, ret_times);
	return 0;
}

static int apply_capture(struct op_context *context, const Schedrig__V1__Op *op,
	Schedrig__V1__OpResult *result, struct err *err)
{
	struct engine *engine = context->engine;
	const Schedrig__V1__CaptureSnapshot *ask = op->capture_snapshot;
	uint32_t parts;
	if (snapshot_parts((const char *const *)ask->what, ask->n_what, &parts, err) < 0)
		return err_at(err, "what");
	if (!engine->config.vm)
		return err_set(err, ERR_FAILED_PRECONDITION, "there is no VM to capture");
	struct err why = ERR_INIT;
	const struct snapshot_layout *known = layout(engine, &why);
	_cleanup_(snapshot_raw_free_p) struct snapshot_raw *raw =
		snapshot_raw_new(known, &why, ask->name, parts, engine->config.layout->n_cpus, err);
	if (!raw)
		return err_errno(err->code);
	struct freeze_times times;
	if (capture(context, op, raw, &times, &result->freeze, err) < 0)
		return err_errno(err->code);
	struct snapshot *snapshot = snapshot_decode(raw, &times, err);
	Schedrig__V1__SnapshotInfo *info = malloc(sizeof(*info));
	if (!snapshot || !info) {
		snapshot_free(snapshot);
		free(info);
		return err->code != ERR_NONE ? err_errno(err->code)
					     : err_set_os(err, ERR_HOST, ENOMEM, "cannot keep the snapshot");
	}
	schedrig__v1__snapshot_info__init(info);
	result->snapshot = info;
	int r = keep_snapshot(engine, snapshot, info, err);
	if (!engine->config.snapshots || (r < 0 && err->code == ERR_LIMIT_EXCEEDED))
		snapshot_free(snapshot);
	if (r == 0)
		emit_snapshot(engine, info);
	return r;
}

void engine_capture_end(struct engine *engine, const struct freeze *freeze, const char *name)
{
	struct err why = ERR_INIT, err = ERR_INIT;
	if (!engine->config.vm)
		return;
	const struct snapshot_layout *known = layout(engine, &why);
	_cleanup_(snapshot_raw_free_p) struct snapshot_raw *raw =
		snapshot_raw_new(known, &why, name, SNAPSHOT_ALL, engine->config.layout->n_cpus, &err);
	if (!raw)
		return;
	snapshot_capture(raw, freeze);
	struct freeze_times times = freeze_times_so_far(freeze);
	struct snapshot *snapshot = snapshot_decode(raw, &times, &err);
	if (!snapshot)
		return;
	Schedrig__V1__SnapshotInfo *info = malloc(sizeof(*info));
	int r = -ENOMEM;
	if (info) {
		schedrig__v1__snapshot_info__init(info);
		r = keep_snapshot(engine, snapshot, info, &err);
	}
	if (!info || !engine->config.snapshots || (r < 0 && err.code == ERR_LIMIT_EXCEEDED))
		snapshot_free(snapshot);
	if (r == 0)
		emit_snapshot(engine, info);
	schedrig__v1__snapshot_info__free_unpacked(info, NULL);
}

int host_ops_apply(struct op_context *context, const struct planned_op *ops, size_t n,
	Schedrig__V1__OpResult **results, size_t *ret_failed, struct err *err)
{
	const Schedrig__V1__Op *op = ops[0].op;
	*ret_failed = 0;
	switch (op->kind_case) {
	case SCHEDRIG__V1__OP__KIND_READ_KERNEL_HOT:
	case SCHEDRIG__V1__OP__KIND_READ_KERNEL_COLD:
		return kernel_op_read(context, op, results[0], err);
	case SCHEDRIG__V1__OP__KIND_WRITE_KERNEL_HOT:
	case SCHEDRIG__V1__OP__KIND_WRITE_KERNEL_COLD:
		return kernel_op_write(context, ops, n, results, ret_failed, err);
	case SCHEDRIG__V1__OP__KIND_CAPTURE_SNAPSHOT:
		return apply_capture(context, op, results[0], err);
	default:
		return err_set(err, ERR_UNSUPPORTED, "%s is not in this version", op_kind_name(op_kind(op)));
	}
}
