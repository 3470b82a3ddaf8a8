/* SPDX-License-Identifier: GPL-2.0-only */
/* Interrupts: the lines of /proc/interrupts, and the CPUs they go to. No state, any thread.
 *
 * An interrupt that is steered to another CPU moves when it comes the next time (CONFIG_GENERIC_PENDING_IRQ):
 * until then smp_affinity_list says where it is to go and effective_affinity_list where it goes. */
#ifndef GUEST_IRQ_IRQ_H
#define GUEST_IRQ_IRQ_H

#include "common/cpuset.h"

/* --- /proc/interrupts --- */

#define IRQ_LINES_MAX 8192
struct irq_line {
	uint32_t number;
	uint64_t count;      /* on all CPUs since boot */
	const char *actions; /* "virtio2", "ata1, ata2", "" where nobody asked for it; in the table's text */
};
struct irq_table {
	char *text; /* heap */
	struct irq_line *lines;
	size_t n_lines; /* those with a number: not NMI, LOC and their like, which go to every CPU */
};
#define IRQ_TABLE_EMPTY ((struct irq_table){0})

/* Takes text (heap, NUL-terminated) over, also on failure. Anything is accepted: what is no line of an
 * interrupt is left out. ERR_LIMIT_EXCEEDED beyond IRQ_LINES_MAX lines. */
int irq_table_parse(char *text, struct irq_table *ret, struct err *err) must_check;
void irq_table_deinit(struct irq_table *table);
/* Whether `action` is one of the line's, in full. */
bool irq_line_has(const struct irq_line *line, const char *action);
/* The line of that number or, if `what` is none, of that action. ERR_INVALID_ARGUMENT (empty), ERR_NOT_FOUND,
 * ERR_AMBIGUOUS, each with the lines that there are. */
int irq_table_find(const struct irq_table *table, const char *what, const struct irq_line **ret_line,
	struct err *err) must_check;

/* --- steering --- */

/* Where the kernel's files are: IRQ_TREE, others in tests. */
struct irq_tree {
	const char *proc, *sys;
};
#define IRQ_TREE ((struct irq_tree){"/proc", "/sys"})

int irq_table_read(const struct irq_tree *tree, struct irq_table *ret, struct err *err) must_check;

struct irq_steered {
	uint32_t number;
	char actions[128];                 /* cut where it is longer */
	char before[CPUSET_TEXT_BYTES];    /* smp_affinity_list */
	char effective[CPUSET_TEXT_BYTES]; /* "": this kernel does not tell */
	bool pending;                      /* it goes elsewhere still, and moves with its next interrupt */
};
/* Finds the line (as irq_table_find()), checks that the CPU is online, and only then writes the affinity.
 * ERR_GUEST_OS with the kernel's errno and the file when it refuses (interrupts of a single CPU, managed
 * ones). ret: all but effective and pending. */
int irq_steer(const struct irq_tree *tree, const char *what, unsigned cpu, struct irq_steered *ret,
	struct err *err) must_check;
/* (waits) Until it goes to that CPU or deadline_ns (CLOCK_MONOTONIC) has passed, looking every millisecond:
 * the kernel does not tell. cancel_fd: readable ends it early; -1: none. Fills in effective and pending. */
void irq_settle(const struct irq_tree *tree, unsigned cpu, uint64_t deadline_ns, int cancel_fd,
	struct irq_steered *steered);
/* Gives the line an affinity in list form. As irq_steer() when the kernel refuses. */
int irq_set_affinity(
	const struct irq_tree *tree, uint32_t number, const char *affinity, struct err *err) must_check;

#endif
