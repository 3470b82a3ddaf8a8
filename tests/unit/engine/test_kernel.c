/* SPDX-License-Identifier: GPL-2.0-only */
/* Kernel memory through the engine's requests, on a made-up kernel: every target and value from the wire,
 * what comes back, and where errors point. */
#include "bench.h"
#include "host/engine/engine.h"
#include "host/text/text.h"
#include "proto/pb.h"
#include "proto/wire.h"
#include "tests/unit/kmem/fake_kernel.h"

static struct fake_kernel fake;
static struct cpu_layout layout;
static struct engine *engine;

static struct kmem *the_kernel(void *arg, struct err *err)
{
	return fake.kmem;
}

static void no_event(const Schedrig__V1__Event *event, void *arg)
{
}

static void setup(void)
{
	fake_kernel_init(&fake);
	layout = bench_layout();
	struct engine_config config = {
		.layout = &layout, .topology = "2n4l2c1t", .kmem = the_kernel, .event = no_event};
	engine = engine_new(&config, NULL);
	cr_assert_not_null(engine);
	for (unsigned cpu = 0; cpu < FAKE_CPUS; cpu++)
		*(uint32_t *)fake_ptr(&fake, fake_rq_gpa(cpu)) = 10 + cpu;
	*(uint64_t *)fake_ptr(&fake, fake_rq_gpa(0) + 24) = FAKE_PAGE_OFFSET + fake_rq_gpa(1);
	*(uint64_t *)fake_data(&fake, FAKE_WORD) = 0x1122334455667788;
}

static void teardown(void)
{
	engine_free(engine);
	fake_kernel_deinit(&fake);
}

TestSuite(kernel, .init = setup, .fini = teardown);

static void *load(const ProtobufCMessageDescriptor *type, const char *text)
{
	static struct text_errors errors;
	ProtobufCMessage *message = NULL;
	int r = text_load(type, text, strlen(text), &message, NULL, &errors);
	cr_assert_eq(r, 0, "%s\n%s", text, errors.error[0].err.message);
	return message;
}

static Schedrig__V1__ReadResponse *read_all(const char *text, struct err *err)
{
	Schedrig__V1__ReadRequest *request = load(&schedrig__v1__read_request__descriptor, text);
	Schedrig__V1__ReadResponse *response = NULL;
	*err = ERR_INIT;
	int r = engine_read(engine, request, NULL, &response, err);
	cr_assert_eq(r == 0, response != NULL);
	pb_free(request);
	return response;
}

static Schedrig__V1__ReadResponse *write_all(const char *text, struct err *err)
{
	Schedrig__V1__WriteRequest *request = load(&schedrig__v1__write_request__descriptor, text);
	Schedrig__V1__ReadResponse *response = NULL;
	*err = ERR_INIT;
	int r = engine_write(engine, request, NULL, &response, err);
	cr_assert_eq(r == 0, response != NULL);
	pb_free(request);
	return response;
}

Test(kernel, every_target_reads)
{
	struct err err;
	Schedrig__V1__ReadResponse *r = read_all("{reads: [{tag: a, symbol: word, width: u64}, {symbol: "
						 "{name: word, offset: 4}, width: u16},\n"
						 " {path: 'runqueues@0.next->nr_running'}, {per_cpu_field: "
						 "{symbol: runqueues, field: nr_running, cpu: 2}},\n"
						 " {direct: 0xffff888002000000, width: u32}, {phys: "
						 "0x2010000, width: u8}, {path: 'runqueues@1'},\n"
						 " {phys: 0x2000000, width: bytes, length: 3}]}",
		&err);
	cr_assert_not_null(r, "%s: %s", err.place, err.message);
	cr_assert_eq(r->n_values, 8);
	static const uint64_t want[] = {0x1122334455667788, 0x3344, 11, 12, 10, 11};
	for (unsigned i = 0; i < ARRAY_SIZE(want); i++) {
		cr_assert_eq(r->values[i]->value, want[i], "%u: 0x%llx", i,
			(unsigned long long)r->values[i]->value);
		cr_assert_eq(r->values[i]->entry, i);
	}
	cr_assert_str_eq(r->values[0]->tag, "a");
	cr_assert_eq(r->values[2]->width, 4);
	cr_assert_str_eq(r->values[2]->type, "int");
	cr_assert_eq(r->values[5]->width, 1);
	cr_assert_str_eq(r->values[6]->type, "struct rq");
	cr_assert_eq(r->values[6]->data.len, 32);
	cr_assert_eq(r->values[6]->data.data[0], 11);
	cr_assert_eq(r->values[7]->data.len, 3);
	cr_assert_null(r->freeze);
	pb_free(r);
}

