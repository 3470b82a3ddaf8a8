/* SPDX-License-Identifier: GPL-2.0-only */
/* What a controller costs before its guest does anything:
 *
 *   bench-startup SCHEDRIGD RUNS [OPTION of schedrigd...]
 *
 *   exec to main    loader and libraries
 *   host share      just before the process is made to first KVM_RUN
 *   private dirty   memory of the controller beyond its guest's, once the first vCPU runs, and where it is
 *
 * /dev/kvm of any kind will do: the guest need not come up. The first run, with caches as they were, is shown
 * apart. The controller tells times relative to its main(), and how long it is up: from that and the time of
 * asking, its main() is known on our clock, up to half the time that the answer took. */
#include "common/clock.h"
#include "common/scope.h"
#include "host/client/schedrig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RUNS_MAX 1000
#define ARGS_MAX 64
#define ASKS 8
#define POLL_NS (2 * NS_PER_MS)
#define LIMIT_NS (30 * NS_PER_S)

extern char **environ;

enum measure {
	EXEC_TO_MAIN,
	MAIN_TO_RUN,
	HOST_SHARE,
	UNSURE,
	CPU_TIME,
	DIRTY,
	HEAP,
	STACKS,
	DATA,
	N_MEASURES
};

static const struct {
	const char *name, *unit, *note;
} measures[N_MEASURES] = {
	[EXEC_TO_MAIN] = {"exec to main", "ms", ""},
	[MAIN_TO_RUN] = {"main to first KVM_RUN", "ms", ""},
	[HOST_SHARE] = {"host share", "ms", "(both)"},
	[UNSURE] = {"  known up to", "ms", ""},
	[CPU_TIME] = {"CPU time", "ms", "(of the main thread and its helpers)"},
	[DIRTY] = {"private dirty", "MiB", "(beyond guest memory)"},
	[HEAP] = {"  of it heap", "MiB", "(brk, and mappings without a file)"},
	[STACKS] = {"  stacks", "MiB", "(the main thread's)"},
	[DATA] = {"  libraries' data", "MiB", "(relocated or written)"},
};

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void print_row(enum measure measure, double *values, unsigned n)
{
	qsort(values, n, sizeof(*values), compare);
	printf("%-22s min %7.2f  median %7.2f  p90 %7.2f  max %7.2f %s %s\n", measures[measure].name,
		values[0], values[n / 2], values[n * 9 / 10], values[n - 1], measures[measure].unit,
		measures[measure].note);
}

struct mapping {
	unsigned long long dirty_kib, anonymous_kib;
	bool guest, file;
	char name[64];
};

static void count_mapping(const struct mapping *m, double *values)
{
	/* Pages of a file that is not written back yet are dirty, too, but not ours. */
	double mib = (double)(m->file ? MIN_OF(m->dirty_kib, m->anonymous_kib) : m->dirty_kib) / 1024;
	if (m->guest)
		return;
	values[DIRTY] += mib;
	if (m->file)
		values[DATA] += mib;
	else if (strncmp(m->name, "[stack", 6) == 0)
		values[STACKS] += mib;
	else
		values[HEAP] += mib;
}

/* Guest memory is what the controller excludes from fork and from core dumps (gmem.c): "dc" and "dd" in
 * proc_pid_smaps(5). Nothing else of it is both. */
static bool read_dirty(pid_t pid, double *values)
{
	char path[64], line[512];
	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	FILE *file = fopen(path, "re");
	if (!file)
		return false;
	struct mapping m = {0};
	bool any_guest = false;
	while (fgets(line, sizeof(line), file)) {
		unsigned long long from, to, inode;
		if (sscanf(line, "%llx-%llx %*4s %*x %*x:%*x %llu", &from, &to, &inode) == 3) {
			m = (struct mapping){.file = inode != 0};
			sscanf(line, "%*s %*s %*s %*s %*s %63s", m.name);
		} else if (strncmp(line, "VmFlags:", 8) == 0) {
			m.guest = strstr(line, " dc") && strstr(line, " dd");
			any_guest |= m.guest;
			count_mapping(&m, values);
		} else if (sscanf(line, "Private_Dirty: %llu kB", &m.dirty_kib) != 1) {
			sscanf(line, "Anonymous: %llu kB", &m.anonymous_kib);
		}
	}
	fclose(file);
	return any_guest;
}

/* Of the process, less that of threads that live on beside the main one: vCPUs, and the one that measures the
 * host's speed. What is left is the main thread's and that of helpers which are over. The main thread's
 * answers to us are in it. */
static double cpu_time_ms(pid_t pid)
{
	char path[64];
	clockid_t clock;
	struct timespec all;
	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &all) < 0)
		return 0;
	double ms = (double)all.tv_sec * 1e3 + (double)all.tv_nsec / 1e6;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	DIR *tasks = opendir(path);
	for (struct dirent *entry; tasks && (entry = readdir(tasks));) {
		unsigned long long run_ns = 0;
		pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);
		if (tid <= 0 || tid == pid)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", (int)pid, (int)tid);
		FILE *file = fopen(path, "re");
		if (file && fscanf(file, "%llu", &run_ns) == 1)
			ms -= (double)run_ns / 1e6;
		if (file)
			fclose(file);
	}
	if (tasks)
		closedir(tasks);
	return ms;
}

