/* SPDX-License-Identifier: GPL-2.0-only */
/* The guest's /proc/kallsyms as a source of symbols: made-up texts, texts that lie, and stock kernels' own
 * tables written as those kernels write them. */
#include "host/kmem/kallsyms_text.h"
#include "host/kmem/symbols.h"
#include "host/kmem/translate.h"
#include "tests/unit/kmem/fake_kernel.h"
#include "tests/unit/kmem/real.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

static int parse(const char *text, size_t length, struct kallsyms_text *ret, struct err *err)
{
	/* Exactly as long as it is: one byte beyond is a sanitizer's. */
	char *copy = malloc(length ? length : 1);
	memcpy(copy, text, length);
	*err = ERR_INIT;
	int rc = kallsyms_text_parse(copy, length, ret, err);
	free(copy);
	return rc;
}

Test(kallsyms_text, lines_of_the_kernel_and_of_others)
{
	static const char text[] = "ffffffff9f000000 T startup_64\n"
				   "ffffffff9f000000 T _text\n"
				   "ffffffff9f000140 t a.b.c\n"
				   "00000000000012a0 A fixed_percpu_data\n"
				   "ffffffffa0a00000 D jiffies_64\n"
				   "ffffffffc0201000 t vsock_one\t[vsock]\n"
				   "ffffffffc0300000 t bpf_prog_6deef7357e7b4530\t[bpf]\n"
				   "ffffffffc0400000 t ftrace_trampoline\t[__builtin__ftrace]\n";
	static const struct {
		uint64_t address;
		const char *name;
	} want[] = {{0xffffffff9f000000, "startup_64"}, {0xffffffff9f000000, "_text"},
		{0xffffffff9f000140, "a.b.c"}, {0x12a0, "fixed_percpu_data"},
		{0xffffffffa0a00000, "jiffies_64"}};
	struct kallsyms_text parsed;
	struct err err;
	cr_assert_eq(parse(text, strlen(text), &parsed, &err), 0, "%s", err.message);
	cr_assert_eq(parsed.n, ARRAY_SIZE(want));
	cr_assert_eq(parsed.text, 0xffffffff9f000000);
	for (unsigned i = 0; i < ARRAY_SIZE(want); i++) {
		cr_assert_eq(parsed.symbol[i].address, want[i].address);
		cr_assert_str_eq(parsed.names + parsed.symbol[i].name, want[i].name);
	}
	kallsyms_text_deinit(&parsed);
}

