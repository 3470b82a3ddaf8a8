/* SPDX-License-Identifier: GPL-2.0-only */
/* In the guest, and without any of schedrig's code: makes BPF maps that bring their types, and tells what is
 * in them as the kernel's own calls have it. Static.
 *
 *   e2e-maps make             makes them, says "ready", keeps them until it is killed
 *   e2e-maps show NAME KEY    prints the first 8 bytes of that element as a number, of every CPU in turn */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/btf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CPUS_MAX 1024

static long bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static void die(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	exit(1);
}

/* 1 int; 2 u64; 3 struct counts {u64 hits; int misses; struct counts *next}; 4 int nr_enqueued; 5 u64 total;
 * 6 section .bss; 7 pointer to 3; 8 struct task_struct {int pid}; 9 pointer to 8; 10 struct holder {struct
 * task_struct *task}; 11 struct where {u64 group; int cpu; int node} */
static const char strings[] =
	"\0int\0u64\0counts\0hits\0misses\0next\0nr_enqueued\0total\0.bss\0task_struct\0pid\0holder\0task"
	"\0where\0group\0cpu\0node";

static uint32_t str(const char *name)
{
	for (size_t i = 1; i < sizeof(strings); i += strlen(strings + i) + 1)
		if (strcmp(strings + i, name) == 0)
			return (uint32_t)i;
	abort();
}

#define INFO(kind, vlen) ((uint32_t)(kind) << 24 | (vlen))
static int types_load(void)
{
	uint32_t words[] = {str("int"), INFO(BTF_KIND_INT, 0), 4, 1u << 24 | 32,   /* */
		str("u64"), INFO(BTF_KIND_INT, 0), 8, 64,                          /* */
		str("counts"), INFO(BTF_KIND_STRUCT, 3), 24, str("hits"), 2, 0,    /* */
		str("misses"), 1, 64, str("next"), 7, 128,                         /* */
		str("nr_enqueued"), INFO(BTF_KIND_VAR, 0), 1, 1,                   /* */
		str("total"), INFO(BTF_KIND_VAR, 0), 2, 1,                         /* */
		str(".bss"), INFO(BTF_KIND_DATASEC, 2), 16, 4, 0, 4, 5, 8, 8,      /* */
		0, INFO(BTF_KIND_PTR, 0), 3,                                       /* */
		str("task_struct"), INFO(BTF_KIND_STRUCT, 1), 4, str("pid"), 1, 0, /* */
		0, INFO(BTF_KIND_PTR, 0), 8,                                       /* */
		str("holder"), INFO(BTF_KIND_STRUCT, 1), 8, str("task"), 9, 0,     /* */
		str("where"), INFO(BTF_KIND_STRUCT, 3), 16, str("group"), 2, 0,    /* */
		str("cpu"), 1, 64, str("node"), 1, 96};
	struct {
		struct btf_header header;
		uint32_t words[sizeof(words) / sizeof(words[0])];
		char strings[sizeof(strings)];
	} btf = {.header = {.magic = BTF_MAGIC,
			 .version = 1,
			 .hdr_len = sizeof(struct btf_header),
			 .type_len = sizeof(words),
			 .str_off = sizeof(words),
			 .str_len = sizeof(strings)}};
	static char log[65536];
	union bpf_attr attr = {0};
	memcpy(btf.words, words, sizeof(words));
	memcpy(btf.strings, strings, sizeof(strings));
	attr.btf = (uint64_t)(uintptr_t)&btf;
	attr.btf_size = sizeof(struct btf_header) + sizeof(words) + sizeof(strings);
	attr.btf_log_buf = (uint64_t)(uintptr_t)log;
	attr.btf_log_size = sizeof(log);
	attr.btf_log_level = 1;
	int fd = (int)bpf(BPF_BTF_LOAD, &attr);
	if (fd < 0) {
		printf("%.800s\n", log);
		die("BPF_BTF_LOAD");
	}
	return fd;
}

