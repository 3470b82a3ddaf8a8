/* SPDX-License-Identifier: GPL-2.0-only */
/* Batches on a made-up kernel: targets, widths, all-or-nothing, read-modify-write. */
#include "host/kmem/access.h"
#include "tests/unit/kmem/fake_kernel.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

static struct fake_kernel fake;
static int token;
/* Access only looks at whether there is a token: the vCPUs of no VM stand still. */
#define FROZEN ((const struct freeze *)&token)

#define SYMBOL(s) ((struct kmem_target){.form = KMEM_SYMBOL, .name = (s)})
#define PER_CPU(s, f, c)                                                                                     \
	((struct kmem_target){.form = KMEM_PER_CPU_FIELD, .name = (s), .field = (f), .cpu = (c)})
#define ADDRESS(f, a) ((struct kmem_target){.form = (f), .address = (a)})

static int read_one(struct kmem_target target, enum kmem_width width, uint64_t *value, struct err *err)
{
	struct kmem_read entry = {.target = target, .width = width};
	int rc = kmem_read_batch(fake.kmem, &entry, 1, NULL, err);

	*value = entry.value;
	return rc;
}

static int write_one(struct kmem_target target, enum kmem_width width, uint64_t value, struct err *err)
{
	struct kmem_write entry = {.target = target, .width = width, .op = KMEM_SET, .value = value};
	return kmem_write_batch(fake.kmem, &entry, 1, NULL, err);
}

static void setup(void)
{
	fake_kernel_init(&fake);
}

static void teardown(void)
{
	fake_kernel_deinit(&fake);
}

TestSuite(access, .init = setup, .fini = teardown);

Test(access, symbols_read_and_write)
{
	struct err err = ERR_INIT;
	uint64_t value;

	*(uint64_t *)fake_data(&fake, FAKE_JIFFIES) = UINT64_C(0x1122334455667788);
	cr_assert_eq(read_one(SYMBOL("jiffies_64"), KMEM_U64, &value, &err), 0, "%s", err.message);
	cr_assert_eq(value, UINT64_C(0x1122334455667788));
	cr_assert_eq(read_one(SYMBOL("jiffies_64"), KMEM_U16, &value, &err), 0);
	cr_assert_eq(value, 0x7788);
	struct kmem_target high = SYMBOL("jiffies_64");
	high.offset = 7;
	cr_assert_eq(read_one(high, KMEM_U8, &value, &err), 0);
	cr_assert_eq(value, 0x11);
	/* Beyond what is known of the variable. */
	cr_assert_eq(read_one(high, KMEM_U16, &value, &err), -EINVAL);
	cr_assert_str_eq(err.reason, "width");
	cr_assert_str_eq(err.place, "[0]");
	cr_assert_eq(write_one(SYMBOL("word"), KMEM_U32, 0xdeadbeef, &err), 0);
	cr_assert_eq(*(uint64_t *)fake_data(&fake, FAKE_WORD), 0xdeadbeef);
	cr_assert_eq(write_one(SYMBOL("word"), KMEM_U16, 0x10000, &err), -EINVAL);
	cr_assert_eq(read_one(SYMBOL("twin"), KMEM_U8, &value, &err), -ENOTUNIQ);
	cr_assert_eq(read_one(SYMBOL("jiffies_46"), KMEM_U8, &value, &err), -ENOENT);
	cr_assert_not_null(strstr(err.message, "jiffies_64"));
	cr_assert_eq(read_one(SYMBOL("runqueues"), KMEM_U32, &value, &err), -EINVAL);
	cr_assert_str_eq(err.reason, "per-cpu");
}

