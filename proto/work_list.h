/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/* The one list of work types and of their parameters. A type's number is that of its member in the oneof of
 * schedrig.v1.WorkType and never changes.
 * X(number, snake_name, UPPER_NAME, group, "group in words", "what it does"): workers come in multiples of
 * group, an expression in the type's own parameters, `p`. */
#ifndef PROTO_WORK_LIST_H
#define PROTO_WORK_LIST_H

#define WORK_TYPE_LIST(X)                                                                                    \
	X(1, spin_wait, SPIN_WAIT, 1, "1", "bursts of 1024 units")                                           \
	X(2, bursty, BURSTY, 1, "1", "spins, then sleeps")                                                   \
	X(3, pipe_io, PIPE_IO, 2, "2", "pairs pass a byte through pipes")                                    \
	X(4, yield_heavy, YIELD_HEAVY, 1, "1", "one unit, then a yield")                                     \
	X(5, mixed, MIXED, 1, "1", "1024 units, then a yield")                                               \
	X(6, idle_churn, IDLE_CHURN, 1, "1", "short bursts and sleeps")                                      \
	X(7, timer_latency, TIMER_LATENCY, 1, "1", "wakes at absolute times, cyclictest style")              \
	X(8, futex_ping_pong, FUTEX_PING_PONG, 2, "2", "pairs hand over a futex")

/* Those that this version does not have. X(snake_name, "why") */
#define WORK_LATER_LIST(X)                                                                                   \
	X(net_traffic, "needs a network device, which this version's machines do not have")                  \
	X(irq_wake, "needs a network device, which this version's machines do not have")

/* The parameters of each type: P(name, KIND, default, min, max, "what it is"). Kinds are those of
 * WORK_PARAM_KIND_LIST; name is the field's in the type's message. */
#define WORK_MS UINT64_C(1000000)
#define WORK_SECOND UINT64_C(1000000000)
#define WORK_HOUR (3600 * WORK_SECOND)

#define WORK_PARAMS_spin_wait(P)
#define WORK_PARAMS_bursty(P)                                                                                \
	P(burst, DURATION, 50 * WORK_MS, 1, WORK_HOUR, "how long it spins")                                  \
	P(sleep, DURATION, 100 * WORK_MS, 0, WORK_HOUR, "how long it sleeps")
#define WORK_PARAMS_pipe_io(P) P(burst, COUNT, 1024, 1, UINT32_MAX, "units between two hand-overs")
#define WORK_PARAMS_yield_heavy(P)
#define WORK_PARAMS_mixed(P)
#define WORK_PARAMS_idle_churn(P)                                                                            \
	P(burst, DURATION, 1 * WORK_MS, 1, WORK_HOUR, "how long it spins")                                   \
	P(sleep, DURATION, 5 * WORK_MS, 0, WORK_HOUR, "how long it sleeps")                                  \
	P(precise, FLAG, 0, 0, 1, "1 ns of timer slack instead of the kernel's 50 us")
/* The interval is also how late it may see that it is to stop. */
#define WORK_PARAMS_timer_latency(P)                                                                         \
	P(interval, DURATION, 1 * WORK_MS, 1000, WORK_SECOND, "time between two wake-ups")
#define WORK_PARAMS_futex_ping_pong(P) P(spin, COUNT, 1024, 1, UINT32_MAX, "units between two hand-overs")

/* K(KIND, suffix of the member's name, wire message) */
#define WORK_PARAM_KIND_LIST(K)                                                                              \
	K(DURATION, duration)                                                                                \
	K(SIZE, size)                                                                                        \
	K(COUNT, uint32_value)                                                                               \
	K(FLAG, bool_value)                                                                                  \
	K(POLICY, sched_policy)

#endif
