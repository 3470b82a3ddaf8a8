/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs and what they need: real ones, static ones, scripts, broken ones. */
#include "host/initramfs/program.h"

#include "host/initramfs/elf_info.h"

#include "common/fd.h"
#include "fixture.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct result {
	int r;
	struct err err;
	uint8_t *bytes;
	size_t length;
	struct inputs inputs;
};

/* Adds the file as /staged/x and packs. */
static struct result add(const char *host, const struct program_search *search)
{
	struct result result = {0};
	struct pack *pack = pack_new();
	result.r =
		program_add(pack, &result.inputs, search, "/staged/x", host, "staged file 'x'", &result.err);
	if (result.r == 0) {
		int fd = memfd_create("test", MFD_CLOEXEC);
		struct stat st;
		cr_assert_eq(pack_write(pack, fd, 1 << 30, &result.err), 0, "%s", result.err.message);
		cr_assert_eq(fstat(fd, &st), 0);
		result.length = (size_t)st.st_size;
		result.bytes = malloc(result.length);
		cr_assert_eq(pread(fd, result.bytes, result.length, 0), st.st_size);
		close(fd);
	}
	pack_free(pack);
	return result;
}

static void done(struct result *result)
{
	free(result->bytes);
	inputs_deinit(&result->inputs);
}

static void expect_error(const char *host, enum err_code code, const char *part)
{
	struct result result = add(host, NULL);
	cr_assert_lt(result.r, 0, "%s", host);
	cr_assert_eq(result.err.code, code, "%s", result.err.message);
	cr_assert_not_null(strstr(result.err.message, part), "'%s' is not in '%s'", part, result.err.message);
	cr_assert_eq(strncmp(result.err.message, "staged file 'x'", 15), 0, "%s", result.err.message);
	done(&result);
}

#define HAS(result, path) archive_find((result).bytes, (result).length, path).found

Test(program, dynamic_with_its_own_libraries)
{
	struct result result = add(built("staged-dynamic"), NULL);
	cr_assert_eq(result.r, 0, "%s", result.err.message);
	struct entry program = archive_find(result.bytes, result.length, "staged/x");
	cr_assert_eq(program.mode, S_IFREG | 0755);
	cr_assert(HAS(result, "staged/libstagedmiddle.so"), "$ORIGIN is where it will be, not where it was");
	cr_assert(HAS(result, "staged/libstagedleaf.so"));
	cr_assert(HAS(result, "usr/lib64/ld-linux-x86-64.so.2") || HAS(result, "lib64/ld-linux-x86-64.so.2"));
	cr_assert(HAS(result, "usr/lib/x86_64-linux-gnu/libc.so.6") || HAS(result, "usr/lib64/libc.so.6") ||
		  HAS(result, "lib/x86_64-linux-gnu/libc.so.6"));
	cr_assert_not_null(strstr(strbuf_str(&result.inputs.text), "libstagedleaf.so\n"));
	done(&result);
}

/* The archive runs: unpacked and entered, if we may. Without /proc there the loader must be told $ORIGIN. */
Test(program, runs_from_the_archive)
{
	if (geteuid() != 0)
		cr_skip_test("chroot needs root");
	if (access("/usr/bin/cpio", X_OK) < 0)
		cr_skip_test("no cpio");
	char command[2048];
	struct result result = add(built("staged-dynamic"), NULL);
	cr_assert_eq(result.r, 0, "%s", result.err.message);
	put_file(in_scratch("archive"), result.bytes, result.length, 0644);
	done(&result);
	snprintf(command, sizeof(command),
		"mkdir -p %s/root && cd %s/root && cpio -idm --quiet <../archive && LD_ORIGIN_PATH=/staged "
		"chroot . /staged/x",
		scratch(), scratch());
	int status = system(command);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 42, "status %x", status);
}

