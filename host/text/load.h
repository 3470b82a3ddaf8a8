/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside of text_load(): what its files share. One call's state, one thread. */
#ifndef HOST_TEXT_LOAD_H
#define HOST_TEXT_LOAD_H

#include "host/text/tree.h"

#include <protobuf-c/protobuf-c.h>

struct load {
	struct arena *arena;
	struct text_errors *errors;
	struct text_places *places;
	bool out_of_memory;
};

/* A scalar into the storage `at` of a field's type (not a message). A mistake is added to the errors, and
 * `at` stays as it is. Strings and bytes are heap memory, as pb_free() wants it. */
void load_scalar(struct load *load, const ProtobufCFieldDescriptor *field, const struct tree *node,
	const char *place, void *at);
/* "250us" and "64M". */
bool load_duration(struct load *load, const struct tree *node, const char *place, uint64_t *ret_ns);
bool load_size(struct load *load, const struct tree *node, const char *place, uint64_t *ret_bytes);

struct text_places *text_places_new(void);
/* Remembers where a place stands; the first one of a place counts. */
void text_places_add(struct text_places *places, const char *place, unsigned line, unsigned column);
/* After the last one. */
void text_places_sort(struct text_places *places);

#endif
