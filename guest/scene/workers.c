/* SPDX-License-Identifier: GPL-2.0-only */
/* The scene's workers: spawning, stopping, affinity, reports (see scene.h). */
#include "common/clock.h"
#include "common/scope.h"
#include "guest/scene/state.h"
#include "proto/wire.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct cpuset pool_of(struct scene *scene, const struct scene_cgroup *cg)
{
	return cg && cg->recorded ? cg->cpus : cpuset_first_n(scene->layout.n_cpus);
}

static int resolve_all(struct scene *scene, const struct scene_cgroup *cg, const struct affinity *affinity,
	unsigned count, struct cpuset **ret_sets, struct err *err)
{
	*ret_sets = NULL;
	if (affinity->kind == AFFINITY_INHERIT)
		return 0;
	_cleanup_free_ struct cpuset *sets = calloc(count, sizeof(*sets));
	if (!sets)
		return err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot resolve affinities");
	struct cpuset pool = pool_of(scene, cg);
	for (unsigned k = 0; k < count; k++) {
		int r = affinity_resolve(affinity, &scene->layout, &pool, k,
			affinity_draw(scene->seed, scene->drawn++), &sets[k], err);
		if (r < 0)
			return r;
	}
	*ret_sets = TAKE_PTR(sets);
	return 0;
}

static int check_spawn(
	struct scene *scene, const struct scene_spawn *spawn, const struct scene_cgroup *cg, struct err *err)
{
	unsigned alive = 0;
	if (!spawn->count)
		return err_set(err, ERR_INVALID_ARGUMENT, "there must be at least one worker");
	for (const struct scene_worker *worker = scene->workers; worker; worker = worker->next)
		alive++;
	if (spawn->count > LIMIT_WORKERS || alive + spawn->count > LIMIT_WORKERS)
		return err_set(err, ERR_LIMIT_EXCEEDED,
			"%u more workers: at most %u are possible, there are %u", spawn->count, LIMIT_WORKERS,
			alive);
	for (const struct scene_cgroup *up = scene->cgroups; cg && up; up = up->next)
		if (up->frozen && scene_inside(cg, up))
			return err_set(err, ERR_FAILED_PRECONDITION,
				"cgroup `%s` is frozen: a worker started there could not even set itself up; "
				"unfreeze it "
				"first",
				up->name);
	return 0;
}

struct spawn_batch {
	struct scene_worker **workers;
	struct work **works;
	unsigned count;
};

static void spawn_batch_deinit(struct spawn_batch *batch)
{
	for (unsigned k = 0; batch->workers && k < batch->count; k++)
		free(batch->workers[k]);
	free(batch->workers);
	free(batch->works);
}

static int spawn_batch_init(struct spawn_batch *batch, unsigned count, struct err *err)
{
	batch->count = count;
	batch->workers = calloc(count, sizeof(*batch->workers));
	batch->works = calloc(count, sizeof(*batch->works));
	for (unsigned k = 0; batch->workers && batch->works && k < count; k++) {
		batch->workers[k] = calloc(1, sizeof(**batch->workers));
		if (!batch->workers[k])
			break;
		batch->works[k] = &batch->workers[k]->work;
	}
	if (!batch->works || !batch->workers || !batch->workers[count - 1])
		return err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot start %u workers", count);
	return 0;
}

static bool match_worker(const struct scene_worker *worker, const void *arg)
{
	return worker->cgroup == arg;
}
static bool match_run(const struct scene_run *run, const void *arg)
{
	return run->cgroup == arg;
}

