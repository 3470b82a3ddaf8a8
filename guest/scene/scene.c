/* SPDX-License-Identifier: GPL-2.0-only */
/* The scene's cgroups: names, scopes, life, freezing, listing (see scene.h). */
#include "guest/scene/scene.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/scope.h"
#include "common/strbuf.h"
#include "guest/scene/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct scene *scene_new(const struct scene_config *config, struct err *err)
{
	struct scene *scene = calloc(1, sizeof(*scene));
	if (!scene) {
		err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot set up the scene");
		return NULL;
	}
	pthread_mutex_init(&scene->lock, NULL);
	pthread_cond_init(&scene->changed, NULL);
	scene->config = *config;
	scene->parent_fd = scene->adhoc_fd = -1;
	return scene;
}

void scene_free(struct scene *scene)
{
	if (!scene)
		return;
	scene_release_output(scene, 0);
	/* A request that was under way when the agent was told to stop: the process ends now, and its
	 * children's parent-death signals see to the rest. */
	if (scene->cgroups || scene->workers || scene->payloads)
		return;
	if (scene->parent_fd >= 0)
		unlinkat(scene->config.root_fd, scene->config.parent, AT_REMOVEDIR);
	if (scene->adhoc_fd >= 0)
		unlinkat(scene->config.root_fd, scene->config.adhoc, AT_REMOVEDIR);
	fd_close(&scene->parent_fd);
	fd_close(&scene->adhoc_fd);
	pthread_cond_destroy(&scene->changed);
	pthread_mutex_destroy(&scene->lock);
	free(scene);
}

bool scene_adhoc(enum scene_scope scope)
{
	return scope == SCENE_ADHOC;
}

void scene_note(const struct scene_call *call, const char *fmt, ...)
{
	if (!call->note)
		return;
	char text[512];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	call->note(call->arg, text);
}

static int open_parent(struct scene *scene, bool adhoc, struct err *err)
{
	int *fd = adhoc ? &scene->adhoc_fd : &scene->parent_fd;
	const char *path = adhoc ? scene->config.adhoc : scene->config.parent;
	return *fd >= 0 ? 0 : cg_create(scene->config.root_fd, path, fd, NULL, err);
}

int scene_begin(struct scene *scene, const struct scene_start *start, struct err *err)
{
	SCOPE_LOCK(&scene->lock);
	for (const struct scene_cgroup *cg = scene->cgroups; cg; cg = cg->next)
		if (!scene_adhoc(cg->scope))
			return err_set(err, ERR_FAILED_PRECONDITION,
				"an earlier scenario has not been ended: cgroup `%s` is still there",
				cg->name);
	int r = open_parent(scene, false, err);
	if (r < 0)
		return r;
	/* Enabled *in* the parent too, so that its children have the files: as for a child of any name. */
	char child[CG_PATH_BYTES];
	snprintf(child, sizeof(child), "%s/x", scene->config.parent);
	for (size_t i = 0; i < start->n_controllers; i++) {
		r = cg_need(scene->config.root_fd, child, start->controllers[i], err);
		if (r < 0)
			return r;
	}
	scene->seed = start->seed;
	scene->drawn = 0;
	scene->ended_iterations = 0;
	scene->running = true;
	return 0;
}

void scene_set_speed(struct scene *scene, uint32_t speed_percent)
{
	SCOPE_LOCK(&scene->lock);
	scene->config.speed_percent = speed_percent;
}

void scene_set_layout(struct scene *scene, const struct cpu_layout *layout)
{
	SCOPE_LOCK(&scene->lock);
	scene->layout = *layout;
}

const struct cpu_layout *scene_layout(struct scene *scene)
{
	return &scene->layout;
}

/* --- names --- */

struct scene_cgroup *scene_find(struct scene *scene, const struct scene_call *call, const char *name)
{
	static const enum scene_scope order[] = {SCENE_ADHOC, SCENE_STEP, SCENE_BACKDROP};
	for (unsigned i = call->adhoc ? 0 : 1; i < ARRAY_SIZE(order); i++)
		for (struct scene_cgroup *cg = scene->cgroups; cg; cg = cg->next)
			if (cg->scope == order[i] && !strcmp(cg->name, name))
				return cg;
	return NULL;
}

int scene_need(struct scene *scene, const struct scene_call *call, const char *name,
	struct scene_cgroup **ret_cgroup, struct err *err)
{
	if (!*name)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"\"\" (the runner cgroup) is not possible here: name a cgroup");
	*ret_cgroup = scene_find(scene, call, name);
	if (*ret_cgroup)
		return 0;
	_cleanup_strbuf_ struct strbuf names = STRBUF_INIT;
	unsigned n = 0;
	for (const struct scene_cgroup *cg = scene->cgroups; cg; cg = cg->next)
		if ((call->adhoc || !scene_adhoc(cg->scope)) && n++ < 8)
			strbuf_printf(&names, "%s`%s`", names.length ? ", " : "", cg->name);
	if (n > 8)
		strbuf_printf(&names, " and %u more", n - 8);
	return err_set(err, ERR_NOT_FOUND, "no cgroup `%s` is tracked (there %s: %s)", name,
		n == 1 ? "is" : "are", n ? strbuf_str(&names) : "none");
}

