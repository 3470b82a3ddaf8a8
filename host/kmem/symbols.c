/* SPDX-License-Identifier: GPL-2.0-only */
/* One way to look symbols up over three sources. Built by one thread, read by any. */
#include "host/kmem/symbols.h"
#include "host/kmem/kallsyms_text.h"
#include "host/kmem/suggest.h"

#include <elf.h>
#include <errno.h>
#include <fnmatch.h>
#include <string.h>

/* As many addresses as an Ambiguous error lists. */
#define LISTED_MAX 8
#define ELF_SYMS_MAX 4000000u

struct symbols {
	const struct kimage *image;
	uint64_t slide; /* added to link addresses */
	uint32_t n;
	struct kallsyms ks;         /* unless entry is set */
	struct symbol_entry *entry; /* [n] by address: of the ELF table or the guest's text */
	uint32_t *entry_by_name;    /* [n] */
	const char *strings;        /* what entries' names are in */
	char *own_strings;          /* those of the guest's text */
};

/* Per-CPU variables of kernels before 6.15 are offsets, which stay as they are. */
static uint64_t moved(uint64_t address, uint64_t slide)
{
	return address >= START_KERNEL_MAP ? address + slide : address;
}

static uint64_t address_of(const struct symbols *s, uint32_t i)
{
	return moved(s->entry ? s->entry[i].address : kallsyms_address(&s->ks, i), s->slide);
}

static const char *name_of(const struct symbols *s, uint32_t i, char buffer[KALLSYMS_NAME_MAX])
{
	if (s->entry)
		return s->strings + s->entry[i].name;
	(void)kallsyms_name(&s->ks, i, buffer, NULL);
	return buffer;
}

static uint32_t by_name(const struct symbols *s, uint32_t k)
{
	return s->entry ? s->entry_by_name[k] : kallsyms_by_name(&s->ks, k);
}

static int compare_address(const void *a, const void *b)
{
	const struct symbol_entry *x = a, *y = b;

	if (x->address != y->address)
		return x->address < y->address ? -1 : 1;
	return x->name < y->name ? -1 : x->name > y->name;
}

static int compare_name(const void *a, const void *b, void *arg)
{
	const struct symbols *s = arg;
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	int order = strcmp(s->strings + s->entry[x].name, s->strings + s->entry[y].name);

	return order ? order : (x > y) - (x < y);
}

/* Puts entries in order. */
static int entries_sort(struct symbols *s, struct err *err)
{
	s->entry_by_name = calloc(s->n + UINT64_C(1), sizeof(*s->entry_by_name));
	if (!s->entry_by_name)
		return err_set(err, ERR_HOST, "out of memory for %u symbols", s->n);
	qsort(s->entry, s->n, sizeof(*s->entry), compare_address);
	for (uint32_t i = 0; i < s->n; i++)
		s->entry_by_name[i] = i;
	qsort_r(s->entry_by_name, s->n, sizeof(*s->entry_by_name), compare_name, s);
	return 0;
}

static bool elf_tables(
	const struct kimage *image, struct kimage_range *ret_table, struct kimage_range *ret_strings)
{
	return kimage_section(image, ".symtab", ret_table) && kimage_section(image, ".strtab", ret_strings);
}

static int elf_load(struct symbols *s, const struct kimage_range *table, const struct kimage_range *strings,
	struct err *err)
{
	uint64_t count = table->length / sizeof(Elf64_Sym);

