/* SPDX-License-Identifier: GPL-2.0-only */
/* CPU layout (see cpu_layout.h). No state. */
#include "common/cpu_layout.h"

#define MEMBERS_OF(field)                                                                                    \
	struct cpuset set = CPUSET_EMPTY;                                                                    \
	for (unsigned i = 0; i < layout->n_cpus; i++)                                                        \
		if (layout->cpu[i].field == index)                                                           \
			cpuset_add(&set, i);                                                                 \
	return set

struct cpuset cpu_layout_node(const struct cpu_layout *layout, unsigned index)
{
	MEMBERS_OF(node);
}

struct cpuset cpu_layout_llc(const struct cpu_layout *layout, unsigned index)
{
	MEMBERS_OF(llc);
}

struct cpuset cpu_layout_core(const struct cpu_layout *layout, unsigned index)
{
	MEMBERS_OF(core);
}

struct cpuset cpu_layout_usable(const struct cpu_layout *layout)
{
	return cpuset_first_n(layout->n_cpus > 2 ? layout->n_cpus - 1 : layout->n_cpus);
}

int cpu_layout_check(const struct cpu_layout *layout, struct err *err)
{
	if (layout->n_cpus == 0 || layout->n_cpus > CPUSET_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "a layout of %u CPUs: 1 to %d are possible",
			layout->n_cpus, CPUSET_MAX);
	struct cpuset llcs = CPUSET_EMPTY, cores = CPUSET_EMPTY;
	for (unsigned i = 0; i < layout->n_cpus; i++) {
		const struct cpu_place *p = &layout->cpu[i];
		if (p->node >= layout->n_nodes || p->llc >= layout->n_llcs || p->core >= layout->n_cores)
			return err_set(
				err, ERR_INVALID_ARGUMENT, "CPU %u is outside the layout's own counts", i);
		if (p->llc >= CPUSET_MAX || p->core >= CPUSET_MAX)
			return err_set(err, ERR_INVALID_ARGUMENT, "CPU %u is beyond the largest layout", i);
		cpuset_add(&llcs, p->llc);
		cpuset_add(&cores, p->core);
	}
	if (cpuset_count(&llcs) != layout->n_llcs || cpuset_count(&cores) != layout->n_cores)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"the layout counts caches or cores that no CPU belongs to");
	return 0;
}
