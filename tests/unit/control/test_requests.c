/* SPDX-License-Identifier: GPL-2.0-only */
/* Requests through libschedrig: scenarios, ops, several clients, clients that go away, deadlines, the end. */
#include "tests/unit/control/fixture.h"

#include "common/clock.h"
#include "host/control/internal.h"
#include "proto/wire.h"

#include <poll.h>
#include <string.h>

static struct fixture f;

static struct schedrig *client_open(void)
{
	struct err err = ERR_INIT;
	struct schedrig *client = schedrig_open(f.path, &err);
	cr_assert_not_null(client, "%s", err.message);
	return client;
}

/* A request started, and what came of it. */
struct asked {
	bool done;
	struct err err;
	Schedrig__V1__Response *response;
	unsigned events;
	uint64_t lost, last_seq;
	bool disorder;
};

static void on_done(const struct err *err, Schedrig__V1__Response *response, void *arg)
{
	struct asked *a = arg;
	cr_assert(!a->done);
	a->done = true;
	a->err = *err;
	a->response = response;
}

static int on_event(const Schedrig__V1__Event *event, void *arg)
{
	struct asked *a = arg;
	bool gap = event->kind_case == SCHEDRIG__V1__EVENT__KIND_GAP;
	uint64_t first = gap ? event->seq - event->gap->lost + 1 : event->seq;
	if (a->done || (a->last_seq && first != a->last_seq + 1))
		a->disorder = true;
	a->last_seq = event->seq;
	if (gap)
		a->lost += event->gap->lost;
	else
		a->events++;
	return 0;
}

static void finish(struct schedrig *client, struct asked *a)
{
	struct err err = ERR_INIT;
	uint64_t until = clock_deadline_ns(10 * NS_PER_S);
	while (!a->done && clock_left_ns(until))
		(void)!schedrig_wait(client, 1000, &err);
	cr_assert(a->done);
}

static void asked_end(struct asked *a)
{
	schedrig_free_message(a->response);
	*a = (struct asked){0};
}

static void ask_submit(struct schedrig *client, const char *name, bool detach, bool queue,
	uint64_t deadline_ns, struct asked *a)
{
	Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
	Schedrig__V1__SubmitRequest submit = SCHEDRIG__V1__SUBMIT_REQUEST__INIT;
	Schedrig__V1__Duration deadline = SCHEDRIG__V1__DURATION__INIT;
	submit.scenario = named_scenario(name);
	submit.detach = detach;
	submit.queue = queue;
	request.kind_case = SCHEDRIG__V1__REQUEST__KIND_SUBMIT;
	request.submit = &submit;
	deadline.ns = deadline_ns;
	request.deadline = deadline_ns ? &deadline : NULL;
	cr_assert_eq(schedrig_start(client, &request, on_event, on_done, a, NULL, NULL), 0);
	struct err err = ERR_INIT;
	cr_assert_eq(schedrig_process(client, &err), 0, "%s", err.message);
}

static void ask_apply(struct schedrig *client, const char *name, uint64_t deadline_ns, struct asked *a)
{
	Schedrig__V1__Request request = *add_cgroup_request(name);
	Schedrig__V1__Duration deadline = SCHEDRIG__V1__DURATION__INIT;
	deadline.ns = deadline_ns;
	request.deadline = deadline_ns ? &deadline : NULL;
	cr_assert_eq(schedrig_start(client, &request, NULL, on_done, a, NULL, NULL), 0);
	struct err err = ERR_INIT;
	cr_assert_eq(schedrig_process(client, &err), 0, "%s", err.message);
}

static Schedrig__V1__VerdictKind verdict_of(const struct asked *a)
{
	cr_assert_eq(a->err.code, ERR_NONE, "%s", a->err.message);
	cr_assert_eq(a->response->kind_case, SCHEDRIG__V1__RESPONSE__KIND_RESULT);
	return a->response->result->verdict->verdict;
}

