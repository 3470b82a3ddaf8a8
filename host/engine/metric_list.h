/* SPDX-License-Identifier: GPL-2.0-only */
/* The one list of metrics of a set of workers in a set of phases. X(NAME, name, unit, better, what)
 * Times are of the guest. Everything is pooled from the workers' own numbers: a rate is a sum over a sum, a
 * percentile that of all samples together. */
#ifndef HOST_ENGINE_METRIC_LIST_H
#define HOST_ENGINE_METRIC_LIST_H

#define METRIC_LIST(X)                                                                                       \
	X(ITERATIONS, iterations, "", HIGHER, "rounds of the work type")                                     \
	X(ITERATION_RATE, iteration_rate, "1/s", HIGHER, "iterations per second of a worker's time")         \
	X(UNITS, units, "", HIGHER, "units of work")                                                         \
	X(WORK_RATE, work_rate, "1/s", HIGHER, "units per CPU-second")                                       \
	X(THROUGHPUT_CV, throughput_cv, "", LOWER, "deviation / mean of units per CPU-second over workers")  \
	X(CPU_TIME, cpu_time, "ns", UNSET, "CPU time used")                                                  \
	X(OFF_CPU_SPREAD, off_cpu_spread, "pct", LOWER,                                                      \
		"widest difference of off-CPU shares in a cgroup and work type")                             \
	X(GAP, gap, "ns", LOWER, "longest time without progress")                                            \
	X(GAP_RUN, gap_run, "ns", LOWER, "the same without what the host took of it")                        \
	X(MIGRATIONS, migrations, "", LOWER, "changes of CPU")                                               \
	X(MIGRATION_RATIO, migration_ratio, "", LOWER, "changes of CPU per iteration")                       \
	X(PREEMPTIONS, preemptions, "", LOWER, "times a worker was preempted")                               \
	X(WAKE_P50, wake_p50, "ns", LOWER, "median wake-up latency")                                         \
	X(WAKE_P99, wake_p99, "ns", LOWER, "wake-up latency, 99th percentile")                               \
	X(WAKE_P999, wake_p999, "ns", LOWER, "wake-up latency, 99.9th percentile")                           \
	X(WAKE_WORST, wake_worst, "ns", LOWER, "longest wake-up latency")                                    \
	X(WAKE_CV, wake_cv, "", LOWER, "deviation / mean of wake-up latencies")                              \
	X(TIMER_P50, timer_p50, "ns", LOWER, "median timer latency")                                         \
	X(TIMER_P99, timer_p99, "ns", LOWER, "timer latency, 99th percentile")                               \
	X(TIMER_P999, timer_p999, "ns", LOWER, "timer latency, 99.9th percentile")                           \
	X(TIMER_WORST, timer_worst, "ns", LOWER, "longest timer latency")                                    \
	X(COST_P50, cost_p50, "ns", LOWER, "median CPU time of an iteration")                                \
	X(COST_P99, cost_p99, "ns", LOWER, "CPU time of an iteration, 99th percentile")                      \
	X(REQUEST_P50, request_p50, "ns", LOWER, "median time of a request")                                 \
	X(REQUEST_P99, request_p99, "ns", LOWER, "time of a request, 99th percentile")                       \
	X(REQUEST_P999, request_p999, "ns", LOWER, "time of a request, 99.9th percentile")                   \
	X(REQUEST_WORST, request_worst, "ns", LOWER, "longest time of a request")                            \
	X(RUN_DELAY_MEAN, run_delay_mean, "ns", LOWER, "time runnable but not running, per time slice")      \
	X(RUN_DELAY_WORST, run_delay_worst, "ns", LOWER, "the same of the worker that fared worst")          \
	X(PAGE_LOCALITY, page_locality, "", HIGHER, "share of pages on nodes whose CPUs the worker used")

#endif
