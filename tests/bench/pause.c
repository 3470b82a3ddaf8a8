/* SPDX-License-Identifier: GPL-2.0-only */
/* What a pause costs, ours and QEMU's side by side: freeze, read of 8 bytes of kernel memory, thaw through
 * the control socket, and stop, xp, cont through QMP.
 *
 *   bench-pause SCHEDRIGD ROUNDS [KERNEL [CPUS]]
 *
 * Two VMs with the same kernel and initramfs, each with CPUS vCPUs (default 1) that idle, run at the same
 * time, and take turns. See sides.h. */
#include "common/clock.h"
#include "host/client/schedrig.h"
#include "sides.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ROUNDS_MAX 100000u
/* Kernel code: both have the same there, since neither randomises. */
#define PLACE 0x1000000u

/* Of one side, in ns. */
struct rounds {
	uint64_t *pause, *whole;
	uint64_t *park; /* from the kick to the last vCPU parked: what a freeze from within the controller
			   takes; NULL: not told */
};

static bool say(const char *what)
{
	fprintf(stderr, "%s\n", what);
	return false;
}

/* --- ours --- */

static bool round_schedrig(struct schedrig *vm, struct rounds *rounds, unsigned round, uint64_t *ret_value)
{
	Schedrig__V1__Frozen *frozen = NULL;
	Schedrig__V1__Thawed *thawed = NULL;
	Schedrig__V1__ReadResponse *values = NULL;
	Schedrig__V1__ReadRequest read = SCHEDRIG__V1__READ_REQUEST__INIT;
	Schedrig__V1__KernelRead entry = SCHEDRIG__V1__KERNEL_READ__INIT, *entries[] = {&entry};
	Schedrig__V1__Target target = SCHEDRIG__V1__TARGET__INIT;
	Schedrig__V1__AddressTarget phys = SCHEDRIG__V1__ADDRESS_TARGET__INIT;
	struct err err = ERR_INIT;
	phys.address = PLACE;
	target.form_case = SCHEDRIG__V1__TARGET__FORM_PHYS;
	target.phys = &phys;
	entry.target = &target;
	entry.width = SCHEDRIG__V1__WIDTH__WIDTH_U64;
	read.reads = entries;
	read.n_reads = 1;
	read.cold = true;
	uint64_t begin = clock_now_ns(), paused = 0;
	bool good = schedrig_freeze(vm, NULL, &frozen, &err) == 0;
	paused = clock_now_ns();
	good = good && schedrig_read(vm, &read, &values, &err) == 0 && values->n_values == 1;
	good = good && schedrig_thaw(vm, &thawed, &err) == 0;
	rounds->whole[round] = clock_now_ns() - begin;
	rounds->pause[round] = paused - begin;
	rounds->park[round] = good ? thawed->freeze->park_ns : 0;
	*ret_value = good ? values->values[0]->value : 0;
	schedrig_free_message(frozen);
	schedrig_free_message(values);
	schedrig_free_message(thawed);
	return good || say(err.message);
}

/* --- QEMU's --- */

/* Sends a command and reads lines, of which events are none of ours, up to its answer. */
static bool qmp(FILE *monitor, const char *command, char *answer, size_t size)
{
	if (dprintf(fileno(monitor), "%s\n", command) < 0)
		return say("QMP: cannot write");
	while (fgets(answer, (int)size, monitor)) {
		if (strncmp(answer, "{\"return\"", 9) == 0)
			return true;
		if (strncmp(answer, "{\"error\"", 8) == 0)
			return say(answer);
	}
	return say("QMP: it hung up");
}

static FILE *qmp_open(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char answer[1024];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	FILE *monitor = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0
				? fdopen(fd, "r")
				: NULL;
	if (!monitor || !fgets(answer, sizeof(answer), monitor) ||
		!qmp(monitor, "{\"execute\": \"qmp_capabilities\"}", answer, sizeof(answer))) {
		say("QMP: cannot connect");
		return NULL;
	}
	return monitor;
}

