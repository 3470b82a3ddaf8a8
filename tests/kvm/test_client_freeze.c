/* SPDX-License-Identifier: GPL-2.0-only */
/* Freezes of clients on a bare guest: who thaws, and when. The engine is a fake that knows the VM. */
#include "bare.h"
#include "common/clock.h"
#include "tests/unit/control/fixture.h"

#include <poll.h>
#include <unistd.h>

TestSuite(client_freeze, .timeout = 300);

BARE_GUEST(guest_client_counts, "1: incq (%rdi)\n jmp 1b");

static struct fixture f;

static struct bare *begin(void)
{
	struct bare *b = bare_start(bare_new(2, guest_client_counts, guest_client_counts_end, 0));
	bare_wait_all_running(b);
	fixture_start(&f, 0, true);
	fake_engine_set_vm(f.engine, b->vm);
	return b;
}

static void end(struct bare *b)
{
	fixture_end(&f);
	cr_assert_not(vm_is_frozen(b->vm), "the end of the control leaves the VM frozen");
	bare_free(b);
}

static struct schedrig *client_open(void)
{
	struct err err = ERR_INIT;
	struct schedrig *client = schedrig_open(f.path, &err);
	cr_assert_not_null(client, "%s", err.message);
	return client;
}

static int freeze(struct schedrig *client, const struct schedrig_freeze_options *options, struct err *err)
{
	Schedrig__V1__Frozen *frozen = NULL;
	int r = schedrig_freeze(client, options, &frozen, err);
	if (r == 0)
		cr_assert(frozen->freeze && frozen->lease_ns);
	schedrig_free_message(frozen);
	return r;
}

static void counts(struct bare *b)
{
	for (unsigned i = 0; i < 2; i++)
		bare_wait_moved(b, i, bare_cell(b, i));
}

Test(client_freeze, freeze_and_thaw)
{
	struct bare *b = begin();
	struct schedrig *one = client_open(), *two = client_open();
	struct err err = ERR_INIT;
	Schedrig__V1__Thawed *thawed = NULL;
	cr_assert_lt(schedrig_thaw(one, &thawed, &err), 0);
	cr_assert_eq(err.code, ERR_FAILED_PRECONDITION);
	cr_assert_eq(freeze(one, NULL, &err), 0, "%s", err.message);
	cr_assert(vm_is_frozen(b->vm));
	cr_assert_lt(freeze(one, NULL, &err), 0);
	cr_assert_eq(err.code, ERR_FAILED_PRECONDITION, "%s", err.message);
	/* Another one's turn does not come. */
	cr_assert_lt(freeze(two, &(struct schedrig_freeze_options){.deadline_ns = 50 * NS_PER_MS}, &err), 0);
	cr_assert_eq(err.code, ERR_TIMEOUT, "%s", err.message);
	uint64_t at = bare_cell(b, 0);
	cr_assert_eq(schedrig_thaw(two, &thawed, &err), 0, "%s", err.message);
	cr_assert_geq(thawed->freeze->frozen_ns, 50 * NS_PER_MS);
	cr_assert_neq(thawed->freeze->guest_time, 0);
	schedrig_free_message(thawed);
	bare_wait_moved(b, 0, at);
	schedrig_close(one);
	schedrig_close(two);
	end(b);
}

Test(client_freeze, the_lease_ends_it)
{
	struct bare *b = begin();
	struct schedrig *client = client_open();
	struct err err = ERR_INIT;
	uint64_t begin_ns = clock_now_ns();
	cr_assert_eq(freeze(client, &(struct schedrig_freeze_options){.lease_ns = 200 * NS_PER_MS}, &err), 0);
	bare_wait(!vm_is_frozen(b->vm), "the lease runs out");
	cr_assert_geq(clock_now_ns() - begin_ns, 200 * NS_PER_MS);
	counts(b);
	cr_assert_lt(freeze(client, &(struct schedrig_freeze_options){.lease_ns = UINT64_MAX}, &err), 0);
	cr_assert_eq(err.code, ERR_INVALID_ARGUMENT);
	/* The next one has a lease of its own. */
	cr_assert_eq(freeze(client, NULL, &err), 0, "%s", err.message);
	cr_assert(vm_is_frozen(b->vm));
	schedrig_close(client);
	end(b);
}

