/* SPDX-License-Identifier: GPL-2.0-only */
/* Lists of ops in a freeze of their client's: control, engine and client are the real ones, on a bare guest
 * in the memory of a made-up kernel. */
#include "bare.h"
#include "common/clock.h"
#include "common/loop.h"
#include "host/client/schedrig.h"
#include "host/control/control.h"
#include "host/engine/engine.h"
#include "host/snapshot/store.h"
#include "host/vm/vm_internal.h"
#include "proto/pb.h"
#include "tests/unit/kmem/fake_kernel.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(held_ops, .timeout = 120);

BARE_GUEST(held_counts, "1: incq (%rdi)\n jmp 1b");

#define OPS 4u
/* A word that no vCPU looks at. */
#define WORD_AT 0x3800000u

static struct fake_kernel fake;
static struct bare *bare;
static struct engine *engine;
static struct snapshot_store *snapshots;
static struct loop *loop;
static struct control *control;
static pthread_t loop_thread;
static char directory[64], path[128];

static struct kmem *the_kernel(void *arg, struct err *err)
{
	return fake.kmem;
}

static void on_event(const Schedrig__V1__Event *event, void *arg)
{
	control_event(control, event);
}

static void *run_loop(void *arg)
{
	loop_run(loop);
	return NULL;
}

static void on_idle(void *arg)
{
	loop_stop(loop);
}

static void stop(void *arg)
{
	control_stop(control, "the test is over", on_idle, NULL);
}

static void begin(void)
{
	static struct cpu_layout layout = {.n_cpus = 1, .n_nodes = 1, .n_llcs = 1, .n_cores = 1};
	struct err err = ERR_INIT;
	fake_kernel_init(&fake);
	bare = bare_new_on(&fake.memory, 1, held_counts, held_counts_end, 0);
	strcpy(directory, "/tmp/schedrig-test.XXXXXX");
	cr_assert_not_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/vm.sock", directory);
	snapshots = snapshot_store_new(SNAPSHOT_STORE_BYTES, &err);
	struct engine_config config = {.layout = &layout,
		.topology = "1n1l1c1t",
		.vm = bare->vm,
		.kmem = the_kernel,
		.snapshots = snapshots,
		.event = on_event};
	engine = engine_new(&config, &err);
	loop = loop_new(&err);
	cr_assert(snapshots && engine && loop, "%s", err.message);
	control = control_new(
		&(struct control_config){.loop = loop, .path = path, .engine = engine, .build = "test"},
		&err);
	cr_assert_not_null(control, "%s", err.message);
	control_set_ready(control);
	cr_assert_eq(pthread_create(&loop_thread, NULL, run_loop, NULL), 0);
	bare_start(bare);
	bare_wait_all_running(bare);
}

static void end(void)
{
	cr_assert_eq(loop_call(loop, stop, NULL), 0);
	pthread_join(loop_thread, NULL);
	control_free(control);
	cr_assert_not(vm_is_frozen(bare->vm));
	engine_free(engine);
	snapshot_store_free(snapshots);
	loop_free(loop);
	bare_free(bare);
	fake_kernel_deinit(&fake);
	cr_assert_eq(rmdir(directory), 0);
}

static struct schedrig *client_open(void)
{
	struct err err = ERR_INIT;
	struct schedrig *client = schedrig_open(path, &err);
	cr_assert_not_null(client, "%s", err.message);
	return client;
}

static void freeze(struct schedrig *client)
{
	struct err err = ERR_INIT;
	Schedrig__V1__Frozen *frozen = NULL;
	cr_assert_eq(schedrig_freeze(client, NULL, &frozen, &err), 0, "%s", err.message);
	schedrig_free_message(frozen);
}

static void thaw(struct schedrig *client)
{
	struct err err = ERR_INIT;
	Schedrig__V1__Thawed *thawed = NULL;
	cr_assert_eq(schedrig_thaw(client, &thawed, &err), 0, "%s", err.message);
	schedrig_free_message(thawed);
}

/* A list of at most OPS ops, on the stack of the test. */
struct list {
	Schedrig__V1__Op op[OPS], *ops[OPS];
	Schedrig__V1__ReadKernelCold cold;
	Schedrig__V1__ReadKernelHot hot;
	Schedrig__V1__WriteKernelCold write;
	Schedrig__V1__CaptureSnapshot capture;
	Schedrig__V1__AddCgroup add;
	Schedrig__V1__KernelRead read, *reads[1];
	Schedrig__V1__KernelWrite one, *writes[1];
	Schedrig__V1__Target target;
	Schedrig__V1__AddressTarget phys;
	Schedrig__V1__Value value;
	Schedrig__V1__Uint64Value number;
	Schedrig__V1__Duration timeout;
	Schedrig__V1__ApplyRequest apply;
	Schedrig__V1__Request request;
};