Test(kernel, star_reads_every_online_cpu)
{
	struct err err;
	Schedrig__V1__ReadResponse *r =
		read_all("{reads: [{path: jiffies_64, width: u64}, {path: 'runqueues@*.nr_running'}]}", &err);
	cr_assert_not_null(r, "%s", err.message);
	cr_assert_eq(r->n_values, 4);
	for (unsigned cpu = 0; cpu < 3; cpu++) {
		const Schedrig__V1__ReadValue *value = r->values[1 + cpu];
		cr_assert(value->every_cpu);
		cr_assert_eq(value->cpu, cpu);
		cr_assert_eq(value->entry, 1);
		cr_assert_eq(value->value, 10 + cpu);
	}
	pb_free(r);
	/* The entry asked for is named, not the one it became. */
	cr_assert_null(
		read_all("{reads: [{path: 'runqueues@*.nr_running'}, {path: 'runqueues@1.nope'}]}", &err));
	cr_assert_eq(err.code, ERR_NOT_FOUND);
	cr_assert_str_eq(err.place, "reads[1]");
	cr_assert_not_null(strstr(err.message, "column 13"), "%s", err.message);
}

Test(kernel, every_value_writes)
{
	static const struct {
		const char *value;
		uint64_t before, after;
		bool has_old;
	} cases[] = {
		{"u8: 1", 0xffff, 0xff01, false},
		{"u16: 2", 0xfffff, 0xf0002, false},
		{"u32: 3, want_old: true", 0xfffffffff, 0xf00000003, true},
		{"u64: 4, verify: true", 5, 4, false},
		{"or_u32: 6", 0x100000001, 0x100000007, false},
		{"and_u32: 6", 0x100000003, 0x100000002, false},
		{"xor_u32: 6", 0x100000003, 0x100000005, false},
		{"add_u32: 0xffffffff", 0x100000003, 0x100000002, false},
		{"or_u64: 0x8000000000000000, want_old: true", 1, UINT64_C(0x8000000000000001), true},
		{"and_u64: 2", 3, 2, false},
		{"xor_u64: 1", 3, 2, false},
		{"add_u64: 0xffffffffffffffff", 3, 2, false},
		{"cas_u32: {expected: 3, new: 9}", 3, 9, true},
		{"cas_u64: {expected: 4, new: 9}", 3, 3, true},
		{"bytes: {data: '010203'}, want_old: true", 0xffffffff, 0xff030201, true},
	};
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[256];
		struct err err;
		uint64_t *word = fake_data(&fake, FAKE_WORD);
		*word = cases[i].before;
		snprintf(text, sizeof(text), "{writes: [{symbol: word, %s}]}", cases[i].value);
		Schedrig__V1__ReadResponse *r = write_all(text, &err);
		cr_assert_not_null(r, "%s: %s", text, err.message);
		cr_assert_eq(*word, cases[i].after, "%s: 0x%llx", text, (unsigned long long)*word);
		cr_assert_eq(r->n_values, cases[i].has_old, "%s", text);
		if (r->n_values && r->values[0]->data.len)
			cr_assert_eq(r->values[0]->data.data[2], 0xff);
		else if (r->n_values)
			cr_assert_eq(r->values[0]->value,
				r->values[0]->width == 4 ? (uint32_t)cases[i].before : cases[i].before);
		pb_free(r);
	}
}

Test(kernel, one_bad_write_and_nothing_is_written)
{
	static const struct {
		const char *second, *place, *reason;
		enum err_code code;
	} cases[] = {
		{"path: 'runqueues@1.nr_running', u64: 1", "writes[1]", "width", ERR_INVALID_ARGUMENT},
		{"path: 'runqueues@1.high', u32: 1", "writes[1]", "bit-field", ERR_INVALID_ARGUMENT},
		{"path: 'runqueues@3.nr_running', u32: 1", "writes[1]", "cpu-offline",
			ERR_FAILED_PRECONDITION},
		{"path: 'runqueues@*.nr_running', u32: 1", "writes[1].path", "", ERR_INVALID_ARGUMENT},
		{"symbol: nothing, u32: 1", "writes[1]", "", ERR_NOT_FOUND},
		{"symbol: twin, u32: 1", "writes[1]", "", ERR_AMBIGUOUS},
		{"kva: 0xffffc90000000000, u32: 1", "writes[1]", "", ERR_UNMAPPED},
		{"phys: 0x4000000, u32: 1", "writes[1]", "", ERR_UNMAPPED},
		{"direct: 5, u32: 1", "writes[1]", "", ERR_INVALID_ARGUMENT},
		{"kva: 5, from_read: t", "writes[1]", "", ERR_INVALID_ARGUMENT},
		{"symbol: word, u8: 256", "writes[1]", "", ERR_INVALID_ARGUMENT},
	};
	uint64_t before = *(uint64_t *)fake_data(&fake, FAKE_WORD);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[256];
		struct err err;
		snprintf(text, sizeof(text), "{writes: [{symbol: word, u64: 1}, {%s}]}", cases[i].second);
		cr_assert_null(write_all(text, &err), "%s", text);
		cr_assert_eq(err.code, cases[i].code, "%s: %s", text, err.message);
		cr_assert_str_eq(err.place, cases[i].place, "%s: %s", text, err.message);
		cr_assert_str_eq(err.reason, cases[i].reason, "%s: %s", text, err.message);
		cr_assert_eq(*(uint64_t *)fake_data(&fake, FAKE_WORD), before, "%s", text);
	}
	struct err err;
	cr_assert_null(write_all("{writes: [{symbol: word, u64: 1}], cold: true}", &err));
	cr_assert_eq(err.code, ERR_FAILED_PRECONDITION, "%s", err.message);
}