Test(requests, every_request_of_the_schema_has_its_line_in_the_list)
{
	const ProtobufCMessageDescriptor *type = &schedrig__v1__request__descriptor;
	unsigned n = 0;
	for (unsigned i = 0; i < type->n_fields; i++) {
		if (!(type->fields[i].flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
			continue;
		const struct request_kind *kind = request_kind_find(type->fields[i].id);
		cr_assert_not_null(kind, "%s", type->fields[i].name);
		cr_assert_str_eq(kind->name, type->fields[i].name);
		n++;
	}
	cr_assert_geq(n, 8);
	cr_assert_null(request_kind_find(0));
	cr_assert_null(request_kind_find(1000));
}

Test(requests, submit_streams_its_events_and_then_answers)
{
	fixture_start(&f, 0, true);
	struct schedrig *client = client_open();
	struct asked a = {0};
	ask_submit(client, "events 2000", false, false, 0, &a);
	finish(client, &a);
	cr_assert_eq(verdict_of(&a), SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_PASS);
	cr_assert_eq(a.events, 2002);
	cr_assert_eq(a.lost, 0);
	cr_assert(!a.disorder);
	asked_end(&a);
	schedrig_close(client);
	fixture_end(&f);
}

static int make_setup(struct schedrig *client, const Schedrig__V1__FactoryAsk *ask, void *arg)
{
	Schedrig__V1__CgroupDef def = SCHEDRIG__V1__CGROUP_DEF__INIT, *list[] = {&def};
	cr_assert_str_eq(ask->factory, "mine");
	def.name = arg;
	return arg ? schedrig_answer_factory(client, ask->ask, list, 1, NULL, NULL) : -1;
}

static void expect_asked(schedrig_factory_fn factory, const char *cgroup, const char *summary)
{
	fixture_start(&f, 0, true);
	struct schedrig *client = client_open();
	struct schedrig_submit_options options = {.factory = factory, .arg = (char *)cgroup};
	Schedrig__V1__Scenario *scenario = named_scenario("ask");
	Schedrig__V1__RunResult *result = NULL;
	struct err err = ERR_INIT;
	cr_assert_eq(schedrig_submit(client, scenario, &options, &result, &err), 0, "%s", err.message);
	cr_assert_str_eq(result->verdict->summary, summary);
	schedrig_free_message(result);
	schedrig_close(client);
	fixture_end(&f);
}

Test(requests, the_client_makes_the_set_up)
{
	expect_asked(make_setup, "made", "made");
}

Test(requests, a_client_may_refuse_to_make_a_set_up)
{
	expect_asked(make_setup, NULL, "its factory has refused");
}

Test(requests, a_client_without_factories_says_so)
{
	expect_asked(NULL, NULL, "it makes no set-ups");
}

Test(requests, set_ups_are_made_by_the_client_of_the_scenario)
{
	fixture_start(&f, 0, true);
	struct schedrig *client = client_open(), *other = client_open();
	struct asked answer = {0};
	Schedrig__V1__FactoryAnswer wire = SCHEDRIG__V1__FACTORY_ANSWER__INIT;
	Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
	request.kind_case = SCHEDRIG__V1__REQUEST__KIND_FACTORY_ANSWER;
	request.factory_answer = &wire;
	wire.ask = 41;
	cr_assert_eq(schedrig_start(other, &request, NULL, on_done, &answer, NULL, NULL), 0);
	finish(other, &answer);
	cr_assert_eq(answer.err.code, ERR_FAILED_PRECONDITION);
	schedrig_free_message(answer.response);
	schedrig_close(other);
	schedrig_close(client);
	fixture_end(&f);
}

Test(requests, an_answer_longer_than_a_frame_comes_whole)
{
	fixture_start(&f, 0, true);
	struct schedrig *client = client_open();
	struct asked a = {0};
	ask_submit(client, "big 3000000", false, false, 0, &a);
	finish(client, &a);
	verdict_of(&a);
	cr_assert_eq(strlen(a.response->result->notes[0]), 3000000);
	asked_end(&a);
	/* Many at once: more than the queue of a connection takes. */
	struct asked many[8] = {0};
	for (unsigned i = 0; i < 8; i++)
		ask_submit(client, "big 1000000", false, true, 0, &many[i]);
	for (unsigned i = 0; i < 8; i++) {
		finish(client, &many[i]);
		cr_assert_eq(strlen(many[i].response->result->notes[0]), 1000000);
		asked_end(&many[i]);
	}
	schedrig_close(client);
	fixture_end(&f);
}

Test(requests, kernel_memory_is_asked_for_beside_a_scenario)
{
	fixture_start(&f, 0, true);
	struct schedrig *client = client_open(), *other = client_open();
	struct asked a = {0};
	struct err err = ERR_INIT;
	ask_submit(client, "block", false, false, 0, &a);
	cr_assert(fake_engine_wait_busy(f.engine));
	Schedrig__V1__SymbolsRequest symbols = SCHEDRIG__V1__SYMBOLS_REQUEST__INIT;
	Schedrig__V1__SymbolsResponse *found = NULL;
	symbols.pattern = (char *)"scx_*";
	cr_assert_eq(schedrig_symbols(other, &symbols, &found, &err), 0, "%s", err.message);
	cr_assert_str_eq(found->symbols[0]->name, "scx_*");
	schedrig_free_message(found);
	symbols.pattern = (char *)"none";
	cr_assert_lt(schedrig_symbols(other, &symbols, &found, &err), 0);
	cr_assert_eq(err.code, ERR_NOT_FOUND);
	Schedrig__V1__ReadRequest read = SCHEDRIG__V1__READ_REQUEST__INIT;
	Schedrig__V1__WriteRequest write = SCHEDRIG__V1__WRITE_REQUEST__INIT;
	Schedrig__V1__ReadResponse *values = NULL;
	cr_assert_eq(schedrig_read(other, &read, &values, &err), 0, "%s", err.message);
	schedrig_free_message(values);
	cr_assert_eq(schedrig_write(other, &write, &values, &err), 0, "%s", err.message);
	schedrig_free_message(values);
	Schedrig__V1__ResolveRequest resolve = SCHEDRIG__V1__RESOLVE_REQUEST__INIT;
	Schedrig__V1__ResolveResponse *places = NULL;
	cr_assert_eq(schedrig_resolve(other, &resolve, &places, &err), 0, "%s", err.message);
	schedrig_free_message(places);
	Schedrig__V1__TypesRequest types = SCHEDRIG__V1__TYPES_REQUEST__INIT;
	Schedrig__V1__TypesResponse *known = NULL;
	cr_assert_eq(schedrig_types(other, &types, &known, &err), 0, "%s", err.message);
	schedrig_free_message(known);
	cr_assert_eq(schedrig_cancel(other, &err), 0, "%s", err.message);
	finish(client, &a);
	asked_end(&a);
	schedrig_close(other);
	schedrig_close(client);
	fixture_end(&f);
}

Test(requests, an_invalid_scenario_is_refused_with_all_its_mistakes)
{
	fixture_start(&f, 0, true);
	struct schedrig *client = client_open();
	struct err err = ERR_INIT;
	Schedrig__V1__ValidateResponse *validated = NULL;
	cr_assert_eq(schedrig_validate(client, named_scenario("invalid"), &validated, &err), 0);
	cr_assert_eq(validated->n_errors, 2);
	schedrig_free_message(validated);
	struct asked a = {0};
	ask_submit(client, "invalid", false, false, 0, &a);
	finish(client, &a);
	cr_assert_eq(a.err.code, ERR_NOT_FOUND);
	cr_assert_str_eq(a.err.place, "steps[0].ops[0]");
	cr_assert_eq(a.response->kind_case, SCHEDRIG__V1__RESPONSE__KIND_VALIDATED);
	cr_assert_eq(a.response->validated->n_errors, 2);
	cr_assert_eq(fake_engine_runs(f.engine), 0);
	asked_end(&a);
	ask_submit(client, "broken", false, false, 0, &a);
	finish(client, &a);
	cr_assert_eq(a.err.code, ERR_INTERNAL);
	asked_end(&a);
	schedrig_close(client);
	fixture_end(&f);
}

Test(requests, one_scenario_at_a_time)
{
	fixture_start(&f, 0, true);
	struct schedrig *one = client_open(), *two = client_open(), *three = client_open();
	struct asked a = {0}, b = {0}, c = {0};
	ask_submit(one, "block", false, false, 0, &a);
	cr_assert(fake_engine_wait_busy(f.engine));
	ask_submit(two, "other", false, false, 0, &b);
	finish(two, &b);
	cr_assert_eq(b.err.code, ERR_BUSY);
	cr_assert_not_null(strstr(b.err.message, "block is running"));
	asked_end(&b);
	ask_submit(three, "other", false, true, 0, &c);
	/* Ops beside it, and Info, go on. */
	ask_apply(two, "x", 0, &b);
	finish(two, &b);
	cr_assert_eq(b.err.code, ERR_NONE);
	asked_end(&b);
	cr_assert(!c.done);
	struct err err = ERR_INIT;
	cr_assert_eq(schedrig_cancel(two, &err), 0, "%s", err.message);
	finish(one, &a);
	cr_assert_eq(verdict_of(&a), SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_INCONCLUSIVE);
	finish(three, &c);
	cr_assert_eq(verdict_of(&c), SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_PASS);
	/* Its events are its own, not those of the one before. */
	cr_assert_eq(c.events, 2);
	cr_assert_eq(schedrig_cancel(two, &err), err_errno(ERR_FAILED_PRECONDITION));
	asked_end(&a);
	asked_end(&c);
	schedrig_close(one);
	schedrig_close(two);
	schedrig_close(three);
	fixture_end(&f);
}

Test(requests, a_client_that_goes_away_takes_its_scenario_along)
{
	fixture_start(&f, 0, true);
	struct schedrig *one = client_open(), *two = client_open();
	struct asked a = {0};
	ask_submit(one, "block", false, false, 0, &a);
	cr_assert(fake_engine_wait_busy(f.engine));
	schedrig_close(one);
	cr_assert(fake_engine_wait_idle(f.engine));
	cr_assert_str_eq(fake_engine_cancelled(f.engine), "the client went away");
	ask_submit(two, "next", false, true, 0, &a);
	finish(two, &a);
	cr_assert_eq(verdict_of(&a), SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_PASS);
	asked_end(&a);
	schedrig_close(two);
	fixture_end(&f);
}

static bool scenario_runs;
static void look_for_scenario(struct control *control)
{
	scenario_runs = control->scenario != NULL;
}

/* Nor does it wait for the backdrop, which may take as long as its ops do. */
Test(requests, a_cancel_before_the_begin_ends_the_preparation)
{
	fixture_start(&f, 0, true);
	int fd = raw_open(&f);
	Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
	Schedrig__V1__SubmitRequest submit = SCHEDRIG__V1__SUBMIT_REQUEST__INIT;
	submit.scenario = named_scenario("late");
	request.kind_case = SCHEDRIG__V1__REQUEST__KIND_SUBMIT;
	request.submit = &submit;
	raw_send_message(fd, WIRE_REQUEST, 1, &request.base);
	uint64_t limit_ns = clock_deadline_ns(10 * NS_PER_S);
	while (!scenario_runs && clock_left_ns(limit_ns))
		fixture_on_loop(&f, look_for_scenario);
	cr_assert(scenario_runs);
	close(fd);
	while (scenario_runs && clock_left_ns(limit_ns))
		fixture_on_loop(&f, look_for_scenario);
	cr_assert(!scenario_runs);
	cr_assert_str_eq(fake_engine_cancelled(f.engine), "the client went away");
	fixture_end(&f);
}

/* The cancel may come before the engine has begun: it must not be lost. */
Test(requests, going_away_at_once_does_not_leave_the_scenario_running)
{
	fixture_start(&f, 0, true);
	struct schedrig *two = client_open();
	for (unsigned i = 0; i < 100; i++) {
		struct schedrig *one = client_open();
		struct asked a = {0}, b = {0};
		ask_submit(one, "block", false, true, 0, &a);
		schedrig_close(one);
		ask_submit(two, "next", false, true, 0, &b);
		finish(two, &b);
		cr_assert_eq(verdict_of(&b), SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_PASS);
		asked_end(&b);
	}
	schedrig_close(two);
	fixture_end(&f);
}

Test(requests, a_detached_scenario_goes_on)
{
	fixture_start(&f, 0, true);
	struct schedrig *one = client_open(), *two = client_open();
	struct asked a = {0}, b = {0};
	ask_submit(one, "block", true, false, 0, &a);
	cr_assert(fake_engine_wait_busy(f.engine));
	schedrig_close(one);
	fixture_wait_clients(&f, two, 1);
	ask_submit(two, "next", false, false, 0, &b);
	finish(two, &b);
	cr_assert_eq(b.err.code, ERR_BUSY);
	asked_end(&b);
	fake_engine_release(f.engine);
	cr_assert(fake_engine_wait_idle(f.engine));
	cr_assert_str_eq(fake_engine_cancelled(f.engine), "");
	schedrig_close(two);
	fixture_end(&f);
}

Test(requests, ops_of_one_client_keep_their_order)
{
	fixture_start(&f, 0, true);
	struct schedrig *one = client_open(), *two = client_open();
	struct asked a = {0}, b = {0}, c = {0};
	ask_apply(one, "slow", 0, &a);
	ask_apply(one, "x", 0, &b);
	ask_apply(two, "x", 0, &c);
	finish(two, &c);
	cr_assert(!a.done && !b.done);
	fake_engine_release(f.engine);
	finish(one, &b);
	cr_assert(a.done);
	asked_end(&a);
	asked_end(&b);
	asked_end(&c);
	schedrig_close(one);
	schedrig_close(two);
	fixture_end(&f);
}

Test(requests, a_failed_op_brings_its_results)
{
	fixture_start(&f, 0, true);
	struct schedrig *client = client_open();
	struct asked a = {0};
	ask_apply(client, "fail", 0, &a);
	finish(client, &a);
	cr_assert_eq(a.err.code, ERR_NOT_FOUND);
	cr_assert_str_eq(a.err.place, "ops[0]");
	cr_assert_eq(a.response->applied->n_results, 1);
	asked_end(&a);
	schedrig_close(client);
	fixture_end(&f);
}

Test(requests, deadlines)
{
	fixture_start(&f, 0, true);
	struct schedrig *client = client_open();
	struct asked a = {0}, b = {0}, c = {0};
	ask_apply(client, "slow", 20 * NS_PER_MS, &a);
	ask_apply(client, "x", 20 * NS_PER_MS, &b);
	finish(client, &a);
	finish(client, &b);
	cr_assert_eq(a.err.code, ERR_TIMEOUT);
	cr_assert_eq(b.err.code, ERR_TIMEOUT);
	cr_assert_not_null(strstr(a.err.message, "goes on"));
	cr_assert_not_null(strstr(b.err.message, "before it could start"));
	ask_submit(client, "block", false, false, 20 * NS_PER_MS, &c);
	finish(client, &c);
	cr_assert_eq(verdict_of(&c), SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_INCONCLUSIVE);
	asked_end(&a);
	asked_end(&b);
	asked_end(&c);
	schedrig_close(client);
	fixture_end(&f);
}

static void set_ended(struct control *control)
{
	struct err err = ERR_INIT;
	err_set(&err, ERR_GUEST_CRASHED, "the kernel panicked");
	control_set_ended(control, &err);
}

Test(requests, they_wait_for_the_guest_and_fail_when_it_is_gone)
{
	fixture_start(&f, 0, false);
	struct schedrig *client = client_open();
	struct asked a = {0}, b = {0};
	struct err err = ERR_INIT;
	Schedrig__V1__Info *info = NULL;
	ask_submit(client, "x", false, false, 0, &a);
	ask_apply(client, "x", 0, &b);
	cr_assert_eq(schedrig_info(client, &info, &err), 0);
	schedrig_free_message(info);
	cr_assert(!a.done && !b.done);
	fixture_on_loop(&f, control_set_ready);
	finish(client, &a);
	finish(client, &b);
	verdict_of(&a);
	cr_assert_eq(b.err.code, ERR_NONE);
	asked_end(&a);
	asked_end(&b);
	fixture_on_loop(&f, set_ended);
	ask_submit(client, "x", false, false, 0, &a);
	finish(client, &a);
	cr_assert_eq(a.err.code, ERR_GUEST_CRASHED);
	cr_assert_str_eq(a.err.message, "the kernel panicked");
	asked_end(&a);
	schedrig_close(client);
	fixture_end(&f);
}

Test(requests, the_end_cancels_what_runs_and_tells_what_waits)
{
	fixture_start(&f, 0, true);
	struct schedrig *one = client_open(), *two = client_open();
	struct asked a = {0}, b = {0};
	ask_submit(one, "block", false, false, 0, &a);
	cr_assert(fake_engine_wait_busy(f.engine));
	ask_submit(two, "x", false, true, 0, &b);
	Schedrig__V1__Info *info = NULL;
	cr_assert_eq(schedrig_info(two, &info, NULL), 0); /* so b has arrived */
	schedrig_free_message(info);
	fixture_end(&f);
	finish(one, &a);
	finish(two, &b);
	cr_assert_eq(verdict_of(&a), SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_INCONCLUSIVE);
	cr_assert_eq(b.err.code, ERR_CANCELLED);
	cr_assert_str_eq(b.err.message, "the test is over");
	struct err err = ERR_INIT;
	cr_assert_lt(schedrig_info(one, &info, &err), 0);
	cr_assert_eq(err.code, ERR_HOST);
	cr_assert_str_eq(err.message, "the controller ended");
	asked_end(&a);
	asked_end(&b);
	schedrig_close(one);
	schedrig_close(two);
}

static void *end_fixture(void *arg)
{
	pthread_join(f.thread, NULL);
	control_free(f.control);
	/* libevent closes sockets in the loop or, when that has ended, with the loop. */
	loop_free(f.loop);
	return NULL;
}

Test(requests, shutdown_is_answered_and_waits_for_the_end)
{
	fixture_start(&f, 0, true);
	struct schedrig *client = client_open();
	struct err err = ERR_INIT;
	pthread_t ender;
	cr_assert_eq(pthread_create(&ender, NULL, end_fixture, NULL), 0);
	/* The fixture's loop ends at once, so the answer may not get out: then the end itself is what is
	 * seen. */
	int r = schedrig_shutdown(client, 10000, &err);
	cr_assert(r == 0 || err.code == ERR_HOST, "%s", err.message);
	pthread_join(ender, NULL);
	cr_assert_eq(f.shutdowns, 1);
	schedrig_close(client);
	engine_free(f.engine);
	cr_assert_eq(rmdir(f.directory), 0);
}

/* ---- events */

static void ask_events(struct schedrig *client, uint64_t from, struct asked *a)
{
	Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
	Schedrig__V1__EventsRequest events = SCHEDRIG__V1__EVENTS_REQUEST__INIT;
	events.from_seq = from;
	request.kind_case = SCHEDRIG__V1__REQUEST__KIND_EVENTS;
	request.events = &events;
	cr_assert_eq(schedrig_start(client, &request, on_event, on_done, a, NULL, NULL), 0);
	struct err err = ERR_INIT;
	cr_assert_eq(schedrig_process(client, &err), 0, "%s", err.message);
}

static void run_scenario(const char *name)
{
	struct schedrig *client = client_open();
	struct asked a = {0};
	ask_submit(client, name, false, true, 0, &a);
	finish(client, &a);
	verdict_of(&a);
	asked_end(&a);
	schedrig_close(client);
}

static void wait_seq(struct schedrig *client, struct asked *a, uint64_t seq)
{
	uint64_t until = clock_deadline_ns(10 * NS_PER_S);
	struct err err = ERR_INIT;
	while (a->last_seq < seq && clock_left_ns(until))
		(void)!schedrig_wait(client, 1000, &err);
	cr_assert_eq(a->last_seq, seq);
}

Test(events, replay_from_a_number)
{
	fixture_start(&f, 0, true);
	run_scenario("events 8"); /* 10 events */
	struct schedrig *client = client_open();
	struct asked all = {0}, some = {0}, from_now = {0}, future = {0};
	ask_events(client, 1, &all);
	ask_events(client, 7, &some);
	ask_events(client, 0, &from_now);
	ask_events(client, 100, &future);
	finish(client, &future);
	cr_assert_eq(future.err.code, ERR_INVALID_ARGUMENT);
	wait_seq(client, &all, 10);
	wait_seq(client, &some, 10);
	cr_assert_eq(all.events, 10);
	cr_assert_eq(some.events, 4);
	run_scenario("events 3"); /* 5 more */
	wait_seq(client, &all, 15);
	wait_seq(client, &from_now, 15);
	cr_assert_eq(from_now.events, 5);
	cr_assert(!all.disorder && !some.disorder && !from_now.disorder);
	asked_end(&future);
	schedrig_close(client);
	fixture_end(&f);
}

Test(events, what_the_ring_has_lost_is_a_gap)
{
	fixture_start(&f, 100, true);
	run_scenario("events 998"); /* 1000 events */
	struct schedrig *client = client_open();
	struct asked a = {0};
	ask_events(client, 1, &a);
	wait_seq(client, &a, 1000);
	cr_assert_eq(a.lost, 900);
	cr_assert_eq(a.events, 100);
	cr_assert(!a.disorder);
	schedrig_close(client);
	fixture_end(&f);
}

Test(events, a_slow_reader_gets_gaps_and_holds_nobody_up)
{
	fixture_start(&f, 200, true);
	struct schedrig *slow = client_open();
	struct asked a = {0};
	ask_events(slow, 0, &a);
	Schedrig__V1__Info *info = NULL;
	cr_assert_eq(schedrig_info(slow, &info, NULL), 0); /* the subscription is there */
	schedrig_free_message(info);
	run_scenario("events 20000"); /* 20 MiB: far beyond socket and queue */
	wait_seq(slow, &a, 20002);
	cr_assert_gt(a.lost, 0);
	cr_assert_gt(a.events, 200);
	cr_assert_eq(a.lost + a.events, 20002);
	cr_assert(!a.disorder);
	schedrig_close(slow);
	fixture_end(&f);
}

static int stop_at_five(const Schedrig__V1__Event *event, void *arg)
{
	return ++*(int *)arg == 5;
}

Test(events, the_blocking_call_ends_when_its_function_says_so)
{
	fixture_start(&f, 0, true);
	run_scenario("events 8");
	struct schedrig *client = client_open();
	struct err err = ERR_INIT;
	int n = 0;
	cr_assert_eq(schedrig_events(client, 1, stop_at_five, &n, &err), 0, "%s", err.message);
	cr_assert_eq(n, 5);
	run_scenario("events 8");
	Schedrig__V1__Info *info = NULL;
	cr_assert_eq(schedrig_info(client, &info, NULL), 0);
	schedrig_free_message(info);
	cr_assert_eq(n, 5);
	schedrig_close(client);
	fixture_end(&f);
}

Test(requests, what_is_prepared_is_its_connections)
{
	fixture_start(&f, 0, true);
	struct err err = ERR_INIT;
	struct schedrig *one = schedrig_open(f.path, &err), *two = schedrig_open(f.path, &err);
	cr_assert(one && two, "%s", err.message);
	Schedrig__V1__KernelRead read = SCHEDRIG__V1__KERNEL_READ__INIT, *reads[] = {&read, &read, &read};
	Schedrig__V1__PrepareRequest prepare = SCHEDRIG__V1__PREPARE_REQUEST__INIT;
	Schedrig__V1__PrepareResponse *p = NULL, *q = NULL;
	prepare.n_reads = 3;
	prepare.reads = reads;
	cr_assert_eq(schedrig_prepare(one, &prepare, &p, &err), 0, "%s", err.message);
	cr_assert_eq(schedrig_prepare(two, &prepare, &q, &err), 0, "%s", err.message);
	Schedrig__V1__ReadPreparedRequest ask = SCHEDRIG__V1__READ_PREPARED_REQUEST__INIT;
	Schedrig__V1__ReadPreparedResponse *values = NULL;
	uint64_t handles[] = {p->reads[2]->handle, p->reads[0]->handle};
	ask.n_handles = 2;
	ask.handles = handles;
	/* The same connection has them from request to request, another one does not. */
	cr_assert_eq(schedrig_read_prepared(one, &ask, &values, &err), 0, "%s", err.message);
	cr_assert_eq(values->n_values, 2);
	cr_assert_eq(values->values[0], 2);
	cr_assert_eq(values->values[1], 0);
	schedrig_free_message(values);
	cr_assert_lt(schedrig_read_prepared(two, &ask, &values, &err), 0);
	schedrig_close(one);
	one = schedrig_open(f.path, &err);
	cr_assert_lt(schedrig_read_prepared(one, &ask, &values, &err), 0);
	schedrig_free_message(p);
	schedrig_free_message(q);
	schedrig_close(one);
	schedrig_close(two);
	fixture_end(&f);
}

Test(requests, workers_are_asked_for_while_a_scenario_runs)
{
	fixture_start(&f, 0, true);
	struct schedrig *client = client_open(), *other = client_open();
	struct asked a = {0};
	struct err err = ERR_INIT;
	ask_submit(client, "block", false, false, 0, &a);
	cr_assert(fake_engine_wait_busy(f.engine));
	Schedrig__V1__WorkersRequest ask = SCHEDRIG__V1__WORKERS_REQUEST__INIT;
	Schedrig__V1__WorkerTotals *totals = NULL;
	cr_assert_eq(schedrig_workers(other, &ask, &totals, &err), 0, "%s", err.message);
	cr_assert_eq(totals->workers, 2);
	cr_assert_eq(totals->n_each, 2);
	cr_assert_eq(totals->each[1]->tid, 101);
	cr_assert_str_eq(totals->each[1]->cgroup, "web/of/some/depth");
	schedrig_free_message(totals);
	fake_engine_release(f.engine);
	finish(client, &a);
	asked_end(&a);
	schedrig_close(other);
	schedrig_close(client);
	fixture_end(&f);
}
