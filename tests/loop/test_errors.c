/* SPDX-License-Identifier: GPL-2.0-only */
/* Errors that are asked for, of every op that the agent does, and names that nobody tracks, strict and
 * lenient. */
#include "rig.h"

#include "host/engine/engine.h"
#include "proto/op_list.h"
#include "proto/pb.h"

#include <criterion/criterion.h>
#include <string.h>

#define VERDICT(name) SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_##name

static const char *const kind_names[] = {
#define X(number, snake, upper, camel, side) [number] = #camel,
	OP_LIST(X)
#undef X
};

/* Every op that the agent does, with what it can be refused for. */
static const char expected[] =
	"payloads: [{name: nap, program: sleep, default_args: ['600']}, {name: idle, program: sleep, "
	"default_args: "
	"['600']}]\n"
	"steps:\n"
	"- ops:\n"
	"  - add_cgroup: a\n"
	"  - add_cgroup: b\n"
	"  - {add_cgroup: a, expect_error: AlreadyExists}\n"
	"  - {add_cgroup_def: {name: a, empty: true}, expect_error: AlreadyExists}\n"
	"  - {remove_cgroup: nope, expect_error: NotFound}\n"
	"  - {spawn: {cgroup: nope}, expect_error: NotFound}\n"
	"  - {spawn: {cgroup: a, work: {workers: 0}}, expect_error: InvalidArgument}\n"
	"  - {spawn: {cgroup: a, work: {workers: 1, work_type: {pipe_io: {}}}}, expect_error: "
	"InvalidArgument}\n"
	"  - {stop_cgroup: {cgroup: nope}, expect_error: NotFound}\n"
	"  - {set_affinity: {cgroup: nope, affinity: {single_cpu: {}}}, expect_error: NotFound}\n"
	"  - {move_all_tasks: {from: nope, to: a}, expect_error: NotFound}\n"
	"  - {move_all_tasks: {from: a, to: nope}, expect_error: NotFound}\n"
	"  - {move_all_tasks: {from: a, to: a}, expect_error: InvalidArgument}\n"
	"  - {run_payload: {payload: nobody}, expect_error: NotFound}\n"
	"  - {run_payload: {payload: nap, cgroup: nope}, expect_error: NotFound}\n"
	"  - {wait_payload: {name: nap}, expect_error: NotFound}\n"
	"  - {kill_payload: {name: nap}, expect_error: NotFound}\n"
	"  - run_payload: {payload: nap, cgroup: a}\n"
	"  - {run_payload: {payload: nap, cgroup: a}, expect_error: AlreadyExists}\n"
	"  - run_payload: {payload: nap, cgroup: b}\n"
	"  - {wait_payload: {name: nap}, expect_error: Ambiguous}\n"
	"  - {kill_payload: {name: nap}, expect_error: Ambiguous}\n"
	"  - {wait_payload: {name: nap, cgroup: a, timeout: 10ms}, expect_error: Timeout}\n"
	"  - {freeze_cgroup: {cgroup: nope}, expect_error: NotFound}\n"
	"  - {unfreeze_cgroup: {cgroup: nope}, expect_error: NotFound}\n"
	"  - {attach_scheduler: x, expect_error: Unsupported}\n"
	"  - {detach_scheduler: {}, expect_error: Unsupported}\n"
	"  - {restart_scheduler: {}, expect_error: Unsupported}\n"
	"  - {replace_scheduler: x, expect_error: Unsupported}\n"
	"  - {pin_bpf_map: {name: m}, expect_error: Unsupported}\n"
	"  - {capture_cgroup_procs: {tag: t, cgroup: nope}, expect_error: NotFound}\n"
	"  - {steer_irq: {irq: no-such-interrupt, cpu: 0}, expect_error: NotFound}\n";
static const char expected_of_cpusets[] =
	"steps:\n"
	"- ops:\n"
	"  - {set_cpuset: {cgroup: nope, cpus: {exact: '0'}}, expect_error: NotFound}\n"
	"  - {clear_cpuset: nope, expect_error: NotFound}\n"
	"  - {swap_cpusets: {a: nope, b: neither}, expect_error: NotFound}\n"
	"  - {swap_cpusets: {a: nope, b: nope}, expect_error: InvalidArgument}\n";

