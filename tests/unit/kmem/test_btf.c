/* SPDX-License-Identifier: GPL-2.0-only */
/* BTF: synthetic types, damage, and members of real kernels checked against the image's data. */
#include "host/kmem/btf.h"
#include "host/kmem/symbols.h"
#include "tests/unit/kmem/real.h"

#include <criterion/criterion.h>
#include <errno.h>

#define INFO(kind, vlen, flag) ((uint32_t)(flag) << 31 | (uint32_t)(kind) << 24 | (vlen))

/* Types by hand: appended words and strings. */
struct blob {
	uint32_t word[256];
	unsigned n;
	char text[512];
	unsigned text_n;
	uint8_t out[4096];
	size_t length;
};

static uint32_t str(struct blob *b, const char *text)
{
	uint32_t at = b->text_n;

	strcpy(b->text + at, text);
	b->text_n += (unsigned)strlen(text) + 1;
	return at;
}

static void words(struct blob *b, const uint32_t *word, unsigned n)
{
	memcpy(b->word + b->n, word, n * sizeof(*word));
	b->n += n;
}
#define WORDS(b, ...) words(b, (uint32_t[]){__VA_ARGS__}, sizeof((uint32_t[]){__VA_ARGS__}) / 4)

static void finish(struct blob *b)
{
	struct btf_header h = {.magic = BTF_MAGIC,
		.version = 1,
		.hdr_len = sizeof(h),
		.type_len = b->n * 4,
		.str_off = b->n * 4,
		.str_len = b->text_n};

	memcpy(b->out, &h, sizeof(h));
	memcpy(b->out + sizeof(h), b->word, b->n * 4);
	memcpy(b->out + sizeof(h) + b->n * 4, b->text, b->text_n);
	b->length = sizeof(h) + b->n * 4 + b->text_n;
}

/* 1 int; 2 int[4]; 3 nameless union {int x; int arr[4]}; 4 struct rq {int nr; union; int low:3, high:5 at bit
 * 160; struct rq *next}; 5 ptr to rq; 6 var; 7 datasec; 8 typedef of itself; 9 struct holding itself,
 * nameless */
static void types(struct blob *b)
{
	*b = (struct blob){.text_n = 1};
	WORDS(b, str(b, "int"), INFO(BTF_KIND_INT, 0, 0), 4, 32);
	WORDS(b, 0, INFO(BTF_KIND_ARRAY, 0, 0), 0, 1, 1, 4);
	WORDS(b, 0, INFO(BTF_KIND_UNION, 2, 0), 16, str(b, "x"), 1, 0, str(b, "arr"), 2, 0);
	WORDS(b, str(b, "rq"), INFO(BTF_KIND_STRUCT, 5, 1), 32, str(b, "nr_running"), 1, 0, 0, 3, 32,
		str(b, "low"), 1, 3u << 24 | 160, str(b, "high"), 1, 5u << 24 | 163, str(b, "next"), 5, 192);
	WORDS(b, 0, INFO(BTF_KIND_PTR, 0, 0), 4);
	WORDS(b, str(b, "runqueues"), INFO(BTF_KIND_VAR, 0, 0), 4, 1);
	WORDS(b, str(b, ".data..percpu"), INFO(BTF_KIND_DATASEC, 1, 0), 32, 6, 0, 32);
	WORDS(b, str(b, "loop"), INFO(BTF_KIND_TYPEDEF, 0, 0), 8);
	WORDS(b, str(b, "selfish"), INFO(BTF_KIND_STRUCT, 2, 0), 4, 0, 9, 0, 0, 9, 0);
	finish(b);
}

Test(btf, members_and_paths)
{
	static struct blob b;
	struct err err = ERR_INIT;
	struct kbtf_place p;
	uint32_t rq;

	types(&b);
	struct kbtf *btf = kbtf_new(b.out, b.length, &err);
	cr_assert_not_null(btf, "%s", err.message);
	cr_assert_eq(kbtf_count(btf), 10);
	cr_assert_eq(kbtf_per_cpu(btf, "runqueues", &rq, &err), 0);
	cr_assert_eq(rq, 4);
	cr_assert_eq(kbtf_path(btf, rq, "", &p, &err), 0);
	cr_assert_eq(p.size_bytes, 32);
	cr_assert_eq(kbtf_path(btf, rq, "arr[2]", &p, &err), 0);
	cr_assert_eq(p.offset_bytes, 4 + 8);
	cr_assert_eq(p.size_bytes, 4);
	cr_assert_eq(kbtf_path(btf, rq, "high", &p, &err), 0);
	cr_assert_eq(p.offset_bytes, 20);
	cr_assert_eq(p.bit_offset, 3);
	cr_assert_eq(p.bit_size, 5);
	cr_assert_eq(kbtf_path(btf, rq, "nr_runing", &p, &err), -ENOENT);
	cr_assert_str_eq(err.reason, "no-such-member");
	cr_assert_not_null(strstr(err.message, "'nr_running'"));
	cr_assert_eq(kbtf_path(btf, rq, "arr[4]", &p, &err), -EINVAL);
	cr_assert_str_eq(err.reason, "index-out-of-range");
	cr_assert_eq(kbtf_path(btf, rq, "next.nr_running", &p, &err), -EINVAL);
	cr_assert_not_null(strstr(err.message, "->"));
	cr_assert_eq(kbtf_path(btf, rq, "arr[x]", &p, &err), -EINVAL);
	cr_assert_eq(kbtf_path(btf, rq, "arr[1", &p, &err), -EINVAL);
	cr_assert_eq(kbtf_path(btf, rq, "nr_running..x", &p, &err), -EINVAL);
	cr_assert_eq(kbtf_path(btf, rq, ".nr_running", &p, &err), -ENOENT);
	cr_assert_eq(kbtf_per_cpu(btf, "runqueue", &rq, &err), -ENOENT);
	cr_assert_not_null(strstr(err.message, "'runqueues'"));
	kbtf_free(btf);
}

