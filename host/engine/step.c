/* SPDX-License-Identifier: GPL-2.0-only */
/* One step: phase marker, ops and set-up in the order of its hold, the hold, its teardown. The run's thread.
 */
#include "common/clock.h"
#include "common/parse.h"
#include "host/engine/engine_internal.h"
#include "host/engine/expect.h"
#include "host/engine/factory.h"
#include "host/engine/ops.h"
#include "host/engine/payload_end.h"
#include "host/engine/sample.h"
#include "proto/pb.h"

#include <errno.h>
#include <string.h>

#define TEARDOWN_NS (60 * NS_PER_S)
/* Passes of a loop run by the engine whose results are kept, beside the last one. */
#define PASSES_KEPT 16

struct step {
	struct run *run;
	const Schedrig__V1__Step *step;
	uint32_t index, phase;
	size_t n_setup;
	struct planned_op *ops, *setup; /* [n_ops], [n_setup]; in one block, ops first */
	Schedrig__V1__Op *made;
	Schedrig__V1__AddCgroupDef *defs;
	Schedrig__V1__StepResult *result;
	struct hold_length hold;
	struct setup made_setup; /* by the step's factory */
	struct sample begin;
	bool failed;
	bool stopped; /* a payload's check ended it */
};

/* The step's own, or what its factory makes. */
static int find_setup(struct step *s, Schedrig__V1__CgroupDef ***ret, struct err *err)
{
	const Schedrig__V1__SetupFactory *factory = s->step->factory;
	*ret = s->step->setup;
	s->n_setup = s->step->n_setup;
	if (!factory)
		return 0;
	if (factory->client) {
		if (factory_ask(s->run, s->index, &s->made_setup, err) < 0)
			return err_errno(err->code);
	} else if (factory_expand(factory, s->run->engine->config.layout, &s->made_setup, err) < 0) {
		return err_at(err, "steps[%u].factory", s->index);
	}
	*ret = s->made_setup.def;
	s->n_setup = s->made_setup.n;
	return 0;
}

static int plan(struct step *s, struct err *err)
{
	const Schedrig__V1__Step *step = s->step;
	Schedrig__V1__CgroupDef **setup;
	if (find_setup(s, &setup, err) < 0)
		return err_errno(err->code);
	size_t n = step->n_ops + s->n_setup;
	s->ops = calloc(n + 1, sizeof(*s->ops));
	s->made = calloc(s->n_setup + 1, sizeof(*s->made));
	s->defs = calloc(s->n_setup + 1, sizeof(*s->defs));
	s->result = malloc(sizeof(*s->result));
	if (!s->ops || !s->made || !s->defs || !s->result)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot begin the step");
	schedrig__v1__step_result__init(s->result);
	s->setup = s->ops + step->n_ops;
	for (size_t i = 0; i < step->n_ops; i++) {
		s->ops[i].op = step->ops[i];
		snprintf(s->ops[i].place, sizeof(s->ops[i].place), "steps[%u].ops[%zu]", s->index, i);
	}
	for (size_t i = 0; i < s->n_setup; i++) {
		schedrig__v1__op__init(&s->made[i]);
		schedrig__v1__add_cgroup_def__init(&s->defs[i]);
		s->defs[i].def = setup[i];
		s->made[i].kind_case = SCHEDRIG__V1__OP__KIND_ADD_CGROUP_DEF;
		s->made[i].add_cgroup_def = &s->defs[i];
		s->setup[i].op = &s->made[i];
		snprintf(s->setup[i].place, sizeof(s->setup[i].place), "steps[%u].setup[%zu]", s->index, i);
	}
	return 0;
}

static struct op_context context_of(struct step *s)
{
	struct run *run = s->run;
	uint64_t now = engine_scenario_ns(run->engine);
	return (struct op_context){.engine = run->engine,
		.scope = SCHEDRIG__V1__SCOPE__SCOPE_STEP,
		.phase = s->phase,
		.wait_ns = run->budget_ns > now ? run->budget_ns - now : 0,
		.tags = &run->tags,
		.results = &run->ops,
		.definitions = run->scenario->payloads,
		.n_definitions = run->scenario->n_payloads};
}

static void fail(struct step *s, const struct err *err, const char *ended_by)
{
	s->failed = true;
	run_fail(s->run, err, s->phase);
	if (!s->result->ended_by || !*s->result->ended_by)
		s->result->ended_by = strdup(ended_by);
}

