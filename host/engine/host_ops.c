/* SPDX-License-Identifier: GPL-2.0-only */
/* Ops of the controller's side: kernel memory hot and cold, snapshots. The thread of the list. Whatever fails
 * leaves nothing behind: a freeze is thawed on every way out. */
#include "common/clock.h"
#include "host/engine/engine_internal.h"
#include "host/engine/ops.h"
#include "host/kmem/access.h"
#include "host/kmem/kmem.h"
#include "host/snapshot/capture.h"
#include "host/snapshot/store.h"
#include "host/vm/freeze.h"

#include <errno.h>
#include <string.h>

#define FREEZE_TURN_NS (30 * NS_PER_S)

void read_tags_free(struct read_tag **tags)
{
	struct read_tag *tag, *next;
	HASH_ITER (hh, *tags, tag, next) {
		HASH_DEL(*tags, tag);
		free(tag->tag);
		free(tag);
	}
}

int read_tags_set(
	struct read_tag **tags, const char *name, uint64_t value, unsigned width_bytes, struct err *err)
{
	struct read_tag *tag = NULL;
	HASH_FIND_STR(*tags, name, tag);
	if (!tag) {
		tag = calloc(1, sizeof(*tag));
		char *copy = strdup(name);
		if (!tag || !copy) {
			free(tag);
			free(copy);
			return err_set_os(err, ERR_HOST, ENOMEM, "cannot keep the value of '%.80s'", name);
		}
		tag->tag = copy;
		HASH_ADD_KEYPTR(hh, *tags, tag->tag, strlen(tag->tag), tag);
		if (!tag->hh.tbl) {
			free(copy);
			free(tag);
			return err_set_os(err, ERR_HOST, ENOMEM, "cannot keep the value of '%.80s'", name);
		}
	}
	tag->value = value;
	tag->width_bytes = width_bytes;
	return 0;
}

static struct kmem *kernel(struct op_context *context, struct err *err)
{
	const struct engine_config *config = &context->engine->config;
	if (!config->vm || !config->kmem) {
		err_set(err, ERR_FAILED_PRECONDITION, "there is no VM whose kernel memory could be reached");
		return NULL;
	}
	return config->kmem(config->arg, err);
}

static uint64_t freeze_deadline(const Schedrig__V1__Op *op)
{
	return clock_deadline_ns(op->timeout ? op->timeout->ns : FREEZE_TURN_NS);
}

/* Thaws, charges the time to nobody's hold, and says so in the result. */
static void thaw(struct op_context *context, struct freeze *freeze, Schedrig__V1__OpResult *result,
	struct freeze_times *ret_times)
{
	_Static_assert(
		(int)SCHEDRIG__V1__GUEST_TIME__GUEST_TIME_STOPPED == FREEZE_TIME_STOPPED &&
			(int)SCHEDRIG__V1__GUEST_TIME__GUEST_TIME_RAN == FREEZE_TIME_RAN &&
			(int)SCHEDRIG__V1__GUEST_TIME__GUEST_TIME_UNSUPPORTED == FREEZE_TIME_UNSUPPORTED &&
			(int)SCHEDRIG__V1__GUEST_TIME__GUEST_TIME_FAILED == FREEZE_TIME_FAILED,
		"the wire's numbers are freeze.h's");
	struct freeze_times times;
	vm_thaw(freeze, &times);
	engine_account_freeze(context->engine, &times);
	if (ret_times)
		*ret_times = times;
	Schedrig__V1__FreezeInfo *info = result->freeze ? NULL : malloc(sizeof(*info));
	if (!info)
		return;
	schedrig__v1__freeze_info__init(info);
	info->park_ns = times.parked_ns - times.asked_ns;
	info->frozen_ns = times.thawed_ns - times.parked_ns;
	info->kicks = times.kicks;
	info->guest_time = (Schedrig__V1__GuestTime)times.guest_time;
	info->resume_ns = times.thawed_ns - times.time_restarted_ns;
	result->freeze = info;
}

static int target_from_wire(const Schedrig__V1__Target *wire, struct kmem_target *ret, struct err *err)
{
	if (!wire || wire->form_case != SCHEDRIG__V1__TARGET__FORM_SYMBOL)
		return err_set(err, ERR_UNSUPPORTED, "targets other than `symbol` are not in this version");
	*ret = (struct kmem_target){
		.form = KMEM_SYMBOL, .name = wire->symbol->name, .offset = wire->symbol->offset};
	return 0;
}