struct shape {
	const char *name;
	unsigned kind, flags, key_bytes, value_bytes, entries, key_type, value_type;
	int inner; /* a map of the kind that it holds */
};

static int map_make(int types, const struct shape *shape)
{
	union bpf_attr attr = {0};
	attr.map_type = shape->kind;
	attr.map_flags = shape->flags;
	attr.key_size = shape->key_bytes;
	attr.value_size = shape->value_bytes;
	attr.max_entries = shape->entries;
	attr.btf_key_type_id = shape->key_type;
	attr.btf_value_type_id = shape->value_type;
	attr.btf_fd = shape->value_type ? (uint32_t)types : 0;
	attr.inner_map_fd = (uint32_t)shape->inner;
	snprintf(attr.map_name, sizeof(attr.map_name), "%s", shape->name);
	int fd = (int)bpf(BPF_MAP_CREATE, &attr);
	if (fd < 0)
		die(shape->name);
	return fd;
}

static void map_set(int fd, const void *key, const void *value)
{
	union bpf_attr attr = {0};
	attr.map_fd = (uint32_t)fd;
	attr.key = (uint64_t)(uintptr_t)key;
	attr.value = (uint64_t)(uintptr_t)value;
	if (bpf(BPF_MAP_UPDATE_ELEM, &attr) < 0)
		die("BPF_MAP_UPDATE_ELEM");
}

/* Address of a kernel symbol. */
static uint64_t symbol(const char *name)
{
	FILE *file = fopen("/proc/kallsyms", "r");
	char line[512], found[256];
	unsigned long long address;
	char type;
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%llx %c %255s", &address, &type, found) == 3 && strcmp(found, name) == 0)
			return address;
	die(name);
	return 0;
}

struct counts {
	uint64_t hits;
	int32_t misses;
	uint64_t next;
};

/* include/uapi/linux/bpf.h, for headers before Linux 6.2. */
#define MAP_TYPE_CGRP_STORAGE 32

/* Keys of other forms than one number, and elements that belong to something. */
static void make_others(int types)
{
	static const struct {
		uint64_t group;
		int32_t cpu, node;
	} where = {7, 3, 4};
	static const char text[16] = "swapper";
	const uint32_t zero = 0;
	int root = open("/sys/fs/cgroup", O_RDONLY | O_DIRECTORY),
	    self = (int)syscall(SYS_pidfd_open, getpid(), 0);
	int fd = map_make(types, &(struct shape){"e2e_where", BPF_MAP_TYPE_HASH, 0, 16, 24, 10, 11, 3, 0});
	map_set(fd, &where, &(struct counts){4711, 0, 0});
	map_set(fd, text, &(struct counts){4712, 0, 0});
	int outer = map_make(types, &(struct shape){.name = "e2e_outer",
					    .kind = BPF_MAP_TYPE_ARRAY_OF_MAPS,
					    .key_bytes = 4,
					    .value_bytes = 4,
					    .entries = 1,
					    .inner = fd});
	map_set(outer, &zero, &fd);
	if (root < 0 || self < 0)
		die("root cgroup, or own pidfd");
	fd = map_make(types,
		&(struct shape){"e2e_task", BPF_MAP_TYPE_TASK_STORAGE, BPF_F_NO_PREALLOC, 4, 24, 0, 1, 3, 0});
	map_set(fd, &self, &(struct counts){31337, 0, 0});
	fd = map_make(types,
		&(struct shape){"e2e_cgroup", MAP_TYPE_CGRP_STORAGE, BPF_F_NO_PREALLOC, 4, 24, 0, 1, 3, 0});
	map_set(fd, &root, &(struct counts){271828, 0, 0});
}

