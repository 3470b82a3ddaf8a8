/* SPDX-License-Identifier: GPL-2.0-only */
/* Remembers what was found out about an image: text to a small value. Such facts never change, so nothing is
 * ever invalidated; a full table forgets. Any thread (it locks). */
#ifndef HOST_KMEM_MEMO_H
#define HOST_KMEM_MEMO_H

#include "common/check.h"
#include "common/scope.h"

#include <stdbool.h>

struct memo;

#define MEMO_KEY_MAX 104  /* longer keys are not remembered */
#define MEMO_VALUE_MAX 48 /* bytes */

struct memo *memo_new(void);
void memo_free(struct memo *memo);
SCOPE_GUARD(struct memo *, memo_free, memo_free)

/* `kind` keeps users apart. Copies the value out; its size is that of the put. */
bool memo_get(
	struct memo *memo, unsigned kind, const char *key, size_t key_bytes, void *ret_value, size_t size);
void memo_put(
	struct memo *memo, unsigned kind, const char *key, size_t key_bytes, const void *value, size_t size);

#endif
