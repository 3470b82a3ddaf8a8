/* SPDX-License-Identifier: GPL-2.0-only */
/* Reads by handle. A client's own: one thread at a time, as its requests are; the engine behind it is any
 * thread's.
 *
 *   handle   | tag, 32 bits | number from 1 |     tag: of this boot's clients one, and of no other's
 */
#include "common/clock.h"
#include "host/engine/kernel_access.h"
#include "host/engine/validate.h"
#include "host/kmem/path.h"
#include "host/kmem/plan.h"
#include "host/vm/freeze.h"
#include "proto/pb.h"
#include "proto/wire.h"

#include <errno.h>
#include <string.h>

struct engine_prepared {
	struct engine *engine;
	uint32_t tag;
	struct plans {
		struct kmem_plan *plan;
		size_t n, size;
	} plans;
};

static int no_memory(struct err *err)
{
	return err_set_os(err, ERR_HOST, ENOMEM, "cannot prepare reads");
}

static void plans_deinit(struct plans *plans)
{
	for (size_t i = 0; i < plans->n; i++)
		kmem_plan_deinit(&plans->plan[i]);
	free(plans->plan);
	*plans = (struct plans){0};
}

static void plans_cut(struct plans *plans, size_t n)
{
	while (plans->n > n)
		kmem_plan_deinit(&plans->plan[--plans->n]);
}

struct engine_prepared *engine_prepared_new(struct engine *engine)
{
	struct engine_prepared *prepared = calloc(1, sizeof(*prepared));
	if (!prepared)
		return NULL;
	prepared->engine = engine;
	prepared->tag = atomic_fetch_add_explicit(&engine->next_tag, 1, memory_order_relaxed);
	return prepared;
}

void engine_prepared_free(struct engine_prepared *prepared)
{
	if (!prepared)
		return;
	plans_deinit(&prepared->plans);
	free(prepared);
}

static int plan_add(
	struct plans *plans, const struct kmem *kmem, const struct kmem_read *read, struct err *err)
{
	if (plans->n == ENGINE_PREPARED_MAX)
		return err_set(err, ERR_LIMIT_EXCEEDED,
			"a connection has at most %u prepared reads: replace those that are not needed",
			ENGINE_PREPARED_MAX);
	if (plans->n == plans->size) {
		size_t size = plans->size ? plans->size * 2 : 64;
		struct kmem_plan *grown = reallocarray(plans->plan, size, sizeof(*grown));
		if (!grown)
			return no_memory(err);
		plans->plan = grown;
		plans->size = size;
	}
	int r = kmem_plan_init(&plans->plan[plans->n], kmem, read, err);
	plans->n += r == 0;
	return r;
}

static Schedrig__V1__PreparedRead *answer_new(
	const struct engine_prepared *prepared, const struct kmem_plan *plan, size_t number, size_t entry)
{
	Schedrig__V1__PreparedRead *read = malloc(sizeof(*read));
	if (!read)
		return NULL;
	schedrig__v1__prepared_read__init(read);
	read->handle = (uint64_t)prepared->tag << 32 | (number + 1);
	read->entry = (uint32_t)entry;
	read->every_cpu = plan->target.every_cpu;
	read->cpu = plan->target.every_cpu ? plan->target.cpu : 0;
	read->length = (uint32_t)plan->length;
	const struct kmem_resolved *where = &plan->where;
	if (plan->width != KMEM_BYTES) {
		uint64_t size;
		read->bits = where->bit_size ? where->bit_size : 8 * (uint32_t)plan->width;
		read->is_signed = kernel_type_is_signed(where->btf, where->type, where->pointers) &&
				  (where->bit_size || (kbtf_size(where->btf, where->type, &size) == 0 &&
							      size == plan->length));
	}
	char *type = kernel_type_text(where->btf, where->type, where->pointers);
	if (!type) {
		free(read);
		return NULL;
	}
	read->type = type;
	return read;
}

/* One entry of a request: a plan, or one for each CPU. */
static int prepare_entry(
	struct plans *plans, const struct kmem *kmem, const Schedrig__V1__KernelRead *wire, struct err *err)
{
	struct kmem_read read = {.stable = wire->stable, .length = wire->length};
	struct cpuset cpus;
	int r = kernel_target_from_wire(wire->target, &read.target, err);
	if (r == 0)
		r = kernel_width_from_wire(wire->width, &read.width, err);
	if (r < 0)
		return r;
	if (read.target.form != KMEM_PATH || !kmem_path_is_star(read.target.field))
		return plan_add(plans, kmem, &read, err);
	r = kmem_online(kmem, &cpus, err);
	read.target.every_cpu = true;
	cpuset_for_each (cpu, &cpus) {
		read.target.cpu = (unsigned)cpu;
		if (r == 0)
			r = plan_add(plans, kmem, &read, err);
	}
	return r;
}

