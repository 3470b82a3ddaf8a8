/* SPDX-License-Identifier: GPL-2.0-only */
/* Freezes of clients on a bare guest: who thaws, and when. The engine is a fake that knows the VM. */
#include "bare.h"
#include "common/clock.h"
#include "tests/unit/control/fixture.h"

TestSuite(client_freeze, .timeout = 60);

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
	cr_assert_eq(schedrig_start(waiter, &request, NULL, NULL, NULL, NULL, &err), 0);
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
