/* SPDX-License-Identifier: GPL-2.0-only */
/* BPF maps: a table of maps with their values and types, made by hand in the layout of real kernels, read by
 * path, and damage to it. */
#include "host/kmem/access.h"
#include "host/kmem/bpf_map.h"
#include "host/kmem/guest_btf.h"
#include "host/kmem/idr.h"
#include "host/kmem/path.h"
#include "host/kmem/plan.h"
#include "tests/unit/kmem/loaded.h"

#include <errno.h>
#include <linux/bpf.h>

/* Guest-physical places, above the image. */
#define NODES UINT64_C(0x20000000)
#define MAPS UINT64_C(0x21000000)
#define BTFS UINT64_C(0x22000000)
#define TYPES UINT64_C(0x23000000)
#define HASH UINT64_C(0x24000000)
#define PER_CPU UINT64_C(0x28000000) /* of CPU 0; CPU 1 is a MiB further */
#define MAP(i) (MAPS + (i)*0x10000)
#define DIRECT(gpa) (PAGE_OFFSET + (gpa))

/* ---- types: 1 int; 2 u64; 3 struct stat {u64 hits; int misses; struct stat *next}; 4 var nr_enqueued, int;
 * 5 section .bss with it at 8; 6 pointer to 3; 7 struct task_struct {int pid}; 8 pointer to 7; 9 struct
 * holder {struct task_struct *task}; 10 struct where {u64 group; int cpu; int node}; 11 struct odd {struct
 * holder inner} */
#define INFO(kind, vlen) ((uint32_t)(kind) << 24 | (vlen))
static const char strings[] =
	"\0int\0u64\0stat\0hits\0misses\0next\0nr_enqueued\0.bss\0task_struct\0pid\0holder\0task"
	"\0where\0group\0cpu\0node\0odd\0inner";
static uint32_t str(const char *name)
{
	size_t i = 1;
	while (i < sizeof(strings) && strcmp(strings + i, name) != 0)
		i += strlen(strings + i) + 1;
	cr_assert_lt(i, sizeof(strings), "%s", name);
	return (uint32_t)i;
}

static uint32_t types_put(uint64_t gpa)
{
	uint32_t words[] = {str("int"), INFO(BTF_KIND_INT, 0), 4, 1 << 24 | 32,    /* signed */
		str("u64"), INFO(BTF_KIND_INT, 0), 8, 64,                          /* */
		str("stat"), INFO(BTF_KIND_STRUCT, 3), 24, str("hits"), 2, 0,      /* */
		str("misses"), 1, 64, str("next"), 6, 128,                         /* */
		str("nr_enqueued"), INFO(BTF_KIND_VAR, 0), 1, 1,                   /* */
		str(".bss"), INFO(BTF_KIND_DATASEC, 1), 16, 4, 8, 4,               /* */
		0, INFO(BTF_KIND_PTR, 0), 3,                                       /* */
		str("task_struct"), INFO(BTF_KIND_STRUCT, 1), 4, str("pid"), 1, 0, /* */
		0, INFO(BTF_KIND_PTR, 0), 7,                                       /* */
		str("holder"), INFO(BTF_KIND_STRUCT, 1), 8, str("task"), 8, 0,     /* */
		str("where"), INFO(BTF_KIND_STRUCT, 3), 16, str("group"), 2, 0,    /* */
		str("cpu"), 1, 64, str("node"), 1, 96,                             /* */
		str("odd"), INFO(BTF_KIND_STRUCT, 1), 8, str("inner"), 9, 0};
	struct btf_header header = {.magic = BTF_MAGIC,
		.version = 1,
		.hdr_len = sizeof(header),
		.type_len = sizeof(words),
		.str_off = sizeof(words),
		.str_len = sizeof(strings)};
	put(gpa, &header, sizeof(header));
	put(gpa + sizeof(header), words, sizeof(words));
	put(gpa + sizeof(header) + sizeof(words), strings, sizeof(strings));
	return sizeof(header) + sizeof(words) + sizeof(strings);
}

static void slot(unsigned node, unsigned at, uint64_t entry)
{
	put_u64(NODES + node * 0x1000 + offset_of("xa_node", "slots") + at * 8, entry);
}

