/* SPDX-License-Identifier: GPL-2.0-only */
/* Ops: one rule a kind, in a table by number, and what each does to the model of names. Pure. */
#include "host/engine/ops.h"
#include "host/engine/validate.h"
#include "host/snapshot/snapshot.h"
#include "proto/wire.h"

#include <string.h>

/* The cgroup that an op names must be there when it runs; NULL when it is not, or nobody can know. `lenient`:
 * in a scenario that is not strict an unknown one is only worth a warning. */
static struct name *check_tracked(struct check *check, const char *cgroup, const char *field, bool lenient)
{
	if (!*cgroup) {
		check_bad(check, ERR_INVALID_ARGUMENT, field,
			"a cgroup's name is needed here: \"\" (the runner cgroup) is not one");
		return NULL;
	}
	if (!check_cgroup_name(check, cgroup, field) || check->adhoc)
		return NULL;
	struct name *name = names_find(&check->names, cgroup);
	if (name && name->tracked)
		return name;
	if (name && name->setup_step == check->step && check->step >= 0 && !check->in_loop)
		check_bad(check, ERR_NOT_FOUND, field,
			"cgroup '%.80s' is made by this step's `setup`, which comes after its ops: define it "
			"in the backdrop, or "
			"with add_cgroup or add_cgroup_def earlier in this step",
			cgroup);
	else if (name && name->last_step >= 0)
		check_bad(check, ERR_NOT_FOUND, field,
			"cgroup '%.80s' was local to steps[%d] and is gone: define it in the backdrop to "
			"keep it",
			cgroup, name->last_step);
	else if (lenient && !check->strict)
		check_warn(check, field, "there is no cgroup '%.80s' at this point: the op will do nothing",
			cgroup);
	else
		check_bad(check, ERR_NOT_FOUND, field,
			"there is no cgroup '%.80s' at this point%s: define it in the backdrop, or make it "
			"with "
			"add_cgroup or add_cgroup_def earlier in this step",
			cgroup, name ? " any longer" : "");
	return NULL;
}

static void check_add_cgroup(struct check *check, const Schedrig__V1__Op *op, enum name_owner owner)
{
	const char *cgroup = op->add_cgroup->name;
	if (!check_cgroup_name(check, cgroup, "name"))
		return;
	struct name *name = names_enter(&check->names, cgroup);
	if (!name || check->adhoc)
		return;
	if (name->tracked) {
		check_bad(check, ERR_ALREADY_EXISTS, "name", "cgroup '%.80s' exists already at this point%s",
			cgroup, check->names_only ? " (in the loop's second pass)" : "");
		return;
	}
	if (!check->names_only && ++check->cgroups == LIMIT_CGROUPS + 1)
		check_bad(check, ERR_LIMIT_EXCEEDED, NULL, "more than %u cgroups", LIMIT_CGROUPS);
	if (check->waived != ERR_NONE)
		return;
	name->tracked = true;
	name->owner = owner;
	name->cpus_known = true;
	name->cpus = CPUSET_EMPTY;
}

static void check_add_cgroup_def(struct check *check, const Schedrig__V1__Op *op, enum name_owner owner)
{
	if (!op->add_cgroup_def->def) {
		check_bad(check, ERR_INVALID_ARGUMENT, "def", "no definition is given");
		return;
	}
	struct name *before = names_find(&check->names, op->add_cgroup_def->def->name);
	bool tracked = before && before->tracked;
	size_t at = check_enter(check, "def");
	check_definition(check, op->add_cgroup_def->def, owner);
	check_leave(check, at);
	/* An op that is to fail makes nothing. */
	struct name *name = names_find(&check->names, op->add_cgroup_def->def->name);
	if (name && check->waived != ERR_NONE)
		name->tracked = tracked;
}

