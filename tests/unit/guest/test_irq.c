/* SPDX-License-Identifier: GPL-2.0-only */
/* Interrupts: the lines of /proc/interrupts as kernels write them, and steering against files made by hand.
 */
#include "guest/irq/irq.h"

#include "common/clock.h"
#include "common/fd.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char text[] = "           CPU0       CPU1       \n"
			   "  4:         12          0   IO-APIC   4-edge      ttyS0\n"
			   "  5:        100       4000   IO-APIC   5-edge      virtio0\n"
			   "  7:          0          7   IO-APIC   7-fasteoi   virtio2, virtio3\n"
			   "  9:          0          0   IO-APIC   9-edge    \n"
			   " 16:          3          4  PCI-MSI 65536-edge      nvme0q0, virtio3\n"
			   " 28:          0          0 PCI-MSIX-0000:00:01.0   0-edge      virtio0-config\n"
			   " 30:          1          1  Hyper-V PCIe MSI   2-edge      two words\n"
			   " 31:          1          1     GICv3  27 Level     arch_timer\n"
			   "NMI:          0          0   Non-maskable interrupts\n"
			   "LOC:       4567       4568   Local timer interrupts\n"
			   "ERR:          0\n";

static struct irq_table table;

static void parse(const char *what)
{
	struct err err = ERR_INIT;
	cr_assert_eq(irq_table_parse(strdup(what), &table, &err), 0, "%s", err.message);
}

static const struct irq_line *line_of(unsigned number)
{
	for (size_t i = 0; i < table.n_lines; i++)
		if (table.lines[i].number == number)
			return &table.lines[i];
	cr_assert_fail("no line %u", number);
	abort();
}

Test(irq, lines)
{
	parse(text);
	cr_assert_eq(table.n_lines, 8);
	cr_assert_eq(line_of(5)->count, 4100);
	cr_assert_str_eq(line_of(4)->actions, "ttyS0");
	cr_assert_str_eq(line_of(7)->actions, "virtio2, virtio3");
	cr_assert_str_eq(line_of(9)->actions, "");
	cr_assert_str_eq(line_of(16)->actions, "nvme0q0, virtio3");
	cr_assert_str_eq(line_of(28)->actions, "virtio0-config");
	cr_assert_str_eq(line_of(30)->actions, "two words");
	cr_assert_str_eq(line_of(31)->actions, "arch_timer");
	irq_table_deinit(&table);
}

Test(irq, actions_are_whole_words)
{
	parse(text);
	cr_assert(irq_line_has(line_of(7), "virtio2"));
	cr_assert(irq_line_has(line_of(7), "virtio3"));
	cr_assert(!irq_line_has(line_of(7), "virtio"));
	cr_assert(!irq_line_has(line_of(7), "virtio2, virtio3"));
	cr_assert(!irq_line_has(line_of(28), "virtio0"));
	cr_assert(irq_line_has(line_of(30), "two words"));
	cr_assert(!irq_line_has(line_of(30), "words"));
	cr_assert(!irq_line_has(line_of(9), ""));
	irq_table_deinit(&table);
}

static void refuse(const char *what, enum err_code code, const char *words)
{
	const struct irq_line *line;
	struct err err = ERR_INIT;
	cr_assert_lt(irq_table_find(&table, what, &line, &err), 0, "found '%s'", what);
	cr_assert_eq((int)err.code, (int)code, "'%s': %s", what, err.message);
	cr_assert(strstr(err.message, words), "'%s': %s", what, err.message);
}

Test(irq, finds_by_number_and_action)
{
	const struct irq_line *line;
	parse(text);
	cr_assert_eq(irq_table_find(&table, "16", &line, NULL), 0);
	cr_assert_eq(line->number, 16);
	cr_assert_eq(irq_table_find(&table, "virtio2", &line, NULL), 0);
	cr_assert_eq(line->number, 7);
	cr_assert_eq(irq_table_find(&table, "9", &line, NULL), 0, "a line needs no action");
	refuse("", ERR_INVALID_ARGUMENT, "4 (ttyS0), 5 (virtio0), 7 (virtio2, virtio3)");
	refuse("virtio", ERR_NOT_FOUND, "5 (virtio0)");
	refuse("LOC", ERR_NOT_FOUND, "5 (virtio0)");
	refuse("6", ERR_NOT_FOUND, "number '6'");
	refuse("virtio3", ERR_AMBIGUOUS, "7 (virtio2, virtio3), 16 (nvme0q0, virtio3)");
	irq_table_deinit(&table);
}

Test(irq, anything_is_text)
{
	static const char *const odd[] = {"", "\n", "CPU0\n", "CPU0", "\n5:\n", "CPU0\n5:", "CPU0\n5: 1",
		"CPU0 CPU1\n5: 1 2 3 4\n", "CPU0\n99999999999999999999: 1 x\n",
		"CPU0\n4294967296: 1 x 1-edge y\n", "CPU0\n5: 99999999999999999999999999 x 1-edge y\n",
		"CPU0\n5: 1 ,,, , ,\n", "CPU0\n5: 1 chip 7-edge , ,a,, b ,\n", "CPU0\n: 1\n 5 : 2\n-5: 3\n",
		"CPU0\n5:\t1\tchip\t2-\t \r\n"};
	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		parse(odd[i]);
		for (size_t k = 0; k < table.n_lines; k++) {
			cr_assert_eq(table.lines[k].number, 5);
			(void)irq_line_has(&table.lines[k], "a");
		}
		irq_table_deinit(&table);
	}
}

