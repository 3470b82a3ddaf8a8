/* SPDX-License-Identifier: GPL-2.0-only */
/* Messages as text: YAML or JSON files to messages, messages to JSON. One schema: the descriptors. Pure, any
 * thread. */
#ifndef HOST_TEXT_TEXT_H
#define HOST_TEXT_TEXT_H

#include "common/err.h"

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>

#define TEXT_FILE_MAX_BYTES (4u * 1024 * 1024)
#define TEXT_ERRORS_MAX 100

/* Places of mistakes: fields and indices, without the names of a oneof's forms: "steps[2].ops[0].cpus.start",
 * "steps[0].hold". engine_validate() speaks of the same places. */

/* One mistake in a file. */
struct text_error {
	struct err err;        /* place: path of fields, "steps[2].ops[0].cpus.start" */
	unsigned line, column; /* from 1; 0: unknown */
};
/* All mistakes of a file, in order of line. */
struct text_errors {
	unsigned n;
	unsigned dropped; /* beyond TEXT_ERRORS_MAX */
	struct text_error error[TEXT_ERRORS_MAX];
};

/* Where each place of a message stands in its file, so that later checks of the message can point there too.
 */
struct text_places;
void text_places_free(struct text_places *places);
/* Line and column of the place ("steps[2].hold") or of its nearest enclosing one. Both 0 when places is NULL.
 */
void text_places_find(
	const struct text_places *places, const char *place, unsigned *ret_line, unsigned *ret_column);

/* Parses YAML 1.2 (JSON is its subset) into a message of `type`, by the rules of the scenario format. Every
 * mistake is reported, not only the first. Returns 0 with *ret_message (pb_free() it) and, if asked for,
 * *ret_places; -EINVAL with *ret_errors filled. */
int text_load(const ProtobufCMessageDescriptor *type, const char *text, size_t length,
	ProtobufCMessage **ret_message, struct text_places **ret_places,
	struct text_errors *ret_errors) must_check;

/* The message as JSON: field names as in the .proto, enum names shortened as in files, Duration and Size in
 * their full form ({"ns": 5}), bytes as hexadecimal digits. Unset messages, empty lists, empty strings and
 * unset enums are left out; numbers and flags always appear. 64-bit numbers are JSON integers up to 2^63 - 1
 * and beyond that strings like "0xffffffff81000000"; NaN and infinities are the strings "nan", "inf", "-inf".
 * text_load() reads all of it. NULL when out of memory. */
json_t *text_to_json(const ProtobufCMessage *message);

#endif