static int width_from_wire(Schedrig__V1__Width wire, enum kmem_width *ret, struct err *err)
{
	switch (wire) {
	case SCHEDRIG__V1__WIDTH__WIDTH_U8:
		*ret = KMEM_U8;
		return 0;
	case SCHEDRIG__V1__WIDTH__WIDTH_U16:
		*ret = KMEM_U16;
		return 0;
	case SCHEDRIG__V1__WIDTH__WIDTH_U32:
		*ret = KMEM_U32;
		return 0;
	case SCHEDRIG__V1__WIDTH__WIDTH_U64:
		*ret = KMEM_U64;
		return 0;
	case SCHEDRIG__V1__WIDTH__WIDTH_BYTES:
		return err_set(err, ERR_UNSUPPORTED, "width bytes is not in this version");
	default:
		return err_set(err, ERR_INVALID_ARGUMENT, "no width is given: one of u8, u16, u32, u64");
	}
}

static int value_from_wire(
	struct op_context *context, const Schedrig__V1__Value *wire, struct kmem_write *ret, struct err *err)
{
	static const char not_yet[] =
		"values other than u8, u16, u32, u64 and from_read are not in this version";
	ret->op = KMEM_SET;
	switch (wire ? wire->form_case : SCHEDRIG__V1__VALUE__FORM__NOT_SET) {
	case SCHEDRIG__V1__VALUE__FORM__NOT_SET:
		return err_set(
			err, ERR_INVALID_ARGUMENT, "no value is given: one of u8, u16, u32, u64, from_read");
	case SCHEDRIG__V1__VALUE__FORM_U8:
		ret->width = KMEM_U8;
		ret->value = wire->u8->value;
		break;
	case SCHEDRIG__V1__VALUE__FORM_U16:
		ret->width = KMEM_U16;
		ret->value = wire->u16->value;
		break;
	case SCHEDRIG__V1__VALUE__FORM_U32:
		ret->width = KMEM_U32;
		ret->value = wire->u32->value;
		break;
	case SCHEDRIG__V1__VALUE__FORM_U64:
		ret->width = KMEM_U64;
		ret->value = wire->u64->value;
		break;
	case SCHEDRIG__V1__VALUE__FORM_FROM_READ: {
		struct read_tag *tag = NULL;
		const char *name = wire->from_read->tag;
		HASH_FIND_STR(*context->tags, name, tag);
		if (!tag)
			return err_set(err, ERR_NOT_FOUND, "no earlier read has the tag '%.80s'", name);
		ret->width = (enum kmem_width)tag->width_bytes;
		ret->value = tag->value;
		break;
	}
	default:
		return err_set(err, ERR_UNSUPPORTED, "%s", not_yet);
	}
	if (ret->width != KMEM_U64 && ret->value >> (8 * (unsigned)ret->width))
		return err_set(err, ERR_INVALID_ARGUMENT, "%llu does not fit in %u bytes",
			(unsigned long long)ret->value, (unsigned)ret->width);
	return 0;
}

static int add_value(struct op_context *context, Schedrig__V1__OpResult *result, size_t n, const char *tag,
	const Schedrig__V1__ReadValue *value, struct err *err)
{
	if (!result->reads)
		result->reads = calloc(n, sizeof(*result->reads));
	Schedrig__V1__ReadValue *copy = malloc(sizeof(*copy));
	char *text = *tag ? strdup(tag) : (char *)protobuf_c_empty_string;
	if (!result->reads || !copy || !text) {
		free(copy);
		if (*tag)
			free(text);
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot keep what was read");
	}
	*copy = *value;
	copy->tag = text;
	copy->phase = context->phase;
	copy->pass = context->pass;
	result->reads[result->n_reads++] = copy;
	return *tag && !value->old ? read_tags_set(context->tags, tag, value->value, value->width, err) : 0;
}

