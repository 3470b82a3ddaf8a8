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
		"one wakes many, who sleep and multiply matrices")                                           \
	X(28, sequence, SEQUENCE, 1, "1", "its phases in order, again and again")                            \
	X(29, producer_consumer_imbalance, PRODUCER_CONSUMER_IMBALANCE, p->producers + p->consumers,         \
		"producers + consumers", "a bounded queue")                                                  \
	X(30, epoll_storm, EPOLL_STORM, p->producers + p->consumers, "producers + consumers",                \
		"eventfds through epoll")                                                                    \
	X(31, alu_hot, ALU_HOT, 1, "1", "dependent arithmetic in vector registers; cost of a round")         \
	X(32, smt_sibling_spin, SMT_SIBLING_SPIN, 2, "2",                                                    \
		"pairs spin on two threads of a core; cost of a round")                                      \
	X(33, ipc_variance, IPC_VARIANCE, 1, "1", "high-IPC and low-IPC stretches in turn")                  \
	X(34, numa_working_set_sweep, NUMA_WORKING_SET_SWEEP, 1, "1", "moves its memory round the nodes")    \
	X(35, numa_migration_churn, NUMA_MIGRATION_CHURN, 1, "1", "hops between nodes; needs CPUs of two")   \
	X(36, cgroup_churn, CGROUP_CHURN, 1, "1", "moves itself between groups below its cgroup; needs one") \
	X(37, cgroup_attach_storm, CGROUP_ATTACH_STORM, 1, "1", "forks children into another cgroup")        \
	X(38, io_sync_write, IO_SYNC_WRITE, 1, "1",                                                          \
		"writes 4 KiB at a time and waits for the disk (--disk, else memory)")                       \
	X(39, io_rand_read, IO_RAND_READ, 1, "1",                                                            \
		"reads 4 KiB at random places that no cache has (--disk, else memory)")                      \
	X(40, io_convoy, IO_CONVOY, 1, "1", "all workers write into one file (--disk, else memory)")         \
	X(41, net_traffic, NET_TRAFFIC, 1, "1", "frames to itself over the network device (--net)")          \
	X(42, irq_wake, IRQ_WAKE, 2, "2", "one sends, the other is woken from the interrupt path (--net)")   \
	X(43, schbench, SCHBENCH, 1, "1", "wake-up and request latency in schbench's manner")                \
	X(44, cache_server, CACHE_SERVER, 1, "1", "get/miss mix of a cache server")                          \
	X(45, custom, CUSTOM, 1, "1", "a program of the user's that speaks the worker protocol")

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

/* 0 phases: one of each, WORK_MS long. */
#define WORK_STEPS_MAX 16
#define WORK_PARAMS_sequence(P) P(phases, STEPS, 0, 0, WORK_STEPS_MAX, "what it does, in order")
#define WORK_QUEUE_MAX 4096
#define WORK_PARAMS_producer_consumer_imbalance(P)                                                           \
	P(producers, COUNT, 2, 1, 1024, "how many produce")                                                  \
	P(consumers, COUNT, 1, 1, 1024, "how many consume")                                                  \
	P(rate, COUNT, 1000, 1, 1000000, "items of each producer in a second")                               \
	P(work, COUNT, 4096, 1, UINT32_MAX, "units for an item")                                             \
	P(queue, COUNT, 1024, 1, WORK_QUEUE_MAX, "items that fit")
#define WORK_EVENTS_MAX 1024
#define WORK_PARAMS_epoll_storm(P)                                                                           \
	P(producers, COUNT, 1, 1, 1024, "how many write")                                                    \
	P(consumers, COUNT, 2, 1, 1024, "how many wait")                                                     \
	P(fds, COUNT, 32, 1, WORK_EVENTS_MAX, "eventfds")
#define WORK_PARAMS_alu_hot(P)                                                                               \
	P(width, COUNT, 0, 0, 512, "bits: 64, 128, 256, 512, or 0 for the widest that the CPU has")
#define WORK_PARAMS_smt_sibling_spin(P)
#define WORK_PARAMS_ipc_variance(P)                                                                          \
	P(high, COUNT, 100000, 1, UINT32_MAX, "units of independent arithmetic in a stretch")                \
	P(low, COUNT, 1024, 1, UINT32_MAX, "dependent loads in a stretch")                                   \
	P(turns, COUNT, 64, 1, UINT32_MAX, "stretches of each in a round")