static void map(unsigned i, unsigned id, const char *name, unsigned kind, unsigned key, unsigned value,
	unsigned entries, unsigned type)
{
	char text[16] = "";
	snprintf(text, sizeof(text), "%s", name);
	put(MAP(i) + offset_of("bpf_map", "name"), text, sizeof(text));
	set(MAP(i), "bpf_map", "id", id);
	set(MAP(i), "bpf_map", "map_type", kind);
	set(MAP(i), "bpf_map", "key_size", key);
	set(MAP(i), "bpf_map", "value_size", value);
	set(MAP(i), "bpf_map", "max_entries", entries);
	set(MAP(i), "bpf_map", "btf_value_type_id", type);
	set(MAP(i), "bpf_map", "btf", type ? DIRECT(BTFS) : 0);
}

static uint64_t value_gpa(unsigned i)
{
	return MAP(i) + offset_of("bpf_array", "value");
}

/* An element of the hash: in which bucket does not matter. Returns where its value is. */
static uint64_t element(unsigned n, uint32_t key, uint64_t next)
{
	uint64_t at = HASH + 0x10000 + n * 0x1000, to = at + offset_of("htab_elem", "key");
	put_u64(at, next);
	put(to, &key, sizeof(key));
	return to + 8;
}

static void maps(void)
{
	memset(memory.region[0].host + NODES, 0, MEMORY_BYTES - NODES);
	/* Ids 1, 70, 71, 5000: three levels. */
	set(NODES, "xa_node", "shift", 12);
	set(NODES + 0x1000, "xa_node", "shift", 6);
	set(NODES + 0x2000, "xa_node", "shift", 0);
	set(NODES + 0x3000, "xa_node", "shift", 0);
	set(NODES + 0x4000, "xa_node", "shift", 6);
	set(NODES + 0x5000, "xa_node", "shift", 0);
	slot(0, 0, DIRECT(NODES) + 0x1002);
	slot(0, 1, DIRECT(NODES) + 0x4002);
	slot(1, 0, DIRECT(NODES) + 0x2002);
	slot(1, 1, DIRECT(NODES) + 0x3002);
	slot(2, 1, DIRECT(MAP(0)));
	slot(3, 6, DIRECT(MAP(1)));
	slot(3, 7, DIRECT(MAP(2)));
	slot(4, (5000 - 4096) >> 6, DIRECT(NODES) + 0x5002);
	slot(5, 5000 & 63, DIRECT(MAP(3)));
	set(symbol_gpa("map_idr"), "idr", "idr_rt.xa_head", DIRECT(NODES) + 2);
	set(symbol_gpa("map_idr"), "idr", "idr_base", 0);

	set(BTFS, "btf", "data", DIRECT(TYPES));
	set(BTFS, "btf", "data_size", types_put(TYPES));
	set(BTFS, "btf", "id", 33);

	map(0, 1, "simple.bss", BPF_MAP_TYPE_ARRAY, 4, 16, 1, 5);
	put(value_gpa(0) + 8, &(int){-7}, 4);
	map(1, 70, "stats", BPF_MAP_TYPE_PERCPU_ARRAY, 4, 24, 3, 3);
	put_u64(value_gpa(1) + 2 * 8, DIRECT(PER_CPU)); /* what __per_cpu_offset is added to */
	put_u64(symbol_gpa("__per_cpu_offset"), 0x1000);
	put_u64(symbol_gpa("__per_cpu_offset") + 8, 0x101000);
	put_u64(symbol_gpa("__cpu_possible_mask"), 3);
	put_u64(symbol_gpa("__cpu_online_mask"), 3);
	put_u64(PER_CPU + 0x1000, 1000);
	put_u64(PER_CPU + 0x101000, 1001);
	map(2, 71, "by_pid", BPF_MAP_TYPE_HASH, 4, 24, 1000, 3);
	set(MAP(2), "bpf_htab", "buckets", DIRECT(HASH));
	set(MAP(2), "bpf_htab", "n_buckets", 4);
	uint64_t stride = 16, first = DIRECT(HASH) + 0x10000, second = first + 0x1000;
	for (unsigned b = 0; b < 4; b++)
		put_u64(HASH + b * stride, b << 1 | 1);
	put_u64(HASH + 2 * stride, first);
	put_u64(element(0, 5, second), 500);
	uint64_t nine = element(1, 9, 2 << 1 | 1);
	put_u64(nine, 900);
	put_u64(nine + 16, DIRECT(value_gpa(3))); /* next */
	map(3, 5000, "plain", BPF_MAP_TYPE_ARRAY, 4, 24, 2, 0);
	set(MAP(3), "bpf_array", "elem_size", 24);
	put_u64(value_gpa(3), 77);
	put_u64(value_gpa(3) + 24, 78);
}