Test(program, static_and_data)
{
	struct result result = add(built("staged-static"), NULL);
	cr_assert_eq(result.r, 0, "%s", result.err.message);
	cr_assert_eq(archive_find(result.bytes, result.length, "staged/x").mode, S_IFREG | 0755);
	cr_assert_not(HAS(result, "usr"), "nothing else");
	done(&result);
	put_text(in_scratch("data"), "some data");
	result = add(in_scratch("data"), NULL);
	cr_assert_eq(result.r, 0);
	struct entry data = archive_find(result.bytes, result.length, "staged/x");
	cr_assert_eq(data.mode, S_IFREG | 0644);
	cr_assert_str_eq(data.text, "some data");
	done(&result);
	put_text(in_scratch("none"), "");
	result = add(in_scratch("none"), NULL);
	cr_assert_eq(result.r, 0, "an empty file is a file");
	done(&result);
	/* An object file, such as a BPF one, is data whatever its machine. */
	uint8_t object[1024];
	size_t n = make_module("a=b", 4, object, sizeof(object));
	object[18] = 247; /* EM_BPF */
	put_file(in_scratch("x.bpf.o"), object, n, 0644);
	result = add(in_scratch("x.bpf.o"), NULL);
	cr_assert_eq(result.r, 0, "%s", result.err.message);
	done(&result);
}

Test(program, scripts_bring_their_interpreter)
{
	put_text(in_scratch("script"), "#!/bin/sh -e\necho hello\n");
	struct result result = add(in_scratch("script"), NULL);
	cr_assert_eq(result.r, 0, "%s", result.err.message);
	cr_assert_eq(archive_find(result.bytes, result.length, "staged/x").mode, S_IFREG | 0755);
	cr_assert(HAS(result, "usr/bin/sh") || HAS(result, "bin/sh"));
	done(&result);
	put_text(in_scratch("script"), "#!/usr/bin/env -S A=b cat\n");
	result = add(in_scratch("script"), NULL);
	cr_assert_eq(result.r, 0, "%s", result.err.message);
	cr_assert(HAS(result, "usr/bin/env"));
	cr_assert(HAS(result, "usr/bin/cat") || HAS(result, "bin/cat"));
	done(&result);
	put_text(in_scratch("script"), "#!/no/such/interpreter\n");
	expect_error(in_scratch("script"), ERR_NOT_FOUND, "is a script for /no/such/interpreter");
	put_text(in_scratch("script"), "#!/usr/bin/env no-such-program\n");
	expect_error(in_scratch("script"), ERR_NOT_FOUND, "no-such-program");
	put_text(in_scratch("script"), "#! \n");
	expect_error(in_scratch("script"), ERR_INVALID_ARGUMENT, "names no absolute path");
	put_text(in_scratch("script"), "#!/usr/bin/env\n");
	expect_error(in_scratch("script"), ERR_INVALID_ARGUMENT, "gives env no program");
}

Test(program, missing_things_are_named)
{
	copy_file(built("staged-dynamic"), in_scratch("alone"), 0755);
	expect_error(in_scratch("alone"), ERR_NOT_FOUND, "needs libstagedmiddle.so");
	copy_file(built("libstagedmiddle.so"), in_scratch("libstagedmiddle.so"), 0755);
	expect_error(in_scratch("alone"), ERR_NOT_FOUND, "needs libstagedleaf.so (asked for by /tmp/");
	/* What is there but no library is passed over, as the loader does. */
	put_text(in_scratch("libstagedleaf.so"), "INPUT(-lother)");
	expect_error(in_scratch("alone"), ERR_NOT_FOUND, "needs libstagedleaf.so");
	copy_file(built("libstagedleaf.so"), in_scratch("libstagedleaf.so"), 0755);
	struct result result = add(in_scratch("alone"), NULL);
	cr_assert_eq(result.r, 0, "%s", result.err.message);
	done(&result);
	expect_error(in_scratch("absent"), ERR_NOT_FOUND, "cannot be opened: No such file");
	expect_error("/tmp", ERR_INVALID_ARGUMENT, "is not a regular file");
}

