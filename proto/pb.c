/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/* The fence around protobuf-c (see pb.h). No state. */
#include "proto/pb.h"

#include <stdlib.h>

/* protobuf-c multiplies counts by sizes unchecked and allocates as it scans: every allocation of an unpack
 * draws on one budget, and the first one beyond it fails the unpack. */
struct budget {
	size_t left;
	bool over;
};

static void *budget_alloc(void *data, size_t size)
{
	struct budget *budget = data;
	if (size > budget->left) {
		budget->over = true;
		return NULL;
	}
	budget->left -= size;
	return malloc(size ? size : 1);
}

static void budget_free(void *data, void *pointer)
{
	free(pointer);
}

static bool enum_known(const ProtobufCFieldDescriptor *field, int value)
{
	return protobuf_c_enum_descriptor_get_value(field->descriptor, value) != NULL;
}

static bool field_is_set(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	const char *base = (const char *)message;
	if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		return *(const uint32_t *)(base + field->quantifier_offset) == field->id;
	return true;
}

/* The schema has no recursive types, so the depth of this is the schema's. */
static bool enums_known(const ProtobufCMessage *message)
{
	const ProtobufCMessageDescriptor *type = message->descriptor;
	const char *base = (const char *)message;
	for (unsigned i = 0; i < type->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &type->fields[i];
		if (!field_is_set(message, field))
			continue;
		const void *at = base + field->offset;
		bool repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
		size_t count = repeated ? *(const size_t *)(base + field->quantifier_offset) : 1;
		for (size_t k = 0; k < count; k++) {
			if (field->type == PROTOBUF_C_TYPE_ENUM) {
				const int *value = repeated ? *(int *const *)at + k : at;
				if (!enum_known(field, *value))
					return false;
			} else if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
				const ProtobufCMessage *sub =
					repeated ? (*(ProtobufCMessage *const *const *)at)[k]
						 : *(ProtobufCMessage *const *)at;
				if (sub && !enums_known(sub))
					return false;
			}
		}
	}
	return true;
}

void *pb_unpack_within(const ProtobufCMessageDescriptor *type, const void *bytes, size_t length,
	size_t max_bytes, bool *ret_over)
{
	struct budget budget = {0};
	*ret_over = false;
	if (__builtin_mul_overflow(length, PB_BUDGET_FACTOR, &budget.left) ||
		__builtin_add_overflow(budget.left, PB_BUDGET_BASE_BYTES, &budget.left))
		return NULL;
	budget.left = budget.left < max_bytes ? budget.left : max_bytes;
	ProtobufCAllocator allocator = {
		.alloc = budget_alloc, .free = budget_free, .allocator_data = &budget};
	ProtobufCMessage *message = protobuf_c_message_unpack(type, &allocator, length, bytes);
	*ret_over = !message && budget.over;
	if (message && !enums_known(message)) {
		pb_free(message);
		return NULL;
	}
	return message;
}

void *pb_unpack(const ProtobufCMessageDescriptor *type, const void *bytes, size_t length)
{
	bool over;
	return pb_unpack_within(type, bytes, length, SIZE_MAX, &over);
}

void pb_free(void *message)
{
	/* Allocated with malloc by budget_alloc(), so the default allocator frees it. */
	if (message)
		protobuf_c_message_free_unpacked(message, NULL);
}