/* ---- what is read */

static int read_path(const char *path, struct kmem_read *ret, struct err *err)
{
	*ret = (struct kmem_read){.target = {.form = KMEM_PATH, .field = path}, .width = KMEM_NATURAL};
	*err = ERR_INIT;
	return kmem_read_batch(kmem, ret, 1, NULL, err);
}

static void expect(const char *path, uint64_t value, const char *type)
{
	struct kmem_read r;
	struct err err;
	char text[64] = "";
	cr_assert_eq(read_path(path, &r, &err), 0, "%s: %s", path, err.message);
	cr_assert_eq(r.value, value, "%s: %llu", path, (unsigned long long)r.value);
	if (r.btf)
		snprintf(text, sizeof(text), "%s", kbtf_name(r.btf, r.type));
	cr_assert_str_eq(text, type, "%s", path);
}

static void expect_error(const char *path, int rc, const char *words)
{
	struct kmem_read r;
	struct err err;
	int got = read_path(path, &r, &err);
	cr_assert_eq(got, rc, "%s: %d %s", path, got, err.message);
	cr_assert_not_null(strstr(err.message, words), "%s: %s", path, err.message);
	free(r.bytes);
}

static void check_values(void)
{
	struct kmem_read r;
	struct err err;
	expect("map(\"simple.bss\").nr_enqueued", (uint32_t)-7, "int");
	expect("map(1).nr_enqueued", (uint32_t)-7, "int");
	expect("map(\"simple.bss\")[0].nr_enqueued", (uint32_t)-7, "int");
	expect("map(\"stats\")[2]@0.hits", 1000, "u64");
	expect("map(\"stats\")[2]@1.hits", 1001, "u64");
	expect("map(\"by_pid\")[5].hits", 500, "u64");
	expect("map( \"by_pid\" )[9].hits", 900, "u64");
	expect("map(\"by_pid\")[9].next->hits", 77, "u64");
	/* No types of its own: a cast, or a width. */
	expect("(u64)map(\"plain\")[1]", 78, "u64");
	cr_assert_eq(read_path("map(\"plain\")[1]", &r, &err), 0, "%s", err.message);
	cr_assert_eq(r.length, 24);
	cr_assert_eq(*(uint64_t *)r.bytes, 78);
	free(r.bytes);
	cr_assert_eq(read_path("map(\"simple.bss\")", &r, &err), 0, "%s", err.message);
	cr_assert_eq(r.length, 16);
	free(r.bytes);
	/* Every CPU. */
	struct kmem_resolved where;
	cr_assert_eq(
		kmem_path_resolve(kmem, "map(\"stats\")[2]@*.hits", 1, &where, &err), 0, "%s", err.message);
	cr_assert_eq(where.address.v, DIRECT(PER_CPU) + 0x101000);
	/* Writes reach it, too. */
	struct kmem_write w = {.target = {.form = KMEM_PATH, .field = "map(\"by_pid\")[5].misses"},
		.width = KMEM_U32,
		.op = KMEM_SET,
		.value = 3};
	cr_assert_eq(kmem_write_batch(kmem, &w, 1, NULL, &err), 0, "%s", err.message);
	expect("map(\"by_pid\")[5].misses", 3, "int");
}

Test(map, values_are_read_by_name_key_and_type)
{
	with_loaded_kernels(maps, check_values);
}

static void check_kernel_types(void)
{
	/* A pointer to what the program calls struct task_struct leads to the kernel's. */
	map(3, 5000, "plain", BPF_MAP_TYPE_ARRAY, 4, 8, 1, 9);
	put_u64(value_gpa(3), DIRECT(MAPS + 0x100000));
	set(MAPS + 0x100000, "task_struct", "pid", 4711);
	set(MAPS + 0x100000, "task_struct", "tgid", 4712);
	expect("map(\"plain\").task->pid", 4711, "pid_t");
	expect("map(\"plain\").task->tgid", 4712, "pid_t");
}

Test(map, structs_of_the_kernel_are_the_kernels)
{
	with_loaded_kernels(maps, check_kernel_types);
}