Test(program, without_a_loader_cache_the_directories_are_searched)
{
	static const char *const none[] = {NULL};
	put_text(in_scratch("cache"),
		"glibc-ld.so.cache1.1 but then it ends early, which is not a cache at all");
	struct program_search search = {.ld_so_cache = in_scratch("cache")};
	struct result result = add(built("staged-dynamic"), &search);
	cr_assert_eq(result.r, 0, "%s", result.err.message);
	cr_assert_not(HAS(result, "etc/ld.so.cache"), "not used, not packed");
	done(&result);
	search.default_dirs = none;
	result = add(built("staged-dynamic"), &search);
	cr_assert_eq(result.err.code, ERR_NOT_FOUND);
	cr_assert_not_null(strstr(result.err.message, "needs libc.so.6"), "%s", result.err.message);
	done(&result);
}

Test(program, broken_elf_is_an_error_and_no_crash)
{
	char *bytes;
	size_t length;
	struct err err = ERR_INIT;
	cr_assert_eq(fd_read_file(built("staged-dynamic"), 16 << 20, &bytes, &length, &err), 0);
	put_file(in_scratch("cut"), bytes, 10, 0755);
	expect_error(in_scratch("cut"), ERR_INVALID_ARGUMENT, "is a broken ELF file");
	put_file(in_scratch("cut"), bytes, 200, 0755);
	expect_error(in_scratch("cut"), ERR_INVALID_ARGUMENT, "is a broken ELF file");
	bytes[18] = (char)183; /* EM_AARCH64 */
	put_file(in_scratch("arm"), bytes, length, 0755);
	expect_error(in_scratch("arm"), ERR_INVALID_ARGUMENT, "is not a program for x86-64");
	bytes[18] = 62;
	/* Random damage where headers and dynamic section are. Reproducible: the seed is fixed. */
	struct arena *arena = arena_new(64 << 20);
	unsigned seed = 1, errors = 0;
	int fd = open(in_scratch("damaged"), O_RDWR | O_CREAT | O_CLOEXEC, 0755);
	for (int round = 0; round < 2000; round++) {
		char *damaged = malloc(length);
		memcpy(damaged, bytes, length);
		for (int i = 0; i < 6; i++) {
			size_t at = (size_t)rand_r(&seed) % (i % 2 ? MIN_OF(length, 1024u) : length);
			damaged[at] = (char)rand_r(&seed);
		}
		cr_assert_eq(ftruncate(fd, 0), 0);
		cr_assert_eq(pwrite(fd, damaged, length, 0), (ssize_t)length);
		free(damaged);
		enum file_kind kind;
		struct elf_info info;
		errors += elf_info_read(in_scratch("damaged"), arena, &kind, &info, &err) < 0;
	}
	close(fd);
	arena_free(arena);
	free(bytes);
	cr_assert_gt(errors, 100, "damage is noticed: %u", errors);
}

Test(program, two_files_cannot_be_one)
{
	struct pack *pack = pack_new();
	struct err err = ERR_INIT;
	cr_assert_eq(pack_add_file(pack, "/lib/../opt/./a", "/bin/ls", 0755, &err), 0, "%s", err.message);
	cr_assert_eq(pack_add_file(pack, "/opt/a", "/bin/ls", 0755, &err), 0, "the same again");
	cr_assert_lt(pack_add_file(pack, "/opt//a", "/bin/cat", 0755, &err), 0);
	cr_assert_not_null(
		strstr(err.message, "/opt/a in the guest: /bin/ls and /bin/cat"), "%s", err.message);
	cr_assert_lt(pack_add_dir(pack, "/opt/a", 0755, &err), 0);
	cr_assert_lt(pack_add_file(pack, "/opt/a/b", "/bin/ls", 0755, &err), 0, "a file is no directory");
	cr_assert_lt(pack_add_file(pack, "opt", "/bin/ls", 0755, &err), 0);
	cr_assert_eq(pack_add_file(pack, "/../../x", "/bin/ls", 0755, &err), 0);
	int fd = memfd_create("test", MFD_CLOEXEC);
	cr_assert_lt(pack_write(pack, fd, 1000, &err), 0);
	cr_assert_eq(err.code, ERR_LIMIT_EXCEEDED);
	close(fd);
	pack_free(pack);
}
