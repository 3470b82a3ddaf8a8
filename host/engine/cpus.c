/* SPDX-License-Identifier: GPL-2.0-only */
/* See cpus.h. */
#include "host/engine/cpus.h"

int cpus_from_wire(const Schedrig__V1__CpusetSpec *wire, struct cpuspec *ret_spec, struct err *err)
{
	struct cpuspec spec = {0};
	switch (wire->form_case) {
	case SCHEDRIG__V1__CPUSET_SPEC__FORM_LLC:
		spec.kind = CPUSPEC_LLC;
		spec.index = wire->llc->index;
		break;
	case SCHEDRIG__V1__CPUSET_SPEC__FORM_NUMA:
		spec.kind = CPUSPEC_NUMA;
		spec.index = wire->numa->index;
		break;
	case SCHEDRIG__V1__CPUSET_SPEC__FORM_RANGE:
		spec.kind = CPUSPEC_RANGE;
		spec.start = wire->range->start;
		spec.end = wire->range->end;
		break;
	case SCHEDRIG__V1__CPUSET_SPEC__FORM_DISJOINT:
		spec.kind = CPUSPEC_DISJOINT;
		spec.index = wire->disjoint->index;
		spec.count = wire->disjoint->count;
		break;
	case SCHEDRIG__V1__CPUSET_SPEC__FORM_OVERLAP:
		spec.kind = CPUSPEC_OVERLAP;
		spec.index = wire->overlap->index;
		spec.count = wire->overlap->count;
		spec.fraction = wire->overlap->fraction;
		break;
	case SCHEDRIG__V1__CPUSET_SPEC__FORM_EXACT:
		spec.kind = CPUSPEC_EXACT;
		if (cpuset_parse(wire->exact->list, &spec.exact, err) < 0)
			return err_wrap(err, "CPUs");
		break;
	case SCHEDRIG__V1__CPUSET_SPEC__FORM_EACH:
		return err_set(err, ERR_INVALID_ARGUMENT,
			"`each` stands for the CPUs of a factory's place: there is no factory here");
	default:
		return err_set(err, ERR_INVALID_ARGUMENT,
			"no CPUs are given: one of llc, numa, range, disjoint, overlap, exact");
	}
	*ret_spec = spec;
	return 0;
}