Test(kallsyms_text, what_is_no_such_text)
{
	static char long_name[700], two[64];
	memset(long_name, 'x', sizeof(long_name) - 1);
	memcpy(long_name, "ff T ", 5);
	long_name[600] = '\n';
	long_name[601] = '\0';
	strcpy(two, "ff T _text\nff T _text\n");
	static const struct {
		const char *text, *words;
	} bad[] = {
		{"", "0 symbols '_text'"},
		{"ff T schedule\n", "0 symbols '_text'"},
		{two, "2 symbols '_text'"},
		{"ff T _text", "middle of line 1"},
		{"ff T _text\nff", "middle of line 2"},
		{"0000000000000000 T _text\n0000000000000000 T schedule\n", "hides its addresses"},
		{"\n", "line 1"},
		{"ff T \n", "line 1"},
		{"ff T _text\nff  _text\n", "line 2"},
		{"ff T _text\nff1 1 schedule\n", "line 2"},
		{"ff T _text\n T schedule\n", "line 2"},
		{"ff T _text\n0123456789abcdef0 T schedule\n", "line 2"},
		{"ff T _text\nFF T schedule\n", "line 2"},
		{"ff T _text\nff T a b\n", "line 2"},
		{"ff T _text\nff T a\tb\n", "line 2"},
		{"ff T _text\nff T a\t[b\n", "line 2"},
		{"ff T _text\nff T a\t[\n", "line 2"},
		{"ff T _text\nff T a\001\n", "line 2"},
		{"ff T _text\r\n", "line 1"},
		{long_name, "line 1"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct kallsyms_text parsed;
		struct err err;
		cr_assert_eq(parse(bad[i].text, strlen(bad[i].text), &parsed, &err), -ENOTSUP, "%zu", i);
		cr_assert_eq(err.code, ERR_KERNEL_LAYOUT);
		cr_assert_not_null(strstr(err.message, bad[i].words), "%zu: %s", i, err.message);
	}
	struct kallsyms_text parsed;
	struct err err;
	static const char with_nul[] = "ff T _text\nff T a\0b\n";
	cr_assert_lt(parse(with_nul, sizeof(with_nul) - 1, &parsed, &err), 0);
	cr_assert_eq(kallsyms_text_parse(with_nul, KALLSYMS_TEXT_MAX + 1, &parsed, &err), -E2BIG);
	cr_assert_eq(err.code, ERR_LIMIT_EXCEEDED);
}

/* The table as the kernel that runs `slide` from where it was linked prints it, and a module's symbol. */
static char *text_of(const struct symbols *symbols, uint64_t slide, size_t *ret_length)
{
	struct symbol_at at;
	char *text = NULL;
	uint32_t i = 0;
	FILE *out = open_memstream(&text, ret_length);
	while (symbols_match(symbols, "*", &i, &at))
		fprintf(out, "%016llx T %s\n",
			(unsigned long long)(at.start.v >= START_KERNEL_MAP ? at.start.v + slide
									    : at.start.v),
			at.name);
	fprintf(out, "ffffffffc0201000 t of_a_module\t[module]\n");
	fclose(out);
	return text;
}

/* Every symbol, in order, and lookups by name and address. */
static void assert_agree(const struct symbols *a, const struct symbols *b, uint32_t look_every)
{
	static struct symbol_at x, y;
	uint32_t i = 0, k = 0;
	cr_assert_eq(symbols_count(a), symbols_count(b));
	while (symbols_match(a, "*", &i, &x)) {
		cr_assert(symbols_match(b, "*", &k, &y));
		cr_assert_str_eq(x.name, y.name);
		cr_assert_eq(x.start.v, y.start.v, "%s", x.name);
		if (i % look_every)
			continue;
		gva_t p = GVA(0), q = GVA(0);
		cr_assert_eq(
			symbols_find(a, x.name, &p, NULL), symbols_find(b, x.name, &q, NULL), "%s", x.name);
		cr_assert_eq(p.v, q.v, "%s", x.name);
		cr_assert_eq(symbols_at(a, x.start, &x), symbols_at(b, y.start, &y));
		cr_assert_str_eq(x.name, y.name);
	}
	cr_assert_eq(i, k);
}

Test(kallsyms_text, a_table_and_its_text_agree)
{
	static struct fake_kernel fake;
	fake_kernel_init(&fake);
	const struct symbols *own = kmem_symbols(fake.kmem);
	for (uint64_t slide = 0; slide <= 0x1e000000; slide += 0x1e000000) {
		struct err err = ERR_INIT;
		size_t length;
		_cleanup_free_ char *text = text_of(own, slide, &length);
		_cleanup_(symbols_free_p) struct symbols *told =
			symbols_new_from_guest(kmem_image(fake.kmem), text, length, &err);
		cr_assert_not_null(told, "%s", err.message);
		assert_agree(own, told, 1);
		gva_t at;
		cr_assert_lt(symbols_find(told, "of_a_module", &at, NULL), 0);
		/* Twins are as ambiguous. */
		cr_assert_eq(symbols_find(told, "twin", &at, &err), -ENOTUNIQ);
	}
	fake_kernel_deinit(&fake);
}

Test(kallsyms_text, kernels_that_are_nowhere)
{
	static const char *const texts[] = {"0000000000000100 T _text\n", "ffffffff80000000 T _text\n",
		"ffffffffc0000000 T _text\n", "ffffffffffffffff T _text\n"};
	static struct fake_kernel fake;
	fake_kernel_init(&fake);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct err err = ERR_INIT;
		cr_assert_null(
			symbols_new_from_guest(kmem_image(fake.kmem), texts[i], strlen(texts[i]), &err));
		cr_assert_eq(err.code, ERR_KERNEL_LAYOUT);
		cr_assert_not_null(strstr(err.message, "was linked to"), "%s", err.message);
	}
	fake_kernel_deinit(&fake);
}

