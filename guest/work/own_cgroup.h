/* SPDX-License-Identifier: GPL-2.0-only */
/* Groups that a worker makes below its cgroup, named by its number: "worker-1234.0". Async-signal-safe. Each
 * call ends the worker when it fails. Runs in worker processes. */
#ifndef GUEST_WORK_OWN_CGROUP_H
#define GUEST_WORK_OWN_CGROUP_H

#include "guest/work/worker.h"

/* Makes number `group`; a directory descriptor. */
int own_cgroup_open(struct worker *worker, unsigned group);
/* Its cgroup.procs, open for writing. */
int own_cgroup_procs(struct worker *worker, int fd);
/* Moves the worker's process there. */
void own_cgroup_enter(struct worker *worker, int procs_fd);
/* Nothing happens when it is in use still: it goes with the cgroup. */
void own_cgroup_remove(struct worker *worker, unsigned group);

#endif
