/* SPDX-License-Identifier: GPL-2.0-only */
/* Moving tasks between cgroups, all or none (see scene.h). A tracked task is a worker's process or a program
 * between its keeper and its last descendant: whoever descends from one goes along, so that no part of it is
 * left behind. The moves themselves happen under the scene's lock: they are short, and nobody may stop or
 * start anything in between. */
#include "common/clock.h"
#include "common/fd.h"
#include "common/fsat.h"
#include "common/scope.h"
#include "guest/scene/state.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIES 3 /* more, after the first */
#define TRY_AGAIN_NS (100 * NS_PER_MS)
/* Generations that a child may be away from a tracked process. */
#define ANCESTORS_MAX 256
/* Times that a cgroup is looked into for processes that were forked meanwhile. */
#define LOOKS_MAX 1000

struct move {
	struct scene *scene;
	const struct scene_call *call;
	struct scene_cgroup *from, *to; /* from NULL: the runner cgroup */
	bool untracked;
	struct scene_moved *moved;
	size_t size_pids, size_untracked;
	unsigned tracked, exited; /* workers and payloads */
	unsigned taken;           /* processes of theirs that were moved */
	bool stranded;            /* some could not be moved back */
};

void scene_moved_deinit(struct scene_moved *moved)
{
	free(moved->pids);
	free(moved->untracked);
	*moved = (struct scene_moved){0};
}

static int no_memory(struct err *err)
{
	return err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot move tasks");
}

static int add_pid(pid_t **pids, size_t *count, size_t *size, pid_t pid, struct err *err)
{
	if (*count == *size) {
		size_t more = *size ? *size * 2 : 64;
		pid_t *grown = realloc(*pids, more * sizeof(**pids));
		if (!grown)
			return no_memory(err);
		*pids = grown;
		*size = more;
	}
	(*pids)[(*count)++] = pid;
	return 0;
}

static const char *from_name(const struct move *move)
{
	return move->from ? move->from->name : "the runner cgroup";
}

static bool is_mover(const struct move *move, const struct scene_worker *worker)
{
	if (worker->claimed || worker->cgroup != move->from)
		return false;
	return move->from || scene_adhoc(worker->scope) == move->call->adhoc;
}

/* The runner cgroup's payloads stay: only its workers are taken. */
static bool is_moving_run(const struct move *move, const struct scene_run *run)
{
	return move->from && !run->claimed && run->cgroup == move->from;
}

static bool ext_attached(void)
{
	char state[32];
	return fsat_read(AT_FDCWD, "/sys/kernel/sched_ext/state", state, sizeof(state)) >= 0 &&
	       strcmp(state, "disabled") != 0;
}

/* False when given up. */
static bool wait_a_moment(const struct scene_call *call)
{
	struct pollfd fd = {.fd = call->cancel ? call->cancel->fd : -1, .events = POLLIN};
	return poll(&fd, 1, clock_poll_ms(clock_deadline_ns(TRY_AGAIN_NS))) <= 0;
}

/* --- what is tracked --- */

/* Parent of a process, 0: there is none, or it has ended. */
static pid_t parent_of(pid_t pid, char *ret_state)
{
	char path[40], text[512];
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	ssize_t n = fsat_read(AT_FDCWD, path, text, sizeof(text));
	if (n < 0 && n != -E2BIG)
		return 0;
	text[sizeof(text) - 1] = '\0';
	const char *close = strrchr(text, ')');
	int parent = 0;
	return close && sscanf(close, ") %c %d", ret_state, &parent) == 2 ? parent : 0;
}

static bool is_root(const struct move *move, pid_t pid)
{
	for (const struct scene_worker *worker = move->scene->workers; worker; worker = worker->next)
		if (is_mover(move, worker) && work_child(&worker->work)->pid == pid)
			return true;
	for (const struct scene_run *run = move->scene->payloads; run; run = run->next)
		if (is_moving_run(move, run) && payload_keeper(run->payload) == pid)
			return true;
	return false;
}

static bool is_tracked(const struct move *move, pid_t pid)
{
	char state;
	for (unsigned steps = 0; pid > 1 && steps < ANCESTORS_MAX; steps++) {
		if (is_root(move, pid))
			return true;
		pid = parent_of(pid, &state);
	}
	return false;
}

