/* SPDX-License-Identifier: GPL-2.0-only */
/* kallsyms: every form on synthetic tables, damaged tables, and the kernels of the cache. */
#include "host/kmem/kallsyms.h"
#include "host/kmem/symbols.h"
#include "tests/unit/kmem/real.h"
#include "tests/unit/kmem/synthetic.h"

#include <criterion/criterion.h>
#include <errno.h>

#define TEXT UINT64_C(0xffffffff81000000)
#define N 700

static char name_store[N][32];
static struct synthetic_symbol table[N];
static struct synthetic synthetic;

static void table_fill(enum kallsyms_form form)
{
	for (unsigned i = 0; i < N; i++) {
		snprintf(name_store[i], sizeof(name_store[i]), "tsched_fn%u", i * 7919 % N);
		table[i] = (struct synthetic_symbol){TEXT + i * 64, name_store[i]};
	}
	table[0].name = "Tbefore_text";
	table[1] = (struct synthetic_symbol){TEXT, "T_text"};
	table[5].name = "dtwin";
	table[300].name = "btwin";
	table[301].address = table[300].address;
	if (form == KALLSYMS_ABSOLUTE_PERCPU) {
		table[0] = (struct synthetic_symbol){0x1234, "Arunqueues"};
		table[1].address = TEXT;
	}
}

static void check_form(enum kallsyms_form form)
{
	struct kallsyms ks;
	struct err err = ERR_INIT;
	char name[KALLSYMS_NAME_MAX], type = 0;
	uint64_t base = form == KALLSYMS_SELF_RELATIVE ? 0 : TEXT;

	table_fill(form);
	synthetic_build(&synthetic, form, table, N, base);
	struct kimage_range range = synthetic_range(&synthetic);
	cr_assert_eq(kallsyms_find_in(&ks, &range, GVA(TEXT), &err), 0, "%s", err.message);
	cr_assert_eq(ks.n, N);
	cr_assert_eq(ks.form, form);
	for (uint32_t i = 0; i < N; i++) {
		cr_assert_eq(kallsyms_name(&ks, i, name, &type), strlen(table[i].name) - 1);
		cr_assert_str_eq(name, table[i].name + 1);
		cr_assert_eq(type, table[i].name[0]);
		cr_assert_eq(kallsyms_address(&ks, i), table[i].address, "%u", i);
	}
	for (uint32_t k = 1; k < N; k++) {
		char other[KALLSYMS_NAME_MAX];
		(void)kallsyms_name(&ks, kallsyms_by_name(&ks, k - 1), name, NULL);
		(void)kallsyms_name(&ks, kallsyms_by_name(&ks, k), other, NULL);
		cr_assert_leq(strcmp(name, other), 0);
	}
}

Test(kallsyms, offsets_from_a_base)
{
	check_form(KALLSYMS_BASE_RELATIVE);
}

Test(kallsyms, offsets_from_their_own_address)
{
	check_form(KALLSYMS_SELF_RELATIVE);
}

Test(kallsyms, zero_based_per_cpu)
{
	check_form(KALLSYMS_ABSOLUTE_PERCPU);
}

Test(kallsyms, damage_is_refused)
{
	static const struct {
		const char *what;
		size_t part;
		uint32_t value;
	} damage[] = {
		{"huge count", offsetof(struct synthetic, num_syms), UINT32_MAX},
		{"count 0", offsetof(struct synthetic, num_syms), 0},
		{"count too large by a chunk", offsetof(struct synthetic, num_syms), N + 256},
		{"count too small", offsetof(struct synthetic, num_syms), N - 20},
		{"first marker", offsetof(struct synthetic, markers), 5},
		{"name longer than the table", offsetof(struct synthetic, names), 0xffffffff},
		{"descending addresses", offsetof(struct synthetic, offsets), 0x40000000},
		{"token index", offsetof(struct synthetic, token_index), 0xffff},
	};
	struct kallsyms ks;

	table_fill(KALLSYMS_SELF_RELATIVE);
	for (unsigned form = KALLSYMS_BASE_RELATIVE; form <= KALLSYMS_SELF_RELATIVE; form++) {
		for (unsigned i = 0; i < ARRAY_SIZE(damage); i++) {
			struct err err = ERR_INIT;
			synthetic_build(&synthetic, (enum kallsyms_form)form, table, N, TEXT);
			size_t at = *(size_t *)((char *)&synthetic + damage[i].part);
			memcpy(synthetic.bytes + at, &damage[i].value, 4);
			struct kimage_range range = synthetic_range(&synthetic);
			cr_assert_eq(kallsyms_find_in(&ks, &range, GVA(TEXT), &err), -ENOTSUP, "%s",
				damage[i].what);
			cr_assert_eq(err.code, ERR_KERNEL_LAYOUT);
		}
	}
}

