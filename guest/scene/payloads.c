/* SPDX-License-Identifier: GPL-2.0-only */
/* The scene's payloads, tracked by name and cgroup (see scene.h). */
#include "common/clock.h"
#include "common/fsat.h"
#include "common/scope.h"
#include "common/strbuf.h"
#include "guest/scene/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static char env_path[] = "PATH=/staged:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
static char env_home[] = "HOME=/", env_lang[] = "LANG=C.UTF-8";
static char *const payload_environment[] = {env_path, env_home, env_lang, NULL};

char *const *scene_environment(void)
{
	return payload_environment;
}

/* Staged names have no slash; a path (tests, programs of the image) is taken as it is. */
void scene_program_path(const struct scene *scene, const char *program, char *buffer, size_t size)
{
	bool path = strchr(program, '/');
	snprintf(buffer, size, "%s%s%s", path ? "" : scene->config.staged, path ? "" : "/", program);
}

static const char *cgroup_name(const struct scene_run *run)
{
	return run->cgroup ? run->cgroup->name : "";
}

static void run_unref(struct scene_run *run)
{
	if (--run->refs)
		return;
	payload_free(run->payload);
	scene_unref(run->cgroup);
	free(run);
}

static int check_run(struct scene *scene, const struct scene_call *call, const struct scene_payload *payload,
	const struct scene_cgroup *cg, struct err *err)
{
	for (const struct scene_run *run = scene->payloads; run; run = run->next)
		if (!run->claimed && run->cgroup == cg &&
			scene_adhoc(run->scope) == scene_adhoc(call->scope) &&
			!strcmp(run->name, payload->name))
			return err_set(err, ERR_ALREADY_EXISTS,
				"payload `%s` is live already in %s`%s` (pid %d): wait for it or kill it "
				"first",
				payload->name, cg ? "" : "the runner cgroup ", cg ? cg->name : "",
				payload_pid(run->payload));
	for (const struct scene_cgroup *up = scene->cgroups; cg && up; up = up->next)
		if (up->frozen && scene_inside(cg, up))
			return err_set(err, ERR_FAILED_PRECONDITION,
				"cgroup `%s` is frozen: a program started there could not be executed; "
				"unfreeze it first",
				up->name);
	return 0;
}

static void track_run(struct scene *scene, const struct scene_call *call, const struct scene_payload *payload,
	struct scene_cgroup *cg, struct scene_run *run)
{
	snprintf(run->name, sizeof(run->name), "%s", payload->name);
	snprintf(run->place, sizeof(run->place), "%s", call->place);
	run->cgroup = scene_ref(cg);
	run->scope = payload->outlive_step && call->scope == SCENE_STEP ? SCENE_BACKDROP : call->scope;
	run->has_exit_check = payload->has_exit_check;
	run->exit_required = payload->exit_required;
	run->exit_stops = payload->exit_stops;
	run->exit_check = payload->exit_check;
	run->refs = 1;
	run->next = scene->payloads;
	scene->payloads = run;
}

int scene_run_payload(struct scene *scene, const struct scene_call *call, const struct scene_payload *payload,
	pid_t *ret_pid, struct err *err)
{
	char path[512];
	SCOPE_LOCK(&scene->lock);
	struct scene_cgroup *cg = NULL;
	int r = *payload->cgroup ? scene_need(scene, call, payload->cgroup, &cg, err) : 0;
	if (r == 0)
		r = check_run(scene, call, payload, cg, err);
	if (r < 0)
		return r;
	_cleanup_free_ struct scene_run *run = calloc(1, sizeof(*run));
	if (!run)
		return err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot start payload `%s`", payload->name);
	scene_program_path(scene, payload->program, path, sizeof(path));
	struct payload_spec spec = {
		.name = payload->name,
		.path = path,
		.argv = payload->argv,
		.envp = payload_environment,
		.cgroup_fd = cg ? cg->fd : -1,
		.loop = scene->config.loop,
		.realtime = scene->config.realtime,
	};
	scene_arrive(cg);
	pthread_mutex_unlock(&scene->lock);
	r = payload_start(&spec, call->deadline_ns, call->cancel, &run->payload, err);
	pthread_mutex_lock(&scene->lock);
	if (r == 0) {
		*ret_pid = payload_pid(run->payload);
		if (payload_moved(run->payload))
			scene_note(call, SCENE_MOVED_NOTE);
		track_run(scene, call, payload, cg, TAKE_PTR(run));
	}
	scene_arrived(cg);
	return r;
}

