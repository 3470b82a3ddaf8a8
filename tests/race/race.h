/* SPDX-License-Identifier: GPL-2.0-only */
/* What race programs share that drive a device from several threads. */
#ifndef TESTS_RACE_RACE_H
#define TESTS_RACE_RACE_H

#include "common/loop.h"

#include <stdio.h>
#include <stdlib.h>

/* Any thread. The program ends there: what else it would find follows from this. */
#define CHECK(cond)                                                                                          \
	do {                                                                                                 \
		if (!(cond)) {                                                                               \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                           \
			abort();                                                                             \
		}                                                                                            \
	} while (0)

/* The loop's thread, until somebody stops it. */
static inline void *run_loop(void *loop)
{
	loop_run(loop);
	return NULL;
}

#endif
