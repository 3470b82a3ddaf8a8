/* SPDX-License-Identifier: GPL-2.0-only */
/* Scalars of a file into fields (see load.h). */
#include "common/parse.h"
#include "host/text/load.h"
#include "host/text/shape.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <string.h>
#include <strings.h>

static void bad(struct load *load, const struct tree *node, const char *place, const char *want)
{
	text_errors_add(load->errors, ERR_INVALID_ARGUMENT, node->line, node->column, place,
		"'%.60s' is not %s", node->text, want);
}

bool load_duration(struct load *load, const struct tree *node, const char *place, uint64_t *ret_ns)
{
	struct err err = ERR_INIT;
	if (parse_duration_ns(node->text, ret_ns, &err) == 0)
		return true;
	text_errors_add(load->errors, err.code, node->line, node->column, place, "%s", err.message);
	return false;
}

bool load_size(struct load *load, const struct tree *node, const char *place, uint64_t *ret_bytes)
{
	struct err err = ERR_INIT;
	/* The kernel's word for no limit. */
	if (strcmp(node->text, "max") == 0) {
		*ret_bytes = UINT64_MAX;
		return true;
	}
	if (parse_size_bytes(node->text, ret_bytes, &err) == 0)
		return true;
	text_errors_add(load->errors, err.code, node->line, node->column, place, "%s", err.message);
	return false;
}

/* Digits of a whole number, however many: what cannot be read then is too large. */
static bool is_whole(const char *text)
{
	text += *text == '-' || *text == '+';
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	text += hex ? 2 : 0;
	return *text && !text[strspn(text, hex ? "0123456789abcdefABCDEF" : "0123456789")];
}

static bool read_signed(
	struct load *load, const struct tree *node, const char *place, int64_t min, int64_t max, int64_t *ret)
{
	int64_t value;
	bool fits = parse_i64(node->text, &value, NULL) == 0;
	if (!fits && !is_whole(node->text)) {
		bad(load, node, place, "a whole number");
		return false;
	}
	if (!fits || value < min || value > max) {
		text_errors_add(load->errors, ERR_INVALID_ARGUMENT, node->line, node->column, place,
			"%.60s is out of range: %" PRId64 " to %" PRId64, node->text, min, max);
		return false;
	}
	*ret = value;
	return true;
}

static bool read_unsigned(
	struct load *load, const struct tree *node, const char *place, uint64_t max, uint64_t *ret)
{
	uint64_t value;
	bool fits = parse_u64(node->text, &value, NULL) == 0;
	if (!fits && (!is_whole(node->text) || *node->text == '-')) {
		bad(load, node, place, is_whole(node->text) ? "a number from 0 up" : "a whole number");
		return false;
	}
	if (!fits || value > max) {
		text_errors_add(load->errors, ERR_INVALID_ARGUMENT, node->line, node->column, place,
			"%.60s is out of range: 0 to %" PRIu64, node->text, max);
		return false;
	}
	*ret = value;
	return true;
}

/* Not-a-number and infinities are numbers here: what they mean is for validation to say. */
static bool read_double(struct load *load, const struct tree *node, const char *place, double *ret)
{
	const char *text = node->text, *digits = text + (*text == '-' || *text == '+');
	double sign = *text == '-' ? -1 : 1;
	if (strcasecmp(digits, ".nan") == 0 || strcasecmp(digits, "nan") == 0) {
		*ret = NAN;
		return true;
	}
	if (strcasecmp(digits, ".inf") == 0 || strcasecmp(digits, "inf") == 0) {
		*ret = sign * INFINITY;
		return true;
	}
	char *end;
	if (!*digits || digits[strspn(digits, "0123456789.eE+-")] || !strpbrk(digits, "0123456789")) {
		bad(load, node, place, "a number");
		return false;
	}
	double value = strtod(text, &end);
	if (*end) {
		bad(load, node, place, "a number");
		return false;
	}
	*ret = value;
	return true;
}