/* An image whose tables cannot be read: what it lacks, the guest tells, and memory is read by it. */
Test(kallsyms_text, an_image_without_symbols)
{
	static struct fake_kernel fake;
	struct err err = ERR_INIT;
	uint64_t word = 0;
	size_t length;
	gva_t at;
	fake_kernel_init_moved(&fake, 0x1e000000, 0x200000);
	struct kimage image;
	cr_assert_eq(kimage_init(&image, fake.elf, fake.elf_bytes, &err), 0);
	cr_assert(symbols_are_in(&image));
	struct symbols *own = symbols_new(&image, &err);
	cr_assert_not_null(own);
	_cleanup_free_ char *text = text_of(own, fake.slide, &length);
	symbols_free(own);
	/* The digits of the token table, by which the tables are found. */
	struct kimage_range rodata;
	cr_assert(kimage_section(&image, ".rodata", &rodata));
	uint8_t *digits = memmem(rodata.bytes, rodata.length, "0\0001\0002", 5);
	cr_assert_not_null(digits);
	*digits = 'x';
	cr_assert_not(symbols_are_in(&image));
	struct kmem_config config = {
		.elf = fake.elf, .elf_bytes = fake.elf_bytes, .memory = &fake.memory, .places_itself = true};
	cr_assert_null(kmem_new(&config, &err));
	cr_assert_eq(err.code, ERR_KERNEL_LAYOUT);
	config.guest_symbols = text;
	config.guest_symbols_bytes = length;
	config.agent_text = FAKE_TEXT + fake.slide;
	fake.kmem = kmem_new(&config, &err);
	cr_assert_not_null(fake.kmem, "%s", err.message);
	*(uint64_t *)fake_data(&fake, FAKE_WORD) = 4711;
	cr_assert_eq(kmem_symbol(fake.kmem, "word", &at, &err), 0);
	cr_assert_eq(at.v, FAKE_DATA + FAKE_WORD + fake.slide);
	struct kmem_range_iter iter = {fake.kmem, KMEM_WAY_ANY, at, sizeof(word)};
	struct kmem_span span;
	cr_assert_eq(kmem_range_next(&iter, &span, &err), 1, "%s", err.message);
	memcpy(&word, span.host, sizeof(word));
	cr_assert_eq(word, 4711);
	/* A text of another boot: its kernel was elsewhere. */
	kmem_free(fake.kmem);
	fake.kmem = NULL;
	config.agent_text = FAKE_TEXT + fake.slide + 0x200000;
	cr_assert_null(kmem_new(&config, &err));
	cr_assert_str_eq(err.reason, "bases-disagree");
	fake_kernel_deinit(&fake);
}

Test(kallsyms_text, stock_kernels_say_the_same_of_themselves, .timeout = 120)
{
	struct real_kernels real;
	real_kernels_load(&real);
	for (unsigned i = 0; i < real.n; i++) {
		struct err err = ERR_INIT;
		struct kimage image;
		size_t length;
		cr_assert_eq(kimage_init(&image, real.image[i]->elf, real.image[i]->elf_bytes, &err), 0);
		cr_assert(symbols_are_in(&image));
		_cleanup_(symbols_free_p) struct symbols *own = symbols_new(&image, &err);
		cr_assert_not_null(own, "%s", err.message);
		_cleanup_free_ char *text = text_of(own, 0x12c00000, &length);
		_cleanup_(symbols_free_p) struct symbols *told =
			symbols_new_from_guest(&image, text, length, &err);
		cr_assert_not_null(told, "%s", err.message);
		assert_agree(own, told, 997);
	}
	real_kernels_free(&real);
}
