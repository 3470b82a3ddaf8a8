/* SPDX-License-Identifier: GPL-2.0-only */
/* Modules from outside. No state, any thread. */
#include "host/kmem/module.h"
#include "host/kmem/guest_btf.h"
#include "host/kmem/member.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

/* include/linux/module_symbol.h: a module that is being put together has no symbols yet. */
#define MODULE_STATE_UNFORMED 3u
#define LISTED_MAX 4

/* Follows the list whose head is a symbol. *at: the node before, 0: none. 1, or 0: the list is at its end. */
static int list_next(const struct kmem *kmem, const char *head_name, gva_t *at, struct err *err)
{
	uint64_t next;
	gva_t head;
	int rc;

	if (kmem_symbol(kmem, head_name, &head, NULL) < 0)
		return 0;
	rc = kmem_copy(kmem, at->v ? *at : head, &next, sizeof(next), err);
	if (rc < 0)
		return rc;
	*at = GVA(next);
	return next != head.v && next != 0;
}

/* As much of a text as there is before its NUL and the end of what is mapped. */
static void text_read(const struct kmem *kmem, uint64_t at, char *text, size_t size)
{
	size_t length = 0;

	while (length < size - 1) {
		/* Up to the page's end: what follows need not be there. */
		size_t n = MIN_OF(size - 1 - length, 4096 - (size_t)((at + length) & 4095));
		n = MIN_OF(n, (size_t)32);
		if (kmem_copy(kmem, GVA(at + length), text + length, n, NULL) < 0)
			break;
		const char *end = memchr(text + length, '\0', n);
		length += end ? (size_t)(end - (text + length)) : n;
		if (end)
			break;
	}
	text[length] = '\0';
	for (char *c = text; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

static int module_read(
	const struct kmem *kmem, struct kmem_module *module, uint64_t *ret_state, struct err *err)
{
	struct kbtf_place name;
	uint64_t kallsyms = 0, n = 0;
	int rc = kmem_member_read(kmem, module->at, "module", "state", ret_state, err);

	module->n_symbols = 0;
	if (rc == 0)
		rc = kmem_struct_member(kmem, "module", "name", &name, err);
	if (rc == 0)
		rc = kmem_member_read(kmem, module->at, "module", "kallsyms", &kallsyms, err);
	if (rc < 0)
		return rc;
	text_read(kmem, module->at.v + name.offset_bytes, module->name,
		MIN_OF(name.size_bytes, sizeof(module->name)));
	if (kallsyms == 0 || *ret_state == MODULE_STATE_UNFORMED)
		return 0;
	rc = kmem_member_read(kmem, GVA(kallsyms), "mod_kallsyms", "num_symtab", &n, err);
	if (rc == 0)
		rc = kmem_member_read(kmem, GVA(kallsyms), "mod_kallsyms", "symtab", &module->symbols, err);
	if (rc == 0)
		rc = kmem_member_read(kmem, GVA(kallsyms), "mod_kallsyms", "strtab", &module->names, err);
	module->n_symbols = (uint32_t)MIN_OF(n, KMEM_MODULE_SYMBOLS_MAX);
	return rc;
}

int kmem_module_next(const struct kmem *kmem, struct kmem_module *module, struct err *err)
{
	struct kbtf_place list;
	uint64_t state;
	gva_t node = GVA(0);
	int rc;

	if (kmem_struct_member(kmem, "module", "list", &list, NULL) < 0)
		return 0;
	if (module->at.v)
		node = GVA(module->at.v + list.offset_bytes);
	rc = list_next(kmem, "modules", &node, err);
	if (rc <= 0)
		return rc;
	if (module->seen++ == KMEM_MODULES_MAX)
		return err_set(err, ERR_LIMIT_EXCEEDED, "the kernel's list of modules does not end");
	module->at = GVA(node.v - list.offset_bytes);
	rc = module_read(kmem, module, &state, err);
	return rc < 0 ? rc : 1;
}

int kmem_module_symbol_next(const struct kmem *kmem, const struct kmem_module *module, uint32_t *at,
	struct kmem_module_symbol *ret_symbol, struct err *err)
{
	while (*at < module->n_symbols) {
		Elf64_Sym symbol;
		int rc = kmem_copy(kmem, GVA(module->symbols + (uint64_t)(*at)++ * sizeof(symbol)), &symbol,
			sizeof(symbol), err);
		if (rc < 0)
			return rc;
		/* The first one has no name; undefined ones are another's. */
		if (symbol.st_shndx == SHN_UNDEF || symbol.st_name == 0)
			continue;
		text_read(kmem, module->names + symbol.st_name, ret_symbol->name, sizeof(ret_symbol->name));
		if (!ret_symbol->name[0])
			continue;
		ret_symbol->address = GVA(symbol.st_value);
		ret_symbol->size_bytes = symbol.st_size;
		return 1;
	}
	return 0;
}

int kmem_module_find(const struct kmem *kmem, const char *name, gva_t *ret_address, struct err *err)
{
	struct kmem_module module = {0};
	struct kmem_module_symbol symbol;
	char listed[LISTED_MAX * 64] = "";
	unsigned found = 0;
	int rc;

	while ((rc = kmem_module_next(kmem, &module, err)) > 0) {
		uint32_t at = 0;
		while ((rc = kmem_module_symbol_next(kmem, &module, &at, &symbol, err)) > 0) {
			size_t used = strlen(listed);
			if (strcmp(symbol.name, name) != 0)
				continue;
			*ret_address = symbol.address;
			if (found++ < LISTED_MAX)
				snprintf(listed + used, sizeof(listed) - used, "%s%s", used ? ", " : "",
					module.name);
		}
		if (rc < 0)
			return rc;
	}
	if (rc < 0)
		return rc;
	if (found > 1)
		return err_set(err, ERR_AMBIGUOUS, "%u symbols of modules have the name '%.64s', in %s",
			found, name, listed);
	return found ? 0 : err_set(err, ERR_NOT_FOUND, "no module has a symbol '%.64s'", name);
}

int kmem_any_symbol(const struct kmem *kmem, const char *name, gva_t *ret_address, struct err *err)
{
	struct err modules = ERR_INIT;
	int rc = kmem_symbol(kmem, name, ret_address, err);

	if (rc != -ENOENT)
		return rc;
	rc = kmem_module_find(kmem, name, ret_address, &modules);
	if (rc == 0) {
		if (err)
			*err = ERR_INIT;
		return 0;
	}
	/* What is not there at all is told with the names that are near. */
	if (rc != -ENOENT && err)
		*err = modules;
	return rc;
}

int kmem_module_type(const struct kmem *kmem, unsigned kind, const char *name, const struct kbtf **ret_btf,
	uint32_t *ret_type, struct err *err)
{
	struct kbtf_place link;
	unsigned seen = 0;
	uint64_t at;
	gva_t node = GVA(0);
	int rc;

	/* kernel/bpf/btf.c */
	if (kmem_struct_member(kmem, "btf_module", "list", &link, NULL) < 0)
		return 0;
	while ((rc = list_next(kmem, "btf_modules", &node, err)) > 0) {
		if (seen++ == KMEM_MODULES_MAX)
			return err_set(
				err, ERR_LIMIT_EXCEEDED, "the kernel's list of modules' types does not end");
		rc = kmem_member_read(kmem, GVA(node.v - link.offset_bytes), "btf_module", "btf", &at, err);
		if (rc < 0)
			return rc;
		/* One module's damage is not another's. */
		if (kmem_guest_btf(kmem, GVA(at), ret_btf, NULL) < 0)
			continue;
		*ret_type = kbtf_find_own(*ret_btf, kind, name);
		if (*ret_type)
			return 1;
	}
	return rc;
}
