/* SPDX-License-Identifier: GPL-2.0-only */
/* Reads the text of /proc/kallsyms. Any thread. */
#include "host/kmem/kallsyms_text.h"

#include "host/kmem/kallsyms.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct line {
	uint64_t address;
	char type;
	const char *name;
	size_t name_bytes;
	bool is_kernel; /* not a module's or the like */
};

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One line without its newline; false: it is none. */
static bool line_parse(const char *at, const char *end, struct line *ret)
{
	const char *c = at;
	uint64_t address = 0;
	for (; c < end && hex_digit(*c) >= 0; c++) {
		if (c - at == 16)
			return false;
		address = address << 4 | (uint64_t)hex_digit(*c);
	}
	if (c == at || end - c < 4 || c[0] != ' ' || (!isalpha((unsigned char)c[1]) && c[1] != '?') ||
		c[2] != ' ')
		return false;
	ret->address = address;
	ret->type = c[1];
	ret->name = c += 3;
	while (c < end && isgraph((unsigned char)*c))
		c++;
	ret->name_bytes = (size_t)(c - ret->name);
	ret->is_kernel = c == end;
	if (ret->name_bytes == 0 || ret->name_bytes >= KALLSYMS_NAME_MAX)
		return false;
	/* "\t[module]" */
	return c == end || (end - c >= 4 && c[0] == '\t' && c[1] == '[' && end[-1] == ']');
}

static int bad_line(uint64_t number, struct err *err)
{
	return err_set(err, ERR_KERNEL_LAYOUT,
		"line %llu of the guest's /proc/kallsyms is not an address, a letter and a name",
		(unsigned long long)number);
}

/* Lines there are at most: none is shorter than "0 T a\n". */
static uint64_t count_max(const char *text, size_t length)
{
	uint64_t n = 0;
	for (const char *c = text; (c = memchr(c, '\n', (size_t)(text + length - c))); c++)
		n++;
	return n;
}

static int parse_lines(const char *text, size_t length, struct kallsyms_text *parsed, struct err *err)
{
	uint64_t number = 0, n_text = 0, names = 0, visible = 0;
	for (const char *at = text, *newline; at < text + length; at = newline + 1) {
		struct line line;
		number++;
		newline = memchr(at, '\n', (size_t)(text + length - at));
		if (!newline)
			return err_set(err, ERR_KERNEL_LAYOUT,
				"the guest's /proc/kallsyms ends in the middle of line %llu",
				(unsigned long long)number);
		if (!line_parse(at, newline, &line))
			return bad_line(number, err);
		if (!line.is_kernel)
			continue;
		parsed->symbol[parsed->n++] = (struct symbol_entry){line.address, (uint32_t)names};
		memcpy(parsed->names + names, line.name, line.name_bytes);
		parsed->names[names + line.name_bytes] = '\0';
		names += line.name_bytes + 1;
		visible |= line.address;
		if (line.name_bytes == 5 && memcmp(line.name, "_text", 5) == 0) {
			parsed->text = line.address;
			n_text++;
		}
	}
	if (parsed->n > 0 && visible == 0)
		return err_set(err, ERR_KERNEL_LAYOUT,
			"the guest's /proc/kallsyms hides its addresses (kernel.kptr_restrict)");
	if (n_text != 1)
		return err_set(err, ERR_KERNEL_LAYOUT,
			"the guest's /proc/kallsyms has %llu symbols '_text' instead of one",
			(unsigned long long)n_text);
	return 0;
}

int kallsyms_text_parse(const char *text, size_t length, struct kallsyms_text *ret, struct err *err)
{
	if (length > KALLSYMS_TEXT_MAX)
		return err_set(err, ERR_LIMIT_EXCEEDED, "the guest's /proc/kallsyms is longer than %llu MiB",
			(unsigned long long)(KALLSYMS_TEXT_MAX >> 20));
	uint64_t lines = length ? count_max(text, length) : 0;
	if (lines > KALLSYMS_TEXT_SYMBOLS_MAX)
		return err_set(err, ERR_LIMIT_EXCEEDED, "the guest's /proc/kallsyms has more than %u symbols",
			KALLSYMS_TEXT_SYMBOLS_MAX);
	/* A line has more bytes than its name and a NUL. */
	struct kallsyms_text parsed = {
		.symbol = calloc(lines + 1, sizeof(*parsed.symbol)),
		.names = malloc(length + 1),
	};
	int r = parsed.symbol && parsed.names
			? parse_lines(text, length, &parsed, err)
			: err_set(err, ERR_HOST, "out of memory for %llu symbols", (unsigned long long)lines);
	if (r < 0) {
		kallsyms_text_deinit(&parsed);
		return r;
	}
	*ret = parsed;
	return 0;
}

void kallsyms_text_deinit(struct kallsyms_text *parsed)
{
	free(parsed->symbol);
	free(parsed->names);
	*parsed = (struct kallsyms_text){0};
}
