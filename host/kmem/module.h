/* SPDX-License-Identifier: GPL-2.0-only */
/* Modules of a running kernel, found from outside through its own list of them (kernel/module/main.c), with
 * their symbols and types. Any thread; the guest may run: then a module may go between two looks. Everything
 * read is the guest's word: bounded and checked. */
#ifndef HOST_KMEM_MODULE_H
#define HOST_KMEM_MODULE_H

#include "host/kmem/target.h"

/* More than any kernel has loaded, and symbols of one module. */
#define KMEM_MODULES_MAX 2048u
#define KMEM_MODULE_SYMBOLS_MAX 262144u

struct kmem_module {
	gva_t at;      /* its struct module; 0: before the first */
	char name[64]; /* printable */
	/* struct mod_kallsyms */
	uint64_t symbols, names;
	uint32_t n_symbols;
	unsigned seen; /* how many came before */
};
/* Goes on to the next module; start with zeros. 1, or 0: there are no more (or this kernel has none). */
int kmem_module_next(const struct kmem *kmem, struct kmem_module *module, struct err *err) must_check;

struct kmem_module_symbol {
	char name[KALLSYMS_NAME_MAX];
	gva_t address;
	uint64_t size_bytes; /* 0: not known */
};
/* The next symbol that the module defines, from number *at on; advances *at. 1, or 0: there are no more. */
int kmem_module_symbol_next(const struct kmem *kmem, const struct kmem_module *module, uint32_t *at,
	struct kmem_module_symbol *ret_symbol, struct err *err) must_check;

/* The one symbol of exactly that name in all modules. ERR_NOT_FOUND, ERR_AMBIGUOUS (with the modules). */
int kmem_module_find(
	const struct kmem *kmem, const char *name, gva_t *ret_address, struct err *err) must_check;
/* A symbol of the image or, if it has none of that name, of a module. As symbols_find(). */
int kmem_any_symbol(
	const struct kmem *kmem, const char *name, gva_t *ret_address, struct err *err) must_check;
/* The first type of that kind and name that a module brought: 1, or 0: none has. */
int kmem_module_type(const struct kmem *kmem, unsigned kind, const char *name, const struct kbtf **ret_btf,
	uint32_t *ret_type, struct err *err) must_check;

#endif