Test(btf, endless_types_end)
{
	static struct blob b;
	struct kbtf_place p;
	uint64_t size;

	types(&b);
	struct kbtf *btf = kbtf_new(b.out, b.length, NULL);
	cr_assert_eq(kbtf_resolve(btf, 8), 0);
	cr_assert_eq(kbtf_resolve(btf, UINT32_MAX), 0);
	cr_assert_eq(kbtf_size(btf, 8, &size), -ERANGE);
	cr_assert_eq(kbtf_path(btf, 9, "anything", &p, NULL), -ENOENT);
	kbtf_free(btf);
}

Test(btf, damage_is_refused_or_harmless, .timeout = 60)
{
	static struct blob b;
	struct kbtf_place p;
	uint32_t type;

	types(&b);
	for (size_t length = 0; length < b.length; length++) {
		uint8_t *copy = malloc(length + 1);
		memcpy(copy, b.out, length);
		cr_assert_null(kbtf_new(copy, length, NULL), "%zu", length);
		free(copy);
	}
	/* Any one byte changed: whatever is accepted can be searched (sanitizers watch). */
	for (size_t at = 0; at < b.length; at++) {
		static const uint8_t values[] = {0, 1, 0x7f, 0xff};
		for (unsigned v = 0; v < sizeof(values); v++) {
			uint8_t *copy = malloc(b.length);
			memcpy(copy, b.out, b.length);
			copy[at] = values[v];
			struct kbtf *btf = kbtf_new(copy, b.length, NULL);
			for (uint32_t id = 0; btf && id < kbtf_count(btf); id++) {
				(void)!kbtf_path(btf, id, "arr[2]", &p, NULL);
				(void)!kbtf_path(btf, id, "nothing", &p, &(struct err){0});
			}
			if (btf)
				(void)!kbtf_per_cpu(btf, "nothing", &type, NULL);
			kbtf_free(btf);
			free(copy);
		}
	}
}

/* Offsets are checked against init_task as the compiler laid it out: independent of BTF. */
Test(btf, real_kernels)
{
	struct real_kernels real;

	real_kernels_load(&real);
	for (unsigned k = 0; k < real.n; k++) {
		struct err err = ERR_INIT;
		struct kimage image;
		struct kbtf_place p, task;
		gva_t at;
		uint32_t type;

		cr_assert_eq(kimage_init(&image, real.image[k]->elf, real.image[k]->elf_bytes, &err), 0);
		struct symbols *s = symbols_new(&image, &err);
		struct kbtf *btf = kbtf_new(image.btf.bytes, image.btf.length, &err);
		cr_assert_not_null(btf, "%s", err.message);
		cr_assert_eq(symbols_find(s, "init_task", &at, &err), 0);
		type = kbtf_find(btf, BTF_KIND_STRUCT, "task_struct");
		cr_assert_eq(kbtf_path(btf, type, "", &task, &err), 0);
		const uint8_t *bytes = kimage_at(&image, at, task.size_bytes);
		cr_assert_not_null(bytes);
		const uint8_t *comm = memmem(bytes, task.size_bytes, "swapper", 8);
		cr_assert_not_null(comm);
		cr_assert_eq(kbtf_path(btf, type, "comm", &p, &err), 0, "%s", err.message);
		cr_assert_eq(p.offset_bytes, (uint64_t)(comm - bytes));
		cr_assert_eq(p.size_bytes, 16);
		/* tasks is an empty list at link time: its next points to itself. */
		cr_assert_eq(kbtf_path(btf, type, "tasks.next", &p, &err), 0);
		uint64_t next;
		memcpy(&next, bytes + p.offset_bytes, 8);
		cr_assert_eq(next, at.v + p.offset_bytes);
		cr_assert_eq(kbtf_per_cpu(btf, "runqueues", &type, &err), 0);
		cr_assert_eq(kbtf_path(btf, type, "nr_running", &p, &err), 0);
		cr_assert_eq(p.size_bytes, 4);
		cr_assert_eq(kbtf_path(btf, type, "scx.local_dsq.nr", &p, &err), 0);
		cr_assert_eq(kbtf_path(btf, type, "curr", &p, &err), 0);
		cr_assert_eq(p.size_bytes, 8);
		cr_assert_str_eq(
			kbtf_name(btf, kbtf_resolve(btf, kbtf_target(btf, p.type, NULL))), "task_struct");
		kbtf_free(btf);
		symbols_free(s);
	}
	real_kernels_free(&real);
}
