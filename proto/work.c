/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/* The tables that come of work_list.h, and reading them off the wire (see work.h, work_wire.h). The reading
 * goes by the schema's descriptors: a parameter is named once, in the list. */
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

/* member: the message that carries the value. */
static int read_value(
	enum work_param_kind kind, const ProtobufCMessage *member, uint64_t *ret_value, struct err *err)
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
		if (!field || field->label == PROTOBUF_C_LABEL_REPEATED ||
			field->descriptor != kinds[param->kind])
			return err_set(err, ERR_INTERNAL,
				"%s of %s is not in the schema as it is in the list", param->name,
				info->name);
		const ProtobufCMessage *member =
			*(ProtobufCMessage *const *)((const char *)message + field->offset);
		int r = member ? read_value(param->kind, member, &params.values[i], err) : 0;
		if (r < 0)
			return err_wrap(err, "%s of %s", param->name, info->name);
	}
	int r = work_params_check(&params, err);
	if (r == 0)
		*ret_params = params;
	return r;
}
