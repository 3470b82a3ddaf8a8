/* SPDX-License-Identifier: GPL-2.0-only */
/* The text of a guest's /proc/kallsyms: a third source of symbols, for kernels whose image tells none.
 * Hostile bytes. No state beyond the caller's struct, any thread.
 *
 * Lines of kernel/kallsyms.c, s_show():  "%px %c %s\n" for the kernel itself, "%px %c %s\t[%s]\n" for
 * modules, programs of BPF and what ftrace and kprobes made: these come and go, and are left out. */
#ifndef HOST_KMEM_KALLSYMS_TEXT_H
#define HOST_KMEM_KALLSYMS_TEXT_H

#include "common/err.h"
#include "common/scope.h"

/* More text or symbols than any kernel has. */
#define KALLSYMS_TEXT_MAX (UINT64_C(64) << 20)
#define KALLSYMS_TEXT_SYMBOLS_MAX 4000000u

struct symbol_entry {
	uint64_t address;
	uint32_t name; /* offset in the table's strings, checked to be terminated */
};

struct kallsyms_text {
	struct symbol_entry *symbol; /* [n] in the order of the text */
	uint32_t n;
	char *names;   /* the strings */
	uint64_t text; /* address of `_text` */
};

/* Reads all of it. ERR_KERNEL_LAYOUT: not such a text, cut off, with addresses hidden, or without exactly one
 * `_text`, each with the line; ERR_LIMIT_EXCEEDED. *ret is set on success only. */
int kallsyms_text_parse(
	const char *text, size_t length, struct kallsyms_text *ret, struct err *err) must_check;
void kallsyms_text_deinit(struct kallsyms_text *parsed);

#endif
