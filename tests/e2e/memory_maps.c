/* SPDX-License-Identifier: GPL-2.0-only */
/* e2e-memory: values of BPF maps by path, beside what the kernel's own calls say (maps.c), and the bases of a
 * kernel that was allowed to randomise them; symbols and types of modules. */
#include "common/fd.h"
#include "tests/e2e/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_CPUS 2
#define START_KERNEL_MAP 0xffffffff80000000ull /* __START_KERNEL_map */

/* Runs e2e-maps in the guest until it is done (or says "ready"); what it printed, or "" with a failure. */
static void maps_say(const char *args, char *text, size_t size)
{
	char file[1024];
	const char *path = scratch_path("maps.yaml");
	text[0] = '\0';
	snprintf(file, sizeof(file),
		"{payloads: [{name: m, program: e2e-maps, default_args: [%s]}], ops: [{run_payload: "
		"{payload: m}},"
		" {wait_payload: {name: m}}]}",
		args);
	if (fd_replace_file(path, file, strlen(file), 0644, NULL) < 0)
		return;
	_cleanup_json_ json_t *answer = CLIENT("apply", path);
	if (answer)
		snprintf(text, size, "%s", json_text(answer, "results[1].payload.stdout_tail"));
}

/* The first 8 bytes of an element, of CPU `cpu` if it has one for each. */
static unsigned long long map_says(const char *map, unsigned key, unsigned cpu)
{
	char args[128], text[1100], *at = text;
	snprintf(args, sizeof(args), "show, %s, '%u'", map, key);
	maps_say(args, text, sizeof(text));
	while (cpu-- > 0)
		(void)strtoull(at, &at, 10);
	return strtoull(at, NULL, 10);
}

static bool same(const char *path, const char *map, unsigned key, unsigned cpu)
{
	unsigned long long said = map_says(map, key, cpu), seen = (unsigned long long)value_of(path);
	if (said == seen && said != 0)
		return true;
	tap_fail(__FILE__, __LINE__, "%s: %llu, and bpf(2) says %llu", path, seen, said);
	return false;
}

/* Of who made them. */
static json_int_t maker;

static void make_maps(void)
{
	const char *path = scratch_path("make-maps.yaml");
	const char *file =
		"{payloads: [{name: maps, program: e2e-maps, default_args: [make]}], ops: [{run_payload: "
		"{payload: maps}}]}";
	EXPECT(fd_replace_file(path, file, strlen(file), 0644, NULL) == 0);
	_cleanup_json_ json_t *answer = CLIENT("apply", path);
	EXPECT(answer != NULL);
	maker = json_number(answer, "results[0].pids[0]");
	EXPECT(maker > 1);
}

/* The maker runs on: until its last map is there, there is none of that name. */
static bool wait_for_maps(void)
{
	for (unsigned tries = 0; tries < 1000; tries++) {
		_cleanup_run_ struct run run;
		vm_client(
			&vm, (const char *const[]){"read", "map(\"e2e_holder\").task->comm", NULL}, 60, &run);
		if (run.status == 0 && strstr(strbuf_str(&run.out), "swapper"))
			return true;
	}
	return false;
}

void test_maps(void)
{
	make_maps();
	EXPECT(wait_for_maps());
	EXPECT(PRINTS(" -7", "read", "map(\"e2e.bss\").nr_enqueued"));
	EXPECT(PRINTS("0x1122334455667788", "read", "--cold", "map(\"e2e.bss\").total"));
	EXPECT(PRINTS("@1", "read", "map(\"e2e_stats\")[2]@*.misses"));
	EXPECT(same("map(\"e2e_stats\")[2]@0.hits", "e2e_stats", 2, 0));
	EXPECT(same("map(\"e2e_stats\")[2]@1.hits", "e2e_stats", 2, 1));
	EXPECT(same("map(\"e2e_hash\")[77].hits", "e2e_hash", 77, 0));
	EXPECT(same("map(\"e2e_lru\")[100].hits", "e2e_lru", 100, 0));
	EXPECT(same("map(\"e2e_lazy\")[1].hits", "e2e_lazy", 1, 0));
	EXPECT(same("map(\"e2e_cpu_hash\")[42]@1.hits", "e2e_cpu_hash", 42, 1));
	EXPECT(same("(u64)map(\"e2e_plain\")[2]", "e2e_plain", 2, 0));
	/* What is written from outside is what the program sees. */
	EXPECT(PRINTS(" was ", "write", "map(\"e2e_hash\")[5].hits=123456789"));
	EXPECT(map_says("e2e_hash", 5, 0) == 123456789);
	EXPECT(PRINTS(" was ", "write", "--cold", "map(\"e2e_stats\")[2]@1.hits+=5"));
	EXPECT(map_says("e2e_stats", 2, 1) == 1006);
	char path[64];
	snprintf(path, sizeof(path), "map(\"e2e_task\")[%lld].hits", (long long)maker);
	EXPECT(PRINTS(" 31337", "read", path));
	/* The root's directory has inode number 1. */
	EXPECT(PRINTS(" 271828", "read", "--cold", "map(\"e2e_cgroup\")[1].hits"));
	EXPECT(PRINTS(" 4711", "read", "map(\"e2e_where\")[7, 3, 4].hits"));
	EXPECT(PRINTS(" 4712", "read", "map(\"e2e_where\")[\"swapper\"].hits"));
	EXPECT(PRINTS(" 4712", "read", "map(\"e2e_where\")[hex(7377617070657200 0000000000000000)].hits"));
	EXPECT(PRINTS("\"e2e_where\"", "read", "map(\"e2e_outer\")[0]->name"));
	/* The program's idea of a task is its PID: the rest is the kernel's. */
	EXPECT(PRINTS("\"swapper/0\"", "read", "map(\"e2e_holder\").task->comm"));
	EXPECT(PRINTS("struct counts", "resolve", "map(\"e2e_hash\")[5]"));
	EXPECT(FAILS(64, "'e2e_stats'", "read", "map(\"e2e_stat\")[2]@0.hits"));
	EXPECT(FAILS(64, "'nr_enqueued'", "read", "map(\"e2e.bss\").nr_enqueue"));
	EXPECT(FAILS(64, "no element", "read", "map(\"e2e_hash\")[101].hits"));
	EXPECT(FAILS(64, "column 17", "read", "map(\"e2e_stats\")[3]@0.hits"));
}

