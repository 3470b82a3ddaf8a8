/* SPDX-License-Identifier: GPL-2.0-only */
/* Modules: a list of them with symbols and types, made by hand in the layout of real kernels, and damage to
 * it. */
#include "host/kmem/access.h"
#include "host/kmem/module.h"
#include "tests/unit/kmem/loaded.h"

#include <elf.h>
#include <errno.h>

/* Guest-physical places, above the image. */
#define MODULES UINT64_C(0x20000000)
#define KALLSYMS UINT64_C(0x21000000)
#define TABLES UINT64_C(0x22000000)
#define BTFS UINT64_C(0x23000000)
#define DATA UINT64_C(0x24000000)
#define MODULE(i) (MODULES + (i)*0x10000)
#define DIRECT(gpa) (PAGE_OFFSET + (gpa))
#define LINK(i) (DIRECT(MODULE(i)) + offset_of("module", "list"))

static const char names[] = "\0one_value\0shared\0gone\0two_value\0x";

static uint32_t name_at(const char *name)
{
	size_t i = 1;
	while (strcmp(names + i, name) != 0)
		i += strlen(names + i) + 1;
	return (uint32_t)i;
}

static void module(unsigned i, const char *name, const char *const *symbols, unsigned n)
{
	char text[56] = "";
	uint64_t table = TABLES + i * 0x1000;
	snprintf(text, sizeof(text), "%s", name);
	put(MODULE(i) + offset_of("module", "name"), text, sizeof(text));
	set(MODULE(i), "module", "kallsyms", DIRECT(KALLSYMS + i * 0x100));
	set(KALLSYMS + i * 0x100, "mod_kallsyms", "symtab", DIRECT(table));
	set(KALLSYMS + i * 0x100, "mod_kallsyms", "strtab", DIRECT(TABLES + 0x10000));
	set(KALLSYMS + i * 0x100, "mod_kallsyms", "num_symtab", n + 1);
	for (unsigned k = 0; k < n; k++) {
		Elf64_Sym symbol = {.st_name = name_at(symbols[k]),
			.st_shndx = strcmp(symbols[k], "gone") == 0 ? SHN_UNDEF : 3,
			.st_value = DIRECT(DATA + i * 0x100 + k * 8),
			.st_size = 8};
		put(table + (k + 1) * sizeof(symbol), &symbol, sizeof(symbol));
	}
}

/* Types of module 1, behind the kernel's: struct one_thing {u32 a; u32 b}, with the kernel's own u32. */
static void types(void)
{
	const struct kbtf *kernel = kmem_btf(kmem, NULL);
	uint32_t u32 = kbtf_find(kernel, BTF_KIND_TYPEDEF, "u32"), strings;
	struct btf_header vmlinux;
	memcpy(&vmlinux, kmem_image(kmem)->btf.bytes, sizeof(vmlinux));
	strings = vmlinux.str_len;
	static const char text[] = "\0one_thing\0a\0b";
	uint32_t words[] = {strings + 1, (uint32_t)BTF_KIND_STRUCT << 24 | 2, 8, strings + 11, u32, 0,
		strings + 13, u32, 32};
	struct btf_header header = {.magic = BTF_MAGIC,
		.version = 1,
		.hdr_len = sizeof(header),
		.type_len = sizeof(words),
		.str_off = sizeof(words),
		.str_len = sizeof(text)};
	put(BTFS + 0x1000, &header, sizeof(header));
	put(BTFS + 0x1000 + sizeof(header), words, sizeof(words));
	put(BTFS + 0x1000 + sizeof(header) + sizeof(words), text, sizeof(text));
	set(BTFS, "btf", "data", DIRECT(BTFS + 0x1000));
	set(BTFS, "btf", "data_size", sizeof(header) + sizeof(words) + sizeof(text));
	set(BTFS, "btf", "id", 2);
	set(BTFS, "btf", "base_btf", DIRECT(BTFS + 0x2000));
	set(BTFS + 0x2000, "btf", "kernel_btf", 1);
	uint64_t entry = BTFS + 0x3000, link = DIRECT(entry) + offset_of("btf_module", "list");
	set(entry, "btf_module", "btf", DIRECT(BTFS));
	gva_t head;
	cr_assert_eq(kmem_symbol(kmem, "btf_modules", &head, NULL), 0);
	put_u64(symbol_gpa("btf_modules"), link);
	put_u64(link - PAGE_OFFSET, head.v);
}