Test(irq, lines_are_bounded)
{
	struct err err = ERR_INIT;
	char *many = malloc(16u * (IRQ_LINES_MAX + 2)), *at = many;
	at += sprintf(at, "CPU0\n");
	for (unsigned i = 0; i <= IRQ_LINES_MAX; i++)
		at += sprintf(at, "%u: 1\n", i);
	cr_assert_lt(irq_table_parse(many, &table, &err), 0);
	cr_assert_eq((int)err.code, (int)ERR_LIMIT_EXCEEDED);
}

/* --- steering --- */

static char top[] = "/tmp/schedrig-irq-XXXXXX", proc[64], sys[64];
static struct irq_tree tree = {proc, sys};

static void put(const char *value, const char *fmt, ...) printf_like(2, 3);
static void put(const char *value, const char *fmt, ...)
{
	char name[100], path[200], *slash;
	struct err err = ERR_INIT;
	va_list args;
	va_start(args, fmt);
	vsnprintf(name, sizeof(name), fmt, args);
	va_end(args);
	snprintf(path, sizeof(path), "%s/%s", top, name);
	slash = strrchr(path, '/');
	*slash = '\0';
	cr_assert_eq(fd_mkdir_p(path, 0755, &err), 0, "%s", err.message);
	*slash = '/';
	FILE *file = fopen(path, "w");
	cr_assert_not_null(file);
	fputs(value, file);
	fclose(file);
}

static void make(void)
{
	cr_assert_not_null(mkdtemp(top));
	snprintf(proc, sizeof(proc), "%s/proc", top);
	snprintf(sys, sizeof(sys), "%s/sys", top);
	put(text, "proc/interrupts");
	put("0-1,3\n", "sys/devices/system/cpu/online");
	put("0\n", "proc/irq/5/smp_affinity_list");
	put("0\n", "proc/irq/5/effective_affinity_list");
	put("1\n", "proc/irq/7/smp_affinity_list");
}

static void drop(void)
{
	char command[64];
	snprintf(command, sizeof(command), "rm -r %s", top);
	cr_assert_eq(system(command), 0);
}

static char affinity_of(unsigned irq)
{
	char path[100], byte = 0;
	snprintf(path, sizeof(path), "%s/irq/%u/smp_affinity_list", proc, irq);
	_cleanup_close_ int fd = open(path, O_RDONLY);
	cr_assert_eq(read(fd, &byte, 1), 1);
	return byte;
}

Test(irq, steers_and_gives_back, .init = make, .fini = drop)
{
	struct irq_steered steered;
	struct err err = ERR_INIT;
	cr_assert_eq(irq_steer(&tree, "virtio0", 3, &steered, &err), 0, "%s", err.message);
	cr_assert_eq(steered.number, 5);
	cr_assert_str_eq(steered.actions, "virtio0");
	cr_assert_str_eq(steered.before, "0");
	cr_assert_eq(affinity_of(5), '3');
	irq_settle(&tree, 3, clock_now_ns(), -1, &steered);
	cr_assert(steered.pending, "it goes to CPU 0 still");
	cr_assert_str_eq(steered.effective, "0");
	put("3\n", "proc/irq/5/effective_affinity_list");
	irq_settle(&tree, 3, CLOCK_NEVER_NS, -1, &steered);
	cr_assert(!steered.pending);
	cr_assert_str_eq(steered.effective, "3");
	cr_assert_eq(irq_set_affinity(&tree, 5, steered.before, &err), 0, "%s", err.message);
	cr_assert_eq(affinity_of(5), '0');
}

Test(irq, a_kernel_that_does_not_tell, .init = make, .fini = drop)
{
	struct irq_steered steered;
	struct err err = ERR_INIT;
	cr_assert_eq(irq_steer(&tree, "7", 0, &steered, &err), 0, "%s", err.message);
	irq_settle(&tree, 0, CLOCK_NEVER_NS, -1, &steered);
	cr_assert_str_eq(steered.effective, "");
	cr_assert(!steered.pending);
}

Test(irq, nothing_is_written_before_all_is_checked, .init = make, .fini = drop)
{
	struct irq_steered steered;
	struct err err = ERR_INIT;
	cr_assert_lt(irq_steer(&tree, "virtio0", 2, &steered, &err), 0);
	cr_assert_eq((int)err.code, (int)ERR_INVALID_ARGUMENT);
	cr_assert(strstr(err.message, "CPU 2 is not online") && strstr(err.message, "0-1,3"), "%s",
		err.message);
	cr_assert_lt(irq_steer(&tree, "virtio0", 4096, &steered, &err), 0);
	cr_assert_lt(irq_steer(&tree, "virtio9", 3, &steered, &err), 0);
	cr_assert_eq((int)err.code, (int)ERR_NOT_FOUND);
	cr_assert_eq(affinity_of(5), '0');
}

Test(irq, a_refusal_names_errno_and_file, .init = make, .fini = drop)
{
	struct irq_steered steered;
	struct err err = ERR_INIT;
	/* A line without its files: as when the kernel says no. */
	cr_assert_lt(irq_steer(&tree, "16", 0, &steered, &err), 0);
	cr_assert_eq((int)err.code, (int)ERR_GUEST_OS);
	cr_assert_eq(err.os_errno, ENOENT);
	cr_assert(strstr(err.message, "irq/16/smp_affinity_list"), "%s", err.message);
	cr_assert_lt(irq_set_affinity(&tree, 16, "0", &err), 0);
	cr_assert_eq(err.os_errno, ENOENT);
}
