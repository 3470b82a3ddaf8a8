/* SPDX-License-Identifier: GPL-2.0-only */
/* Types that a guest claims to have: the input is BTF, or two of which the second extends the first. Every
 * type is looked at from every side. */
#include "host/kmem/btf_text.h"
#include "host/kmem/guest_btf.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

/* Of the ids, so that a large input is not looked at for minutes. */
#define LOOKS 2000u

static void look(const struct kbtf *btf, uint32_t id)
{
	struct kbtf_place place = {.type = id}, member;
	char text[KBTF_TEXT_MAX];
	const char *name;
	uint64_t size;
	struct err err = {0};

	assert(strlen(kbtf_text(btf, id, id % 4, text, sizeof(text))) < sizeof(text));
	(void)kbtf_is_signed(btf, id);
	if (kbtf_size(btf, id, &size) == 0)
		place.size_bytes = size;
	for (unsigned i = 0; i < 64 && kbtf_member_at(btf, id, i, &member, &name); i++) {
		struct kbtf_place found = {.type = id};
		int rc = kbtf_member(btf, &found, name, strlen(name), &err);
		/* A name leads to the first member of it. */
		assert(rc == 0 || (err.message[0] && *name == '\0') || err.message[0]);
	}
	(void)!kbtf_element(btf, &place, id % 7, &err);
	(void)!kbtf_path(btf, id, "a.b[1].c", &place, &err);
	(void)kbtf_find(btf, kbtf_kind(btf, id), kbtf_name(btf, id));
	if (kbtf_kind(btf, id) == BTF_KIND_DATASEC)
		(void)!kbtf_member(btf, &(struct kbtf_place){.type = id}, "x", 1, &err);
}

static struct kbtf *open_types(const uint8_t *bytes, size_t length, const struct kbtf *base)
{
	struct guest_btf_bytes in = {bytes, length};
	struct kbtf *btf = NULL;
	struct err err = {0};

	if (guest_btf_check(&in, base, &btf, &err) < 0) {
		assert(err.message[0] && !btf);
		return NULL;
	}
	for (uint32_t id = 0; id < kbtf_count(btf) + 2 && id < LOOKS; id++)
		look(btf, id);
	(void)!kbtf_per_cpu(btf, "runqueues", &(uint32_t){0}, &err);
	return btf;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct fuzz_input in = {bytes, length};
	uint16_t first = fuzz_u16(&in);

	/* Copies, so that a sanitizer sees the first byte read behind them. */
	size_t n = first < in.left ? first : in.left;
	uint8_t *one = malloc(n ? n : 1), *two = malloc(in.left - n ? in.left - n : 1);
	assert(one && two);
	memcpy(one, in.at, n);
	memcpy(two, in.at + n, in.left - n);
	struct kbtf *base = open_types(one, n, NULL), *split = open_types(two, in.left - n, base);
	kbtf_free(split);
	kbtf_free(base);
	free(one);
	free(two);
	return 0;
}