static bool round_qemu(FILE *monitor, uint64_t *ret_pause_ns, uint64_t *ret_whole_ns, uint64_t *ret_value)
{
	static char read[160], answer[4096];
	snprintf(read, sizeof(read),
		"{\"execute\": \"human-monitor-command\", \"arguments\": {\"command-line\": \"xp /1gx "
		"%#x\"}}",
		PLACE);
	uint64_t begin = clock_now_ns(), paused = 0;
	bool good = qmp(monitor, "{\"execute\": \"stop\"}", answer, sizeof(answer));
	paused = clock_now_ns();
	good = good && qmp(monitor, read, answer, sizeof(answer));
	/* "0000000001000000: 0x..." */
	const char *value = good ? strstr(answer, ": 0x") : NULL;
	*ret_value = value ? strtoull(value + 2, NULL, 16) : 0;
	good = good && qmp(monitor, "{\"execute\": \"cont\"}", answer, sizeof(answer));
	*ret_whole_ns = clock_now_ns() - begin;
	*ret_pause_ns = paused - begin;
	return good;
}

/* --- both --- */

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static double report(const char *what, uint64_t *ns, unsigned n)
{
	qsort(ns, n, sizeof(*ns), by_value);
	printf("%-28s %9.1f us best %9.1f median %9.1f p90 %9.1f p99\n", what, (double)ns[0] / 1e3,
		(double)ns[n / 2] / 1e3, (double)ns[n * 9 / 10] / 1e3, (double)ns[n * 99 / 100] / 1e3);
	return (double)ns[n / 2];
}

static bool measure(
	struct schedrig *vm, FILE *monitor, unsigned n, struct rounds *ours, struct rounds *theirs)
{
	uint64_t ours_read, theirs_read;
	for (unsigned i = 0; i < n; i++) {
		if (!round_schedrig(vm, ours, i, &ours_read) ||
			!round_qemu(monitor, &theirs->pause[i], &theirs->whole[i], &theirs_read))
			return false;
		if (ours_read != theirs_read || !ours_read)
			return say("the two VMs do not hold the same kernel");
	}
	double pause = report("schedrigd: freeze", ours->pause, n);
	double park = report("  of it, kick to last park", ours->park, n);
	double stop = report("QEMU: stop", theirs->pause, n);
	double whole = report("schedrigd: freeze, read, thaw", ours->whole, n);
	whole /= report("QEMU: stop, xp, cont", theirs->whole, n);
	printf("we, of it: pause %.2f (kick to last park %.2f), whole %.2f\n", pause / stop, park / stop,
		whole);
	return true;
}

static bool compare_sides(unsigned n_cpus, unsigned n, struct rounds *ours, struct rounds *theirs)
{
	struct side schedrigd, qemu = {.pid = -1, .agent_fd = -1};
	char topology[32], control[100], monitor_path[100];
	struct err err = ERR_INIT;
	snprintf(topology, sizeof(topology), "1n1l%uc1t", n_cpus);
	snprintf(control, sizeof(control), "%s/vm.sock", sides_directory);
	snprintf(monitor_path, sizeof(monitor_path), "%s/qmp.sock", sides_directory);
	if (!sides_start_schedrig(topology, control, &schedrigd))
		return false;
	bool good = sides_start_microvm(sides_bzimage, n_cpus, monitor_path, &qemu);
	FILE *monitor = good ? qmp_open(monitor_path) : NULL;
	struct schedrig *vm = monitor ? schedrig_open(control, &err) : NULL;
	good = vm ? measure(vm, monitor, n, ours, theirs) : say(err.message);
	schedrig_close(vm);
	if (monitor)
		fclose(monitor);
	sides_stop(&qemu);
	sides_stop(&schedrigd);
	return good;
}

int main(int argc, char **argv)
{
	unsigned n = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
	unsigned n_cpus = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 1;
	if (n < 1 || n > ROUNDS_MAX || n_cpus < 1 || argc > 5) {
		fprintf(stderr, "usage: %s SCHEDRIGD ROUNDS [KERNEL [CPUS]]\n", argv[0]);
		return 64;
	}
	uint64_t *ns = calloc(n, 5 * sizeof(*ns));
	struct rounds ours = {ns, ns + n, ns + 4 * (size_t)n},
		      theirs = {.pause = ns + 2 * (size_t)n, .whole = ns + 3 * (size_t)n};
	bool good = ns && sides_begin(argv[1], argc > 3 ? argv[3] : "default") &&
		    compare_sides(n_cpus, n, &ours, &theirs);
	free(ns);
	return sides_end(good);
}
