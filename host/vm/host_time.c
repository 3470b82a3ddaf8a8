/* SPDX-License-Identifier: GPL-2.0-only */
/* What the host gave vCPU threads (see vm.h). Any thread. */
#include "common/fsat.h"
#include "host/vm/vm_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

bool vm_host_time_parse(const char *text, struct vm_host_time *ret)
{
	/* Documentation/scheduler/sched-stats.rst: time on a CPU, time on a run queue, time slices. A host
	 * that does not count (sched_info_on()) says "0 0 0"; of a thread that has run the slices are not 0.
	 */
	struct vm_host_time time;
	uint64_t slices;
	if (sscanf(text, "%" SCNu64 " %" SCNu64 " %" SCNu64, &time.run_ns, &time.wait_ns, &slices) != 3 ||
		(!time.run_ns && !time.wait_ns && !slices))
		return false;
	*ret = time;
	return true;
}

int vm_vcpu_host_time(const struct vm *vm, unsigned vcpu, struct vm_host_time *ret)
{
	char path[64], text[128];
	pid_t tid = vcpu < vm->n_vcpus ? atomic_load_explicit(&vm->vcpus[vcpu].tid, memory_order_relaxed) : 0;
	if (!tid)
		return -ESRCH;
	snprintf(path, sizeof(path), "/proc/self/task/%d/schedstat", (int)tid);
	return fsat_read(AT_FDCWD, path, text, sizeof(text)) > 0 && vm_host_time_parse(text, ret) ? 0
												  : -ENOENT;
}
