/* SPDX-License-Identifier: GPL-2.0-only */
/* Any text as /proc/interrupts. The first line of the input is what is looked for in the rest. */
#include "guest/irq/irq.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	char *all = malloc(length + 1);
	memcpy(all, bytes, length);
	all[length] = '\0';
	char *rest = all, *what = strsep(&rest, "\n");
	struct irq_table table;
	struct err err = ERR_INIT;
	const struct irq_line *line = NULL;
	if (irq_table_parse(strdup(rest ? rest : ""), &table, &err) < 0) {
		if (err.code != ERR_LIMIT_EXCEEDED)
			abort();
		free(all);
		return 0;
	}
	if (irq_table_find(&table, what, &line, &err) == 0 &&
		(line < table.lines || line >= table.lines + table.n_lines))
		abort();
	if (!line && err.code != ERR_NOT_FOUND && err.code != ERR_AMBIGUOUS &&
		err.code != ERR_INVALID_ARGUMENT)
		abort();
	irq_table_deinit(&table);
	free(all);
	return 0;
}