/* The ops of a scenario's first step, ad hoc; 0 or the error. */
static int apply(struct rig *rig, const char *text, Schedrig__V1__ApplyResponse **ret, struct err *err)
{
	PB(Scenario) *s = rig_scenario(text);
	PB(ApplyRequest) request = SCHEDRIG__V1__APPLY_REQUEST__INIT;
	request.n_ops = s->steps[0]->n_ops;
	request.ops = s->steps[0]->ops;
	request.n_payloads = s->n_payloads;
	request.payloads = s->payloads;
	int r = engine_apply(rig->engine, &request, NULL, ret, err);
	for (size_t i = 0; r == 0 && i < request.n_ops; i++) {
		const PB(OpResult) *result = (*ret)->results[i];
		const PB(Op) *op = request.ops[i];
		if (!op->expect_error) {
			cr_expect_null(result->error, "%zu", i);
			continue;
		}
		cr_expect(result->expected_error, "%s %zu", result->kind, i);
		cr_assert_not_null(result->error, "%s %zu", result->kind, i);
		cr_expect_eq(result->error->code, op->expect_error, "%s %zu: %s", result->kind, i,
			result->error->message);
		cr_expect_str_not_empty(result->error->message);
	}
	pb_free(s);
	return r;
}

static uint32_t refused_kinds(const PB(ApplyResponse) * response)
{
	uint32_t kinds = 0;
	for (size_t i = 0; i < response->n_results; i++)
		for (int k = 0; k < OP_KINDS; k++)
			if (response->results[i]->error && !strcmp(response->results[i]->kind, kind_names[k]))
				kinds |= UINT32_C(1) << k;
	return kinds;
}

Test(errors, of_every_op_of_the_agent, .timeout = 120)
{
	const uint32_t of_cpusets = 1u << OP_SET_CPUSET | 1u << OP_CLEAR_CPUSET | 1u << OP_SWAP_CPUSETS;
	uint32_t of_agent = 0;
#define X(number, snake, upper, camel, side)                                                                 \
	of_agent |= (uint32_t)(OP_SIDE_##side == OP_SIDE_GUEST) << number;
	OP_LIST(X)
#undef X
	struct rig rig = {0};
	struct err err = ERR_INIT;
	PB(ApplyResponse) *response = NULL;
	rig_start(&rig);
	cr_assert_eq(apply(&rig, expected, &response, &err), 0, "%s: %s", err.place, err.message);
	uint32_t kinds = refused_kinds(response);
	pb_free(response);
	response = NULL;
	if (rig.cpuset) {
		cr_assert_eq(apply(&rig, expected_of_cpusets, &response, &err), 0, "%s: %s", err.place,
			err.message);
		kinds |= refused_kinds(response);
	} else {
		printf("SKIP part: this machine's cgroup v2 has no cpuset controller\n");
		kinds |= of_cpusets;
	}
	pb_free(response);
	cr_assert_eq(kinds, of_agent, "%x of %x", kinds, of_agent);
	cr_assert_eq(engine_end_adhoc(rig.engine, &err), 0, "%s", err.message);
	rig_stop_clean(&rig);
}

/* An error that is asked for and does not come is a failure, and so is another one. */
Test(errors, success_and_other_errors_are_failures, .timeout = 120)
{
	static const struct {
		const char *op, *says;
	} table[] = {
		{"{add_cgroup: c, expect_error: AlreadyExists}", "AlreadyExists"},
		{"{add_cgroup_def: {name: d, empty: true}, expect_error: Busy}", "Busy"},
		{"{remove_cgroup: a, expect_error: NotFound}", "NotFound"},
		{"{spawn: {cgroup: a}, expect_error: NotFound}", "NotFound"},
		{"{stop_cgroup: {cgroup: a}, expect_error: NotFound}", "NotFound"},
		{"{set_affinity: {cgroup: a, affinity: {single_cpu: {}}}, expect_error: NotFound}",
			"NotFound"},
		{"{move_all_tasks: {from: a, to: b}, expect_error: NotFound}", "NotFound"},
		{"{run_payload: {payload: nap}, expect_error: NotFound}", "NotFound"},
		{"{freeze_cgroup: {cgroup: a}, expect_error: NotFound}", "NotFound"},
		{"{unfreeze_cgroup: {cgroup: a}, expect_error: NotFound}", "NotFound"},
		{"{capture_cgroup_procs: {tag: t, cgroup: a}, expect_error: NotFound}", "NotFound"},
		{"{remove_cgroup: nope, expect_error: Busy}", "nope"},
		{"{attach_scheduler: x, expect_error: NotFound}", "version"},
	};
	struct rig rig = {0};
	rig_start(&rig);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct err err = ERR_INIT;
		PB(ApplyResponse) *response = NULL;
		char text[512];
		snprintf(text, sizeof(text),
			"payloads: [{name: nap, program: sleep, default_args: ['600']}]\n"
			"steps: [{ops: [{add_cgroup: a}, {add_cgroup: b}, %s, {add_cgroup: after}]}]\n",
			table[i].op);
		cr_assert_lt(apply(&rig, text, &response, &err), 0, "%s", table[i].op);
		cr_expect(strstr(err.message, table[i].says), "%s: %s", table[i].op, err.message);
		/* The list ended there, if it began at all. */
		if (response)
			cr_expect_leq(response->n_results, 3, "%s", table[i].op);
		pb_free(response);
		cr_assert_eq(engine_end_adhoc(rig.engine, &err), 0, "%s", err.message);
	}
	rig_stop_clean(&rig);
}

