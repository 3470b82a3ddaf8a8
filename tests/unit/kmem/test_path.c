/* SPDX-License-Identifier: GPL-2.0-only */
/* Paths: what they resolve to, and the columns of their errors. */
#include "host/kmem/access.h"
#include "host/kmem/path.h"
#include "tests/unit/kmem/fake_kernel.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

static struct fake_kernel fake;

static void setup(void)
{
	fake_kernel_init(&fake);
	/* CPU 0's rq.next points to CPU 1's, whose points to NULL; CPU 2's to nowhere. */
	*(uint64_t *)fake_ptr(&fake, fake_rq_gpa(0) + 24) = FAKE_PAGE_OFFSET + fake_rq_gpa(1);
	*(uint64_t *)fake_ptr(&fake, fake_rq_gpa(2) + 24) = UINT64_C(0xdead000000000000);
	*(uint64_t *)fake_data(&fake, FAKE_WORD) = FAKE_PAGE_OFFSET + fake_rq_gpa(1);
}

static void teardown(void)
{
	fake_kernel_deinit(&fake);
}

TestSuite(path, .init = setup, .fini = teardown);

Test(path, places)
{
	static const struct {
		const char *text;
		uint64_t address, size;
	} cases[] = {
		/* Well known as u64, a type that the made-up BTF does not have. */
		{"jiffies_64", FAKE_DATA + FAKE_JIFFIES, 0},
		{"(int)jiffies_64", FAKE_DATA + FAKE_JIFFIES, 4},
		{"word", FAKE_DATA + FAKE_WORD, 0},
		{"runqueues@2", FAKE_PAGE_OFFSET + 0x2020000, 32},
		{"runqueues@1.nr_running", FAKE_PAGE_OFFSET + 0x2010000, 4},
		{"runqueues@1.arr[2]", FAKE_PAGE_OFFSET + 0x2010000 + 12, 4},
		{"runqueues@0.next", FAKE_PAGE_OFFSET + 0x2000000 + 24, 8},
		{"runqueues@0.next->nr_running", FAKE_PAGE_OFFSET + 0x2010000, 4},
		{"runqueues@0.next->arr[0]", FAKE_PAGE_OFFSET + 0x2010000 + 4, 4},
		{"runqueues@0.next[2].x", FAKE_PAGE_OFFSET + 0x2010000 + 64 + 4, 4},
		{"(struct rq *)word->arr[1]", FAKE_PAGE_OFFSET + 0x2010000 + 8, 4},
		{"(struct rq *)word", FAKE_DATA + FAKE_WORD, 8},
		{" (struct rq)0xffff888002010000.x ", FAKE_PAGE_OFFSET + 0x2010000 + 4, 4},
		{"runqueues@*.nr_running", FAKE_PAGE_OFFSET + 0x2020000, 4},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct err err = ERR_INIT;
		struct kmem_resolved r;
		int rc = kmem_path_resolve(fake.kmem, cases[i].text, 2, &r, &err);
		cr_assert_eq(rc, 0, "%s: %s", cases[i].text, err.message);
		cr_assert_eq(r.address.v, cases[i].address, "%s: 0x%llx", cases[i].text,
			(unsigned long long)r.address.v);
		cr_assert_eq(r.size_bytes, cases[i].size, "%s", cases[i].text);
	}
	cr_assert(kmem_path_is_star("runqueues@*.nr_running"));
	cr_assert_not(kmem_path_is_star("runqueues@1.nr_running"));
}

