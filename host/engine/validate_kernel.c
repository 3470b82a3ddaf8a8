/* SPDX-License-Identifier: GPL-2.0-only */
/* Reads and writes of kernel memory: targets, widths, values, tags. Pure. */
#include "host/engine/validate.h"
#include "proto/wire.h"

#include <inttypes.h>
#include <string.h>

#define SYMBOL_NAME_MAX 511

static void check_target(struct check *check, const Schedrig__V1__Target *target)
{
	if (!target || target->form_case == SCHEDRIG__V1__TARGET__FORM__NOT_SET) {
		check_bad(check, ERR_INVALID_ARGUMENT, NULL, "no target is given: name a kernel `symbol`");
		return;
	}
	if (target->form_case != SCHEDRIG__V1__TARGET__FORM_SYMBOL) {
		check_bad(
			check, ERR_UNSUPPORTED, NULL, "targets other than `symbol` are not in this version");
		return;
	}
	size_t length = strlen(target->symbol->name);
	if (length == 0 || length > SYMBOL_NAME_MAX)
		check_bad(check, ERR_INVALID_ARGUMENT, NULL, "a symbol's name has 1 to %d bytes",
			SYMBOL_NAME_MAX);
}

static void check_fits(struct check *check, uint64_t value, uint64_t max)
{
	if (value > max)
		check_bad(check, ERR_INVALID_ARGUMENT, NULL, "%" PRIu64 " does not fit: at most %" PRIu64,
			value, max);
}

static void check_value(struct check *check, const Schedrig__V1__Value *value)
{
	switch (value ? value->form_case : SCHEDRIG__V1__VALUE__FORM__NOT_SET) {
	case SCHEDRIG__V1__VALUE__FORM__NOT_SET:
		check_bad(check, ERR_INVALID_ARGUMENT, NULL,
			"no value is given: one of u8, u16, u32, u64, from_read");
		break;
	case SCHEDRIG__V1__VALUE__FORM_U8:
		check_fits(check, value->u8->value, UINT8_MAX);
		break;
	case SCHEDRIG__V1__VALUE__FORM_U16:
		check_fits(check, value->u16->value, UINT16_MAX);
		break;
	case SCHEDRIG__V1__VALUE__FORM_U32:
		check_fits(check, value->u32->value, UINT32_MAX);
		break;
	case SCHEDRIG__V1__VALUE__FORM_U64:
		break;
	case SCHEDRIG__V1__VALUE__FORM_FROM_READ:
		if (!*value->from_read->tag)
			check_bad(check, ERR_INVALID_ARGUMENT, "from_read",
				"from_read needs the tag of an earlier read");
		else if (!check->adhoc && !names_has_tag(&check->names, value->from_read->tag))
			check_bad(check, ERR_NOT_FOUND, "from_read", "no earlier read has the tag '%.80s'",
				value->from_read->tag);
		break;
	default:
		check_bad(check, ERR_UNSUPPORTED, NULL,
			"values other than u8, u16, u32, u64 and from_read are not in this version");
	}
}

static void check_batch(struct check *check, size_t n, const char *what)
{
	if (n == 0)
		check_bad(check, ERR_INVALID_ARGUMENT, what, "at least one is needed");
	if (n > LIMIT_KERNEL_BATCH)
		check_bad(check, ERR_LIMIT_EXCEEDED, what, "%zu entries: at most %u are possible", n,
			LIMIT_KERNEL_BATCH);
}

static void check_writes(struct check *check, Schedrig__V1__KernelWrite *const *writes, size_t n)
{
	check_batch(check, n, "writes");
	for (size_t i = 0; i < n && i < LIMIT_KERNEL_BATCH; i++) {
		size_t at = check_enter(check, "writes[%zu]", i);
		check_target(check, writes[i]->target);
		check_value(check, writes[i]->value);
		check_leave(check, at);
	}
}

static void check_reads(struct check *check, Schedrig__V1__KernelRead *const *reads, size_t n, bool hot)
{
	check_batch(check, n, "reads");
	for (size_t i = 0; i < n && i < LIMIT_KERNEL_BATCH; i++) {
		const Schedrig__V1__KernelRead *read = reads[i];
		size_t at = check_enter(check, "reads[%zu]", i);
		check_target(check, read->target);
		if (read->width == SCHEDRIG__V1__WIDTH__WIDTH_UNSET)
			check_bad(check, ERR_INVALID_ARGUMENT, "width",
				"no width is given: one of u8, u16, u32, u64");
		else if (read->width == SCHEDRIG__V1__WIDTH__WIDTH_BYTES)
			check_bad(check, ERR_UNSUPPORTED, "width", "width bytes is not in this version");
		if (read->length && read->width != SCHEDRIG__V1__WIDTH__WIDTH_BYTES)
			check_bad(check, ERR_INVALID_ARGUMENT, "length", "a length belongs to width bytes");
		if (read->stable && !hot)
			check_bad(check, ERR_INVALID_ARGUMENT, "stable",
				"a cold read is stable by itself: `stable` is for hot reads");
		if (strlen(read->tag) > LIMIT_NAME_BYTES)
			check_bad(check, ERR_LIMIT_EXCEEDED, "tag", "a tag has at most %u bytes",
				LIMIT_NAME_BYTES);
		if (check->waived == ERR_NONE)
			names_add_tag(&check->names, read->tag);
		check_leave(check, at);
	}
}

void check_kernel_op(struct check *check, const Schedrig__V1__Op *op)
{
	switch (op->kind_case) {
	case SCHEDRIG__V1__OP__KIND_READ_KERNEL_HOT:
		check_reads(check, op->read_kernel_hot->reads, op->read_kernel_hot->n_reads, true);
		break;
	case SCHEDRIG__V1__OP__KIND_READ_KERNEL_COLD:
		check_reads(check, op->read_kernel_cold->reads, op->read_kernel_cold->n_reads, false);
		break;
	case SCHEDRIG__V1__OP__KIND_WRITE_KERNEL_HOT:
		check_writes(check, op->write_kernel_hot->writes, op->write_kernel_hot->n_writes);
		break;
	case SCHEDRIG__V1__OP__KIND_WRITE_KERNEL_COLD:
		check_writes(check, op->write_kernel_cold->writes, op->write_kernel_cold->n_writes);
		break;
	default:
		break;
	}
}