static void check_remove_cgroup(struct check *check, const Schedrig__V1__Op *op, enum name_owner owner)
{
	struct name *name = check_tracked(check, op->remove_cgroup->cgroup, "cgroup", true);
	if (!name || check->waived != ERR_NONE)
		return;
	check->workers_stop = true;
	name->tracked = false;
	name->last_step = -1;
	names_drop_live(&check->names, NULL, op->remove_cgroup->cgroup);
}

static void check_set_cpuset(struct check *check, const Schedrig__V1__Op *op, enum name_owner owner)
{
	struct name *name = check_tracked(check, op->set_cpuset->cgroup, "cgroup", false);
	struct cpuset set;
	bool known = false;
	if (!op->set_cpuset->cpus)
		check_bad(check, ERR_INVALID_ARGUMENT, "cpus", "no CPUs are given");
	else
		known = check_cpus(check, op->set_cpuset->cpus, "cpus", &set);
	if (!name || check->waived != ERR_NONE)
		return;
	name->cpus_known = known;
	name->cpus = known ? set : CPUSET_EMPTY;
}

static void check_clear_cpuset(struct check *check, const Schedrig__V1__Op *op, enum name_owner owner)
{
	struct name *name = check_tracked(check, op->clear_cpuset->cgroup, "cgroup", false);
	if (!name || check->waived != ERR_NONE)
		return;
	name->cpus_known = true;
	name->cpus = CPUSET_EMPTY;
}

static void check_spawn(struct check *check, const Schedrig__V1__Op *op, enum name_owner owner)
{
	const Schedrig__V1__Spawn *spawn = op->spawn;
	Schedrig__V1__WorkSpec none = SCHEDRIG__V1__WORK_SPEC__INIT;
	const Schedrig__V1__WorkSpec *work = spawn->work ? spawn->work : &none;
	struct cpuset pool = check->layout ? cpu_layout_usable(check->layout) : CPUSET_EMPTY;
	bool known = check->layout, narrowed = false, in_runner = false;
	switch (spawn->placement_case) {
	case SCHEDRIG__V1__SPAWN__PLACEMENT_CGROUP: {
		const struct name *name = check_tracked(check, spawn->cgroup->name, "cgroup", false);
		known = known && name && name->cpus_known;
		if (name && name->cpus_known && !cpuset_is_empty(&name->cpus)) {
			struct cpuset all = cpuset_first_n(check->layout->n_cpus);
			pool = name->cpus;
			narrowed = !cpuset_equal(&pool, &all);
		}
		break;
	}
	case SCHEDRIG__V1__SPAWN__PLACEMENT_RUNNER_CGROUP:
		in_runner = true;
		if (known)
			pool = cpuset_first_n(check->layout->n_cpus);
		break;
	default:
		check_bad(
			check, ERR_INVALID_ARGUMENT, NULL, "no placement is given: cgroup or runner_cgroup");
	}
	size_t at = check_enter(check, "work");
	const struct work_place place = {.narrowed = narrowed, .in_runner = in_runner};
	if (*work->thread_group && !check->names_only)
		check_bad(check, ERR_INVALID_ARGUMENT, "thread_group",
			"thread groups are made in a cgroup's definition: spawn starts workers of their own");
	check_work(check, work, known ? &pool : NULL, &place);
	check_leave(check, at);
}

static void check_stop_cgroup(struct check *check, const Schedrig__V1__Op *op, enum name_owner owner)
{
	const char *cgroup = op->stop_cgroup->cgroup;
	if (*cgroup)
		(void)check_tracked(check, cgroup, "cgroup", true);
	if (check->waived != ERR_NONE)
		return;
	check->workers_stop = true;
	names_drop_live(&check->names, NULL, cgroup);
}

