/* SPDX-License-Identifier: GPL-2.0-only */
/* Files to test with (see fixture.h). */
#include "fixture.h"

#include "common/fd.h"

#include <archive.h>
#include <archive_entry.h>
#include <criterion/criterion.h>
#include <elf.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

static char dir[] = "/tmp/schedrig-initramfs-XXXXXX";

static void run(const char *command)
{
	cr_assert_eq(system(command), 0, "%s", command);
}

static void remove_scratch(void)
{
	char command[128];
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	run(command);
}

const char *scratch(void)
{
	static bool made;
	if (!made) {
		cr_assert_not_null(mkdtemp(dir));
		atexit(remove_scratch);
		made = true;
	}
	return dir;
}

char *in_scratch(const char *fmt, ...)
{
	static char paths[8][PATH_BYTES];
	static unsigned next;
	char *path = paths[next++ % 8];
	int n = snprintf(path, PATH_BYTES, "%s/", scratch());
	va_list args;
	va_start(args, fmt);
	vsnprintf(path + n, PATH_BYTES - (size_t)n, fmt, args);
	va_end(args);
	return path;
}

void age(const char *path)
{
	struct timespec times[2] = {{1700000000, 0}, {1700000000, 0}};
	cr_assert_eq(utimensat(AT_FDCWD, path, times, 0), 0, "%s", path);
}

void put_file(const char *path, const void *bytes, size_t length, mode_t mode)
{
	struct err err = ERR_INIT;
	char parent[PATH_BYTES];
	snprintf(parent, sizeof(parent), "%s", path);
	*strrchr(parent, '/') = '\0';
	cr_assert_eq(fd_mkdir_p(parent, 0755, &err), 0, "%s", err.message);
	cr_assert_eq(fd_replace_file(path, bytes, length, mode, &err), 0, "%s", err.message);
	age(path);
}

void put_text(const char *path, const char *text)
{
	put_file(path, text, strlen(text), 0644);
}

void copy_file(const char *from, const char *to, mode_t mode)
{
	char *bytes;
	size_t length;
	struct err err = ERR_INIT;
	cr_assert_eq(fd_read_file(from, 64 << 20, &bytes, &length, &err), 0, "%s", err.message);
	put_file(to, bytes, length, mode);
	free(bytes);
}

char *built(const char *name)
{
	static char paths[4][PATH_BYTES];
	static unsigned next;
	char *path = paths[next++ % 4];
	const char *from = getenv("STAGED_DIR");
	cr_assert_not_null(from, "run by meson test");
	snprintf(path, PATH_BYTES, "%s/%s", from, name);
	return path;
}

size_t make_module(const char *modinfo, size_t length, uint8_t *bytes, size_t size)
{
	static const char names[] = "\0.modinfo\0.shstrtab";
	size_t at_names = sizeof(Elf64_Ehdr) + length, at_sections = (at_names + sizeof(names) + 7) & ~7ul;
	size_t total = at_sections + 3 * sizeof(Elf64_Shdr);
	cr_assert_leq(total, size);
	memset(bytes, 0, total);
	Elf64_Ehdr head = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
		.e_type = ET_REL,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_ehsize = sizeof(head),
		.e_shoff = at_sections,
		.e_shentsize = sizeof(Elf64_Shdr),
		.e_shnum = 3,
		.e_shstrndx = 2};
	Elf64_Shdr sections[3] = {{0},
		{.sh_name = 1,
			.sh_type = SHT_PROGBITS,
			.sh_offset = sizeof(head),
			.sh_size = length,
			.sh_addralign = 1},
		{.sh_name = 10,
			.sh_type = SHT_STRTAB,
			.sh_offset = at_names,
			.sh_size = sizeof(names),
			.sh_addralign = 1}};
	memcpy(bytes, &head, sizeof(head));
	memcpy(bytes + sizeof(head), modinfo, length);
	memcpy(bytes + at_names, names, sizeof(names));
	memcpy(bytes + at_sections, sections, sizeof(sections));
	return total;
}

void put_module(const char *tree, const char *file, const char *modinfo, size_t length, const char *packer)
{
	uint8_t bytes[4096];
	char path[PATH_BYTES], command[5 * PATH_BYTES];
	size_t n = make_module(modinfo, length, bytes, sizeof(bytes));
	snprintf(path, sizeof(path), "%s/kernel/%s", tree, file);
	put_file(path, bytes, n, 0644);
	if (packer) {
		snprintf(command, sizeof(command), "%s <%s >%s.tmp && mv %s.tmp %s", packer, path, path, path,
			path);
		run(command);
		age(path);
	}
}

void put_bzimage(const char *path, const char *version)
{
	/* Documentation/arch/x86/boot.rst. */
	uint8_t bytes[4096] = {0};
	bytes[0x1f1] = 2; /* set-up sectors */
	bytes[0x1fe] = 0x55;
	bytes[0x1ff] = 0xaa;
	memcpy(bytes + 0x202, "HdrS", 4);
	bytes[0x206] = 0x0f;
	bytes[0x207] = 0x02;
	bytes[0x20e] = 0x00; /* version text at 0x200 + 0x200 */
	bytes[0x20f] = 0x02;
	bytes[0x211] = 1;
	bytes[0x236] = 1;  /* 64-bit */
	bytes[0x24c] = 64; /* length of the packed kernel */
	snprintf((char *)bytes + 0x400, 256, "%.100s (someone@somewhere) #1 SMP", version);
	put_file(path, bytes, sizeof(bytes), 0644);
}

struct entry archive_find(const uint8_t *bytes, size_t length, const char *path)
{
	struct entry ret = {0};
	struct archive *a = archive_read_new();
	struct archive_entry *entry;
	cr_assert_eq(archive_read_support_format_cpio(a), ARCHIVE_OK);
	cr_assert_eq(archive_read_open_memory(a, bytes, length), ARCHIVE_OK);
	unsigned index = 0;
	int r;
	while ((r = archive_read_next_header(a, &entry)) == ARCHIVE_OK) {
		cr_assert_eq(archive_format(a), ARCHIVE_FORMAT_CPIO_SVR4_NOCRC, "newc");
		index++;
		if (strcmp(archive_entry_pathname(entry), path) != 0)
			continue;
		cr_assert_not(ret.found, "%s is there twice", path);
		ret.found = true;
		ret.index = index;
		ret.mode = archive_entry_mode(entry);
		ret.size = (uint64_t)archive_entry_size(entry);
		ret.rdev_major = archive_entry_rdevmajor(entry);
		ret.rdev_minor = archive_entry_rdevminor(entry);
		snprintf(ret.link, sizeof(ret.link), "%s",
			archive_entry_symlink(entry) ? archive_entry_symlink(entry) : "");
		if (S_ISREG(ret.mode))
			cr_assert_geq(archive_read_data(a, ret.text, sizeof(ret.text) - 1), 0);
	}
	cr_assert_eq(r, ARCHIVE_EOF, "%s", archive_error_string(a));
	archive_read_free(a);
	return ret;
}
