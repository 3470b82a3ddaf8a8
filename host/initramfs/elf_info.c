/* SPDX-License-Identifier: GPL-2.0-only */
/* What an ELF file says it needs (see elf_info.h). No state. */
#include "host/initramfs/elf_info.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The kernel reads no more of a #! line: BINPRM_BUF_SIZE in include/uapi/linux/binfmts.h. */
#define SCRIPT_LINE_BYTES 256
#define DYNAMIC_MAX 4096
#define SEGMENTS_MAX 256

static void elf_free(Elf **elf)
{
	if (*elf)
		elf_end(*elf);
}

static int broken(const char *what, struct err *err)
{
	return err_set(err, ERR_INVALID_ARGUMENT, "is a broken ELF file: %s", what);
}

static int no_memory(struct err *err)
{
	return err_set_os(err, ERR_HOST, ENOMEM, "cannot be read");
}

/* Bytes of the file; NULL if they are not in it. */
static const char *chunk(Elf *elf, uint64_t offset, uint64_t length)
{
	const Elf_Data *data = offset <= INT64_MAX && length && length <= SIZE_MAX / 2
				       ? elf_getdata_rawchunk(elf, (int64_t)offset, length, ELF_T_BYTE)
				       : NULL;
	return data && data->d_size == length ? data->d_buf : NULL;
}

/* The file offset of [address, address + length), by the loadable segment that holds it. */
static bool offset_of(Elf *elf, size_t n_segments, uint64_t address, uint64_t length, uint64_t *ret_offset)
{
	for (size_t i = 0; i < n_segments; i++) {
		GElf_Phdr p;
		if (!gelf_getphdr(elf, (int)i, &p) || p.p_type != PT_LOAD || address < p.p_vaddr ||
			!range_fits(address - p.p_vaddr, length, p.p_filesz) ||
			__builtin_add_overflow(p.p_offset, address - p.p_vaddr, ret_offset))
			continue;
		return true;
	}
	return false;
}

struct dynamic {
	uint64_t strings, strings_bytes;
	uint64_t needed[ELF_NEEDED_MAX];
	unsigned n_needed;
	uint64_t rpath, runpath; /* offsets into the strings, or UINT64_MAX */
};

static int dynamic_read(Elf *elf, const GElf_Phdr *segment, struct dynamic *ret, struct err *err)
{
	*ret = (struct dynamic){.rpath = UINT64_MAX, .runpath = UINT64_MAX};
	uint64_t n = MIN_OF(segment->p_filesz / sizeof(Elf64_Dyn), (uint64_t)DYNAMIC_MAX);
	const char *bytes = chunk(elf, segment->p_offset, n * sizeof(Elf64_Dyn));
	if (!bytes)
		return broken("its dynamic section is outside the file", err);
	for (uint64_t i = 0; i < n; i++) {
		Elf64_Dyn d;
		memcpy(&d, bytes + i * sizeof(d), sizeof(d));
		if (d.d_tag == DT_NULL)
			break;
		if (d.d_tag == DT_STRTAB)
			ret->strings = d.d_un.d_ptr;
		else if (d.d_tag == DT_STRSZ)
			ret->strings_bytes = d.d_un.d_val;
		else if (d.d_tag == DT_RPATH)
			ret->rpath = d.d_un.d_val;
		else if (d.d_tag == DT_RUNPATH)
			ret->runpath = d.d_un.d_val;
		else if (d.d_tag == DT_NEEDED && ret->n_needed == ELF_NEEDED_MAX)
			return broken("it needs too many libraries", err);
		else if (d.d_tag == DT_NEEDED)
			ret->needed[ret->n_needed++] = d.d_un.d_val;
	}
	return 0;
}

/* A string of the table into the arena. */
static int take_string(const char *strings, uint64_t size, uint64_t at, struct arena *arena, const char **ret,
	struct err *err)
{
	if (!strings || at >= size || !memchr(strings + at, '\0', size - at))
		return broken("a name is outside its string table", err);
	*ret = arena_strdup(arena, strings + at);
	return *ret ? 0 : no_memory(err);
}