static void check_mistakes(void)
{
	expect_error("map(\"simple.bs\").x", -ENOENT, "'simple.bss'");
	expect_error("map(\"simple.bss\").nr_enqueue", -ENOENT, "'nr_enqueued'");
	expect_error("map(\"stats\")[3]@0.hits", -EINVAL, "beyond");
	expect_error("map(\"stats\")[2].hits", -EINVAL, "per-CPU map");
	expect_error("map(\"stats\")[2]@7.hits", -ENOENT, "CPU 7");
	expect_error("map(\"stats\")[2]@*.hits", -EINVAL, "snapshots only");
	expect_error("map(\"by_pid\")[6].hits", -ENOENT, "no element");
	expect_error("map(\"by_pid\")[4294967296].hits", -EINVAL, "does not fit");
	expect_error("map(\"by_pid\").hits", -EINVAL, "many elements");
	expect_error("map(\"by_pid\")[5]@0.hits", -EINVAL, "not per CPU");
	expect_error("map(\"plain\")[0].x", -EINVAL, "no type");
	expect_error("map(12).x", -ENOENT, "id 12");
	expect_error("map(x).x", -EINVAL, "in quotes");
	expect_error("map(\"stats).x", -EINVAL, "not closed");
	expect_error("map(\"\").x", -EINVAL, "a name");
	expect_error("map(\"stats\"", -EINVAL, "')'");
	expect_error("map(\"simple.bss.long_name\").x", -ENOENT, "15 bytes");
	set(MAP(2), "bpf_map", "map_type", BPF_MAP_TYPE_QUEUE);
	expect_error("map(\"by_pid\")[5]", -EOPNOTSUPP, "cannot be found");
	map(3, 5000, "stats", BPF_MAP_TYPE_ARRAY, 4, 8, 1, 0);
	expect_error("map(\"stats\")[2]@0.hits", -ENOTUNIQ, "70, 5000");
}

Test(map, mistakes_are_told)
{
	with_loaded_kernels(maps, check_mistakes);
}

static void check_damage(void)
{
	static const uint64_t garbage[] = {2, 4098, UINT64_MAX, UINT64_C(0xdead000000000000),
		UINT64_C(0xffff888fffffff00), DIRECT(NODES) + 2};
	struct kmem_read r;
	struct err err;
	for (unsigned i = 0; i < ARRAY_SIZE(garbage); i++) {
		for (unsigned what = 0; what < 7; what++) {
			if (what == 0)
				slot(0, 0, garbage[i]);
			else if (what == 1)
				slot(2, 1, garbage[i]);
			else if (what == 2)
				set(MAP(2), "bpf_htab", "buckets", garbage[i]);
			else if (what == 3)
				put_u64(HASH + 2 * 16, garbage[i] & ~UINT64_C(1));
			else if (what == 4)
				set(MAP(2), "bpf_map", "btf", garbage[i]);
			else if (what == 5)
				set(BTFS, "btf", "data", garbage[i]);
			else
				set(BTFS, "btf", "data_size", garbage[i]);
			/* An answer or a reason, in bounded time; never more. */
			set(BTFS, "btf", "id", 100 + i * 10 + what);
			int rc = read_path("map(\"by_pid\")[5].hits", &r, &err);
			cr_assert(rc == 0 || err.message[0], "%u %u", i, what);
			free(r.bytes);
			maps();
		}
	}
	/* A ring of elements, a section beyond the value, types that are none. */
	put_u64(HASH + 0x10000, DIRECT(HASH) + 0x10000);
	expect_error("map(\"by_pid\")[9].hits", -E2BIG, "elements");
	maps();
	set(MAP(0), "bpf_map", "value_size", 8);
	expect_error("map(\"simple.bss\").nr_enqueued", -ENOTSUP, "does not fit");
	maps();
	put(TYPES, "x", 1);
	set(BTFS, "btf", "id", 1);
	expect_error("map(\"simple.bss\").nr_enqueued", -ENOTSUP, "types of a BPF map");
	maps();
	put(TYPES + sizeof(struct btf_header) + 4 * 45, "\x01\x1b[", 3); /* in the strings */
	set(BTFS, "btf", "id", 2);
	(void)!read_path("map(\"simple.bss\").nr_enqueued", &r, &err);
	free(r.bytes);
	maps();
	set(BTFS, "btf", "data_size", GUEST_BTF_BYTES_MAX + 1);
	set(BTFS, "btf", "id", 3);
	expect_error("map(\"simple.bss\").nr_enqueued", -ENOTSUP, "bytes");
}

