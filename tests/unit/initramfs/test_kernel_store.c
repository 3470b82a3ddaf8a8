/* SPDX-License-Identifier: GPL-2.0-only */
/* Which kernel is meant. */
#include "host/initramfs/kernel_store.h"

#include "fixture.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *release_for(const char *spec)
{
	static struct kernel_files found;
	struct err err = ERR_INIT;
	cr_assert_eq(kernel_find(spec, scratch(), &found, &err), 0, "%s", err.message);
	cr_assert_eq(access(found.image, R_OK), 0);
	return found.release;
}

static void expect_error(const char *spec, enum err_code code, const char *part)
{
	struct kernel_files found;
	struct err err = ERR_INIT;
	cr_assert_lt(kernel_find(spec, scratch(), &found, &err), 0, "%s", spec);
	cr_assert_eq(err.code, code, "%s", err.message);
	cr_assert_not_null(strstr(err.message, part), "'%s' is not in '%s'", part, err.message);
}

static void put_release(const char *release)
{
	put_bzimage(in_scratch("kernels/%s/vmlinuz", release), release);
	put_text(in_scratch("kernels/%s/modules/modules.builtin", release), "");
}

Test(kernel_store, releases)
{
	expect_error("default", ERR_NOT_FOUND, "is empty");
	put_release("6.18.9+deb13-cloud-amd64");
	put_release("6.18.15+deb13-cloud-amd64");
	put_release("7.3.4+deb13-cloud-amd64");
	put_release("7.30.1");
	put_text(in_scratch("kernels/8.0-no-image/config"), "");
	put_text(in_scratch("kernels/.7.4.tmp/vmlinuz"), "");
	cr_assert_str_eq(release_for("6.18"), "6.18.15+deb13-cloud-amd64", "by number, not by letter");
	cr_assert_str_eq(release_for("6.18.9"), "6.18.9+deb13-cloud-amd64");
	cr_assert_str_eq(release_for("6.18.9+deb13-cloud-amd64"), "6.18.9+deb13-cloud-amd64");
	cr_assert_str_eq(release_for("7.3"), "7.3.4+deb13-cloud-amd64", "7.30 is another one");
	cr_assert_str_eq(release_for("7"), "7.30.1");
	cr_assert_str_eq(release_for(NULL), "7.30.1", "no link: the newest");
	cr_assert_eq(symlink("6.18.9+deb13-cloud-amd64", in_scratch("kernels/default")), 0);
	cr_assert_str_eq(release_for("default"), "6.18.9+deb13-cloud-amd64");
	unlink(in_scratch("kernels/default"));
	cr_assert_eq(symlink("gone", in_scratch("kernels/default")), 0);
	cr_assert_str_eq(release_for(""), "7.30.1", "a dead link");
	expect_error("6.1", ERR_NOT_FOUND, "there are: 7.30.1, 7.3.4+deb13-cloud-amd64, 6.18.15");
	expect_error("../x", ERR_NOT_FOUND, "cannot open kernel image");

	struct strbuf list = STRBUF_INIT;
	struct err err = ERR_INIT;
	cr_assert_eq(kernel_store_list(scratch(), &list, &err), 0);
	cr_assert_str_eq(strbuf_str(&list),
		"7.30.1\n7.3.4+deb13-cloud-amd64\n6.18.15+deb13-cloud-amd64\n6.18.9+deb13-cloud-amd64\n");
	strbuf_deinit(&list);
	struct kernel_files found;
	cr_assert_eq(kernel_find("7.3", scratch(), &found, &err), 0);
	cr_assert_str_eq(found.modules, in_scratch("kernels/7.3.4+deb13-cloud-amd64/modules"));
	cr_assert_str_eq(found.config, "", "there is none");
}

Test(kernel_store, images_by_path)
{
	struct kernel_files found;
	struct err err = ERR_INIT;
	put_bzimage(in_scratch("own/bzImage"), "6.99.0-mine+");
	cr_assert_eq(kernel_find(in_scratch("own/bzImage"), "/nowhere", &found, &err), 0, "%s", err.message);
	cr_assert_str_eq(found.release, "6.99.0-mine+");
	cr_assert_str_eq(found.modules, "");
	put_text(in_scratch("own/modules/modules.builtin"), "");
	put_text(in_scratch("own/.config"), "");
	cr_assert_eq(kernel_find(in_scratch("own/bzImage"), "/nowhere", &found, &err), 0);
	cr_assert_str_eq(found.modules, in_scratch("own/modules"));
	cr_assert_str_eq(found.config, in_scratch("own/.config"));
	/* A directory with an image; and an ELF image, whose format strings come before the banner. */
	static const char elf[] = "\177ELF.....Linux version %s\0....Linux version 6.99.0-elf (a@b) #1\0...";
	put_file(in_scratch("elf/vmlinux"), elf, sizeof(elf), 0644);
	cr_assert_eq(kernel_find(in_scratch("elf"), "/nowhere", &found, &err), 0, "%s", err.message);
	cr_assert_str_eq(found.release, "6.99.0-elf");
	cr_assert_str_eq(found.image, in_scratch("elf/vmlinux"));
}

Test(kernel_store, files_that_are_no_kernel)
{
	put_text(in_scratch("text"), "This is a text file, and quite a long one, but no kernel.\n");
	expect_error(in_scratch("text"), ERR_INVALID_ARGUMENT, "neither a bzImage nor ELF");
	put_text(in_scratch("empty"), "");
	expect_error(in_scratch("empty"), ERR_INVALID_ARGUMENT, "neither a bzImage nor ELF");
	expect_error("/bin/true", ERR_INVALID_ARGUMENT, "without a \"Linux version\" text");
	expect_error(in_scratch("absent"), ERR_NOT_FOUND, "No such file");
	put_text(in_scratch("dir/file"), "");
	expect_error(in_scratch("dir"), ERR_NOT_FOUND, "neither vmlinuz nor vmlinux");
	expect_error("/dev/null", ERR_INVALID_ARGUMENT, "not a regular file");
	put_bzimage(in_scratch("cut"), "6.1");
	cr_assert_eq(truncate(in_scratch("cut"), 1100), 0);
	expect_error(in_scratch("cut"), ERR_INVALID_ARGUMENT, "cut");
}
