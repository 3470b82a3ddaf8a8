/* SPDX-License-Identifier: GPL-2.0-only */
/* How things of the scene end: a cgroup's removal, a scope's teardown (see scene.h). */
#include "common/clock.h"
#include "common/fd.h"
#include "common/scope.h"
#include "guest/scene/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool worker_inside(const struct scene_worker *worker, const void *arg)
{
	return worker->cgroup && scene_inside(worker->cgroup, arg);
}
static bool run_inside(const struct scene_run *run, const void *arg)
{
	return run->cgroup && scene_inside(run->cgroup, arg);
}

static void forget_cgroup(struct scene *scene, struct scene_cgroup *cgroup)
{
	for (struct scene_cgroup **at = &scene->cgroups; *at; at = &(*at)->next)
		if (*at == cgroup) {
			*at = cgroup->next;
			break;
		}
	cgroup->gone = true;
	scene_unref(cgroup);
}

/* Levels that were made only for the sake of the one below. */
static void remove_empty_parents(struct scene *scene, const char *path)
{
	char level[CG_PATH_BYTES];
	snprintf(level, sizeof(level), "%s", path);
	for (char *slash; (slash = strrchr(level, '/'));) {
		*slash = '\0';
		if (!strchr(level, '/'))
			return; /* the scene's own directory */
		for (const struct scene_cgroup *cg = scene->cgroups; cg; cg = cg->next)
			if (!strcmp(cg->path, level))
				return;
		if (unlinkat(scene->config.root_fd, level, AT_REMOVEDIR) < 0)
			return;
	}
}

int scene_remove_locked(struct scene *scene, struct scene_cgroup *cgroup, uint64_t deadline_ns, bool removed,
	unsigned *ret_strays, struct err *err)
{
	scene_ref(cgroup);
	/* Thawed from the top: what is asked to stop below must be able to. */
	struct err thaw = ERR_INIT;
	if (cgroup->frozen)
		cgroup->frozen = cg_write(cgroup->fd, cgroup->name, "cgroup.freeze", "0", &thaw) < 0;
	int drained = scene_drain_payloads(scene, run_inside, cgroup, err);
	int r = scene_stop_workers(scene, worker_inside, cgroup, false, false, removed, err);
	r = r < 0 ? r : drained;
	pthread_mutex_unlock(&scene->lock);
	/* A worker that does not die keeps its cgroup: nothing to wait for. */
	if (r == 0)
		r = cg_remove(scene->config.root_fd, cgroup->path, scene->config.stray_fd, deadline_ns,
			ret_strays, err);
	pthread_mutex_lock(&scene->lock);
	if (r == 0 || (err && err->code == ERR_NOT_FOUND)) {
		/* What is tracked below went with it. */
		for (struct scene_cgroup *cg = scene->cgroups, *next; cg; cg = next) {
			next = cg->next;
			if (scene_inside(cg, cgroup))
				forget_cgroup(scene, cg);
		}
		remove_empty_parents(scene, cgroup->path);
	}
	scene_unref(cgroup);
	return r;
}

int scene_remove_cgroup(struct scene *scene, const struct scene_call *call, const char *name, struct err *err)
{
	unsigned strays = 0;
	SCOPE_LOCK(&scene->lock);
	struct scene_cgroup *cg;
	int r = scene_need(scene, call, name, &cg, err);
	if (r < 0 && !call->strict && *name) {
		scene_note(call, "%s", err->message);
		return 0;
	}
	if (r == 0)
		r = scene_remove_locked(scene, cg, call->deadline_ns, true, &strays, err);
	if (r == 0 && strays)
		scene_note(call, "%u tasks that nobody tracks were in `%s`: %s", strays, name,
			scene->config.stray_fd >= 0 ? "moved to the runner cgroup" : "killed");
	return r;
}

/* --- a scope's end --- */

bool scene_ends_with(enum scene_scope what, enum scene_scope scope)
{
	return what == scope || (scope == SCENE_BACKDROP && what == SCENE_STEP);
}
static bool worker_in_scope(const struct scene_worker *worker, const void *arg)
{
	return scene_ends_with(worker->scope, *(const enum scene_scope *)arg);
}
static bool run_in_scope(const struct scene_run *run, const void *arg)
{
	return scene_ends_with(run->scope, *(const enum scene_scope *)arg);
}

void scene_ended_add(struct scene_ended *ended, const struct err *err)
{
	struct scene_error *error = calloc(1, sizeof(*error)), **at = &ended->errors;
	if (!error)
		return;
	error->err = *err;
	while (*at)
		at = &(*at)->next;
	*at = error;
}