/* A guest whose tables make every single lookup slow does not keep a batch of them for hours. */
static void check_batch_bounded(void)
{
	enum { BUCKETS = 2000, N = 64 };
	const char *last = "map(\"by_pid\")[5].hits", *none = "map(\"by_pid\")[6].hits";
	struct kmem_read reads[N];
	struct kmem_plan plan;
	struct kmem_plan_turn turn;
	struct err err = ERR_INIT;
	uint64_t value;
	for (unsigned b = 0; b < BUCKETS; b++)
		put_u64(HASH + 0x100000 + b * 16, b << 1 | 1);
	put_u64(HASH + 0x100000 + (BUCKETS - 1) * 16, DIRECT(HASH) + 0x10000);
	set(MAP(2), "bpf_htab", "buckets", DIRECT(HASH) + 0x100000);
	set(MAP(2), "bpf_htab", "n_buckets", BUCKETS);
	for (unsigned i = 0; i < N; i++)
		reads[i] = (struct kmem_read){
			.target = {.form = KMEM_PATH, .field = last}, .width = KMEM_NATURAL};
	cr_assert_eq(kmem_read_batch(kmem, reads, N, NULL, &err), 0, "%s", err.message);
	cr_assert_eq(reads[N - 1].value, 500);
	uint64_t before = kmem_batch_hops(kmem);
	kmem_set_batch_hops(kmem, (N / 2) * BUCKETS);
	cr_assert_eq(kmem_read_batch(kmem, reads, N, NULL, &err), -E2BIG);
	cr_assert_not_null(strstr(err.message, "fewer"), "%s", err.message);
	cr_assert_eq(kmem_read_batch(kmem, reads, N / 4, NULL, &err), 0, "%s", err.message);
	/* Prepared ones, too, those that fail as well. */
	cr_assert_eq(kmem_plan_init(&plan, kmem, &reads[0], &err), 0, "%s", err.message);
	cr_assert_eq(kmem_plan_turn_init(&turn, kmem, false, &err), 0);
	const char *own = plan.target.field;
	plan.target.field = none;
	unsigned missed = 0;
	while (missed < N && kmem_plan_read(&turn, &plan, &value, NULL, &err) == -ENOENT)
		missed++;
	plan.target.field = own;
	cr_assert(missed > N / 4 && missed <= N / 2 + 1, "%u", missed);
	cr_assert_eq(kmem_plan_read(&turn, &plan, &value, NULL, &err), -E2BIG);
	cr_assert_eq(kmem_plan_turn_init(&turn, kmem, false, &err), 0);
	cr_assert_eq(kmem_plan_read(&turn, &plan, &value, NULL, &err), 0, "%s", err.message);
	cr_assert_eq(value, 500);
	kmem_plan_deinit(&plan);
	kmem_set_batch_hops(kmem, before);
}

Test(map, a_batch_of_slow_lookups_is_bounded)
{
	with_loaded_kernels(maps, check_batch_bounded);
}

Test(map, tables_lists_and_types_may_be_damaged)
{
	with_loaded_kernels(maps, check_damage);
}

static void check_walk(void)
{
	static const uint32_t ids[] = {1, 70, 71, 5000};
	unsigned budget = KMEM_IDR_NODES_MAX, n = 0;
	struct err err = ERR_INIT;
	struct kmem_map found;
	uint64_t id = 0;
	int rc;
	for (; (rc = kmem_map_next(kmem, &id, &budget, &found, &err)) > 0; id++) {
		cr_assert_lt(n, ARRAY_SIZE(ids));
		cr_assert_eq(found.id, ids[n]);
		cr_assert_eq(id, ids[n++]);
	}
	cr_assert_eq(rc, 0, "%s", err.message);
	cr_assert_eq(n, ARRAY_SIZE(ids));
	budget = 2;
	id = 0;
	cr_assert_eq(kmem_map_next(kmem, &id, &budget, &found, &err), -E2BIG);
	/* The same types are kept once, whoever brings them. */
	const struct kbtf *one, *other;
	cr_assert_eq(kmem_guest_btf(kmem, GVA(DIRECT(BTFS)), &one, &err), 0, "%s", err.message);
	set(BTFS, "btf", "id", 34);
	cr_assert_eq(kmem_guest_btf(kmem, GVA(DIRECT(BTFS)), &other, &err), 0);
	cr_assert_eq(one, other);
	/* One entry and no node; nothing at all. */
	set(symbol_gpa("map_idr"), "idr", "idr_rt.xa_head", DIRECT(MAP(0)));
	set(symbol_gpa("map_idr"), "idr", "idr_base", 1);
	budget = 2;
	id = 0;
	cr_assert_eq(kmem_map_next(kmem, &id, &budget, &found, &err), 1);
	cr_assert_eq(id, 1);
	id = 2;
	cr_assert_eq(kmem_map_next(kmem, &id, &budget, &found, &err), 0);
	set(symbol_gpa("map_idr"), "idr", "idr_rt.xa_head", 0);
	id = 0;
	cr_assert_eq(kmem_map_next(kmem, &id, &budget, &found, &err), 0);
}