static int program_read(Elf *elf, struct arena *arena, struct elf_info *ret, struct err *err)
{
	size_t n;
	struct dynamic dynamic = {.rpath = UINT64_MAX, .runpath = UINT64_MAX};
	if (elf_getphdrnum(elf, &n) < 0 || n == 0 || n > SEGMENTS_MAX)
		return broken("it has no program headers", err);
	for (size_t i = 0; i < n; i++) {
		GElf_Phdr p;
		if (!gelf_getphdr(elf, (int)i, &p))
			return broken("its program headers are outside the file", err);
		if (p.p_type == PT_INTERP) {
			const char *bytes = chunk(elf, p.p_offset, p.p_filesz);
			int r = take_string(bytes, p.p_filesz, 0, arena, &ret->interp, err);
			if (r < 0)
				return r;
			if (ret->interp[0] != '/')
				return broken("its loader is not an absolute path", err);
		}
		if (p.p_type == PT_DYNAMIC) {
			int r = dynamic_read(elf, &p, &dynamic, err);
			if (r < 0)
				return r;
		}
	}
	if (dynamic.n_needed == 0 && dynamic.rpath == UINT64_MAX && dynamic.runpath == UINT64_MAX)
		return 0;
	uint64_t offset;
	const char *strings = NULL;
	if (offset_of(elf, n, dynamic.strings, dynamic.strings_bytes, &offset))
		strings = chunk(elf, offset, dynamic.strings_bytes);
	ret->needed = arena_zalloc(arena, dynamic.n_needed + 1, sizeof(*ret->needed));
	if (!ret->needed)
		return no_memory(err);
	int r = 0;
	for (; r == 0 && ret->n_needed < dynamic.n_needed; ret->n_needed += r == 0)
		r = take_string(strings, dynamic.strings_bytes, dynamic.needed[ret->n_needed], arena,
			&ret->needed[ret->n_needed], err);
	if (r == 0 && dynamic.rpath != UINT64_MAX)
		r = take_string(strings, dynamic.strings_bytes, dynamic.rpath, arena, &ret->rpath, err);
	if (r == 0 && dynamic.runpath != UINT64_MAX)
		r = take_string(strings, dynamic.strings_bytes, dynamic.runpath, arena, &ret->runpath, err);
	return r;
}

static int open_file(const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	if (fd < 0)
		return err_set_os(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_HOST, errno, "cannot be opened");
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return fd;
	close(fd);
	return err_set(err, ERR_INVALID_ARGUMENT, "is not a regular file");
}

int elf_info_read(const char *path, struct arena *arena, enum file_kind *ret_kind, struct elf_info *ret,
	struct err *err)
{
	*ret = (struct elf_info){0};
	_cleanup_close_ int fd = open_file(path, err);
	if (fd < 0)
		return fd;
	Elf64_Ehdr head = {0};
	ssize_t n = pread(fd, &head, sizeof(head), 0);
	if (n < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot be read");
	if (n < SELFMAG || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0) {
		*ret_kind = n > 2 && memcmp(&head, "#!", 2) == 0 ? FILE_SCRIPT : FILE_DATA;
		return 0;
	}
	if (n < (ssize_t)sizeof(Elf32_Ehdr))
		return broken("it ends within its header", err);
	/* e_type is at the same place in both classes. */
	if (head.e_type == ET_REL) {
		*ret_kind = FILE_DATA;
		return 0;
	}
	if (head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_ident[EI_DATA] != ELFDATA2LSB ||
		head.e_machine != EM_X86_64)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"is not a program for x86-64 (class %u, machine %u)", head.e_ident[EI_CLASS],
			head.e_machine);
	if (head.e_type != ET_EXEC && head.e_type != ET_DYN)
		return err_set(err, ERR_INVALID_ARGUMENT, "is an ELF file, but neither program nor library");
	elf_version(EV_CURRENT);
	_cleanup_(elf_free) Elf *elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
	if (!elf || elf_kind(elf) != ELF_K_ELF)
		return broken(elf_errmsg(-1), err);
	*ret_kind = FILE_PROGRAM;
	return program_read(elf, arena, ret, err);
}

int script_interpreter(const char *path, struct arena *arena, const char **ret_path,
	const char **ret_searched, struct err *err)
{
	char line[SCRIPT_LINE_BYTES + 1], *rest = NULL;
	_cleanup_close_ int fd = open_file(path, err);
	if (fd < 0)
		return fd;
	ssize_t n = pread(fd, line, SCRIPT_LINE_BYTES, 0);
	if (n < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot be read");
	line[n] = '\0';
	line[strcspn(line, "\n")] = '\0';
	const char *interpreter = n > 2 ? strtok_r(line + 2, " \t\r", &rest) : NULL;
	if (!interpreter || interpreter[0] != '/')
		return err_set(err, ERR_INVALID_ARGUMENT, "is a script whose #! line names no absolute path");
	const char *slash = strrchr(interpreter, '/'), *searched = NULL;
	if (strcmp(slash, "/env") == 0) {
		do
			searched = strtok_r(NULL, " \t\r", &rest);
		while (searched && (searched[0] == '-' || strchr(searched, '=')));
		if (!searched)
			return err_set(
				err, ERR_INVALID_ARGUMENT, "is a script whose #! line gives env no program");
	}
	*ret_path = arena_strdup(arena, interpreter);
	*ret_searched = searched ? arena_strdup(arena, searched) : NULL;
	return *ret_path && (!searched || *ret_searched) ? 0 : no_memory(err);
}

static bool read_head(const char *path, Elf64_Ehdr *ret)
{
	struct err err;
	_cleanup_close_ int fd = open_file(path, &err);
	return fd >= 0 && pread(fd, ret, sizeof(*ret), 0) == (ssize_t)sizeof(*ret) &&
	       memcmp(ret->e_ident, ELFMAG, SELFMAG) == 0 && ret->e_ident[EI_CLASS] == ELFCLASS64;
}

bool elf_is_library(const char *path)
{
	Elf64_Ehdr head;
	return read_head(path, &head) && head.e_machine == EM_X86_64 && head.e_type == ET_DYN;
}

bool elf_is_bpf_object(const char *path)
{
	Elf64_Ehdr head;
	return read_head(path, &head) && head.e_machine == EM_BPF;
}
