/* SPDX-License-Identifier: GPL-2.0-only */
/* Work types that compute, queue, do I/O, change cgroups, or run programs and processes of their own; each
 * seen to do what its name says. */
#include "crew.h"

#include "common/clock.h"
#include "common/fd.h"
#include "guest/cgroup/cgroup.h"
#include "guest/work/alu.h"
#include "guest/work/disk.h"
#include "proto/disk_device.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct crew crew;

static uint64_t measured(unsigned k, enum dist_kind kind)
{
	const struct work_report *report = &crew.reports[k];
	const struct dist_cut *cut = &report->dists[kind];
	uint64_t count = 0, phases = 0;
	for (uint32_t i = 0; i < cut->n_buckets; i++)
		count += report->buckets[cut->first + i].count;
	cr_assert_eq(count, cut->count, "the histogram has %lu of %lu", count, cut->count);
	for (unsigned p = 0; p < report->n_parts; p++)
		phases += report->parts[p].dists[kind].count;
	cr_assert_eq(phases, cut->count, "its phases have %lu of %lu", phases, cut->count);
	return cut->count;
}

Test(types, alu_hot_in_every_width, .timeout = 60)
{
	struct work_params params = work_params_standard(WORK_ALU_HOT);
	static const unsigned widths[] = {64, 128, 256, 512, 0};
	for (unsigned i = 0; i < ARRAY_SIZE(widths); i++) {
		struct err err = ERR_INIT;
		params.alu_hot.width = widths[i];
		if (widths[i] > alu_widest()) {
			cr_assert_lt(work_check_machine(&params, NULL, &err), 0);
			cr_assert_eq(err.code, ERR_UNSUPPORTED);
			continue;
		}
		cr_assert_eq(work_check_machine(&params, NULL, &err), 0);
		crew_run(&crew, &params, 1, 20);
		cr_assert_gt(measured(0, DIST_COST), 0);
		crew_release(&crew);
	}
	params.alu_hot.width = 100;
	struct err err = ERR_INIT;
	cr_assert_lt(work_params_check(&params, &err), 0);
}

/* Different widths compute different things, the same width the same. */
Test(types, alu_chains_depend_on_every_link)
{
	for (unsigned width = 64; width <= alu_widest(); width *= 2) {
		cr_assert_eq(alu_chain(width, 100, 7), alu_chain(width, 100, 7));
		cr_assert_neq(alu_chain(width, 3, 7), alu_chain(width, 2, 7));
		cr_assert_neq(alu_chain(width, 3, 7), alu_chain(width, 3, 8));
	}
}

Test(types, smt_siblings_take_a_cpu_each, .timeout = 30)
{
	struct work_params params = work_params_standard(WORK_SMT_SIBLING_SPIN);
	struct cpuset allowed = {0};
	cr_assert_eq(sched_getaffinity(0, sizeof(allowed), (cpu_set_t *)&allowed), 0);
	if (cpuset_count(&allowed) < 2)
		cr_skip("needs two CPUs");
	crew_start(&crew, &params, 2);
	crew_hold(&crew, 5);
	struct cpuset seen[2] = {{{0}}};
	for (unsigned k = 0; k < 2; k++)
		sched_getaffinity(work_tid(&crew.works[k]), sizeof(seen[k]), (cpu_set_t *)&seen[k]);
	crew_stop(&crew);
	for (unsigned k = 0; k < 2; k++) {
		cr_assert_eq(cpuset_count(&seen[k]), 1);
		cr_assert_gt(measured(k, DIST_COST), 0);
	}
	cr_assert(!cpuset_equal(&seen[0], &seen[1]));
	crew_release(&crew);
}

Test(types, ipc_variance_takes_turns, .timeout = 60)
{
	struct work_params params = work_params_standard(WORK_IPC_VARIANCE);
	params.ipc_variance.turns = 2;
	crew_run(&crew, &params, 1, 5);
	/* The last round was called off; one unit before the first. */
	cr_assert_geq(crew.reports[0].units, (crew.reports[0].iterations - 1) * 2 * (100000 + 1024));
	cr_assert_leq(crew.reports[0].units, crew.reports[0].iterations * 2 * (100000 + 1024) + 1);
	crew_release(&crew);
}

