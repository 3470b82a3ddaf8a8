/* SPDX-License-Identifier: GPL-2.0-only */
/* numa_working_set_sweep: walks its working set, and moves it to the next node after every interval, by
 * mbind(2) with MPOL_MF_MOVE. On one node it only walks. Runs in worker processes. */
#include "guest/work/worker.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

/* include/uapi/linux/mempolicy.h */
#define KERNEL_MPOL_BIND 2
#define KERNEL_MPOL_MF_MOVE 2
#define KERNEL_MPOL_F_MEMS_ALLOWED 4
#define LINE_BYTES 64

static int next_node(uint64_t mask, int node)
{
	for (int n = node + 1; n < 64; n++)
		if (mask >> n & 1)
			return n;
	return mask ? __builtin_ctzll(mask) : -1;
}

/* False: that node cannot be used. */
static bool bind_to(void *at, uint64_t bytes, int node)
{
	uint64_t mask[CPUSET_MAX / 64] = {UINT64_C(1) << node};
	return syscall(SYS_mbind, at, bytes, KERNEL_MPOL_BIND, mask, CPUSET_MAX + 1ul, KERNEL_MPOL_MF_MOVE) ==
	       0;
}

static void walk(struct worker *worker, volatile uint8_t *at, uint64_t bytes)
{
	uint32_t units = 0;
	for (uint64_t i = 0; i < bytes && !worker_stopping(worker); i += LINE_BYTES) {
		at[i]++;
		if (++units == WORKER_BURST_UNITS) {
			worker_did(worker, units);
			units = 0;
		}
	}
	worker_did(worker, units);
}

void worker_run_numa_working_set_sweep(struct worker *worker)
{
	const struct work_numa_working_set_sweep *params = &worker->params->numa_working_set_sweep;
	uint64_t allowed[CPUSET_MAX / 64] = {0}, mask = params->nodes_mask;
	uint8_t *at = worker_map(worker, params->size_bytes);
	if (syscall(SYS_get_mempolicy, NULL, allowed, CPUSET_MAX + 1ul, NULL, KERNEL_MPOL_F_MEMS_ALLOWED) < 0)
		worker_fail(worker, "get_mempolicy");
	mask = mask ? mask & allowed[0] : allowed[0];
	int node = -1;
	if (!mask) {
		errno = ENODEV;
		worker_fail(worker, "finding its nodes");
	}
	uint64_t due_ns = 0;
	do {
		if (worker_now_ns() >= due_ns) {
			node = next_node(mask, node);
			/* Nodes can be taken away (cpuset.mems), and memory can run out: the others remain.
			 */
			if (!bind_to(at, params->size_bytes, node) && errno != EINVAL && errno != ENOMEM &&
				errno != EIO)
				worker_fail(worker, "mbind");
			due_ns = worker_now_ns() + params->interval_ns;
		}
		walk(worker, at, params->size_bytes);
		worker_iteration(worker);
	} while (!worker_stopping(worker));
}