/* The step is over, and the scenario goes on: its verdict is Fail by the check that failed. */
static void stop(struct step *s)
{
	s->stopped = true;
	if (!*s->result->ended_by)
		s->result->ended_by = strdup("check");
}

static const char *step_name(const struct step *s, char *buffer, size_t size)
{
	if (*s->step->name)
		return s->step->name;
	snprintf(buffer, size, "step %u", s->index);
	return buffer;
}

static void emit_start(struct step *s)
{
	char name[32];
	Schedrig__V1__Event event = SCHEDRIG__V1__EVENT__INIT;
	Schedrig__V1__StepStart start = SCHEDRIG__V1__STEP_START__INIT;
	Schedrig__V1__WorkerTotals totals = agent_totals(s->run->engine);
	start.index = s->index;
	start.name = (char *)step_name(s, name, sizeof(name));
	start.elapsed_ns = engine_scenario_ns(s->run->engine);
	start.ops = (uint32_t)s->step->n_ops;
	for (size_t i = 0; i < s->step->n_ops; i++)
		start.op_kinds |= UINT32_C(1) << op_kind(s->step->ops[i]);
	start.cgroups = totals.cgroups;
	start.workers = totals.workers;
	start.total_iterations = totals.iterations;
	start.hold_ns = s->hold.effective_ns;
	event.kind_case = SCHEDRIG__V1__EVENT__KIND_STEP_START;
	event.step_start = &start;
	engine_emit(s->run->engine, &event);
}

static void emit_end(struct step *s)
{
	Schedrig__V1__Event event = SCHEDRIG__V1__EVENT__INIT;
	Schedrig__V1__StepEnd end = SCHEDRIG__V1__STEP_END__INIT;
	if (!engine_agent_forgot(s->run->engine))
		s->result->total_iterations = agent_totals(s->run->engine).iterations;
	s->result->end_ns = engine_scenario_ns(s->run->engine);
	end.index = s->index;
	end.elapsed_ns = s->result->end_ns;
	end.total_iterations = s->result->total_iterations;
	end.ended_by = s->result->ended_by;
	event.kind_case = SCHEDRIG__V1__EVENT__KIND_STEP_END;
	event.step_end = &end;
	engine_emit(s->run->engine, &event);
}

/* What time leaves of the hold; says so when that is less than was asked for. */
static void resolve_hold(struct step *s)
{
	struct run *run = s->run;
	s->hold = hold_resolve(run->scenario, s->step->hold, engine_scenario_ns(run->engine));
	bool loop = hold_is_loop(s->step->hold);
	s->result->hold_asked_ns = loop ? s->hold.effective_ns : s->hold.asked_ns;
	s->result->hold_ns = s->hold.effective_ns;
	char asked[32], place[32];
	snprintf(place, sizeof(place), "steps[%u].hold", s->index);
	if (s->hold.nothing) {
		run_find(run, SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_PASS, "expectation", place, s->phase,
			loop ? "warning: no scenario time was left, so the loop made no pass"
			     : "warning: no scenario time was left of the %s that were asked for",
			format_duration(s->hold.asked_ns, asked, sizeof(asked)));
		engine_warning(run->engine, "%s: no scenario time is left for this hold", place);
	}
	if (!s->hold.cut)
		return;
	Schedrig__V1__Event event = SCHEDRIG__V1__EVENT__INIT;
	Schedrig__V1__HoldCut cut = SCHEDRIG__V1__HOLD_CUT__INIT;
	cut.step = s->index;
	cut.asked_ns = s->hold.asked_ns;
	cut.effective_ns = s->hold.effective_ns;
	event.kind_case = SCHEDRIG__V1__EVENT__KIND_HOLD_CUT;
	event.hold_cut = &cut;
	engine_emit(run->engine, &event);
}

/* A hold that did not end by its time. */
static void note_wait(struct step *s, enum engine_wait why)
{
	struct err err = ERR_INIT;
	if (why == ENGINE_WAIT_TIME)
		return;
	if (why == ENGINE_WAIT_OVER) {
		stop(s);
		return;
	}
	(void)engine_interruption(s->run->engine, &err);
	fail(s, &err, err.code == ERR_CANCELLED ? "cancel" : "guest");
}

