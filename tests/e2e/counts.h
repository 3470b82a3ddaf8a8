/* SPDX-License-Identifier: GPL-2.0-only */
/* What workers count of themselves beside what the kernel has counted of them. One thread. */
#ifndef TESTS_E2E_COUNTS_H
#define TESTS_E2E_COUNTS_H

#include "tests/e2e/harness.h"

/* Runs four workers in `vm`, which has n_cpus CPUs, freezes their cgroup twice, and compares what the kernel
 * has counted in between (task_struct in its memory, cpu.stat of the cgroup) with their reports.
 *
 * A worker's report is cut into phases at its checkpoints, and the phase changes while it is frozen. So what
 * it counted up to the last checkpoint before a freeze and up to the first one after it bracket the kernel's
 * value, however slow the machine is and whatever its host did meanwhile: these limits are exact. Within
 * 1 % of cpu.stat is asked for beside that where `close` says that time means something. */
void counts_compare(struct vm_process *vm, unsigned n_cpus, bool close);

#endif