Test(access, a_batch_that_cannot_be_resolved_writes_nothing)
{
	struct err err = ERR_INIT;
	struct kmem_write entries[3] = {
		{.target = SYMBOL("word"), .width = KMEM_U64, .op = KMEM_SET, .value = 1},
		{.target = SYMBOL("jiffies_64"), .width = KMEM_U64, .op = KMEM_SET, .value = 2},
		{.target = SYMBOL("nothing"), .width = KMEM_U64, .op = KMEM_SET, .value = 3},
	};

	cr_assert_eq(kmem_write_batch(fake.kmem, entries, 3, FROZEN, &err), -ENOENT);
	cr_assert_str_eq(err.place, "[2]");
	cr_assert_eq(*(uint64_t *)fake_data(&fake, FAKE_WORD), 0);
	cr_assert_eq(*(uint64_t *)fake_data(&fake, FAKE_JIFFIES), 0);
	cr_assert_eq(kmem_write_batch(fake.kmem, entries, 2, FROZEN, &err), 0);
	cr_assert_eq(*(uint64_t *)fake_data(&fake, FAKE_WORD), 1);
	cr_assert_eq(*(uint64_t *)fake_data(&fake, FAKE_JIFFIES), 2);
	cr_assert_eq(kmem_write_batch(fake.kmem, entries, 0, FROZEN, &err), -EINVAL);
	cr_assert_eq(kmem_write_batch(fake.kmem, entries, KMEM_BATCH_MAX + 1, FROZEN, &err), -E2BIG);
}

Test(access, read_modify_write)
{
	static const struct {
		enum kmem_op op;
		uint64_t value, expected, result;
		bool swapped;
	} cases[] = {
		{KMEM_OR, 0xf0, 0, 0xff, false},
		{KMEM_AND, 0x3, 0, 0x3, false},
		{KMEM_XOR, 0xff, 0, 0xf0, false},
		{KMEM_ADD, 0xfffffff8, 0, 0x7, false}, /* wraps in its width, the neighbour is kept */
		{KMEM_CAS, 0x22, 0xf, 0x22, true},
		{KMEM_CAS, 0x22, 0xe, 0xf, false},
	};
	uint64_t *word = fake_data(&fake, FAKE_WORD);

	for (unsigned frozen = 0; frozen < 2; frozen++) {
		for (unsigned unaligned = 0; unaligned < 2; unaligned++) {
			for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
				struct err err = ERR_INIT;
				struct kmem_write e = {.target = SYMBOL("word"),
					.width = KMEM_U32,
					.op = cases[i].op,
					.value = cases[i].value,
					.expected = cases[i].expected,
					.verify = true};
				e.target.offset = unaligned;
				*word = (UINT64_C(0xabcd) << 40 | 0xf) << 8 * unaligned;
				int rc = kmem_write_batch(fake.kmem, &e, 1, frozen ? FROZEN : NULL, &err);
				if (unaligned && !frozen) {
					cr_assert_eq(rc, -EINVAL);
					continue;
				}
				cr_assert_eq(rc, 0, "%s", err.message);
				cr_assert_eq(e.old, 0xf);
				cr_assert_eq(e.swapped, cases[i].swapped);
				cr_assert_eq(
					*word >> 8 * unaligned, UINT64_C(0xabcd) << 40 | cases[i].result);
			}
		}
	}
	struct kmem_write e = {.target = SYMBOL("word"), .width = KMEM_U16, .op = KMEM_OR, .value = 1};
	cr_assert_eq(kmem_write_batch(fake.kmem, &e, 1, NULL, NULL), -EINVAL);
	e = (struct kmem_write){
		.target = SYMBOL("word"), .width = KMEM_U64, .op = KMEM_ADD, .value = UINT64_MAX};
	*word = 5;
	cr_assert_eq(kmem_write_batch(fake.kmem, &e, 1, NULL, NULL), 0);
	cr_assert_eq(*word, 4);
}

static void *add_often(void *arg)
{
	for (unsigned i = 0; i < 20000; i++) {
		struct kmem_write e = {
			.target = SYMBOL("word"), .width = KMEM_U64, .op = KMEM_ADD, .value = 1};
		cr_assert_eq(kmem_write_batch(fake.kmem, &e, 1, NULL, NULL), 0);
	}
	return arg;
}