Test(kallsyms, every_truncation_is_refused)
{
	struct kallsyms ks;

	table_fill(KALLSYMS_SELF_RELATIVE);
	synthetic_build(&synthetic, KALLSYMS_SELF_RELATIVE, table, N, 0);
	for (size_t length = 0; length < synthetic.length; length += 13) {
		/* A heap copy, so that a sanitizer sees reads behind the end. */
		uint8_t *copy = malloc(length + 1);
		memcpy(copy, synthetic.bytes, length);
		struct kimage_range range = {copy, length, GVA(SYNTHETIC_VADDR)};
		cr_assert_lt(kallsyms_find_in(&ks, &range, GVA(TEXT), NULL), 0, "%zu", length);
		free(copy);
	}
}

Test(kallsyms, text_elsewhere_is_refused)
{
	struct kallsyms ks;
	struct err err = ERR_INIT;

	table_fill(KALLSYMS_BASE_RELATIVE);
	synthetic_build(&synthetic, KALLSYMS_BASE_RELATIVE, table, N, TEXT);
	struct kimage_range range = synthetic_range(&synthetic);
	cr_assert_lt(kallsyms_find_in(&ks, &range, GVA(TEXT + 0x1000), &err), 0);
	cr_assert_not_null(strstr(err.message, "addresses"));
}

Test(symbols, real_kernels, .timeout = 60)
{
	struct real_kernels real;

	real_kernels_load(&real);
	for (unsigned k = 0; k < real.n; k++) {
		struct err err = ERR_INIT;
		struct kimage image;
		struct symbol_at at;
		gva_t text, start, end, task, found;

		cr_assert_eq(kimage_init(&image, real.image[k]->elf, real.image[k]->elf_bytes, &err), 0);
		struct symbols *s = symbols_new(&image, &err);
		cr_assert_not_null(s, "%s: %s", real.release[k], err.message);
		cr_assert_gt(symbols_count(s), 100000);
		cr_assert_eq(symbols_find(s, "_text", &text, &err), 0);
		cr_assert_eq(text.v, image.segment[0].vaddr.v);
		/* Symbols that bound a section must agree with the section headers. */
		struct kimage_range percpu;
		cr_assert(kimage_section(&image, ".data..percpu", &percpu));
		cr_assert_eq(symbols_find(s, "__per_cpu_start", &start, &err), 0);
		cr_assert_eq(symbols_find(s, "__per_cpu_end", &end, &err), 0);
		cr_assert_eq(start.v, percpu.vaddr.v);
		cr_assert_eq(end.v, percpu.vaddr.v + percpu.length);
		cr_assert_eq(symbols_find(s, "linux_banner", &found, &err), 0);
		cr_assert_eq(memcmp(kimage_at(&image, found, 14), "Linux version ", 14), 0);
		cr_assert_eq(symbols_find(s, "init_task", &task, &err), 0);
		cr_assert(symbols_at(s, GVA(task.v + 8), &at));
		cr_assert_str_eq(at.name, "init_task");
		cr_assert_eq(at.offset, 8);
		cr_assert_gt(at.size_bytes, 4096);
		cr_assert_eq(symbols_find(s, "jiffes_64", &found, &err), -ENOENT);
		cr_assert_not_null(strstr(err.message, "'jiffies_64'"), "%s", err.message);
		cr_assert_eq(symbols_find(s, "__key.0", &found, &err), -ENOTUNIQ);
		cr_assert_not_null(strstr(err.message, "0xffffffff8"));
		cr_assert_not(symbols_at(s, GVA(0x1000), &at));
		cr_assert_not(symbols_at(s, GVA(UINT64_MAX), &at));
		symbols_free(s);
	}
	real_kernels_free(&real);
}
