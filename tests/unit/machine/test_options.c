/* SPDX-License-Identifier: GPL-2.0-only */
/* schedrigd's options: what is understood, and what is told to who gets one wrong. */
#include "host/machine/options.h"

#include <criterion/criterion.h>
#include <string.h>

const char *argp_program_version = "test";

static int parse(struct options *ret, struct err *err, const char *a, const char *b)
{
	char *argv[] = {(char *)"schedrigd", (char *)a, (char *)b, NULL};
	*err = ERR_INIT;
	return options_parse(b ? 3 : a ? 2 : 1, argv, ret, err);
}

Test(options, defaults)
{
	struct options o;
	struct err err;
	cr_assert_eq(parse(&o, &err, NULL, NULL), 0);
	cr_assert_str_eq(o.kernel, "default");
	cr_assert_str_eq(o.topology, "1n1l2c1t");
	cr_assert_eq(o.ready_fd, -1);
	cr_assert_eq(o.memory_bytes, 0);
	cr_assert_null(o.socket);
	options_deinit(&o);
}

Test(options, values)
{
	struct options o;
	struct err err;
	cr_assert_eq(parse(&o, &err, "--memory=2G", "--pin=0-1,3"), 0);
	cr_assert_eq(o.memory_bytes, 2ull << 30);
	cr_assert(o.has_pin && cpuset_count(&o.pin) == 3);
	options_deinit(&o);
	cr_assert_eq(parse(&o, &err, "--stage=a=/x", "--stage=b=/y=z"), 0);
	cr_assert_eq(o.n_stage, 2);
	cr_assert_str_eq(o.stage[1].name, "b");
	cr_assert_str_eq(o.stage[1].path, "/y=z");
	options_deinit(&o);
	cr_assert_eq(parse(&o, &err, "--timeout=1m30s", "--ready-fd=5"), 0);
	cr_assert_eq(o.timeout_ns, 90000000000ull);
	cr_assert_eq(o.ready_fd, 5);
	cr_assert(!o.net, "the network device is there on request only");
	options_deinit(&o);
	cr_assert_eq(parse(&o, &err, "--net", NULL), 0);
	cr_assert(o.net);
	options_deinit(&o);
}

Test(options, where_symbols_come_from)
{
	struct options o;
	struct err err;
	cr_assert_eq(parse(&o, &err, "--kaslr", "--symbols=guest"), 0, "%s", err.message);
	cr_assert(o.kaslr && o.guest_symbols);
	options_deinit(&o);
	cr_assert_eq(parse(&o, &err, "--symbols=image", NULL), 0, "%s", err.message);
	cr_assert(!o.kaslr && !o.guest_symbols);
	options_deinit(&o);
	cr_assert_lt(parse(&o, &err, "--symbols=System.map", NULL), 0);
	cr_assert_eq((int)err.code, (int)ERR_INVALID_ARGUMENT);
	cr_assert_not_null(strstr(err.message, "neither image nor guest"), "%s", err.message);
	options_deinit(&o);
}

Test(options, disks)
{
	struct options o;
	struct err err;
	cr_assert_eq(parse(&o, &err, "--disk=/a,b.img", "--disk=temp:64M"), 0, "%s", err.message);
	cr_assert_eq(o.n_disks, 2);
	cr_assert_str_eq(o.disk[0].path, "/a,b.img");
	cr_assert(!o.disk[0].read_only && !o.disk[0].scratch, "nobody writes over what was not given for it");
	cr_assert_null(o.disk[1].path);
	cr_assert(o.disk[1].scratch && o.disk[1].size_bytes == 64 << 20);
	options_deinit(&o);
	cr_assert_eq(parse(&o, &err, "--disk=x,ro", "--disk=y,scratch"), 0, "%s", err.message);
	cr_assert_str_eq(o.disk[0].path, "x");
	cr_assert(o.disk[0].read_only && !o.disk[0].scratch);
	cr_assert_str_eq(o.disk[1].path, "y");
	cr_assert(o.disk[1].scratch && !o.disk[1].read_only);
	options_deinit(&o);
	char *argv[OPTIONS_DISKS_MAX + 3] = {(char *)"schedrigd"};
	for (unsigned i = 0; i <= OPTIONS_DISKS_MAX; i++)
		argv[i + 1] = (char *)"--disk=d";
	cr_assert_lt(options_parse(OPTIONS_DISKS_MAX + 2, argv, &o, &err), 0);
	cr_assert_eq((int)err.code, (int)ERR_LIMIT_EXCEEDED);
	options_deinit(&o);
}

Test(options, mistakes_name_the_option)
{
	static const struct {
		const char *option, *words;
	} bad[] = {{"--memory=0", "--memory"}, {"--memory=5Q", "--memory"}, {"--pin=", "--pin"},
		{"--pin=x", "--pin"}, {"--stage=x", "NAME=PATH"}, {"--stage==x", "NAME=PATH"},
		{"--timeout=5", "--timeout"}, {"--ready-fd=-1", "--ready-fd"},
		{"--ready-fd=99999999", "--ready-fd"}, {"surplus", "surplus"}, {"--disk=", "FILE"},
		{"--disk=,ro", "FILE"}, {"--disk=x,ro,scratch", "written over"}, {"--disk=temp:1M", "4 MiB"},
		{"--disk=temp:x", "--disk temp:x"}};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct options o;
		struct err err;
		cr_assert_lt(parse(&o, &err, bad[i].option, NULL), 0, "%s", bad[i].option);
		cr_assert(strstr(err.message, bad[i].words), "%s: %s", bad[i].option, err.message);
		options_deinit(&o);
	}
}
