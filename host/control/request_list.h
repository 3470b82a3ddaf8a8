/* SPDX-License-Identifier: GPL-2.0-only */
/* The one list of control requests. X(UPPER, snake, WHERE, WHEN)
 * WHERE: LOOP (answered at once) or WORKER (blocks: has a thread).
 * WHEN: ANYTIME; READY (waits for the guest, fails once it is gone); or RUNNING (the same, and is refused
 * while its own client holds the VM frozen). */
#ifndef HOST_CONTROL_REQUEST_LIST_H
#define HOST_CONTROL_REQUEST_LIST_H

#define CONTROL_REQUEST_LIST(X)                                                                              \
	X(INFO, info, LOOP, ANYTIME)                                                                         \
	X(VALIDATE, validate, WORKER, ANYTIME)                                                               \
	X(SUBMIT, submit, WORKER, READY)                                                                     \
	X(APPLY, apply, WORKER, READY)                                                                       \
	X(FACTORY_ANSWER, factory_answer, LOOP, ANYTIME)                                                     \
	X(CANCEL, cancel, LOOP, ANYTIME)                                                                     \
	X(SHUTDOWN, shutdown, LOOP, ANYTIME)                                                                 \
	X(EVENTS, events, LOOP, ANYTIME)                                                                     \
	X(END_ADHOC, end_adhoc, WORKER, RUNNING)                                                             \
	X(FREEZE, freeze, WORKER, READY)                                                                     \
	X(THAW, thaw, LOOP, ANYTIME)                                                                         \
	X(STEP, step, WORKER, READY)                                                                         \
	X(READ, read, WORKER, READY)                                                                         \
	X(WRITE, write, WORKER, READY)                                                                       \
	X(RESOLVE, resolve, WORKER, READY)                                                                   \
	X(SYMBOLS, symbols, WORKER, ANYTIME)                                                                 \
	X(TYPES, types, WORKER, ANYTIME)                                                                     \
	X(PREPARE, prepare, WORKER, READY)                                                                   \
	X(READ_PREPARED, read_prepared, WORKER, READY)                                                       \
	X(SET_CGROUP_KNOBS, set_cgroup_knobs, WORKER, RUNNING)                                               \
	X(PUSH, push, WORKER, RUNNING)                                                                       \
	X(PULL, pull, WORKER, RUNNING)                                                                       \
	X(LIST_STAGED, list_staged, WORKER, ANYTIME)                                                         \
	X(BASES, bases, WORKER, READY)                                                                       \
	X(WORKERS, workers, WORKER, RUNNING)

#endif
