/* SPDX-License-Identifier: GPL-2.0-only */
/* The scene's cpusets: writing, reading back, recording, and the sets in force by which workers judge their
 * CPUs (see scene.h and work.h). */
#include "common/scope.h"
#include "guest/scene/state.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

void scene_cpus_begin(struct scene *scene, const struct scene_cgroup *cgroup)
{
	for (const struct scene_cgroup *cg = scene->cgroups; cg; cg = cg->next)
		if (scene_inside(cg, cgroup))
			work_set_begin(cg->set);
}

/* A set is in force when it, or a cgroup above it, was given one; what it comes to is the kernel's effective
 * set (limited by parents). */
static bool in_force(struct scene *scene, const struct scene_cgroup *cg, struct cpuset *ret_set)
{
	bool asked = false;
	for (const struct scene_cgroup *up = scene->cgroups; up; up = up->next)
		asked |= up->recorded && scene_inside(cg, up);
	char text[CPUSET_TEXT_BYTES];
	struct err err = ERR_INIT;
	if (!asked)
		return false;
	/* Without the controller of its own a cgroup has its nearest parent's. */
	for (const struct scene_cgroup *best = cg; best;) {
		if (cg_has(best->fd, "cpuset.cpus.effective"))
			return cg_read(best->fd, best->name, "cpuset.cpus.effective", text, sizeof(text),
				       &err) == 0 &&
			       cpuset_parse(text, ret_set, &err) == 0;
		const struct scene_cgroup *above = NULL;
		for (const struct scene_cgroup *up = scene->cgroups; up; up = up->next)
			if (up != best && scene_inside(best, up) &&
				(!above || strlen(up->path) > strlen(above->path)))
				above = up;
		best = above;
	}
	return false;
}

void scene_cpus_end(struct scene *scene, const struct scene_cgroup *cgroup)
{
	for (const struct scene_cgroup *cg = scene->cgroups; cg; cg = cg->next) {
		struct cpuset set;
		if (scene_inside(cg, cgroup))
			work_set_end(cg->set, in_force(scene, cg, &set) ? &set : NULL);
	}
}

/* The kernel refuses to empty cpuset.cpus of a cgroup that has tasks (validate_change() in
 * kernel/cgroup/cpuset.c: ENOSPC). To inherit then means to have what the parent has, and to follow it:
 * follow_parents(). */
static int mimic_parent(struct scene_cgroup *cg, struct err *err)
{
	char text[CPUSET_TEXT_BYTES];
	_cleanup_close_ int parent = openat(cg->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0)
		return err_set_os(err, ERR_GUEST_OS, errno, "cannot open the parent of `%s`", cg->name);
	int r = cg_read(parent, "its parent", "cpuset.cpus.effective", text, sizeof(text), err);
	if (r == 0)
		r = cg_write(cg->fd, cg->name, "cpuset.cpus", text, err);
	if (r == 0)
		cg->mimics = true;
	return r;
}

/* text "": inherit. */
static int write_cpus(struct scene *scene, struct scene_cgroup *cg, const char *text, struct err *err)
{
	struct err refused = ERR_INIT;
	int r = cg_need(scene->config.root_fd, cg->path, "cpuset", err);
	if (r < 0)
		return r;
	r = cg_write(cg->fd, cg->name, "cpuset.cpus", *text ? text : "\n", &refused);
	if (r == 0)
		cg->mimics = false;
	else if (!*text && refused.os_errno == ENOSPC)
		return mimic_parent(cg, err);
	else if (err)
		*err = refused;
	return r;
}

/* Cgroups below that inherit by having what their parents have: shorter paths first. */
static int follow_parents(struct scene *scene, const struct scene_cgroup *changed, struct err *err)
{
	for (size_t length = strlen(changed->path); length < CG_PATH_BYTES; length++)
		for (struct scene_cgroup *cg = scene->cgroups; cg; cg = cg->next)
			if (cg->mimics && cg != changed && strlen(cg->path) == length &&
				scene_inside(cg, changed)) {
				int r = mimic_parent(cg, err);
				if (r < 0)
					return r;
			}
	return 0;
}

static int read_back(const struct scene_cgroup *cg, struct scene_cpus *ret_cpus, struct err *err)
{
	int r = cg_read(cg->fd, cg->name, "cpuset.cpus", ret_cpus->cpus, sizeof(ret_cpus->cpus), err);
	if (r == 0)
		r = cg_read(cg->fd, cg->name, "cpuset.cpus.effective", ret_cpus->effective,
			sizeof(ret_cpus->effective), err);
	return r;
}

