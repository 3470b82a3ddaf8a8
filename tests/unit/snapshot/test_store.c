/* SPDX-License-Identifier: GPL-2.0-only */
/* The store: names, sequence numbers, eviction; part names; files. */
#include "host/snapshot/store.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static struct snapshot *made(const char *name, uint64_t bytes)
{
	struct snapshot *s = calloc(1, sizeof(*s));

	strcpy(s->name, name);
	s->bytes = bytes;
	return s;
}

Test(store, repeats_get_numbers_and_the_oldest_go)
{
	struct err err = ERR_INIT;
	struct snapshot_store *store = snapshot_store_new(1000, &err);
	struct snapshot *large = made("large", 1001);

	cr_assert_eq(snapshot_store_add(store, made("a", 400), &err), 0);
	cr_assert_eq(snapshot_store_add(store, made("b", 400), &err), 0);
	cr_assert_eq(snapshot_store_add(store, made("a", 200), &err), 0);
	cr_assert_eq(snapshot_store_get(store, "a", -1, &err)->sequence, 1);
	cr_assert_eq(snapshot_store_get(store, "a", 0, &err)->bytes, 400);
	cr_assert_eq(snapshot_store_add(store, made("a", 500), &err), 2);
	cr_assert_eq(snapshot_store_count(store), 2);
	cr_assert_eq(snapshot_store_bytes(store), 700);
	cr_assert_null(snapshot_store_get(store, "a", 0, &err));
	cr_assert_eq(err.code, ERR_NOT_FOUND);
	cr_assert_not_null(strstr(err.message, "a.1, a.2"), "%s", err.message);
	/* b is gone, its numbers are not given again. */
	cr_assert_eq(snapshot_store_add(store, made("b", 10), &err), 0);
	cr_assert_eq(snapshot_store_get(store, "b", -1, &err)->sequence, 1);
	cr_assert_str_eq(snapshot_store_at(store, 0)->name, "a");
	cr_assert_null(snapshot_store_at(store, 3));
	cr_assert_eq(snapshot_store_add(store, large, &err), -E2BIG);
	cr_assert_eq(snapshot_store_count(store), 3);
	snapshot_free(large);
	snapshot_store_free(store);
}

Test(snapshot, part_names)
{
	struct err err = ERR_INIT;
	uint32_t parts;

	cr_assert_eq(snapshot_parts(NULL, 0, &parts, &err), 0);
	cr_assert_eq(parts, SNAPSHOT_ALL);
	cr_assert_eq(snapshot_parts((const char *[]){"registers"}, 1, &parts, &err), 0);
	cr_assert_eq(parts, SNAPSHOT_BIT(SNAPSHOT_REGISTERS));
	cr_assert_eq(snapshot_parts((const char *[]){"bpf_maps"}, 1, &parts, &err), -EOPNOTSUPP);
	cr_assert_eq(snapshot_parts((const char *[]){"regsiters"}, 1, &parts, &err), -EINVAL);
	cr_assert_not_null(strstr(err.message, "run_queues"));
}

Test(snapshot, names_cannot_leave_their_directory)
{
	struct err err = ERR_INIT;
	char dir[] = "/tmp/schedrig-test-XXXXXX", path[256];
	struct stat st;

	cr_assert_not_null(mkdtemp(dir));
	struct snapshot *s = made("../x y", 10);
	cr_assert_eq(snapshot_write(s, dir, path, sizeof(path), &err), 0, "%s", err.message);
	cr_assert_str_eq(path + strlen(dir), "/%2E.%2Fx%20y.0.json");
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_gt(st.st_size, 100);
	unlink(path);
	cr_assert_eq(rmdir(dir), 0);
	snapshot_free(s);
	s = made("n", 10);
	cr_assert_lt(snapshot_write(s, "/proc/nowhere", NULL, 0, &err), 0);
	cr_assert_not_null(strstr(err.message, "snapshot 'n'"));
	snapshot_free(s);
}