Test(path, errors_point_at_the_column)
{
	static const struct {
		const char *text;
		int column;
		enum err_code code;
		const char *reason;
	} cases[] = {
		{"", 1, ERR_INVALID_ARGUMENT, "syntax"},
		{".x", 1, ERR_INVALID_ARGUMENT, "syntax"},
		{"nothing.x", 1, ERR_NOT_FOUND, ""},
		{"twin", 1, ERR_AMBIGUOUS, ""},
		{"runqueues", 10, ERR_INVALID_ARGUMENT, "syntax"},
		{"runqueues@", 11, ERR_INVALID_ARGUMENT, "syntax"},
		{"runqueues@x", 11, ERR_INVALID_ARGUMENT, "syntax"},
		{"runqueues@3.x", 11, ERR_FAILED_PRECONDITION, "cpu-offline"},
		{"runqueues@77.x", 11, ERR_NOT_FOUND, ""},
		{"runqueues@99999999999.x", 11, ERR_NOT_FOUND, ""},
		{"runqueues@*.x", 11, ERR_INVALID_ARGUMENT, "syntax"},
		{"runqueues@1.nope", 13, ERR_NOT_FOUND, "no-such-member"},
		{"runqueues@1.", 13, ERR_INVALID_ARGUMENT, "syntax"},
		{"runqueues@1.x.y", 15, ERR_INVALID_ARGUMENT, "not-a-struct"},
		{"runqueues@1.arr[4]", 16, ERR_INVALID_ARGUMENT, "index-out-of-range"},
		{"runqueues@1.arr[", 17, ERR_INVALID_ARGUMENT, "syntax"},
		{"runqueues@1.arr[1", 18, ERR_INVALID_ARGUMENT, "syntax"},
		{"runqueues@1.arr[-1]", 17, ERR_INVALID_ARGUMENT, "syntax"},
		{"runqueues@1.x->y", 14, ERR_INVALID_ARGUMENT, "syntax"},
		{"runqueues@1.next->x", 17, ERR_UNMAPPED, "null-pointer"},
		{"runqueues@0.next.x", 18, ERR_INVALID_ARGUMENT, "not-a-struct"},
		{"runqueues@1 .x", 12, ERR_INVALID_ARGUMENT, "syntax"},
		{"word.x", 5, ERR_INVALID_ARGUMENT, "syntax"},
		{"word->x", 5, ERR_INVALID_ARGUMENT, "syntax"},
		{"word@1", 5, ERR_INVALID_ARGUMENT, "syntax"},
		{"(struct rq *)word.x", 18, ERR_INVALID_ARGUMENT, "syntax"},
		{"(struct nope)word.x", 2, ERR_NOT_FOUND, "no-such-type"},
		{"(struct rq", 1, ERR_INVALID_ARGUMENT, "syntax"},
		{"()word", 1, ERR_INVALID_ARGUMENT, "syntax"},
		{"(struct rq *****)word", 2, ERR_INVALID_ARGUMENT, "syntax"},
		{"0x1234", 1, ERR_INVALID_ARGUMENT, "syntax"},
		{"(int)0x12345678901234567", 6, ERR_INVALID_ARGUMENT, "syntax"},
		{"(struct q)word", 2, ERR_NOT_FOUND, "no-such-type"},
		{"task(0).pid", 6, ERR_INVALID_ARGUMENT, "syntax"},
		{"task(x).pid", 6, ERR_INVALID_ARGUMENT, "syntax"},
		{"task(12", 8, ERR_INVALID_ARGUMENT, "syntax"},
		{"task(12, ).pid", 10, ERR_INVALID_ARGUMENT, "syntax"},
		/* The made-up kernel has no tasks. */
		{"task(12).pid", 1, ERR_KERNEL_LAYOUT, ""},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct err err = ERR_INIT;
		struct kmem_resolved r;
		char column[32];
		cr_assert_lt(
			kmem_path_resolve(fake.kmem, cases[i].text, -1, &r, &err), 0, "%s", cases[i].text);
		cr_assert_eq(err.code, cases[i].code, "%s: %s", cases[i].text, err.message);
		cr_assert_str_eq(err.reason, cases[i].reason, "%s: %s", cases[i].text, err.message);
		snprintf(column, sizeof(column), " column %d: ", cases[i].column);
		cr_assert_not_null(strstr(err.message, column), "%s: %s", cases[i].text, err.message);
	}
}

Test(path, reads_and_writes)
{
	struct err err = ERR_INIT;
	struct kmem_write w = {.target = {.form = KMEM_PATH, .field = "runqueues@0.next->nr_running"},
		.width = KMEM_U32,
		.op = KMEM_SET,
		.value = 42};
	struct kmem_read r = {
		.target = {.form = KMEM_PATH, .field = "runqueues@1.nr_running"}, .width = KMEM_U32};

	cr_assert_eq(kmem_write_batch(fake.kmem, &w, 1, NULL, &err), 0, "%s", err.message);
	cr_assert_eq(kmem_read_batch(fake.kmem, &r, 1, NULL, &err), 0, "%s", err.message);
	cr_assert_eq(r.value, 42);
	r.target.field = "runqueues@2.next->nr_running";
	cr_assert_eq(kmem_read_batch(fake.kmem, &r, 1, NULL, &err), -EFAULT);
	w.width = KMEM_U64;
	cr_assert_eq(kmem_write_batch(fake.kmem, &w, 1, NULL, &err), -EINVAL);
	cr_assert_str_eq(err.reason, "width");
}

