/* SPDX-License-Identifier: GPL-2.0-only */
/* What the host gave vCPU threads (see vm.h). Any thread. */
#include "common/fsat.h"
#include "host/vm/vm_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

int vm_vcpu_host_time(const struct vm *vm, unsigned vcpu, struct vm_host_time *ret)
{
	/* Documentation/scheduler/sched-stats.rst: time on a CPU, time on a run queue, time slices. */
	char path[64], text[128];
	pid_t tid = vcpu < vm->n_vcpus ? atomic_load_explicit(&vm->vcpus[vcpu].tid, memory_order_relaxed) : 0;
	struct vm_host_time time;
	if (!tid)
		return -ESRCH;
	snprintf(path, sizeof(path), "/proc/self/task/%d/schedstat", (int)tid);
	if (fsat_read(AT_FDCWD, path, text, sizeof(text)) <= 0 ||
		sscanf(text, "%" SCNu64 " %" SCNu64, &time.run_ns, &time.wait_ns) != 2)
		return -ENOENT;
	*ret = time;
	return 0;
}
