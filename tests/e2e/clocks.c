/* SPDX-License-Identifier: GPL-2.0-only */
/* A payload that reads the clocks of the vDSO on all CPUs at once: `clocks SECONDS`. A value that one thread
 * has published before another one reads the clock must not be ahead of what that one reads. Prints what it
 * saw, and fails if time went back. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define CPUS_MAX 256

static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME};
#define N_CLOCKS (sizeof(clocks) / sizeof(clocks[0]))

static _Atomic uint64_t last[N_CLOCKS]; /* the latest that anybody has read */
static uint64_t end_ns;

struct reader {
	pthread_t thread;
	int cpu, pinned;
	uint64_t reads, back, worst_ns, step_ns;
};

static uint64_t read_clock(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void *reader_run(void *arg)
{
	struct reader *reader = arg;
	cpu_set_t cpus;
	CPU_ZERO(&cpus);
	CPU_SET((size_t)reader->cpu, &cpus);
	reader->pinned = sched_setaffinity(0, sizeof(cpus), &cpus) == 0 && sched_getcpu() == reader->cpu;
	uint64_t before_ns = read_clock(CLOCK_MONOTONIC), now_ns = before_ns;
	while (now_ns < end_ns) {
		for (unsigned i = 0; i < N_CLOCKS; i++) {
			uint64_t seen = atomic_load(&last[i]), now = read_clock(clocks[i]);
			if (now < seen) {
				reader->back++;
				if (seen - now > reader->worst_ns)
					reader->worst_ns = seen - now;
			}
			while (seen < now && !atomic_compare_exchange_weak(&last[i], &seen, now))
				;
			if (i == 0)
				now_ns = now;
			reader->reads++;
		}
		if (now_ns - before_ns > reader->step_ns)
			reader->step_ns = now_ns - before_ns;
		before_ns = now_ns;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	static struct reader readers[CPUS_MAX];
	int n = (int)sysconf(_SC_NPROCESSORS_ONLN), pinned = 0;
	struct reader all = {0};
	if (argc != 2 || n < 1 || n > CPUS_MAX)
		return 64;
	end_ns = read_clock(CLOCK_MONOTONIC) + (uint64_t)(atof(argv[1]) * 1e9);
	for (int i = 0; i < n; i++) {
		readers[i].cpu = i;
		if (pthread_create(&readers[i].thread, NULL, reader_run, &readers[i]))
			return 70;
	}
	for (int i = 0; i < n; i++) {
		pthread_join(readers[i].thread, NULL);
		pinned += readers[i].pinned;
		all.reads += readers[i].reads;
		all.back += readers[i].back;
		if (readers[i].worst_ns > all.worst_ns)
			all.worst_ns = readers[i].worst_ns;
		if (readers[i].step_ns > all.step_ns)
			all.step_ns = readers[i].step_ns;
	}
	printf("cpus %d reads %llu back %llu worst_ns %llu step_ns %llu\n", pinned,
		(unsigned long long)all.reads, (unsigned long long)all.back, (unsigned long long)all.worst_ns,
		(unsigned long long)all.step_ns);
	return all.back ? 1 : 0;
}
