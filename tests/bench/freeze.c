/* SPDX-License-Identifier: GPL-2.0-only */
/* How long a freeze takes, from asking to the last vCPU parked, and how that grows: 1, 2, 4, ... and 254
 * vCPUs that count, on this machine's KVM. The aim is 0.5 ms for 254 on hardware (median); what a line adds
 * to the one before it, by vCPU, tells whether more of them are worse than their number.
 *
 *   bench-freeze [MAX_VCPUS [FREEZES]] */
#include "bare.h"
#include "common/clock.h"

#include <string.h>

BARE_GUEST(guest_count, "1: incq (%rdi)\n jmp 1b");

static int ascending(const void *va, const void *vb)
{
	uint64_t a = *(const uint64_t *)va, b = *(const uint64_t *)vb;
	return a < b ? -1 : a > b;
}

struct result {
	unsigned n_vcpus;
	double p50_us;
};

/* before: of fewer vCPUs; none if it has 0. */
static struct result measure(unsigned n_vcpus, unsigned n_freezes, struct result before)
{
	_cleanup_(bare_free_p) struct bare *b =
		bare_start(bare_new(n_vcpus, guest_count, guest_count_end, 0));
	bare_wait_all_running(b);
	_cleanup_free_ uint64_t *park_ns = calloc(n_freezes, sizeof(*park_ns));
	uint64_t kicks = 0, progress = 0;
	for (unsigned i = 0; i < n_freezes; i++) {
		struct freeze_times times;
		struct freeze *f = bare_freeze(b);
		uint64_t at = bare_cell(b, n_vcpus - 1);
		vm_thaw(f, &times);
		park_ns[i] = times.parked_ns - times.asked_ns;
		kicks += times.kicks;
		/* Let everybody get going: a freeze of vCPUs that have not left the last one yet is no
		 * measurement. */
		bare_wait_moved(b, n_vcpus - 1, at);
		progress++;
	}
	qsort(park_ns, n_freezes, sizeof(*park_ns), ascending);
	struct result own = {n_vcpus, (double)park_ns[n_freezes / 2] / 1e3};
	printf("%3u vCPUs: p50 %8.1f us  p99 %8.1f us  max %8.1f us  (%llu freezes, %.2f kicks per vCPU",
		n_vcpus, own.p50_us, (double)park_ns[n_freezes * 99 / 100] / 1e3,
		(double)park_ns[n_freezes - 1] / 1e3, (unsigned long long)progress,
		(double)kicks / n_freezes / n_vcpus);
	if (before.n_vcpus)
		printf(", %+.2f us per vCPU more", (own.p50_us - before.p50_us) / (n_vcpus - before.n_vcpus));
	printf(")\n");
	fflush(stdout);
	return own;
}

int main(int argc, char **argv)
{
	unsigned max = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 254;
	unsigned freezes = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 200;
	if (max < 1 || max > CPUSET_MAX || freezes < 1) {
		fprintf(stderr, "usage: bench-freeze [MAX_VCPUS [FREEZES]]\n");
		return 64;
	}
	struct result last = {0};
	for (unsigned n = 1; n < max; n *= 2)
		last = measure(n, freezes, last);
	measure(max, freezes, last);
	return 0;
}