Test(access, hot_read_modify_write_loses_nothing)
{
	uint64_t *word = fake_data(&fake, FAKE_WORD);
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, add_often, NULL), 0);
	/* What a guest does at the same time. */
	for (unsigned i = 0; i < 2000000; i++)
		__atomic_fetch_add(word, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	cr_assert_eq(*word, 2020000);
}

Test(access, per_cpu_fields)
{
	struct err err = ERR_INIT;
	uint64_t value;

	for (unsigned cpu = 0; cpu < FAKE_CPUS; cpu++)
		memset(fake_ptr(&fake, fake_rq_gpa(cpu)), (int)cpu + 1, 32);
	for (unsigned cpu = 0; cpu < 3; cpu++) {
		cr_assert_eq(read_one(PER_CPU("runqueues", "nr_running", cpu), KMEM_U32, &value, &err), 0,
			"%s", err.message);
		cr_assert_eq(value, 0x01010101u * (cpu + 1));
	}
	cr_assert_eq(read_one(PER_CPU("runqueues", "nr_running", 3), KMEM_U32, &value, &err), -EPERM);
	cr_assert_str_eq(err.reason, "cpu-offline");
	cr_assert_eq(read_one(PER_CPU("runqueues", "nr_running", 4), KMEM_U32, &value, &err), -ENOENT);
	cr_assert_eq(read_one(PER_CPU("runqueues", "nr_running", 4000), KMEM_U32, &value, &err), -ENOENT);
	cr_assert_eq(read_one(PER_CPU("runqueues", "nr_runing", 0), KMEM_U32, &value, &err), -ENOENT);
	cr_assert_str_eq(err.reason, "no-such-member");
	cr_assert_eq(read_one(PER_CPU("jiffies_64", "", 0), KMEM_U32, &value, &err), -EINVAL);
	/* A u64 store into a u32 member would destroy its neighbour. */
	cr_assert_eq(write_one(PER_CPU("runqueues", "nr_running", 0), KMEM_U64, 7, &err), -EINVAL);
	cr_assert_str_eq(err.reason, "width");
	struct kmem_write forced = {.target = PER_CPU("runqueues", "nr_running", 0),
		.width = KMEM_U64,
		.op = KMEM_SET,
		.value = 7,
		.want_old = true,
		.force = true};
	cr_assert_eq(kmem_write_batch(fake.kmem, &forced, 1, NULL, &err), 0);
	cr_assert_eq(forced.old, UINT64_C(0x0101010101010101));
	cr_assert_eq(forced.address.v, FAKE_PAGE_OFFSET + fake_rq_gpa(0));
	/* Bit fields are read shifted down and not overwritten by accident. */
	*(uint8_t *)fake_ptr(&fake, fake_rq_gpa(1) + 20) = 0xb5;
	cr_assert_eq(read_one(PER_CPU("runqueues", "high", 1), KMEM_U32, &value, &err), 0);
	cr_assert_eq(value, 0xb5 >> 3);
	cr_assert_eq(write_one(PER_CPU("runqueues", "high", 1), KMEM_U32, 1, &err), -EINVAL);
	cr_assert_str_eq(err.reason, "bit-field");
	/* Early boot. */
	memset(fake_data(&fake, FAKE_PER_CPU_OFFSET), 0, 64);
	cr_assert_eq(read_one(PER_CPU("runqueues", "nr_running", 0), KMEM_U32, &value, &err), -EPERM);
	cr_assert_str_eq(err.reason, "per-cpu-not-ready");
}