Test(errors, names_that_nobody_tracks, .timeout = 120)
{
	static const char *const ops[] = {"{remove_cgroup: nope}", "{stop_cgroup: {cgroup: nope}}",
		"{set_affinity: {cgroup: nope, affinity: {single_cpu: {}}}}"};
	struct rig rig = {0};
	rig_start(&rig);
	/* Lenient: each is a note, and the list goes on. */
	char text[512];
	snprintf(text, sizeof(text),
		"duration: 1s\nstrict: false\nsteps: [{ops: [%s, %s, %s, {add_cgroup: x}], hold: {fixed: "
		"\"0\"}}]\n",
		ops[0], ops[1], ops[2]);
	PB(RunResult) *result = rig_run(&rig, text);
	cr_assert_eq(result->verdict->verdict, VERDICT(PASS), "%s", result->verdict->summary);
	cr_assert_eq(result->n_ops, 4);
	for (size_t i = 0; i < 3; i++) {
		cr_expect_null(result->ops[i]->error);
		cr_assert_eq(result->ops[i]->n_notes, 1, "%s", result->ops[i]->kind);
		cr_expect(strstr(result->ops[i]->notes[0], "nope"), "%s", result->ops[i]->notes[0]);
	}
	pb_free(result);
	/* Strict, which ad-hoc ops always are: each is an error. */
	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		struct err err = ERR_INIT;
		PB(ApplyResponse) *response = NULL;
		snprintf(text, sizeof(text), "steps: [{ops: [%s]}]\n", ops[i]);
		cr_assert_lt(apply(&rig, text, &response, &err), 0, "%s", ops[i]);
		cr_expect_eq(err.code, ERR_NOT_FOUND, "%s: %s", ops[i], err.message);
		cr_expect(strstr(err.message, "nope"), "%s", err.message);
		pb_free(response);
	}
	rig_stop_clean(&rig);
}

/* What a payload says of itself in one step against another, with its ends where they can be: waited for, and
 * by itself. */
Test(errors, metrics_of_payloads_are_compared, .timeout = 120)
{
	struct rig rig = {0};
	rig_start(&rig);
	for (int score = 80; score <= 95; score += 15) {
		char text[1024];
		snprintf(text, sizeof(text),
			"duration: 10s\npayloads: [{name: bench, program: sh, default_args: [-c], output: "
			"json}]\n"
			"steps: [{ops: [{run_payload: {payload: bench, args: ['echo \"{\\\"score\\\": "
			"100}\"']}}, "
			"{wait_payload: {name: bench}}], hold: {fixed: \"0\"}},\n"
			"  {ops: [{run_payload: {payload: bench, args: ['echo \"{\\\"score\\\": %d}\"']}}, "
			"{wait_payload: {name: bench}}], hold: {fixed: \"0\"}}]\n"
			"assertions: {delta: [{payload: bench, metric: score, step: 1, against: 0, "
			"min_change_pct: "
			"-10}]}\n",
			score);
		PB(RunResult) *result = rig_run(&rig, text);
		cr_assert_eq(result->verdict->verdict, score < 90 ? VERDICT(FAIL) : VERDICT(PASS), "%s",
			result->verdict->summary);
		cr_expect(strstr(rig_part(result, "expectation")->message,
				  "score of payload bench was 100 in step 0 and"),
			"%s", rig_part(result, "expectation")->message);
		pb_free(result);
	}
	rig_stop_clean(&rig);
}
