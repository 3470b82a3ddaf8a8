/* SPDX-License-Identifier: GPL-2.0-only */
/* CPU set descriptions (see cpuspec.h). No state. */
#include "common/cpuspec.h"

#include <math.h>

static int bad(struct err *err, const char *place)
{
	return err_at(err, "%s", place);
}

static int resolve_range(
	const struct cpuspec *spec, const struct cpuset *usable, struct cpuset *ret, struct err *err)
{
	unsigned n = cpuset_count(usable);
	if (!isfinite(spec->start) || spec->start < 0 || spec->start > 1) {
		err_set(err, ERR_INVALID_ARGUMENT, "range start %g is not a number between 0 and 1",
			spec->start);
		return bad(err, "range.start");
	}
	if (!isfinite(spec->end) || spec->end < 0 || spec->end > 1) {
		err_set(err, ERR_INVALID_ARGUMENT, "range end %g is not a number between 0 and 1", spec->end);
		return bad(err, "range.end");
	}
	if (spec->start >= spec->end) {
		err_set(err, ERR_INVALID_ARGUMENT, "range start %g is not below its end %g", spec->start,
			spec->end);
		return bad(err, "range.start");
	}
	unsigned first = (unsigned)(n * spec->start), last = (unsigned)(n * spec->end);
	for (unsigned i = first; i < last; i++)
		cpuset_add(ret, (unsigned)cpuset_nth(usable, i));
	if (first >= last) {
		err_set(err, ERR_INVALID_ARGUMENT, "range %g..%g of %u usable CPUs holds no CPU", spec->start,
			spec->end, n);
		return bad(err, "range");
	}
	return 0;
}

static int resolve_part(
	const struct cpuspec *spec, const struct cpuset *usable, struct cpuset *ret, struct err *err)
{
	bool overlap = spec->kind == CPUSPEC_OVERLAP;
	const char *word = overlap ? "overlap" : "disjoint";
	unsigned n = cpuset_count(usable);
	if (spec->count == 0 || n < spec->count) {
		err_set(err, ERR_INVALID_ARGUMENT, "%u parts of %u usable CPUs: 1 to %u are possible",
			spec->count, n, n);
		err_at(err, "count");
		return bad(err, word);
	}
	if (spec->index >= spec->count) {
		err_set(err, ERR_INVALID_ARGUMENT, "part %u of %u: parts are numbered from 0", spec->index,
			spec->count);
		err_at(err, "index");
		return bad(err, word);
	}
	unsigned chunk = n / spec->count, first = spec->index * chunk;
	unsigned last = spec->index + 1 == spec->count ? n : first + chunk;
	if (overlap) {
		if (!isfinite(spec->fraction) || spec->fraction < 0 || spec->fraction > 1) {
			err_set(err, ERR_INVALID_ARGUMENT,
				"overlap fraction %g is not a number between 0 and 1", spec->fraction);
			err_at(err, "fraction");
			return bad(err, word);
		}
		unsigned more = (unsigned)(chunk * spec->fraction);
		first = first > more ? first - more : 0;
		last = MIN_OF(last + more, n);
	}
	for (unsigned i = first; i < last; i++)
		cpuset_add(ret, (unsigned)cpuset_nth(usable, i));
	return 0;
}

int cpuspec_resolve(
	const struct cpuspec *spec, const struct cpu_layout *layout, struct cpuset *ret_set, struct err *err)
{
	struct cpuset set = CPUSET_EMPTY, all = cpuset_first_n(layout->n_cpus),
		      usable = cpu_layout_usable(layout);
	char text[128];
	int r = 0;
	switch (spec->kind) {
	case CPUSPEC_LLC:
		if (spec->index >= layout->n_llcs) {
			err_set(err, ERR_INVALID_ARGUMENT, "there is no LLC %u: this machine has %u (0..%u)",
				spec->index, layout->n_llcs, layout->n_llcs - 1);
			return bad(err, "llc");
		}
		set = cpu_layout_llc(layout, spec->index);
		break;
	case CPUSPEC_NUMA:
		if (spec->index >= layout->n_nodes) {
			err_set(err, ERR_INVALID_ARGUMENT,
				"there is no NUMA node %u: this machine has %u (0..%u)", spec->index,
				layout->n_nodes, layout->n_nodes - 1);
			return bad(err, "numa");
		}
		set = cpu_layout_node(layout, spec->index);
		if (cpuset_is_empty(&set)) {
			err_set(err, ERR_INVALID_ARGUMENT, "NUMA node %u has memory only, no CPU",
				spec->index);
			return bad(err, "numa");
		}
		break;
	case CPUSPEC_RANGE:
		r = resolve_range(spec, &usable, &set, err);
		break;
	case CPUSPEC_DISJOINT:
	case CPUSPEC_OVERLAP:
		r = resolve_part(spec, &usable, &set, err);
		break;
	case CPUSPEC_EXACT:
		if (cpuset_is_empty(&spec->exact)) {
			err_set(err, ERR_INVALID_ARGUMENT, "the CPU set is empty");
			return bad(err, "exact");
		}
		if (!cpuset_is_subset(&spec->exact, &all)) {
			err_set(err, ERR_INVALID_ARGUMENT, "CPUs %s are not all in this machine's 0-%u",
				cpuset_format(&spec->exact, text, sizeof(text)), layout->n_cpus - 1);
			return bad(err, "exact");
		}
		set = spec->exact;
		break;
	}
	if (r < 0)
		return r;
	*ret_set = set;
	return 0;
}