Test(map, all_are_found_in_order)
{
	with_loaded_kernels(maps, check_walk);
}

/* ---- keys that are more than a number */

/* An element of a hash with keys of 16 bytes. Returns where its value is. */
static uint64_t element16(unsigned n, const void *key, uint64_t next)
{
	uint64_t at = HASH + 0x10000 + n * 0x1000, to = at + offset_of("htab_elem", "key");
	put_u64(at, next);
	put(to, key, 16);
	return to + 16;
}

static void long_keys(void)
{
	static const struct {
		uint64_t group;
		int cpu, node;
	} where = {7, 3, 4};
	maps();
	map(2, 71, "by_pid", BPF_MAP_TYPE_HASH, 16, 24, 1000, 3);
	set(MAP(2), "bpf_map", "btf_key_type_id", 10);
	put_u64(element16(0, &where, DIRECT(HASH) + 0x11000), 700);
	put_u64(element16(1, "swapper/0\0\0\0\0\0\0", 2 << 1 | 1), 800);
}

static void check_keys(void)
{
	expect("map(\"by_pid\")[7, 3, 4].hits", 700, "u64");
	expect("map(\"by_pid\")[7,3,0x4].hits", 700, "u64");
	expect("map(\"by_pid\")[hex(0700000000000000 03000000 04000000)].hits", 700, "u64");
	expect("map(\"by_pid\")[\"swapper/0\"].hits", 800, "u64");
	expect("map(\"by_pid\")[ \"swapper/0\" ].hits", 800, "u64");
	expect("map(\"by_pid\")[hex(737761707065722F30 00000000000000)].hits", 800, "u64");
	expect_error("map(\"by_pid\")[7, 3, 5].hits", -ENOENT, "with that key");
	expect_error("map(\"by_pid\")[\"swapper/1\"].hits", -ENOENT, "with that key");
	expect_error("map(\"by_pid\")[7].hits", -EINVAL, "16 bytes");
	expect_error("map(\"by_pid\")[7, 3].hits", -EINVAL, "has more members");
	expect_error("map(\"by_pid\")[7, 3, 4, 5].hits", -EINVAL, "no more members");
	expect_error("map(\"by_pid\")[7, 4294967296, 4].hits", -EINVAL, "does not fit");
	expect_error("map(\"by_pid\")[7, x].hits", -EINVAL, "expected a number");
	expect_error("map(\"by_pid\")[hex(07)].hits", -EINVAL, "1 bytes");
	expect_error("map(\"by_pid\")[hex(070)].hits", -EINVAL, "two hexadecimal");
	expect_error("map(\"by_pid\")[hex(07].hits", -EINVAL, "two hexadecimal");
	expect_error("map(\"by_pid\")[hex(07", -EINVAL, "not closed");
	expect_error("map(\"by_pid\")[\"seventeen letters\"].hits", -EINVAL, "17 bytes");
	expect_error("map(\"by_pid\")[\"a].hits", -EINVAL, "not closed");
	expect_error("map(\"by_pid\")[\"a\".hits", -EINVAL, "']'");
	/* Elements of arrays have numbers. */
	expect_error("map(\"plain\")[\"a\"]", -EINVAL, "expected a number");
	expect_error("map(\"plain\")[hex(00000000)]", -EINVAL, "expected a number");
	expect_error("map(\"plain\")[0, 1]", -EINVAL, "not known");
	set(MAP(2), "bpf_map", "btf_key_type_id", 1);
	expect_error("map(\"by_pid\")[7, 3, 4].hits", -EINVAL, "no structs");
	set(MAP(2), "bpf_map", "btf_key_type_id", 11);
	expect_error("map(\"by_pid\")[7, 3].hits", -EINVAL, "not every member");
	set(MAP(2), "bpf_map", "btf_key_type_id", 0);
	expect_error("map(\"by_pid\")[7, 3, 4].hits", -EINVAL, "not known");
	/* Beyond what a key of that size can hold, says a damaged map. */
	set(MAP(2), "bpf_map", "btf_key_type_id", 10);
	set(MAP(2), "bpf_map", "key_size", 12);
	expect_error("map(\"by_pid\")[7, 3, 4].hits", -EINVAL, "not every member");
	set(MAP(2), "bpf_map", "key_size", KMEM_MAP_KEY_MAX + 1);
	expect_error("map(\"by_pid\")[7, 3, 4].hits", -EINVAL, "129 bytes");
	expect_error("map(\"by_pid\")[\"a\"].hits", -EINVAL, "129 bytes");
	expect_error("map(\"by_pid\")[hex(00)].hits", -EINVAL, "129 bytes");
}