/* --- collecting --- */

/* Whether its cgroup is for this one alone, and so are those below: nobody else was placed there or is about
 * to be. */
static bool has_own_cgroup(const struct scene *scene, const struct scene_run *run)
{
	if (!run->cgroup)
		return false;
	for (const struct scene_cgroup *cg = scene->cgroups; cg; cg = cg->next)
		if ((cg->arriving || cg->adopted) && scene_inside(cg, run->cgroup))
			return false;
	for (const struct scene_worker *worker = scene->workers; worker; worker = worker->next)
		if (worker->cgroup && scene_inside(worker->cgroup, run->cgroup))
			return false;
	for (const struct scene_run *other = scene->payloads; other; other = other->next)
		if (other != run && other->cgroup && scene_inside(other->cgroup, run->cgroup))
			return false;
	return true;
}

/* Who multiplies faster than he is found is brought to a halt first, where nobody else is: the kernel's
 * freezer does not let forks get away, and the frozen can be killed. Not cgroup.kill: a process that is made
 * in a cgroup (CLONE_INTO_CGROUP) where that was used ever before dies at birth (seen on Linux 6.18: the
 * clone compares the number of kills of the parent's cgroup with that of the child's). False: not frozen, or
 * frozen already. */
static bool hold_forks(const struct scene *scene, const struct scene_run *run)
{
	return has_own_cgroup(scene, run) && !run->cgroup->frozen &&
	       fsat_write(run->cgroup->fd, "cgroup.freeze", "1") >= 0;
}

/* (waits) A claimed one: kills what is left and makes its report, NULL without memory. Lock held on entry and
 * return. ERR_TIMEOUT: something of it does not die; it is collected all the same. */
static int collect(
	struct scene *scene, struct scene_run *run, struct scene_payload_report **ret_report, struct err *err)
{
	struct payload_end end;
	uint64_t patience_ns = SCENE_DRAIN_NS * 100 / MAX_OF(scene->config.speed_percent, 1);
	bool frozen = hold_forks(scene, run);
	pthread_mutex_unlock(&scene->lock);
	int r = payload_finish(run->payload, patience_ns, &end, err);
	pthread_mutex_lock(&scene->lock);
	/* Unless somebody wants it frozen by now. */
	if (frozen && !run->cgroup->frozen)
		(void)!fsat_write(run->cgroup->fd, "cgroup.freeze", "0");
	if (r < 0)
		err_wrap(err, "payload `%s`", run->name);
	struct scene_payload_report *report = calloc(1, sizeof(*report));
	if (report) {
		memcpy(report->name, run->name, sizeof(report->name));
		memcpy(report->place, run->place, sizeof(report->place));
		memcpy(report->cgroup, cgroup_name(run), strlen(cgroup_name(run)) + 1);
		report->adhoc = scene_adhoc(run->scope);
		report->has_exit_check = run->has_exit_check;
		report->exit_required = run->exit_required;
		report->exit_stops = run->exit_stops;
		report->exit_check = run->exit_check;
		report->end = end;
		scene_keep_output(scene, report);
	} else {
		payload_end_deinit(&end);
	}
	for (struct scene_run **at = &scene->payloads; *at; at = &(*at)->next)
		if (*at == run) {
			*at = run->next;
			break;
		}
	run->gone = true;
	run_unref(run);
	pthread_cond_broadcast(&scene->changed);
	*ret_report = report;
	return r;
}

static void keep_report(struct scene *scene, enum scene_scope scope, struct scene_payload_report *report)
{
	struct scene_payload_report **at = &scene->payload_reports[scope];
	while (*at)
		at = &(*at)->next;
	*at = report;
}

int scene_drain_payloads(struct scene *scene, scene_run_match_fn match, const void *arg, struct err *err)
{
	for (int r = 0;;) {
		struct scene_run *run = scene->payloads;
		while (run && !match(run, arg))
			run = run->next;
		if (!run)
			return r;
		if (run->claimed) {
			pthread_cond_wait(&scene->changed, &scene->lock);
			continue;
		}
		run->claimed = true;
		enum scene_scope scope = run->scope;
		struct scene_payload_report *report;
		int one = collect(scene, run, &report, err);
		r = one < 0 ? one : r;
		if (report)
			keep_report(scene, scope, report);
	}
}

