/* SPDX-License-Identifier: GPL-2.0-only */
/* Tables of a hostile kernel: the input is laid over the memory in which the kernel's tables of PIDs and BPF
 * maps, tasks, maps, buckets, elements and their types are, and all of it is looked up by path. */
#include "host/kmem/access.h"
#include "host/kmem/bpf_map.h"
#include "host/kmem/idr.h"
#include "host/kmem/task.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/kmem/fake_kernel.h"

#include <stdlib.h>

/* The memory that the input fills: one page, and everything that is pointed to lies in it. */
#define TABLES UINT64_C(0x100000)
#define TABLES_BYTES 4096u
#define AT(offset) (FAKE_PAGE_OFFSET + TABLES + (offset))

/* ---- a kernel's types, from a table: in the order of real ones, shorter */

enum { U8 = 1, U32, U64, PTR, ARRAYS };
#define MEMBERS 9
static const struct {
	const char *name;
	uint32_t size;
	struct {
		const char *name;
		uint32_t type, offset, count; /* count > 0: an array of so many */
	} member[MEMBERS];
} structs[] = {
	/* Ids from ARRAYS on; arrays follow the structs. */
	{"xarray", 8, {{"xa_head", PTR, 0, 0}}},
	{"idr", 16, {{"idr_rt", ARRAYS + 0, 0, 0}, {"idr_base", U32, 8, 0}}},
	{"xa_node", 72, {{"shift", U8, 0, 0}, {"slots", PTR, 8, 8}}},
	{"pid_namespace", 16, {{"idr", ARRAYS + 1, 0, 0}}},
	{"hlist_head", 8, {{"first", PTR, 0, 0}}},
	{"pid", 16, {{"tasks", ARRAYS + 4, 0, 1}, {"ino", U64, 8, 0}}},
	{"task_struct", 64,
		{{"__state", U32, 0, 0}, {"exit_state", U32, 4, 0}, {"on_rq", U32, 8, 0}, {"pid", U32, 12, 0},
			{"start_time", U64, 16, 0}, {"start_boottime", U64, 24, 0},
			{"pid_links", ARRAYS + 4, 32, 1}, {"on_cpu", U32, 40, 0}, {"next", PTR, 48, 0}}},
	{"bpf_map", 64,
		{{"map_type", U32, 0, 0}, {"key_size", U32, 4, 0}, {"value_size", U32, 8, 0},
			{"max_entries", U32, 12, 0}, {"id", U32, 16, 0}, {"btf_value_type_id", U32, 20, 0},
			{"btf", PTR, 24, 0}, {"name", U8, 32, 16}}},
	{"bpf_array", 80,
		{{"map", ARRAYS + 7, 0, 0}, {"elem_size", U32, 64, 0}, {"value", U8, 72, 8},
			{"pptrs", PTR, 72, 1}}},
	{"bpf_htab", 88, {{"map", ARRAYS + 7, 0, 0}, {"buckets", PTR, 64, 0}, {"n_buckets", U32, 72, 0}}},
	{"bucket", 16, {{"head", PTR, 0, 0}}},
	{"htab_elem", 48, {{"next", PTR, 0, 0}, {"hash", U32, 40, 0}, {"key", U8, 48, 8}}},
	{"btf", 40,
		{{"data", PTR, 0, 0}, {"data_size", U32, 8, 0}, {"id", U32, 12, 0}, {"base_btf", PTR, 16, 0},
			{"kernel_btf", U8, 24, 0}}},
};
#define N_STRUCTS (sizeof(structs) / sizeof(structs[0]))

static uint8_t types[8192];
static size_t types_bytes;

#define INFO(kind, vlen) ((uint32_t)(kind) << 24 | (vlen))

static uint32_t name_put(char *names, uint32_t *used, const char *name)
{
	uint32_t at = *used;
	strcpy(names + at, name);
	*used += (uint32_t)strlen(name) + 1;
	return at;
}

