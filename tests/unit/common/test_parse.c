/* SPDX-License-Identifier: GPL-2.0-only */
/* Numbers, durations and sizes; arena and strbuf beside them. */
#include "common/arena.h"
#include "common/parse.h"
#include "common/strbuf.h"

#include <criterion/criterion.h>
#include <string.h>

Test(parse, durations)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} good[] = {{"0", 0}, {"250us", 250000}, {"2s", 2000000000}, {"1m30s", 90000000000},
		{"1.5ms", 1500000}, {"7ns", 7}, {"1h", 3600000000000}};
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		uint64_t ns = 1;
		cr_assert_eq(parse_duration_ns(good[i].text, &ns, NULL), 0, "%s", good[i].text);
		cr_assert_eq(ns, good[i].ns, "%s", good[i].text);
	}
	static const char *const bad[] = {"", "5", "5 s", "5x", "-1s", "s", "1.s", "99999999999h", "1s2",
		"1e3s", "1s1s", "1s1m", "99999999999999999999999999s"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		uint64_t ns;
		struct err err = ERR_INIT;
		cr_assert_lt(parse_duration_ns(bad[i], &ns, &err), 0, "%s", bad[i]);
		cr_assert_eq(err.code, ERR_INVALID_ARGUMENT);
	}
	/* What is too long is no other mistake. */
	static const char *const too_long[] = {"99999999999h", "99999999999999999999999999s"};
	for (size_t i = 0; i < ARRAY_SIZE(too_long); i++) {
		uint64_t ns;
		struct err err = ERR_INIT;
		cr_assert_lt(parse_duration_ns(too_long[i], &ns, &err), 0);
		cr_assert(strstr(err.message, "too long"), "%s", err.message);
	}
}

Test(parse, sizes)
{
	uint64_t n;
	cr_assert_eq(parse_size_bytes("64M", &n, NULL), 0);
	cr_assert_eq(n, 64ull << 20);
	cr_assert_eq(parse_size_bytes("1.5GiB", &n, NULL), 0);
	cr_assert_eq(n, 3ull << 29);
	cr_assert_eq(parse_size_bytes("512", &n, NULL), 0);
	cr_assert_lt(parse_size_bytes("12Q", &n, NULL), 0);
	struct err err = ERR_INIT;
	cr_assert_lt(parse_size_bytes("99999999999T", &n, &err), 0);
	cr_assert(strstr(err.message, "too large"), "%s", err.message);
	cr_assert_lt(parse_size_bytes("99999999999999999999999", &n, &err), 0);
	cr_assert(strstr(err.message, "too large"), "%s", err.message);
}

Test(parse, numbers)
{
	uint64_t u;
	int64_t i;
	cr_assert_eq(parse_u64("0xffffffffffffffff", &u, NULL), 0);
	cr_assert_eq(u, UINT64_MAX);
	cr_assert_lt(parse_u64("18446744073709551616", &u, NULL), 0);
	cr_assert_lt(parse_u64("0x", &u, NULL), 0);
	cr_assert_lt(parse_u64("12a", &u, NULL), 0);
	cr_assert_eq(parse_i64("-9223372036854775808", &i, NULL), 0);
	cr_assert_eq(i, INT64_MIN);
	cr_assert_lt(parse_i64("9223372036854775808", &i, NULL), 0);
}

Test(parse, durations_read_back)
{
	char text[32];
	cr_assert_str_eq(format_duration(1500000000, text, sizeof(text)), "1.5s");
	cr_assert_str_eq(format_duration(250000, text, sizeof(text)), "250us");
	cr_assert_str_eq(format_duration(0, text, sizeof(text)), "0s");
}

Test(arena, cap_holds)
{
	_cleanup_(arena_free_p) struct arena *arena = arena_new(1024);
	cr_assert_not_null(arena_alloc(arena, 512));
	cr_assert_null(arena_alloc(arena, 1024));
	cr_assert_null(arena_alloc(arena, SIZE_MAX));
	cr_assert_null(arena_zalloc(arena, SIZE_MAX / 2, 4));
	cr_assert_str_eq(arena_printf(arena, "%s-%d", "a", 7), "a-7");
	cr_assert_leq(arena_used_bytes(arena), 1024);
}

Test(strbuf, grows)
{
	_cleanup_strbuf_ struct strbuf sb = STRBUF_INIT;
	cr_assert_str_eq(strbuf_str(&sb), "");
	for (int i = 0; i < 1000; i++)
		strbuf_printf(&sb, "%d,", i % 10);
	cr_assert_eq(sb.length, 2000);
	char *text = strbuf_take(&sb);
	cr_assert_eq(strlen(text), 2000);
	free(text);
	cr_assert_str_eq(strbuf_str(&sb), "");
}
