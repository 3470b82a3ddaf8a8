/* SPDX-License-Identifier: GPL-2.0-only */
/* Lines of /proc/interrupts (see irq.h). As show_interrupts() of kernel/irq/proc.c writes them:
 *
 *            CPU0       CPU1
 *   7:        123          0   IO-APIC   7-edge      virtio2
 *  16:          0         12   IO-APIC  16-fasteoi   ata1, ata2
 * LOC:       4567       4568   Local timer interrupts
 *
 * number, a count for each CPU that is online, chip, number at the chip with the kind of flow, perhaps
 * "Level" or "Edge", actions. Chips may have names of several words, and columns may touch. */
#include "guest/irq/irq.h"

#include "common/parse.h"
#include "common/strbuf.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static char *skip_blanks(char *at)
{
	return at + strspn(at, " \t");
}

/* "16", "16-fasteoi". */
static bool is_hwirq(const char *word, size_t length)
{
	size_t digits = strspn(word, "0123456789");
	if (digits == 0 || digits > length)
		return false;
	return digits == length || word[digits] == '-';
}

/* Behind the counts: where the actions begin. */
static char *find_actions(char *at)
{
	char *rest = at, *behind_chip = at;
	for (unsigned words = 0; *(rest = skip_blanks(rest)); words++) {
		size_t length = strcspn(rest, " \t");
		bool hwirq = words && is_hwirq(rest, length);
		rest += length;
		if (words == 0)
			behind_chip = rest;
		if (!hwirq)
			continue;
		rest = skip_blanks(rest);
		length = strcspn(rest, " \t");
		if ((length == 5 && !strncmp(rest, "Level", 5)) || (length == 4 && !strncmp(rest, "Edge", 4)))
			rest = skip_blanks(rest + length);
		return rest;
	}
	return skip_blanks(behind_chip);
}

/* False: it is not the line of an interrupt with a number. Cuts the line's end. */
static bool parse_line(char *line, unsigned n_cpus, struct irq_line *ret)
{
	char *at = skip_blanks(line), *end;
	if (!isdigit((unsigned char)*at))
		return false;
	errno = 0;
	unsigned long number = strtoul(at, &end, 10);
	if (*end != ':' || errno || number > UINT32_MAX)
		return false;
	*ret = (struct irq_line){.number = (uint32_t)number};
	at = end + 1;
	for (unsigned cpu = 0; cpu < n_cpus; cpu++) {
		at = skip_blanks(at);
		size_t digits = strspn(at, "0123456789");
		/* A line with fewer counts: what comes is the chip. */
		if (digits == 0 || !strchr(" \t", at[digits]))
			break;
		ret->count += strtoull(at, &at, 10);
	}
	char *actions = find_actions(at);
	for (size_t n = strlen(actions); n && strchr(" \t\r", actions[n - 1]);)
		actions[--n] = '\0';
	ret->actions = actions;
	return true;
}

/* Columns of the first line. */
static unsigned count_cpus(char *line)
{
	unsigned n = 0;
	for (char *word; (word = strsep(&line, " \t"));)
		n += !strncmp(word, "CPU", 3);
	return n;
}

int irq_table_parse(char *text, struct irq_table *ret, struct err *err)
{
	struct irq_table table = {.text = text};
	size_t size = 0;
	char *rest = text, *line = strsep(&rest, "\n");
	unsigned n_cpus = line ? count_cpus(line) : 0;
	int r = 0;
	while (r == 0 && (line = strsep(&rest, "\n"))) {
		struct irq_line parsed;
		if (!parse_line(line, n_cpus, &parsed))
			continue;
		if (table.n_lines == IRQ_LINES_MAX) {
			r = err_set(err, ERR_LIMIT_EXCEEDED, "more than %d interrupts", IRQ_LINES_MAX);
			break;
		}
		if (table.n_lines == size) {
			struct irq_line *more =
				realloc(table.lines, (size = size ? size * 2 : 32) * sizeof(*more));
			if (!more) {
				r = err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot list the interrupts");
				break;
			}
			table.lines = more;
		}
		table.lines[table.n_lines++] = parsed;
	}
	if (r < 0)
		irq_table_deinit(&table);
	else
		*ret = table;
	return r;
}

void irq_table_deinit(struct irq_table *table)
{
	free(table->lines);
	free(table->text);
	*table = IRQ_TABLE_EMPTY;
}

bool irq_line_has(const struct irq_line *line, const char *action)
{
	size_t n = strlen(action);
	if (!n)
		return false;
	for (const char *at = line->actions; *at;) {
		size_t length = strcspn(at, ",");
		if (length == n && !strncmp(at, action, n))
			return true;
		at += length;
		at += strspn(at, ", ");
	}
	return false;
}

/* "7 (virtio2), 16 (ata1, ata2)": those with the action, or all that have one (NULL). */
static void list_lines(const struct irq_table *table, const char *action, struct strbuf *text)
{
	enum { SHOWN = 16 };
	unsigned n = 0;
	for (size_t i = 0; i < table->n_lines; i++) {
		const struct irq_line *line = &table->lines[i];
		if (!*line->actions || (action && !irq_line_has(line, action)) || n++ >= SHOWN)
			continue;
		strbuf_printf(text, "%s%u (%.40s)", text->length ? ", " : "", line->number, line->actions);
	}
	if (n > SHOWN)
		strbuf_printf(text, " and %u more", n - SHOWN);
	if (!n)
		strbuf_puts(text, "none");
}

int irq_table_find(
	const struct irq_table *table, const char *what, const struct irq_line **ret_line, struct err *err)
{
	_cleanup_strbuf_ struct strbuf there = STRBUF_INIT;
	uint32_t number;
	bool by_number = parse_u32(what, &number, NULL) == 0;
	unsigned n = 0;
	for (size_t i = 0; i < table->n_lines; i++) {
		const struct irq_line *line = &table->lines[i];
		if (by_number ? line->number != number : !irq_line_has(line, what))
			continue;
		*ret_line = line;
		n++;
	}
	if (n == 1)
		return 0;
	list_lines(table, n ? what : NULL, &there);
	if (n)
		return err_set(err, ERR_AMBIGUOUS,
			"%u interrupts have the action '%.64s', name one by its number: %s", n, what,
			strbuf_str(&there));
	if (!*what)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"an interrupt is named by its number or by an action of its line in "
			"/proc/interrupts; there "
			"are %s",
			strbuf_str(&there));
	return err_set(err, ERR_NOT_FOUND, "no interrupt %s '%.64s' in /proc/interrupts; there are %s",
		by_number ? "has the number" : "has the action", what, strbuf_str(&there));
}