static int apply_reads(struct op_context *context, const Schedrig__V1__Op *op, bool cold,
	Schedrig__V1__OpResult *result, struct err *err)
{
	Schedrig__V1__KernelRead **wire = cold ? op->read_kernel_cold->reads : op->read_kernel_hot->reads;
	size_t n = cold ? op->read_kernel_cold->n_reads : op->read_kernel_hot->n_reads;
	if (n == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "at least one read is needed");
	struct kmem *kmem = kernel(context, err);
	if (!kmem)
		return err_errno(err->code);
	_cleanup_free_ struct kmem_read *reads = calloc(n, sizeof(*reads));
	if (!reads)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot read");
	for (size_t i = 0; i < n; i++) {
		if (target_from_wire(wire[i]->target, &reads[i].target, err) < 0 ||
			width_from_wire(wire[i]->width, &reads[i].width, err) < 0)
			return err_at(err, "reads[%zu]", i);
		reads[i].stable = wire[i]->stable && !cold;
	}
	struct freeze *freeze = NULL;
	if (cold && vm_freeze(context->engine->config.vm, freeze_deadline(op), &freeze, err) < 0)
		return err_wrap(err, "cannot freeze the VM");
	int r = kmem_read_batch(kmem, reads, n, freeze, err);
	if (freeze)
		thaw(context, freeze, result, NULL);
	if (r < 0) {
		if (*err->place == '[')
			err_at(err, "reads");
		return err_errno(err->code);
	}
	for (size_t i = 0; i < n; i++) {
		Schedrig__V1__ReadValue value = SCHEDRIG__V1__READ_VALUE__INIT;
		value.address = reads[i].address.v;
		value.value = reads[i].value;
		value.width = reads[i].width;
		value.entry = (uint32_t)i;
		r = add_value(context, result, n, wire[i]->tag, &value, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static Schedrig__V1__KernelWrite *const *writes_of(const Schedrig__V1__Op *op, size_t *ret_n)
{
	bool cold = op->kind_case == SCHEDRIG__V1__OP__KIND_WRITE_KERNEL_COLD;
	*ret_n = cold ? op->write_kernel_cold->n_writes : op->write_kernel_hot->n_writes;
	return cold ? op->write_kernel_cold->writes : op->write_kernel_hot->writes;
}

/* Which op, and which of its entries, entry i of a merged batch is. */
static void locate(const struct planned_op *ops, size_t n, size_t entry, size_t *ret_op, size_t *ret_entry)
{
	*ret_op = *ret_entry = 0;
	for (size_t i = 0; i < n; i++) {
		size_t count;
		(void)writes_of(ops[i].op, &count);
		if (entry < count || i + 1 == n) {
			*ret_op = i;
			*ret_entry = entry;
			return;
		}
		entry -= count;
	}
}

static int prepare_writes(struct op_context *context, const struct planned_op *ops, size_t n,
	struct kmem_write *writes, size_t *ret_failed, struct err *err)
{
	size_t at = 0;
	for (size_t i = 0; i < n; i++) {
		size_t count;
		Schedrig__V1__KernelWrite *const *wire = writes_of(ops[i].op, &count);
		*ret_failed = i;
		if (count == 0)
			return err_set(err, ERR_INVALID_ARGUMENT, "at least one write is needed");
		for (size_t k = 0; k < count; k++, at++) {
			if (target_from_wire(wire[k]->target, &writes[at].target, err) < 0 ||
				value_from_wire(context, wire[k]->value, &writes[at], err) < 0)
				return err_at(err, "writes[%zu]", k);
			writes[at].want_old = wire[k]->want_old;
			writes[at].verify = wire[k]->verify;
			writes[at].force = wire[k]->force;
		}
	}
	return 0;
}

static int apply_writes(struct op_context *context, const struct planned_op *ops, size_t n, bool cold,
	Schedrig__V1__OpResult **results, size_t *ret_failed, struct err *err)
{
	size_t total = 0;
	for (size_t i = 0; i < n; i++) {
		size_t count;
		(void)writes_of(ops[i].op, &count);
		total += count;
	}
	_cleanup_free_ struct kmem_write *writes = calloc(total + 1, sizeof(*writes));
	*ret_failed = 0;
	if (!writes)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot write");
	int r = prepare_writes(context, ops, n, writes, ret_failed, err);
	if (r < 0)
		return r;
	*ret_failed = 0;
	struct kmem *kmem = kernel(context, err);
	if (!kmem)
		return err_errno(err->code);
	struct freeze *freeze = NULL;
	if (cold && vm_freeze(context->engine->config.vm, freeze_deadline(ops[0].op), &freeze, err) < 0)
		return err_wrap(err, "cannot freeze the VM");
	r = kmem_write_batch(kmem, writes, total, freeze, err);
	if (freeze)
		thaw(context, freeze, results[0], NULL);
	size_t entry;
	if (r < 0) {
		size_t index = *err->place == '[' ? strtoul(err->place + 1, NULL, 10) : 0;
		bool placed = *err->place == '[';
		locate(ops, n, index, ret_failed, &entry);
		if (placed)
			snprintf(err->place, sizeof(err->place), "writes[%zu]", entry);
		return r;
	}
	for (size_t i = 0; i < total; i++) {
		size_t op, count;
		if (!writes[i].want_old)
			continue;
		locate(ops, n, i, &op, &entry);
		(void)writes_of(ops[op].op, &count);
		Schedrig__V1__ReadValue value = SCHEDRIG__V1__READ_VALUE__INIT;
		value.address = writes[i].address.v;
		value.value = writes[i].old;
		value.width = writes[i].width;
		value.old = true;
		value.entry = (uint32_t)entry;
		*ret_failed = op;
		r = add_value(context, results[op], count, "", &value, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The kernel's layout for captures, made once. NULL with the reason: registers only. With store_lock held. */
static const struct snapshot_layout *layout(struct op_context *context, struct err *why)
{
	struct engine *engine = context->engine;
	if (!engine->layout) {
		struct kmem *kmem = kernel(context, why);
		if (kmem)
			engine->layout = snapshot_layout_new(kmem, why);
	}
	return engine->layout;
}

/* Keeps a decoded snapshot; it is the store's then. With store_lock held. */
static int keep_snapshot(
	struct engine *engine, struct snapshot *snapshot, Schedrig__V1__SnapshotInfo *info, struct err *err)
{
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

static int apply_capture(struct op_context *context, const Schedrig__V1__Op *op,
	Schedrig__V1__OpResult *result, struct err *err)
{
	struct engine *engine = context->engine;
	const Schedrig__V1__CaptureSnapshot *capture = op->capture_snapshot;
	uint32_t parts;
	if (snapshot_parts((const char *const *)capture->what, capture->n_what, &parts, err) < 0)
		return err_at(err, "what");
	if (!engine->config.vm)
		return err_set(err, ERR_FAILED_PRECONDITION, "there is no VM to capture");
	SCOPE_LOCK(&engine->store_lock);
	struct err why = ERR_INIT;
	const struct snapshot_layout *known = layout(context, &why);
	_cleanup_(snapshot_raw_free_p) struct snapshot_raw *raw =
		snapshot_raw_new(known, &why, capture->name, parts, engine->config.layout->n_cpus, err);
	if (!raw)
		return err_errno(err->code);
	struct freeze *freeze;
	if (vm_freeze(engine->config.vm, freeze_deadline(op), &freeze, err) < 0)
		return err_wrap(err, "cannot freeze the VM");
	snapshot_capture(raw, freeze);
	struct freeze_times times;
	thaw(context, freeze, result, &times);
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
	struct op_context context = {.engine = engine};
	struct err why = ERR_INIT, err = ERR_INIT;
	if (!engine->config.vm)
		return;
	SCOPE_LOCK(&engine->store_lock);
	const struct snapshot_layout *known = layout(&context, &why);
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
		return apply_reads(context, op, false, results[0], err);
	case SCHEDRIG__V1__OP__KIND_READ_KERNEL_COLD:
		return apply_reads(context, op, true, results[0], err);
	case SCHEDRIG__V1__OP__KIND_WRITE_KERNEL_HOT:
		return apply_writes(context, ops, n, false, results, ret_failed, err);
	case SCHEDRIG__V1__OP__KIND_WRITE_KERNEL_COLD:
		return apply_writes(context, ops, n, true, results, ret_failed, err);
	case SCHEDRIG__V1__OP__KIND_CAPTURE_SNAPSHOT:
		return apply_capture(context, op, results[0], err);
	default:
		return err_set(err, ERR_UNSUPPORTED, "%s is not in this version", op_kind_name(op_kind(op)));
	}
}
