/* SPDX-License-Identifier: GPL-2.0-only */
/* Moves that the kernel refuses half-way: all of it is undone, and names stay what they were. The refusals,
 * and the scheduler that may veto, are ours (cg_attach() and fsat_read() are wrapped by the linker); cgroups
 * and processes are real. */
#include "agent_peer.h"

#include "common/clock.h"
#include "guest/cgroup/cgroup.h"
#include "guest/scene/scene.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned refuse_at, refuse_back, calls; /* which attach to "b", to "a" fails; 0: none */

/* What a scheduler answers to one attach after the other, and then to all; n_verdicts 0: there is none. */
static int verdicts[8];
static unsigned n_verdicts;

ssize_t __real_fsat_read(int dirfd, const char *path, char *buffer, size_t size);
ssize_t __wrap_fsat_read(int dirfd, const char *path, char *buffer, size_t size);
ssize_t __wrap_fsat_read(int dirfd, const char *path, char *buffer, size_t size)
{
	if (!n_verdicts || strcmp(path, "/sys/kernel/sched_ext/state") != 0)
		return __real_fsat_read(dirfd, path, buffer, size);
	return snprintf(buffer, size, "enabled");
}

int __real_cg_attach(int fd, const char *name, pid_t pid, struct err *err);
int __wrap_cg_attach(int fd, const char *name, pid_t pid, struct err *err);
int __wrap_cg_attach(int fd, const char *name, pid_t pid, struct err *err)
{
	if (n_verdicts) {
		int verdict = verdicts[calls < n_verdicts ? calls : n_verdicts - 1];
		calls++;
		return verdict ? err_set_os(err, ERR_GUEST_OS, verdict, "cannot move process %d to `%s`", pid,
					 name)
			       : __real_cg_attach(fd, name, pid, err);
	}
	if (!strcmp(name, "b") && ++calls == refuse_at)
		return err_set_os(err, ERR_GUEST_OS, EPERM, "cannot move process %d to `%s`", pid, name);
	if (!strcmp(name, "a") && refuse_back)
		return err_set_os(err, ERR_GUEST_OS, EACCES, "cannot move process %d to `%s`", pid, name);
	return __real_cg_attach(fd, name, pid, err);
}

static void *reap(void *arg)
{
	int signum;
	for (;;) {
		child_reap();
		sigwait(arg, &signum);
	}
	return NULL;
}

struct stage {
	struct peer scratch;
	struct scene *scene;
	struct scene_call call;
	int root_fd;
	pid_t pids[3];
};

