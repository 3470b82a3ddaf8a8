/* SPDX-License-Identifier: GPL-2.0-only */
/* Kernel memory between the wire and host/kmem. Any thread; a freeze is thawed on every way out. */
#include "host/engine/kernel_access.h"

#include "host/kmem/btf_text.h"
#include "host/kmem/kmem.h"
#include "host/kmem/path.h"
#include "host/vm/freeze.h"

#include <errno.h>
#include <string.h>

struct kmem *engine_kernel(struct engine *engine, struct err *err)
{
	const struct engine_config *config = &engine->config;
	if (!config->kmem) {
		err_set(err, ERR_FAILED_PRECONDITION, "there is no VM whose kernel memory could be reached");
		return NULL;
	}
	return config->kmem(config->arg, err);
}

Schedrig__V1__FreezeInfo *engine_freeze_info(const struct freeze_times *times)
{
	Schedrig__V1__FreezeInfo *info = malloc(sizeof(*info));
	if (!info)
		return NULL;
	schedrig__v1__freeze_info__init(info);
	info->park_ns = times->parked_ns - times->asked_ns;
	info->kicks = times->kicks;
	info->stepped_ns = times->stepped_ns;
	if (!times->thawed_ns)
		return info;
	info->frozen_ns = times->thawed_ns - times->parked_ns;
	info->guest_time = (Schedrig__V1__GuestTime)times->guest_time;
	info->resume_ns = times->thawed_ns - times->time_restarted_ns;
	return info;
}

Schedrig__V1__FreezeInfo *engine_thaw(
	struct engine *engine, struct freeze *freeze, struct freeze_times *ret_times)
{
	_Static_assert(
		(int)SCHEDRIG__V1__GUEST_TIME__GUEST_TIME_STOPPED == FREEZE_TIME_STOPPED &&
			(int)SCHEDRIG__V1__GUEST_TIME__GUEST_TIME_RAN == FREEZE_TIME_RAN &&
			(int)SCHEDRIG__V1__GUEST_TIME__GUEST_TIME_UNSUPPORTED == FREEZE_TIME_UNSUPPORTED &&
			(int)SCHEDRIG__V1__GUEST_TIME__GUEST_TIME_FAILED == FREEZE_TIME_FAILED,
		"the wire's numbers are freeze.h's");
	struct freeze_times times;
	vm_thaw(freeze, &times);
	engine_account_freeze(engine, &times);
	if (ret_times)
		*ret_times = times;
	return engine_freeze_info(&times);
}

int kernel_turn_begin(
	struct engine *engine, const struct kernel_way *way, struct kernel_turn *ret, struct err *err)
{
	*ret = (struct kernel_turn){.engine = engine, .kmem = engine_kernel(engine, err)};
	if (!ret->kmem)
		return err_errno(err->code);
	if (!way->cold)
		return 0;
	if (!engine->config.vm)
		return err_set(err, ERR_FAILED_PRECONDITION, "there is no VM that could be frozen");
	if (!way->held && vm_freeze(engine->config.vm, way->deadline_ns, &ret->own, err) < 0)
		return err_wrap(err, "cannot freeze the VM");
	ret->freeze = way->held ? way->held : ret->own;
	return 0;
}

Schedrig__V1__FreezeInfo *kernel_turn_end(struct kernel_turn *turn)
{
	if (turn->own)
		return engine_thaw(turn->engine, turn->own, NULL);
	if (!turn->freeze)
		return NULL;
	struct freeze_times times = freeze_times_so_far(turn->freeze);
	return engine_freeze_info(&times);
}

static int no_memory(struct err *err)
{
	return err_set_os(err, ERR_HOST, ENOMEM, "cannot reach for kernel memory");
}

int kernel_target_from_wire(const Schedrig__V1__Target *wire, struct kmem_target *ret, struct err *err)
{
	*ret = (struct kmem_target){0};
	switch (wire ? wire->form_case : SCHEDRIG__V1__TARGET__FORM__NOT_SET) {
	case SCHEDRIG__V1__TARGET__FORM_SYMBOL:
		ret->form = KMEM_SYMBOL;
		ret->name = wire->symbol->name;
		ret->offset = wire->symbol->offset;
		return 0;
	case SCHEDRIG__V1__TARGET__FORM_DIRECT:
		ret->form = KMEM_DIRECT;
		ret->address = wire->direct->address;
		return 0;
	case SCHEDRIG__V1__TARGET__FORM_KVA:
		ret->form = KMEM_KVA;
		ret->address = wire->kva->address;
		return 0;
	case SCHEDRIG__V1__TARGET__FORM_PHYS:
		ret->form = KMEM_PHYS;
		ret->address = wire->phys->address;
		return 0;
	case SCHEDRIG__V1__TARGET__FORM_PER_CPU_FIELD:
		ret->form = KMEM_PER_CPU_FIELD;
		ret->name = wire->per_cpu_field->symbol;
		ret->field = wire->per_cpu_field->field;
		ret->cpu = wire->per_cpu_field->cpu;
		return 0;
	case SCHEDRIG__V1__TARGET__FORM_TASK_FIELD:
		ret->form = KMEM_TASK_FIELD;
		ret->field = wire->task_field->field;
		ret->task = (struct kmem_task_id){.pid = wire->task_field->pid,
			.start_time_ns = wire->task_field->start_time_ns,
			.pidfs_inode = wire->task_field->pidfs_inode};
		return 0;
	case SCHEDRIG__V1__TARGET__FORM_PATH:
		ret->form = KMEM_PATH;
		ret->field = wire->path->text;
		return 0;
	default:
		return err_set(err, ERR_INVALID_ARGUMENT, "no target is given: a `symbol` or a `path`, say");
	}
}

