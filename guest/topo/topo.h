/* SPDX-License-Identifier: GPL-2.0-only */
/* Whether the kernel sees the machine that was asked for: CPUs, nodes, caches, threads as sysfs tells them,
 * and the scheduler's own domains. Plain C, any thread. */
#ifndef GUEST_TOPO_TOPO_H
#define GUEST_TOPO_TOPO_H

#include "common/cpu_layout.h"

/* sys: where sysfs is ("/sys"). ERR_FAILED_PRECONDITION with the first difference ("CPU 3 shares its
 * last-level cache with 0-7, not 0-3"). What cannot be looked at goes into notes. */
int topo_check(const char *sys, const struct cpu_layout *layout,
	void (*add_note)(void *arg, const char *note), void *arg, struct err *err) must_check;

#endif
