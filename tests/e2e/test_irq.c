/* SPDX-License-Identifier: GPL-2.0-only */
/* SteerIrq where a real kernel refuses. The interrupts of our machines can all be steered, so this asks the
 * kernel under it: that of the emulated machine, or of the host. No VM, one thread.
 *
 * The timer of PCs is set up with IRQF_NOBALANCING (arch/x86/kernel/time.c), so irq_can_set_affinity_usr() of
 * kernel/irq/manage.c says no and nothing is changed. Where there is none, or nobody may ask, the test is
 * skipped. */
#include "common/fsat.h"
#include "guest/irq/irq.h"
#include "tests/e2e/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TIMER "timer"
#define TIMER_FILE "/proc/irq/0/smp_affinity_list"

static bool read_affinity(const char *name, char text[CPUSET_TEXT_BYTES])
{
	char path[80];
	snprintf(path, sizeof(path), "/proc/irq/0/%s", name);
	return fsat_read(AT_FDCWD, path, text, CPUSET_TEXT_BYTES) > 0;
}

/* What the kernel says to a program that asks it directly, with what is there already. */
static int ask_kernel(const char *affinity)
{
	int fd = open(TIMER_FILE, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	int errnum = write(fd, affinity, strlen(affinity)) < 0 ? errno : 0;
	close(fd);
	return errnum;
}

static void test_the_kernels_refusal_is_told(void)
{
	static const char *const names[] = {TIMER, "0"};
	char before[CPUSET_TEXT_BYTES], after[CPUSET_TEXT_BYTES];
	EXPECT(read_affinity("smp_affinity_list", before));
	int errnum = ask_kernel(before);
	EXPECT(errnum == EPERM || errnum == EIO, "the kernel says %s", strerror(errnum));
	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
		struct irq_steered steered;
		struct err err = ERR_INIT;
		int r = irq_steer(&IRQ_TREE, names[i], 0, &steered, &err);
		printf("# %s\n", err.message);
		EXPECT(r < 0 && err.code == ERR_GUEST_OS, "%s: %d, code %d: %s", names[i], r, (int)err.code,
			err.message);
		EXPECT(strstr(err.message, strerror(errnum)), "%s", err.message);
		EXPECT(strstr(err.message, TIMER_FILE), "%s", err.message);
		EXPECT(strstr(err.message, "does not let interrupt 0 be steered"), "%s", err.message);
		EXPECT(read_affinity("smp_affinity_list", after) && strcmp(before, after) == 0, "%s, now %s",
			before, after);
	}
}

int main(int argc, char **argv)
{
	static const char name[] = "the_kernels_refusal_is_told";
	struct irq_table table = IRQ_TABLE_EMPTY;
	const struct irq_line *line = NULL;
	struct err err = ERR_INIT;
	harness_begin(argc, argv);
	if (irq_table_read(&IRQ_TREE, &table, &err) < 0 || irq_table_find(&table, TIMER, &line, &err) < 0)
		tap_skip(name, err.message);
	else if (line->number != 0)
		tap_skip(name, "this machine's timer is not interrupt 0");
	else if (access(TIMER_FILE, W_OK) < 0)
		tap_skip(name, "only root may ask to steer an interrupt");
	else
		tap_run(name, test_the_kernels_refusal_is_told);
	irq_table_deinit(&table);
	harness_end();
	return tap_end();
}