static void count_tracked(struct move *move)
{
	move->tracked = move->exited = move->taken = 0;
	for (const struct scene_worker *worker = move->scene->workers; worker; worker = worker->next)
		if (is_mover(move, worker)) {
			move->tracked++;
			move->exited += child_exited(work_child(&worker->work));
		}
	for (const struct scene_run *run = move->scene->payloads; run; run = run->next)
		if (is_moving_run(move, run)) {
			move->tracked++;
			move->exited += payload_exited(run->payload);
		}
}

/* --- what may go where --- */

static int check_owner(const struct move *move, enum scene_scope owner, const char *kind, const char *name,
	pid_t pid, struct err *err)
{
	enum scene_scope there = move->to->scope;
	if (move->call->scope == SCENE_BACKDROP)
		return 0; /* its own set-up, before any step */
	if (owner == SCENE_BACKDROP && there == SCENE_STEP)
		return err_set(err, ERR_FAILED_PRECONDITION,
			"%s `%s` (pid %d) of `%s` belongs to the backdrop and `%s` to this step: it would be "
			"stranded in a cgroup that is removed at the step's end; make `%s` in the backdrop",
			kind, name, pid, from_name(move), move->to->name, move->to->name);
	if (owner != SCENE_ADHOC && there == SCENE_ADHOC)
		return err_set(err, ERR_FAILED_PRECONDITION,
			"%s `%s` (pid %d) of `%s` belongs to the scenario and `%s` was made ad hoc: it would "
			"be "
			"stranded when that is cleaned up",
			kind, name, pid, from_name(move), move->to->name);
	return 0;
}

static int check_owners(const struct move *move, struct err *err)
{
	int r = 0;
	for (const struct scene_worker *worker = move->scene->workers; worker && r == 0;
		worker = worker->next)
		if (is_mover(move, worker))
			r = check_owner(move, worker->scope, "worker", worker->work.comm,
				work_tid(&worker->work), err);
	for (const struct scene_run *run = move->scene->payloads; run && r == 0; run = run->next) {
		if (!is_moving_run(move, run))
			continue;
		r = check_owner(move, run->scope, "payload", run->name, payload_pid(run->payload), err);
		for (const struct scene_run *other = move->scene->payloads; other && r == 0;
			other = other->next)
			if (!other->claimed && other->cgroup == move->to && !strcmp(other->name, run->name))
				r = err_set(err, ERR_ALREADY_EXISTS,
					"payload `%s` is live in `%s` already (pid %d), so the one of `%s` "
					"cannot "
					"become it: wait for one of them or kill it first",
					run->name, move->to->name, payload_pid(other->payload),
					from_name(move));
	}
	return r;
}

static int check_destination(const struct move *move, struct err *err)
{
	char list[256];
	if (!*cg_for_children(move->to->fd, list, sizeof(list)))
		return 0;
	return err_set(err, ERR_FAILED_PRECONDITION,
		"cannot move tasks to `%s`: it has controllers enabled for its children "
		"(cgroup.subtree_control is '%s'), and a cgroup has either those or processes; move them to "
		"one of its children",
		move->to->name, list);
}

/* --- one try --- */

/* Kept beside the kernel's words: who it is. */
static int name_task(const struct move *move, pid_t pid, struct err *err)
{
	char path[40], comm[32];
	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	if (fsat_read(AT_FDCWD, path, comm, sizeof(comm)) < 0)
		snprintf(comm, sizeof(comm), "?");
	return err_wrap(err, "process %d (%s) of `%s`", pid, comm, from_name(move));
}

/* ESRCH is the kernel's word for a PID that nobody has, unless it is a scheduler's veto: that may have any
 * errno. */
static bool has_ended(pid_t pid, const struct err *refused)
{
	char state = 0;
	if (refused->os_errno != ESRCH)
		return false;
	return !ext_attached() || !parent_of(pid, &state) || state == 'Z' || state == 'X';
}

/* 0 moved, 1 it has ended. */
static int move_one(const struct move *move, pid_t pid, struct err *err)
{
	struct err refused = ERR_INIT;
	if (cg_attach(move->to->fd, move->to->name, pid, &refused) == 0)
		return 0;
	if (has_ended(pid, &refused))
		return 1;
	if (err)
		*err = refused;
	return name_task(move, pid, err);
}