/* kinds: one letter for each op: r(ead cold), h(ot read), w(rite cold), c(apture), a(dd a cgroup). */
static void list_init(struct list *list, const char *kinds, uint64_t timeout_ns)
{
	schedrig__v1__read_kernel_cold__init(&list->cold);
	schedrig__v1__read_kernel_hot__init(&list->hot);
	schedrig__v1__write_kernel_cold__init(&list->write);
	schedrig__v1__capture_snapshot__init(&list->capture);
	schedrig__v1__add_cgroup__init(&list->add);
	schedrig__v1__kernel_read__init(&list->read);
	schedrig__v1__kernel_write__init(&list->one);
	schedrig__v1__target__init(&list->target);
	schedrig__v1__address_target__init(&list->phys);
	schedrig__v1__value__init(&list->value);
	schedrig__v1__uint64_value__init(&list->number);
	schedrig__v1__duration__init(&list->timeout);
	schedrig__v1__apply_request__init(&list->apply);
	schedrig__v1__request__init(&list->request);
	list->phys.address = WORD_AT;
	list->target.form_case = SCHEDRIG__V1__TARGET__FORM_PHYS;
	list->target.phys = &list->phys;
	list->read.target = list->one.target = &list->target;
	list->read.width = SCHEDRIG__V1__WIDTH__WIDTH_U64;
	list->number.value = 77;
	list->value.form_case = SCHEDRIG__V1__VALUE__FORM_U64;
	list->value.u64 = &list->number;
	list->one.value = &list->value;
	list->reads[0] = &list->read;
	list->writes[0] = &list->one;
	list->cold.n_reads = list->hot.n_reads = list->write.n_writes = 1;
	list->cold.reads = list->hot.reads = list->reads;
	list->write.writes = list->writes;
	list->capture.name = (char *)"within";
	list->add.name = (char *)"group";
	list->timeout.ns = timeout_ns;
	for (unsigned i = 0; kinds[i]; i++) {
		Schedrig__V1__Op *op = list->ops[i] = &list->op[i];
		schedrig__v1__op__init(op);
		if (timeout_ns)
			op->timeout = &list->timeout;
		switch (kinds[i]) {
		case 'r':
			op->kind_case = SCHEDRIG__V1__OP__KIND_READ_KERNEL_COLD;
			op->read_kernel_cold = &list->cold;
			break;
		case 'h':
			op->kind_case = SCHEDRIG__V1__OP__KIND_READ_KERNEL_HOT;
			op->read_kernel_hot = &list->hot;
			break;
		case 'w':
			op->kind_case = SCHEDRIG__V1__OP__KIND_WRITE_KERNEL_COLD;
			op->write_kernel_cold = &list->write;
			break;
		case 'c':
			op->kind_case = SCHEDRIG__V1__OP__KIND_CAPTURE_SNAPSHOT;
			op->capture_snapshot = &list->capture;
			break;
		default:
			op->kind_case = SCHEDRIG__V1__OP__KIND_ADD_CGROUP;
			op->add_cgroup = &list->add;
			break;
		}
	}
	list->apply.n_ops = strlen(kinds);
	list->apply.ops = list->ops;
	list->request.kind_case = SCHEDRIG__V1__REQUEST__KIND_APPLY;
	list->request.apply = &list->apply;
}

/* Negative as schedrig_apply(). */
static int apply(struct schedrig *client, const char *kinds, uint64_t timeout_ns,
	Schedrig__V1__ApplyResponse **ret, struct err *err)
{
	struct list list;
	*err = ERR_INIT;
	list_init(&list, kinds, timeout_ns);
	return schedrig_apply(client, &list.apply, 0, ret, err);
}

Test(held_ops, cold_ops_and_captures_use_the_clients_freeze)
{
	begin();
	struct schedrig *one = client_open(), *two = client_open();
	struct err err = ERR_INIT;
	Schedrig__V1__ApplyResponse *response = NULL;
	uint64_t freezes = vm_freeze_count(bare->vm);
	/* Each has its own when nobody holds one. */
	cr_assert_eq(apply(one, "wrch", 0, &response, &err), 0, "%s: %s", err.place, err.message);
	cr_assert_eq(vm_freeze_count(bare->vm), freezes + 3);
	cr_assert_gt(response->results[2]->freeze->frozen_ns, 0);
	schedrig_free_message(response);

	freeze(one);
	freezes = vm_freeze_count(bare->vm);
	uint64_t at = bare_cell(bare, 0);
	cr_assert_eq(apply(one, "wrch", 0, &response, &err), 0, "%s: %s", err.place, err.message);
	cr_assert_eq(vm_freeze_count(bare->vm), freezes, "it worked in a freeze of its own");
	cr_assert_eq(bare_cell(bare, 0), at);
	cr_assert_eq(response->n_results, 4);
	cr_assert_eq(response->results[1]->reads[0]->value, 77);
	cr_assert_eq(response->results[3]->reads[0]->value, 77);
	cr_assert_not_null(response->results[2]->snapshot);
	/* Not over yet, so nobody knows how long it was. */
	cr_assert_eq(response->results[2]->freeze->frozen_ns, 0);
	schedrig_free_message(response);

	/* Another client's has to wait for its turn; what is hot has none to wait for. */
	cr_assert_lt(apply(two, "r", 50 * NS_PER_MS, &response, &err), 0);
	cr_assert_eq(err.code, ERR_TIMEOUT, "%s", err.message);
	schedrig_free_message(response);
	cr_assert_eq(apply(two, "h", 0, &response, &err), 0, "%s", err.message);
	schedrig_free_message(response);
	thaw(one);
	bare_wait_moved(bare, 0, at);
	cr_assert_eq(apply(two, "r", 0, &response, &err), 0, "%s", err.message);
	schedrig_free_message(response);
	schedrig_close(one);
	schedrig_close(two);
	end();
}