static void drop_answer(const struct err *err, Schedrig__V1__Response *response, void *arg)
{
	schedrig_free_message(response);
}

Test(client_freeze, a_client_that_goes_away_thaws)
{
	struct bare *b = begin();
	struct err err = ERR_INIT;
	struct schedrig *client = client_open();
	cr_assert_eq(freeze(client, NULL, &err), 0);
	schedrig_close(client);
	bare_wait(!vm_is_frozen(b->vm), "the VM is thawed");
	counts(b);
	/* While it waits for its turn, too. */
	struct schedrig *holder = client_open(), *waiter = client_open();
	cr_assert_eq(freeze(holder, NULL, &err), 0);
	Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
	Schedrig__V1__FreezeRequest ask = SCHEDRIG__V1__FREEZE_REQUEST__INIT;
	request.kind_case = SCHEDRIG__V1__REQUEST__KIND_FREEZE;
	request.freeze = &ask;
	cr_assert_eq(schedrig_start(waiter, &request, NULL, drop_answer, NULL, NULL, &err), 0);
	cr_assert_eq(schedrig_process(waiter, &err), 0);
	schedrig_close(waiter);
	fixture_wait_clients(&f, holder, 1);
	schedrig_close(holder);
	bare_wait(!vm_is_frozen(b->vm), "nobody holds it");
	counts(b);
	end(b);
}

Test(client_freeze, a_detached_one_stays_until_the_end)
{
	struct bare *b = begin();
	struct err err = ERR_INIT;
	struct schedrig *client = client_open(), *asker = client_open();
	cr_assert_eq(freeze(client, &(struct schedrig_freeze_options){.detach = true}, &err), 0);
	schedrig_close(client);
	fixture_wait_clients(&f, asker, 1);
	cr_assert(vm_is_frozen(b->vm));
	schedrig_close(asker);
	end(b);
}

static uint64_t cold_read(struct schedrig *client, struct err *err)
{
	Schedrig__V1__KernelRead read = SCHEDRIG__V1__KERNEL_READ__INIT, *list[] = {&read};
	Schedrig__V1__ReadRequest request = SCHEDRIG__V1__READ_REQUEST__INIT;
	Schedrig__V1__ReadResponse *response = NULL;
	request.n_reads = 1;
	request.reads = list;
	request.cold = true;
	cr_assert_eq(schedrig_read(client, &request, &response, err), 0, "%s", err->message);
	uint64_t within = response->values[0]->value;
	schedrig_free_message(response);
	return within;
}

/* The fake engine says whether it was given a freeze to work within. */
Test(client_freeze, cold_accesses_use_the_freeze_of_their_client)
{
	struct bare *b = begin();
	struct schedrig *one = client_open(), *two = client_open();
	struct err err = ERR_INIT;
	Schedrig__V1__Thawed *thawed = NULL;
	cr_assert_eq(cold_read(one, &err), 0);
	cr_assert_eq(freeze(one, NULL, &err), 0, "%s", err.message);
	cr_assert_eq(cold_read(one, &err), 1);
	cr_assert_eq(cold_read(two, &err), 0, "another one's is none of its business");
	cr_assert_eq(schedrig_thaw(one, &thawed, &err), 0, "%s", err.message);
	schedrig_free_message(thawed);
	cr_assert_eq(cold_read(one, &err), 0);
	/* Nobody's is everybody's. */
	cr_assert_eq(
		freeze(one, &(struct schedrig_freeze_options){.detach = true}, &err), 0, "%s", err.message);
	cr_assert_eq(cold_read(one, &err), 1);
	cr_assert_eq(cold_read(two, &err), 1);
	schedrig_close(one);
	schedrig_close(two);
	end(b);
}

static int step(
	struct schedrig *client, uint32_t vcpu, uint32_t count, Schedrig__V1__Stepped **ret, struct err *err)
{
	*err = ERR_INIT;
	return schedrig_step(client, vcpu, count, 0, ret, err);
}

