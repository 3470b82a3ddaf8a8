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

/* The message as JSON: field names as in the .proto, enums and 64-bit numbers as people read them (enum names
 * shortened as in files, numbers as JSON integers), unset messages and empty lists left out, Duration as
 * nanoseconds under its own name ("ns"). Never fails but for memory (NULL). */
json_t *text_to_json(const ProtobufCMessage *message);

#endif
