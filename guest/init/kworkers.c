/* SPDX-License-Identifier: GPL-2.0-only */
/* Priorities of kernel workers (see init.h). One thread. */
#include "common/fsat.h"
#include "common/scope.h"
#include "guest/init/init.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

/* Kernel threads are children of kthreadd, PID 2. CONFIG_PROC_CHILDREN. */
#define KERNEL_THREADS "/proc/2/task/2/children"
#define LIST_MAX_BYTES (1u << 20)

/* "kworker/3:1-events", "kworker/3:0H": those of a CPU begin with its number, others with "u". */
static bool is_bound_to(pid_t pid, unsigned cpu)
{
	char path[40], comm[80];
	unsigned number;
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	return fsat_read(AT_FDCWD, path, comm, sizeof(comm)) > 0 &&
	       sscanf(comm, "kworker/%u:", &number) == 1 && number == cpu;
}

int init_raise_kworkers(unsigned cpu)
{
	static char *seen; /* the list as it was when all of it had been looked at */
	_cleanup_free_ char *list = NULL;
	size_t length;
	int raised = 0, r = fsat_read_all(AT_FDCWD, KERNEL_THREADS, LIST_MAX_BYTES, &list, &length);
	if (r < 0)
		return r;
	if (seen && !strcmp(seen, list))
		return 0;
	char *rest = list;
	for (;;) {
		char *end;
		pid_t pid = (pid_t)strtol(rest, &end, 10);
		if (end == rest)
			break;
		rest = end;
		int policy = sched_getscheduler(pid);
		/* The rest of the kernel's real-time threads is of no concern; one that has ended neither. */
		if (policy < 0 || (policy & ~SCHED_RESET_ON_FORK) != SCHED_OTHER || !is_bound_to(pid, cpu))
			continue;
		struct sched_param highest = {.sched_priority = 99};
		if (sched_setscheduler(pid, SCHED_FIFO, &highest) == 0)
			raised++;
		else if (errno != ESRCH)
			return -errno;
	}
	free(seen);
	seen = TAKE_PTR(list);
	return raised;
}

int init_pin_thread(unsigned cpu)
{
	unsigned long mask[1024 / (8 * sizeof(long))] = {0};
	if (cpu >= 1024)
		return -EINVAL;
	mask[cpu / (8 * sizeof(long))] = 1ul << (cpu % (8 * sizeof(long)));
	return sched_setaffinity(0, sizeof(mask), (const cpu_set_t *)(const void *)mask) < 0 ? -errno : 0;
}