Test(client_freeze, steps_within_a_freeze_of_ones_own)
{
	struct bare *b = begin();
	struct schedrig *one = client_open(), *two = client_open();
	struct err err = ERR_INIT;
	Schedrig__V1__Stepped *stepped = NULL;
	Schedrig__V1__Thawed *thawed = NULL;
	cr_assert_lt(step(one, 0, 1, &stepped, &err), 0);
	cr_assert_eq(err.code, ERR_FAILED_PRECONDITION);
	cr_assert_str_eq(err.reason, "not-frozen", "%s", err.message);
	cr_assert_eq(freeze(one, NULL, &err), 0, "%s", err.message);
	cr_assert_lt(step(two, 0, 1, &stepped, &err), 0);
	cr_assert_str_eq(err.reason, "not-owner", "%s", err.message);
	cr_assert_lt(step(one, 2, 1, &stepped, &err), 0);
	cr_assert_eq(err.code, ERR_INVALID_ARGUMENT, "%s", err.message);
	cr_assert_eq(step(one, 1, 0, &stepped, &err), 0, "%s", err.message);
	cr_assert_eq(stepped->executed, 0);
	cr_assert_eq(stepped->registers->rbx, 1);
	cr_assert(stepped->registers->rip >= BARE_CODE && stepped->registers->rip < BARE_CODE + 16);
	schedrig_free_message(stepped);
	uint64_t at = bare_cell(b, 0), other = bare_cell(b, 1);
	if (step(one, 0, 10, &stepped, &err) == 0) {
		cr_assert_eq(stepped->executed, 10);
		cr_assert_eq(stepped->end, SCHEDRIG__V1__STEPPED_END__STEPPED_END_COUNT);
		cr_assert_eq(bare_cell(b, 0), at + 5);
		schedrig_free_message(stepped);
	} else {
		cr_assert_eq(err.code, ERR_UNSUPPORTED, "%s", err.message);
		cr_assert_str_eq(err.reason, "no-single-step");
		cr_assert_eq(bare_cell(b, 0), at);
	}
	cr_assert_eq(bare_cell(b, 1), other);
	cr_assert_eq(schedrig_thaw(one, &thawed, &err), 0, "%s", err.message);
	schedrig_free_message(thawed);
	counts(b);
	schedrig_close(one);
	schedrig_close(two);
	end(b);
}

/* A thaw that comes while somebody works within the freeze: both get their answers, in whatever order. */
Test(client_freeze, a_thaw_waits_for_who_works_within_the_freeze)
{
	struct bare *b = begin();
	struct err err = ERR_INIT;
	for (unsigned round = 0; round < 30; round++) {
		struct schedrig *one = client_open(), *two = client_open();
		Schedrig__V1__Thawed *thawed = NULL;
		Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
		Schedrig__V1__StepRequest ask = SCHEDRIG__V1__STEP_REQUEST__INIT;
		cr_assert_eq(freeze(one, NULL, &err), 0, "%s", err.message);
		ask.count = 100000;
		request.kind_case = SCHEDRIG__V1__REQUEST__KIND_STEP;
		request.step = &ask;
		cr_assert_eq(schedrig_start(one, &request, NULL, drop_answer, NULL, NULL, &err), 0);
		cr_assert_eq(schedrig_process(one, &err), 0);
		if (round % 2) {
			cr_assert_eq(schedrig_thaw(two, &thawed, &err), 0, "%s", err.message);
			schedrig_free_message(thawed);
			cr_assert_not(vm_is_frozen(b->vm));
			schedrig_close(one);
		} else {
			schedrig_close(one);
			bare_wait(!vm_is_frozen(b->vm), "the VM is thawed");
		}
		schedrig_close(two);
		counts(b);
	}
	end(b);
}

/* ---- lists of ops; what became of the first is in its kind (fake/engine.h) */

struct list {
	Schedrig__V1__Op op, *ops[1];
	Schedrig__V1__ReadKernelCold read;
	Schedrig__V1__CaptureSnapshot capture;
	Schedrig__V1__ApplyRequest apply;
	Schedrig__V1__Request request;
};