static void make(void)
{
	int types = types_load();
	struct {
		int32_t nr_enqueued;
		uint64_t total;
	} bss = {-7, UINT64_C(0x1122334455667788)};
	static struct counts per_cpu[CPUS_MAX];
	uint32_t zero = 0, two = 2, key;
	int fd = map_make(
		types, &(struct shape){"e2e.bss", BPF_MAP_TYPE_ARRAY, BPF_F_MMAPABLE, 4, 16, 1, 0, 6});
	map_set(fd, &zero, &bss);
	fd = map_make(types, &(struct shape){"e2e_stats", BPF_MAP_TYPE_PERCPU_ARRAY, 0, 4, 24, 3, 1, 3});
	for (unsigned cpu = 0; cpu < CPUS_MAX; cpu++)
		per_cpu[cpu] = (struct counts){1000 + cpu, -(int32_t)cpu, 0};
	map_set(fd, &two, per_cpu);
	static const unsigned hashes[] = {BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_HASH};
	static const char *const names[] = {"e2e_hash", "e2e_lru", "e2e_lazy"};
	for (unsigned h = 0; h < 3; h++) {
		fd = map_make(types, &(struct shape){names[h], hashes[h], h == 2 ? BPF_F_NO_PREALLOC : 0, 4,
					     24, 500, 1, 3});
		for (key = 1; key <= 100; key++)
			map_set(fd, &key, &(struct counts){key * 100, (int32_t)key, 0});
	}
	fd = map_make(types, &(struct shape){"e2e_cpu_hash", BPF_MAP_TYPE_PERCPU_HASH, 0, 4, 24, 50, 1, 3});
	key = 42;
	map_set(fd, &key, per_cpu);
	uint64_t wide[] = {11, 22, 33};
	fd = map_make(types, &(struct shape){"e2e_plain", BPF_MAP_TYPE_ARRAY, 0, 4, 8, 3, 0, 0});
	for (key = 0; key < 3; key++)
		map_set(fd, &key, &wide[key]);
	make_others(types);
	uint64_t task = symbol("init_task");
	fd = map_make(types, &(struct shape){"e2e_holder", BPF_MAP_TYPE_ARRAY, 0, 4, 8, 1, 1, 10});
	map_set(fd, &zero, &task);
	printf("ready\n");
	fflush(stdout);
	for (;;)
		pause();
}

static int map_open(const char *name, struct bpf_map_info *info)
{
	union bpf_attr next = {0};
	while (bpf(BPF_MAP_GET_NEXT_ID, &next) == 0) {
		union bpf_attr attr = {0};
		attr.map_id = next.next_id;
		int fd = (int)bpf(BPF_MAP_GET_FD_BY_ID, &attr);
		memset(&attr, 0, sizeof(attr));
		attr.info.bpf_fd = (uint32_t)fd;
		attr.info.info_len = sizeof(*info);
		attr.info.info = (uint64_t)(uintptr_t)info;
		memset(info, 0, sizeof(*info));
		if (fd >= 0 && bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) == 0 && strcmp(info->name, name) == 0)
			return fd;
		close(fd);
		next.start_id = next.next_id;
	}
	errno = ENOENT;
	die(name);
	return -1;
}

static int show(const char *name, uint32_t key)
{
	static uint8_t value[1 << 16];
	struct bpf_map_info info;
	union bpf_attr attr = {0};
	int fd = map_open(name, &info);
	unsigned cpus = info.type == BPF_MAP_TYPE_PERCPU_ARRAY || info.type == BPF_MAP_TYPE_PERCPU_HASH
				? (unsigned)sysconf(_SC_NPROCESSORS_CONF)
				: 1;
	attr.map_fd = (uint32_t)fd;
	attr.key = (uint64_t)(uintptr_t)&key;
	attr.value = (uint64_t)(uintptr_t)value;
	if (bpf(BPF_MAP_LOOKUP_ELEM, &attr) < 0)
		die("BPF_MAP_LOOKUP_ELEM");
	for (unsigned cpu = 0; cpu < cpus; cpu++) {
		unsigned long long number;
		memcpy(&number, value + cpu * ((info.value_size + 7) & ~7u), sizeof(number));
		printf("%llu ", number);
	}
	printf("id %u\n", info.id);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "make") == 0)
		make();
	if (argc == 4 && strcmp(argv[1], "show") == 0)
		return show(argv[2], (uint32_t)strtoul(argv[3], NULL, 0));
	return 64;
}