/* Payloads are known here; who the workers of a cgroup belong to is known when it happens. */
static void check_moved_payloads(struct check *check, const char *from, const struct name *to)
{
	for (size_t i = 0; i < check->names.n_live; i++) {
		const struct live *live = &check->names.live[i];
		if (strcmp(live->cgroup, from) != 0)
			continue;
		if (live->owner == NAME_BACKDROP && to->owner == NAME_STEP && !check->backdrop)
			check_bad(check, ERR_FAILED_PRECONDITION, "to",
				"payload '%.80s' of '%.80s' belongs to the backdrop and cgroup '%.80s' to "
				"this "
				"step: it would be stranded in a cgroup that is removed at the step's end",
				live->payload, from, to->name);
		else if (names_count_live(&check->names, live->payload, to->name, NULL))
			check_bad(check, ERR_ALREADY_EXISTS, "to",
				"payload '%.80s' is live in both '%.80s' and '%.80s': wait for one of them "
				"or "
				"kill it first",
				live->payload, from, to->name);
	}
}

static void check_move_all_tasks(struct check *check, const Schedrig__V1__Op *op, enum name_owner owner)
{
	const Schedrig__V1__MoveAllTasks *move = op->move_all_tasks;
	const struct name *from = NULL;
	if (strcmp(move->from, move->to) == 0) {
		check_bad(
			check, ERR_INVALID_ARGUMENT, "to", "from and to are the same: this would do nothing");
		return;
	}
	if (!*move->from && move->untracked)
		check_bad(check, ERR_INVALID_ARGUMENT, "untracked",
			"not possible with the runner cgroup: the agent itself is in it");
	if (*move->from)
		from = check_tracked(check, move->from, "from", false);
	const struct name *to = check_tracked(check, move->to, "to", false);
	if (!from || !to)
		return;
	check_moved_payloads(check, move->from, to);
	if (check->waived == ERR_NONE)
		names_move_live(&check->names, move->from, move->to, to->owner);
}

static void check_swap_cpusets(struct check *check, const Schedrig__V1__Op *op, enum name_owner owner)
{
	if (strcmp(op->swap_cpusets->a, op->swap_cpusets->b) == 0) {
		check_bad(check, ERR_INVALID_ARGUMENT, "b", "a and b are the same: this would do nothing");
		return;
	}
	struct name *a = check_tracked(check, op->swap_cpusets->a, "a", false);
	struct name *b = check_tracked(check, op->swap_cpusets->b, "b", false);
	if (!a || !b || check->waived != ERR_NONE)
		return;
	struct cpuset cpus = a->cpus;
	bool known = a->cpus_known;
	a->cpus = b->cpus;
	a->cpus_known = b->cpus_known;
	b->cpus = cpus;
	b->cpus_known = known;
}

static void check_set_affinity(struct check *check, const Schedrig__V1__Op *op, enum name_owner owner)
{
	const struct name *name = NULL;
	const char *cgroup = op->set_affinity->cgroup;
	if (*cgroup)
		name = check_tracked(check, cgroup, "cgroup", true);
	if (!op->set_affinity->affinity) {
		check_bad(check, ERR_INVALID_ARGUMENT, "affinity", "no affinity is given");
		return;
	}
	struct cpuset all = check->layout ? cpuset_first_n(check->layout->n_cpus) : CPUSET_EMPTY;
	const struct cpuset *pool = NULL;
	if (check->layout && (!*cgroup || (name && name->cpus_known)))
		pool = name && !cpuset_is_empty(&name->cpus) ? &name->cpus : &all;
	check_affinity(check, op->set_affinity->affinity, pool);
}

static void check_freeze_cgroup(struct check *check, const Schedrig__V1__Op *op, enum name_owner owner)
{
	(void)check_tracked(check, op->freeze_cgroup->cgroup, "cgroup", false);
}

static void check_unfreeze_cgroup(struct check *check, const Schedrig__V1__Op *op, enum name_owner owner)
{
	(void)check_tracked(check, op->unfreeze_cgroup->cgroup, "cgroup", false);
}

static void check_run(struct check *check, const Schedrig__V1__Op *op, enum name_owner owner)
{
	const Schedrig__V1__RunPayload *run = op->run_payload;
	if (run->cgroup && *run->cgroup->name && !check->adhoc) {
		size_t before = check->errors.n;
		bool hit = check->waived_hit;
		(void)check_tracked(check, run->cgroup->name, "cgroup", false);
		if (check->errors.n != before || check->waived_hit != hit)
			return;
	}
	check_run_payload(check, run, run->cgroup ? run->cgroup->name : "", owner);
}