static void list_init(struct list *list, bool waits)
{
	schedrig__v1__op__init(&list->op);
	schedrig__v1__read_kernel_cold__init(&list->read);
	schedrig__v1__capture_snapshot__init(&list->capture);
	schedrig__v1__apply_request__init(&list->apply);
	schedrig__v1__request__init(&list->request);
	list->op.kind_case =
		waits ? SCHEDRIG__V1__OP__KIND_CAPTURE_SNAPSHOT : SCHEDRIG__V1__OP__KIND_READ_KERNEL_COLD;
	if (waits)
		list->op.capture_snapshot = &list->capture;
	else
		list->op.read_kernel_cold = &list->read;
	list->ops[0] = &list->op;
	list->apply.n_ops = 1;
	list->apply.ops = list->ops;
	list->request.kind_case = SCHEDRIG__V1__REQUEST__KIND_APPLY;
	list->request.apply = &list->apply;
}

static void expect_applied(struct schedrig *client, bool waits, const char *kind)
{
	struct list list;
	struct err err = ERR_INIT;
	Schedrig__V1__ApplyResponse *response = NULL;
	list_init(&list, waits);
	cr_assert_eq(schedrig_apply(client, &list.apply, 0, &response, &err), 0, "%s", err.message);
	cr_assert_str_eq(response->results[0]->kind, kind);
	schedrig_free_message(response);
}

static void thaw(struct schedrig *client)
{
	struct err err = ERR_INIT;
	Schedrig__V1__Thawed *thawed = NULL;
	cr_assert_eq(schedrig_thaw(client, &thawed, &err), 0, "%s", err.message);
	schedrig_free_message(thawed);
}

Test(client_freeze, lists_of_ops_work_in_the_freeze_of_their_client)
{
	struct bare *b = begin();
	struct schedrig *one = client_open(), *two = client_open();
	struct err err = ERR_INIT;
	expect_applied(one, false, "own");
	cr_assert_eq(freeze(one, NULL, &err), 0, "%s", err.message);
	expect_applied(one, false, "held");
	expect_applied(two, false, "own");
	thaw(one);
	expect_applied(one, false, "own");
	cr_assert_eq(freeze(one, &(struct schedrig_freeze_options){.detach = true}, &err), 0);
	expect_applied(one, false, "held");
	expect_applied(two, false, "held");
	schedrig_close(one);
	schedrig_close(two);
	end(b);
}

Test(client_freeze, what_needs_the_guest_is_refused_in_ones_own_freeze)
{
	struct bare *b = begin();
	struct schedrig *one = client_open(), *two = client_open();
	struct err err = ERR_INIT;
	cr_assert_eq(freeze(one, NULL, &err), 0, "%s", err.message);
	cr_assert_lt(schedrig_end_adhoc(one, &err), 0);
	cr_assert_eq(err.code, ERR_FAILED_PRECONDITION, "%s", err.message);
	cr_assert_str_eq(err.reason, "own-freeze");
	cr_assert_str_eq(err.message, "the end_adhoc request needs the guest to run, but this client's own "
				      "freeze holds the VM: thaw it first");
	/* Others wait for it, as far as the engine is concerned. */
	cr_assert_eq(schedrig_end_adhoc(two, &err), 0, "%s", err.message);
	thaw(one);
	cr_assert_eq(schedrig_end_adhoc(one, &err), 0, "%s", err.message);
	cr_assert_eq(freeze(one, &(struct schedrig_freeze_options){.detach = true}, &err), 0);
	cr_assert_eq(schedrig_end_adhoc(one, &err), 0, "it is nobody's: %s", err.message);
	schedrig_close(one);
	schedrig_close(two);
	end(b);
}

struct answer {
	bool came;
	char kind[32];
};

static void take_answer(const struct err *err, Schedrig__V1__Response *response, void *arg)
{
	struct answer *answer = arg;
	cr_assert_not_null(response, "%s", err->message);
	cr_assert_eq(err->code, ERR_NONE, "%s", err->message);
	answer->came = true;
	if (response->kind_case == SCHEDRIG__V1__RESPONSE__KIND_APPLIED)
		snprintf(answer->kind, sizeof(answer->kind), "%s", response->applied->results[0]->kind);
	schedrig_free_message(response);
}

