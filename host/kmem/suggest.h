/* SPDX-License-Identifier: GPL-2.0-only */
/* "Did you mean": the names nearest to one that was not found. Caller's storage, any thread. */
#ifndef HOST_KMEM_SUGGEST_H
#define HOST_KMEM_SUGGEST_H

#include "common/check.h"

#define SUGGEST_MAX 3
#define SUGGEST_NAME_MAX 64

struct suggest {
	char wanted[SUGGEST_NAME_MAX];
	size_t length;
	unsigned n;
	struct {
		unsigned distance;
		char name[SUGGEST_NAME_MAX];
	} best[SUGGEST_MAX]; /* nearest first */
};

void suggest_init(struct suggest *s, const char *wanted, size_t length);
/* Offers a name; cheap for names that cannot be near. */
void suggest_offer(struct suggest *s, const char *name, size_t length);
/* "; did you mean 'a', 'b'?" without the question mark, or "". Returns buffer. */
const char *suggest_text(const struct suggest *s, char *buffer, size_t size);

#endif
