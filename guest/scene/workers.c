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

static int narrow_to_node(struct scene *scene, uint32_t node, struct cpuset *set, struct err *err)
{
	struct cpuset cpus = cpu_layout_node(&scene->layout, node);
	*set = cpuset_and(set, &cpus);
	if (!cpuset_is_empty(set))
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT,
		node < scene->layout.n_nodes ? "numa_node %u has none of the workers' CPUs"
					     : "numa_node %u: this machine does not have it",
		node);
}

static int resolve_all(struct scene *scene, const struct scene_cgroup *cg, const struct affinity *affinity,
	unsigned count, const uint32_t *numa_node, struct cpuset **ret_sets, struct err *err)
{
	*ret_sets = NULL;
	if (affinity->kind == AFFINITY_INHERIT && !numa_node)
		return 0;
	_cleanup_free_ struct cpuset *sets = calloc(count, sizeof(*sets));
	if (!sets)
		return err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot resolve affinities");
	struct cpuset pool = pool_of(scene, cg);
	for (unsigned k = 0; k < count; k++) {
		sets[k] = pool;
		int r = affinity->kind == AFFINITY_INHERIT
				? 0
				: affinity_resolve(affinity, &scene->layout, &pool, k,
					  affinity_draw(scene->seed, scene->drawn++), &sets[k], err);
		if (r == 0 && numa_node)
			r = narrow_to_node(scene, *numa_node, &sets[k], err);
		if (r < 0)
			return r;
	}
	*ret_sets = TAKE_PTR(sets);
	return 0;
}

static int check_count(
	struct scene *scene, const struct scene_spawn *spawns, unsigned n_spawns, struct err *err)
{
	unsigned alive = 0, more = 0;
	for (const struct scene_worker *worker = scene->workers; worker; worker = worker->next)
		alive++;
	for (unsigned i = 0; i < n_spawns; i++) {
		if (!spawns[i].count)
			return err_set(err, ERR_INVALID_ARGUMENT, "there must be at least one worker");
		more += MIN_OF(spawns[i].count, LIMIT_WORKERS + 1);
		if (more > LIMIT_WORKERS || alive + more > LIMIT_WORKERS)
			return err_set(err, ERR_LIMIT_EXCEEDED,
				"%u more workers: at most %u are possible, there are %u", more, LIMIT_WORKERS,
				alive);
	}
	return 0;
}

static int check_spawn(struct scene *scene, const struct scene_spawn *spawns, unsigned n_spawns,
	const struct scene_cgroup *cg, struct err *err)
{
	int r = check_count(scene, spawns, n_spawns, err);
	if (r < 0)
		return r;
	const struct work_spec *first = &spawns[0].work;
	for (unsigned i = 1; i < n_spawns; i++) {
		const struct work_spec *work = &spawns[i].work;
		if (work->has_uid != first->has_uid || work->has_gid != first->has_gid ||
			(work->has_uid && work->uid != first->uid) ||
			(work->has_gid && work->gid != first->gid))
			return err_set(err, ERR_INVALID_ARGUMENT,
				"workers of thread group `%s` are one process: they must agree on uid and "
				"gid",
				first->thread_group);
	}
	for (const struct scene_cgroup *up = scene->cgroups; cg && up; up = up->next)
		if (up->frozen && scene_inside(cg, up))
			return err_set(err, ERR_FAILED_PRECONDITION,
				"cgroup `%s` is frozen: a worker started there could not even set itself up; "
				"unfreeze it "
				"first",
				up->name);
	return 0;
}

/* What one spawn comes to. */
struct spawned {
	struct scene_worker **workers;
	struct work **works;
	unsigned count;
	struct work_spec spec;
	struct cpuset *sets;
	struct scene_cgroup *other; /* a reference */
	char program[512];
};
struct spawn_batch {
	struct spawned *all;
	struct work_order *orders;
	unsigned count;
	struct scene_cgroup *cgroup; /* a reference */
};

/* With the lock held. */
static void spawn_batch_deinit(struct spawn_batch *batch)
{
	for (unsigned i = 0; batch->all && i < batch->count; i++) {
		struct spawned *one = &batch->all[i];
		for (unsigned k = 0; one->workers && k < one->count; k++)
			free(one->workers[k]);
		free(one->workers);
		free(one->works);
		free(one->sets);
		scene_unref(one->other);
	}
	free(batch->all);
	free(batch->orders);
	scene_unref(batch->cgroup);
}