static void wait_answer(struct schedrig *client, const struct answer *answer)
{
	struct err err = ERR_INIT;
	while (!answer->came)
		cr_assert_eq(schedrig_wait(client, 20000, &err), 0, "%s", err.message);
}

static void start(struct schedrig *client, const Schedrig__V1__Request *request, struct answer *answer)
{
	struct err err = ERR_INIT;
	*answer = (struct answer){0};
	cr_assert_eq(schedrig_start(client, request, NULL, take_answer, answer, NULL, &err), 0);
	cr_assert_eq(schedrig_process(client, &err), 0, "%s", err.message);
}

Test(client_freeze, a_lease_that_runs_out_is_told_to_the_list_in_it)
{
	struct bare *b = begin();
	struct schedrig *client = client_open();
	struct err err = ERR_INIT;
	struct list list;
	struct answer applied;
	list_init(&list, true);
	/* On a host where the list comes too late for a short lease, a longer one. */
	for (uint64_t lease_ns = 200 * NS_PER_MS;; lease_ns *= 2) {
		cr_assert_eq(freeze(client, &(struct schedrig_freeze_options){.lease_ns = lease_ns}, &err), 0,
			"%s", err.message);
		start(client, &list.request, &applied);
		wait_answer(client, &applied);
		if (strcmp(applied.kind, "own") != 0)
			break;
	}
	cr_assert_str_eq(applied.kind, "wanted-back");
	bare_wait(!vm_is_frozen(b->vm), "the lease ends it");
	counts(b);
	schedrig_close(client);
	end(b);
}

Test(client_freeze, a_thaw_and_a_client_that_goes_are_told_to_the_list_too)
{
	struct bare *b = begin();
	struct schedrig *one = client_open(), *two = client_open();
	struct err err = ERR_INIT;
	struct list list;
	struct answer applied;
	list_init(&list, true);
	cr_assert_eq(freeze(one, NULL, &err), 0, "%s", err.message);
	start(one, &list.request, &applied);
	cr_assert(fake_engine_wait_busy(f.engine));
	thaw(two);
	cr_assert_not(vm_is_frozen(b->vm));
	wait_answer(one, &applied);
	cr_assert_str_eq(applied.kind, "wanted-back");

	cr_assert_eq(freeze(one, NULL, &err), 0, "%s", err.message);
	start(one, &list.request, &applied);
	cr_assert(fake_engine_wait_busy(f.engine));
	schedrig_close(one);
	bare_wait(!vm_is_frozen(b->vm), "the VM is thawed");
	counts(b);
	schedrig_close(two);
	end(b);
}

/* ---- one client's requests, none of which waits for the answer to the one before */

static const Schedrig__V1__Request *freeze_request(bool detach)
{
	static Schedrig__V1__FreezeRequest ask = SCHEDRIG__V1__FREEZE_REQUEST__INIT;
	static Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
	ask.detach = detach;
	request.kind_case = SCHEDRIG__V1__REQUEST__KIND_FREEZE;
	request.freeze = &ask;
	return &request;
}

static const Schedrig__V1__Request *thaw_request(void)
{
	static Schedrig__V1__ThawRequest ask = SCHEDRIG__V1__THAW_REQUEST__INIT;
	static Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
	request.kind_case = SCHEDRIG__V1__REQUEST__KIND_THAW;
	request.thaw = &ask;
	return &request;
}

/* The controller has what the client has sent. */
static void has_arrived(struct schedrig *client)
{
	Schedrig__V1__Info *info = NULL;
	struct err err = ERR_INIT;
	cr_assert_eq(schedrig_info(client, &info, &err), 0, "%s", err.message);
	schedrig_free_message(info);
}