struct scene_cgroup *scene_ref(struct scene_cgroup *cgroup)
{
	if (cgroup)
		cgroup->refs++;
	return cgroup;
}

void scene_unref(struct scene_cgroup *cgroup)
{
	if (!cgroup || --cgroup->refs)
		return;
	fd_close(&cgroup->fd);
	work_set_free(cgroup->set);
	free(cgroup);
}

void scene_arrive(struct scene_cgroup *cgroup)
{
	if (scene_ref(cgroup))
		cgroup->arriving++;
}

void scene_arrived(struct scene_cgroup *cgroup)
{
	if (cgroup)
		cgroup->arriving--;
	scene_unref(cgroup);
}

bool scene_inside(const struct scene_cgroup *inner, const struct scene_cgroup *outer)
{
	size_t n = strlen(outer->path);
	return !strncmp(inner->path, outer->path, n) && (inner->path[n] == '/' || inner->path[n] == '\0');
}

int scene_add_cgroup(struct scene *scene, const struct scene_call *call, const char *name, struct err *err)
{
	int r = cg_name_check(name, err);
	if (r < 0)
		return r;
	SCOPE_LOCK(&scene->lock);
	bool adhoc = scene_adhoc(call->scope);
	unsigned n = 0;
	for (const struct scene_cgroup *cg = scene->cgroups; cg; cg = cg->next, n++)
		if (scene_adhoc(cg->scope) == adhoc && !strcmp(cg->name, name))
			return err_set(err, ERR_ALREADY_EXISTS, "cgroup `%s` is tracked already (%s)", name,
				cg->scope == SCENE_BACKDROP ? "in the backdrop"
				: cg->scope == SCENE_STEP   ? "in this step"
							    : "ad hoc");
	r = open_parent(scene, adhoc, err);
	if (r < 0)
		return r;
	struct scene_cgroup *cg = calloc(1, sizeof(*cg));
	if (!cg)
		return err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot add cgroup `%s`", name);
	cg->refs = 1;
	cg->fd = -1;
	cg->scope = call->scope;
	snprintf(cg->name, sizeof(cg->name), "%s", name);
	snprintf(cg->path, sizeof(cg->path), "%s/%s", adhoc ? scene->config.adhoc : scene->config.parent,
		name);
	bool existed;
	r = work_set_alloc(&cg->set, err);
	if (r == 0)
		r = cg_create(scene->config.root_fd, cg->path, &cg->fd, &existed, err);
	if (r < 0) {
		scene_unref(cg);
		return r;
	}
	cg->adopted = existed;
	if (existed)
		scene_note(call, "cgroup `%s` was there already and has been adopted", name);
	cg->next = scene->cgroups;
	scene->cgroups = cg;
	/* What its parents have in force holds in it too. */
	scene_cpus_begin(scene, cg);
	scene_cpus_end(scene, cg);
	return 0;
}

int scene_set_knobs(struct scene *scene, const struct scene_call *call, const char *name,
	const struct cg_knobs *knobs, void (*wrote)(void *arg, const char *file, const char *value),
	struct err *err)
{
	SCOPE_LOCK(&scene->lock);
	struct scene_cgroup *cg;
	const struct cg_knob_sink sink = {call->note, wrote, call->arg};
	int r = scene_need(scene, call, name, &cg, err);
	if (r < 0)
		return r;
	/* A lower limit is reclaimed for by whoever writes it, which may take long. */
	scene_ref(cg);
	pthread_mutex_unlock(&scene->lock);
	r = cg_apply_knobs(scene->config.root_fd, cg->path, cg->fd, name, knobs, &sink, err);
	pthread_mutex_lock(&scene->lock);
	scene_unref(cg);
	return r;
}

/* --- freezing --- */

static int describe_unfrozen(const struct scene_cgroup *cg, bool freeze, struct err *err)
{
	char tasks[400];
	cg_describe_tasks(cg->fd, cg->name, freeze, tasks, sizeof(tasks));
	return err_set(err, ERR_TIMEOUT, "cgroup `%s` is not %s at the deadline; %s: %s", cg->name,
		freeze ? "frozen" : "thawed", freeze ? "tasks that did not freeze" : "its tasks",
		*tasks ? tasks : "none");
}