#define WORK_PARAMS_numa_working_set_sweep(P)                                                                \
	P(size, SIZE, 4194304, 4096, UINT64_C(1) << 30, "working set")                                       \
	P(interval, DURATION, 100 * WORK_MS, WORK_MS, WORK_HOUR, "between two moves")                        \
	P(nodes, NODES, 0, 0, UINT64_MAX, "on which it is in turn; none: all that it may use")
#define WORK_PARAMS_numa_migration_churn(P)                                                                  \
	P(interval, DURATION, 100 * WORK_MS, WORK_MS, WORK_HOUR, "between two hops")
#define WORK_CHURN_GROUPS_MAX 64
#define WORK_PARAMS_cgroup_churn(P)                                                                          \
	P(groups, COUNT, 2, 2, WORK_CHURN_GROUPS_MAX, "groups of each worker")                               \
	P(interval, DURATION, 100 * WORK_MS, WORK_MS, WORK_HOUR, "between two moves")
#define WORK_PARAMS_cgroup_attach_storm(P)                                                                   \
	P(destination, CGROUP, 0, 0, 1, "where the children are born; none: a group below its own")          \
	P(reap, FLAG, 1, 0, 1, "it waits for each child")
#define WORK_PARAMS_io_sync_write(P)
#define WORK_PARAMS_io_rand_read(P)
#define WORK_PARAMS_io_convoy(P)
#define WORK_FRAME_MIN 60
#define WORK_FRAME_MAX 1514
#define WORK_PARAMS_net_traffic(P)                                                                           \
	P(interval, DURATION, 1 * WORK_MS, 0, WORK_SECOND, "time between two frames")                        \
	P(frame, SIZE, 256, WORK_FRAME_MIN, WORK_FRAME_MAX, "length of a frame, Ethernet header included")
#define WORK_PARAMS_irq_wake(P)                                                                              \
	P(interval, DURATION, 1 * WORK_MS, 1000, WORK_SECOND, "time between two frames")                     \
	P(frame, SIZE, WORK_FRAME_MIN, WORK_FRAME_MIN, WORK_FRAME_MAX,                                       \
		"length of a frame, Ethernet header included")
#define WORK_PARAMS_schbench(P)                                                                              \
	P(messengers, COUNT, 1, 1, 64, "who hand out requests")                                              \
	P(workers, COUNT, 0, 0, 1024, "of each messenger; 0: one for each CPU")                              \
	P(footprint, SIZE, 262144, 4096, UINT64_C(1) << 28, "matrices of each")                              \
	P(operations, COUNT, 5, 1, UINT32_MAX, "products in a request")                                      \
	P(sleep, DURATION, 100000, 0, WORK_SECOND, "sleep before them")
#define WORK_PARAMS_cache_server(P)                                                                          \
	P(clients, COUNT, 0, 0, 1024, "who ask; 0: one for each CPU")                                        \
	P(slow, COUNT, 0, 0, 1024, "further ones who think for 10 ms after each request")                    \
	P(size, SIZE, UINT64_C(64) << 20, 65536, UINT64_C(1) << 34, "of the cache")                          \
	P(hit_pct, COUNT, 90, 0, 100, "requests that hit, of 100")                                           \
	P(miss, DURATION, 100000, 0, WORK_SECOND, "what a miss waits for")
#define WORK_PARAMS_custom(P) P(program, PROGRAM, 0, 0, 1, "a payload's name, and arguments")

/* K(KIND, suffix of the member's name, wire message). STEPS, CGROUP and PROGRAM have more than a number: that
 * is in struct work_params, the number says how many or whether. NODES is a bit mask. */
#define WORK_PARAM_KIND_LIST(K)                                                                              \
	K(DURATION, duration)                                                                                \
	K(SIZE, size)                                                                                        \
	K(COUNT, uint32_value)                                                                               \
	K(FLAG, bool_value)                                                                                  \
	K(POLICY, sched_policy)                                                                              \
	K(STEPS, sequence_phase)                                                                             \
	K(NODES, cpu_set)                                                                                    \
	K(CGROUP, cgroup_ref)                                                                                \
	K(PROGRAM, custom_program)

#endif
