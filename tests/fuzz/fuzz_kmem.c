/* SPDX-License-Identifier: GPL-2.0-only */
/* A hostile guest kernel, and clients that ask for any path: the input is laid over the variables and page
 * tables of a made-up kernel, and what is left of it is read as targets. */
#include "host/kmem/access.h"
#include "host/kmem/path.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/kmem/fake_kernel.h"

#define ENTRIES 8
#define TABLES 4

static struct fake_kernel fake;

static void overlay(struct fuzz_input *in)
{
	/* The variables that translation reads. */
	fuzz_take(in, fake_data(&fake, 0), 0x160);
	for (unsigned i = 0; i < 32; i++) {
		/* Entries anywhere in the root and four tables; half of them lead to one of these. */
		uint8_t where = fuzz_u8(in), slot = fuzz_u8(in);
		uint64_t value = (uint64_t)fuzz_u32(in) << 32 | fuzz_u32(in);
		uint64_t *table = where & 8 ? fake_data(&fake, FAKE_ROOT)
					    : fake_ptr(&fake, 0x10000 + where % TABLES * UINT64_C(4096));
		if (where & 0x80)
			value = (0x10000 + (value >> 12) % TABLES * UINT64_C(4096)) | (value & 0xfff) | 1;
		table[slot * 2u + (where >> 4 & 1)] = value;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static uint8_t data[UINT8_MAX * 17]; /* of the longest range that is asked for */
	static char text[ENTRIES][64];
	struct fuzz_input in = {bytes, length};
	struct err err = {0};

	fake_kernel_init(&fake);
	overlay(&in);
	for (unsigned i = 0; i < ENTRIES && in.left; i++) {
		uint8_t how = fuzz_u8(&in);
		struct kmem_target t = {
			.form = (enum kmem_target_form)(how % 9), .name = text[i], .field = text[i]};
		t.cpu = fuzz_u8(&in);
		t.address = (uint64_t)fuzz_u32(&in) << 32 | fuzz_u32(&in);
		t.offset = (int64_t)(int32_t)fuzz_u32(&in);
		fuzz_take(&in, text[i], sizeof(text[i]) - 1);
		if (t.form == KMEM_PER_CPU_FIELD || t.form == KMEM_SYMBOL)
			t.name = how & 0x80 ? "runqueues" : "word";
		struct kmem_read r = {.target = t,
			.width = (enum kmem_width)(1 << (how >> 4 & 3)),
			.stable = how & 0x40,
			.bytes = data,
			.length = (uint64_t)fuzz_u8(&in) * 17};
		if (r.length % 3 == 1)
			r.width = KMEM_BYTES;
		int rc = kmem_read_batch(fake.kmem, &r, 1, NULL, &err);
		assert((rc == 0) || (err.code != ERR_NONE && err.message[0] && err.place[0] == '[') ||
			err.code == ERR_FAILED_PRECONDITION);
		struct kmem_write w = {.target = t,
			.width = r.width,
			.op = (enum kmem_op)(how % 8),
			.value = t.cpu,
			.bytes = data,
			.length = r.length,
			.verify = how & 1,
			.force = how & 0x40};
		(void)!kmem_write_batch(
			fake.kmem, &w, 1, how & 2 ? (const struct freeze *)&fake : NULL, &err);
		/* A range never leaves guest memory, however it is mapped. */
		struct kmem_range_iter iter = {
			fake.kmem, (enum kmem_way)(1 + how % 4), GVA(t.address), r.length};
		struct kmem_span span;
		while (kmem_range_next(&iter, &span, NULL) > 0)
			assert(gmem_ptr(&fake.memory, span.gpa, span.length) == span.host);
	}
	fake_kernel_deinit(&fake);
	return 0;
}
