/* SPDX-License-Identifier: GPL-2.0-only */
/* Measurements of a run, from what its workers reported. The run's thread. */
#ifndef HOST_ENGINE_MEASURE_H
#define HOST_ENGINE_MEASURE_H

#include "host/engine/engine_internal.h"

/* Fills result->measurements: the whole scenario and every phase; in each all workers, and every cgroup. */
void measure(struct run *run);

#endif
