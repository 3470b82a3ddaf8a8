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
	X(8, futex_ping_pong, FUTEX_PING_PONG, 2, "2", "pairs hand over a futex")                            \
	X(9, futex_fan_out, FUTEX_FAN_OUT, p->fan_out + 1, "fan_out + 1", "one wakes many")                  \
	X(10, wake_chain, WAKE_CHAIN, p->depth, "depth", "a wake-up travels round a ring")                   \
	X(11, thundering_herd, THUNDERING_HERD, p->waiters + 1, "waiters + 1",                               \
		"broadcasts wake all at once")                                                               \
	X(12, signal_storm, SIGNAL_STORM, 2, "2", "pairs signal each other")                                 \
	X(13, mutex_contention, MUTEX_CONTENTION, p->contenders, "contenders", "one futex mutex for all")    \
	X(14, priority_inversion, PRIORITY_INVERSION, p->high + p->medium + p->low, "high + medium + low",   \
		"FIFO 70, 50 and 30; high and low share a mutex")                                            \
	X(15, asymmetric_waker, ASYMMETRIC_WAKER, 2, "2", "pairs hand over a futex between two policies")    \
	X(16, preempt_storm, PREEMPT_STORM, p->normals + 1, "normals + 1",                                   \
		"a FIFO 1 waker preempts the others, who spin")                                              \
	X(17, rt_starvation, RT_STARVATION, p->rt + p->normals, "rt + normals",                              \
		"FIFO hogs next to normal work")                                                             \
	X(18, cache_pressure, CACHE_PRESSURE, 1, "1", "strided read-modify-write")                           \
	X(19, cache_yield, CACHE_YIELD, 1, "1", "strided read-modify-write, then a yield")                   \
	X(20, cache_pipe, CACHE_PIPE, 2, "2", "strided read-modify-write in turns, by pipes")                \
	X(21, page_fault_churn, PAGE_FAULT_CHURN, 1, "1", "maps, touches, drops")                            \
	X(22, fork_exit, FORK_EXIT, 1, "1", "forks a child that exits, waits for it")                        \
	X(23, nice_sweep, NICE_SWEEP, 1, "1", "walks its nice value")                                        \
	X(24, affinity_churn, AFFINITY_CHURN, 1, "1", "pins itself to one CPU after another")                \
	X(25, cross_affinity_churn, CROSS_AFFINITY_CHURN, p->siblings, "siblings",                           \
		"each pins the next to one CPU after another")                                               \
	X(26, policy_churn, POLICY_CHURN, 1, "1", "walks its scheduling policy")                             \
	X(27, fan_out_compute, FAN_OUT_COMPUTE, p->fan_out + 1, "fan_out + 1",                               \
		"one wakes many, who sleep and multiply matrices")

/* Those that this version does not have. X(snake_name, "why") */
#define WORK_LATER_LIST(X)                                                                                   \
	X(sequence, "not written yet")                                                                       \
	X(producer_consumer_imbalance, "not written yet")                                                    \
	X(epoll_storm, "not written yet")                                                                    \
	X(alu_hot, "not written yet: reports have no costs of iterations")                                   \
	X(smt_sibling_spin, "not written yet: reports have no costs of iterations")                          \
	X(ipc_variance, "not written yet")                                                                   \
	X(numa_working_set_sweep, "not written yet")                                                         \
	X(numa_migration_churn, "not written yet")                                                           \
	X(cgroup_churn, "not written yet")                                                                   \
	X(cgroup_attach_storm, "not written yet")                                                            \
	X(io_sync_write, "not written yet")                                                                  \
	X(io_rand_read, "not written yet")                                                                   \
	X(io_convoy, "not written yet")                                                                      \
	X(net_traffic, "needs a network device, which this version's machines do not have")                  \
	X(irq_wake, "needs a network device, which this version's machines do not have")                     \
	X(schbench, "not written yet")                                                                       \
	X(cache_server, "not written yet")                                                                   \
	X(custom, "not written yet")

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

#define WORK_PARAMS_futex_fan_out(P)                                                                         \
	P(fan_out, COUNT, 4, 1, 1024, "how many are woken")                                                  \
	P(spin, COUNT, 1024, 1, UINT32_MAX, "units of each in a round")
#define WORK_CHAIN_MAX 256
#define WORK_PARAMS_wake_chain(P)                                                                            \
	P(depth, COUNT, 4, 2, WORK_CHAIN_MAX, "workers in the ring")                                         \
	P(futex, FLAG, 0, 0, 1, "by futexes instead of pipes")                                               \
	P(work, DURATION, 100000, 0, WORK_SECOND, "work at each before it passes the wake-up on")
