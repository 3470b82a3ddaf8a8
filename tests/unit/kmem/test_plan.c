/* SPDX-License-Identifier: GPL-2.0-only */
/* Prepared reads: what they give is what a batch gives, then and later. */
#include "host/kmem/plan.h"
#include "tests/unit/kmem/fake_kernel.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

static struct fake_kernel fake;

static void setup(void)
{
	fake_kernel_init(&fake);
	for (unsigned cpu = 0; cpu < FAKE_CPUS; cpu++)
		*(uint32_t *)fake_ptr(&fake, fake_rq_gpa(cpu)) = 10 + cpu;
	*(uint64_t *)fake_ptr(&fake, fake_rq_gpa(0) + 24) = FAKE_PAGE_OFFSET + fake_rq_gpa(1);
	*(uint64_t *)fake_ptr(&fake, fake_rq_gpa(1) + 24) = FAKE_PAGE_OFFSET + fake_rq_gpa(2);
	*(uint64_t *)fake_ptr(&fake, fake_rq_gpa(2) + 24) = FAKE_PAGE_OFFSET + fake_rq_gpa(0);
	*(uint32_t *)fake_ptr(&fake, fake_rq_gpa(1) + 20) = 0xad;
	*(uint64_t *)fake_data(&fake, FAKE_WORD) = 0x1122334455667788;
}

static void teardown(void)
{
	fake_kernel_deinit(&fake);
}

TestSuite(plan, .init = setup, .fini = teardown);

static struct kmem_read path(const char *text, enum kmem_width width)
{
	return (struct kmem_read){.target = {.form = KMEM_PATH, .field = text}, .width = width};
}

static struct kmem_plan plan_for(const struct kmem_read *read)
{
	struct err err = ERR_INIT;
	struct kmem_plan plan;
	cr_assert_eq(
		kmem_plan_init(&plan, fake.kmem, read, &err), 0, "%s: %s", read->target.field, err.message);
	return plan;
}

static int read_plan(const struct kmem_plan *plan, uint64_t *ret_value, uint8_t *bytes, struct err *err)
{
	struct kmem_plan_turn turn;
	*err = ERR_INIT;
	*ret_value = 0;
	cr_assert_eq(kmem_plan_turn_init(&turn, fake.kmem, false, err), 0, "%s", err->message);
	return kmem_plan_read(&turn, plan, ret_value, bytes, err);
}

Test(plan, reads_what_a_batch_reads)
{
	const struct kmem_read reads[] = {
		path("runqueues@2.nr_running", KMEM_NATURAL),
		path("runqueues@1.high", KMEM_NATURAL),
		path("runqueues@1.low", KMEM_NATURAL),
		path("runqueues@0.next->nr_running", KMEM_NATURAL),
		path("runqueues@0.next->next->next->next->next->next->nr_running", KMEM_NATURAL),
		path("runqueues@0.next->next->next->next->next->next->next->next->nr_running", KMEM_NATURAL),
		path("runqueues@0.next[0].high", KMEM_NATURAL),
		path("runqueues@1.next", KMEM_U32),
		path("word", KMEM_U16),
		path("word", KMEM_U8),
		path("(struct rq)0xffff888002010000.nr_running", KMEM_NATURAL),
		{.target = {.form = KMEM_SYMBOL, .name = "word", .offset = 1}, .width = KMEM_U32},
		{.target = {.form = KMEM_PHYS, .address = 0x3000020}, .width = KMEM_U64},
		{.target = {.form = KMEM_DIRECT, .address = FAKE_PAGE_OFFSET + 0x3000020}, .width = KMEM_U64},
		{.target = {.form = KMEM_PER_CPU_FIELD, .name = "runqueues", .field = "arr[1]", .cpu = 1},
			.width = KMEM_U32},
		{.target = {.form = KMEM_PATH,
			 .field = "runqueues@*.nr_running",
			 .every_cpu = true,
			 .cpu = 1},
			.width = KMEM_NATURAL},
	};
	for (unsigned i = 0; i < ARRAY_SIZE(reads); i++) {
		struct kmem_read batch = reads[i];
		struct err err = ERR_INIT;
		uint64_t value;
		cr_assert_eq(kmem_read_batch(fake.kmem, &batch, 1, NULL, &err), 0, "%u: %s", i, err.message);
		struct kmem_plan plan = plan_for(&reads[i]);
		cr_assert_eq(read_plan(&plan, &value, NULL, &err), 0, "%u: %s", i, err.message);
		cr_assert_eq(value, batch.value, "%u: 0x%llx, not 0x%llx", i, (unsigned long long)value,
			(unsigned long long)batch.value);
		cr_assert_eq(plan.where.type, batch.type);
		kmem_plan_deinit(&plan);
	}
}