Test(path, form_without_a_kernel)
{
	static const struct {
		const char *text;
		int column; /* 0: fine */
	} cases[] = {
		{"jiffies_64", 0},
		{" (struct rq *)word->arr[1] ", 0},
		{"(struct rq)0xffff888002010000.x", 0},
		{"runqueues@*.cfs.h_nr[0x1]", 0},
		{"task(12, 1).scx.dsq_vtime", 0},
		{"map(\"a.bss\").x", 0},
		{"map(7)[3]@*.x[1]", 0},
		{"map(\"a\")[1]@", 13},
		{"map(\"a\")[x]", 10},
		{"map(\"a\")[1, 2].x", 0},
		{"map(\"a\")[\"b\"]@*.x", 0},
		{"map(\"a\")[hex(00 ff)].x", 0},
		{"map(\"a\")[1,].x", 12},
		{"map(\"a\")[\"b].x", 10},
		{"map(\"a\")[hex(00].x", 10},
		{"map(\"a\")[1 x", 12},
		{"task(1)@2", 8},
		{"", 1},
		{"()x", 1},
		{"(struct rq", 1},
		{"0x1234.x", 1},
		{"a.", 3},
		{"a..b", 3},
		{"a->", 4},
		{"a[", 3},
		{"a[1", 4},
		{"a[-1]", 3},
		{"a@", 3},
		{"a@x", 3},
		{"a b", 2},
		{"a.b@1", 4},
		{"a[99999999999999999999]", 3},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct err err = ERR_INIT;
		char column[32];
		int rc = kmem_path_check(cases[i].text, true, &err);
		cr_assert_eq(rc == 0, cases[i].column == 0, "'%s': %s", cases[i].text, err.message);
		snprintf(column, sizeof(column), " column %d: ", cases[i].column);
		cr_assert(rc == 0 || strstr(err.message, column), "%s", err.message);
	}
	struct err err = ERR_INIT;
	cr_assert_eq(kmem_path_check("runqueues@*.x", false, &err), -EINVAL);
	cr_assert_not_null(strstr(err.message, "column 11"), "%s", err.message);
}

Test(path, natural_widths)
{
	static const struct {
		const char *text;
		enum kmem_width width;
		uint64_t length;
	} cases[] = {
		{"runqueues@0.nr_running", KMEM_U32, 0},
		{"runqueues@0.next", KMEM_U64, 0},
		{"runqueues@0.high", KMEM_U32, 0},
		{"runqueues@0.arr", KMEM_BYTES, 16},
		{"runqueues@0", KMEM_BYTES, 32},
		{"(struct rq *)word", KMEM_U64, 0},
	};
	struct err err = ERR_INIT;

	/* low:3 and high:5 lie in the word at 20. */
	*(uint32_t *)fake_ptr(&fake, fake_rq_gpa(0) + 20) = 0xb5;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct kmem_read r = {
			.target = {.form = KMEM_PATH, .field = cases[i].text}, .width = KMEM_NATURAL};
		cr_assert_eq(kmem_read_batch(fake.kmem, &r, 1, NULL, &err), 0, "%s: %s", cases[i].text,
			err.message);
		cr_assert_eq(r.width, cases[i].width, "%s: %d", cases[i].text, r.width);
		cr_assert_eq(r.length, cases[i].length, "%s", cases[i].text);
		if (strcmp(cases[i].text, "runqueues@0.high") == 0) {
			cr_assert_eq(r.value, 0xb5 >> 3);
			cr_assert_eq(r.bit_size, 5);
		}
		if (r.width == KMEM_BYTES && r.length == 32)
			cr_assert_eq(r.bytes[20], 0xb5);
		free(r.bytes);
	}
	struct kmem_read r = {.target = {.form = KMEM_PATH, .field = "word"}, .width = KMEM_NATURAL};
	cr_assert_eq(kmem_read_batch(fake.kmem, &r, 1, NULL, &err), -EINVAL);
	cr_assert_str_eq(err.reason, "no-width");
}