static int allocate(struct spawned *one, unsigned count, struct err *err)
{
	one->count = count;
	one->workers = calloc(count, sizeof(*one->workers));
	one->works = calloc(count, sizeof(*one->works));
	for (unsigned k = 0; one->workers && one->works && k < count; k++) {
		one->workers[k] = calloc(1, sizeof(**one->workers));
		if (!one->workers[k])
			break;
		one->works[k] = &one->workers[k]->work;
	}
	if (!one->works || !one->workers || !one->workers[count - 1])
		return err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot start %u workers", count);
	return 0;
}

/* Everything of a spawn that names something is looked up. */
static int resolve_spawn(struct scene *scene, const struct scene_call *call, const struct scene_spawn *spawn,
	const struct scene_cgroup *cg, struct spawned *one, struct err *err)
{
	struct affinity affinity = spawn->affinity;
	if (spawn->work.params.type == WORK_SMT_SIBLING_SPIN && affinity.kind == AFFINITY_INHERIT)
		affinity = (struct affinity){.kind = AFFINITY_SMT_PAIR, .per_worker = true};
	int r = resolve_all(scene, cg, &affinity, spawn->count,
		spawn->has_numa_node ? &spawn->numa_node : NULL, &one->sets, err);
	if (r == 0)
		r = allocate(one, spawn->count, err);
	if (r < 0)
		return r;
	one->spec = spawn->work;
	one->spec.affinity = one->sets;
	one->spec.seed = affinity_draw(scene->seed, scene->drawn++);
	one->spec.layout = &scene->layout;
	one->spec.other_fd = -1;
	if (spawn->work.params.type == WORK_CGROUP_ATTACH_STORM &&
		spawn->work.params.cgroup_attach_storm.has_destination) {
		struct scene_cgroup *other;
		r = scene_need(scene, call, spawn->work.params.name, &other, err);
		if (r < 0)
			return r;
		one->other = scene_ref(other);
		one->spec.other_fd = other->fd;
	}
	if (spawn->work.program) {
		scene_program_path(scene, spawn->work.program, one->program, sizeof(one->program));
		one->spec.program = one->program;
		one->spec.envp = scene_environment();
	}
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

/* They run: the scene's from now on. */
static void track_workers(
	struct scene *scene, const struct scene_call *call, struct spawn_batch *batch, pid_t *ret_pids)
{
	for (unsigned i = 0; i < batch->count; i++)
		for (unsigned k = 0; k < batch->all[i].count; k++) {
			struct scene_worker *worker = batch->all[i].workers[k];
			batch->all[i].workers[k] = NULL;
			worker->cgroup = scene_ref(batch->cgroup);
			worker->scope = call->scope;
			worker->started_phase = work_phase();
			*ret_pids++ = work_tid(&worker->work);
			worker->next = scene->workers;
			scene->workers = worker;
		}
}

int scene_spawn(struct scene *scene, const struct scene_call *call, const struct scene_spawn *spawns,
	unsigned n_spawns, pid_t *ret_pids, struct err *err)
{
	SCOPE_LOCK(&scene->lock);
	/* After the lock: it ends before the lock is let go. */
	_cleanup_(spawn_batch_deinit) struct spawn_batch batch = {0};
	int r = spawns[0].cgroup ? scene_need(scene, call, spawns[0].cgroup, &batch.cgroup, err) : 0;
	if (r < 0) {
		batch.cgroup = NULL;
		return r;
	}
	struct scene_cgroup *cg = scene_ref(batch.cgroup);
	r = check_spawn(scene, spawns, n_spawns, cg, err);
	batch.all = calloc(n_spawns, sizeof(*batch.all));
	batch.orders = calloc(n_spawns, sizeof(*batch.orders));
	if (r == 0 && (!batch.all || !batch.orders))
		r = err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot start workers");
	if (batch.all)
		batch.count = n_spawns;
	for (unsigned i = 0; r == 0 && i < n_spawns; i++) {
		struct spawned *one = &batch.all[i];
		r = resolve_spawn(scene, call, &spawns[i], cg, one, err);
		batch.orders[i] = (struct work_order){&one->spec, one->works, one->count};
	}
	if (r < 0)
		return r;
	scene_arrive(cg);
	pthread_mutex_unlock(&scene->lock);
	r = work_start_all(batch.orders, n_spawns, cg ? cg->fd : -1, cg ? cg->set : 0, call->deadline_ns,
		call->cancel, err);
	pthread_mutex_lock(&scene->lock);
	scene_arrived(cg);
	if (r < 0)
		return r;
	if (batch.all[0].works[0]->child.moved)
		scene_note(call, SCENE_MOVED_NOTE);
	track_workers(scene, call, &batch, ret_pids);
	if (cg && cg->gone) {
		struct err stop = ERR_INIT;
		if (scene_stop_workers(scene, match_worker, cg, true, true, true, &stop) < 0)
			*err = stop;
		else
			err_set(err, ERR_NOT_FOUND,
				"cgroup `%s` was removed while workers were starting in it", cg->name);
		r = err_errno(err->code);
	}
	return r;
}

void scene_release(struct scene *scene, enum scene_scope scope)
{
	SCOPE_LOCK(&scene->lock);
	for (struct scene_worker *worker = scene->workers; worker; worker = worker->next)
		if (worker->scope == scope)
			work_begin(&worker->work);
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

/* With the lock held. It was killed and is still there: what it left is given up. */
static int give_up(struct scene_worker *worker, uint64_t waited_ns, struct err *err)
{
	char state[160];
	pid_t pid = work_child(&worker->work)->pid;
	int r = err_set(err, ERR_TIMEOUT,
		"worker %d (%s) of `%s` does not die: it was killed %llu s ago and is in %s", pid,
		worker->work.comm, worker->cgroup ? worker->cgroup->name : "",
		(unsigned long long)(waited_ns / NS_PER_S), child_state_text(pid, state, sizeof(state)));
	work_abandon(&worker->work);
	return r;
}

int scene_stop_workers(struct scene *scene, scene_match_fn match, const void *arg, bool kill, bool discard,
	bool removed, struct err *err)
{
	unsigned count = 0, taken = 0;
	for (const struct scene_worker *worker = scene->workers; worker; worker = worker->next)
		count++;
	/* The list itself would do, but others may grow and shrink it while this call waits. */
	_cleanup_free_ struct scene_worker **mine = calloc(count + 1, sizeof(*mine));
	if (!mine)
		return err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot stop workers");
	for (struct scene_worker *worker = scene->workers; worker; worker = worker->next) {
		if (worker->claimed || !match(worker, arg))
			continue;
		worker->claimed = true;
		worker->discard = discard;
		mine[taken++] = worker;
		if (kill || !make_stoppable(scene, worker))
			child_kill(work_child(&worker->work), SIGKILL);
		else
			work_ask_stop(&worker->work);
	}
	uint64_t speed = MAX_OF(scene->config.speed_percent, 1);
	uint64_t kill_ns = SCENE_KILL_NS * 100 / speed;
	pthread_mutex_unlock(&scene->lock);
	uint64_t deadline_ns = clock_deadline_ns(SCENE_STOP_NS * 100 / speed);
	for (unsigned i = 0; i < taken; i++)
		if (child_wait(work_child(&mine[i]->work), deadline_ns, NULL) != CHILD_EXITED)
			break;
	for (unsigned i = 0; i < taken; i++)
		child_kill(work_child(&mine[i]->work), SIGKILL);
	deadline_ns = clock_deadline_ns(kill_ns);
	for (unsigned i = 0; i < taken; i++)
		(void)child_wait(work_child(&mine[i]->work), deadline_ns, NULL);
	pthread_mutex_lock(&scene->lock);
	int r = 0;
	for (unsigned i = taken; i-- > 0;)
		if (!child_exited(work_child(&mine[i]->work)))
			r = give_up(mine[i], kill_ns, err);
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
	return r;
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
	int drained = scene_drain_payloads(scene, match_run, cg, err);
	int r = scene_stop_workers(scene, match_worker, cg, !keep_reports, !keep_reports, false, err);
	scene_unref(cg);
	return r < 0 ? r : drained;
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
	r = count ? resolve_all(scene, cg, affinity, count, NULL, &sets, err) : 0;
	/* The list is newest first; k counts in order of starting. */
	for (struct scene_worker *worker = scene->workers; r == 0 && worker; worker = worker->next) {
		if (worker->cgroup != cg || worker->claimed)
			continue;
		const struct cpuset *set = &sets[count - 1 - k++];
		pid_t pid = work_tid(&worker->work);
		if (child_exited(work_child(&worker->work)))
			continue;
		if (syscall(SYS_sched_setaffinity, pid, sizeof(*set), set) < 0 && errno != ESRCH)
			r = err_set_os(err, ERR_GUEST_OS, errno,
				"sched_setaffinity failed for worker %d (%s) of `%s`", pid, worker->work.comm,
				name);
	}
	return r;
}