int kernel_width_from_wire(Schedrig__V1__Width wire, enum kmem_width *ret, struct err *err)
{
	static const enum kmem_width widths[] = {
		[SCHEDRIG__V1__WIDTH__WIDTH_UNSET] = KMEM_NATURAL,
		[SCHEDRIG__V1__WIDTH__WIDTH_U8] = KMEM_U8,
		[SCHEDRIG__V1__WIDTH__WIDTH_U16] = KMEM_U16,
		[SCHEDRIG__V1__WIDTH__WIDTH_U32] = KMEM_U32,
		[SCHEDRIG__V1__WIDTH__WIDTH_U64] = KMEM_U64,
		[SCHEDRIG__V1__WIDTH__WIDTH_BYTES] = KMEM_BYTES,
	};
	if ((unsigned)wire >= ARRAY_SIZE(widths))
		return err_set(err, ERR_INVALID_ARGUMENT, "unknown width %d", (int)wire);
	*ret = widths[wire];
	return 0;
}

int kernel_write_from_wire(const Schedrig__V1__KernelWrite *wire, struct kmem_write *ret, struct err *err)
{
	const Schedrig__V1__Value *value = wire->value;
	static const struct {
		enum kmem_width width;
		enum kmem_op op;
	} forms[] = {
		[SCHEDRIG__V1__VALUE__FORM_U8] = {KMEM_U8, KMEM_SET},
		[SCHEDRIG__V1__VALUE__FORM_U16] = {KMEM_U16, KMEM_SET},
		[SCHEDRIG__V1__VALUE__FORM_U32] = {KMEM_U32, KMEM_SET},
		[SCHEDRIG__V1__VALUE__FORM_U64] = {KMEM_U64, KMEM_SET},
		[SCHEDRIG__V1__VALUE__FORM_OR_U32] = {KMEM_U32, KMEM_OR},
		[SCHEDRIG__V1__VALUE__FORM_AND_U32] = {KMEM_U32, KMEM_AND},
		[SCHEDRIG__V1__VALUE__FORM_XOR_U32] = {KMEM_U32, KMEM_XOR},
		[SCHEDRIG__V1__VALUE__FORM_ADD_U32] = {KMEM_U32, KMEM_ADD},
		[SCHEDRIG__V1__VALUE__FORM_OR_U64] = {KMEM_U64, KMEM_OR},
		[SCHEDRIG__V1__VALUE__FORM_AND_U64] = {KMEM_U64, KMEM_AND},
		[SCHEDRIG__V1__VALUE__FORM_XOR_U64] = {KMEM_U64, KMEM_XOR},
		[SCHEDRIG__V1__VALUE__FORM_ADD_U64] = {KMEM_U64, KMEM_ADD},
		[SCHEDRIG__V1__VALUE__FORM_CAS_U32] = {KMEM_U32, KMEM_CAS},
		[SCHEDRIG__V1__VALUE__FORM_CAS_U64] = {KMEM_U64, KMEM_CAS},
	};
	*ret = (struct kmem_write){
		.want_old = wire->want_old, .verify = wire->verify, .force = wire->force, .op = KMEM_SET};
	int r = kernel_target_from_wire(wire->target, &ret->target, err);
	if (r < 0)
		return r;
	unsigned form = value ? value->form_case : SCHEDRIG__V1__VALUE__FORM__NOT_SET;
	if (form == SCHEDRIG__V1__VALUE__FORM_BYTES) {
		ret->width = KMEM_BYTES;
		ret->bytes = value->bytes->data.data;
		ret->length = value->bytes->data.len;
		return 0;
	}
	if (form == SCHEDRIG__V1__VALUE__FORM_FROM_READ)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"from_read is for lists of ops, where reads with tags come before");
	if (form >= ARRAY_SIZE(forms) || !forms[form].op)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"no value is given: one of u8, u16, u32, u64, bytes, "
			"or_u32 and its like, cas_u32, cas_u64, from_read");
	ret->width = forms[form].width;
	ret->op = forms[form].op;
	if (ret->op == KMEM_CAS) {
		const Schedrig__V1__Cas *cas =
			form == SCHEDRIG__V1__VALUE__FORM_CAS_U32 ? value->cas_u32 : value->cas_u64;
		ret->expected = cas->expected;
		ret->value = cas->new_;
		return 0;
	}
	ret->value = value->u64->value; /* members of a oneof share their place */
	return 0;
}

