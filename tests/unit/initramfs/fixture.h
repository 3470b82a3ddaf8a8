/* SPDX-License-Identifier: GPL-2.0-only */
/* Files to test with: a scratch directory, modules and kernel images made up byte by byte, archives read
 * back. */
#ifndef TESTS_UNIT_INITRAMFS_FIXTURE_H
#define TESTS_UNIT_INITRAMFS_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PATH_BYTES 512

/* The test's own directory, made on the first call and removed at exit. */
const char *scratch(void);
/* scratch()/NAME with printf. Static storage, eight at a time. */
char *in_scratch(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Writes a file and its directories; its times are set back so that it does not count as just changed. */
void put_file(const char *path, const void *bytes, size_t length, mode_t mode);
void put_text(const char *path, const char *text);
void copy_file(const char *from, const char *to, mode_t mode);
/* Sets the times back. */
void age(const char *path);
/* A file that meson built beside this test. */
char *built(const char *name);

/* An ELF file with a .modinfo of "a=b" strings, each ended by NUL (count of bytes is given). */
size_t make_module(const char *modinfo, size_t length, uint8_t *bytes, size_t size);
/* The module in a tree: modules/kernel/NAME.ko, packed with `packer` ("xz -c") if not NULL. */
void put_module(const char *tree, const char *file, const char *modinfo, size_t length, const char *packer);
#define PUT_MODULE(tree, file, modinfo) put_module(tree, file, modinfo, sizeof(modinfo), NULL)
/* A file with a bzImage's header that says this version. */
void put_bzimage(const char *path, const char *version);

/* What an archive says of a path. */
struct entry {
	bool found;
	mode_t mode;
	uint64_t size, rdev_major, rdev_minor;
	char link[PATH_BYTES];
	char text[4096]; /* the beginning of a file's content */
	unsigned index;  /* its place */
};
struct entry archive_find(const uint8_t *bytes, size_t length, const char *path);

#endif
