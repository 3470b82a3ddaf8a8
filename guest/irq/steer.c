/* SPDX-License-Identifier: GPL-2.0-only */
/* Affinities of interrupts, by the files of /proc/irq (see irq.h). */
#include "common/clock.h"
#include "common/fd.h"
#include "common/fsat.h"
#include "common/scope.h"
#include "guest/irq/irq.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define INTERRUPTS_MAX_BYTES (16u << 20) /* 1024 CPUs, some thousand lines */
#define LOOK_NS NS_PER_MS

int irq_table_read(const struct irq_tree *tree, struct irq_table *ret, struct err *err)
{
	char path[PATH_MAX], *text;
	size_t length;
	snprintf(path, sizeof(path), "%s/interrupts", tree->proc);
	int r = fsat_read_all(AT_FDCWD, path, INTERRUPTS_MAX_BYTES, &text, &length);
	if (r < 0)
		return err_set_os(err, ERR_GUEST_OS, -r, "cannot read %s", path);
	return irq_table_parse(text, ret, err);
}

static void irq_path(const struct irq_tree *tree, uint32_t number, const char *file, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/irq/%u/%s", tree->proc, number, file);
}

static int check_online(const struct irq_tree *tree, unsigned cpu, struct err *err)
{
	char path[PATH_MAX], text[CPUSET_TEXT_BYTES];
	struct cpuset online;
	snprintf(path, sizeof(path), "%s/devices/system/cpu/online", tree->sys);
	ssize_t n = fsat_read(AT_FDCWD, path, text, sizeof(text));
	if (n < 0)
		return err_set_os(err, ERR_GUEST_OS, (int)-n, "cannot read %s", path);
	int r = cpuset_parse(text, &online, err);
	if (r < 0)
		return err_wrap(err, "%s", path);
	if (cpu >= CPUSET_MAX || !cpuset_has(&online, cpu))
		return err_set(
			err, ERR_INVALID_ARGUMENT, "CPU %u is not online: there are CPUs %s", cpu, text);
	return 0;
}

int irq_set_affinity(const struct irq_tree *tree, uint32_t number, const char *text, struct err *err)
{
	char path[PATH_MAX];
	irq_path(tree, number, "smp_affinity_list", path);
	int r = fsat_write(AT_FDCWD, path, text);
	/* irq_can_set_affinity_usr() of kernel/irq/manage.c: EPERM, EIO in older kernels. */
	if (r == -EPERM || r == -EIO)
		return err_set_os(err, ERR_GUEST_OS, -r,
			"the kernel does not let interrupt %u be steered (it belongs to one CPU, or the "
			"kernel manages it "
			"itself): writing '%s' to %s",
			number, text, path);
	return r < 0 ? err_set_os(err, ERR_GUEST_OS, -r, "cannot write '%s' to %s", text, path) : 0;
}

int irq_steer(
	const struct irq_tree *tree, const char *what, unsigned cpu, struct irq_steered *ret, struct err *err)
{
	_cleanup_(irq_table_deinit) struct irq_table table = IRQ_TABLE_EMPTY;
	const struct irq_line *line;
	char path[PATH_MAX], text[16];
	int r = irq_table_read(tree, &table, err);
	if (r == 0)
		r = irq_table_find(&table, what, &line, err);
	if (r == 0)
		r = check_online(tree, cpu, err);
	if (r < 0)
		return r;
	*ret = (struct irq_steered){.number = line->number};
	snprintf(ret->actions, sizeof(ret->actions), "%s", line->actions);
	irq_path(tree, line->number, "smp_affinity_list", path);
	ssize_t n = fsat_read(AT_FDCWD, path, ret->before, sizeof(ret->before));
	if (n < 0)
		return err_set_os(err, ERR_GUEST_OS, (int)-n, "cannot read %s", path);
	snprintf(text, sizeof(text), "%u", cpu);
	return irq_set_affinity(tree, line->number, text, err);
}

void irq_settle(const struct irq_tree *tree, unsigned cpu, uint64_t deadline_ns, int cancel_fd,
	struct irq_steered *steered)
{
	char path[PATH_MAX];
	irq_path(tree, steered->number, "effective_affinity_list", path);
	for (;;) {
		struct cpuset set, want = CPUSET_EMPTY;
		ssize_t n = fsat_read(AT_FDCWD, path, steered->effective, sizeof(steered->effective));
		if (n < 0) {
			steered->effective[0] = '\0';
			steered->pending = false;
			return;
		}
		cpuset_add(&want, cpu);
		steered->pending =
			cpuset_parse(steered->effective, &set, NULL) < 0 || !cpuset_equal(&set, &want);
		if (!steered->pending || !clock_left_ns(deadline_ns))
			return;
		struct timespec look = clock_timespec(MIN_OF(LOOK_NS, clock_left_ns(deadline_ns)));
		struct pollfd fd = {.fd = cancel_fd, .events = POLLIN};
		if (ppoll(&fd, 1, &look, NULL) > 0)
			return;
	}
}