static void types_build(void)
{
	static uint32_t words[1024], arrays[256];
	static char names[2048];
	uint32_t n = 0, n_arrays = 0, used = 1;
#define PUT(...)                                                                                             \
	do {                                                                                                 \
		const uint32_t put[] = {__VA_ARGS__};                                                        \
		memcpy(words + n, put, sizeof(put));                                                         \
		n += sizeof(put) / sizeof(put[0]);                                                           \
	} while (0)
	PUT(name_put(names, &used, "u8"), INFO(BTF_KIND_INT, 0), 1, 8);
	PUT(name_put(names, &used, "u32"), INFO(BTF_KIND_INT, 0), 4, 32);
	PUT(name_put(names, &used, "u64"), INFO(BTF_KIND_INT, 0), 8, 64);
	PUT(0, INFO(BTF_KIND_PTR, 0), 0);
	for (unsigned s = 0; s < N_STRUCTS; s++) {
		uint32_t count = 0;
		while (count < MEMBERS && structs[s].member[count].name)
			count++;
		PUT(name_put(names, &used, structs[s].name), INFO(BTF_KIND_STRUCT, count), structs[s].size);
		for (unsigned m = 0; m < count; m++) {
			uint32_t type = structs[s].member[m].type;
			if (structs[s].member[m].count) {
				const uint32_t array[] = {
					0, INFO(BTF_KIND_ARRAY, 0), 0, type, U32, structs[s].member[m].count};
				memcpy(arrays + 6 * n_arrays, array, sizeof(array));
				type = ARRAYS + (uint32_t)N_STRUCTS + n_arrays++;
			}
			PUT(name_put(names, &used, structs[s].member[m].name), type,
				structs[s].member[m].offset * 8);
		}
	}
	memcpy(words + n, arrays, n_arrays * 6 * sizeof(arrays[0]));
	n += n_arrays * 6;
	struct btf_header header = {.magic = BTF_MAGIC,
		.version = 1,
		.hdr_len = sizeof(header),
		.type_len = n * 4,
		.str_off = n * 4,
		.str_len = used};
	memcpy(types, &header, sizeof(header));
	memcpy(types + sizeof(header), words, n * 4);
	memcpy(types + sizeof(header) + n * 4, names, used);
	types_bytes = sizeof(header) + n * 4 + used;
}

/* ---- the input */

static void look_up(struct fake_kernel *fake)
{
	static const char *const paths[] = {"task(1).pid", "task(77).start_time", "task(513, 5).on_rq",
		"task(1).next", "map(\"m\").x", "map(1)", "map(3)[1].x", "map(2)[0]@1",
		"map(\"m\")[7]@*.y[3]", "(u64)map(1)[0]", "(struct task_struct)0xffff888000100000.pid"};
	struct kmem_task_id id = {.pid = 1, .start_time_ns = 7, .pidfs_inode = 9};
	unsigned budget = 500;
	struct kmem_map map;
	uint64_t next = 0;
	gva_t task;
	struct err err = {0};
	int rc;

	for (unsigned i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct kmem_read read = {
			.target = {.form = KMEM_PATH, .field = paths[i], .every_cpu = i == 8, .cpu = 1},
			.width = KMEM_NATURAL};
		rc = kmem_read_batch(fake->kmem, &read, 1, NULL, &err);
		assert(rc == 0 || (err.code != ERR_NONE && err.message[0]));
		free(read.bytes);
		struct kmem_write write = {
			.target = read.target, .width = KMEM_U8, .op = KMEM_SET, .force = i & 1};
		(void)!kmem_write_batch(
			fake->kmem, &write, 1, i & 2 ? (const struct freeze *)fake : NULL, &err);
	}
	(void)!kmem_task_find(fake->kmem, &id, &task, &err);
	while ((rc = kmem_map_next(fake->kmem, &next, &budget, &map, &err)) > 0 && next++ < 10000)
		assert(strlen(map.name) < sizeof(map.name));
	assert(rc >= 0 || err.message[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static struct fake_kernel fake;
	struct fuzz_input in = {bytes, length};
	uint8_t *tables;

	if (!types_bytes)
		types_build();
	/* Anew for each: what it remembers is part of what is tested. */
	fake_kernel_init_with(&fake, types, types_bytes);
	/* Rings come often: a shorter way round shows as much. */
	kmem_set_batch_hops(fake.kmem, 20000);
	fuzz_take(&in, fake_data(&fake, FAKE_PIDS), 16);
	fuzz_take(&in, fake_data(&fake, FAKE_MAPS), 16);
	tables = fake_ptr(&fake, TABLES);
	fuzz_take(&in, tables, TABLES_BYTES);
	/* Pointers are made likely: every word whose high half says so leads into the page. */
	for (unsigned i = 0; i < TABLES_BYTES / 8; i++) {
		uint64_t *word = (uint64_t *)(void *)(tables + i * 8);
		if (*word >> 48 == 0x5050)
			*word = AT(*word & (TABLES_BYTES - 1));
	}
	for (unsigned i = 0; i < 2; i++) {
		uint64_t *word = fake_data(&fake, i ? FAKE_MAPS : FAKE_PIDS);
		if (*word >> 48 == 0x5050)
			*word = AT(*word & (TABLES_BYTES - 1));
	}
	look_up(&fake);
	fake_kernel_deinit(&fake);
	return 0;
}