static int prepare_all(struct engine_prepared *prepared, const Schedrig__V1__PrepareRequest *request,
	struct plans *plans, Schedrig__V1__PrepareResponse *response, struct err *err)
{
	struct kmem *kmem = engine_kernel(prepared->engine, err);
	if (!kmem)
		return err_errno(err->code);
	size_t room = 0;
	for (size_t i = 0; i < request->n_reads; i++) {
		size_t first = plans->n;
		if (prepare_entry(plans, kmem, request->reads[i], err) < 0)
			return err_at(err, "reads[%zu]", i);
		if (response->n_reads + plans->n - first > room) {
			room = MAX_OF(2 * room, response->n_reads + plans->n - first);
			void *grown =
				reallocarray(response->reads, room, sizeof(Schedrig__V1__PreparedRead *));
			if (!grown)
				return no_memory(err);
			response->reads = grown;
		}
		for (size_t k = first; k < plans->n; k++) {
			Schedrig__V1__PreparedRead *read = answer_new(prepared, &plans->plan[k], k, i);
			if (!read)
				return no_memory(err);
			response->reads[response->n_reads++] = read;
		}
	}
	return 0;
}

int engine_prepare(struct engine_prepared *prepared, const Schedrig__V1__PrepareRequest *request,
	Schedrig__V1__PrepareResponse **ret, struct err *err)
{
	struct engine *engine = prepared->engine;
	Schedrig__V1__ReadRequest reads = SCHEDRIG__V1__READ_REQUEST__INIT;
	reads.n_reads = request->n_reads;
	reads.reads = request->reads;
	int r = kernel_check_reads(engine, &reads, err);
	if (r < 0)
		return r;
	_cleanup_(pb_free_p) Schedrig__V1__PrepareResponse *response = malloc(sizeof(*response));
	if (!response)
		return no_memory(err);
	schedrig__v1__prepare_response__init(response);
	if (!request->replace) {
		size_t before = prepared->plans.n;
		r = prepare_all(prepared, request, &prepared->plans, response, err);
		if (r < 0)
			plans_cut(&prepared->plans, before);
	} else {
		/* A new tag: no old handle means a new read. */
		uint32_t before = prepared->tag;
		_cleanup_(plans_deinit) struct plans plans = {0};
		prepared->tag = atomic_fetch_add_explicit(&engine->next_tag, 1, memory_order_relaxed);
		r = prepare_all(prepared, request, &plans, response, err);
		if (r < 0) {
			prepared->tag = before;
		} else {
			struct plans old = prepared->plans;
			prepared->plans = plans;
			plans = old;
		}
	}
	if (r == 0)
		*ret = TAKE_PTR(response);
	return r;
}

/* ---- reading */

/* What is read, before it is a message. */
struct reading {
	uint64_t *value; /* [n] */
	uint8_t *data;
	size_t data_bytes;
	Schedrig__V1__PreparedFailure **failure;
	size_t n_failures, failures_size;
};

static void reading_deinit(struct reading *reading)
{
	free(reading->value);
	free(reading->data);
	for (size_t i = 0; i < reading->n_failures; i++)
		schedrig__v1__prepared_failure__free_unpacked(reading->failure[i], NULL);
	free(reading->failure);
}

static int failure_add(struct reading *reading, size_t entry, const struct err *why, struct err *err)
{
	if (reading->n_failures == reading->failures_size) {
		size_t size = reading->failures_size ? reading->failures_size * 2 : 16;
		void *grown = reallocarray(reading->failure, size, sizeof(*reading->failure));
		if (!grown)
			return no_memory(err);
		reading->failure = grown;
		reading->failures_size = size;
	}
	Schedrig__V1__PreparedFailure *failure = malloc(sizeof(*failure));
	if (!failure)
		return no_memory(err);
	schedrig__v1__prepared_failure__init(failure);
	failure->entry = (uint32_t)entry;
	failure->error = error_message(why);
	if (!failure->error) {
		free(failure);
		return no_memory(err);
	}
	reading->failure[reading->n_failures++] = failure;
	return 0;
}