/* Moves whoever is in `from` and wanted; 0 when there was nobody new. */
static int move_listed(struct move *move, struct err *err)
{
	_cleanup_free_ pid_t *pids = NULL;
	size_t count;
	int found = 0, r = cg_list(move->from->fd, move->from->name, false, false, &pids, &count, err);
	move->moved->n_untracked = 0;
	for (size_t i = 0; r >= 0 && i < count; i++) {
		bool tracked = is_tracked(move, pids[i]);
		if (!tracked)
			r = add_pid(&move->moved->untracked, &move->moved->n_untracked, &move->size_untracked,
				pids[i], err);
		if (r < 0 || (!tracked && !move->untracked))
			continue;
		r = move_one(move, pids[i], err);
		if (r == 0) {
			found = 1;
			move->taken += tracked;
			r = add_pid(&move->moved->pids, &move->moved->n_pids, &move->size_pids, pids[i], err);
		}
	}
	return r < 0 ? r : found;
}

static bool is_moved(const struct move *move, pid_t pid)
{
	for (size_t i = 0; i < move->moved->n_pids; i++)
		if (move->moved->pids[i] == pid)
			return true;
	return false;
}

static int move_runners(struct move *move, struct err *err)
{
	int r = 0;
	for (const struct scene_worker *worker = move->scene->workers; r >= 0 && worker;
		worker = worker->next) {
		pid_t pid = work_child(&worker->work)->pid;
		/* The workers of a thread group share one. */
		if (!is_mover(move, worker) || child_exited(work_child(&worker->work)) || is_moved(move, pid))
			continue;
		r = move_one(move, pid, err);
		move->taken += r == 0;
		if (r == 0)
			r = add_pid(&move->moved->pids, &move->moved->n_pids, &move->size_pids, pid, err);
	}
	return r < 0 ? r : 0;
}

static int move_all(struct move *move, struct err *err)
{
	if (!move->from)
		return move_runners(move, err);
	for (unsigned looks = 0; looks < LOOKS_MAX; looks++) {
		int r = move_listed(move, err);
		if (r <= 0)
			return r;
	}
	return err_set(err, ERR_LIMIT_EXCEEDED,
		"the processes of `%s` fork faster than they can be moved: limit them with pids.max",
		from_name(move));
}

/* The kernel's word for the last process that could not go, ERR_NONE: the runner cgroup is not at hand. */
static void send_back(struct move *move, struct err *ret_last)
{
	int fd = move->from ? move->from->fd : move->scene->config.stray_fd;
	pid_t *pids = move->moved->pids;
	size_t left = move->moved->n_pids;
	*ret_last = ERR_INIT;
	for (size_t i = left; i-- > 0;) {
		struct err refused = ERR_INIT;
		if (fd >= 0 && (cg_attach(fd, from_name(move), pids[i], &refused) == 0 ||
				       has_ended(pids[i], &refused))) {
			left--;
			memmove(pids + i, pids + i + 1, (left - i) * sizeof(*pids));
		} else {
			*ret_last = refused;
		}
	}
	move->moved->n_pids = left;
}

/* A way back may be vetoed like one there. It is tried again without letting go of the scene: nobody is to
 * see them between two cgroups. */
static void move_back(struct move *move, struct err *err)
{
	struct err last;
	size_t count = move->moved->n_pids;
	send_back(move, &last);
	for (unsigned again = 0; move->moved->n_pids && last.os_errno && again < TRIES && ext_attached();
		again++) {
		/* Whether or not it is cancelled: they are to be where they were. */
		poll(NULL, 0, clock_poll_ms(clock_deadline_ns(TRY_AGAIN_NS)));
		send_back(move, &last);
	}
	move->stranded = move->moved->n_pids > 0;
	if (move->stranded)
		err_wrap(err, "and %zu of %zu processes could not be moved back from `%s` (%s)",
			move->moved->n_pids, count, move->to->name,
			last.code ? last.message : "the runner cgroup is not at hand");
	move->moved->n_pids = 0;
}

static enum scene_scope new_owner(const struct move *move, enum scene_scope owner)
{
	return owner == SCENE_STEP && move->to->scope == SCENE_BACKDROP ? SCENE_BACKDROP : owner;
}

