/* SPDX-License-Identifier: GPL-2.0-only */
/* Modules: .modinfo, the order to load them in, packed ones, and every way in which one can be missing. */
#include "host/initramfs/modules.h"

#include "fixture.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/stat.h>

#define REL "6.99.1-test"
#define MAGIC "vermagic=" REL " SMP preempt\0"

static const struct initramfs_module *want(const char *a, const char *b)
{
	static struct initramfs_module list[3];
	list[0] = (struct initramfs_module){a, "CONFIG_A", "the first thing", false};
	list[1] = (struct initramfs_module){b, "CONFIG_B", "the second thing", true};
	return list;
}

/* Resolves in scratch()/modules. Gives the names, or the error's text. */
static const char *resolve(const struct initramfs_module *wanted, enum err_code *ret_code)
{
	static char text[1024];
	struct kernel_files kernel = {.release = REL};
	struct err err = ERR_INIT;
	struct inputs inputs = INPUTS_INIT;
	struct module_set set = MODULE_SET_EMPTY;
	struct stat st;
	if (stat(in_scratch("modules"), &st) == 0)
		snprintf(kernel.modules, sizeof(kernel.modules), "%s", in_scratch("modules"));
	if (stat(in_scratch("config"), &st) == 0)
		snprintf(kernel.config, sizeof(kernel.config), "%s", in_scratch("config"));
	text[0] = '\0';
	int r = modules_resolve(&kernel, wanted, &inputs, &set, &err);
	*ret_code = err.code;
	if (r < 0) {
		cr_assert_eq(set.n, 0);
		snprintf(text, sizeof(text), "%s", err.message);
	}
	for (size_t i = 0; i < set.n; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i ? " " : "",
			set.module[i].name);
	module_set_deinit(&set);
	inputs_deinit(&inputs);
	return text;
}

#define EXPECT(wanted, code, part)                                                                           \
	do {                                                                                                 \
		enum err_code code_;                                                                         \
		const char *text_ = resolve(wanted, &code_);                                                 \
		cr_assert_eq(code_, (code), "%s", text_);                                                    \
		cr_assert_not_null(strstr(text_, (part)), "'%s' is not in '%s'", (part), text_);             \
	} while (0)

Test(modules, modinfo)
{
	uint8_t bytes[2048];
	struct modinfo info;
	struct err err = ERR_INIT;
	static const char text[] = "license=GPL\0dependsnot=x\0depends=b,c-d\0name=a\0vermagic=1.2 SMP";
	size_t n = make_module(text, sizeof(text), bytes, sizeof(bytes));
	cr_assert_eq(modinfo_parse(bytes, n, &info, &err), 0, "%s", err.message);
	cr_assert_str_eq(info.depends, "b,c-d");
	cr_assert_str_eq(info.vermagic, "1.2 SMP");
	/* Not ended by NUL: nothing behind the section is taken. */
	n = make_module(text, sizeof(text) - 1, bytes, sizeof(bytes));
	cr_assert_eq(modinfo_parse(bytes, n, &info, &err), 0);
	cr_assert_str_eq(info.vermagic, "1.2 SMP");
	n = make_module("license=GPL", 12, bytes, sizeof(bytes));
	cr_assert_eq(modinfo_parse(bytes, n, &info, &err), 0);
	cr_assert_str_eq(info.depends, "");
	cr_assert_lt(modinfo_parse("garbage", 7, &info, &err), 0);
	cr_assert_lt(modinfo_parse(bytes, 0, &info, &err), 0);
	/* Cut anywhere, it is an answer or an error and no crash. */
	n = make_module(text, sizeof(text), bytes, sizeof(bytes));
	for (size_t cut = 1; cut < n; cut++) {
		uint8_t *exact = malloc(cut);
		memcpy(exact, bytes, cut);
		if (modinfo_parse(exact, cut, &info, &err) < 0)
			cr_assert_eq(err.code, ERR_INVALID_ARGUMENT);
		free(exact);
	}
}

