/* SPDX-License-Identifier: GPL-2.0-only */
/* What a message looks like in a file: the shorthands of the scenario format, derived from descriptors and,
 * for the few types that the format names, from one table. No state, any thread. */
#ifndef HOST_TEXT_SHAPE_H
#define HOST_TEXT_SHAPE_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

enum shape_special {
	SHAPE_NONE,
	SHAPE_DURATION, /* "250us" */
	SHAPE_SIZE,     /* "64M" */
	SHAPE_LIST,     /* its fields in order may be written as a list: [0.5, 1.0] */
	SHAPE_FIRST,    /* its first field's value may stand for it: symbol */
	SHAPE_FLAT,     /* `target` and `value` are written into the entry */
};

enum shape_special shape_special(const ProtobufCMessageDescriptor *type);
/* The message's only field, or NULL when it has another number of them. */
const ProtobufCFieldDescriptor *shape_only_field(const ProtobufCMessageDescriptor *type);
bool shape_is_oneof(const ProtobufCFieldDescriptor *field);
/* A message has a oneof and nothing else. */
bool shape_all_oneof(const ProtobufCMessageDescriptor *type);
/* Type of a message field. */
const ProtobufCMessageDescriptor *shape_message(const ProtobufCFieldDescriptor *field);
/* Letters that all names of the enum begin with ("ERROR_CODE_"): files leave them out. */
size_t shape_enum_prefix(const ProtobufCEnumDescriptor *type);
/* The value of that name, written "NOT_FOUND", "not_found", "NotFound" or in full; NULL: there is none. */
const ProtobufCEnumValue *shape_enum_find(const ProtobufCEnumDescriptor *type, const char *name);

/* The candidate nearest to `word` if it is near enough to be meant, else NULL. */
const char *shape_nearest(const char *word, const char *const *candidates, size_t n);

#endif