Test(types, sequence_does_each_of_its_phases, .timeout = 60)
{
	struct work_params params = work_params_standard(WORK_SEQUENCE);
	crew_run(&crew, &params, 1, 5);
	cr_assert_gt(measured(0, DIST_TIMER), 0, "it never slept");
	cr_assert_gt(crew.reports[0].switches.voluntary, 0);
	crew_release(&crew);
	params.sequence.n_phases = 2;
	params.steps[0] = (struct work_step){WORK_STEP_SLEEP, 3 * NS_PER_MS};
	params.steps[1] = (struct work_step){WORK_STEP_ALU, NS_PER_MS};
	crew_run(&crew, &params, 1, 5);
	cr_assert_leq(crew.reports[0].iterations, crew.reports[0].wall_ns / (4 * NS_PER_MS) + 1);
	crew_release(&crew);
}

Test(types, producers_and_consumers_share_a_queue, .timeout = 60)
{
	struct work_params params = work_params_standard(WORK_PRODUCER_CONSUMER_IMBALANCE);
	params.producer_consumer_imbalance.queue = 4;
	params.producer_consumer_imbalance.work = 1024;
	crew_run(&crew, &params, 3, 20);
	uint64_t put = crew.reports[0].iterations + crew.reports[1].iterations,
		 taken = crew.reports[2].iterations;
	/* What is in the queue, and what each had in hand when it was stopped. */
	cr_assert(taken <= put + 2 && put <= taken + 4 + 1, "%lu put, %lu taken", put, taken);
	cr_assert_leq(
		crew.reports[0].iterations, crew.reports[0].wall_ns / NS_PER_MS + 2, "faster than 1000 Hz");
	cr_assert_gt(measured(2, DIST_WAKE), 0);
	crew_release(&crew);
}

Test(types, epoll_storm_wakes_consumers, .timeout = 60)
{
	struct work_params params = work_params_standard(WORK_EPOLL_STORM);
	crew_run(&crew, &params, 3, 20);
	cr_assert_gt(measured(1, DIST_WAKE) + measured(2, DIST_WAKE), 0);
	crew_release(&crew);
	params.epoll_storm.fds = 1;
	params.epoll_storm.consumers = 1;
	crew_run(&crew, &params, 2, 20);
	crew_release(&crew);
}

Test(types, io_writes_and_reads, .timeout = 120)
{
	static const enum work_type types[] = {WORK_IO_SYNC_WRITE, WORK_IO_RAND_READ, WORK_IO_CONVOY};
	for (unsigned t = 0; t < ARRAY_SIZE(types); t++) {
		struct work_params params = work_params_standard(types[t]);
		crew_run(&crew, &params, 2, 2);
		for (unsigned k = 0; k < 2; k++)
			cr_assert_eq(measured(k, DIST_REQUEST), crew.reports[k].units);
		crew_release(&crew);
	}
}

