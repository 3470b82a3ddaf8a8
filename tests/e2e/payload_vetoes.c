/* SPDX-License-Identifier: GPL-2.0-only */
/* e2e-payload: what a real sched_ext scheduler (scheduler.c) makes of moves between cgroups, and what it sees
 * of programs that are put into one. */
#include "common/fd.h"
#include "tests/e2e/payload.h"

#include <stdio.h>
#include <string.h>

/* Starts a scheduler with these verdicts and ends when the kernel has it; the scheduler's own end, in order.
 * Its program is called e2e-scheduler, as its task is then. */
#define SCHEDULER_PAYLOADS                                                                                   \
	"- {name: sched, program: e2e-scheduler, checks: [{exit_code_eq: 0}]}\n"                             \
	"- {name: up, program: sh, checks: [{exit_code_eq: 0}], default_args: [-c, 'while read -r s "        \
	"</sys/kernel/sched_ext/state && [ $s != enabled ]; do :; done']}\n"                                 \
	"- {name: end, program: sh, default_args: [-c, 'for p in /proc/[0-9]*; do read -r c <$p/comm && [ "  \
	"\"$c\" = e2e-scheduler ] && kill -TERM ${p#/proc/}; done 2>/dev/null']}\n"
#define ATTACH(verdicts)                                                                                     \
	"  - run_payload: {payload: sched, args: " verdicts "}\n"                                            \
	"  - run_payload: {payload: up}\n"                                                                   \
	"  - wait_payload: {name: up, timeout: 120s}\n"
#define DETACH                                                                                               \
	"  - run_payload: {payload: end}\n"                                                                  \
	"  - wait_payload: {name: end, timeout: 120s}\n"                                                     \
	"  - wait_payload: {name: sched, timeout: 120s}\n"
#define CAPTURE                                                                                              \
	"  - capture_cgroup_procs: {tag: left, cgroup: left}\n"                                              \
	"  - capture_cgroup_procs: {tag: right, cgroup: right}\n"

/* Op `index` of step `step`. */
static json_t *op_of(json_t *result, unsigned step, unsigned index)
{
	char place[40];
	snprintf(place, sizeof(place), "steps[%u].ops[%u]", step, index);
	return json_op(result, place);
}

static bool holds(json_t *op, size_t count)
{
	size_t seen = json_array_size(json_at(op, "procs.pids"));
	if (op && seen == count)
		return true;
	tap_fail(__FILE__, __LINE__, "%zu processes in `%s`, not %zu", seen, json_text(op, "procs.tag"),
		count);
	return false;
}

/* What the scheduler says at its end that it was asked, an object; NULL with a failure recorded. */
static json_t *counts_of(json_t *op)
{
	const char *text = json_text(op, "payload.stdout_tail"), *begin = strchr(text, '{');
	json_t *counts = begin && !strncmp(text, "enabled\n", 8) ? json_loads(begin, 0, NULL) : NULL;
	if (!counts)
		tap_fail(__FILE__, __LINE__, "the scheduler said '%s', %s", text,
			json_text(op, "payload.stderr_tail"));
	return counts;
}

static bool asked(json_t *op, long long prep_moves, long long vetoes, long long moves)
{
	_cleanup_json_ json_t *counts = counts_of(op);
	long long seen[] = {json_number(counts, "prep_moves"), json_number(counts, "vetoes"),
		json_number(counts, "moves")};
	if (seen[0] == prep_moves && seen[1] == vetoes && seen[2] == moves)
		return true;
	tap_fail(__FILE__, __LINE__, "%lld moves asked for, %lld vetoed, %lld made: not %lld, %lld, %lld",
		seen[0], seen[1], seen[2], prep_moves, vetoes, moves);
	return false;
}

static bool moved(json_t *op, size_t count, json_int_t tries)
{
	size_t seen = json_array_size(json_at(op, "move.moved"));
	if (seen == count && json_number(op, "move.tries") == tries)
		return true;
	tap_fail(__FILE__, __LINE__, "%zu moved in %lld tries, not %zu in %lld: %s", seen,
		(long long)json_number(op, "move.tries"), count, (long long)tries,
		json_text(op, "error.message"));
	return false;
}

/* A step each: nobody gets away, twice; one gets away, and cannot go back at once when the next one may not
 * follow; nobody ever does, until the scheduler has gone. */