static void record(struct scene_cgroup *cg, const struct cpuset *cpus)
{
	cg->recorded = cpus != NULL;
	cg->cpus = cpus ? *cpus : CPUSET_EMPTY;
}

int scene_set_cpuset(struct scene *scene, const struct scene_call *call, const char *name,
	const struct cpuset *cpus, struct scene_cpus *ret_cpus, struct err *err)
{
	if (cpus && cpuset_is_empty(cpus))
		return err_set(err, ERR_INVALID_ARGUMENT, "the set of CPUs for `%s` is empty", name);
	SCOPE_LOCK(&scene->lock);
	struct scene_cgroup *cg;
	int r = scene_need(scene, call, name, &cg, err);
	if (r < 0)
		return r;
	char text[CPUSET_TEXT_BYTES] = "";
	if (cpus)
		cpuset_format(cpus, text, sizeof(text));
	scene_cpus_begin(scene, cg);
	r = write_cpus(scene, cg, text, err);
	if (r == 0) {
		record(cg, cpus);
		r = follow_parents(scene, cg, err);
	}
	if (r == 0)
		r = read_back(cg, ret_cpus, err);
	scene_cpus_end(scene, cg);
	if (r == 0 && cg->mimics)
		scene_note(call,
			"`%s` has tasks, so the kernel refuses an empty cpuset.cpus: it has, and follows, "
			"its parent's CPUs",
			name);
	if (r == 0 && cpus && strcmp(ret_cpus->cpus, ret_cpus->effective) != 0)
		scene_note(call, "cpuset.cpus of `%s` is '%s', but its parents leave it '%s'", name,
			ret_cpus->cpus, ret_cpus->effective);
	return r;
}

int scene_swap_cpusets(
	struct scene *scene, const struct scene_call *call, const char *a, const char *b, struct err *err)
{
	if (!strcmp(a, b))
		return err_set(
			err, ERR_INVALID_ARGUMENT, "a and b are both \"%s\": this would do nothing", a);
	SCOPE_LOCK(&scene->lock);
	struct scene_cgroup *first, *second;
	struct scene_cpus was_first, was_second;
	int r = scene_need(scene, call, a, &first, err);
	if (r == 0)
		r = scene_need(scene, call, b, &second, err);
	if (r == 0)
		r = cg_need(scene->config.root_fd, first->path, "cpuset", err);
	if (r == 0)
		r = cg_need(scene->config.root_fd, second->path, "cpuset", err);
	if (r == 0)
		r = read_back(first, &was_first, err);
	if (r == 0)
		r = read_back(second, &was_second, err);
	if (r < 0 || first == second)
		return r;
	if (first->mimics)
		was_first.cpus[0] = '\0';
	if (second->mimics)
		was_second.cpus[0] = '\0';
	scene_cpus_begin(scene, first);
	scene_cpus_begin(scene, second);
	r = write_cpus(scene, first, was_second.cpus, err);
	if (r == 0) {
		r = write_cpus(scene, second, was_first.cpus, err);
		struct err undo = ERR_INIT;
		if (r < 0 && write_cpus(scene, first, was_first.cpus, &undo) < 0)
			err_wrap(err, "and `%s` could not be given back its '%s' (%s)", a, was_first.cpus,
				undo.message);
	}
	if (r == 0) {
		struct scene_cgroup old = *first;
		record(first, second->recorded ? &second->cpus : NULL);
		record(second, old.recorded ? &old.cpus : NULL);
		r = follow_parents(scene, first, err);
	}
	if (r == 0)
		r = follow_parents(scene, second, err);
	scene_cpus_end(scene, first);
	scene_cpus_end(scene, second);
	return r;
}

int scene_set_mems(struct scene *scene, const struct scene_call *call, const char *name,
	const struct cpuset *nodes, struct err *err)
{
	SCOPE_LOCK(&scene->lock);
	struct scene_cgroup *cg;
	char text[CPUSET_TEXT_BYTES];
	int r = scene_need(scene, call, name, &cg, err);
	if (r == 0)
		r = cg_need(scene->config.root_fd, cg->path, "cpuset", err);
	return r < 0 ? r
		     : cg_write(cg->fd, name, "cpuset.mems", cpuset_format(nodes, text, sizeof(text)), err);
}

bool scene_recorded(
	struct scene *scene, const struct scene_call *call, const char *name, struct cpuset *ret_set)
{
	SCOPE_LOCK(&scene->lock);
	const struct scene_cgroup *cg = name && *name ? scene_find(scene, call, name) : NULL;
	if (!cg || !cg->recorded)
		return false;
	*ret_set = cg->cpus;
	return true;
}