#define WORK_PARAMS_thundering_herd(P)                                                                       \
	P(waiters, COUNT, 7, 1, 1024, "how many are woken")                                                  \
	P(batches, COUNT, 1000, 1, UINT32_MAX, "broadcasts between two pauses")                              \
	P(pause, DURATION, 5 * WORK_MS, 0, WORK_HOUR, "length of a pause")
#define WORK_PARAMS_signal_storm(P)                                                                          \
	P(signals, COUNT, 16, 1, 65536, "signals in a round")                                                \
	P(spin, COUNT, 1024, 1, UINT32_MAX, "units in a round")
#define WORK_PARAMS_mutex_contention(P)                                                                      \
	P(contenders, COUNT, 4, 2, 1024, "who share a mutex")                                                \
	P(hold, COUNT, 256, 1, UINT32_MAX, "units with the mutex held")                                      \
	P(work, COUNT, 1024, 1, UINT32_MAX, "units without it")
#define WORK_PARAMS_priority_inversion(P)                                                                    \
	P(high, COUNT, 1, 1, 256, "workers at FIFO 70")                                                      \
	P(medium, COUNT, 1, 1, 256, "workers at FIFO 50")                                                    \
	P(low, COUNT, 1, 1, 256, "workers at FIFO 30")                                                       \
	P(pi, FLAG, 0, 0, 1, "a mutex with priority inheritance")
#define WORK_PARAMS_asymmetric_waker(P)                                                                      \
	P(waker, POLICY, WORK_POLICY(WORK_FIFO, 1), 0, 0, "policy of one")                                   \
	P(wakee, POLICY, WORK_POLICY(WORK_NORMAL, 0), 0, 0, "policy of the other")
#define WORK_PARAMS_preempt_storm(P)                                                                         \
	P(normals, COUNT, 2, 1, 1024, "how many spin")                                                       \
	P(spin, COUNT, 1024, 1, UINT32_MAX, "units of the waker each time")                                  \
	P(interval, DURATION, 1 * WORK_MS, 1000, WORK_HOUR, "time between two preemptions")
#define WORK_PARAMS_rt_starvation(P)                                                                         \
	P(rt, COUNT, 1, 1, 1024, "how many hogs")                                                            \
	P(normals, COUNT, 1, 1, 1024, "how many others")                                                     \
	P(priority, COUNT, 50, 1, 98, "of the hogs")

#define WORK_PARAMS_cache_pressure(P)                                                                        \
	P(size, SIZE, 32768, 64, UINT64_C(1) << 30, "buffer of each worker")                                 \
	P(stride, SIZE, 64, 1, UINT64_C(1) << 30, "bytes between two accesses")
#define WORK_PARAMS_cache_yield(P)                                                                           \
	P(size, SIZE, 32768, 64, UINT64_C(1) << 30, "buffer of each worker")                                 \
	P(stride, SIZE, 64, 1, UINT64_C(1) << 30, "bytes between two accesses")
#define WORK_PARAMS_cache_pipe(P)                                                                            \
	P(size, SIZE, 32768, 64, UINT64_C(1) << 30, "buffer of each worker")                                 \
	P(stride, SIZE, 64, 1, UINT64_C(1) << 30, "bytes between two accesses")
#define WORK_PARAMS_page_fault_churn(P)                                                                      \
	P(region, SIZE, 4194304, 4096, UINT64_C(1) << 36, "what is mapped")                                  \
	P(touches, COUNT, 256, 1, UINT32_MAX, "pages touched in a round")
#define WORK_PARAMS_fork_exit(P)
#define WORK_PARAMS_nice_sweep(P)
#define WORK_PARAMS_affinity_churn(P) P(spin, COUNT, 1024, 1, UINT32_MAX, "units at each CPU")
#define WORK_PARAMS_cross_affinity_churn(P)                                                                  \
	P(spin, COUNT, 1024, 1, UINT32_MAX, "units between two changes")                                     \
	P(siblings, COUNT, 2, 2, 1024, "workers who pin each other")
#define WORK_PARAMS_policy_churn(P) P(spin, COUNT, 1024, 1, UINT32_MAX, "units at each policy")
#define WORK_PARAMS_fan_out_compute(P)                                                                       \
	P(fan_out, COUNT, 4, 1, 1024, "how many are woken")                                                  \
	P(footprint, SIZE, 262144, 4096, UINT64_C(1) << 28, "matrices of each")                              \
	P(operations, COUNT, 5, 1, UINT32_MAX, "products in a round")                                        \
	P(sleep, DURATION, 100000, 0, WORK_SECOND, "sleep before them")

/* K(KIND, suffix of the member's name, wire message) */
#define WORK_PARAM_KIND_LIST(K)                                                                              \
	K(DURATION, duration)                                                                                \
	K(SIZE, size)                                                                                        \
	K(COUNT, uint32_value)                                                                               \
	K(FLAG, bool_value)                                                                                  \
	K(POLICY, sched_policy)

#endif