#define MOVE(from, to) "  - move_all_tasks: {from: " from ", to: " to "}\n"
#define STEP(verdicts) "- hold: {fixed: 0s}\n  ops:\n" ATTACH(verdicts)
#define NOT_AT_FIRST STEP("[EPERM, EPERM, '0']") MOVE("left", "right") CAPTURE DETACH
#define HALF_WAY STEP("['0', EPERM, EXDEV, ESRCH, '0']") MOVE("right", "left") CAPTURE DETACH
#define REFUSED "  - {move_all_tasks: {from: left, to: right}, expect_error: GuestOs}\n"
#define NEVER STEP("[EBUSY]") REFUSED CAPTURE DETACH MOVE("left", "right") CAPTURE

void test_vetoes(void)
{
	static const char scenario[] = "duration: 300s\n"
				       "payloads:\n" SCHEDULER_PAYLOADS "backdrop:\n"
				       "  cgroups:\n"
				       "  - {name: left, cpu: {weight: 100}, work: [{workers: 3}]}\n"
				       "  - {name: right, cpu: {weight: 100}, empty: true}\n"
				       "steps:\n" NOT_AT_FIRST HALF_WAY NEVER;
	_cleanup_json_ json_t *result = submit(scenario, "Pass");
	EXPECT(result != NULL);
	EXPECT(moved(op_of(result, 0, 3), 3, 3));
	EXPECT(holds(op_of(result, 0, 4), 0) && holds(op_of(result, 0, 5), 3));
	EXPECT(asked(op_of(result, 0, 8), 5, 2, 3));
	EXPECT(moved(op_of(result, 1, 3), 3, 2));
	EXPECT(holds(op_of(result, 1, 4), 3) && holds(op_of(result, 1, 5), 0));
	/* There, refused, twice not back, back; three there. */
	EXPECT(asked(op_of(result, 1, 8), 8, 3, 5));
	json_t *refused = op_of(result, 2, 3);
	const char *message = json_text(refused, "error.message");
	EXPECT(strstr(message, "refused 4 times, with an ext scheduler attached"), "%s", message);
	EXPECT(strstr(message, "(spin_wait) of `left`") && strstr(message, "busy"), "%s", message);
	EXPECT(!strstr(message, "enabled for its children"), "%s", message);
	EXPECT(holds(op_of(result, 2, 4), 3) && holds(op_of(result, 2, 5), 0));
	EXPECT(asked(op_of(result, 2, 8), 4, 4, 0));
	/* Names are what they were, and without a scheduler there is nothing to wait for. */
	EXPECT(moved(op_of(result, 2, 9), 3, 1));
	EXPECT(holds(op_of(result, 2, 10), 0) && holds(op_of(result, 2, 11), 3));
}

/* A cgroup beside a threaded one, below the same one, takes no processes (Documentation/admin-guide/
 * cgroup-v2.rst, "domain invalid"). */
void test_refusal_without_a_scheduler(void)
{
	_cleanup_json_ json_t *result = submit(
		"duration: 300s\n"
		"payloads: [{name: invalid, program: sh, checks: [{exit_code_eq: 0}], default_args: [-c, "
		"'echo threaded >/sys/fs/cgroup/schedrig/t/a/cgroup.type']}]\n"
		"backdrop: {cgroups: [{name: left, work: [{workers: 2}]}, {name: t, empty: true}, {name: "
		"t/a, "
		"empty: true}, {name: t/b, empty: true}]}\n"
		"steps:\n"
		"- hold: {fixed: 0s}\n"
		"  ops:\n"
		"  - run_payload: {payload: invalid}\n"
		"  - wait_payload: {name: invalid, timeout: 120s}\n"
		"  - {move_all_tasks: {from: left, to: t/b}, expect_error: GuestOs}\n"
		"  - capture_cgroup_procs: {tag: left, cgroup: left}\n",
		"Pass");
	EXPECT(result != NULL);
	const char *message = json_text(op_of(result, 0, 2), "error.message");
	EXPECT(strstr(message, "of `left`: cannot move process") && strstr(message, "not supported"), "%s",
		message);
	EXPECT(!strstr(message, "refused"), "%s", message);
	EXPECT(holds(op_of(result, 0, 3), 2));
}

/* schedrig --json ARGS..., or NULL with a failure recorded. */
static json_t *client(const char *const *args)
{
	const char *all[32] = {"--json"};
	for (unsigned n = 1; *args && n < 31; n++)
		all[n] = *args++;
	_cleanup_run_ struct run run;
	vm_client(&vm, all, 60, &run);
	json_t *answer = run.status == 0 ? json_loads(strbuf_str(&run.out), 0, NULL) : NULL;
	if (!answer)
		tap_fail(__FILE__, __LINE__, "schedrig %s: exit %d: %s%s", all[1], run.status,
			strbuf_str(&run.err), strbuf_str(&run.out));
	return answer;
}
#define CLIENT(...) client((const char *const[]){__VA_ARGS__, NULL})