/* A batch of reads as host/kmem wants it. */
struct reads {
	struct kmem_read *entry;
	uint32_t *wire; /* [n] index of the entry as it was asked for */
	size_t n, size;
};

static void reads_deinit(struct reads *reads)
{
	/* Buffers are its own: those of width bytes, and those that the batch made. */
	for (size_t i = 0; i < reads->n; i++)
		free(reads->entry[i].bytes);
	free(reads->entry);
	free(reads->wire);
}

static int reads_add(struct reads *reads, const struct kmem_read *entry, size_t wire, struct err *err)
{
	if (reads->n == KMEM_BATCH_MAX)
		return err_set(err, ERR_LIMIT_EXCEEDED,
			"with every CPU's value this batch has more than %u entries", KMEM_BATCH_MAX);
	if (reads->n == reads->size) {
		size_t size = reads->size ? reads->size * 2 : 64;
		struct kmem_read *entries = reallocarray(reads->entry, size, sizeof(*entries));
		if (entries)
			reads->entry = entries;
		uint32_t *indices = reallocarray(reads->wire, size, sizeof(*indices));
		if (indices)
			reads->wire = indices;
		if (!entries || !indices)
			return no_memory(err);
		reads->size = size;
	}
	struct kmem_read *added = &reads->entry[reads->n];
	*added = *entry;
	if (entry->width == KMEM_BYTES) {
		added->bytes = malloc(entry->length ? entry->length : 1);
		if (!added->bytes)
			return no_memory(err);
	}
	reads->wire[reads->n++] = (uint32_t)wire;
	return 0;
}

static int reads_add_wire(struct reads *reads, const struct kmem *kmem, const Schedrig__V1__KernelRead *wire,
	size_t index, bool cold, uint64_t *bytes, struct err *err)
{
	struct kmem_read entry = {.stable = wire->stable && !cold, .length = wire->length};
	struct cpuset cpus = CPUSET_EMPTY;
	int r = kernel_target_from_wire(wire->target, &entry.target, err);
	if (r == 0)
		r = kernel_width_from_wire(wire->width, &entry.width, err);
	if (r == 0 && entry.width == KMEM_BYTES && entry.length > KMEM_BYTES_MAX)
		r = err_set(err, ERR_LIMIT_EXCEEDED, "at most %llu bytes can be read by one entry",
			(unsigned long long)KMEM_BYTES_MAX);
	bool every_cpu = r == 0 && entry.target.form == KMEM_PATH && kmem_path_is_star(entry.target.field);
	if (every_cpu)
		r = kmem_online(kmem, &cpus, err);
	if (r < 0)
		return r;
	/* Known before the batch sees it: the buffers are made here. */
	if (entry.width == KMEM_BYTES)
		*bytes += entry.length * (every_cpu ? cpuset_count(&cpus) : 1);
	if (*bytes > KMEM_BATCH_BYTES_MAX)
		return err_set(err, ERR_LIMIT_EXCEEDED, "a batch moves at most %llu MiB",
			(unsigned long long)(KMEM_BATCH_BYTES_MAX >> 20));
	if (!every_cpu)
		return reads_add(reads, &entry, index, err);
	cpuset_for_each (cpu, &cpus) {
		entry.target.every_cpu = true;
		entry.target.cpu = (unsigned)cpu;
		r = reads_add(reads, &entry, index, err);
		if (r < 0)
			return r;
	}
	return 0;
}

char *kernel_type_text(const struct kbtf *btf, uint32_t type, unsigned pointers)
{
	char text[KBTF_TEXT_MAX] = "";
	if (btf)
		kbtf_text(btf, type, pointers, text, sizeof(text));
	return *text ? strdup(text) : (char *)protobuf_c_empty_string;
}

bool kernel_type_is_signed(const struct kbtf *btf, uint32_t type, unsigned pointers)
{
	return btf && type && pointers == 0 && kbtf_is_signed(btf, type);
}

