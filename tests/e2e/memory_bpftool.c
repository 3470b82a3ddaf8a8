/* SPDX-License-Identifier: GPL-2.0-only */
/* e2e-memory: every number that the distribution's bpftool prints of the maps that maps.c makes, beside what
 * is read of the same members from outside. */
#include "common/fd.h"
#include "tests/e2e/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBERS_MAX 4096
#define PATH_BYTES 160
#define MAPS "e2e.bss e2e_stats e2e_hash e2e_lru e2e_lazy e2e_cpu_hash e2e_plain e2e_where"
/* Of each map, in that order: members of every element, of both CPUs where each has a value of its own. */
#define NUMBERS (2 + 3 * 2 * 3 + 3 * 100 * 3 + 2 * 3 + 3 + 2 * 3)

struct number {
	char path[PATH_BYTES];
	json_int_t said;
};

static struct number numbers[NUMBERS_MAX];
static unsigned n_numbers;

static void add_number(const char *path, json_int_t said)
{
	if (n_numbers == NUMBERS_MAX)
		return;
	struct number *number = &numbers[n_numbers++];
	snprintf(number->path, sizeof(number->path), "%s", path);
	number->said = said;
}

/* Every member; pointers are numbers, too. A section's variables are in a list of objects below its name. */
static void collect(const char *path, json_t *value)
{
	char below[PATH_BYTES];
	const char *name;
	json_t *member;
	size_t i;
	if (json_is_integer(value))
		add_number(path, json_integer_value(value));
	json_array_foreach(value, i, member)
	{
		collect(path, member);
	}
	json_object_foreach(value, name, member)
	{
		if (snprintf(below, sizeof(below), "%s%s%s", path, *name == '.' ? "" : ".",
			    *name == '.' ? "" : name) < (int)sizeof(below))
			collect(below, member);
	}
}

/* "[7]", "[7, 3, 4]" of a structure, "" of a map whose keys have no type. */
static void write_key(json_t *key, char *text, size_t size)
{
	const char *name;
	json_t *member;
	size_t used = 0;
	text[0] = '\0';
	if (json_is_integer(key))
		snprintf(text, size, "[%lld]", (long long)json_integer_value(key));
	json_object_foreach(key, name, member)
	{
		if (used < size)
			used += (size_t)snprintf(text + used, size - used, "%s%lld", used ? ", " : "[",
				(long long)json_integer_value(member));
	}
	if (used && used < size)
		snprintf(text + used, size - used, "]");
}

/* Bytes as bpftool prints them, "0x0b", the lowest first. */
static unsigned long long bytes_of(json_t *list)
{
	unsigned long long number = 0;
	for (size_t i = json_array_size(list); i-- > 0;)
		number = number << 8 | strtoull(json_string_value(json_array_get(list, i)), NULL, 16);
	return number;
}

static void collect_element(const char *map, json_t *element)
{
	char key[64], path[PATH_BYTES];
	json_t *typed = json_object_get(element, "formatted"), *cpu_value;
	size_t i;
	if (!typed) {
		snprintf(path, sizeof(path), "(u64)map(\"%s\")[%llu]", map,
			bytes_of(json_object_get(element, "key")));
		add_number(path, (json_int_t)bytes_of(json_object_get(element, "value")));
		return;
	}
	write_key(json_object_get(typed, "key"), key, sizeof(key));
	snprintf(path, sizeof(path), "map(\"%s\")%s", map, key);
	collect(path, json_object_get(typed, "value"));
	json_array_foreach(json_object_get(typed, "values"), i, cpu_value)
	{
		snprintf(path, sizeof(path), "map(\"%s\")%s@%lld", map, key,
			(long long)json_number(cpu_value, "cpu"));
		collect(path, json_object_get(cpu_value, "value"));
	}
}

/* A file of the guest's /tmp that bpftool wrote; NULL with a failure recorded. */
static json_t *pull(const char *name)
{
	char guest[64];
	const char *copy = scratch_path("bpftool.json");
	snprintf(guest, sizeof(guest), "/tmp/bpftool.%s", name);
	if (!PRINTS("", "pull", guest, copy))
		return NULL;
	json_error_t error;
	json_t *root = json_load_file(copy, 0, &error);
	if (!root)
		tap_fail(__FILE__, __LINE__, "bpftool's output about %s: %s", name, error.text);
	return root;
}