int scene_freeze(struct scene *scene, const struct scene_call *call, const char *name, bool freeze, bool wait,
	struct err *err)
{
	struct scene_cgroup *cg;
	SCOPE_LOCK(&scene->lock);
	int r = scene_need(scene, call, name, &cg, err);
	if (r == 0)
		r = cg_write(cg->fd, name, "cgroup.freeze", freeze ? "1" : "0", err);
	if (r < 0)
		return r;
	cg->frozen = freeze;
	if (!wait)
		return 0;
	if (!freeze)
		/* A frozen parent keeps its children frozen: `frozen 0` would never come. */
		for (const struct scene_cgroup *up = scene->cgroups; up; up = up->next)
			if (up != cg && up->frozen && scene_inside(cg, up))
				return err_set(err, ERR_FAILED_PRECONDITION,
					"cgroup `%s` stays frozen because `%s` above it is: unfreeze that "
					"one",
					name, up->name);
	scene_ref(cg);
	pthread_mutex_unlock(&scene->lock);
	r = cg_wait_event(
		cg->fd, name, "frozen", freeze, call->deadline_ns, call->cancel ? call->cancel->fd : -1, err);
	if (r == CG_WAIT_TIMEOUT)
		r = describe_unfrozen(cg, freeze, err);
	else if (r == CG_WAIT_CANCELLED)
		r = err_set(err, ERR_CANCELLED, "given up while waiting for cgroup `%s`", name);
	pthread_mutex_lock(&scene->lock);
	scene_unref(cg);
	return r;
}

int scene_procs(struct scene *scene, const struct scene_call *call, const char *name, bool recursive,
	pid_t **ret_pids, size_t *ret_n_pids, pid_t **ret_tids, size_t *ret_n_tids, struct err *err)
{
	SCOPE_LOCK(&scene->lock);
	struct scene_cgroup *cg;
	_cleanup_close_ int fd = -1;
	int r = scene_need(scene, call, name, &cg, err);
	if (r < 0) {
		/* Existing but untracked ones are readable: looking does no harm. */
		char path[CG_PATH_BYTES];
		struct err opened = ERR_INIT;
		if (!*name || cg_name_check(name, &opened) < 0)
			return r;
		snprintf(path, sizeof(path), "%s/%s",
			scene_adhoc(call->scope) ? scene->config.adhoc : scene->config.parent, name);
		if (cg_open(scene->config.root_fd, path, &fd, &opened) < 0) {
			err_set(err, ERR_NOT_FOUND,
				"there is no cgroup `%s` (directory `%s`): make it with add_cgroup, or look "
				"at the "
				"name's spelling",
				name, path);
			return err_errno(ERR_NOT_FOUND);
		}
	}
	int use = fd >= 0 ? fd : cg->fd;
	_cleanup_free_ pid_t *pids = NULL;
	r = cg_list(use, name, false, recursive, &pids, ret_n_pids, err);
	if (r == 0 && ret_tids)
		r = cg_list(use, name, true, recursive, ret_tids, ret_n_tids, err);
	if (r == 0)
		*ret_pids = TAKE_PTR(pids);
	return r;
}

static void sample(struct scene *scene, struct scene_totals *ret)
{
	*ret = (struct scene_totals){.iterations = scene->ended_iterations};
	for (const struct scene_worker *worker = scene->workers; worker; worker = worker->next) {
		ret->iterations += work_iterations(&worker->work);
		ret->workers += !child_exited(work_child(&worker->work));
	}
	for (const struct scene_cgroup *cg = scene->cgroups; cg; cg = cg->next)
		ret->cgroups++;
	ret->now_ns = clock_now_ns();
}

void scene_sample(struct scene *scene, struct scene_totals *ret)
{
	SCOPE_LOCK(&scene->lock);
	sample(scene, ret);
}

/* Newest first in the list: the end of it first. */
static void sample_from(struct scene_worker *worker, scene_sample_fn fn, void *arg)
{
	unsigned count = 0;
	for (const struct scene_worker *at = worker; at; at = at->next)
		count++;
	_cleanup_free_ struct scene_worker **all = calloc(count + 1, sizeof(struct scene_worker *));
	for (unsigned i = count; all && worker; worker = worker->next)
		all[--i] = worker;
	for (unsigned i = 0; all && i < count; i++)
		if (!child_exited(work_child(&all[i]->work)))
			fn(arg, &all[i]->work, all[i]->cgroup ? all[i]->cgroup->name : "");
}

void scene_sample_each(struct scene *scene, scene_sample_fn fn, void *arg)
{
	SCOPE_LOCK(&scene->lock);
	sample_from(scene->workers, fn, arg);
}

bool scene_try_sample(struct scene *scene, struct scene_totals *ret)
{
	if (pthread_mutex_trylock(&scene->lock))
		return false;
	sample(scene, ret);
	pthread_mutex_unlock(&scene->lock);
	return true;
}
