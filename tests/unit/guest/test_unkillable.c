/* SPDX-License-Identifier: GPL-2.0-only */
/* What does not die is named with its state and given up, instead of being waited for for ever. Here nobody
 * reaps, so that whatever is killed stays. */
#include "common/clock.h"
#include "guest/scene/scene.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static struct scene *new_scene(void)
{
	struct err err = ERR_INIT;
	/* A hundred times as fast as real: its patience is short. */
	const struct scene_config config = {.root_fd = -1,
		.parent = "x",
		.adhoc = "y",
		.stray_fd = -1,
		.staged = "/bin",
		.speed_percent = 10000};
	cr_assert_eq(work_init(&err), 0, "%s", err.message);
	struct scene *scene = scene_new(&config, &err);
	cr_assert_not_null(scene, "%s", err.message);
	struct cpu_layout layout = {.n_cpus = 1, .n_nodes = 1, .n_llcs = 1, .n_cores = 1};
	scene_set_layout(scene, &layout);
	return scene;
}

static const struct scene_call call = {
	.scope = SCENE_STEP, .strict = true, .deadline_ns = CLOCK_NEVER_NS, .place = ""};

Test(unkillable, workers, .timeout = 60)
{
	struct scene *scene = new_scene();
	struct err err = ERR_INIT;
	const struct scene_spawn spawn = {
		.work = {.params = work_params_standard(WORK_SPIN_WAIT)}, .count = 2};
	pid_t pids[2];
	cr_assert_eq(scene_spawn(scene, &call, &spawn, 1, pids, &err), 0, "%s", err.message);
	cr_assert_lt(scene_stop_cgroup(scene, &call, "", true, &err), 0);
	cr_assert_eq(err.code, ERR_TIMEOUT);
	cr_assert_not_null(strstr(err.message, "does not die"), "%s", err.message);
	cr_assert_not_null(strstr(err.message, "(zombie)"), "%s", err.message);
	/* It is not waited for again, and it is in the report. */
	struct scene_ended ended;
	scene_end(scene, SCENE_STEP, false, &ended);
	cr_assert_null(ended.errors);
	unsigned n = 0;
	for (const struct scene_worker_report *report = ended.workers; report; report = report->next, n++)
		cr_assert_eq(report->work.pid, pids[n]);
	cr_assert_eq(n, 2);
	scene_ended_deinit(&ended);
	scene_free(scene);
}