/* ---- other kinds */

static void check_maps_of_maps(void)
{
	map(3, 5000, "plain", BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 4, 2, 0);
	put_u64(MAP(3) + offset_of("bpf_array", "ptrs"), 0);
	put_u64(MAP(3) + offset_of("bpf_array", "ptrs") + 8, DIRECT(MAP(1)));
	expect("map(\"plain\")[1]->id", 70, "u32");
	expect_error("map(\"plain\")[0]->id", -EFAULT, "NULL");
	set(MAP(2), "bpf_map", "map_type", BPF_MAP_TYPE_HASH_OF_MAPS);
	put_u64(element(0, 5, 2 << 1 | 1), DIRECT(MAP(0)));
	expect("map(\"by_pid\")[5]->id", 1, "u32");
}

static void check_struct_ops(void)
{
	const struct kbtf *btf = kmem_btf(kmem, NULL);
	uint32_t type = kbtf_find(btf, BTF_KIND_STRUCT, "bpf_struct_ops_sched_ext_ops");
	uint64_t size, at = MAP(3) + offset_of("bpf_struct_ops_map", "kvalue");
	cr_assert(type && kbtf_size(btf, type, &size) == 0);
	map(3, 5000, "plain", BPF_MAP_TYPE_STRUCT_OPS, 4, (unsigned)size, 1, 0);
	set(MAP(3), "bpf_map", "btf_vmlinux_value_type_id", type);
	set(at, "bpf_struct_ops_sched_ext_ops", "data.timeout_ms", 5000);
	expect("map(\"plain\").data.timeout_ms", 5000, "u32");
	expect("map(\"plain\")[0].data.timeout_ms", 5000, "u32");
	expect_error("map(\"plain\")[1].data.timeout_ms", -EINVAL, "one element");
	set(MAP(3), "bpf_map", "value_size", 8);
	expect_error("map(\"plain\").data.timeout_ms", -ENOTSUP, "does not fit");
}

/* Two buckets; the elements are those of 1 and 2, or 1 and 3 together in a list. */
#define BUCKETS HASH
#define ELEM(n) (HASH + 0x10000 + (n)*0x1000)
#define STORAGE(n) (HASH + 0x20000 + (n)*0x1000)
#define OWNER(n) (HASH + 0x100000 + (n)*0x10000)
#define KERNFS(n) (HASH + 0x30000 + (n)*0x1000)
#define PIDS (HASH + 0x40000)

static void storage_element(unsigned n, unsigned next)
{
	uint64_t link = offset_of("bpf_local_storage_elem", "map_node");
	put_u64(ELEM(n) + link, next ? DIRECT(ELEM(next)) + link : 0);
	set(ELEM(n), "bpf_local_storage_elem", "local_storage", DIRECT(STORAGE(n)));
	set(STORAGE(n), "bpf_local_storage", "owner", DIRECT(OWNER(n)));
	put_u64(ELEM(n) + offset_of("bpf_local_storage_elem", "sdata.data"), 1000 + n);
}

