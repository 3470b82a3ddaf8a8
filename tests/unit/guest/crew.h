/* SPDX-License-Identifier: GPL-2.0-only */
/* Workers of one type, started, held and stopped as the agent does it, for tests of what they do. Main thread
 * of the test's process; a thread of its own reaps. */
#ifndef TESTS_UNIT_GUEST_CREW_H
#define TESTS_UNIT_GUEST_CREW_H

#include "guest/work/work.h"

#define CREW_MAX 16

/* A worker that does not stop within that never will; one that does takes milliseconds on a quiet machine. */
#define CREW_HANG_NS (20 * NS_PER_S)

struct crew {
	unsigned count;
	struct work works[CREW_MAX];
	struct work_report reports[CREW_MAX];
	unsigned killed; /* that did not stop when asked, however long */
};

/* Any failure fails the test. */
void crew_start(struct crew *crew, const struct work_params *params, unsigned count);
/* The same, of a whole description; cgroup_fd as in work_start(). */
void crew_start_spec(struct crew *crew, const struct work_spec *spec, unsigned count, int cgroup_fd);
/* Asks all to stop, waits for them, reads their reports. */
void crew_stop(struct crew *crew);
void crew_release(struct crew *crew);
/* Waits until each has published that many rounds more. */
void crew_hold(struct crew *crew, uint64_t rounds);
/* start, hold, stop; every worker must have stopped by itself with units to show. */
void crew_run(struct crew *crew, const struct work_params *params, unsigned count, uint64_t rounds);
/* The same, of a whole description. */
void crew_run_spec(
	struct crew *crew, const struct work_spec *spec, unsigned count, int cgroup_fd, uint64_t rounds);
/* A number of /proc/PID/status ("voluntary_ctxt_switches:"). */
uint64_t crew_status(const struct crew *crew, unsigned k, const char *key);
/* Lets workers who need a network device have the loopback interface. False, and a reason, where that cannot
 * be. */
bool crew_has_nic(char *why, size_t size);
/* Not every machine that builds this allows realtime policies. */
bool crew_has_realtime(void);

#endif