/* Bytes of a place that were written over. */
static size_t overwritten(int fd, unsigned place)
{
	static uint8_t bytes[DISK_SCRATCH_MIN_BYTES];
	size_t n = 0;
	cr_assert_eq(pread(fd, bytes, sizeof(bytes), (off_t)place * (off_t)sizeof(bytes)), sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		n += bytes[i] != 0x77;
	return n;
}

/* A file stands for the disk: each worker stays in its place there, those of a convoy share one. */
Test(types, io_goes_to_the_disk_where_there_is_one, .timeout = 120)
{
	enum { PLACES = 6 };
	static uint8_t filling[DISK_SCRATCH_MIN_BYTES];
	char path[] = "/tmp/schedrig-disk-XXXXXX";
	struct disk disk;
	struct err err = ERR_INIT;
	_cleanup_close_ int fd = mkostemp(path, O_CLOEXEC);
	memset(filling, 0x77, sizeof(filling));
	for (unsigned i = 0; i < PLACES; i++)
		cr_assert_eq(write(fd, filling, sizeof(filling)), sizeof(filling));
	cr_assert_eq(write(fd, filling, 512), 512); /* less than a place */
	disk_use(path);
	struct work_params params = work_params_standard(WORK_IO_SYNC_WRITE);
	crew_run(&crew, &params, 2, 2);
	cr_assert(overwritten(fd, 0) >= 4096 && overwritten(fd, 1) >= 4096 && !overwritten(fd, 2));
	crew_release(&crew);
	params = work_params_standard(WORK_IO_RAND_READ);
	crew_run(&crew, &params, 2, 2);
	cr_assert(!overwritten(fd, 2) && !overwritten(fd, 3), "it reads");
	crew_release(&crew);
	params = work_params_standard(WORK_IO_CONVOY);
	crew_run(&crew, &params, 3, 2);
	cr_assert(!overwritten(fd, 3) && overwritten(fd, 4) >= 65536 && !overwritten(fd, 5));
	crew_release(&crew);
	params = work_params_standard(WORK_SEQUENCE);
	params.sequence.n_phases = 2;
	params.steps[0] = (struct work_step){WORK_STEP_IO, NS_PER_MS};
	params.steps[1] = (struct work_step){WORK_STEP_SLEEP, NS_PER_MS};
	crew_run(&crew, &params, 1, 2);
	cr_assert_geq(overwritten(fd, 5), 4096);
	crew_release(&crew);
	/* Those who come when all places are taken share them. */
	cr_assert_eq(pwrite(fd, filling, sizeof(filling), 0), sizeof(filling));
	params = work_params_standard(WORK_IO_SYNC_WRITE);
	crew_run(&crew, &params, 1, 2);
	cr_assert_geq(overwritten(fd, 0), 4096);
	crew_release(&crew);

	cr_assert_eq(truncate(path, DISK_SCRATCH_MIN_BYTES - 512), 0);
	cr_assert_eq(disk_open(&disk, &err), DISK_NONE, "no place on it");
	unlink(path);
	cr_assert_lt(disk_open(&disk, &err), 0);
	cr_assert(strstr(err.message, path), "%s", err.message);
	disk_use(NULL);
	cr_assert_eq(disk_open(&disk, &err), DISK_NONE, "whatever disks this machine has are not for work");
}

/* Requests that are served by processes of the worker's count as its work, and nothing of them is left. */
Test(types, servers_serve, .timeout = 120)
{
	static const enum work_type types[] = {WORK_SCHBENCH, WORK_CACHE_SERVER};
	for (unsigned t = 0; t < ARRAY_SIZE(types); t++) {
		struct work_params params = work_params_standard(types[t]);
		if (types[t] == WORK_CACHE_SERVER) {
			params.cache_server.size_bytes = 1 << 20;
			params.cache_server.slow = 1;
		}
		crew_run(&crew, &params, 1, 50);
		cr_assert_gt(measured(0, DIST_REQUEST), 0);
		cr_assert_gt(measured(0, types[t] == WORK_SCHBENCH ? DIST_WAKE : DIST_TIMER), 0);
		cr_assert_gt(crew.reports[0].cpu_ns, 0);
		crew_release(&crew);
	}
}

/* Killed, it takes them with it. */
Test(types, servers_die_together, .timeout = 60)
{
	struct work_params params = work_params_standard(WORK_CACHE_SERVER);
	params.cache_server.size_bytes = 1 << 20;
	params.cache_server.clients = 3;
	crew_start(&crew, &params, 1);
	crew_hold(&crew, 5);
	char path[64], line[256] = "";
	pid_t pid = work_tid(&crew.works[0]), children[8] = {0};
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	FILE *file = fopen(path, "r");
	if (!file || !fgets(line, sizeof(line), file))
		cr_skip("this kernel does not list children");
	fclose(file);
	cr_assert_eq(sscanf(line, "%d %d %d", &children[0], &children[1], &children[2]), 3);
	child_kill(work_child(&crew.works[0]), SIGKILL);
	uint64_t deadline_ns = clock_now_ns() + 20 * NS_PER_S;
	for (unsigned i = 0; i < 3; i++)
		for (bool there = true; there;) {
			char status[1024] = "";
			snprintf(path, sizeof(path), "/proc/%d/status", children[i]);
			file = fopen(path, "r");
			size_t n = file ? fread(status, 1, sizeof(status) - 1, file) : 0;
			if (file)
				fclose(file);
			there = n && !strstr(status, "State:\tZ");
			cr_assert_lt(clock_now_ns(), deadline_ns, "process %d lives on", children[i]);
		}
	crew_stop(&crew);
	cr_assert(crew.reports[0].missing);
	cr_assert_str_eq(crew.reports[0].exit, "killed");
	crew_release(&crew);
}

Test(types, a_working_set_has_nodes, .timeout = 60)
{
	struct work_params params = work_params_standard(WORK_NUMA_WORKING_SET_SWEEP);
	struct err err = ERR_INIT;
	if (work_check_machine(&params, NULL, &err) < 0)
		cr_skip("%s", err.message);
	params.numa_working_set_sweep.interval_ns = NS_PER_MS;
	crew_run(&crew, &params, 1, 20);
	uint64_t pages = 0;
	for (unsigned n = 0; n < WORK_NODES; n++)
		pages += crew.reports[0].numa_pages[n];
	if (crew.reports[0].has_pages && pages)
		cr_assert_eq(pages, params.numa_working_set_sweep.size_bytes / 4096);
	crew_release(&crew);
}

/* Two halves of the machine's CPUs as if they were nodes: it is on one, then on the other. */
Test(types, numa_migration_hops, .timeout = 60)
{
	static struct cpu_layout layout;
	struct cpuset allowed = {0};
	cr_assert_eq(sched_getaffinity(0, sizeof(allowed), (cpu_set_t *)&allowed), 0);
	if (cpuset_count(&allowed) < 2)
		cr_skip("needs two CPUs");
	layout.n_nodes = 2;
	cpuset_for_each (cpu, &allowed) {
		layout.cpu[cpu].node = layout.n_cpus ? 1 : 0;
		layout.n_cpus = (unsigned)cpu + 1;
	}
	struct work_spec spec = {
		.params = work_params_standard(WORK_NUMA_MIGRATION_CHURN), .other_fd = -1, .layout = &layout};
	spec.params.numa_migration_churn.interval_ns = 5 * NS_PER_MS;
	crew_run_spec(&crew, &spec, 1, -1, 10);
	cr_assert_gt(crew.reports[0].migrations, 5);
	cr_assert_gt(crew.reports[0].n_migrated, 5);
	for (unsigned i = 0; i < crew.reports[0].n_migrated; i++) {
		const struct work_migration *m = &crew.reports[0].migrated[i];
		cr_assert_neq(m->from, m->to);
		cr_assert(!i || m->from == m[-1].to);
	}
	crew_release(&crew);
	for (unsigned cpu = 0; cpu < layout.n_cpus; cpu++)
		layout.cpu[cpu].node = 0;
	struct err err = ERR_INIT;
	cr_assert_lt(work_check_machine(&spec.params, &layout, &err), 0);
	cr_assert_eq(err.code, ERR_UNSUPPORTED);
}

static unsigned subgroups(const char *path)
{
	unsigned n = 0;
	DIR *dir = opendir(path);
	for (struct dirent *entry; dir && (entry = readdir(dir));)
		n += strncmp(entry->d_name, "worker-", 7) == 0;
	closedir(dir);
	return n;
}

/* A cgroup of the test's own below the test's; NULL where there is no unified hierarchy to write to. */
static char *test_cgroup(void)
{
	static char path[400];
	char line[300] = "";
	FILE *file = fopen("/proc/self/cgroup", "r");
	while (file && fgets(line, sizeof(line), file) && strncmp(line, "0::", 3) != 0)
		line[0] = '\0';
	if (file)
		fclose(file);
	line[strcspn(line, "\n")] = '\0';
	static const char *const tops[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
	for (unsigned i = 0; line[0] && i < ARRAY_SIZE(tops); i++) {
		snprintf(path, sizeof(path), "%s%s/schedrig-unit-%d", tops[i], line + 3, (int)getpid());
		if (mkdir(path, 0755) == 0) {
			char procs[450];
			snprintf(procs, sizeof(procs), "%s/cgroup.procs", path);
			if (access(procs, W_OK) == 0)
				return path;
			rmdir(path);
		}
	}
	return NULL;
}

Test(types, cgroup_churn_leaves_nothing, .timeout = 60)
{
	char *path = test_cgroup();
	if (!path)
		cr_skip("no cgroup can be made here");
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct work_spec spec = {.params = work_params_standard(WORK_CGROUP_CHURN), .other_fd = -1};
	spec.params.cgroup_churn.interval_ns = NS_PER_MS;
	crew_start_spec(&crew, &spec, 1, fd);
	crew_hold(&crew, 10);
	cr_assert_eq(subgroups(path), 2);
	crew_stop(&crew);
	cr_assert_str_eq(crew.reports[0].exit, "stopped");
	cr_assert_eq(measured(0, DIST_REQUEST), crew.reports[0].iterations);
	crew_release(&crew);
	cr_assert_eq(subgroups(path), 0);
	for (unsigned reap = 0; reap < 2; reap++) {
		spec.params = work_params_standard(WORK_CGROUP_ATTACH_STORM);
		spec.params.cgroup_attach_storm.reap = reap;
		crew_run_spec(&crew, &spec, 1, fd, 100);
		crew_release(&crew);
	}
	struct err err = ERR_INIT;
	struct work work = {0}, *list[] = {&work};
	cr_assert_lt(work_start(list, 1, &spec, -1, 0, CLOCK_NEVER_NS, NULL, &err), 0);
	cr_assert_eq(err.code, ERR_INVALID_ARGUMENT, "%s", err.message);
	close(fd);
	/* Children that nobody waited for may be on their way out still. */
	char *name = strrchr(path, '/');
	*name++ = '\0';
	int parent = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_eq(cg_remove(parent, name, -1, clock_now_ns() + 20 * NS_PER_S, NULL, &err), 0, "%s",
		err.message);
	close(parent);
}

/* --- programs of the user's --- */

static struct work_spec custom(char *const *argv)
{
	static char *const no_environment[] = {NULL};
	struct work_spec spec = {.params = work_params_standard(WORK_CUSTOM), .other_fd = -1};
	spec.program = getenv("SCHEDRIG_CUSTOM_WORKER");
	spec.argv = argv;
	spec.envp = no_environment;
	return spec;
}

Test(types, custom_reports_like_any_other, .timeout = 60)
{
	char *argv[] = {(char *)"custom", (char *)"100", NULL};
	struct work_spec spec = custom(argv);
	if (!spec.program)
		cr_skip("SCHEDRIG_CUSTOM_WORKER is not set");
	crew_start_spec(&crew, &spec, 2, -1);
	crew_hold(&crew, 300);
	struct work_sample sample;
	work_sample(&crew.works[0], &sample);
	cr_assert_geq(sample.iterations, 300);
	work_set_phase(5);
	crew_hold(&crew, 300);
	crew_stop(&crew);
	work_set_phase(0);
	for (unsigned k = 0; k < 2; k++) {
		const struct work_report *report = &crew.reports[k];
		cr_assert_str_eq(report->exit, "stopped", "%s", report->exit);
		cr_assert_eq(report->units, report->iterations * 1024);
		cr_assert_gt(report->cpu_ns, 0);
		cr_assert_gt(measured(k, DIST_TIMER), 0);
		cr_assert_eq(report->n_parts, 2);
		cr_assert_eq(report->parts[1].phase, 5);
		cr_assert_geq(report->parts[0].iterations, 300);
		cr_assert_geq(report->parts[1].iterations, 300);
		cr_assert_eq(report->parts[0].units + report->parts[1].units, report->units);
	}
	crew_release(&crew);
}

Test(types, custom_that_is_none, .timeout = 60)
{
	char *argv[] = {(char *)"custom", (char *)"exit", NULL};
	struct work_spec spec = custom(argv);
	if (!spec.program)
		cr_skip("SCHEDRIG_CUSTOM_WORKER is not set");
	struct work_params spin = work_params_standard(WORK_SPIN_WAIT);
	crew_run(&crew, &spin, 1, 1); /* the reaper is there now */
	crew_release(&crew);
	struct err err = ERR_INIT;
	struct work work = {0}, *list[] = {&work};
	cr_assert_lt(work_start(list, 1, &spec, -1, 0, clock_now_ns() + 20 * NS_PER_S, NULL, &err), 0);
	cr_assert_not_null(strstr(err.message, "ended during its set-up (exited 3)"), "%s", err.message);
	spec.program = "/nonexistent";
	work = (struct work){0};
	cr_assert_lt(work_start(list, 1, &spec, -1, 0, clock_now_ns() + 20 * NS_PER_S, NULL, &err), 0);
	cr_assert_not_null(strstr(err.message, "execve failed"), "%s", err.message);
}

/* --- descriptions --- */

Test(types, a_thread_group_is_one_process, .timeout = 60)
{
	struct work_params spin = work_params_standard(WORK_SPIN_WAIT);
	crew_run(&crew, &spin, 1, 1); /* the reaper is there now */
	crew_release(&crew);
	struct work_spec specs[2] = {
		{.params = spin, .other_fd = -1, .comm = "hot", .thread_group = "server"},
		{.params = work_params_standard(WORK_PIPE_IO), .other_fd = -1, .thread_group = "server"}};
	struct work works[4] = {{.start_ns = 0}}, *list[4] = {&works[0], &works[1], &works[2], &works[3]};
	const struct work_order orders[2] = {{&specs[0], list, 2}, {&specs[1], list + 2, 2}};
	struct err err = ERR_INIT;
	cr_assert_eq(work_start_all(orders, 2, -1, 0, clock_now_ns() + 20 * NS_PER_S, NULL, &err), 0, "%s",
		err.message);
	pid_t pid = work_child(&works[0])->pid;
	char path[64], comm[32] = "";
	uint64_t deadline_ns = clock_now_ns() + 20 * NS_PER_S;
	for (unsigned k = 0; k < 4; k++) {
		cr_assert_eq(work_child(&works[k])->pid, pid);
		cr_assert_neq(work_tid(&works[k]), pid);
		while (work_iterations(&works[k]) < 5)
			cr_assert_lt(clock_now_ns(), deadline_ns);
		snprintf(path, sizeof(path), "/proc/%d/task/%d/comm", pid, work_tid(&works[k]));
		FILE *file = fopen(path, "r");
		cr_assert_not_null(file);
		cr_assert_not_null(fgets(comm, sizeof(comm), file));
		fclose(file);
		cr_assert_str_eq(comm, k < 2 ? "hot\n" : "pipe_io\n");
	}
	for (unsigned k = 0; k < 4; k++)
		work_ask_stop(&works[k]);
	cr_assert_eq(child_wait(work_child(&works[0]), clock_now_ns() + 20 * NS_PER_S, NULL), CHILD_EXITED);
	for (unsigned k = 0; k < 4; k++) {
		struct work_report report;
		work_report(&works[k], &report);
		cr_assert_str_eq(report.exit, "stopped", "%s", report.exit);
		cr_assert_str_eq(report.thread_group, "server");
		cr_assert_eq(report.pid, pid);
		cr_assert_neq(report.tid, pid);
		cr_assert_gt(report.cpu_ns, 0);
		work_report_deinit(&report);
	}
	for (unsigned k = 0; k < 4; k++)
		work_release(&works[k]);
}

/* One that fails its set-up takes the others with it, and the sentence says which. */
Test(types, a_thread_group_fails_as_one, .timeout = 60)
{
	struct work_params spin = work_params_standard(WORK_SPIN_WAIT);
	crew_run(&crew, &spin, 1, 1);
	crew_release(&crew);
	struct cpuset none[1] = {CPUSET_EMPTY};
	struct work_spec specs[2] = {{.params = spin, .other_fd = -1, .thread_group = "server"},
		{.params = spin, .other_fd = -1, .thread_group = "server", .affinity = none}};
	struct work works[2] = {{.start_ns = 0}}, *list[2] = {&works[0], &works[1]};
	const struct work_order orders[2] = {{&specs[0], list, 1}, {&specs[1], list + 1, 1}};
	struct err err = ERR_INIT;
	cr_assert_lt(work_start_all(orders, 2, -1, 0, clock_now_ns() + 20 * NS_PER_S, NULL, &err), 0);
	cr_assert_not_null(strstr(err.message, "sched_setaffinity failed"), "%s", err.message);
}

Test(types, memory_policies_are_the_kernels, .timeout = 60)
{
	static const struct {
		enum work_mem_kind kind;
		const char *words;
	} kinds[] = {{WORK_MEM_DEFAULT, "default"}, {WORK_MEM_BIND, "bind:0"},
		{WORK_MEM_PREFERRED, "prefer:0"}, {WORK_MEM_INTERLEAVE, "interleave:0"},
		{WORK_MEM_LOCAL, "local"}, {WORK_MEM_PREFERRED_MANY, "prefer (many):0"},
		{WORK_MEM_WEIGHTED_INTERLEAVE, "weighted interleave:0"}};
	struct work_params sweep = work_params_standard(WORK_NUMA_WORKING_SET_SWEEP);
	struct err err = ERR_INIT;
	if (work_check_machine(&sweep, NULL, &err) < 0)
		cr_skip("%s", err.message);
	struct work_params spin = work_params_standard(WORK_SPIN_WAIT);
	crew_run(&crew, &spin, 1, 1);
	crew_release(&crew);
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct work_spec spec = {.params = work_params_standard(WORK_CACHE_PRESSURE), .other_fd = -1};
		struct work work = {0}, *list[] = {&work};
		spec.mem.kind = kinds[i].kind;
		cpuset_add(&spec.mem.nodes, 0);
		int r = work_start(list, 1, &spec, -1, 0, clock_now_ns() + 20 * NS_PER_S, NULL, &err);
		if (r < 0) {
			cr_assert_eq(err.code, ERR_UNSUPPORTED, "%s: %s", kinds[i].words, err.message);
			continue;
		}
		char path[64], line[1024];
		bool found = false;
		snprintf(path, sizeof(path), "/proc/%d/numa_maps", work.child.pid);
		FILE *file = fopen(path, "r");
		while (file && !found && fgets(line, sizeof(line), file))
			found = strstr(line, kinds[i].words);
		bool has_maps = file;
		if (file)
			fclose(file);
		work_ask_stop(&work);
		cr_assert_eq(child_wait(&work.child, clock_now_ns() + 20 * NS_PER_S, NULL), CHILD_EXITED);
		work_release(&work);
		cr_assert(!has_maps || found, "no mapping is `%s`", kinds[i].words);
	}
	/* A node that the machine lacks is refused by the kernel, with the call's name. */
	struct work_spec spec = {.params = spin, .other_fd = -1};
	struct work work = {0}, *list[] = {&work};
	spec.mem.kind = WORK_MEM_BIND;
	cpuset_add(&spec.mem.nodes, 900);
	cr_assert_lt(work_start(list, 1, &spec, -1, 0, clock_now_ns() + 20 * NS_PER_S, NULL, &err), 0);
	cr_assert_eq(err.code, ERR_GUEST_OS);
	cr_assert_not_null(strstr(err.message, "set_mempolicy failed"), "%s", err.message);
}

/* What is published can be read while they run; what the kernel counts is in the report. */
Test(types, samples_and_the_kernels_counts, .timeout = 60)
{
	struct work_params params = work_params_standard(WORK_BURSTY);
	params.bursty.burst_ns = params.bursty.sleep_ns = NS_PER_MS;
	struct err err = ERR_INIT;
	cr_assert_eq(work_init(&err), 0, "%s", err.message);
	work_set_phase(2);
	crew_start(&crew, &params, 1);
	crew_hold(&crew, 20);
	struct work_sample sample;
	work_sample(&crew.works[0], &sample);
	cr_assert_geq(sample.iterations, 20);
	cr_assert_eq(sample.phase, 2);
	cr_assert_gt(sample.cpu_ns, 0);
	uint64_t switches = crew_status(&crew, 0, "voluntary_ctxt_switches:");
	crew_stop(&crew);
	work_set_phase(0);
	const struct work_report *report = &crew.reports[0];
	cr_assert_geq(
		report->switches.voluntary + 5, switches, "%lu of %lu", report->switches.voluntary, switches);
	cr_assert_leq(report->dists[DIST_TIMER].count, report->switches.voluntary + report->iterations);
	if (report->schedstat.known) {
		cr_assert_gt(report->schedstat.timeslices, 10);
		cr_assert_leq(report->schedstat.cpu_ns, report->cpu_ns + NS_PER_MS);
	}
	cr_assert_not_null(report->samples);
	cr_assert_eq(report->samples[DIST_TIMER][0] <= report->dists[DIST_TIMER].max_ns, true);
	crew_release(&crew);
}