static const struct kmem_plan *find(const struct engine_prepared *prepared, uint64_t handle)
{
	uint64_t number = handle & UINT32_MAX;
	return handle >> 32 == prepared->tag && number > 0 && number <= prepared->plans.n
		       ? &prepared->plans.plan[number - 1]
		       : NULL;
}

static int stale(uint64_t handle, struct err *err)
{
	err_set(err, ERR_FAILED_PRECONDITION,
		"handle 0x%llx is none of this connection's: prepare the read again, since handles end with "
		"their connection, with the VM, and when they are replaced",
		(unsigned long long)handle);
	return err_reason(err, "stale-handle");
}

/* Reserves what all entries of bytes need: the buffer must not grow while the VM is frozen. */
static int reading_init(struct reading *reading, const struct engine_prepared *prepared,
	const Schedrig__V1__ReadPreparedRequest *request, struct err *err)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < request->n_handles; i++) {
		const struct kmem_plan *plan = find(prepared, request->handles[i]);
		bytes += plan && plan->width == KMEM_BYTES ? plan->length : 0;
	}
	if (bytes > KMEM_BATCH_BYTES_MAX)
		return err_set(err, ERR_LIMIT_EXCEEDED, "a batch moves at most %llu MiB",
			(unsigned long long)(KMEM_BATCH_BYTES_MAX >> 20));
	reading->value = calloc(request->n_handles, sizeof(*reading->value));
	reading->data = malloc(bytes ? bytes : 1);
	return reading->value && reading->data ? 0 : no_memory(err);
}

static int read_all(struct reading *reading, const struct engine_prepared *prepared,
	const Schedrig__V1__ReadPreparedRequest *request, const struct kmem *kmem, bool frozen,
	struct err *err)
{
	struct kmem_plan_turn turn;
	struct err why = ERR_INIT;
	int r = kmem_plan_turn_init(&turn, kmem, frozen, err);
	for (size_t i = 0; r == 0 && i < request->n_handles; i++) {
		const struct kmem_plan *plan = find(prepared, request->handles[i]);
		int failed = plan ? kmem_plan_read(&turn, plan, &reading->value[i],
					    reading->data + reading->data_bytes, &why)
				  : stale(request->handles[i], &why);
		if (failed < 0) {
			r = failure_add(reading, i, &why, err);
		} else if (plan->width == KMEM_BYTES) {
			reading->value[i] = reading->data_bytes;
			reading->data_bytes += plan->length;
		}
	}
	return r;
}

int engine_read_prepared(struct engine_prepared *prepared, const Schedrig__V1__ReadPreparedRequest *request,
	const struct freeze *held, Schedrig__V1__ReadPreparedResponse **ret, struct err *err)
{
	struct engine *engine = prepared->engine;
	size_t n = request->n_handles;
	if (n == 0 || n > LIMIT_KERNEL_BATCH)
		return err_set(err, n ? ERR_LIMIT_EXCEEDED : ERR_INVALID_ARGUMENT,
			"%zu handles: 1 to %u are possible", n, LIMIT_KERNEL_BATCH);
	_cleanup_(pb_free_p) Schedrig__V1__ReadPreparedResponse *response = malloc(sizeof(*response));
	if (!response)
		return no_memory(err);
	schedrig__v1__read_prepared_response__init(response);
	_cleanup_(reading_deinit) struct reading reading = {0};
	const struct kernel_way way = {
		.cold = request->cold, .held = held, .deadline_ns = clock_deadline_ns(FREEZE_TURN_NS)};
	struct kernel_turn turn;
	int r = reading_init(&reading, prepared, request, err);
	if (r < 0 || kernel_turn_begin(engine, &way, &turn, err) < 0)
		return err_errno(err->code);
	r = read_all(&reading, prepared, request, turn.kmem, turn.freeze != NULL, err);
	response->freeze = kernel_turn_end(&turn);
	if (r < 0)
		return r;
	response->n_values = n;
	response->values = TAKE_PTR(reading.value);
	response->data.len = reading.data_bytes;
	if (reading.data_bytes)
		response->data.data = TAKE_PTR(reading.data);
	response->n_failures = reading.n_failures;
	response->failures = TAKE_PTR(reading.failure);
	reading.n_failures = 0;
	*ret = TAKE_PTR(response);
	return 0;
}
