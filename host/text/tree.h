/* SPDX-License-Identifier: GPL-2.0-only */
/* A YAML or JSON text as a tree of maps, lists and scalars with positions, bounded in depth and number. Pure,
 * any thread. */
#ifndef HOST_TEXT_TREE_H
#define HOST_TEXT_TREE_H

#include "common/arena.h"
#include "host/text/text.h"

#include <stdbool.h>

/* The schema is far shallower; deeper text is a mistake or an attack. */
#define TREE_DEPTH_MAX 32
#define TREE_NODES_MAX 262144
/* A map's keys are fields of a message: far fewer. */
#define TREE_KEYS_MAX 256

enum tree_kind { TREE_SCALAR, TREE_LIST, TREE_MAP };

struct tree {
	enum tree_kind kind;
	unsigned line, column; /* from 1 */
	const char *text;      /* scalar: its content without quotes, NUL-terminated, no NUL inside */
	bool plain;            /* scalar: written without quotes */
	const char *key;       /* member of a map: its key */
	unsigned key_line, key_column;
	unsigned n;         /* list, map: children */
	struct tree *first; /* children in order */
	struct tree *next;
};

/* Reads one document; nodes live in the arena. NULL with the mistakes added to ret_errors (at least one). */
const struct tree *tree_read(
	struct arena *arena, const char *text, size_t length, struct text_errors *ret_errors) must_check;

/* Adds a mistake; beyond TEXT_ERRORS_MAX it is only counted. */
void text_errors_add(struct text_errors *errors, enum err_code code, unsigned line, unsigned column,
	const char *place, const char *fmt, ...) printf_like(6, 7);

#endif
