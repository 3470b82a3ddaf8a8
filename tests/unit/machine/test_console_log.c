/* SPDX-License-Identifier: GPL-2.0-only */
/* Console lines: split, bounded, made harmless, found again. */
#include "common/fd.h"
#include "common/loop.h"
#include "host/machine/console_log.h"
#include "host/vm/console_ring.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static unsigned tail(struct console_log *log, char *lines[4])
{
	return console_log_tail(log, lines, 4);
}

static void free_lines(char **lines, unsigned n)
{
	while (n)
		free(lines[--n]);
}

Test(console_log, lines_come_from_the_ring)
{
	_cleanup_(loop_free_p) struct loop *loop = loop_new(NULL);
	struct console_log *log = console_log_new(loop, NULL, NULL);
	cr_assert_not_null(log);
	console_ring_put("one\r\ntwo\nthr", 12, console_log_ring(log));
	console_ring_put("ee", 2, console_log_ring(log));
	console_log_drain(log);
	char *lines[4];
	unsigned n = tail(log, lines);
	cr_assert_eq(n, 3);
	cr_assert_str_eq(lines[0], "one");
	cr_assert_str_eq(lines[2], "three");
	free_lines(lines, n);
	console_log_free(log);
}

Test(console_log, only_the_last_lines_are_kept)
{
	_cleanup_(loop_free_p) struct loop *loop = loop_new(NULL);
	struct console_log *log = console_log_new(loop, NULL, NULL);
	char text[32], found[64];
	for (int i = 0; i < CONSOLE_LINES * 3; i++)
		console_log_add(log, text, (size_t)snprintf(text, sizeof(text), "line %d\n", i));
	cr_assert_null(console_log_find(log, "line 0\n", found, sizeof(found)));
	cr_assert_null(console_log_find(log, "line 10", found, sizeof(found)));
	cr_assert_str_eq(console_log_find(log, "line 767", found, sizeof(found)), "line 767");
	char *lines[4];
	unsigned n = tail(log, lines);
	cr_assert_eq(n, 4);
	cr_assert_str_eq(lines[3], "line 767");
	free_lines(lines, n);
	console_log_free(log);
}

Test(console_log, hostile_bytes_are_harmless)
{
	_cleanup_(loop_free_p) struct loop *loop = loop_new(NULL);
	struct console_log *log = console_log_new(loop, NULL, NULL);
	char long_line[CONSOLE_LINE_BYTES * 2];
	memset(long_line, 'x', sizeof(long_line));
	console_log_add(log, "\033[2J\0bad", 8);
	console_log_add(log, "\n", 1);
	console_log_add(log, long_line, sizeof(long_line));
	char *lines[4];
	unsigned n = tail(log, lines);
	cr_assert_eq(n, 4);
	cr_assert_str_eq(lines[0], "?[2J?bad");
	for (unsigned i = 0; i < n; i++)
		cr_assert_lt(strlen(lines[i]), CONSOLE_LINE_BYTES);
	free_lines(lines, n);
	console_log_free(log);
}

Test(console_log, a_file_gets_everything)
{
	_cleanup_(loop_free_p) struct loop *loop = loop_new(NULL);
	char path[] = "/tmp/console-log-test.XXXXXX", *text;
	int fd = mkstemp(path);
	cr_assert_geq(fd, 0);
	close(fd);
	struct console_log *log = console_log_new(loop, path, NULL);
	console_log_add(log, "a\nb", 3);
	console_log_free(log);
	size_t length;
	cr_assert_eq(fd_read_file(path, 100, &text, &length, NULL), 0);
	cr_assert_str_eq(text, "a\nb");
	free(text);
	unlink(path);
	struct err err = ERR_INIT;
	cr_assert_null(console_log_new(loop, "/nonexistent/file", &err));
	cr_assert(strstr(err.message, "/nonexistent/file"));
}