static void modules(void)
{
	static const char *const one[] = {"one_value", "gone", "shared"}, *const two[] = {
										  "two_value", "shared"};
	gva_t head;
	memset(memory.region[0].host + MODULES, 0, MEMORY_BYTES - MODULES);
	put(TABLES + 0x10000, names, sizeof(names));
	module(1, "first", one, 3);
	module(2, "second", two, 2);
	cr_assert_eq(kmem_symbol(kmem, "modules", &head, NULL), 0);
	put_u64(symbol_gpa("modules"), LINK(1));
	put_u64(LINK(1) - PAGE_OFFSET, LINK(2));
	put_u64(LINK(2) - PAGE_OFFSET, head.v);
	put(DATA + 0x100, &(uint32_t[]){41, 42}, 8);
	put(DATA + 0x200, &(uint32_t[]){51, 52}, 8);
	types();
}

static int read_path(const char *path, struct kmem_read *ret, struct err *err)
{
	*ret = (struct kmem_read){.target = {.form = KMEM_PATH, .field = path}, .width = KMEM_NATURAL};
	*err = ERR_INIT;
	return kmem_read_batch(kmem, ret, 1, NULL, err);
}

static void check_symbols(void)
{
	struct kmem_module module = {0};
	struct kmem_module_symbol symbol;
	struct kmem_read r;
	struct err err = ERR_INIT;
	uint32_t at = 0;
	gva_t address;
	cr_assert_eq(kmem_module_next(kmem, &module, &err), 1, "%s", err.message);
	cr_assert_str_eq(module.name, "first");
	cr_assert_eq(kmem_module_symbol_next(kmem, &module, &at, &symbol, &err), 1);
	cr_assert_str_eq(symbol.name, "one_value");
	cr_assert_eq(kmem_module_symbol_next(kmem, &module, &at, &symbol, &err), 1);
	cr_assert_str_eq(symbol.name, "shared");
	cr_assert_eq(kmem_module_symbol_next(kmem, &module, &at, &symbol, &err), 0);
	cr_assert_eq(kmem_module_next(kmem, &module, &err), 1);
	cr_assert_eq(kmem_module_next(kmem, &module, &err), 0);
	cr_assert_eq(kmem_any_symbol(kmem, "two_value", &address, &err), 0, "%s", err.message);
	cr_assert_eq(address.v, DIRECT(DATA + 0x200));
	cr_assert_eq(kmem_any_symbol(kmem, "shared", &address, &err), -ENOTUNIQ);
	cr_assert_not_null(strstr(err.message, "first, second"), "%s", err.message);
	cr_assert_eq(kmem_any_symbol(kmem, "gone", &address, &err), -ENOENT);
	/* The image comes first, and tells what is near. */
	cr_assert_eq(kmem_any_symbol(kmem, "jifies_64", &address, &err), -ENOENT);
	cr_assert_not_null(strstr(err.message, "jiffies_64"), "%s", err.message);
	cr_assert_eq(read_path("(u32)two_value", &r, &err), 0, "%s", err.message);
	cr_assert_eq(r.value, 51);
	cr_assert_eq(read_path("(struct one_thing)one_value.b", &r, &err), 0, "%s", err.message);
	cr_assert_eq(r.value, 42);
	cr_assert_str_eq(kbtf_name(r.btf, r.type), "u32");
	cr_assert_eq(read_path("(struct no_thing)one_value.b", &r, &err), -ENOENT);
	r = (struct kmem_read){
		.target = {.form = KMEM_SYMBOL, .name = "one_value", .offset = 4}, .width = KMEM_U32};
	cr_assert_eq(kmem_read_batch(kmem, &r, 1, NULL, &err), 0, "%s", err.message);
	cr_assert_eq(r.value, 42);
}

Test(module, symbols_and_types_are_found)
{
	with_loaded_kernels(modules, check_symbols);
}

static void check_damage(void)
{
	static const uint64_t garbage[] = {0, 2, UINT64_MAX, UINT64_C(0xdead000000000000), DIRECT(MODULES)};
	struct err err = ERR_INIT;
	gva_t address;
	for (unsigned i = 0; i < ARRAY_SIZE(garbage); i++) {
		for (unsigned what = 0; what < 5; what++) {
			if (what == 0)
				put_u64(symbol_gpa("modules"), garbage[i]);
			else if (what == 1)
				put_u64(LINK(1) - PAGE_OFFSET, garbage[i]);
			else if (what == 2)
				set(MODULE(1), "module", "kallsyms", garbage[i]);
			else if (what == 3)
				set(KALLSYMS + 0x100, "mod_kallsyms", "symtab", garbage[i]);
			else
				set(KALLSYMS + 0x100, "mod_kallsyms", "num_symtab", garbage[i]);
			int rc = kmem_any_symbol(kmem, "two_value", &address, &err);
			cr_assert(rc == 0 || err.message[0], "%u %u", i, what);
			modules();
		}
	}
	/* A ring that does not come back to its head. */
	put_u64(LINK(2) - PAGE_OFFSET, LINK(1));
	cr_assert_eq(kmem_module_find(kmem, "two_value", &address, &err), -E2BIG, "%s", err.message);
}

Test(module, lists_may_be_damaged)
{
	with_loaded_kernels(modules, check_damage);
}