void test_modules(void)
{
	char text[128], address[64];
	/* ADDRESS d vsock_proto [vsock] */
	guest_says("grep ' vsock_proto' /proc/kallsyms", text, sizeof(text));
	EXPECT(strstr(text, "[vsock]"), "%s", text);
	snprintf(address, sizeof(address), "0x%.16s", text);
	EXPECT(PRINTS(address, "resolve", "(struct proto)vsock_proto"));
	EXPECT(PRINTS("\"AF_VSOCK\"", "read", "(struct proto)vsock_proto.name"));
	EXPECT(PRINTS("[vsock]", "symbols", "vsock_proto"));
	/* A type that only the module has. */
	EXPECT(PRINTS("struct vsock_sock", "resolve", "(struct vsock_sock)vsock_proto"));
}

/* Large numbers are texts in JSON, and zeros are left out. */
static unsigned long long u64_of(json_t *answer, const char *path)
{
	json_t *value = json_at(answer, path);
	if (json_is_string(value))
		return strtoull(json_string_value(value), NULL, 0);
	return value ? (unsigned long long)json_integer_value(value) : 0;
}

void test_bases(void)
{
	_cleanup_json_ json_t *answer = CLIENT("bases");
	char text[64], said[64], seen[64];
	EXPECT(answer != NULL);
	EXPECT(json_is_true(json_at(answer, "told_by_guest")));
	unsigned long long page_offset = (unsigned long long)value_of("page_offset_base"),
			   vmalloc = (unsigned long long)value_of("vmalloc_base"),
			   vmemmap = (unsigned long long)value_of("vmemmap_base");
	/* 64-bit numbers are texts in JSON. */
	EXPECT(strtoull(json_text(answer, "page_offset"), NULL, 0) == page_offset, "%s, %llx",
		json_text(answer, "page_offset"), page_offset);
	EXPECT(strtoull(json_text(answer, "vmalloc"), NULL, 0) == vmalloc);
	EXPECT(strtoull(json_text(answer, "vmemmap"), NULL, 0) == vmemmap);
	/* Where they are without randomisation (Documentation/arch/x86/x86_64/mm.rst); that all three come
	 * out there by chance is one in millions. */
	EXPECT(page_offset != 0xffff888000000000ull || vmalloc != 0xffffc90000000000ull ||
			vmemmap != 0xffffea0000000000ull,
		"the kernel has randomised nothing");
	guest_says("grep ' _text$' /proc/kallsyms", text, sizeof(text));
	snprintf(said, sizeof(said), "%.16s", text);
	snprintf(seen, sizeof(seen), "%016llx", strtoull(json_text(answer, "text"), NULL, 0));
	EXPECT(strcmp(said, seen) == 0, "%s, and the guest says %s", seen, said);
	/* The kernel chose both of its places itself: the guest's own view of the physical one, too. */
	unsigned long long at = u64_of(answer, "text"), slide = u64_of(answer, "slide"),
			   physical = u64_of(answer, "phys_base") + at - START_KERNEL_MAP;
	guest_says("grep 'Kernel code' /proc/iomem", text, sizeof(text));
	EXPECT(strtoull(text, NULL, 16) == physical, "%llx, and the guest says %s", physical, text);
	printf("# slide %#llx, physical %#llx\n", slide, physical);
	/* By chance one of them is as linked once in some hundred boots, both once in some hundred thousand.
	 */
	EXPECT(slide != 0 || physical != at - START_KERNEL_MAP, "the kernel has not moved");
	guest_says("grep ' schedule$' /proc/kallsyms", text, sizeof(text));
	snprintf(said, sizeof(said), "%.16s schedule", text);
	EXPECT(PRINTS(said, "symbols", "schedule"));
}
