/* SPDX-License-Identifier: GPL-2.0-only */
/* Topology constraints of a scenario. Pure. */
#include "common/strbuf.h"
#include "host/engine/validate.h"

static void check_range(struct check *check, const Schedrig__V1__Uint32Value *min,
	const Schedrig__V1__Uint32Value *max, unsigned have, const char *min_field, const char *what,
	struct strbuf *why)
{
	if (min && max && min->value > max->value)
		check_bad(check, ERR_INVALID_ARGUMENT, min_field,
			"at least %u and at most %u %s cannot both be", min->value, max->value, what);
	if (!check->layout)
		return;
	const char *more = why->length ? "; " : "";
	if (min && have < min->value)
		strbuf_printf(
			why, "%sneeds at least %u %s, this machine has %u", more, min->value, what, have);
	if (max && have > max->value)
		strbuf_printf(
			why, "%sneeds at most %u %s, this machine has %u", more, max->value, what, have);
}

bool check_needs(struct check *check, const Schedrig__V1__Needs *needs, char **ret_reason)
{
	_cleanup_strbuf_ struct strbuf why = STRBUF_INIT;
	const struct cpu_layout *l = check->layout;
	size_t at = check_enter(check, "needs");
	check_range(check, needs->min_nodes, needs->max_nodes, l ? l->n_nodes : 0, "min_nodes", "NUMA nodes",
		&why);
	check_range(check, needs->min_llcs, needs->max_llcs, l ? l->n_llcs : 0, "min_llcs", "LLCs", &why);
	check_range(check, needs->min_cpus, needs->max_cpus, l ? l->n_cpus : 0, "min_cpus", "CPUs", &why);
	bool smt = l && l->n_cores < l->n_cpus;
	if (l && needs->smt && needs->smt->value != smt)
		strbuf_printf(&why, "%s%s", why.length ? "; " : "",
			smt ? "needs cores of one thread, this machine's have several"
			    : "needs cores of several threads, this machine's have one");
	check_leave(check, at);
	if (!why.length)
		return false;
	*ret_reason = strbuf_take(&why);
	check->out_of_memory |= !*ret_reason;
	return true;
}