Test(plan, bytes_and_stable_reads)
{
	struct kmem_read read = path("runqueues@0", KMEM_NATURAL);
	struct kmem_plan plan = plan_for(&read);
	uint8_t bytes[32];
	struct err err;
	uint64_t value;
	cr_assert_eq(plan.width, KMEM_BYTES);
	cr_assert_eq(plan.length, sizeof(bytes));
	cr_assert_eq(read_plan(&plan, &value, bytes, &err), 0, "%s", err.message);
	cr_assert_eq(memcmp(bytes, fake_ptr(&fake, fake_rq_gpa(0)), sizeof(bytes)), 0);
	kmem_plan_deinit(&plan);
	read = path("runqueues@0.next->nr_running", KMEM_NATURAL);
	read.stable = true;
	plan = plan_for(&read);
	cr_assert_eq(read_plan(&plan, &value, NULL, &err), 0, "%s", err.message);
	cr_assert_eq(value, 11);
	kmem_plan_deinit(&plan);
}

Test(plan, follows_what_changes)
{
	struct kmem_read pointer = path("runqueues@0.next->nr_running", KMEM_NATURAL),
			 plain = path("runqueues@2.nr_running", KMEM_NATURAL);
	struct kmem_plan to = plan_for(&pointer), of = plan_for(&plain);
	struct err err;
	uint64_t value;
	*(uint64_t *)fake_ptr(&fake, fake_rq_gpa(0) + 24) = FAKE_PAGE_OFFSET + fake_rq_gpa(2);
	*(uint32_t *)fake_ptr(&fake, fake_rq_gpa(2)) = 99;
	cr_assert_eq(read_plan(&to, &value, NULL, &err), 0, "%s", err.message);
	cr_assert_eq(value, 99);
	cr_assert_eq(read_plan(&of, &value, NULL, &err), 0, "%s", err.message);
	cr_assert_eq(value, 99);
	*(uint64_t *)fake_ptr(&fake, fake_rq_gpa(0) + 24) = 0;
	cr_assert_eq(read_plan(&to, &value, NULL, &err), -EFAULT);
	cr_assert_str_eq(err.reason, "null-pointer");
	*(uint64_t *)fake_ptr(&fake, fake_rq_gpa(0) + 24) = 0x10;
	cr_assert_eq(read_plan(&to, &value, NULL, &err), -EFAULT);
	cr_assert(err.message[0]);
	/* CPU 2 goes offline. */
	*(uint64_t *)fake_data(&fake, FAKE_ONLINE) = 0x3;
	cr_assert_eq(read_plan(&of, &value, NULL, &err), -EPERM);
	cr_assert_str_eq(err.reason, "cpu-offline");
	kmem_plan_deinit(&to);
	kmem_plan_deinit(&of);
}

Test(plan, page_tables_are_walked_anew)
{
	const uint64_t at = UINT64_C(0xffffc90000000000);
	struct kmem_read read = {.target = {.form = KMEM_KVA, .address = at}, .width = KMEM_U64};
	struct err err;
	uint64_t value, *entry = fake_map(&fake, at, 0x3000000, 1);
	*(uint64_t *)fake_ptr(&fake, 0x3000000) = 1;
	*(uint64_t *)fake_ptr(&fake, 0x2000000) = 2;
	struct kmem_plan plan = plan_for(&read);
	cr_assert_eq(read_plan(&plan, &value, NULL, &err), 0, "%s", err.message);
	cr_assert_eq(value, 1);
	*entry = 0x2000003;
	cr_assert_eq(read_plan(&plan, &value, NULL, &err), 0, "%s", err.message);
	cr_assert_eq(value, 2);
	*entry = 0;
	cr_assert_eq(read_plan(&plan, &value, NULL, &err), -EFAULT);
	kmem_plan_deinit(&plan);
}

Test(plan, mistakes_are_those_of_a_batch)
{
	static const struct {
		const char *text;
		enum kmem_width width;
	} wrong[] = {{"runqueues@0.nr_runing", KMEM_NATURAL}, {"word", KMEM_NATURAL},
		{"runqueues@0.nr_running", KMEM_U64}, {"runqueues@3.nr_running", KMEM_NATURAL},
		{"runqueues@*.nr_running", KMEM_NATURAL}, {"word", KMEM_BYTES}};
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct kmem_read read = path(wrong[i].text, wrong[i].width), batch = read;
		struct err err = ERR_INIT, other = ERR_INIT;
		struct kmem_plan plan;
		int rc = kmem_plan_init(&plan, fake.kmem, &read, &err);
		cr_assert_lt(rc, 0, "%s", wrong[i].text);
		cr_assert_eq(rc, kmem_read_batch(fake.kmem, &batch, 1, NULL, &other));
		cr_assert_str_eq(err.place, "");
	}
}