Test(client_freeze, a_thaw_does_not_overtake_what_its_client_asked_for_before)
{
	struct bare *b = begin();
	struct schedrig *one = client_open();
	struct list list;
	struct answer frozen[2], applied[4], thawed[2];
	list_init(&list, false);
	for (unsigned round = 0; round < 20; round++) {
		start(one, freeze_request(false), &frozen[0]);
		for (unsigned i = 0; i < 3; i++)
			start(one, &list.request, &applied[i]);
		start(one, thaw_request(), &thawed[0]);
		start(one, &list.request, &applied[3]);
		start(one, freeze_request(false), &frozen[1]);
		start(one, thaw_request(), &thawed[1]);
		wait_answer(one, &thawed[1]);
		cr_assert_not(vm_is_frozen(b->vm));
		cr_assert(frozen[0].came && thawed[0].came && frozen[1].came);
		for (unsigned i = 0; i < 4; i++)
			cr_assert_str_eq(applied[i].kind, i < 3 ? "held" : "own", "list %u", i);
	}
	schedrig_close(one);
	end(b);
}

Test(client_freeze, a_list_at_work_is_done_before_its_client_s_own_thaw)
{
	struct bare *b = begin();
	struct schedrig *one = client_open();
	struct err err = ERR_INIT;
	struct list list, more;
	struct answer applied, another, thawed;
	list_init(&list, true);
	list_init(&more, false);
	cr_assert_eq(freeze(one, NULL, &err), 0, "%s", err.message);
	start(one, &list.request, &applied);
	start(one, &more.request, &another);
	start(one, thaw_request(), &thawed);
	cr_assert(fake_engine_wait_busy(f.engine));
	has_arrived(one);
	cr_assert(vm_is_frozen(b->vm) && !thawed.came);
	fake_engine_release(f.engine);
	wait_answer(one, &thawed);
	cr_assert_str_eq(applied.kind, "released");
	cr_assert_str_eq(another.kind, "held");
	cr_assert_not(vm_is_frozen(b->vm));
	schedrig_close(one);
	end(b);
}

/* What waits for a freeze to end would wait for ever if the thaw waited for it. */
Test(client_freeze, a_thaw_overtakes_what_only_a_thaw_lets_go_on)
{
	for (unsigned detach = 0; detach < 2; detach++) {
		struct bare *b = begin();
		struct schedrig *one = client_open(), *two = client_open();
		struct err err = ERR_INIT;
		struct list slow, cold;
		Schedrig__V1__AddCgroup add = SCHEDRIG__V1__ADD_CGROUP__INIT;
		struct answer waits, behind, thawed;
		list_init(&slow, false);
		list_init(&cold, false);
		slow.op.kind_case = SCHEDRIG__V1__OP__KIND_ADD_CGROUP;
		slow.op.add_cgroup = &add;
		add.name = (char *)"slow";
		cr_assert_eq(freeze(one, &(struct schedrig_freeze_options){.detach = detach}, &err), 0, "%s",
			err.message);
		start(two, &slow.request, &waits);
		cr_assert(fake_engine_wait_busy(f.engine));
		start(two, &cold.request, &behind);
		start(two, thaw_request(), &thawed);
		wait_answer(two, &thawed);
		cr_assert_not(vm_is_frozen(b->vm));
		cr_assert_not(waits.came || behind.came);
		fake_engine_release(f.engine);
		wait_answer(two, &behind);
		cr_assert(waits.came);
		cr_assert_str_eq(behind.kind, "own");
		schedrig_close(one);
		schedrig_close(two);
		end(b);
	}
}

/* Another's freeze that is being given back meanwhile is not what it is to end. */
Test(client_freeze, a_thaw_waits_for_the_freeze_of_its_client_that_waits_for_its_turn)
{
	for (unsigned goes_away = 0; goes_away < 2; goes_away++) {
		struct bare *b = begin();
		struct schedrig *one = client_open(), *two = client_open(), *three = client_open();
		struct err err = ERR_INIT;
		struct list list;
		struct answer applied, frozen, thawed, others;
		list_init(&list, true);
		cr_assert_eq(freeze(one, NULL, &err), 0, "%s", err.message);
		if (goes_away)
			cr_assert_eq(
				schedrig_start(one, &list.request, NULL, drop_answer, NULL, NULL, &err), 0);
		else
			start(one, &list.request, &applied);
		if (goes_away)
			cr_assert_eq(schedrig_process(one, &err), 0);
		cr_assert(fake_engine_wait_busy(f.engine));
		start(two, freeze_request(false), &frozen);
		start(two, thaw_request(), &thawed);
		has_arrived(two);
		if (goes_away)
			schedrig_close(TAKE_PTR(one));
		else
			start(three, thaw_request(), &others);
		has_arrived(three);
		has_arrived(two);
		cr_assert(!frozen.came && !thawed.came);
		fake_engine_release(f.engine);
		wait_answer(two, &thawed);
		cr_assert(frozen.came);
		cr_assert_not(vm_is_frozen(b->vm), "nobody is left to thaw it");
		if (!goes_away)
			wait_answer(three, &others);
		schedrig_close(one);
		schedrig_close(two);
		schedrig_close(three);
		end(b);
	}
}

