/* SPDX-License-Identifier: GPL-2.0-only */
/* Boots of the controller's VM and of QEMU's microvm side by side, until the agent in them speaks:
 *
 *   bench-boot SCHEDRIGD RUNS [KERNEL [HOST_CPU]]
 *
 * Both get the same kernel, the same initramfs, one vCPU, 1 GiB, and all of either runs on HOST_CPU (default:
 * anywhere). Both are measured from just before the process is made until the agent's first bytes have come
 * through vsock; for the controller, that is what its `ready` says, which comes later: after the greeting was
 * answered and the topology checked. QEMU gets the kernel twice: as the bzImage, and as the unpacked vmlinux
 * that saves the guest the unpacking. The kinds take turns, so that what else the machine does hits all of
 * them. See sides.h. */
#include "common/clock.h"
#include "sides.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#define RUNS_MAX 100

enum kind { SCHEDRIG, MICROVM_ELF, MICROVM_BZIMAGE, N_KINDS };

static const char *const names[N_KINDS] = {
	"schedrigd, agent ready", "QEMU microvm, vmlinux", "QEMU microvm, bzImage"};

/* Milliseconds, or -1. */
static double run(enum kind kind)
{
	struct side side;
	bool good = kind == SCHEDRIG
			    ? sides_start_schedrig("1n1l1c1t", NULL, &side)
			    : sides_start_microvm(
				      kind == MICROVM_ELF ? sides_vmlinux : sides_bzimage, 1, NULL, &side);
	double ms = good ? side.ready_ms : -1;
	sides_stop(&side);
	return ms;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* A side that does not come up is told and left out; without any boot of ours there is nothing to tell. */
static bool measure(unsigned runs)
{
	static double ms[N_KINDS][RUNS_MAX];
	unsigned n[N_KINDS] = {0};
	for (unsigned i = 0; i < runs; i++)
		for (enum kind kind = 0; kind < N_KINDS; kind++) {
			double one = run(kind);
			if (one < 0) {
				fprintf(stderr, "%-24s did not come up\n", names[kind]);
				continue;
			}
			fprintf(stderr, "%-24s %8.0f ms\n", names[kind], one);
			ms[kind][n[kind]++] = one;
		}
	for (enum kind kind = 0; kind < N_KINDS; kind++) {
		printf("%-24s %u of %u came up", names[kind], n[kind], runs);
		if (n[kind]) {
			qsort(ms[kind], n[kind], sizeof(ms[kind][0]), compare);
			printf("  median %8.0f ms  min %8.0f  max %8.0f", ms[kind][n[kind] / 2], ms[kind][0],
				ms[kind][n[kind] - 1]);
			if (kind != SCHEDRIG && n[SCHEDRIG])
				printf("   we: %.2f of it",
					ms[SCHEDRIG][n[SCHEDRIG] / 2] / ms[kind][n[kind] / 2]);
		}
		printf("\n");
	}
	return n[SCHEDRIG] == runs;
}

int main(int argc, char **argv)
{
	unsigned runs = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
	if (runs < 1 || runs > RUNS_MAX || argc > 5) {
		fprintf(stderr, "usage: %s SCHEDRIGD RUNS [KERNEL [HOST_CPU]]\n", argv[0]);
		return 64;
	}
	if (argc > 4) {
		cpu_set_t cpus;
		CPU_ZERO(&cpus);
		CPU_SET(strtoul(argv[4], NULL, 10), &cpus);
		if (sched_setaffinity(0, sizeof(cpus), &cpus) < 0) {
			perror("pinning");
			return 1;
		}
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	return sides_end(sides_begin(argv[1], argc > 3 ? argv[3] : "default") && measure(runs));
}
