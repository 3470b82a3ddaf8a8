/* SPDX-License-Identifier: GPL-2.0-only */
/* A hostile kernel file: ELF headers, kallsyms or ELF symbol tables, BTF. What is accepted is looked at
 * whole. */
#include "host/kmem/btf.h"
#include "host/kmem/symbols.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

static void types_look(const struct kimage *image)
{
	struct kbtf *btf = kbtf_new(image->btf.bytes, image->btf.length, NULL);
	struct kbtf_place place;
	struct err err;
	uint32_t type;

	if (!btf)
		return;
	for (uint32_t id = 0; id < MIN_OF(kbtf_count(btf), 1000); id++) {
		(void)kbtf_is_signed(btf, id);
		(void)!kbtf_path(btf, id, "arr[2].x", &place, NULL);
		(void)!kbtf_path(btf, kbtf_target(btf, id, NULL), "nothing", &place, &err);
	}
	(void)!kbtf_per_cpu(btf, "runqueue", &type, &err);
	kbtf_free(btf);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	char name[KALLSYMS_NAME_MAX];
	struct kimage image;
	struct symbol_at at;
	struct err err = {0};
	gva_t address;

	if (kimage_init(&image, bytes, length, &err) < 0) {
		assert(err.code != ERR_NONE && err.message[0]);
		return 0;
	}
	types_look(&image);
	struct symbols *s = symbols_new(&image, &err);
	if (!s)
		return 0;
	for (unsigned i = 0; i < image.n_segments; i++) {
		if (!symbols_at(s, image.segment[i].vaddr, &at))
			continue;
		assert(at.start.v <= image.segment[i].vaddr.v);
		/* What has a name can be found by it, unless several have it. */
		strcpy(name, at.name);
		(void)!symbols_find(s, name, &address, &err);
	}
	(void)!symbols_find(s, "schedul", &address, &err);
	symbols_free(s);
	return 0;
}