int scene_spawn(struct scene *scene, const struct scene_call *call, const struct scene_spawn *spawn,
	pid_t *ret_pids, struct err *err)
{
	_cleanup_(spawn_batch_deinit) struct spawn_batch batch = {0};
	_cleanup_free_ struct cpuset *sets = NULL;
	struct scene_cgroup *cg = NULL;
	SCOPE_LOCK(&scene->lock);
	int r = spawn->cgroup ? scene_need(scene, call, spawn->cgroup, &cg, err) : 0;
	if (r == 0)
		r = check_spawn(scene, spawn, cg, err);
	if (r == 0)
		r = resolve_all(scene, cg, &spawn->affinity, spawn->count, &sets, err);
	if (r == 0)
		r = spawn_batch_init(&batch, spawn->count, err);
	if (r < 0)
		return r;
	scene_ref(cg);
	struct work_spec spec = spawn->work;
	spec.affinity = sets;
	spec.seed = affinity_draw(scene->seed, scene->drawn++);
	pthread_mutex_unlock(&scene->lock);
	r = work_start(batch.works, spawn->count, &spec, cg ? cg->fd : -1, cg ? cg->set : 0,
		call->deadline_ns, call->cancel, err);
	pthread_mutex_lock(&scene->lock);
	if (r < 0) {
		scene_unref(cg);
		return r;
	}
	for (unsigned k = 0; k < spawn->count; k++) {
		struct scene_worker *worker = batch.workers[k];
		batch.workers[k] = NULL;
		worker->cgroup = scene_ref(cg);
		worker->scope = call->scope;
		worker->started_phase = work_phase();
		ret_pids[k] = worker->work.child.pid;
		worker->next = scene->workers;
		scene->workers = worker;
	}
	if (cg && cg->gone) {
		scene_stop_workers(scene, match_worker, cg, true, true, true);
		r = err_set(err, ERR_NOT_FOUND, "cgroup `%s` was removed while workers were starting in it",
			cg->name);
	}
	scene_unref(cg);
	return r;
}

/* --- stopping --- */

static void add_report(struct scene *scene, struct scene_worker *worker, bool removed)
{
	struct scene_worker_report *report = calloc(1, sizeof(*report));
	scene->ended_iterations += work_iterations(&worker->work);
	if (!report || worker->discard) {
		free(report);
		return;
	}
	work_report(&worker->work, &report->work);
	if (worker->cgroup)
		memcpy(report->cgroup, worker->cgroup->name, sizeof(report->cgroup));
	report->removed_mid_run = removed;
	report->backdrop = worker->scope == SCENE_BACKDROP;
	report->started_phase = worker->started_phase;
	report->next = scene->worker_reports[worker->scope];
	scene->worker_reports[worker->scope] = report;
}

static void unlink_worker(struct scene *scene, struct scene_worker *worker)
{
	for (struct scene_worker **at = &scene->workers; *at; at = &(*at)->next)
		if (*at == worker) {
			*at = worker->next;
			return;
		}
}

/* A frozen worker cannot stop by itself: thaws its cgroup, or says that one above keeps it frozen. */
static bool make_stoppable(struct scene *scene, const struct scene_worker *worker)
{
	struct scene_cgroup *cg = worker->cgroup;
	if (!cg)
		return true;
	if (cg->frozen) {
		struct err err = ERR_INIT;
		cg->frozen = cg_write(cg->fd, cg->name, "cgroup.freeze", "0", &err) < 0;
	}
	for (const struct scene_cgroup *up = scene->cgroups; up; up = up->next)
		if (up->frozen && scene_inside(cg, up))
			return false;
	return true;
}

