/* SPDX-License-Identifier: GPL-2.0-only */
/* Cgroup names and refusals, on plain directories. */
#include "guest/cgroup/cgroup.h"

#include "common/clock.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Test(cgroup, names)
{
	static const char *const good[] = {"a", "a/b", "a.b", "..a", "a b", "web-1/x_2", "ä"};
	static const char *const bad[] = {
		"", "/a", "a/", "a//b", ".", "..", "a/..", "a/./b", "a\nb", "cgroup.procs", "a/cgroup.x"};
	char longest[CG_NAME_BYTES + 1];
	struct err err = ERR_INIT;
	for (unsigned i = 0; i < ARRAY_SIZE(good); i++)
		cr_expect_eq(cg_name_check(good[i], &err), 0, "%s: %s", good[i], err.message);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		cr_expect_lt(cg_name_check(bad[i], &err), 0, "%s", bad[i]);
	memset(longest, 'x', sizeof(longest));
	longest[CG_NAME_BYTES] = '\0';
	cr_expect_lt(cg_name_check(longest, &err), 0);
	cr_expect_eq(err.code, ERR_LIMIT_EXCEEDED);
	longest[CG_NAME_BYTES - 1] = '\0';
	cr_expect_eq(cg_name_check(longest, &err), 0);
}

static int scratch_fd;
static char scratch[] = "/tmp/schedrig-cg-XXXXXX";

static void put(const char *path, const char *text)
{
	int fd = openat(scratch_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	cr_assert_geq(fd, 0, "%s", path);
	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static void make(void)
{
	cr_assert_not_null(mkdtemp(scratch));
	scratch_fd = open(scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void drop(void)
{
	char command[64];
	close(scratch_fd);
	snprintf(command, sizeof(command), "rm -r %s", scratch);
	cr_assert_eq(system(command), 0);
}

Test(cgroup, makes_every_level, .init = make, .fini = drop)
{
	struct err err = ERR_INIT;
	int fd;
	bool existed;
	cr_assert_eq(cg_create(scratch_fd, "a/b/c", &fd, &existed, &err), 0, "%s", err.message);
	cr_expect(!existed);
	close(fd);
	cr_assert_eq(cg_create(scratch_fd, "a/b/c", &fd, &existed, &err), 0);
	cr_expect(existed, "adopted");
	close(fd);
	cr_assert_eq(cg_create(scratch_fd, "a/b/d", &fd, &existed, &err), 0);
	cr_expect(!existed, "the last level is meant");
	close(fd);
	cr_assert_lt(cg_open(scratch_fd, "a/x", &fd, &err), 0);
	cr_expect_eq(err.code, ERR_NOT_FOUND);
}

Test(cgroup, explains_refusals, .init = make, .fini = drop)
{
	struct err err = ERR_INIT;
	int fd;
	put("cgroup.controllers", "cpu memory\n");
	put("cgroup.subtree_control", "cpu\n");
	cr_assert_eq(cg_create(scratch_fd, "a", &fd, NULL, &err), 0);
	put("a/cgroup.controllers", "cpu\n");
	/* Enabled already: nothing to do. */
	cr_expect_eq(cg_need(scratch_fd, "a", "cpu", &err), 0, "%s", err.message);
	cr_expect_lt(cg_need(scratch_fd, "a", "cpuset", &err), 0, "a longer name is another controller");
	cr_expect_eq(err.code, ERR_UNSUPPORTED);
	cr_expect_not_null(strstr(err.message, "'cpu memory'"), "%s", err.message);
	cr_expect_lt(cg_write(fd, "a", "memory.max", "1", &err), 0);
	cr_expect_eq(err.code, ERR_UNSUPPORTED);
	cr_expect_not_null(strstr(err.message, "controller memory is not enabled"), "%s", err.message);
	cr_expect_lt(cg_write(fd, "a", "cpu.novelty", "1", &err), 0);
	cr_expect_not_null(strstr(err.message, "no such knob"), "%s", err.message);
	close(fd);
}

Test(cgroup, waits_and_lists, .init = make, .fini = drop)
{
	struct err err = ERR_INIT;
	pid_t *ids;
	size_t count;
	int fd;
	cr_assert_eq(cg_create(scratch_fd, "a/b", &fd, NULL, &err), 0);
	close(fd);
	put("a/cgroup.events", "populated 1\nfrozen 0\n");
	put("a/cgroup.procs", "30\n4\n0\n");
	put("a/b/cgroup.procs", "17\n");
	cr_assert_eq(cg_open(scratch_fd, "a", &fd, &err), 0);
	cr_expect_eq(cg_wait_event(fd, "a", "populated", 1, 0, -1, &err), CG_WAIT_DONE);
	cr_expect_eq(cg_wait_event(fd, "a", "frozen", 1, 0, -1, &err), CG_WAIT_TIMEOUT);
	cr_assert_eq(cg_list(fd, "a", false, false, &ids, &count, &err), 0);
	cr_assert_eq(count, 2, "0 is nobody");
	cr_expect(ids[0] == 4 && ids[1] == 30);
	free(ids);
	cr_assert_eq(cg_list(fd, "a", false, true, &ids, &count, &err), 0);
	cr_assert_eq(count, 3);
	cr_expect_eq(ids[1], 17);
	free(ids);
	close(fd);
}