/* Ops outside of any scenario. */
static json_t *apply(const char *yaml)
{
	const char *path = scratch_path("ops.yaml");
	if (fd_replace_file(path, yaml, strlen(yaml), 0644, NULL) < 0)
		return NULL;
	return CLIENT("apply", path);
}

/* What the scheduler's map has of a task. */
struct seen {
	long long cgroup, forked, prep_moves, moves;
};

static bool look(json_int_t pid, struct seen *ret_seen)
{
	static const char *const members[] = {"cgroup", "forked", "prep_moves", "moves"};
	char paths[4][64], place[32];
	long long values[4];
	for (unsigned i = 0; i < 4; i++)
		snprintf(paths[i], sizeof(paths[i]), "map(\"e2e_tasks\")[%lld].%s", (long long)pid,
			members[i]);
	_cleanup_json_ json_t *answer = CLIENT("read", paths[0], paths[1], paths[2], paths[3]);
	for (unsigned i = 0; answer && i < 4; i++) {
		snprintf(place, sizeof(place), "values[%u].value", i);
		values[i] = json_count(answer, place);
	}
	if (answer)
		*ret_seen = (struct seen){values[0], values[1], values[2], values[3]};
	return answer != NULL;
}

/* A scheduler is asked about every task that is made, with the cgroup that it is made in, and about every
 * move: a program's process was made in its cgroup and came from nowhere else. */
void test_scheduler_sees_placement(void)
{
	_cleanup_json_ json_t *made =
		apply("payloads:\n" SCHEDULER_PAYLOADS
		      "- {name: stays, program: sh, default_args: [-c, 'kill -STOP $$']}\n"
		      "- {name: goes, program: sh, default_args: [-c, ':']}\n"
		      "ops:\n"
		      "  - add_cgroup_def: {def: {name: here, cpu: {weight: 100}, empty: true}}\n"
		      "  - add_cgroup_def: {def: {name: there, cpu: {weight: 100}, empty: true}}\n" ATTACH(
			      "[]") "  - run_payload: {payload: stays, cgroup: here}\n"
				    "  - run_payload: {payload: goes, cgroup: here}\n"
				    "  - wait_payload: {name: goes, timeout: 120s}\n");
	EXPECT(made != NULL);
	json_int_t stays = json_number(made, "results[5].pids[0]"),
		   goes = json_number(made, "results[6].pids[0]");
	char path[96];
	snprintf(path, sizeof(path), "task(%lld).cgroups->dfl_cgrp->kn->id", (long long)stays);
	_cleanup_json_ json_t *inode = CLIENT("read", path);
	long long here = inode ? json_count(inode, "values[0].value") : 0;
	struct seen one, other;
	EXPECT(stays > 1 && goes > 1 && here > 0 && look(stays, &one) && look(goes, &other));
	EXPECT(one.cgroup == here && other.cgroup == here, "made in %lld and %lld, not %lld", one.cgroup,
		other.cgroup, here);
	EXPECT(one.forked == 1 && other.forked == 1);
	EXPECT(one.prep_moves == 0 && one.moves == 0 && other.prep_moves == 0 && other.moves == 0);
	/* That a move is seen, or that none was says nothing; and what was there before is not taken for new.
	 */
	_cleanup_json_ json_t *done = apply("ops: [{move_all_tasks: {from: here, to: there}}]\n");
	EXPECT(done != NULL && look(stays, &one));
	EXPECT(one.cgroup == here && one.prep_moves == 1 && one.moves == 1, "%lld, %lld", one.prep_moves,
		one.moves);
	EXPECT(look(1, &other) && other.forked == 0);
	_cleanup_json_ json_t *ended =
		apply("payloads:\n" SCHEDULER_PAYLOADS "ops:\n" DETACH "  - remove_cgroup: {cgroup: here}\n"
		      "  - remove_cgroup: {cgroup: there}\n");
	EXPECT(ended != NULL);
	_cleanup_json_ json_t *counts = counts_of(json_at(ended, "results[2]"));
	EXPECT(json_number(counts, "moves") > 0 && json_number(counts, "lost") == 0);
}