Test(held_ops, ops_of_the_guest_are_refused_before_anything_is_done)
{
	begin();
	struct schedrig *client = client_open();
	struct err err = ERR_INIT;
	Schedrig__V1__ApplyResponse *response = NULL;
	freeze(client);
	cr_assert_lt(apply(client, "wha", 0, &response, &err), 0);
	cr_assert_eq(err.code, ERR_FAILED_PRECONDITION);
	cr_assert_str_eq(err.reason, "own-freeze");
	cr_assert_str_eq(err.place, "ops[2]");
	cr_assert_str_eq(err.message,
		"AddCgroup needs the guest to run, but this client's own freeze holds the VM: thaw it first");
	cr_assert_eq(response->n_results, 0);
	schedrig_free_message(response);
	cr_assert_eq(apply(client, "h", 0, &response, &err), 0, "%s", err.message);
	cr_assert_eq(response->results[0]->reads[0]->value, 0, "the write before it was done");
	schedrig_free_message(response);
	schedrig_close(client);
	end();
}

struct answer {
	bool came;
	enum err_code code;
};

static void take_answer(const struct err *err, Schedrig__V1__Response *response, void *arg)
{
	struct answer *answer = arg;
	*answer = (struct answer){true, err->code};
	schedrig_free_message(response);
}

static unsigned n_waiters(void)
{
	SCOPE_LOCK(&bare->vm->freeze_lock);
	return bare->vm->n_waiters;
}

/* One who waits for the end of the freeze is not in the way of those who work in it. */
Test(held_ops, waiting_for_the_end_of_a_freeze_keeps_nobody_from_working_in_it)
{
	begin();
	struct schedrig *one = client_open(), *two = client_open();
	struct err err = ERR_INIT;
	struct list list;
	struct answer answer = {0};
	Schedrig__V1__ApplyResponse *response = NULL;
	freeze(one);
	list_init(&list, "c", 0);
	cr_assert_eq(schedrig_start(two, &list.request, NULL, take_answer, &answer, NULL, &err), 0);
	cr_assert_eq(schedrig_process(two, &err), 0);
	bare_wait(n_waiters() == 1, "the other client waits for its turn");
	cr_assert_eq(apply(one, "crw", 0, &response, &err), 0, "%s: %s", err.place, err.message);
	cr_assert_eq(response->n_results, 3);
	schedrig_free_message(response);
	cr_assert_eq(n_waiters(), 1);
	thaw(one);
	while (!answer.came)
		cr_assert_eq(schedrig_wait(two, 20000, &err), 0, "%s", err.message);
	cr_assert_eq(answer.code, ERR_NONE);
	schedrig_close(one);
	schedrig_close(two);
	end();
}

/* What is hot goes on; what was to be in the freeze does not begin once it is wanted back. */
Test(held_ops, a_freeze_that_is_wanted_back_ends_the_list)
{
	begin();
	atomic_bool wanted_back = true;
	struct freeze *own = bare_freeze(bare);
	const struct engine_held held = {.freeze = own, .wanted_back = &wanted_back};
	struct err err = ERR_INIT;
	struct list list;
	Schedrig__V1__ApplyResponse *response = NULL;
	list_init(&list, "hrh", 0);
	cr_assert_lt(engine_apply(engine, &list.apply, &held, &response, &err), 0);
	cr_assert_eq(err.code, ERR_CANCELLED, "%s", err.message);
	cr_assert_str_eq(err.reason, "freeze-over");
	cr_assert_str_eq(err.place, "ops[1]");
	cr_assert_eq(response->n_results, 1);
	pb_free(response);
	atomic_store(&wanted_back, false);
	err = ERR_INIT;
	cr_assert_eq(engine_apply(engine, &list.apply, &held, &response, &err), 0, "%s", err.message);
	cr_assert_eq(response->n_results, 3);
	pb_free(response);
	vm_thaw(own, NULL);
	end();
}
