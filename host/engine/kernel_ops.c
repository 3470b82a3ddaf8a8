/* SPDX-License-Identifier: GPL-2.0-only */
/* The four ops on kernel memory. The thread of the list; tags are the list's. */
#include "common/clock.h"
#include "host/engine/kernel_access.h"

#include <errno.h>
#include <string.h>

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

static uint64_t freeze_deadline(const Schedrig__V1__Op *op)
{
	return clock_deadline_ns(op->timeout ? op->timeout->ns : FREEZE_TURN_NS);
}

static const struct freeze *op_freeze(const struct op_context *context)
{
	return context->held ? context->held->freeze : NULL;
}

static int no_memory(struct err *err)
{
	return err_set_os(err, ERR_HOST, ENOMEM, "cannot keep what was read");
}

/* Gives the result a value of its own. */
static int add_value(struct op_context *context, Schedrig__V1__OpResult *result, size_t n, const char *tag,
	Schedrig__V1__ReadValue *value, struct err *err)
{
	if (!result->reads)
		result->reads = calloc(n, sizeof(*result->reads));
	char *text = *tag ? strdup(tag) : (char *)protobuf_c_empty_string;
	if (!result->reads || !text) {
		schedrig__v1__read_value__free_unpacked(value, NULL);
		if (*tag)
			free(text);
		return no_memory(err);
	}
	value->tag = text;
	value->phase = context->phase;
	value->pass = context->pass;
	result->reads[result->n_reads++] = value;
	if (!*tag || value->old)
		return 0;
	SCOPE_LOCK(&context->engine->tags_lock);
	/* Width 0: there is no one number that from_read could write. */
	return read_tags_set(
		context->tags, tag, value->value, value->bits && !value->every_cpu ? value->width : 0, err);
}

int kernel_op_read(struct op_context *context, const Schedrig__V1__Op *op, Schedrig__V1__OpResult *result,
	struct err *err)
{
	bool cold = op->kind_case == SCHEDRIG__V1__OP__KIND_READ_KERNEL_COLD;
	Schedrig__V1__KernelRead **wire = cold ? op->read_kernel_cold->reads : op->read_kernel_hot->reads;
	size_t n = cold ? op->read_kernel_cold->n_reads : op->read_kernel_hot->n_reads;
	_cleanup_(kernel_values_deinit) struct kernel_values values;
	const struct kernel_way way = {
		.cold = cold, .held = op_freeze(context), .deadline_ns = freeze_deadline(op)};
	int r = kernel_read(context->engine, wire, n, &way, &values, err);
	result->freeze = TAKE_PTR(values.freeze);
	if (r < 0)
		return err_errno(err->code);
	for (size_t i = 0; i < values.n; i++) {
		const char *tag = wire[values.value[i]->entry]->tag;
		r = add_value(context, result, values.n, tag, TAKE_PTR(values.value[i]), err);
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

/* Puts in what an earlier read saw. */
static int value_from_read(struct op_context *context, const Schedrig__V1__KernelWrite *wire,
	struct kmem_write *ret, struct err *err)
{
	const char *name = wire->value->from_read->tag;
	struct read_tag *tag = NULL;
	*ret = (struct kmem_write){
		.want_old = wire->want_old, .verify = wire->verify, .force = wire->force, .op = KMEM_SET};
	SCOPE_LOCK(&context->engine->tags_lock);
	HASH_FIND_STR(*context->tags, name, tag);
	if (!tag)
		return err_set(err, ERR_NOT_FOUND, "no earlier read has the tag '%.80s'", name);
	if (!tag->width_bytes)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"what was read under the tag '%.80s' is bytes or every CPU's: no one number to write",
			name);
	ret->width = (enum kmem_width)tag->width_bytes;
	ret->value = tag->value;
	return kernel_target_from_wire(wire->target, &ret->target, err);
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
			const Schedrig__V1__Value *value = wire[k]->value;
			bool from_read = value && value->form_case == SCHEDRIG__V1__VALUE__FORM_FROM_READ;
			int r = from_read ? value_from_read(context, wire[k], &writes[at], err)
					  : kernel_write_from_wire(wire[k], &writes[at], err);
			if (r < 0)
				return err_at(err, "writes[%zu]", k);
		}
	}
	return 0;
}

static int add_note(Schedrig__V1__OpResult *result, const char *text, struct err *err)
{
	char **notes = reallocarray(result->notes, result->n_notes + 1, sizeof(*notes));
	if (!notes)
		return no_memory(err);
	result->notes = notes;
	notes[result->n_notes] = strdup(text);
	return notes[result->n_notes] ? (int)(result->n_notes++, 0) : no_memory(err);
}

/* What the batch brought, to the ops that its entries came from. */
static int take_outcome(struct op_context *context, const struct planned_op *ops, size_t n,
	struct kmem_write *writes, size_t total, Schedrig__V1__OpResult **results, size_t *ret_failed,
	struct err *err)
{
	for (size_t i = 0; i < total; i++) {
		size_t entry, count;
		locate(ops, n, i, ret_failed, &entry);
		(void)writes_of(ops[*ret_failed].op, &count);
		Schedrig__V1__OpResult *result = results[*ret_failed];
		if (writes[i].warning && add_note(result, writes[i].warning, err) < 0)
			return err_errno(err->code);
		if (!kernel_write_has_old(&writes[i]))
			continue;
		Schedrig__V1__ReadValue *value = kernel_old_value(&writes[i], entry);
		if (!value)
			return no_memory(err);
		int r = add_value(context, result, count, "", value, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int kernel_op_write(struct op_context *context, const struct planned_op *ops, size_t n,
	Schedrig__V1__OpResult **results, size_t *ret_failed, struct err *err)
{
	bool cold = ops[0].op->kind_case == SCHEDRIG__V1__OP__KIND_WRITE_KERNEL_COLD;
	size_t total = 0;
	for (size_t i = 0; i < n; i++) {
		size_t count;
		(void)writes_of(ops[i].op, &count);
		total += count;
	}
	*ret_failed = 0;
	_cleanup_free_ struct kmem_write *writes = calloc(total + 1, sizeof(*writes));
	if (!writes)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot write");
	int r = prepare_writes(context, ops, n, writes, ret_failed, err);
	if (r < 0)
		return r;
	*ret_failed = 0;
	const struct kernel_way way = {
		.cold = cold, .held = op_freeze(context), .deadline_ns = freeze_deadline(ops[0].op)};
	r = kernel_write(context->engine, writes, total, &way, &results[0]->freeze, err);
	if (r < 0 && *err->place == '[') {
		size_t entry, index = strtoul(err->place + 1, NULL, 10);
		locate(ops, n, index, ret_failed, &entry);
		snprintf(err->place, sizeof(err->place), "writes[%zu]", entry);
	}
	if (r == 0)
		r = take_outcome(context, ops, n, writes, total, results, ret_failed, err);
	kernel_writes_deinit(writes, total);
	return r;
}