Test(kernel, resolves)
{
	Schedrig__V1__ResolveRequest *request = load(&schedrig__v1__resolve_request__descriptor,
		"{targets: [{path: 'runqueues@*.next'}, {path: 'runqueues@1.high'}, {symbol: word}, {phys: "
		"4096}]}");
	Schedrig__V1__ResolveResponse *r = NULL;
	struct err err = ERR_INIT;
	cr_assert_eq(engine_resolve(engine, request, &r, &err), 0, "%s", err.message);
	cr_assert_eq(r->n_places, 6);
	cr_assert_eq(r->places[2]->cpu, 2);
	cr_assert_eq(r->places[2]->address, FAKE_PAGE_OFFSET + fake_rq_gpa(2) + 24);
	cr_assert_str_eq(r->places[2]->type, "struct rq *");
	cr_assert_eq(r->places[3]->bit_offset, 3);
	cr_assert_eq(r->places[3]->bit_size, 5);
	cr_assert_str_eq(r->places[4]->symbol, "word+0x0");
	cr_assert(r->places[5]->physical);
	pb_free(r);
	pb_free(request);
	request = load(
		&schedrig__v1__resolve_request__descriptor, "{targets: [{symbol: word}, {symbol: wort}]}");
	cr_assert_lt(engine_resolve(engine, request, &r, &err), 0);
	cr_assert_str_eq(err.place, "targets[1]");
	cr_assert_not_null(strstr(err.message, "'word'"), "%s", err.message);
	pb_free(request);
}

Test(kernel, symbols_and_types)
{
	Schedrig__V1__SymbolsRequest symbols = SCHEDRIG__V1__SYMBOLS_REQUEST__INIT;
	Schedrig__V1__SymbolsResponse *s = NULL;
	struct err err = ERR_INIT;
	symbols.pattern = (char *)"tw*n";
	cr_assert_eq(engine_symbols(engine, &symbols, &s, &err), 0, "%s", err.message);
	cr_assert_eq(s->n_symbols, 2);
	cr_assert_eq(s->symbols[1]->address, FAKE_TEXT + 0x300);
	pb_free(s);
	symbols.limit = 1;
	cr_assert_eq(engine_symbols(engine, &symbols, &s, &err), 0);
	cr_assert(s->more && s->n_symbols == 1);
	pb_free(s);
	symbols.pattern = (char *)"runqueues";
	cr_assert_eq(engine_symbols(engine, &symbols, &s, &err), 0);
	cr_assert(s->symbols[0]->per_cpu);
	cr_assert_str_eq(s->symbols[0]->type, "struct rq");
	pb_free(s);
	symbols.pattern = (char *)"runqueue";
	cr_assert_lt(engine_symbols(engine, &symbols, &s, &err), 0);
	cr_assert_not_null(strstr(err.message, "'runqueues'"), "%s", err.message);
	symbols.pattern = (char *)"*a*a*a*a*a*";
	cr_assert_lt(engine_symbols(engine, &symbols, &s, &err), 0);

	Schedrig__V1__TypesRequest types = SCHEDRIG__V1__TYPES_REQUEST__INIT;
	Schedrig__V1__TypesResponse *t = NULL;
	static const char *const names[] = {"struct rq", "rq", "runqueues"};
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		types.name = (char *)names[i];
		cr_assert_eq(engine_types(engine, &types, &t, &err), 0, "%s", err.message);
		cr_assert_eq(t->n_types, 1);
		cr_assert_str_eq(t->types[0]->name, "struct rq");
		cr_assert_eq(t->types[0]->size, 32);
		/* nr_running, the nameless union with its two, low, high, next */
		cr_assert_eq(t->types[0]->n_members, 7);
		cr_assert_str_eq(t->types[0]->members[3]->name, "arr");
		cr_assert_str_eq(t->types[0]->members[3]->type, "int[4]");
		cr_assert_eq(t->types[0]->members[3]->offset, 4);
		cr_assert_eq(t->types[0]->members[3]->depth, 1);
		cr_assert_eq(t->types[0]->members[5]->bit_size, 5);
		pb_free(t);
	}
	types.name = (char *)"struct rqq";
	cr_assert_lt(engine_types(engine, &types, &t, &err), 0);
	cr_assert_not_null(strstr(err.message, "'rq'"), "%s", err.message);
}

