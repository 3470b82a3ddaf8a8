/* SPDX-License-Identifier: GPL-2.0-only */
/* BTF: synthetic types, damage, and members of real kernels checked against the image's data. */
#include "host/kmem/btf.h"
#include "host/kmem/symbols.h"
#include "tests/unit/kmem/real.h"
#include "tests/unit/kmem/synthetic.h"

#include <criterion/criterion.h>
#include <errno.h>

Test(btf, members_and_paths)
{
	static struct synthetic_btf b;
	struct err err = ERR_INIT;
	struct kbtf_place p;
	uint32_t rq;

	synthetic_btf_build(&b);
	struct kbtf *btf = kbtf_new(b.bytes, b.length, &err);
	cr_assert_not_null(btf, "%s", err.message);
	cr_assert_eq(kbtf_count(btf), 11);
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
	static struct synthetic_btf b;
	struct kbtf_place p;
	uint64_t size;

	synthetic_btf_build(&b);
	struct kbtf *btf = kbtf_new(b.bytes, b.length, NULL);
	cr_assert_eq(kbtf_resolve(btf, 8), 0);
	cr_assert_eq(kbtf_resolve(btf, UINT32_MAX), 0);
	cr_assert_eq(kbtf_size(btf, 8, &size), -ERANGE);
	cr_assert_eq(kbtf_path(btf, 9, "anything", &p, NULL), -ENOENT);
	kbtf_free(btf);
}

Test(btf, damage_is_refused_or_harmless, .timeout = 60)
{
	static struct synthetic_btf b;
	struct kbtf_place p;
	uint32_t type;

	synthetic_btf_build(&b);
	for (size_t length = 0; length < b.length; length++) {
		uint8_t *copy = malloc(length + 1);
		memcpy(copy, b.bytes, length);
		cr_assert_null(kbtf_new(copy, length, NULL), "%zu", length);
		free(copy);
	}
	/* Any one byte changed: whatever is accepted can be searched (sanitizers watch). */
	for (size_t at = 0; at < b.length; at++) {
		static const uint8_t values[] = {0, 1, 0x7f, 0xff};
		for (unsigned v = 0; v < sizeof(values); v++) {
			uint8_t *copy = malloc(b.length);
			memcpy(copy, b.bytes, b.length);
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
		int64_t value = -1;
		cr_assert_eq(kbtf_enumerator(btf, "vm_event_item", "PGMIGRATE_SUCCESS", &value, &err), 0);
		cr_assert_gt(value, 0);
		cr_assert_lt(kbtf_enumerator(btf, "vm_event_item", "NO_SUCH_EVENT", &value, &err), 0);
		cr_assert_eq(err.code, ERR_NOT_FOUND);
		cr_assert_lt(kbtf_enumerator(btf, "task_struct", "comm", &value, &err), 0);
		kbtf_free(btf);
		symbols_free(s);
	}
	real_kernels_free(&real);
}
