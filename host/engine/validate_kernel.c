/* SPDX-License-Identifier: GPL-2.0-only */
/* Reads and writes of kernel memory: targets, widths, values, tags. Pure. */
#include "host/engine/validate.h"
#include "host/kmem/access.h"
#include "host/kmem/path.h"
#include "proto/wire.h"

#include <inttypes.h>
#include <string.h>

#define SYMBOL_NAME_MAX 511

/* Whether the kernel's types tell how wide the target is. */
static bool has_type(const Schedrig__V1__Target *target)
{
	return target && (target->form_case == SCHEDRIG__V1__TARGET__FORM_PATH ||
				 target->form_case == SCHEDRIG__V1__TARGET__FORM_PER_CPU_FIELD ||
				 target->form_case == SCHEDRIG__V1__TARGET__FORM_TASK_FIELD);
}

static void check_name(struct check *check, const char *name, const char *field)
{
	size_t length = strlen(name);
	if (length == 0 || length > SYMBOL_NAME_MAX)
		check_bad(check, ERR_INVALID_ARGUMENT, field, "a symbol's name has 1 to %d bytes",
			SYMBOL_NAME_MAX);
}

static void check_members(struct check *check, const char *text, const char *field)
{
	if (strlen(text) >= KMEM_PATH_MAX)
		check_bad(check, ERR_LIMIT_EXCEEDED, field, "a path of members has at most %d bytes",
			KMEM_PATH_MAX - 1);
}

/* write: NULL for reads. */
static void check_task(struct check *check, const Schedrig__V1__TaskTarget *task,
	const Schedrig__V1__KernelWrite *write, bool hot)
{
	if (task->pid == 0 || task->pid > INT32_MAX)
		check_bad(check, ERR_INVALID_ARGUMENT, "task_field.pid", "%" PRIu32 " is no PID", task->pid);
	check_members(check, task->field, "task_field.field");
	if (!write)
		return;
	if (!task->start_time_ns && !task->pidfs_inode)
		check_bad(check, ERR_INVALID_ARGUMENT, "task_field",
			"a write to a task needs its identity beside the PID: start_time_ns or pidfs_inode");
	if (hot && !write->force)
		check_bad(check, ERR_INVALID_ARGUMENT, "task_field",
			"a hot write cannot check what the task is doing: write cold, or with force");
}

static void check_target(struct check *check, const Schedrig__V1__Target *target,
	const Schedrig__V1__KernelWrite *write, bool hot)
{
	struct err why = ERR_INIT;
	switch (target ? target->form_case : SCHEDRIG__V1__TARGET__FORM__NOT_SET) {
	case SCHEDRIG__V1__TARGET__FORM_SYMBOL:
		check_name(check, target->symbol->name, NULL);
		break;
	case SCHEDRIG__V1__TARGET__FORM_DIRECT:
	case SCHEDRIG__V1__TARGET__FORM_KVA:
	case SCHEDRIG__V1__TARGET__FORM_PHYS:
		break;
	case SCHEDRIG__V1__TARGET__FORM_PER_CPU_FIELD:
		check_name(check, target->per_cpu_field->symbol, "per_cpu_field.symbol");
		check_members(check, target->per_cpu_field->field, "per_cpu_field.field");
		if (check->layout && target->per_cpu_field->cpu >= check->layout->n_cpus)
			check_bad(check, ERR_NOT_FOUND, "per_cpu_field.cpu",
				"there is no CPU %" PRIu32 ": the machine has %u", target->per_cpu_field->cpu,
				check->layout->n_cpus);
		break;
	case SCHEDRIG__V1__TARGET__FORM_TASK_FIELD:
		check_task(check, target->task_field, write, hot);
		break;
	case SCHEDRIG__V1__TARGET__FORM_PATH:
		if (kmem_path_check(target->path->text, write == NULL, &why) < 0)
			check_bad(check, why.code, "path", "%s", why.message);
		break;
	default:
		check_bad(check, ERR_INVALID_ARGUMENT, NULL,
			"no target is given: a kernel `symbol` or a `path`, say");
	}
}

void check_kernel_target(struct check *check, const Schedrig__V1__Target *target, Schedrig__V1__Width width)
{
	check_target(check, target, NULL, true);
	if (width == SCHEDRIG__V1__WIDTH__WIDTH_UNSET && !has_type(target))
		check_bad(
			check, ERR_INVALID_ARGUMENT, "width", "no width is given: one of u8, u16, u32, u64");
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
			"no value is given: one of u8, u16, u32, u64, bytes, or_u32 and its like, cas_u32, "
			"cas_u64, from_read");
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
	case SCHEDRIG__V1__VALUE__FORM_OR_U32:
	case SCHEDRIG__V1__VALUE__FORM_AND_U32:
	case SCHEDRIG__V1__VALUE__FORM_XOR_U32:
	case SCHEDRIG__V1__VALUE__FORM_ADD_U32:
		/* Members of a oneof share their place. */
		check_fits(check, value->or_u32->value, UINT32_MAX);
		break;
	case SCHEDRIG__V1__VALUE__FORM_CAS_U32:
		check_fits(check, value->cas_u32->expected, UINT32_MAX);
		check_fits(check, value->cas_u32->new_, UINT32_MAX);
		break;
	case SCHEDRIG__V1__VALUE__FORM_BYTES:
		if (value->bytes->data.len == 0 || value->bytes->data.len > KMEM_BYTES_MAX)
			check_bad(check, ERR_INVALID_ARGUMENT, "bytes", "bytes are 1 to %" PRIu64 " long",
				(uint64_t)KMEM_BYTES_MAX);
		break;
	case SCHEDRIG__V1__VALUE__FORM_FROM_READ:
		if (!*value->from_read->tag)
			check_bad(check, ERR_INVALID_ARGUMENT, "from_read",
				"from_read needs the tag of an earlier read");
		else if (!check->adhoc && !names_has_tag(&check->names, value->from_read->tag))
			check_bad(check, ERR_NOT_FOUND, "from_read",
				"no earlier read has the tag '%.80s': read it before, under that tag",
				value->from_read->tag);
		break;
	default: /* any 64 bits */
		break;
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

static void check_writes(struct check *check, Schedrig__V1__KernelWrite *const *writes, size_t n, bool hot)
{
	check_batch(check, n, "writes");
	for (size_t i = 0; i < n && i < LIMIT_KERNEL_BATCH; i++) {
		size_t at = check_enter(check, "writes[%zu]", i);
		check_target(check, writes[i]->target, writes[i], hot);
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
		check_target(check, read->target, NULL, hot);
		if (read->width == SCHEDRIG__V1__WIDTH__WIDTH_UNSET && !has_type(read->target))
			check_bad(check, ERR_INVALID_ARGUMENT, "width",
				"no width is given: one of u8, u16, u32, u64, bytes");
		if (read->width == SCHEDRIG__V1__WIDTH__WIDTH_BYTES &&
			(read->length == 0 || read->length > KMEM_BYTES_MAX))
			check_bad(check, ERR_INVALID_ARGUMENT, "length",
				"width bytes needs a length of 1 to %" PRIu64, (uint64_t)KMEM_BYTES_MAX);
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
		check_writes(check, op->write_kernel_hot->writes, op->write_kernel_hot->n_writes, true);
		break;
	case SCHEDRIG__V1__OP__KIND_WRITE_KERNEL_COLD:
		check_writes(check, op->write_kernel_cold->writes, op->write_kernel_cold->n_writes, false);
		break;
	default:
		break;
	}
}