	if (count > ELF_SYMS_MAX || strings->length == 0 || strings->bytes[strings->length - 1] != '\0')
		return err_set(err, ERR_KERNEL_LAYOUT, "kernel image has a damaged ELF symbol table");
	s->entry = calloc(count + 1, sizeof(*s->entry));
	if (!s->entry)
		return err_set(err, ERR_HOST, "out of memory for %llu symbols", (unsigned long long)count);
	s->strings = (const char *)strings->bytes;
	for (uint64_t i = 0; i < count; i++) {
		Elf64_Sym sym;
		memcpy(&sym, table->bytes + i * sizeof(sym), sizeof(sym));
		unsigned type = ELF64_ST_TYPE(sym.st_info);
		if (sym.st_shndx == SHN_UNDEF || sym.st_name == 0 || sym.st_name >= strings->length ||
			type == STT_SECTION || type == STT_FILE)
			continue;
		s->entry[s->n++] = (struct symbol_entry){sym.st_value, sym.st_name};
	}
	if (s->n == 0)
		return err_set(err, ERR_KERNEL_LAYOUT, "kernel image has an empty ELF symbol table");
	return entries_sort(s, err);
}

static struct symbols *symbols_alloc(const struct kimage *image, struct err *err)
{
	struct symbols *s = calloc(1, sizeof(*s));

	if (!s)
		(void)err_set(err, ERR_HOST, "out of memory");
	else
		s->image = image;
	return s;
}

bool symbols_are_in(const struct kimage *image)
{
	struct kimage_range table, strings;
	struct kallsyms ks;

	return elf_tables(image, &table, &strings) || kallsyms_find(&ks, image, NULL) == 0;
}

struct symbols *symbols_new(const struct kimage *image, struct err *err)
{
	_cleanup_(symbols_free_p) struct symbols *s = symbols_alloc(image, err);
	struct kimage_range table, strings;
	int rc;

	if (!s)
		return NULL;
	if (elf_tables(image, &table, &strings)) {
		rc = elf_load(s, &table, &strings, err);
	} else {
		rc = kallsyms_find(&s->ks, image, err);
		s->n = s->ks.n;
	}
	return rc < 0 ? NULL : TAKE_PTR(s);
}

struct symbols *symbols_new_from_guest(
	const struct kimage *image, const char *text, size_t length, struct err *err)
{
	_cleanup_(symbols_free_p) struct symbols *s = symbols_alloc(image, err);
	struct kallsyms_text parsed;
	uint64_t linked;

	if (!s || kallsyms_text_parse(text, length, &parsed, err) < 0)
		return NULL;
	s->entry = parsed.symbol;
	s->n = parsed.n;
	s->strings = s->own_strings = parsed.names;
	linked = kallsyms_text_address(image).v;
	if (parsed.text < linked || parsed.text >= KERNEL_MAP_END) {
		(void)err_set(err, ERR_KERNEL_LAYOUT,
			"the guest's /proc/kallsyms has its kernel at 0x%llx, which was linked to 0x%llx",
			(unsigned long long)parsed.text, (unsigned long long)linked);
		return NULL;
	}
	for (uint32_t i = 0; i < s->n; i++)
		s->entry[i].address = moved(s->entry[i].address, linked - parsed.text);
	return entries_sort(s, err) < 0 ? NULL : TAKE_PTR(s);
}

void symbols_place(struct symbols *symbols, uint64_t slide)
{
	symbols->slide = slide;
}

void symbols_free(struct symbols *symbols)
{
	if (!symbols)
		return;
	free(symbols->entry);
	free(symbols->entry_by_name);
	free(symbols->own_strings);
	free(symbols);
}

uint32_t symbols_count(const struct symbols *symbols)
{
	return symbols->n;
}