void scene_stop_workers(
	struct scene *scene, scene_match_fn match, const void *arg, bool kill, bool discard, bool removed)
{
	unsigned count = 0, taken = 0;
	for (const struct scene_worker *worker = scene->workers; worker; worker = worker->next)
		count++;
	/* The list itself would do, but others may grow and shrink it while this call waits. */
	_cleanup_free_ struct scene_worker **mine = calloc(count + 1, sizeof(*mine));
	if (!mine)
		return; /* nothing is lost: the scope's end tries again */
	for (struct scene_worker *worker = scene->workers; worker; worker = worker->next) {
		if (worker->claimed || !match(worker, arg))
			continue;
		worker->claimed = true;
		worker->discard = discard;
		mine[taken++] = worker;
		if (kill || !make_stoppable(scene, worker))
			child_kill(&worker->work.child, SIGKILL);
		else
			work_ask_stop(&worker->work);
	}
	uint64_t patience_ns = SCENE_STOP_NS * 100 / MAX_OF(scene->config.speed_percent, 1);
	pthread_mutex_unlock(&scene->lock);
	uint64_t deadline_ns = clock_deadline_ns(patience_ns);
	for (unsigned i = 0; i < taken; i++)
		if (child_wait(&mine[i]->work.child, deadline_ns, NULL) != CHILD_EXITED)
			break;
	for (unsigned i = 0; i < taken; i++)
		child_kill(&mine[i]->work.child, SIGKILL);
	for (unsigned i = 0; i < taken; i++)
		child_wait(&mine[i]->work.child, CLOCK_NEVER_NS, NULL);
	pthread_mutex_lock(&scene->lock);
	/* The list is newest first: reports come in order of starting. */
	for (unsigned i = taken; i-- > 0;) {
		add_report(scene, mine[i], removed);
		unlink_worker(scene, mine[i]);
		work_release(&mine[i]->work);
		scene_unref(mine[i]->cgroup);
		free(mine[i]);
	}
	pthread_cond_broadcast(&scene->changed);
	/* Those that another lane is stopping: done only when they are gone too. */
	for (bool others = true; others;) {
		others = false;
		for (const struct scene_worker *worker = scene->workers; worker; worker = worker->next)
			others |= worker->claimed && match(worker, arg);
		if (others)
			pthread_cond_wait(&scene->changed, &scene->lock);
	}
}

int scene_stop_cgroup(struct scene *scene, const struct scene_call *call, const char *name, bool keep_reports,
	struct err *err)
{
	SCOPE_LOCK(&scene->lock);
	struct scene_cgroup *cg = NULL;
	if (*name) {
		int r = scene_need(scene, call, name, &cg, err);
		if (r < 0 && !call->strict) {
			scene_note(call, "%s", err->message);
			return 0;
		}
		if (r < 0)
			return r;
	}
	scene_ref(cg);
	scene_drain_payloads(scene, match_run, cg);
	scene_stop_workers(scene, match_worker, cg, !keep_reports, !keep_reports, false);
	scene_unref(cg);
	return 0;
}

int scene_set_affinity(struct scene *scene, const struct scene_call *call, const char *name,
	const struct affinity *affinity, struct err *err)
{
	SCOPE_LOCK(&scene->lock);
	struct scene_cgroup *cg = NULL;
	int r = *name ? scene_need(scene, call, name, &cg, err) : 0;
	if (r < 0 && !call->strict) {
		scene_note(call, "%s", err->message);
		return 0;
	}
	if (r < 0 || affinity->kind == AFFINITY_INHERIT)
		return r;
	unsigned k = 0, count = 0;
	for (const struct scene_worker *worker = scene->workers; worker; worker = worker->next)
		count += worker->cgroup == cg && !worker->claimed;
	_cleanup_free_ struct cpuset *sets = NULL;
	r = count ? resolve_all(scene, cg, affinity, count, &sets, err) : 0;
	/* The list is newest first; k counts in order of starting. */
	for (struct scene_worker *worker = scene->workers; r == 0 && worker; worker = worker->next) {
		if (worker->cgroup != cg || worker->claimed)
			continue;
		const struct cpuset *set = &sets[count - 1 - k++];
		pid_t pid = worker->work.child.pid;
		if (child_exited(&worker->work.child))
			continue;
		if (syscall(SYS_sched_setaffinity, pid, sizeof(*set), set) < 0 && errno != ESRCH)
			r = err_set_os(err, ERR_GUEST_OS, errno,
				"sched_setaffinity failed for worker %d (%s) of `%s`", pid, worker->work.comm,
				name);
	}
	return r;
}