/* Three workers in "a", and an empty "b". */
static void stage_start(struct stage *stage)
{
	static sigset_t set;
	pthread_t reaper;
	struct err err = ERR_INIT;
	const char *why = peer_scratch(&stage->scratch);
	if (why)
		cr_skip_test("%s", why);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	cr_assert_eq(pthread_create(&reaper, NULL, reap, &set), 0);
	cr_assert_eq(work_init(&err), 0, "%s", err.message);
	stage->root_fd = open(stage->scratch.cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct scene_config config = {.root_fd = stage->root_fd,
		.parent = "schedrig",
		.adhoc = "adhoc",
		.stray_fd = -1,
		.staged = "/bin",
		.speed_percent = 100};
	stage->scene = scene_new(&config, &err);
	cr_assert_not_null(stage->scene);
	stage->call = (struct scene_call){.scope = SCENE_STEP,
		.strict = true,
		.deadline_ns = clock_deadline_ns(30 * NS_PER_S),
		.place = ""};
	struct cpu_layout layout = {.n_cpus = 1, .n_nodes = 1, .n_llcs = 1, .n_cores = 1};
	scene_set_layout(stage->scene, &layout);
	cr_assert_eq(scene_begin(stage->scene, &(struct scene_start){0}, &err), 0, "%s", err.message);
	cr_assert_eq(scene_add_cgroup(stage->scene, &stage->call, "a", &err), 0, "%s", err.message);
	cr_assert_eq(scene_add_cgroup(stage->scene, &stage->call, "b", &err), 0, "%s", err.message);
	struct scene_spawn spawn = {.cgroup = "a", .count = 3};
	spawn.work.other_fd = -1;
	spawn.work.params = work_params_standard(WORK_SPIN_WAIT);
	cr_assert_eq(
		scene_spawn(stage->scene, &stage->call, &spawn, 1, stage->pids, &err), 0, "%s", err.message);
}

static void stage_end(struct stage *stage)
{
	struct scene_ended ended;
	scene_end(stage->scene, SCENE_BACKDROP, true, &ended);
	cr_assert_null(ended.errors, "%s", ended.errors ? ended.errors->err.message : "");
	scene_ended_deinit(&ended);
	scene_free(stage->scene);
	close(stage->root_fd);
	cr_assert_eq(rmdir(stage->scratch.cgroup), 0, "cgroups are left: %s", strerror(errno));
}

static size_t count(struct stage *stage, const char *cgroup)
{
	pid_t *pids;
	size_t n;
	struct err err = ERR_INIT;
	cr_assert_eq(scene_procs(stage->scene, &stage->call, cgroup, false, &pids, &n, NULL, NULL, &err), 0,
		"%s", err.message);
	free(pids);
	return n;
}

Test(move, a_refusal_half_way_is_undone, .timeout = 240)
{
	struct stage stage = {0};
	struct scene_moved moved;
	struct err err = ERR_INIT;
	char name[64];
	stage_start(&stage);
	for (unsigned at = 1; at <= 3; at++) {
		calls = 0;
		refuse_at = at;
		cr_assert_lt(scene_move_tasks(stage.scene, &stage.call, "a", "b", false, &moved, &err), 0);
		cr_expect_eq(err.code, ERR_GUEST_OS);
		cr_expect_eq(err.os_errno, EPERM);
		bool named = false;
		for (unsigned i = 0; i < 3; i++) {
			snprintf(name, sizeof(name), "process %d (spin_wait) of `a`", stage.pids[i]);
			named |= strstr(err.message, name) != NULL;
		}
		cr_expect(named, "%s", err.message);
		cr_expect_eq(moved.tries, 1, "no ext scheduler: no second try");
		scene_moved_deinit(&moved);
		cr_assert_eq(count(&stage, "a"), 3, "back where they were");
		cr_assert_eq(count(&stage, "b"), 0);
	}
	/* Nothing was re-keyed: the name still stands for all three. */
	refuse_at = 0;
	cr_assert_eq(scene_move_tasks(stage.scene, &stage.call, "a", "b", false, &moved, &err), 0, "%s",
		err.message);
	cr_expect_eq(moved.n_pids, 3);
	scene_moved_deinit(&moved);
	cr_assert_eq(count(&stage, "b"), 3);
	cr_assert_eq(scene_stop_cgroup(stage.scene, &stage.call, "a", true, &err), 0);
	cr_assert_eq(count(&stage, "b"), 3, "they are not `a`'s any more");
	cr_assert_eq(scene_stop_cgroup(stage.scene, &stage.call, "b", true, &err), 0);
	cr_assert_eq(count(&stage, "b"), 0);
	stage_end(&stage);
}

Test(move, what_cannot_be_undone_is_said, .timeout = 240)
{
	struct stage stage = {0};
	struct scene_moved moved;
	struct err err = ERR_INIT;
	stage_start(&stage);
	calls = 0;
	refuse_at = 3;
	refuse_back = true;
	cr_assert_lt(scene_move_tasks(stage.scene, &stage.call, "a", "b", false, &moved, &err), 0);
	cr_expect(
		strstr(err.message, "2 of 2 processes could not be moved back from `b`"), "%s", err.message);
	scene_moved_deinit(&moved);
	refuse_at = refuse_back = 0;
	cr_assert_eq(count(&stage, "b"), 2);
	stage_end(&stage);
}

/* One move from "a" to "b" under a scheduler with these verdicts, the last of them for ever. */
static int move_under(
	struct stage *stage, const int *list, unsigned n, struct scene_moved *moved, struct err *err)
{
	*err = ERR_INIT;
	calls = 0;
	n_verdicts = n;
	memcpy(verdicts, list, n * sizeof(*list));
	int r = scene_move_tasks(stage->scene, &stage->call, "a", "b", false, moved, err);
	n_verdicts = 0;
	return r;
}
#define MOVE_UNDER(...)                                                                                      \
	move_under(&stage, (const int[]){__VA_ARGS__}, sizeof((const int[]){__VA_ARGS__}) / sizeof(int),     \
		&moved, &err)

static void expect_moved(struct stage *stage, struct scene_moved *moved, unsigned tries)
{
	struct scene_moved back;
	struct err err = ERR_INIT;
	cr_expect_eq(moved->tries, tries, "%u tries, not %u", moved->tries, tries);
	cr_expect_eq(moved->n_pids, 3, "%zu processes", moved->n_pids);
	scene_moved_deinit(moved);
	cr_assert_eq(count(stage, "b"), 3);
	cr_assert_eq(scene_move_tasks(stage->scene, &stage->call, "b", "a", false, &back, &err), 0, "%s",
		err.message);
	cr_expect_eq(back.tries, 1);
	scene_moved_deinit(&back);
}

Test(move, vetoes_are_waited_out, .timeout = 240)
{
	struct stage stage = {0};
	struct scene_moved moved;
	struct err err;
	stage_start(&stage);
	cr_assert_eq(MOVE_UNDER(EPERM, EPERM, 0), 0, "%s", err.message);
	expect_moved(&stage, &moved, 3);
	cr_assert_eq(MOVE_UNDER(0, 0, EXDEV, 0), 0, "%s", err.message);
	expect_moved(&stage, &moved, 2);
	/* The kernel itself says this of a process that has ended. */
	cr_assert_eq(MOVE_UNDER(0, ESRCH, 0), 0, "%s", err.message);
	expect_moved(&stage, &moved, 2);
	/* There, refused, and not back either, twice. */
	cr_assert_eq(MOVE_UNDER(0, EPERM, EACCES, ESRCH, 0), 0, "%s", err.message);
	expect_moved(&stage, &moved, 2);
	stage_end(&stage);
}

Test(move, a_veto_that_stays_is_told, .timeout = 240)
{
	struct stage stage = {0};
	struct scene_moved moved;
	struct err err;
	stage_start(&stage);
	cr_assert_lt(MOVE_UNDER(ESRCH), 0);
	cr_expect_eq(err.os_errno, ESRCH);
	cr_expect_eq(moved.tries, 4);
	cr_expect(strstr(err.message, "refused 4 times") && strstr(err.message, "(spin_wait) of `a`"), "%s",
		err.message);
	scene_moved_deinit(&moved);
	cr_assert_eq(count(&stage, "a"), 3);
	/* Two have gone, and nobody can go any more. */
	cr_assert_lt(MOVE_UNDER(0, 0, EPERM), 0);
	cr_expect(
		strstr(err.message, "2 of 2 processes could not be moved back from `b`"), "%s", err.message);
	cr_expect_eq(moved.tries, 1);
	cr_expect_eq(calls, 3 + 4 * 2, "%u calls", calls);
	scene_moved_deinit(&moved);
	cr_assert_eq(count(&stage, "b"), 2);
	stage_end(&stage);
}

static int inner_fd, told_fd;

static void *sit_inside(void *arg)
{
	char ok = write(inner_fd, "0", 1) == 1;
	cr_assert_eq(write(told_fd, &ok, 1), 1);
	for (;;)
		pause();
	return arg;
}

/* A process of which one thread is in the cgroup below that directory, made threaded; 0: this kernel has
 * none, or does not let us. */
static pid_t spread_process(int fd)
{
	int type = -1, told[2];
	char ok = 0;
	pthread_t thread;
	cr_assert_eq(pipe2(told, O_CLOEXEC), 0);
	cr_assert_eq(mkdirat(fd, "inner", 0755), 0);
	type = openat(fd, "inner/cgroup.type", O_WRONLY | O_CLOEXEC);
	bool possible = type >= 0 && write(type, "threaded", 8) == 8;
	pid_t pid = possible ? fork() : 0;
	if (possible && pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		int outer_fd = openat(fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
		inner_fd = openat(fd, "inner/cgroup.threads", O_WRONLY | O_CLOEXEC);
		told_fd = told[1];
		if (write(outer_fd, "0", 1) != 1 || pthread_create(&thread, NULL, sit_inside, NULL) != 0)
			_exit(1);
		for (;;)
			pause();
	}
	close(told[1]);
	cr_assert(!possible || (read(told[0], &ok, 1) == 1 && ok));
	close(told[0]);
	if (type >= 0)
		close(type);
	return pid;
}

Test(move, a_threaded_cgroup_is_emptied_and_removed, .timeout = 240)
{
	struct peer scratch = {0};
	struct err err = ERR_INIT;
	int outer, stray;
	unsigned strays;
	pid_t *pids;
	size_t n;
	const char *why = peer_scratch(&scratch);
	if (why)
		cr_skip_test("%s", why);
	int root = open(scratch.cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_eq(cg_create(root, "outer", &outer, NULL, &err), 0, "%s", err.message);
	cr_assert_eq(cg_create(root, "stray", &stray, NULL, &err), 0, "%s", err.message);
	pid_t pid = spread_process(outer);
	if (!pid) {
		int why_not = errno;
		unlinkat(outer, "inner", AT_REMOVEDIR);
		unlinkat(root, "outer", AT_REMOVEDIR);
		unlinkat(root, "stray", AT_REMOVEDIR);
		cr_skip_test("no threaded cgroups here: %s", strerror(why_not));
	}
	cr_assert_eq(cg_list(outer, "outer", false, true, &pids, &n, &err), 0, "%s", err.message);
	cr_assert(n == 1 && pids[0] == pid, "%zu processes", n);
	free(pids);
	cr_assert_eq(cg_remove(root, "outer", stray, clock_deadline_ns(60 * NS_PER_S), &strays, &err), 0,
		"%s", err.message);
	cr_expect_eq(strays, 1);
	cr_assert_eq(cg_list(stray, "stray", true, false, &pids, &n, &err), 0);
	cr_expect_eq(n, 2, "both threads have left it, not %zu", n);
	free(pids);
	cr_assert_eq(kill(pid, SIGKILL), 0);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	close(outer);
	close(stray);
	cr_assert_eq(cg_remove(root, "stray", -1, clock_deadline_ns(60 * NS_PER_S), NULL, &err), 0);
	close(root);
	cr_assert_eq(rmdir(scratch.cgroup), 0, "cgroups are left: %s", strerror(errno));
}