/* A list that ended early because somebody gave up, or the guest went away, is not the op's failure. */
static const char *ended_by(const struct err *err)
{
	switch (err->code) {
	case ERR_CANCELLED:
		return "cancel";
	case ERR_AGENT_LOST:
	case ERR_GUEST_CRASHED:
	case ERR_GUEST_HUNG:
		return "guest";
	default:
		return "error";
	}
}

static void fail_ops(struct step *s, struct err *err)
{
	/* What the agent repeated was ended with the step. */
	if (err->code == ERR_CANCELLED && engine_step_over(s->run->engine) &&
		!engine_interrupted(s->run->engine)) {
		stop(s);
		return;
	}
	/* The agent's "cancelled" carries no reason of ours. */
	if (err->code == ERR_CANCELLED && engine_interrupted(s->run->engine) == ENGINE_WAIT_CANCEL) {
		SCOPE_LOCK(&s->run->engine->lock);
		snprintf(err->message, sizeof(err->message), "%s", s->run->engine->cancel_why);
	}
	fail(s, err, ended_by(err));
}

/* Results of passes are dropped, payloads that failed are not. */
static void keep_failed_payloads(struct run *run, struct result_list *list)
{
	for (size_t i = 0; i < list->n; i++) {
		Schedrig__V1__OpResult *result = list->result[i];
		if (result->payload && payload_failed(result->payload))
			run_keep_payload(run, TAKE_PTR(result->payload));
	}
}

/* Results of one pass: the first ones and the last are kept. */
static int keep_pass(struct step *s, struct result_list *pass, struct result_list *last, uint32_t number)
{
	struct result_list *into = number < PASSES_KEPT ? &s->run->ops : last;
	if (into == last) {
		keep_failed_payloads(s->run, last);
		s->run->result->ops_dropped += (uint32_t)last->n;
		result_list_deinit(last);
	}
	int r = 0;
	for (size_t i = 0; i < pass->n; i++) {
		if (r == 0)
			r = result_list_add(into, pass->result[i]);
		if (r < 0)
			pb_free(pass->result[i]);
	}
	free(pass->result);
	*pass = (struct result_list){0};
	return r;
}

/* Passes with host ops among them: at absolute times; what is late is counted, and does not queue up. */
static void loop_here(struct step *s, uint64_t begin, uint64_t interval)
{
	struct run *run = s->run;
	struct result_list last = {0};
	for (uint64_t k = 0;;) {
		uint64_t at = clock_add_ns(begin, k * interval);
		if (at >= run->budget_ns)
			break;
		enum engine_wait why = engine_wait_until(run->engine, at);
		if (why != ENGINE_WAIT_TIME) {
			note_wait(s, why);
			break;
		}
		struct err err = ERR_INIT;
		struct result_list pass = {0};
		struct op_context context = context_of(s);
		context.results = &pass;
		context.pass = s->result->passes;
		context.quiet = s->result->passes >= PASSES_KEPT;
		int r = ops_apply(&context, s->ops, s->step->n_ops, &err);
		uint32_t number = s->result->passes++;
		if (keep_pass(s, &pass, &last, number) < 0 && r == 0)
			r = err_set_os(&err, ERR_HOST, ENOMEM, "cannot keep the results of a pass");
		if (r < 0) {
			fail_ops(s, &err);
			break;
		}
		if (context.stopped) {
			stop(s);
			break;
		}
		uint64_t due = (engine_scenario_ns(run->engine) - begin) / interval;
		if (due > k) {
			/* The next pass begins late; those that it overran are not made up for. */
			s->result->late_passes++;
			k = due > k + 1 ? due : k + 1;
		} else {
			k++;
		}
	}
	for (size_t i = 0; i < last.n; i++)
		if (result_list_add(&run->ops, last.result[i]) < 0)
			pb_free(last.result[i]);
	free(last.result);
}

