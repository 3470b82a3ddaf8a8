/* SPDX-License-Identifier: GPL-2.0-only */
/* Typed failures: codes, wrapping, places. */
#include "common/err.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

Test(err, set_wrap_at)
{
	struct err err = ERR_INIT;
	cr_assert_eq(err_set_os(&err, ERR_NOT_FOUND, ENOENT, "cannot open %s", "x"), -ENOENT);
	err_wrap(&err, "booting");
	err_at(&err, "start");
	err_at(&err, "ops[%d]", 0);
	err_at(&err, "steps[2]");
	cr_assert_str_eq(err.message, "booting: cannot open x: No such file or directory");
	cr_assert_str_eq(err.place, "steps[2].ops[0].start");
	cr_assert_eq(err.os_errno, ENOENT);
}

Test(err, index_places_need_no_dot)
{
	struct err err = ERR_INIT;
	err_set(&err, ERR_INVALID_ARGUMENT, "bad");
	err_at(&err, "[3]");
	err_at(&err, "steps");
	cr_assert_str_eq(err.place, "steps[3]");
}

Test(err, wrap_of_a_full_message_keeps_the_start_and_terminates)
{
	struct err err = ERR_INIT;
	char text[2048];
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	err_set(&err, ERR_HOST, "%s", text);
	err_wrap(&err, "prefix");
	cr_assert_eq(strlen(err.message), sizeof(err.message) - 1);
	cr_assert_eq(strncmp(err.message, "prefix: aaa", 11), 0);
	err_wrap(&err, "%s", text);
	cr_assert_eq(strlen(err.message), sizeof(err.message) - 1);
}

Test(err, names_go_both_ways)
{
	for (int code = ERR_INVALID_ARGUMENT; code <= ERR_INTERNAL; code++) {
		cr_assert_eq(err_code_from_name(err_code_name((enum err_code)code)), code);
		cr_assert_lt(err_errno((enum err_code)code), 0);
	}
	cr_assert_eq(err_code_from_name("Nonsense"), ERR_NONE);
	cr_assert_str_eq(err_code_name((enum err_code)99), "Unknown");
}

Test(err, a_null_err_still_returns_the_number)
{
	cr_assert_eq(err_set(NULL, ERR_BUSY, "x"), -EBUSY);
}