static void check_wait(struct check *check, const Schedrig__V1__Op *op, enum name_owner owner)
{
	check_end_payload(check, op->wait_payload->name, op->wait_payload->cgroup);
}

static void check_kill(struct check *check, const Schedrig__V1__Op *op, enum name_owner owner)
{
	check_end_payload(check, op->kill_payload->name, op->kill_payload->cgroup);
}

static void check_capture_procs(struct check *check, const Schedrig__V1__Op *op, enum name_owner owner)
{
	if (!*op->capture_cgroup_procs->tag)
		check_bad(check, ERR_INVALID_ARGUMENT, "tag", "a capture needs a tag to be found by");
	(void)check_tracked(check, op->capture_cgroup_procs->cgroup, "cgroup", false);
}

static void check_capture_snapshot(struct check *check, const Schedrig__V1__Op *op, enum name_owner owner)
{
	const Schedrig__V1__CaptureSnapshot *capture = op->capture_snapshot;
	struct err err = ERR_INIT;
	uint32_t parts;
	if (check->in_loop)
		check_bad_always(check, ERR_INVALID_ARGUMENT, NULL,
			"a snapshot in a loop step would freeze the VM in every pass: put it into a step of "
			"its own");
	if (!*capture->name || strlen(capture->name) >= SNAPSHOT_NAME_MAX || strchr(capture->name, '/') ||
		*capture->name == '.')
		check_bad(check, ERR_INVALID_ARGUMENT, "name",
			"a snapshot's name has 1 to %u bytes, no slash, and does not begin with a dot",
			SNAPSHOT_NAME_MAX - 1);
	if (snapshot_parts((const char *const *)capture->what, capture->n_what, &parts, &err) < 0)
		check_bad(check, err.code, "what", "%s", err.message);
}

static void check_steer_irq(struct check *check, const Schedrig__V1__Op *op, enum name_owner owner)
{
	const Schedrig__V1__SteerIrq *steer = op->steer_irq;
	/* Which interrupts there are the guest knows; an empty name it answers with a list of them. */
	if (strlen(steer->irq) > LIMIT_NAME_BYTES)
		check_bad(check, ERR_INVALID_ARGUMENT, "irq",
			"an interrupt's number or action has at most %u bytes", LIMIT_NAME_BYTES);
	if (!check->layout && steer->cpu >= CPUSET_MAX)
		check_bad(check, ERR_INVALID_ARGUMENT, "cpu", "no machine has a CPU %u: numbers are below %d",
			steer->cpu, CPUSET_MAX);
	if (check->layout && steer->cpu >= check->layout->n_cpus)
		check_bad(check, ERR_INVALID_ARGUMENT, "cpu", "there is no CPU %u: the machine has %u",
			steer->cpu, check->layout->n_cpus);
	if (steer->wait && steer->wait->ns > CHECK_SPAN_MAX_NS)
		check_bad(check, ERR_INVALID_ARGUMENT, "wait", CHECK_TOO_LONG);
}

static void check_attach_scheduler(struct check *check, const Schedrig__V1__Op *op, enum name_owner owner)
{
	check_names_scheduler(check, op->attach_scheduler->scheduler);
}

static void check_replace_scheduler(struct check *check, const Schedrig__V1__Op *op, enum name_owner owner)
{
	check_names_scheduler(check, op->replace_scheduler->scheduler);
}

static void check_kernel(struct check *check, const Schedrig__V1__Op *op, enum name_owner owner)
{
	check_kernel_op(check, op);
}

/* By number. `not_yet`: what this version answers Unsupported to, so that a scenario learns it before it
 * runs. */