/* First place in the name order whose name is not below `name`. */
static uint32_t name_lower_bound(const struct symbols *s, const char *name)
{
	char buffer[KALLSYMS_NAME_MAX];
	uint32_t low = 0, high = s->n;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		if (strcmp(name_of(s, by_name(s, mid), buffer), name) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int not_found(const struct symbols *s, const char *name, struct err *err)
{
	char buffer[KALLSYMS_NAME_MAX], text[256];
	struct suggest near;

	if (!err)
		return -ENOENT;
	suggest_init(&near, name, strlen(name));
	for (uint32_t i = 0; i < s->n; i++) {
		const char *other = name_of(s, i, buffer);
		suggest_offer(&near, other, strlen(other));
	}
	return err_set(err, ERR_NOT_FOUND, "the kernel has no symbol '%s'%s", name,
		suggest_text(&near, text, sizeof(text)));
}

int symbols_find(const struct symbols *symbols, const char *name, gva_t *ret_address, struct err *err)
{
	char buffer[KALLSYMS_NAME_MAX], list[LISTED_MAX * 24 + 32];
	uint64_t found[LISTED_MAX];
	uint32_t n = 0;
	size_t length = 0;

	for (uint32_t k = name_lower_bound(symbols, name); k < symbols->n; k++) {
		uint32_t i = by_name(symbols, k);
		if (strcmp(name_of(symbols, i, buffer), name) != 0)
			break;
		/* An ELF table may name one place twice (local and global). */
		if (n > 0 && n <= LISTED_MAX && found[n - 1] == address_of(symbols, i))
			continue;
		if (n < LISTED_MAX)
			found[n] = address_of(symbols, i);
		n++;
	}
	if (n == 0)
		return not_found(symbols, name, err);
	if (n == 1) {
		*ret_address = GVA(found[0]);
		return 0;
	}
	for (uint32_t k = 0; k < MIN_OF(n, LISTED_MAX); k++)
		length += (size_t)snprintf(list + length, sizeof(list) - length, "%s0x%llx", k ? ", " : "",
			(unsigned long long)found[k]);
	if (n > LISTED_MAX)
		snprintf(list + length, sizeof(list) - length, " and %u more", n - LISTED_MAX);
	return err_set(err, ERR_AMBIGUOUS, "the kernel has %u symbols '%s': at %s", n, name, list);
}

/* Number of symbols at or below `at`. */
static uint32_t address_upper_bound(const struct symbols *s, uint64_t at)
{
	uint32_t low = 0, high = s->n;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		if (address_of(s, mid) <= at)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

bool symbols_at(const struct symbols *symbols, gva_t at, struct symbol_at *ret_symbol)
{
	uint32_t next = address_upper_bound(symbols, at.v), i;
	uint64_t start, left;
	gpa_t gpa;

	if (next == 0 || !kimage_gpa(symbols->image, at, &gpa, &left))
		return false;
	start = address_of(symbols, next - 1);
	/* Of several names for one address the first is the oldest and plainest. */
	for (i = next - 1; i > 0 && address_of(symbols, i - 1) == start; i--)
		;
	ret_symbol->start = GVA(start);
	ret_symbol->offset = at.v - start;
	ret_symbol->size_bytes = (next < symbols->n ? address_of(symbols, next) : at.v + left) - start;
	char buffer[KALLSYMS_NAME_MAX];
	snprintf(ret_symbol->name, sizeof(ret_symbol->name), "%s", name_of(symbols, i, buffer));
	return true;
}

bool symbols_match(
	const struct symbols *symbols, const char *pattern, uint32_t *at, struct symbol_at *ret_symbol)
{
	char buffer[KALLSYMS_NAME_MAX];

	for (uint32_t i = *at; i < symbols->n; i++) {
		const char *name = name_of(symbols, i, buffer);
		if (fnmatch(pattern, name, 0) != 0)
			continue;
		snprintf(ret_symbol->name, sizeof(ret_symbol->name), "%s", name);
		ret_symbol->start = GVA(address_of(symbols, i));
		ret_symbol->offset = 0;
		uint32_t next = i + 1;
		while (next < symbols->n && address_of(symbols, next) == ret_symbol->start.v)
			next++;
		ret_symbol->size_bytes =
			next < symbols->n ? address_of(symbols, next) - ret_symbol->start.v : 0;
		*at = i + 1;
		return true;
	}
	*at = symbols->n;
	return false;
}

const char *symbols_text(const struct symbols *symbols, gva_t at, char *buffer, size_t size)
{
	struct symbol_at found;

	if (size > 0)
		buffer[0] = '\0';
	if (symbols_at(symbols, at, &found))
		snprintf(buffer, size, "%s+0x%llx", found.name, (unsigned long long)found.offset);
	return buffer;
}
