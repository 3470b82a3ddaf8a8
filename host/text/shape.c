/* SPDX-License-Identifier: GPL-2.0-only */
/* Shapes of messages in files (see shape.h). */
#include "host/text/shape.h"

#include "common/check.h"
#include "schedrig/v1/scenario.pb-c.h"

#include <ctype.h>
#include <string.h>

static const struct {
	const ProtobufCMessageDescriptor *type;
	enum shape_special special;
} specials[] = {
	{&schedrig__v1__duration__descriptor, SHAPE_DURATION},
	{&schedrig__v1__size__descriptor, SHAPE_SIZE},
	{&schedrig__v1__cpu_range__descriptor, SHAPE_LIST},
	{&schedrig__v1__cpu_disjoint__descriptor, SHAPE_LIST},
	{&schedrig__v1__cpu_overlap__descriptor, SHAPE_LIST},
	{&schedrig__v1__symbol_target__descriptor, SHAPE_FIRST},
	{&schedrig__v1__kernel_read__descriptor, SHAPE_FLAT},
	{&schedrig__v1__kernel_write__descriptor, SHAPE_FLAT},
	{&schedrig__v1__expect_value__descriptor, SHAPE_FLAT},
};

enum shape_special shape_special(const ProtobufCMessageDescriptor *type)
{
	for (size_t i = 0; i < ARRAY_SIZE(specials); i++)
		if (specials[i].type == type)
			return specials[i].special;
	return SHAPE_NONE;
}

bool shape_is_oneof(const ProtobufCFieldDescriptor *field)
{
	return field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
}

const ProtobufCFieldDescriptor *shape_only_field(const ProtobufCMessageDescriptor *type)
{
	return type->n_fields == 1 && !shape_is_oneof(&type->fields[0]) ? &type->fields[0] : NULL;
}

bool shape_all_oneof(const ProtobufCMessageDescriptor *type)
{
	for (unsigned i = 0; i < type->n_fields; i++)
		if (!shape_is_oneof(&type->fields[i]))
			return false;
	return type->n_fields > 0;
}

const ProtobufCMessageDescriptor *shape_message(const ProtobufCFieldDescriptor *field)
{
	return field->type == PROTOBUF_C_TYPE_MESSAGE ? field->descriptor : NULL;
}

size_t shape_enum_prefix(const ProtobufCEnumDescriptor *type)
{
	if (type->n_values < 2)
		return 0;
	const char *first = type->values[0].name;
	size_t common = strlen(first);
	for (unsigned i = 1; i < type->n_values; i++) {
		size_t k = 0;
		while (k < common && first[k] == type->values[i].name[k])
			k++;
		common = k;
	}
	while (common > 0 && first[common - 1] != '_')
		common--;
	return common;
}

/* Equal but for case and underscores. */
static bool same_word(const char *a, const char *b)
{
	for (;; a++, b++) {
		while (*a == '_')
			a++;
		while (*b == '_')
			b++;
		if (tolower((unsigned char)*a) != tolower((unsigned char)*b))
			return false;
		if (!*a)
			return true;
	}
}

const ProtobufCEnumValue *shape_enum_find(const ProtobufCEnumDescriptor *type, const char *name)
{
	size_t prefix = shape_enum_prefix(type);
	for (unsigned i = 0; i < type->n_values; i++)
		if (same_word(name, type->values[i].name + prefix) || same_word(name, type->values[i].name))
			return &type->values[i];
	return NULL;
}

#define WORD_MAX 48

static bool same_letter(char a, char b)
{
	return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Edits (insert, delete, replace, swap of neighbours) that turn a into b. */
static unsigned distance(const char *a, size_t na, const char *b, size_t nb)
{
	unsigned d[WORD_MAX + 1][WORD_MAX + 1];
	for (size_t i = 0; i <= na; i++)
		d[i][0] = (unsigned)i;
	for (size_t j = 0; j <= nb; j++)
		d[0][j] = (unsigned)j;
	for (size_t i = 1; i <= na; i++) {
		for (size_t j = 1; j <= nb; j++) {
			unsigned best = d[i - 1][j - 1] + !same_letter(a[i - 1], b[j - 1]);
			best = MIN_OF(best, d[i - 1][j] + 1);
			best = MIN_OF(best, d[i][j - 1] + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				best = MIN_OF(best, d[i - 2][j - 2] + 1);
			d[i][j] = best;
		}
	}
	return d[na][nb];
}

const char *shape_nearest(const char *word, const char *const *candidates, size_t n)
{
	size_t length = strlen(word);
	if (length == 0 || length > WORD_MAX)
		return NULL;
	const char *nearest = NULL;
	unsigned best = (unsigned)length / 3 + 2;
	for (size_t i = 0; i < n; i++) {
		size_t other = strlen(candidates[i]);
		if (other > WORD_MAX)
			continue;
		unsigned d = distance(word, length, candidates[i], other);
		/* Two words that share nothing are not meant for one another, however short. */
		if (d < best && d < length && d < other) {
			best = d;
			nearest = candidates[i];
		}
	}
	return nearest;
}
