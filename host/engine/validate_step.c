/* SPDX-License-Identifier: GPL-2.0-only */
/* Steps: holds, the order of ops and set-up, assertions. Pure. */
#include "host/engine/hold.h"
#include "host/engine/validate.h"
#include "proto/wire.h"

#include <math.h>

void check_assertions(struct check *check, const Schedrig__V1__Assertions *a)
{
	if (!a)
		return;
	size_t at = check_enter(check, "assertions");
	if (a->max_gap && a->max_gap->ns == 0)
		check_bad(check, ERR_INVALID_ARGUMENT, "max_gap",
			"no worker can do without any gap: give a time above 0");
	if (a->max_spread_pct && !(isfinite(a->max_spread_pct->value) && a->max_spread_pct->value >= 0 &&
					 a->max_spread_pct->value <= 100))
		check_bad(check, ERR_INVALID_ARGUMENT, "max_spread_pct", "%g is not a percentage in 0..100",
			a->max_spread_pct->value);
	check_leave(check, at);
}

static void check_setup(struct check *check, const Schedrig__V1__Step *step)
{
	for (size_t i = 0; i < step->n_setup; i++) {
		size_t at = check_enter(check, "setup[%zu]", i);
		check_definition(check, step->setup[i], NAME_STEP);
		check_leave(check, at);
	}
}

static bool loop_repeats(const struct check *check, const Schedrig__V1__Hold *hold)
{
	const Schedrig__V1__Scenario *s = check->scenario;
	uint64_t duration = s->duration ? s->duration->ns : HOLD_DEFAULT_DURATION_NS;
	return hold->loop->ns < duration;
}

void check_step(struct check *check, const Schedrig__V1__Step *step, int index)
{
	struct err err = ERR_INIT;
	check->step = index;
	check->in_loop = step->hold && step->hold->form_case == SCHEDRIG__V1__HOLD__FORM_LOOP;
	if (hold_check(step->hold, &err) < 0)
		check_bad(check, err.code, "hold", "%s", err.message);
	check_assertions(check, step->assertions);
	for (size_t i = 0; i < step->n_setup; i++) {
		struct name *name =
			*step->setup[i]->name ? names_enter(&check->names, step->setup[i]->name) : NULL;
		if (name)
			name->setup_step = index;
	}
	if (check->in_loop)
		check_setup(check, step);
	check_ops(check, step->ops, step->n_ops, NAME_STEP);
	if (check->in_loop && !check->errors.n && loop_repeats(check, step->hold)) {
		/* What the first pass leaves behind meets the second. */
		check->names_only = true;
		check_ops(check, step->ops, step->n_ops, NAME_STEP);
		check->names_only = false;
	}
	if (!check->in_loop)
		check_setup(check, step);
	names_end_step(&check->names, index);
	check->in_loop = false;
}