Test(modules, dependencies_come_first)
{
	const char *tree = in_scratch("modules");
	PUT_MODULE(tree, "net/top-most.ko", MAGIC "depends=left,right,inside");
	PUT_MODULE(tree, "drivers/left.ko", MAGIC "depends=deep_one");
	PUT_MODULE(tree, "drivers/right.ko", MAGIC "depends=deep-one");
	PUT_MODULE(tree, "lib/deep-one.ko", MAGIC "depends=");
	put_text(in_scratch("modules/modules.builtin"), "kernel/a/inside.ko\nkernel/b/other.ko\n");
	enum err_code code;
	cr_assert_str_eq(resolve(want("top_most", "nowhere"), &code), "deep_one left right top_most");
	cr_assert_str_eq(resolve(want("top-most", "left"), &code), "deep_one left right top_most");
	cr_assert_str_eq(resolve(want("right", "left"), &code), "deep_one right left");
	cr_assert_str_eq(resolve(want("inside", "other"), &code), "", "built in: nothing to load");
	cr_assert_eq(code, 0);
	EXPECT(want("nowhere", NULL), ERR_UNSUPPORTED,
		"kernel " REL " has no the first thing: module nowhere is neither built in nor in /tmp/");
}

Test(modules, packed_in_every_way)
{
	const char *tree = in_scratch("modules");
	static const char info[] = MAGIC "depends=";
	put_module(tree, "a.ko.xz", info, sizeof(info), "xz -c --check=crc32 --lzma2=dict=1MiB");
	put_module(tree, "b.ko.zst", info, sizeof(info), "zstd -qc");
	put_module(tree, "c.ko.gz", info, sizeof(info), "gzip -c");
	static const struct initramfs_module wanted[] = {{"a"}, {"b"}, {"c"}, {0}};
	enum err_code code;
	cr_assert_str_eq(resolve(wanted, &code), "a b c");
	put_text(in_scratch("modules/kernel/a.ko.xz"), "not xz at all");
	EXPECT(wanted, ERR_INVALID_ARGUMENT, "a.ko.xz is no kernel module");
	put_text(in_scratch("modules/kernel/a.ko.xz"), "");
	EXPECT(wanted, ERR_INVALID_ARGUMENT, "a.ko.xz");
}

Test(modules, what_can_be_wrong_with_a_tree)
{
	const char *tree = in_scratch("modules");
	PUT_MODULE(tree, "one.ko", MAGIC "depends=two");
	EXPECT(want("one", NULL), ERR_UNSUPPORTED, "has no module two, which its module one needs");
	PUT_MODULE(tree, "two.ko", MAGIC "depends=one");
	EXPECT(want("one", NULL), ERR_INVALID_ARGUMENT, "in a circle at one");
	PUT_MODULE(tree, "two.ko", "vermagic=6.99.1-tester SMP\0depends=");
	EXPECT(want("one", NULL), ERR_INVALID_ARGUMENT, "is of kernel 6.99.1-tester, not of " REL);
	PUT_MODULE(tree, "two.ko", "vermagic=6.99.1 SMP\0depends=");
	EXPECT(want("one", NULL), ERR_INVALID_ARGUMENT, "is of kernel 6.99.1, not of " REL);
}

Test(modules, without_a_tree_the_config_tells)
{
	EXPECT(want("one", NULL), ERR_NONE, ""); /* nothing known: the agent will tell */
	put_text(in_scratch("config"), "# CONFIG_A is not set\nCONFIG_AB=y\n");
	EXPECT(want("one", NULL), ERR_UNSUPPORTED, "has no the first thing");
	put_text(in_scratch("config"), "CONFIG_A=m\n");
	EXPECT(want("one", NULL), ERR_UNSUPPORTED, "CONFIG_A=y");
	put_text(in_scratch("config"), "CONFIG_X=y\nCONFIG_A=y\n");
	EXPECT(want("one", NULL), ERR_NONE, "");
}
