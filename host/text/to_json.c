/* SPDX-License-Identifier: GPL-2.0-only */
/* Messages to JSON (see text.h). Pure. */
#include "host/text/shape.h"
#include "host/text/text.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *from_u64(uint64_t value)
{
	char text[24];
	if (value <= INT64_MAX)
		return json_integer((json_int_t)value);
	/* JSON readers round or refuse these; they are addresses and masks, which people read in hexadecimal.
	 */
	snprintf(text, sizeof(text), "0x%" PRIx64, value);
	return json_string(text);
}

static json_t *from_double(double value)
{
	if (isnan(value))
		return json_string("nan");
	if (isinf(value))
		return json_string(value < 0 ? "-inf" : "inf");
	return json_real(value);
}

static json_t *from_enum(const ProtobufCEnumDescriptor *type, int number)
{
	const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(type, number);
	if (!value)
		return json_integer(number);
	char name[64];
	snprintf(name, sizeof(name), "%s", value->name + shape_enum_prefix(type));
	for (char *c = name; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	return json_string(name);
}

static json_t *from_bytes(const ProtobufCBinaryData *data)
{
	static const char digits[] = "0123456789abcdef";
	char *text = malloc(data->len * 2 + 1);
	if (!text)
		return NULL;
	for (size_t i = 0; i < data->len; i++) {
		text[2 * i] = digits[data->data[i] >> 4];
		text[2 * i + 1] = digits[data->data[i] & 15];
	}
	json_t *json = json_stringn(text, data->len * 2);
	free(text);
	return json;
}

/* What came off a wire may hold any bytes: what is not UTF-8 is shown as '?'. */
static json_t *from_string(const char *text)
{
	json_t *json = json_string(text);
	if (json)
		return json;
	char *copy = strdup(text);
	for (char *c = copy; c && *c; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	json = copy ? json_string(copy) : NULL;
	free(copy);
	return json;
}

static json_t *from_value(const ProtobufCFieldDescriptor *field, const void *at)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		return json_integer(*(const int32_t *)at);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		return json_integer(*(const int64_t *)at);
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		return json_integer(*(const uint32_t *)at);
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		return from_u64(*(const uint64_t *)at);
	case PROTOBUF_C_TYPE_FLOAT:
		return from_double(*(const float *)at);
	case PROTOBUF_C_TYPE_DOUBLE:
		return from_double(*(const double *)at);
	case PROTOBUF_C_TYPE_BOOL:
		return json_boolean(*(const protobuf_c_boolean *)at);
	case PROTOBUF_C_TYPE_ENUM:
		return from_enum(field->descriptor, *(const int *)at);
	case PROTOBUF_C_TYPE_STRING:
		return from_string(*(char *const *)at ? *(char *const *)at : "");
	case PROTOBUF_C_TYPE_BYTES:
		return from_bytes(at);
	case PROTOBUF_C_TYPE_MESSAGE:
		return text_to_json(*(ProtobufCMessage *const *)at);
	}
	return NULL;
}

static size_t value_size(ProtobufCType type)
{
	switch (type) {
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return sizeof(uint64_t);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	default:
		return sizeof(uint32_t);
	}
}

/* 1: present, 0: left out. */
static bool is_present(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	const char *base = (const char *)message;
	const void *at = base + field->offset;
	if (shape_is_oneof(field) && *(const uint32_t *)(base + field->quantifier_offset) != field->id)
		return false;
	if (field->label == PROTOBUF_C_LABEL_REPEATED)
		return *(const size_t *)(base + field->quantifier_offset) > 0;
	switch (field->type) {
	case PROTOBUF_C_TYPE_MESSAGE:
		return *(void *const *)at != NULL;
	case PROTOBUF_C_TYPE_STRING:
		return *(char *const *)at && **(char *const *)at;
	case PROTOBUF_C_TYPE_BYTES:
		return ((const ProtobufCBinaryData *)at)->len > 0;
	case PROTOBUF_C_TYPE_ENUM:
		return *(const int *)at != 0;
	default:
		return true;
	}
}

json_t *text_to_json(const ProtobufCMessage *message)
{
	json_t *object = json_object();
	const ProtobufCMessageDescriptor *type = message->descriptor;
	const char *base = (const char *)message;
	for (unsigned i = 0; object && i < type->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &type->fields[i];
		if (!is_present(message, field))
			continue;
		json_t *value;
		if (field->label == PROTOBUF_C_LABEL_REPEATED) {
			const char *items = *(const char *const *)(base + field->offset);
			size_t n = *(const size_t *)(base + field->quantifier_offset);
			value = json_array();
			for (size_t k = 0; value && k < n; k++) {
				json_t *item = from_value(field, items + k * value_size(field->type));
				if (json_array_append_new(value, item) < 0) {
					json_decref(value);
					value = NULL;
				}
			}
		} else {
			value = from_value(field, base + field->offset);
		}
		if (json_object_set_new(object, field->name, value) < 0) {
			json_decref(object);
			object = NULL;
		}
	}
	return object;
}