static void run_loop(struct step *s)
{
	struct run *run = s->run;
	struct err err = ERR_INIT;
	struct op_context context = context_of(s);
	uint64_t interval = s->step->hold->loop->ns;
	if (ops_apply(&context, s->setup, s->n_setup, &err) < 0) {
		fail_ops(s, &err);
		return;
	}
	resolve_hold(s);
	emit_start(s);
	uint64_t begin = engine_scenario_ns(run->engine);
	if (context.stopped)
		stop(s);
	if (s->hold.nothing || s->stopped)
		return;
	if (s->step->n_ops && ops_loop_in_guest(s->ops, s->step->n_ops)) {
		uint32_t dropped = 0;
		context = context_of(s);
		if (ops_loop(&context, s->ops, s->step->n_ops, interval, s->hold.effective_ns,
			    &s->result->passes, &s->result->late_passes, &dropped, &err) < 0)
			fail_ops(s, &err);
		run->result->ops_dropped += dropped;
	} else if (s->step->n_ops) {
		loop_here(s, begin, interval);
	}
	if (!s->failed && !s->stopped)
		note_wait(s, engine_wait_until(run->engine, run->budget_ns));
}

static void run_once(struct step *s)
{
	struct run *run = s->run;
	struct err err = ERR_INIT;
	struct op_context context = context_of(s);
	/* One list, so that no round trip falls between the last op and the set-up. */
	if (ops_apply(&context, s->ops, s->step->n_ops + s->n_setup, &err) < 0) {
		fail_ops(s, &err);
		return;
	}
	resolve_hold(s);
	emit_start(s);
	if (context.stopped) {
		stop(s);
		return;
	}
	uint64_t until = clock_add_ns(engine_scenario_ns(run->engine), s->hold.effective_ns);
	note_wait(s, engine_wait_until(run->engine, until));
}

static void tear_down(struct step *s)
{
	if (engine_agent_forgot(s->run->engine))
		return;
	Schedrig__V1__AgentRequest request = SCHEDRIG__V1__AGENT_REQUEST__INIT;
	Schedrig__V1__EndStep end = SCHEDRIG__V1__END_STEP__INIT;
	end.phase = s->phase;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_END_STEP;
	request.end_step = &end;
	Schedrig__V1__AgentResponse *response = NULL;
	struct err err = ERR_INIT;
	int r = agent_call(s->run->engine, &request, TEARDOWN_NS, &response, &err);
	run_take_teardown(s->run, response, s->phase);
	pb_free(response);
	if (r < 0 && !s->run->stop)
		run_fail(s->run, &err, s->phase);
}

static void keep_result(struct step *s)
{
	Schedrig__V1__RunResult *result = s->run->result;
	char name[32];
	s->result->index = s->index;
	s->result->name = strdup(step_name(s, name, sizeof(name)));
	if (!result->steps)
		result->steps = calloc(s->run->scenario->n_steps, sizeof(*result->steps));
	if (result->steps && s->result->name && s->result->ended_by)
		result->steps[result->n_steps++] = TAKE_PTR(s->result);
}

/* Reading the guest's memory costs, so it is done for those who ask. */
static bool wants_pages(const struct run *run)
{
	const Schedrig__V1__Scenario *s = run->scenario;
	bool wanted = s->assertions && s->assertions->max_cross_node_migration_ratio;
	for (size_t i = 0; i < s->n_steps; i++)
		wanted |= s->steps[i]->assertions && s->steps[i]->assertions->max_cross_node_migration_ratio;
	return wanted;
}

static void end_samples(struct step *s)
{
	struct sample end;
	sample_take(s->run->engine, s->begin.has_pages, &end);
	sample_record(&s->begin, &end, s->result);
	sample_deinit(&end);
}

void run_step(struct run *run, size_t index)
{
	struct step s = {.run = run,
		.step = run->scenario->steps[index],
		.index = (uint32_t)index,
		.phase = (uint32_t)index + 1};
	struct err err = ERR_INIT;
	if (plan(&s, &err) < 0 || agent_set_phase(run->engine, s.phase, &err) < 0) {
		run_fail(run, &err, s.phase);
	} else {
		engine_phase_set(run->engine, s.phase);
		engine_step_begin(run->engine);
		s.result->begin_ns = engine_scenario_ns(run->engine);
		sample_take(run->engine, wants_pages(run), &s.begin);
		if (hold_is_loop(s.step->hold))
			run_loop(&s);
		else
			run_once(&s);
		if (!*s.result->ended_by)
			s.result->ended_by = strdup("time");
		end_samples(&s);
		expect_step(run, index);
		emit_end(&s);
		tear_down(&s);
		keep_result(&s);
	}
	free(s.ops);
	free(s.made);
	free(s.defs);
	setup_deinit(&s.made_setup);
	sample_deinit(&s.begin);
	pb_free(s.result);
}
