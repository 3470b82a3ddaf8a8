/* SPDX-License-Identifier: GPL-2.0-only */
/* Who a PID is, so that somebody else can tell whether it is still the same task. No state, any thread. */
#ifndef GUEST_CHILD_IDENTITY_H
#define GUEST_CHILD_IDENTITY_H

#include "common/check.h"
#include "common/err.h"

#include <stdint.h>
#include <sys/types.h>

struct child_identity {
	uint64_t pidfs_inode;   /* of its pidfd; 0: this kernel has no pidfs (before Linux 6.9) */
	uint64_t start_time_ns; /* CLOCK_BOOTTIME, cut to a tick of /proc/PID/stat: field 22 */
};
/* Of a process or a thread that is not reaped meanwhile. ERR_GUEST_OS. */
int child_identify(pid_t pid, struct child_identity *ret, struct err *err) must_check;

#endif
