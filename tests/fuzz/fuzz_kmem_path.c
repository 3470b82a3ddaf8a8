/* SPDX-License-Identifier: GPL-2.0-only */
/* Paths as clients write them. What resolves must pass the check that needs no kernel, and a prepared read of
 * it must give what a read gives. */
#include "host/kmem/path.h"
#include "host/kmem/plan.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/kmem/fake_kernel.h"

static void use(struct fake_kernel *fake, const char *text)
{
	struct kmem_read read = {.target = {.form = KMEM_PATH, .field = text}, .width = KMEM_NATURAL}, plain;
	struct kmem_resolved where, again;
	struct kmem_plan_turn turn;
	struct kmem_plan plan;
	struct err err = {0};
	uint8_t bytes[64];
	uint64_t value = 0;

	int checked = kmem_path_check(text, true, &err);
	assert(checked == 0 || err.message[0]);
	int rc = kmem_path_resolve(fake->kmem, text, 1, &where, &err);
	assert(rc < 0 ? err.message[0] != '\0' : checked == 0);
	rc = kmem_path_resolve(fake->kmem, text, -1, &again, &err);
	if (rc < 0)
		return;
	assert(again.address.v == where.address.v && again.type == where.type);
	assert(kmem_path_check(text, false, NULL) == 0);
	if (kmem_plan_init(&plan, fake->kmem, &read, &err) < 0)
		return;
	assert(kmem_plan_turn_init(&turn, fake->kmem, false, &err) == 0);
	plain = read;
	assert(kmem_read_batch(fake->kmem, &plain, 1, NULL, &err) == 0);
	if (plan.length <= sizeof(bytes)) {
		assert(kmem_plan_read(&turn, &plan, &value, bytes, &err) == 0);
		assert(plan.width == plain.width);
		assert(plan.width == KMEM_BYTES ? memcmp(bytes, plain.bytes, plan.length) == 0
						: value == plain.value);
	}
	free(plain.bytes);
	kmem_plan_deinit(&plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static struct fake_kernel fake;
	static bool made;
	char text[KMEM_PATH_MAX + 8];

	if (!made) {
		/* Lists and tables that lead somewhere; nothing here writes. */
		fake_kernel_init(&fake);
		for (unsigned cpu = 0; cpu < FAKE_CPUS; cpu++)
			*(uint64_t *)fake_ptr(&fake, fake_rq_gpa(cpu) + 24) =
				FAKE_PAGE_OFFSET + fake_rq_gpa((cpu + 1) % FAKE_CPUS);
		*(uint64_t *)fake_data(&fake, FAKE_WORD) = FAKE_PAGE_OFFSET + fake_rq_gpa(1);
		made = true;
	}
	if (length >= sizeof(text))
		length = sizeof(text) - 1;
	memcpy(text, bytes, length);
	text[length] = '\0';
	use(&fake, text);
	return 0;
}