/* The one live copy that is meant. */
static int find_run(struct scene *scene, const struct scene_call *call, const char *name, const char *cgroup,
	struct scene_run **ret_run, struct err *err)
{
	_cleanup_strbuf_ struct strbuf copies = STRBUF_INIT;
	unsigned n = 0;
	for (struct scene_run *run = scene->payloads; run; run = run->next) {
		if (run->claimed || (!call->adhoc && scene_adhoc(run->scope)) || strcmp(run->name, name) != 0)
			continue;
		if (cgroup && strcmp(cgroup_name(run), cgroup) != 0)
			continue;
		strbuf_printf(&copies, "%scgroup \"%s\" (pid %d)", n++ ? ", " : "", cgroup_name(run),
			payload_pid(run->payload));
		*ret_run = run;
	}
	if (n == 1)
		return 0;
	if (n)
		return err_set(err, ERR_AMBIGUOUS,
			"payload `%s` has %u live copies, name one by its cgroup: %s", name, n,
			strbuf_str(&copies));
	bool ran = false;
	for (unsigned scope = 0; scope < SCENE_SCOPES; scope++)
		for (const struct scene_payload_report *r = scene->payload_reports[scope]; r; r = r->next)
			ran |= !strcmp(r->name, name);
	for (unsigned i = 0; i < ARRAY_SIZE(scene->ran) && i < scene->n_ran; i++)
		ran |= !strcmp(scene->ran[i], name);
	return err_set(err, ERR_NOT_FOUND, "no live payload `%s`%s%s%s: %s", name,
		cgroup ? " in cgroup \"" : "", cgroup ? cgroup : "", cgroup ? "\"" : "",
		ran ? "it ran, and has been waited for, killed or drained" : "it has never run");
}

static void remember(struct scene *scene, const char *name)
{
	for (unsigned i = 0; i < scene->n_ran; i++)
		if (!strcmp(scene->ran[i], name))
			return;
	if (scene->n_ran < ARRAY_SIZE(scene->ran))
		snprintf(scene->ran[scene->n_ran++], sizeof(scene->ran[0]), "%s", name);
}

static int take_report(
	struct scene *scene, struct scene_run *run, struct scene_payload_report **ret_report, struct err *err)
{
	struct scene_payload_report *report;
	enum scene_scope scope = run->scope;
	run->claimed = true;
	remember(scene, run->name);
	int r = collect(scene, run, &report, err);
	if (r < 0) {
		/* The op fails; how the payload ended is told with the scope's. */
		if (report)
			keep_report(scene, scope, report);
		return r;
	}
	*ret_report = report;
	return report ? 0 : err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot report a payload");
}

int scene_wait_payload(struct scene *scene, const struct scene_call *call, const char *name,
	const char *cgroup, struct scene_payload_report **ret_report, struct err *err)
{
	SCOPE_LOCK(&scene->lock);
	struct scene_run *run;
	int r = find_run(scene, call, name, cgroup, &run, err);
	if (r < 0)
		return r;
	run->refs++;
	pthread_mutex_unlock(&scene->lock);
	enum child_wait how = payload_wait(run->payload, call->deadline_ns, call->cancel);
	pthread_mutex_lock(&scene->lock);
	if (how == CHILD_TIMEOUT)
		r = err_set(err, ERR_TIMEOUT, "payload `%s` (pid %d) still runs at the deadline; it goes on",
			name, payload_pid(run->payload));
	else if (how == CHILD_CANCELLED)
		r = err_set(err, ERR_CANCELLED, "given up while waiting for payload `%s`", name);
	else if (run->claimed)
		r = err_set(
			err, ERR_NOT_FOUND, "payload `%s` was collected by another request meanwhile", name);
	else
		r = take_report(scene, run, ret_report, err);
	run_unref(run);
	return r;
}

int scene_kill_payload(struct scene *scene, const struct scene_call *call, const char *name,
	const char *cgroup, struct scene_payload_report **ret_report, struct err *err)
{
	SCOPE_LOCK(&scene->lock);
	struct scene_run *run;
	int r = find_run(scene, call, name, cgroup, &run, err);
	return r < 0 ? r : take_report(scene, run, ret_report, err);
}