Test(access, addresses)
{
	struct err err = ERR_INIT;
	uint64_t value;

	fake_map(&fake, 0xffffc90000000000, 0x2345000, 1);
	memset(fake_ptr(&fake, 0x2345000), 0x5a, 4096);
	cr_assert_eq(read_one(ADDRESS(KMEM_KVA, 0xffffc90000000ff8), KMEM_U64, &value, &err), 0);
	cr_assert_eq(value, UINT64_C(0x5a5a5a5a5a5a5a5a));
	cr_assert_eq(read_one(ADDRESS(KMEM_KVA, 0xffffc90000000ffc), KMEM_U64, &value, &err), -EFAULT);
	cr_assert_eq(read_one(ADDRESS(KMEM_DIRECT, FAKE_PAGE_OFFSET + 0x2345000), KMEM_U32, &value, &err), 0);
	cr_assert_eq(value, 0x5a5a5a5a);
	cr_assert_eq(read_one(ADDRESS(KMEM_DIRECT, 0xffffc90000000000), KMEM_U32, &value, &err), -EINVAL);
	cr_assert_eq(read_one(ADDRESS(KMEM_PHYS, 0x2345001), KMEM_U8, &value, &err), 0);
	cr_assert_eq(value, 0x5a);
	cr_assert_eq(read_one(ADDRESS(KMEM_PHYS, FAKE_LOW_BYTES - 1), KMEM_U16, &value, &err), -EFAULT);
	cr_assert_eq(read_one(ADDRESS(KMEM_PHYS, UINT64_MAX), KMEM_U64, &value, &err), -EFAULT);
	cr_assert_eq(read_one(ADDRESS((enum kmem_target_form)99, 0), KMEM_U64, &value, &err), -EINVAL);
}

Test(access, bytes)
{
	struct err err = ERR_INIT;
	uint8_t in[8192], out[8192], old[8192];

	for (unsigned i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 7);
	fake_map(&fake, 0xffffc90000000000, 0x9000, 1);
	fake_map(&fake, 0xffffc90000001000, 0x4000, 1);
	fake_map(&fake, 0xffffc90000002000, 0x7000, 1);
	memset(fake_ptr(&fake, 0x4000), 0xee, 4096);
	struct kmem_write w = {.target = ADDRESS(KMEM_KVA, 0xffffc90000000100),
		.op = KMEM_SET,
		.bytes = in,
		.length = sizeof(in),
		.verify = true,
		.want_old = true,
		.old_bytes = old};
	cr_assert_eq(kmem_write_batch(fake.kmem, &w, 1, NULL, &err), 0, "%s", err.message);
	cr_assert_eq(old[0xf00], 0xee);
	cr_assert_eq(memcmp(fake_ptr(&fake, 0x9100), in, 0xf00), 0);
	cr_assert_eq(memcmp(fake_ptr(&fake, 0x4000), in + 0xf00, 0x1000), 0);
	struct kmem_read r = {.target = w.target, .bytes = out, .length = sizeof(out), .stable = true};
	cr_assert_eq(kmem_read_batch(fake.kmem, &r, 1, NULL, &err), 0);
	cr_assert_eq(memcmp(in, out, sizeof(in)), 0);
	r.length = KMEM_BYTES_MAX + 1;
	cr_assert_eq(kmem_read_batch(fake.kmem, &r, 1, NULL, &err), -EINVAL);
	r.length = 0;
	cr_assert_eq(kmem_read_batch(fake.kmem, &r, 1, NULL, &err), -EINVAL);
}

Test(access, another_kernel_is_refused)
{
	struct err err = ERR_INIT;
	uint64_t value;
	uint8_t *text = fake_ptr(&fake, 0x1000000);
	uint8_t *id = memmem(text, 4096, "GNU\0\xfa\xce", 6);

	cr_assert_not_null(id);
	id[4] ^= 1;
	cr_assert_eq(read_one(SYMBOL("word"), KMEM_U8, &value, &err), -EPERM);
	cr_assert_not_null(strstr(err.message, "build id"));
	memset(text, 0, 4096);
	cr_assert_eq(read_one(SYMBOL("word"), KMEM_U8, &value, &err), -EPERM);
	cr_assert_not_null(strstr(err.message, "yet"));
}