static const struct {
	void (*check)(struct check *check, const Schedrig__V1__Op *op, enum name_owner owner);
	bool not_yet;
} rules[] = {
	[OP_ADD_CGROUP] = {check_add_cgroup},
	[OP_ADD_CGROUP_DEF] = {check_add_cgroup_def},
	[OP_REMOVE_CGROUP] = {check_remove_cgroup},
	[OP_SET_CPUSET] = {check_set_cpuset},
	[OP_CLEAR_CPUSET] = {check_clear_cpuset},
	[OP_SWAP_CPUSETS] = {check_swap_cpusets},
	[OP_SPAWN] = {check_spawn},
	[OP_STOP_CGROUP] = {check_stop_cgroup},
	[OP_SET_AFFINITY] = {check_set_affinity},
	[OP_MOVE_ALL_TASKS] = {check_move_all_tasks},
	[OP_RUN_PAYLOAD] = {check_run},
	[OP_WAIT_PAYLOAD] = {check_wait},
	[OP_KILL_PAYLOAD] = {check_kill},
	[OP_FREEZE_CGROUP] = {check_freeze_cgroup},
	[OP_UNFREEZE_CGROUP] = {check_unfreeze_cgroup},
	[OP_CAPTURE_SNAPSHOT] = {check_capture_snapshot},
	[OP_WATCH_SNAPSHOT] = {NULL, .not_yet = true},
	[OP_WRITE_KERNEL_HOT] = {check_kernel},
	[OP_WRITE_KERNEL_COLD] = {check_kernel},
	[OP_READ_KERNEL_HOT] = {check_kernel},
	[OP_READ_KERNEL_COLD] = {check_kernel},
	[OP_ATTACH_SCHEDULER] = {check_attach_scheduler, .not_yet = true},
	[OP_DETACH_SCHEDULER] = {NULL, .not_yet = true},
	[OP_RESTART_SCHEDULER] = {NULL, .not_yet = true},
	[OP_REPLACE_SCHEDULER] = {check_replace_scheduler, .not_yet = true},
	[OP_PIN_BPF_MAP] = {NULL, .not_yet = true},
	[OP_CAPTURE_CGROUP_PROCS] = {check_capture_procs},
	[OP_STEER_IRQ] = {check_steer_irq},
};
_Static_assert(ARRAY_SIZE(rules) == OP_KINDS, "an op has no rule");

static void check_op(struct check *check, const Schedrig__V1__Op *op, enum name_owner owner)
{
	int kind = op_kind(op);
	if (kind < 0) {
		check_bad(check, ERR_INVALID_ARGUMENT, NULL,
			"an op of no kind: name one, such as `set_cpuset: {...}`");
		return;
	}
	check->waived = (enum err_code)op->expect_error;
	check->waived_hit = false;
	if (op->timeout && op->timeout->ns == 0)
		check_bad(check, ERR_INVALID_ARGUMENT, "timeout",
			"a timeout of 0 leaves no time to do anything");
	if (op->timeout && op->timeout->ns > CHECK_SPAN_MAX_NS)
		check_bad(check, ERR_INVALID_ARGUMENT, "timeout", CHECK_TOO_LONG);
	if (rules[kind].not_yet)
		check_bad(check, ERR_UNSUPPORTED, NULL,
			"%s is not in this version: leave it out, or expect it with "
			"`expect_error: Unsupported`",
			op_kind_name(kind));
	if (rules[kind].check)
		rules[kind].check(check, op, owner);
	check->waived = ERR_NONE;
	check->waived_hit = false;
}

void check_ops(struct check *check, Schedrig__V1__Op *const *ops, size_t n, enum name_owner owner)
{
	if (n > LIMIT_OPS_PER_LIST)
		check_bad(check, ERR_LIMIT_EXCEEDED, "ops", "%zu ops: at most %u are possible in a list", n,
			LIMIT_OPS_PER_LIST);
	for (size_t i = 0; i < n && i < LIMIT_OPS_PER_LIST; i++) {
		size_t at = check_enter(check, "ops[%zu]", i);
		check_op(check, ops[i], owner);
		check_leave(check, at);
	}
}