static void rekey(struct move *move)
{
	for (struct scene_worker *worker = move->scene->workers; worker; worker = worker->next) {
		if (!is_mover(move, worker))
			continue;
		scene_ref(move->to);
		scene_unref(worker->cgroup);
		worker->cgroup = move->to;
		worker->scope = new_owner(move, worker->scope);
		work_use_set(&worker->work, move->to->set);
	}
	for (struct scene_run *run = move->scene->payloads; run; run = run->next) {
		if (!is_moving_run(move, run))
			continue;
		scene_ref(move->to);
		scene_unref(run->cgroup);
		run->cgroup = move->to;
		run->scope = new_owner(move, run->scope);
	}
}

static int try_move(struct move *move, struct err *err)
{
	int r = check_owners(move, err);
	if (r == 0)
		r = check_destination(move, err);
	count_tracked(move);
	if (r < 0)
		return r;
	/* Whoever looks at his CPU meanwhile is between two sets and does not judge; the brackets also tell
	 * a way there and back from having stayed. */
	if (move->from)
		scene_cpus_begin(move->scene, move->from);
	scene_cpus_begin(move->scene, move->to);
	r = move_all(move, err);
	/* Of one that has just ended its keeper may not know yet: whether there was anybody is what counts.
	 */
	if (r == 0 && move->tracked && !move->taken)
		r = err_set(err, ERR_NOT_FOUND, "every task of `%s` has exited (%u workers and payloads)",
			from_name(move), move->tracked);
	if (r < 0)
		move_back(move, err);
	else
		rekey(move);
	scene_cpus_end(move->scene, move->to);
	if (move->from)
		scene_cpus_end(move->scene, move->from);
	return r;
}

/* --- vetoes --- */

/* Only what the kernel answered to a move is worth another try. */
static bool may_try_again(const struct move *move, const struct err *err)
{
	return move->moved->tries <= TRIES && !move->stranded && err->os_errno && ext_attached() &&
	       clock_left_ns(move->call->deadline_ns) > TRY_AGAIN_NS;
}

static int find_ends(struct move *move, const char *from, const char *to, struct err *err)
{
	int r = *from ? scene_need(move->scene, move->call, from, &move->from, err) : 0;
	if (r < 0)
		err_at(err, "from");
	if (r == 0) {
		r = scene_need(move->scene, move->call, to, &move->to, err);
		if (r < 0)
			err_at(err, "to");
	}
	return r;
}

int scene_move_tasks(struct scene *scene, const struct scene_call *call, const char *from, const char *to,
	bool untracked, struct scene_moved *ret_moved, struct err *err)
{
	struct move move = {.scene = scene, .call = call, .untracked = untracked, .moved = ret_moved};
	struct err local = ERR_INIT;
	err = err ? err : &local;
	*ret_moved = (struct scene_moved){0};
	if (!strcmp(from, to))
		return err_set(err, ERR_INVALID_ARGUMENT,
			"from and to are both \"%s\": this would do nothing", from);
	if (untracked && !*from)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"untracked is not possible with the runner cgroup: the agent itself is in it");
	SCOPE_LOCK(&scene->lock);
	for (;;) {
		/* Again after each wait: the names may mean something else, or nothing, by now. */
		move.from = move.to = NULL;
		int r = find_ends(&move, from, to, err);
		if (r < 0)
			return r;
		ret_moved->tries++;
		r = try_move(&move, err);
		if (r >= 0)
			break;
		if (!may_try_again(&move, err)) {
			if (ret_moved->tries > 1 && err->os_errno)
				err_wrap(err, "refused %u times, with an ext scheduler attached",
					ret_moved->tries);
			return r;
		}
		scene_ref(move.from);
		scene_ref(move.to);
		pthread_mutex_unlock(&scene->lock);
		bool go_on = wait_a_moment(call);
		pthread_mutex_lock(&scene->lock);
		scene_unref(move.from);
		scene_unref(move.to);
		if (!go_on)
			return err_set(err, ERR_CANCELLED, "given up while moving the tasks of `%s`",
				*from ? from : "the runner cgroup");
		*err = ERR_INIT;
	}
	ret_moved->exited = move.exited;
	if (!move.tracked)
		scene_note(call, "no worker and no payload is in `%s`: nothing that is tracked was moved",
			from_name(&move));
	if (ret_moved->n_untracked && !untracked)
		scene_note(call, "%zu processes that nobody tracks stay in `%s`", ret_moved->n_untracked,
			from_name(&move));
	return 0;
}
