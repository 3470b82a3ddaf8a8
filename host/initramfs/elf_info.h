/* SPDX-License-Identifier: GPL-2.0-only */
/* What an ELF program or library says it needs, and what other kinds of files are. Bytes from anywhere: every
 * offset is checked. No state. */
#ifndef HOST_INITRAMFS_ELF_INFO_H
#define HOST_INITRAMFS_ELF_INFO_H

#include "common/arena.h"
#include "common/err.h"

#include <stdbool.h>

enum file_kind {
	FILE_DATA = 1, /* anything else, relocatable objects (.o, .bpf.o) included */
	FILE_PROGRAM,  /* ELF executable or shared object for x86-64 */
	FILE_SCRIPT,   /* starts with #! */
};

/* Needs more than any program has: 512. */
#define ELF_NEEDED_MAX 512

struct elf_info {
	const char *interp;  /* PT_INTERP: the loader's path, or NULL (static, or a library) */
	const char **needed; /* DT_NEEDED, in order */
	unsigned n_needed;
	const char *rpath, *runpath; /* DT_RPATH, DT_RUNPATH: colon-separated, or NULL */
};

/* What the file is, and for FILE_PROGRAM what it needs (strings in the arena). ERR_INVALID_ARGUMENT for files
 * that say they are ELF programs and are broken, or of another machine; text follows "PATH ". */
int elf_info_read(const char *path, struct arena *arena, enum file_kind *ret_kind, struct elf_info *ret,
	struct err *err) must_check;

/* The interpreter of a script: its path, and (only if that is an env) the program that env looks for, else
 * NULL. ERR_INVALID_ARGUMENT for a first line that names none. */
int script_interpreter(const char *path, struct arena *arena, const char **ret_path,
	const char **ret_searched, struct err *err) must_check;

/* Whether the file is a library that the loader of a 64-bit program would take: it skips others silently. */
bool elf_is_library(const char *path);
/* Whether the file is a BPF object; false as well when it cannot be looked at. */
bool elf_is_bpf_object(const char *path);

#endif
