/* SPDX-License-Identifier: GPL-2.0-only */
/* What a controller costs before the guest does anything: bench-startup SCHEDRIGD TOPOLOGY RUNS [OPTION...]
 *
 *   host share       process start to first KVM_RUN, as the controller measures it; /dev/kvm of any kind
 *   private dirty    memory of the controller beyond the guest's own, once the first vCPU runs
 *
 * Runs after the first one have warm caches: the first is shown apart. */
#include "common/clock.h"
#include "common/strbuf.h"
#include "host/client/schedrig.h"
#include "proto/pb.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define RUNS_MAX 200

struct sample {
	double first_run_ms;
	double dirty_mib;
};

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void print_row(const char *what, double *values, int n, const char *unit)
{
	qsort(values, (size_t)n, sizeof(*values), compare);
	printf("%-14s min %8.2f   median %8.2f   p90 %8.2f   max %8.2f %s\n", what, values[0], values[n / 2],
		values[n * 9 / 10], values[n - 1], unit);
}

/* Private dirty KiB of the process's mappings, those as large as guest memory left out. */
static double dirty_mib(pid_t pid, uint64_t guest_bytes)
{
	char path[64], line[512];
	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	FILE *file = fopen(path, "re");
	unsigned long long from, to, kib, sum = 0, mapping = 0;
	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%llx-%llx ", &from, &to) == 2 && strchr(line, '-') && line[0] != 'V')
			mapping = to - from;
		else if (sscanf(line, "Private_Dirty: %llu kB", &kib) == 1 && mapping < guest_bytes / 8)
			sum += kib;
	}
	if (file)
		fclose(file);
	return (double)sum / 1024;
}

static pid_t start(char **argv, int *ret_silence)
{
	int fds[2];
	if (pipe(fds) < 0)
		return -1;
	pid_t pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);
		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		close(fds[0]);
		execv(argv[0], argv);
		_exit(127);
	}
	close(fds[1]);
	*ret_silence = fds[0];
	return pid;
}

static bool measure(char **argv, const char *socket_path, struct sample *ret)
{
	int silence;
	pid_t pid = start(argv, &silence);
	if (pid < 0)
		return false;
	uint64_t deadline = clock_deadline_ns(20 * NS_PER_S);
	struct schedrig *vm = NULL;
	Schedrig__V1__Info *info = NULL;
	struct err err = ERR_INIT;
	bool good = false;
	while (clock_left_ns(deadline) && waitpid(pid, NULL, WNOHANG) == 0) {
		if (!vm)
			vm = schedrig_open(socket_path, &err);
		if (vm && schedrig_info(vm, &info, &err) == 0 && info->first_run_ns) {
			ret->first_run_ms = (double)info->first_run_ns / 1e6;
			ret->dirty_mib = dirty_mib(pid, info->memory_bytes);
			good = true;
			break;
		}
		schedrig_free_message(info);
		info = NULL;
		usleep(2000); /* polling interval of a measurement from outside; what is measured does not
				 wait for it */
	}
	if (!good)
		fprintf(stderr, "no first KVM_RUN: %s\n", err.message);
	schedrig_free_message(info);
	schedrig_close(vm);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(silence);
	return good;
}

int main(int argc, char **argv)
{
	int runs = argc > 3 ? atoi(argv[3]) : 0;
	if (runs < 1 || runs > RUNS_MAX || argc > 32) {
		fprintf(stderr, "usage: %s SCHEDRIGD TOPOLOGY RUNS [OPTION of schedrigd...]\n", argv[0]);
		return 64;
	}
	char directory[] = "/tmp/schedrig-bench.XXXXXX", socket_path[64];
	if (!mkdtemp(directory)) {
		perror("mkdtemp");
		return 1;
	}
	snprintf(socket_path, sizeof(socket_path), "%s/vm", directory);
	char *args[48] = {argv[1], (char *)"--topology", argv[2], (char *)"--socket", socket_path};
	for (int i = 4; i < argc; i++)
		args[i + 1] = argv[i];
	double ms[RUNS_MAX], mib[RUNS_MAX];
	struct sample sample;
	bool good = measure(args, socket_path, &sample);
	if (good)
		printf("%-14s %.2f ms (caches as they were)\n", "first", sample.first_run_ms);
	int n = 0;
	for (; good && n < runs; n++) {
		good = measure(args, socket_path, &sample);
		ms[n] = sample.first_run_ms;
		mib[n] = sample.dirty_mib;
	}
	unlink(socket_path);
	rmdir(directory);
	if (!good)
		return 1;
	print_row("host share", ms, n, "ms to the first KVM_RUN");
	print_row("private dirty", mib, n, "MiB beyond guest memory");
	return 0;
}