static void storage(unsigned kind)
{
	struct kbtf_place bucket;
	uint64_t link = offset_of("bpf_local_storage_elem", "map_node");
	cr_assert_eq(kmem_struct_member(kmem, "bpf_local_storage_map_bucket", "", &bucket, NULL), 0);
	maps();
	map(3, 5000, "plain", kind, 4, 24, 0, 3);
	set(MAP(3), "bpf_local_storage_map", "buckets", DIRECT(BUCKETS));
	set(MAP(3), "bpf_local_storage_map", "bucket_log", 1);
	memset(memory.region[0].host + HASH, 0, 0x100000);
	set(BUCKETS, "bpf_local_storage_map_bucket", "list.first", DIRECT(ELEM(1)) + link);
	set(BUCKETS + bucket.size_bytes, "bpf_local_storage_map_bucket", "list.first",
		DIRECT(ELEM(2)) + link);
	storage_element(1, 3);
	storage_element(2, 0);
	storage_element(3, 0);
}

static void cgroup_storage(void)
{
	storage(32); /* BPF_MAP_TYPE_CGRP_STORAGE */
	for (unsigned n = 1; n <= 3; n++) {
		set(OWNER(n), "cgroup", "kn", DIRECT(KERNFS(n)));
		set(KERNFS(n), "kernfs_node", "id", (UINT64_C(1) << 32) + n);
	}
}

static void check_cgroup_storage(void)
{
	expect("map(\"plain\")[0x100000001].hits", 1001, "u64");
	expect("map(\"plain\")[0x100000002].hits", 1002, "u64");
	expect("map(\"plain\")[0x100000003].hits", 1003, "u64");
	expect_error("map(\"plain\")[1].hits", -ENOENT, "nothing for a cgroup");
	expect_error("map(\"plain\").hits", -EINVAL, "many elements");
	expect_error("map(\"plain\")[\"a\"].hits", -EINVAL, "expected a number");
	/* One on its way out belongs to nobody. */
	set(STORAGE(1), "bpf_local_storage", "owner", 0);
	expect_error("map(\"plain\")[0x100000001].hits", -ENOENT, "nothing for a cgroup");
	set(ELEM(2), "bpf_local_storage_elem", "local_storage", 0);
	expect_error("map(\"plain\")[0x100000002].hits", -ENOENT, "nothing for a cgroup");
	/* A ring, a table without end. */
	put_u64(ELEM(3) + offset_of("bpf_local_storage_elem", "map_node"),
		DIRECT(ELEM(3)) + offset_of("bpf_local_storage_elem", "map_node"));
	expect_error("map(\"plain\")[1].hits", -E2BIG, "elements");
	set(MAP(3), "bpf_local_storage_map", "bucket_log", 40);
	expect_error("map(\"plain\")[1].hits", -ENOTSUP, "2^40");
	set(MAP(3), "bpf_local_storage_map", "bucket_log", 1);
	set(MAP(3), "bpf_local_storage_map", "buckets", 0x1234);
	expect_error("map(\"plain\")[1].hits", -EFAULT, "");
}

static void task_storage(void)
{
	storage(BPF_MAP_TYPE_TASK_STORAGE);
	set(PIDS, "pid", "tasks[0].first", DIRECT(OWNER(3)) + offset_of("task_struct", "pid_links[0]"));
	set(OWNER(3), "task_struct", "pid", 77);
	set(symbol_gpa("init_pid_ns"), "pid_namespace", "idr.idr_rt.xa_head", DIRECT(PIDS));
	set(symbol_gpa("init_pid_ns"), "pid_namespace", "idr.idr_base", 77);
}

static void check_task_storage(void)
{
	expect("map(\"plain\")[77].hits", 1003, "u64");
	expect_error("map(\"plain\")[78].hits", -ENOENT, "PID 78");
	expect_error("map(\"plain\")[0].hits", -EINVAL, "by the PID");
	expect_error("map(\"plain\")[0x100000000].hits", -EINVAL, "by the PID");
	set(STORAGE(3), "bpf_local_storage", "owner", DIRECT(OWNER(2)));
	expect_error("map(\"plain\")[77].hits", -ENOENT, "nothing for that task");
}

/* In one: loading the kernels is what takes time. */
static void check_others(void)
{
	long_keys();
	check_keys();
	maps();
	check_maps_of_maps();
	maps();
	check_struct_ops();
	cgroup_storage();
	check_cgroup_storage();
	task_storage();
	check_task_storage();
}

Test(map, keys_of_other_forms_and_other_kinds_of_maps)
{
	with_loaded_kernels(maps, check_others);
}
