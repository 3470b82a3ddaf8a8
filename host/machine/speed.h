/* SPDX-License-Identifier: GPL-2.0-only */
/* How fast this host runs kernel-mode code under KVM, measured with a scratch guest of a few instructions. */
#ifndef HOST_MACHINE_SPEED_H
#define HOST_MACHINE_SPEED_H

#include "common/err.h"

#include <stdbool.h>

struct speed {
	uint64_t loops_per_s; /* iterations of a two-instruction loop in ring 0 */
	uint64_t exit_ns;     /* one port write, into the controller and back */
	unsigned percent; /* 1..100: 100 where hardware virtualisation runs on bare metal; scales deadlines */
	bool emulated; /* KVM runs kernel mode through its instruction emulator: stock kernels will not boot
			*/
};

/* Takes about 10 ms. Any thread, blocks. ERR_HOST when /dev/kvm cannot be used. */
int speed_measure(struct speed *ret, struct err *err) must_check;

#endif
