/* SPDX-License-Identifier: GPL-2.0-only */
/* A hostile guest's /proc/kallsyms. What is accepted is looked at whole. */
#include "host/kmem/symbols.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/kmem/fake_kernel.h"

#include "host/kmem/kallsyms_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static struct fake_kernel fake;
	struct kallsyms_text parsed;
	struct err err = ERR_INIT;
	struct symbol_at at;
	uint32_t i = 0, n = 0;
	gva_t address;

	if (!fake.kmem)
		fake_kernel_init(&fake);
	if (kallsyms_text_parse((const char *)bytes, length, &parsed, &err) < 0) {
		assert(err.code != ERR_NONE && err.message[0]);
		return 0;
	}
	for (uint32_t k = 0; k < parsed.n; k++)
		assert(parsed.names[parsed.symbol[k].name] != '\0' &&
			strlen(parsed.names + parsed.symbol[k].name) < KALLSYMS_NAME_MAX);
	uint32_t count = parsed.n;
	kallsyms_text_deinit(&parsed);
	struct symbols *s = symbols_new_from_guest(kmem_image(fake.kmem), (const char *)bytes, length, &err);
	if (!s) {
		assert(err.code != ERR_NONE && err.message[0]);
		return 0;
	}
	symbols_place(s, 0x200000);
	assert(symbols_count(s) == count);
	while (symbols_match(s, "*", &i, &at)) {
		/* What has a name can be found by it, unless several have it. */
		int r = symbols_find(s, at.name, &address, &err);
		assert(r == 0 ? address.v == at.start.v : err.code == ERR_AMBIGUOUS);
		(void)symbols_at(s, at.start, &at);
		n++;
	}
	assert(n == count);
	(void)!symbols_find(s, "schedul", &address, &err);
	symbols_free(s);
	return 0;
}
