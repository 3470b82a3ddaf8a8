/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernels of the cache (tests/kernels.sh), for tests against real images. */
#ifndef TESTS_UNIT_KMEM_REAL_H
#define TESTS_UNIT_KMEM_REAL_H

#include "host/vm/kernel_image.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#define REAL_MAX 8

struct real_kernels {
	unsigned n;
	char release[REAL_MAX][128];
	struct kernel_image *image[REAL_MAX];
};

/* Loads every kernel of the cache; skips the test, with the reason, when there is none. */
static inline void real_kernels_load(struct real_kernels *real)
{
	const char *cache = getenv("SCHEDRIG_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	char dir[512], path[1024];
	struct dirent *entry;

	memset(real, 0, sizeof(*real));
	if (cache)
		snprintf(dir, sizeof(dir), "%s/kernels", cache);
	else if (xdg)
		snprintf(dir, sizeof(dir), "%s/schedrig/kernels", xdg);
	else
		snprintf(dir, sizeof(dir), "%s/.cache/schedrig/kernels", home ? home : "");
	DIR *d = opendir(dir);
	while (d && (entry = readdir(d)) && real->n < REAL_MAX) {
		struct err err = ERR_INIT;
		if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
			continue;
		snprintf(path, sizeof(path), "%s/%s/vmlinuz", dir, entry->d_name);
		cr_assert_eq(kernel_image_load(path, &real->image[real->n], &err), 0, "%s", err.message);
		snprintf(real->release[real->n++], sizeof(real->release[0]), "%.127s", entry->d_name);
	}
	if (d)
		closedir(d);
	if (real->n == 0)
		cr_skip_test("no kernels in %s: fetch them with tests/kernels.sh", dir);
}

static inline void real_kernels_free(struct real_kernels *real)
{
	for (unsigned i = 0; i < real->n; i++)
		kernel_image_free(real->image[i]);
}

#endif