static void read_enum(struct load *load, const ProtobufCFieldDescriptor *field, const struct tree *node,
	const char *place, int *ret)
{
	const ProtobufCEnumDescriptor *type = field->descriptor;
	const ProtobufCEnumValue *value = shape_enum_find(type, node->text);
	/* 0 is what an absent field has: naming it would say nothing. */
	if (value && value->value != 0) {
		*ret = value->value;
		return;
	}
	char list[400] = "";
	size_t prefix = shape_enum_prefix(type), used = 0;
	for (unsigned i = 0; i < type->n_values; i++) {
		if (type->values[i].value == 0)
			continue;
		int n = snprintf(list + used, sizeof(list) - used, "%s", used ? ", " : "");
		used += (size_t)n;
		for (const char *c = type->values[i].name + prefix; *c && used + 1 < sizeof(list); c++)
			list[used++] = (char)tolower((unsigned char)*c);
		list[used] = '\0';
		if (used + 2 >= sizeof(list))
			break;
	}
	text_errors_add(load->errors, ERR_INVALID_ARGUMENT, node->line, node->column, place,
		"'%.60s' is not one of %s", node->text, list);
}

static void read_bytes(
	struct load *load, const struct tree *node, const char *place, ProtobufCBinaryData *ret)
{
	size_t digits = strlen(node->text);
	uint8_t *data = malloc(digits / 2 + 1);
	bool good = digits % 2 == 0;
	for (size_t i = 0; data && good && i < digits; i++) {
		unsigned char c = (unsigned char)node->text[i];
		good = isxdigit(c);
		unsigned digit = isdigit(c) ? c - '0' : (unsigned)(tolower(c) - 'a' + 10);
		data[i / 2] = (uint8_t)(i % 2 ? (data[i / 2] << 4 | digit) : digit);
	}
	if (!data || !good) {
		free(data);
		load->out_of_memory |= !data;
		if (!good)
			bad(load, node, place, "bytes: write two hexadecimal digits for each");
		return;
	}
	free(ret->data);
	*ret = (ProtobufCBinaryData){.len = digits / 2, .data = data};
}

static void read_string(struct load *load, const struct tree *node, char **ret)
{
	char *copy = strdup(node->text);
	load->out_of_memory |= !copy;
	if (copy)
		*ret = copy;
}

void load_scalar(struct load *load, const ProtobufCFieldDescriptor *field, const struct tree *node,
	const char *place, void *at)
{
	if (node->kind != TREE_SCALAR) {
		text_errors_add(load->errors, ERR_INVALID_ARGUMENT, node->line, node->column, place,
			"a %s cannot stand here: %s takes a single value",
			node->kind == TREE_MAP ? "map" : "list", field->name);
		return;
	}
	if (node->plain &&
		(!*node->text || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0)) {
		text_errors_add(load->errors, ERR_INVALID_ARGUMENT, node->line, node->column, place,
			"there is no value here: write one or leave the field out");
		return;
	}
	int64_t s;
	uint64_t u;
	double d;
	switch (field->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		if (read_signed(load, node, place, INT32_MIN, INT32_MAX, &s))
			*(int32_t *)at = (int32_t)s;
		return;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		if (read_signed(load, node, place, INT64_MIN, INT64_MAX, &s))
			*(int64_t *)at = s;
		return;
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		if (read_unsigned(load, node, place, UINT32_MAX, &u))
			*(uint32_t *)at = (uint32_t)u;
		return;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		if (read_unsigned(load, node, place, UINT64_MAX, &u))
			*(uint64_t *)at = u;
		return;
	case PROTOBUF_C_TYPE_FLOAT:
		if (read_double(load, node, place, &d))
			*(float *)at = (float)d;
		return;
	case PROTOBUF_C_TYPE_DOUBLE:
		if (read_double(load, node, place, &d))
			*(double *)at = d;
		return;
	case PROTOBUF_C_TYPE_BOOL:
		if (strcmp(node->text, "true") == 0 || strcmp(node->text, "false") == 0)
			*(protobuf_c_boolean *)at = node->text[0] == 't';
		else
			bad(load, node, place, "true or false");
		return;
	case PROTOBUF_C_TYPE_ENUM:
		read_enum(load, field, node, place, at);
		return;
	case PROTOBUF_C_TYPE_STRING:
		read_string(load, node, at);
		return;
	case PROTOBUF_C_TYPE_BYTES:
		read_bytes(load, node, place, at);
		return;
	case PROTOBUF_C_TYPE_MESSAGE:
		break;
	}
	assert(!"a message is not a scalar");
}
