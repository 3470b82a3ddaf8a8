/* SPDX-License-Identifier: GPL-2.0-only */
/* What a type needs of CPU, kernel and machine (see work.h). Any thread. */
#include "guest/work/alu.h"
#include "guest/work/work.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

static int check_width(unsigned width, struct err *err)
{
	unsigned widest = alu_widest();
	if (width <= widest)
		return 0;
	return err_set(err, ERR_UNSUPPORTED, "alu_hot %u bits wide: this machine's CPUs have %u at most",
		width, widest);
}

static int check_numa(const char *name, struct err *err)
{
	int mode;
	if (syscall(SYS_get_mempolicy, &mode, NULL, 0ul, NULL, 0ul) == 0 || errno != ENOSYS)
		return 0;
	return err_set(err, ERR_UNSUPPORTED, "%s: this kernel knows no memory policies (CONFIG_NUMA)", name);
}

static int check_nodes(const char *name, const struct cpu_layout *layout, struct err *err)
{
	for (unsigned cpu = 1; cpu < layout->n_cpus; cpu++)
		if (layout->cpu[cpu].node != layout->cpu[0].node)
			return 0;
	return err_set(err, ERR_UNSUPPORTED, "%s needs CPUs on two NUMA nodes: this machine has one", name);
}

int work_check_machine(const struct work_params *params, const struct cpu_layout *layout, struct err *err)
{
	const char *name = work_type_name(params->type);
	switch (params->type) {
	case WORK_ALU_HOT:
		return check_width((unsigned)params->alu_hot.width, err);
	case WORK_NUMA_WORKING_SET_SWEEP:
		return check_numa(name, err);
	case WORK_NUMA_MIGRATION_CHURN:
		return layout ? check_nodes(name, layout, err) : 0;
	default:
		return 0;
	}
}