/* Has bpftool tell everything, and takes the numbers of all elements. */
static bool take_numbers(void)
{
	char said[64], maps[] = MAPS, *rest = maps;
	guest_says("cd /tmp && bpftool -j map show >bpftool.shown && for m in " MAPS
		   "; do bpftool -j map dump name $m >bpftool.$m || exit 1; done && echo done",
		said, sizeof(said));
	n_numbers = 0;
	if (strcmp(said, "done\n") != 0)
		return false;
	for (char *map; (map = strsep(&rest, " "));) {
		_cleanup_json_ json_t *dump = pull(map);
		json_t *element;
		size_t i;
		json_array_foreach(dump, i, element)
		{
			collect_element(map, element);
		}
	}
	return true;
}

/* "PATH 0xVALUE ...", with two digits a byte; what comes next, or NULL with a failure recorded. */
static const char *compare_line(const char *line, const struct number *number)
{
	size_t length = strlen(number->path);
	const char *end = strchr(line, '\n'), *digits = line + length + 3;
	if (!end || strncmp(line, number->path, length) != 0 || strncmp(line + length, " 0x", 3) != 0) {
		tap_fail(__FILE__, __LINE__, "no value of %s in: %.*s", number->path,
			end ? (int)(end - line) : 80, line);
		return NULL;
	}
	char *behind;
	unsigned long long seen = strtoull(digits, &behind, 16), said = (unsigned long long)number->said;
	if (behind - digits < 16)
		said &= (1ull << (4 * (behind - digits))) - 1;
	if (behind > digits && seen == said)
		return end + 1;
	tap_fail(__FILE__, __LINE__, "%s: %llx, and bpftool says %llx", number->path, seen, said);
	return NULL;
}

/* All of them in one request, hot or in one freeze. */
static void compare(bool cold)
{
	struct strbuf text = STRBUF_INIT;
	const char *path = scratch_path("bpftool-paths");
	for (unsigned i = 0; i < n_numbers; i++)
		strbuf_printf(&text, "%s\n", numbers[i].path);
	bool written = fd_replace_file(path, strbuf_str(&text), strlen(strbuf_str(&text)), 0644, NULL) == 0;
	strbuf_deinit(&text);
	EXPECT(written);
	_cleanup_run_ struct run run;
	vm_client(&vm, (const char *const[]){"read", "--file", path, cold ? "--cold" : NULL, NULL}, 60, &run);
	EXPECT(run.status == 0, "exit %d: %s", run.status, strbuf_str(&run.err));
	const char *at = strbuf_str(&run.out);
	for (unsigned i = 0; i < n_numbers && at; i++)
		at = compare_line(at, &numbers[i]);
	EXPECT(at && *at == '\0');
}

static json_int_t said_of(const char *path)
{
	for (unsigned i = 0; i < n_numbers; i++)
		if (strcmp(numbers[i].path, path) == 0)
			return numbers[i].said;
	return -1;
}

/* What the kernel has of the map itself. */
static void compare_map(const char *name, const char *path)
{
	static const char *const pairs[][2] = {{"id", "id"}, {"bytes_key", "key_size"},
		{"bytes_value", "value_size"}, {"max_entries", "max_entries"}, {"btf_id", "btf->id"}};
	_cleanup_json_ json_t *shown = pull("shown");
	json_t *map, *found = NULL;
	size_t i;
	char member[96];
	json_array_foreach(shown, i, map)
	{
		if (strcmp(json_text(map, "name"), name) == 0)
			found = map;
	}
	EXPECT(found != NULL);
	for (i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		snprintf(member, sizeof(member), "%s->%s", path, pairs[i][1]);
		long long said = json_number(found, pairs[i][0]), seen = value_of(member);
		EXPECT(said > 0 && seen == said, "%s: %lld, and bpftool says %lld", member, seen, said);
	}
}

void test_bpftool(void)
{
	EXPECT(take_numbers());
	EXPECT(n_numbers == NUMBERS, "%u numbers, not %d", n_numbers, NUMBERS);
	compare(false);
	compare(true);
	compare_map("e2e_where", "map(\"e2e_outer\")[0]");
	/* Both ways: what is written from outside is what bpftool sees. */
	EXPECT(PRINTS(" was ", "write", "map(\"e2e_lru\")[9].hits=987654321"));
	EXPECT(PRINTS(" was ", "write", "--cold", "map(\"e2e_cpu_hash\")[42]@1.misses=-77"));
	EXPECT(take_numbers() && n_numbers == NUMBERS);
	EXPECT(said_of("map(\"e2e_lru\")[9].hits") == 987654321);
	EXPECT(said_of("map(\"e2e_cpu_hash\")[42]@1.misses") == -77);
	compare(false);
}
