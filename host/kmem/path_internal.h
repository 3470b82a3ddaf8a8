/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of the path language share: the place so far, and the text that is left. One call's, any
 * thread. */
#ifndef HOST_KMEM_PATH_INTERNAL_H
#define HOST_KMEM_PATH_INTERNAL_H

#include "host/kmem/path.h"

struct path {
	const struct kmem *kmem;
	const char *text, *p;
	int star_cpu;
	gva_t address;           /* of the value so far */
	const struct kbtf *btf;  /* that the type is of; NULL as long as it has none */
	struct kbtf_place place; /* its type; offset_bytes is folded into address at each step */
	unsigned stars;          /* further pointer levels around place.type, from a cast */
	bool typed;
	gva_t task; /* the value is a part of this task; 0: of none */
	bool identified;
	struct kmem_route route; /* `hops` counts on beyond what has room */
	gva_t hop;               /* where the last pointer led to, or the start */
	uint64_t hops;           /* of tables and BPF maps: kmem_resolved.hops */
};

/* ERR_INVALID_ARGUMENT reason syntax, with the column of `at`. */
int path_fail(const struct path *path, const char *at, struct err *err, const char *what) must_check;
/* Says where an error from elsewhere belongs; returns rc. */
int path_locate(const struct path *path, const char *at, int rc, struct err *err) must_check;
void path_skip_spaces(struct path *path);
int path_number(struct path *path, uint64_t *ret_value, struct err *err) must_check;
/* "@3", "@*" behind what there is one of for each CPU; `what` is its kind. */
int path_cpu(struct path *path, const char *what, struct err *err) must_check;
/* Gives the value so far the type of the kernel's that `text` names, stars and all. */
int path_type_set(
	struct path *path, const char *at, const char *text, size_t length, struct err *err) must_check;

/* path_map.c: what is behind the word `map`, from its parenthesis on; `at` is the word. */
int path_map(struct path *path, const char *at, struct err *err) must_check;

#endif