/* ---- reads by handle */

static Schedrig__V1__PrepareResponse *prepare(
	struct engine_prepared *prepared, const char *text, struct err *err)
{
	Schedrig__V1__PrepareRequest *request = load(&schedrig__v1__prepare_request__descriptor, text);
	Schedrig__V1__PrepareResponse *response = NULL;
	*err = ERR_INIT;
	int r = engine_prepare(prepared, request, &response, err);
	cr_assert_eq(r == 0, response != NULL);
	pb_free(request);
	return response;
}

static Schedrig__V1__ReadPreparedResponse *read_handles(
	struct engine_prepared *prepared, uint64_t *handles, size_t n, bool cold, struct err *err)
{
	Schedrig__V1__ReadPreparedRequest request = SCHEDRIG__V1__READ_PREPARED_REQUEST__INIT;
	Schedrig__V1__ReadPreparedResponse *response = NULL;
	request.n_handles = n;
	request.handles = handles;
	request.cold = cold;
	*err = ERR_INIT;
	int r = engine_read_prepared(prepared, &request, NULL, &response, err);
	cr_assert_eq(r == 0, response != NULL, "%s", err->message);
	return response;
}

Test(kernel, reads_by_handle)
{
	struct engine_prepared *prepared = engine_prepared_new(engine);
	struct err err;
	Schedrig__V1__PrepareResponse *p = prepare(prepared,
		"{reads: [{path: 'runqueues@*.nr_running'}, {path: 'runqueues@1'}, {path: "
		"'runqueues@0.next->high'}, "
		"{symbol: word, width: u64}]}",
		&err);
	cr_assert_not_null(p, "%s", err.message);
	cr_assert_eq(p->n_reads, 6);
	cr_assert(p->reads[2]->every_cpu && p->reads[2]->cpu == 2 && p->reads[2]->entry == 0);
	cr_assert_eq(p->reads[0]->bits, 32);
	cr_assert_eq(p->reads[3]->length, 32);
	cr_assert_eq(p->reads[3]->bits, 0);
	cr_assert_eq(p->reads[4]->bits, 5);
	cr_assert_str_eq(p->reads[3]->type, "struct rq");
	uint64_t handles[8];
	for (unsigned i = 0; i < 6; i++) {
		handles[i] = p->reads[i]->handle;
		cr_assert_eq(handles[i], handles[0] + i);
	}
	handles[6] = handles[1];
	Schedrig__V1__ReadPreparedResponse *r = read_handles(prepared, handles, 7, false, &err);
	cr_assert_not_null(r, "%s", err.message);
	cr_assert_eq(r->n_values, 7);
	cr_assert_eq(r->n_failures, 0);
	cr_assert_eq(r->values[0], 10);
	cr_assert_eq(r->values[2], 12);
	cr_assert_eq(r->values[3], 0);
	cr_assert_eq(r->data.len, 32);
	cr_assert_eq(*(uint32_t *)r->data.data, 11);
	cr_assert_eq(r->values[5], 0x1122334455667788);
	cr_assert_eq(r->values[6], 11);
	pb_free(r);
	pb_free(p);
	engine_prepared_free(prepared);
}