static void thaw_scope(struct scene *scene, enum scene_scope scope, struct scene_ended *ended)
{
	for (struct scene_cgroup *cg = scene->cgroups; cg; cg = cg->next) {
		struct err err = ERR_INIT;
		if (!cg->frozen || !scene_ends_with(cg->scope, scope))
			continue;
		if (cg_write(cg->fd, cg->name, "cgroup.freeze", "0", &err) < 0)
			scene_ended_add(ended, &err);
		else
			cg->frozen = false;
	}
}

/* Newest first is the reverse order of creation. A backdrop thing inside a step's cgroup goes with it. */
static void remove_scope(struct scene *scene, enum scene_scope scope, struct scene_ended *ended)
{
	for (;;) {
		struct scene_cgroup *cg = scene->cgroups;
		while (cg && !scene_ends_with(cg->scope, scope))
			cg = cg->next;
		if (!cg)
			return;
		struct err err = ERR_INIT;
		uint64_t patience_ns = SCENE_REMOVE_NS * 100 / MAX_OF(scene->config.speed_percent, 1);
		scene_ref(cg);
		if (scene_remove_locked(scene, cg, clock_deadline_ns(patience_ns), false, NULL, &err) < 0 &&
			err.code != ERR_NOT_FOUND) {
			scene_ended_add(ended, &err);
			/* Another lane may have removed it while this one waited. */
			if (!cg->gone)
				forget_cgroup(scene, cg);
		}
		scene_unref(cg);
	}
}

static void take_worker_reports(struct scene *scene, enum scene_scope scope, struct scene_ended *ended)
{
	/* Kept newest first: turned round here. */
	while (scene->worker_reports[scope]) {
		struct scene_worker_report *report = scene->worker_reports[scope];
		scene->worker_reports[scope] = report->next;
		report->next = ended->workers;
		ended->workers = report;
	}
}

static void take_payload_reports(struct scene *scene, enum scene_scope scope, struct scene_ended *ended)
{
	struct scene_payload_report **at = &ended->payloads;
	while (*at)
		at = &(*at)->next;
	*at = scene->payload_reports[scope];
	scene->payload_reports[scope] = NULL;
}

/* Leftovers of levels that nobody tracks, and the directory itself: the next scenario starts from nothing. */
static void remove_parent(struct scene *scene, enum scene_scope scope, struct scene_ended *ended)
{
	bool adhoc = scene_adhoc(scope);
	int *fd = adhoc ? &scene->adhoc_fd : &scene->parent_fd;
	struct err err = ERR_INIT;
	if (*fd < 0)
		return;
	fd_close(fd);
	if (cg_remove(scene->config.root_fd, adhoc ? scene->config.adhoc : scene->config.parent,
		    scene->config.stray_fd, clock_deadline_ns(SCENE_REMOVE_NS), NULL, &err) < 0 &&
		err.code != ERR_NOT_FOUND)
		scene_ended_add(ended, &err);
}

void scene_end(struct scene *scene, enum scene_scope scope, bool kill_first, struct scene_ended *ret_ended)
{
	*ret_ended = (struct scene_ended){0};
	SCOPE_LOCK(&scene->lock);
	struct err err = ERR_INIT;
	if (kill_first && scene_stop_workers(scene, worker_in_scope, &scope, true, false, false, &err) < 0)
		scene_ended_add(ret_ended, &err);
	thaw_scope(scene, scope, ret_ended);
	if (scene_drain_payloads(scene, run_in_scope, &scope, &err) < 0)
		scene_ended_add(ret_ended, &err);
	if (scene_stop_workers(scene, worker_in_scope, &scope, false, false, false, &err) < 0)
		scene_ended_add(ret_ended, &err);
	remove_scope(scene, scope, ret_ended);
	scene_restore_irqs(scene, scope, ret_ended);
	if (scope != SCENE_STEP)
		remove_parent(scene, scope, ret_ended);
	if (scope == SCENE_BACKDROP) {
		take_worker_reports(scene, SCENE_STEP, ret_ended);
		take_payload_reports(scene, SCENE_STEP, ret_ended);
		scene->running = false;
		scene->n_ran = 0;
	}
	take_worker_reports(scene, scope, ret_ended);
	take_payload_reports(scene, scope, ret_ended);
}

void scene_ended_deinit(struct scene_ended *ended)
{
	while (ended->workers) {
		struct scene_worker_report *report = ended->workers;
		ended->workers = report->next;
		work_report_deinit(&report->work);
		free(report);
	}
	while (ended->payloads) {
		struct scene_payload_report *report = ended->payloads;
		ended->payloads = report->next;
		free(report);
	}
	while (ended->errors) {
		struct scene_error *error = ended->errors;
		ended->errors = error->next;
		free(error);
	}
}
