/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/* The tables that come of work_list.h, and reading them off the wire (see work.h, work_wire.h). The reading
 * goes by the schema's descriptors: a parameter is named once, in the list. */
#include "common/cpuset.h"
#include "common/parse.h"
#include "proto/work_wire.h"

#include <stdio.h>

#define P(name, kind, standard, min, max, what) {#name, what, WORK_PARAM_##kind, standard, min, max},
#define X(number, snake, ...)                                                                                \
	static const struct work_param params_##snake[] = {                                                  \
		WORK_PARAMS_##snake(P){NULL, NULL, WORK_PARAM_COUNT, 0, 0, 0}};                              \
	_Static_assert(ARRAY_SIZE(params_##snake) <= WORK_PARAMS_MAX + 1, "too many parameters");            \
	_Static_assert(sizeof(struct work_##snake) == (ARRAY_SIZE(params_##snake) - 1) * sizeof(uint64_t),   \
		"a parameter is 64 bits wide");
WORK_TYPE_LIST(X)
#undef X
#undef P

#define X(number, snake, upper, ...)                                                                         \
	_Static_assert((int)SCHEDRIG__V1__WORK_TYPE__FORM_##upper == (number), "the schema's number");
WORK_TYPE_LIST(X)
#undef X

static const struct work_type_info types[WORK_TYPES] = {
#define X(number, snake, upper, size, group, what)                                                           \
	[number] = {#snake, group, what, params_##snake, ARRAY_SIZE(params_##snake) - 1},
	WORK_TYPE_LIST(X)
#undef X
};

const struct work_type_info *work_type_info(unsigned type)
{
	return type < WORK_TYPES && types[type].name ? &types[type] : NULL;
}

const char *work_type_name(enum work_type type)
{
	const struct work_type_info *info = work_type_info(type);
	assert(info);
	return info->name;
}

uint64_t work_group_size(const struct work_params *params)
{
	switch (params->type) {
#define X(number, snake, upper, size, ...)                                                                   \
	case WORK_##upper: {                                                                                 \
		const struct work_##snake *p = &params->snake;                                               \
		(void)p;                                                                                     \
		return size;                                                                                 \
	}
		WORK_TYPE_LIST(X)
#undef X
	case WORK_TYPES:
		break;
	}
	assert(!"a work type");
	return 1;
}

struct work_params work_params_standard(enum work_type type)
{
	const struct work_type_info *info = work_type_info(type);
	assert(info);
	struct work_params params = {.type = type};
	for (unsigned i = 0; i < info->n_params; i++)
		params.values[i] = info->params[i].standard;
	return params;
}

const char *work_param_text(enum work_param_kind kind, uint64_t value, char *buffer, size_t size)
{
	static const char *const policies[] = {
		[WORK_NORMAL] = "normal",
		[WORK_BATCH] = "batch",
		[WORK_IDLE] = "idle",
		[WORK_FIFO] = "fifo",
		[WORK_ROUND_ROBIN] = "round_robin",
		[WORK_DEADLINE] = "deadline",
		[WORK_EXT] = "ext",
	};
	unsigned shift = value && value % (1u << 20) == 0 ? 20 : value && value % 1024 == 0 ? 10 : 0;
	switch (kind) {
	case WORK_PARAM_DURATION:
		return format_duration(value, buffer, size);
	case WORK_PARAM_SIZE:
		snprintf(buffer, size, "%llu%s", (unsigned long long)(value >> shift),
			shift == 20   ? "M"
			: shift == 10 ? "K"
				      : "B");
		return buffer;
	case WORK_PARAM_COUNT:
		snprintf(buffer, size, "%llu", (unsigned long long)value);
		return buffer;
	case WORK_PARAM_FLAG:
		snprintf(buffer, size, "%s", value ? "true" : "false");
		return buffer;
	case WORK_PARAM_POLICY:
		assert((value & 0xff) < ARRAY_SIZE(policies));
		if (value >> 8)
			snprintf(buffer, size, "%s %llu", policies[value & 0xff],
				(unsigned long long)(value >> 8));
		else
			snprintf(buffer, size, "%s", policies[value & 0xff]);
		return buffer;
	case WORK_PARAM_STEPS:
		if (value)
			snprintf(buffer, size, "%llu phases", (unsigned long long)value);
		else
			snprintf(buffer, size, "one of each, 1 ms");
		return buffer;
	case WORK_PARAM_NODES: {
		struct cpuset nodes = {{value}};
		snprintf(buffer, size, "none");
		return value ? cpuset_format(&nodes, buffer, size) : buffer;
	}
	case WORK_PARAM_CGROUP:
	case WORK_PARAM_PROGRAM:
		snprintf(buffer, size, "%s", value ? "given" : "none");
		return buffer;
	}
	return "";
}

int work_params_check(const struct work_params *params, struct err *err)
{
	const struct work_type_info *info = work_type_info(params->type);
	for (unsigned i = 0; i < info->n_params; i++) {
		const struct work_param *param = &info->params[i];
		uint64_t value = params->values[i];
		char text[3][32];
		if (param->kind != WORK_PARAM_POLICY && (value < param->min || value > param->max))
			return err_set(err, ERR_INVALID_ARGUMENT, "%s of %s (%s) is %s to %s, not %s",
				param->name, info->name, param->what,
				work_param_text(param->kind, param->min, text[0], sizeof(text[0])),
				work_param_text(param->kind, param->max, text[1], sizeof(text[1])),
				work_param_text(param->kind, value, text[2], sizeof(text[2])));
	}
	for (unsigned i = 0; params->type == WORK_SEQUENCE && i < params->sequence.n_phases; i++)
		if (params->steps[i].ns > WORK_HOUR)
			return err_set(err, ERR_INVALID_ARGUMENT, "a phase of a sequence is at most 1h long");
	uint64_t width = params->alu_hot.width;
	if (params->type == WORK_ALU_HOT && width != 0 && width != 64 && width != 128 && width != 256 &&
		width != 512)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"width of alu_hot is 64, 128, 256, 512 or 0, not %llu", (unsigned long long)width);
	return 0;
}

static int read_policy(const Schedrig__V1__SchedPolicy *policy, uint64_t *ret_value, struct err *err)
{
	const Schedrig__V1__SchedPriority *priority = NULL;
	enum work_policy plain = WORK_NORMAL;
	switch (policy->form_case) {
	case SCHEDRIG__V1__SCHED_POLICY__FORM_NORMAL:
		break;
	case SCHEDRIG__V1__SCHED_POLICY__FORM_BATCH:
		plain = WORK_BATCH;
		break;
	case SCHEDRIG__V1__SCHED_POLICY__FORM_IDLE:
		plain = WORK_IDLE;
		break;
	case SCHEDRIG__V1__SCHED_POLICY__FORM_FIFO:
		plain = WORK_FIFO;
		priority = policy->fifo;
		break;
	case SCHEDRIG__V1__SCHED_POLICY__FORM_ROUND_ROBIN:
		plain = WORK_ROUND_ROBIN;
		priority = policy->round_robin;
		break;
	case SCHEDRIG__V1__SCHED_POLICY__FORM_EXT:
		plain = WORK_EXT;
		break;
	default:
		return err_set(err, ERR_INVALID_ARGUMENT,
			"one of normal, batch, idle, fifo, round_robin, ext is needed here");
	}
	if (priority && (priority->priority < 1 || priority->priority > 98))
		return err_set(
			err, ERR_INVALID_ARGUMENT, "a priority is 1 to 98, not %u", priority->priority);
	*ret_value = WORK_POLICY(plain, priority ? priority->priority : 0);
	return 0;
}

static int read_nodes(const Schedrig__V1__CpuSet *list, uint64_t *ret_mask, struct err *err)
{
	struct cpuset nodes;
	int r = cpuset_parse(list->list, &nodes, err);
	if (r < 0)
		return r;
	if (cpuset_is_empty(&nodes) || cpuset_next(&nodes, 64) >= 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "nodes are some of 0-63, not '%.80s'", list->list);
	*ret_mask = nodes.bits[0];
	return 0;
}

static int read_steps(Schedrig__V1__SequencePhase *const *phases, size_t count, struct work_params *params,
	uint64_t *ret_count, struct err *err)
{
	if (count > WORK_STEPS_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "a sequence has at most %d phases", WORK_STEPS_MAX);
	for (size_t i = 0; i < count; i++) {
		const Schedrig__V1__SequencePhase *phase = phases[i];
		const Schedrig__V1__Duration *length = NULL;
		struct work_step *step = &params->steps[i];
		switch (phase->form_case) {
		case SCHEDRIG__V1__SEQUENCE_PHASE__FORM_SPIN:
			step->kind = WORK_STEP_SPIN;
			length = phase->spin;
			break;
		case SCHEDRIG__V1__SEQUENCE_PHASE__FORM_SLEEP:
			step->kind = WORK_STEP_SLEEP;
			length = phase->sleep;
			break;
		case SCHEDRIG__V1__SEQUENCE_PHASE__FORM_YIELD:
			step->kind = WORK_STEP_YIELD;
			length = phase->yield;
			break;
		case SCHEDRIG__V1__SEQUENCE_PHASE__FORM_IO:
			step->kind = WORK_STEP_IO;
			length = phase->io;
			break;
		case SCHEDRIG__V1__SEQUENCE_PHASE__FORM_ALU:
			step->kind = WORK_STEP_ALU;
			length = phase->alu;
			break;
		default:
			return err_set(err, ERR_INVALID_ARGUMENT,
				"phase %zu is none of spin, sleep, yield, io, alu", i);
		}
		step->ns = length->ns;
	}
	*ret_count = count;
	return 0;
}

/* member: the message that carries the value. */
static int read_value(enum work_param_kind kind, const ProtobufCMessage *member, struct work_params *params,
	uint64_t *ret_value, struct err *err)
{
	switch (kind) {
	case WORK_PARAM_DURATION:
		*ret_value = ((const Schedrig__V1__Duration *)member)->ns;
		return 0;
	case WORK_PARAM_SIZE:
		*ret_value = ((const Schedrig__V1__Size *)member)->bytes;
		return 0;
	case WORK_PARAM_COUNT:
		*ret_value = ((const Schedrig__V1__Uint32Value *)member)->value;
		return 0;
	case WORK_PARAM_FLAG:
		*ret_value = ((const Schedrig__V1__BoolValue *)member)->value != 0;
		return 0;
	case WORK_PARAM_POLICY:
		return read_policy((const Schedrig__V1__SchedPolicy *)member, ret_value, err);
	case WORK_PARAM_NODES:
		return read_nodes((const Schedrig__V1__CpuSet *)member, ret_value, err);
	case WORK_PARAM_CGROUP:
		params->name = ((const Schedrig__V1__CgroupRef *)member)->name;
		*ret_value = *params->name != 0;
		return *ret_value ? 0 : err_set(err, ERR_INVALID_ARGUMENT, "a cgroup without a name");
	case WORK_PARAM_PROGRAM: {
		const Schedrig__V1__CustomProgram *program = (const Schedrig__V1__CustomProgram *)member;
		if (!*program->payload)
			return err_set(err, ERR_INVALID_ARGUMENT, "the name of a payload is missing");
		params->name = program->payload;
		params->args = program->args;
		params->n_args = program->n_args;
		*ret_value = 1;
		return 0;
	}
	case WORK_PARAM_STEPS:
		break; /* repeated: read_steps() */
	}
	return err_set(err, ERR_INTERNAL, "a parameter of kind %d", (int)kind);
}

int work_params_read(const Schedrig__V1__WorkType *type, struct work_params *ret_params, struct err *err)
{
	static const ProtobufCMessageDescriptor *const kinds[] = {
#define K(kind, message) [WORK_PARAM_##kind] = &schedrig__v1__##message##__descriptor,
		WORK_PARAM_KIND_LIST(K)
#undef K
	};
	unsigned number = type ? (unsigned)type->form_case : WORK_SPIN_WAIT;
	const struct work_type_info *info = work_type_info(number);
	if (!info)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"no work type is given: one such as spin_wait, bursty, pipe_io (`schedrig list "
			"work-types` has all)");
	struct work_params params = work_params_standard((enum work_type)number);
	const ProtobufCFieldDescriptor *form =
		protobuf_c_message_descriptor_get_field(&schedrig__v1__work_type__descriptor, number);
	const ProtobufCMessage *message =
		type ? *(ProtobufCMessage *const *)((const char *)type + form->offset) : NULL;
	for (unsigned i = 0; message && i < info->n_params; i++) {
		const struct work_param *param = &info->params[i];
		const ProtobufCFieldDescriptor *field =
			protobuf_c_message_descriptor_get_field_by_name(message->descriptor, param->name);
		bool repeated = param->kind == WORK_PARAM_STEPS;
		if (!field || (field->label == PROTOBUF_C_LABEL_REPEATED) != repeated ||
			field->descriptor != kinds[param->kind])
			return err_set(err, ERR_INTERNAL,
				"%s of %s is not in the schema as it is in the list", param->name,
				info->name);
		const void *at = (const char *)message + field->offset;
		const ProtobufCMessage *member = *(ProtobufCMessage *const *)at;
		int r = 0;
		if (repeated)
			r = read_steps(*(Schedrig__V1__SequencePhase *const *const *)at,
				*(const size_t *)((const char *)message + field->quantifier_offset), &params,
				&params.values[i], err);
		else if (member)
			r = read_value(param->kind, member, &params, &params.values[i], err);
		if (r < 0)
			return err_wrap(err, "%s of %s", param->name, info->name);
	}
	if (params.type == WORK_CUSTOM && !params.name)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"custom needs `program`: a payload's name, and arguments if there are any");
	int r = work_params_check(&params, err);
	if (r == 0)
		*ret_params = params;
	return r;
}