static pid_t start(char **argv)
{
	posix_spawn_file_actions_t actions;
	pid_t pid;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	int r = posix_spawn(&pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (r) {
		errno = r;
		perror(argv[0]);
		return -1;
	}
	return pid;
}

/* 1 when it is known, 0 when there has been no KVM_RUN yet. Keeps the answer that came quickest. */
static int ask(struct schedrig *vm, uint64_t before_ns, double *values, struct err *err)
{
	Schedrig__V1__Info *info = NULL;
	uint64_t asked_ns = clock_now_ns();
	int r = schedrig_info(vm, &info, err);
	uint64_t told_ns = clock_now_ns();
	if (r < 0)
		return r;
	if (info->first_run_ns && (!values[UNSURE] || (double)(told_ns - asked_ns) / 2e6 < values[UNSURE])) {
		uint64_t middle_ns = asked_ns + (told_ns - asked_ns) / 2;
		uint64_t main_ns = middle_ns - info->uptime_ns;
		values[EXEC_TO_MAIN] = (double)(int64_t)(main_ns - before_ns) / 1e6;
		values[MAIN_TO_RUN] = (double)info->first_run_ns / 1e6;
		values[HOST_SHARE] = values[EXEC_TO_MAIN] + values[MAIN_TO_RUN];
		values[UNSURE] = (double)(told_ns - asked_ns) / 2e6;
	}
	r = info->first_run_ns ? 1 : 0;
	schedrig_free_message(info);
	return r;
}

static bool measure(char **argv, const char *socket_path, double *values)
{
	struct err err = ERR_INIT;
	uint64_t before_ns = clock_now_ns(), deadline = clock_deadline_ns(LIMIT_NS);
	pid_t pid = start(argv);
	if (pid < 0)
		return false;
	struct schedrig *vm = NULL;
	int got = 0;
	memset(values, 0, N_MEASURES * sizeof(*values));
	while (got <= 0 && clock_left_ns(deadline) && waitpid(pid, NULL, WNOHANG) == 0) {
		/* Asks now and then; what is measured does not wait for it. Not at once: that would take CPU
		 * time from what is measured. */
		struct timespec pause = {.tv_nsec = POLL_NS};
		nanosleep(&pause, NULL);
		if (!vm && access(socket_path, F_OK) == 0)
			vm = schedrig_open(socket_path, &err);
		if (vm)
			got = ask(vm, before_ns, values, &err);
	}
	/* Stopped, so that the threads' times belong together. */
	if (got > 0 && kill(pid, SIGSTOP) == 0 && waitpid(pid, NULL, WUNTRACED) == pid) {
		values[CPU_TIME] = cpu_time_ms(pid);
		kill(pid, SIGCONT);
	}
	for (int i = 1; got > 0 && i < ASKS; i++)
		got = ask(vm, before_ns, values, &err);
	bool good = got > 0 && read_dirty(pid, values);
	if (!good)
		fprintf(stderr, "no first KVM_RUN, or guest memory not found in smaps: %s\n", err.message);
	schedrig_close(vm);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	unlink(socket_path);
	return good;
}

static void print_load(void)
{
	double load[1];
	if (getloadavg(load, 1) == 1)
		printf("load average %.1f on %ld CPUs\n", load[0], sysconf(_SC_NPROCESSORS_ONLN));
}

int main(int argc, char **argv)
{
	unsigned runs = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
	if (runs < 1 || runs > RUNS_MAX || argc > ARGS_MAX - 4) {
		fprintf(stderr, "usage: %s SCHEDRIGD RUNS [OPTION of schedrigd...]\n", argv[0]);
		return 64;
	}
	char directory[] = "/tmp/schedrig-bench.XXXXXX", socket_path[64];
	if (!mkdtemp(directory)) {
		perror("mkdtemp");
		return 1;
	}
	snprintf(socket_path, sizeof(socket_path), "%s/vm", directory);
	char *args[ARGS_MAX] = {argv[1], (char *)"--socket", socket_path};
	for (int i = 3; i < argc; i++)
		args[i] = argv[i];
	static double all[N_MEASURES][RUNS_MAX];
	double values[N_MEASURES];
	print_load();
	bool good = measure(args, socket_path, values);
	if (good)
		printf("%-22s %.2f ms (caches as they were)\n", "first run", values[HOST_SHARE]);
	for (unsigned n = 0; good && n < runs; n++) {
		good = measure(args, socket_path, values);
		for (unsigned i = 0; i < N_MEASURES; i++)
			all[i][n] = values[i];
	}
	rmdir(directory);
	if (!good)
		return 1;
	for (unsigned i = 0; i < N_MEASURES; i++)
		print_row(i, all[i], runs);
	return 0;
}