/* Takes the bytes over. */
static Schedrig__V1__ReadValue *read_value(struct kmem_read *read, size_t index)
{
	Schedrig__V1__ReadValue *value = malloc(sizeof(*value));
	if (!value)
		return NULL;
	schedrig__v1__read_value__init(value);
	value->address = read->address.v;
	value->entry = (uint32_t)index;
	value->every_cpu = read->target.every_cpu;
	value->cpu = read->target.every_cpu ? read->target.cpu : 0;
	value->type = kernel_type_text(read->btf, read->type, read->pointers);
	if (!value->type) {
		free(value);
		return NULL;
	}
	if (read->width == KMEM_BYTES) {
		value->data.len = read->length;
		value->data.data = TAKE_PTR(read->bytes);
		value->width = (uint32_t)read->length;
		return value;
	}
	value->value = read->value;
	value->width = read->width;
	value->bits = read->bit_size ? read->bit_size : 8 * (uint32_t)read->width;
	uint64_t size;
	value->is_signed = kernel_type_is_signed(read->btf, read->type, read->pointers) &&
			   (read->bit_size || (kbtf_size(read->btf, read->type, &size) == 0 &&
						      size == (uint64_t)read->width));
	return value;
}

static int reads_do(const struct kmem *kmem, Schedrig__V1__KernelRead *const *wire, size_t n,
	const struct freeze *freeze, struct reads *reads, struct err *err)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < n; i++)
		if (reads_add_wire(reads, kmem, wire[i], i, freeze != NULL, &bytes, err) < 0)
			return err_at(err, "reads[%zu]", i);
	if (reads->n == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "at least one read is needed");
	int r = kmem_read_batch(kmem, reads->entry, reads->n, freeze, err);
	if (r < 0 && *err->place == '[') {
		size_t index = strtoul(err->place + 1, NULL, 10);
		snprintf(err->place, sizeof(err->place), "reads[%u]",
			reads->wire[MIN_OF(index, reads->n - 1)]);
	}
	return r;
}

void kernel_values_deinit(struct kernel_values *values)
{
	for (size_t i = 0; i < values->n; i++)
		if (values->value[i])
			schedrig__v1__read_value__free_unpacked(values->value[i], NULL);
	free(values->value);
	if (values->freeze)
		schedrig__v1__freeze_info__free_unpacked(values->freeze, NULL);
	*values = (struct kernel_values){0};
}

int kernel_read(struct engine *engine, Schedrig__V1__KernelRead *const *wire, size_t n,
	const struct kernel_way *way, struct kernel_values *ret_values, struct err *err)
{
	*ret_values = (struct kernel_values){0};
	_cleanup_(reads_deinit) struct reads reads = {0};
	struct kernel_turn turn;
	if (kernel_turn_begin(engine, way, &turn, err) < 0)
		return err_errno(err->code);
	int r = reads_do(turn.kmem, wire, n, turn.freeze, &reads, err);
	ret_values->freeze = kernel_turn_end(&turn);
	if (r < 0)
		return r;
	ret_values->value = calloc(reads.n, sizeof(*ret_values->value));
	for (size_t i = 0; i < reads.n; i++) {
		Schedrig__V1__ReadValue *value =
			ret_values->value ? read_value(&reads.entry[i], reads.wire[i]) : NULL;
		if (!value)
			return no_memory(err);
		ret_values->value[ret_values->n++] = value;
	}
	return 0;
}

bool kernel_write_has_old(const struct kmem_write *write)
{
	return write->want_old || write->op == KMEM_CAS;
}

void kernel_writes_deinit(struct kmem_write *writes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(writes[i].old_bytes);
}

int kernel_write(struct engine *engine, struct kmem_write *writes, size_t n, const struct kernel_way *way,
	Schedrig__V1__FreezeInfo **ret_freeze, struct err *err)
{
	*ret_freeze = NULL;
	for (size_t i = 0; i < n; i++) {
		/* Its bytes came in the message, so what they replace is bounded by it, too. */
		if (writes[i].width != KMEM_BYTES || !writes[i].want_old)
			continue;
		writes[i].old_bytes = malloc(writes[i].length ? writes[i].length : 1);
		if (!writes[i].old_bytes)
			return no_memory(err);
	}
	struct kernel_turn turn;
	if (kernel_turn_begin(engine, way, &turn, err) < 0)
		return err_errno(err->code);
	int r = kmem_write_batch(turn.kmem, writes, n, turn.freeze, err);
	*ret_freeze = kernel_turn_end(&turn);
	return r;
}

Schedrig__V1__ReadValue *kernel_old_value(struct kmem_write *write, size_t entry)
{
	Schedrig__V1__ReadValue *value = malloc(sizeof(*value));
	if (!value)
		return NULL;
	schedrig__v1__read_value__init(value);
	value->address = write->address.v;
	value->old = true;
	value->entry = (uint32_t)entry;
	if (write->width == KMEM_BYTES) {
		value->data.len = write->length;
		value->data.data = TAKE_PTR(write->old_bytes);
		value->width = (uint32_t)write->length;
		return value;
	}
	value->value = write->old;
	value->width = write->width;
	value->bits = 8 * (uint32_t)write->width;
	return value;
}