Test(kernel, handles_fail_alone_and_are_of_one_client)
{
	struct engine_prepared *mine = engine_prepared_new(engine), *other = engine_prepared_new(engine);
	struct err err;
	Schedrig__V1__PrepareResponse *p = prepare(mine,
		"{reads: [{path: 'runqueues@0.next->nr_running'}, {symbol: jiffies_64, width: u64}]}", &err);
	Schedrig__V1__PrepareResponse *q =
		prepare(other, "{reads: [{symbol: jiffies_64, width: u64}]}", &err);
	cr_assert(p && q, "%s", err.message);
	uint64_t handles[] = {p->reads[0]->handle, q->reads[0]->handle, p->reads[1]->handle,
		p->reads[1]->handle + 1, 0, UINT64_MAX};
	*(uint64_t *)fake_ptr(&fake, fake_rq_gpa(0) + 24) = 0;
	*(uint64_t *)fake_data(&fake, FAKE_JIFFIES) = 4294;
	Schedrig__V1__ReadPreparedResponse *r = read_handles(mine, handles, ARRAY_SIZE(handles), false, &err);
	cr_assert_not_null(r, "%s", err.message);
	cr_assert_eq(r->n_failures, 5);
	cr_assert_eq(r->failures[0]->entry, 0);
	cr_assert_eq((int)r->failures[0]->error->code, ERR_UNMAPPED);
	static const unsigned stale[] = {1, 3, 4, 5};
	for (unsigned i = 0; i < ARRAY_SIZE(stale); i++) {
		cr_assert_eq(r->failures[i + 1]->entry, stale[i]);
		cr_assert_eq((int)r->failures[i + 1]->error->code, ERR_FAILED_PRECONDITION);
		cr_assert_str_eq(r->failures[i + 1]->error->reason, "stale-handle");
	}
	cr_assert_eq(r->values[2], 4294);
	pb_free(r);
	/* What is replaced is gone; what could not be replaced stays. */
	cr_assert_null(prepare(mine,
		"{reads: [{symbol: jiffies_64, width: u64}, {symbol: jifies_64, width: u64}], replace: true}",
		&err));
	cr_assert_str_eq(err.place, "reads[1]");
	cr_assert_not_null(strstr(err.message, "jiffies_64"), "%s", err.message);
	r = read_handles(mine, handles + 2, 1, false, &err);
	cr_assert_eq(r->n_failures, 0);
	pb_free(r);
	Schedrig__V1__PrepareResponse *again =
		prepare(mine, "{reads: [{symbol: jiffies_64, width: u64}], replace: true}", &err);
	cr_assert_not_null(again, "%s", err.message);
	uint64_t both[] = {handles[2], again->reads[0]->handle};
	r = read_handles(mine, both, 2, false, &err);
	cr_assert_eq(r->n_failures, 1);
	cr_assert_eq(r->failures[0]->entry, 0);
	cr_assert_eq(r->values[1], 4294);
	pb_free(r);
	/* Nothing, too much, no VM to freeze. */
	cr_assert_null(read_handles(mine, both, 0, false, &err));
	cr_assert_eq(err.code, ERR_INVALID_ARGUMENT);
	cr_assert_null(read_handles(mine, both, 1, true, &err));
	cr_assert_eq(err.code, ERR_FAILED_PRECONDITION);
	cr_assert_null(prepare(mine, "{}", &err));
	pb_free(p);
	pb_free(q);
	pb_free(again);
	engine_prepared_free(mine);
	engine_prepared_free(other);
}

Test(kernel, prepared_reads_are_bounded)
{
	struct engine_prepared *prepared = engine_prepared_new(engine);
	Schedrig__V1__PrepareRequest request = SCHEDRIG__V1__PREPARE_REQUEST__INIT;
	Schedrig__V1__PrepareRequest *one = load(
		&schedrig__v1__prepare_request__descriptor, "{reads: [{symbol: jiffies_64, width: u64}]}");
	static Schedrig__V1__KernelRead *reads[LIMIT_KERNEL_BATCH + 1];
	Schedrig__V1__PrepareResponse *p = NULL;
	struct err err = ERR_INIT;
	for (unsigned i = 0; i <= LIMIT_KERNEL_BATCH; i++)
		reads[i] = one->reads[0];
	request.reads = reads;
	request.n_reads = LIMIT_KERNEL_BATCH + 1;
	cr_assert_lt(engine_prepare(prepared, &request, &p, &err), 0);
	cr_assert_eq(err.code, ERR_LIMIT_EXCEEDED);
	request.n_reads = LIMIT_KERNEL_BATCH;
	for (unsigned n = 0; n < ENGINE_PREPARED_MAX; n += LIMIT_KERNEL_BATCH) {
		cr_assert_eq(engine_prepare(prepared, &request, &p, &err), 0, "%s", err.message);
		pb_free(p);
	}
	request.n_reads = 1;
	cr_assert_lt(engine_prepare(prepared, &request, &p, &err), 0);
	cr_assert_eq(err.code, ERR_LIMIT_EXCEEDED);
	request.replace = true;
	cr_assert_eq(engine_prepare(prepared, &request, &p, &err), 0, "%s", err.message);
	pb_free(p);
	pb_free(one);
	engine_prepared_free(prepared);
}