Test(client_freeze, a_thaw_waits_for_the_freeze_of_its_client_behind_what_needs_the_guest)
{
	struct bare *b = begin();
	struct schedrig *one = client_open(), *two = client_open();
	struct err err = ERR_INIT;
	struct list slow;
	Schedrig__V1__AddCgroup add = SCHEDRIG__V1__ADD_CGROUP__INIT;
	struct answer waits, frozen, thawed;
	list_init(&slow, false);
	slow.op.kind_case = SCHEDRIG__V1__OP__KIND_ADD_CGROUP;
	slow.op.add_cgroup = &add;
	add.name = (char *)"slow";
	cr_assert_eq(freeze(one, NULL, &err), 0, "%s", err.message);
	start(two, &slow.request, &waits);
	cr_assert(fake_engine_wait_busy(f.engine));
	start(two, freeze_request(false), &frozen);
	start(two, thaw_request(), &thawed);
	has_arrived(two);
	cr_assert(vm_is_frozen(b->vm) && !thawed.came);
	thaw(one);
	fake_engine_release(f.engine);
	wait_answer(two, &thawed);
	cr_assert(waits.came && frozen.came);
	cr_assert_not(vm_is_frozen(b->vm));
	schedrig_close(one);
	schedrig_close(two);
	end(b);
}

/* The loop would turn and turn if nobody took it. */
Test(client_freeze, a_wake_up_that_comes_late_is_taken)
{
	struct bare *b = begin();
	struct schedrig *one = client_open();
	struct err err = ERR_INIT;
	cr_assert_eq(freeze(one, NULL, &err), 0, "%s", err.message);
	cr_assert_eq(write(vm_freeze_fd(b->vm), &(uint64_t){1}, sizeof(uint64_t)), sizeof(uint64_t));
	struct pollfd late = {.fd = vm_freeze_fd(b->vm), .events = POLLIN};
	bare_wait(poll(&late, 1, 0) == 0, "somebody takes it");
	cr_assert(vm_is_frozen(b->vm));
	thaw(one);
	schedrig_close(one);
	end(b);
}

/* Who goes away while its thaw waits takes it along, and the freeze ends all the same. */
Test(client_freeze, a_thaw_that_waits_goes_with_its_client)
{
	struct bare *b = begin();
	struct schedrig *one = client_open(), *two = client_open();
	struct err err = ERR_INIT;
	struct list list;
	struct answer applied, thawed;
	list_init(&list, true);
	cr_assert_eq(freeze(one, NULL, &err), 0, "%s", err.message);
	cr_assert_eq(schedrig_start(one, &list.request, NULL, drop_answer, NULL, NULL, &err), 0);
	cr_assert_eq(schedrig_start(one, thaw_request(), NULL, drop_answer, NULL, NULL, &err), 0);
	has_arrived(one);
	cr_assert(fake_engine_wait_busy(f.engine));
	schedrig_close(one);
	bare_wait(!vm_is_frozen(b->vm), "the VM is thawed");
	/* And nobody else's requests mind. */
	list_init(&list, false);
	start(two, freeze_request(true), &applied);
	start(two, thaw_request(), &thawed);
	wait_answer(two, &thawed);
	cr_assert_not(vm_is_frozen(b->vm));
	schedrig_close(two);
	end(b);
}
