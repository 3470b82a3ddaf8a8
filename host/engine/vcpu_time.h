/* SPDX-License-Identifier: GPL-2.0-only */
/* What the host took of vCPUs, as looked at again and again while a scenario runs, and how much of that lay
 * between two moments of guest time. Arithmetic only: no clock is read here. Any thread, one at a time.
 *
 * Times of looks are those of vm_passed(): host time in which the guest's clocks moved, so that a freeze is
 * no time at all. The guest's CLOCK_MONOTONIC is that but for a constant, which is enclosed by questions:
 * what the guest says its time is, was so after the question was sent and before the answer was here.
 *
 *   taken   ^                                       The host's account of a thread's wait for a CPU grows
 *           |                     .--------x---x    when the wait is over, by all of it: a look into a wait
 *           |                     |                 shows what was before. So what had been taken at a
 *           x------x---x---x------'                 moment lies between two bounds, and so does what was
 *           +-----b-----------------e-------------> taken of a gap that began at b and ended at e. */
#ifndef HOST_ENGINE_VCPU_TIME_H
#define HOST_ENGINE_VCPU_TIME_H

#include "common/scope.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vcpu_time;

/* At most max_looks (4 or more) are kept: when there are more, old ones are forgotten evenly, so that the
 * newest quarter is there as it was and what was before is known less well the longer all has lasted. NULL:
 * out of memory. */
struct vcpu_time *vcpu_time_new(unsigned n_vcpus, size_t max_looks);
void vcpu_time_free(struct vcpu_time *times);
SCOPE_GUARD(struct vcpu_time *, vcpu_time_free, vcpu_time_free)

/* One look: taken_ns[n_vcpus] so far, each as it was at some moment from begin_ns to end_ns. One that does
 * not come after the last one is left out. */
void vcpu_time_look(struct vcpu_time *times, uint64_t begin_ns, uint64_t end_ns, const uint64_t *taken_ns);
/* The guest's clock showed guest_ns at some moment from before_ns to after_ns. Of more than 512
 * some are forgotten, evenly. */
void vcpu_time_clock(struct vcpu_time *times, uint64_t before_ns, uint64_t guest_ns, uint64_t after_ns);
/* How far apart the bounds are between which guest_ns lies on the looks' clock; UINT64_MAX: nobody asked, or
 * the guest contradicts itself. */
uint64_t vcpu_time_clock_width_ns(const struct vcpu_time *times, uint64_t guest_ns);

/* A worker on this vCPU did nothing from begin_ns to end_ns (guest time, before now_ns of the looks' clock),
 * and was running at its end. */
struct vcpu_gap {
	unsigned vcpu;
	uint64_t begin_ns, end_ns, now_ns;
};
/* What the host took of it: ns, give or take error_ns. */
struct vcpu_taken {
	uint64_t ns, error_ns;
};
/* False: not known, since the looks do not cover it or are too far apart: the error would be more than a
 * quarter of the gap. */
bool vcpu_time_taken(const struct vcpu_time *times, const struct vcpu_gap *gap, struct vcpu_taken *ret_taken);

#endif
