/* SPDX-License-Identifier: GPL-2.0-only */
/* Holds (see hold.h). */
#include "host/engine/hold.h"

#include "common/clock.h"

#include <math.h>

/* Beyond this nothing can be added to a clock. */
#define HOLD_MAX_NS (UINT64_MAX / 4)
#define HOUR_NS UINT64_C(3600000000000)

static int check_fraction(double f, bool zero_allowed, const char *form, struct err *err)
{
	if (!isfinite(f))
		return err_set(err, ERR_INVALID_ARGUMENT, "%s %g is not a finite number", form, f);
	if (f < 0 || (f == 0 && !zero_allowed))
		return err_set(err, ERR_INVALID_ARGUMENT, "%s %g is not %s 0%s", form, f,
			zero_allowed ? "at least" : "above",
			zero_allowed ? "" : ": for ops without a hold write {fixed: \"0\"}");
	return 0;
}

int hold_check(const Schedrig__V1__Hold *hold, struct err *err)
{
	if (!hold)
		return 0;
	switch (hold->form_case) {
	case SCHEDRIG__V1__HOLD__FORM_FRAC:
		return check_fraction(hold->frac->fraction, false, "frac", err);
	case SCHEDRIG__V1__HOLD__FORM_SETTLED:
		return check_fraction(hold->settled->fraction, true, "settled", err);
	case SCHEDRIG__V1__HOLD__FORM_FIXED:
		if (hold->fixed->ns > HOLD_MAX_NS)
			return err_set(err, ERR_INVALID_ARGUMENT,
				"the hold is beyond the range of the clock: at most %lluh",
				(unsigned long long)(HOLD_MAX_NS / HOUR_NS));
		return 0;
	case SCHEDRIG__V1__HOLD__FORM_LOOP:
		if (hold->loop->ns == 0)
			return err_set(err, ERR_INVALID_ARGUMENT,
				"a loop interval of 0 would repeat the ops without a pause");
		if (hold->loop->ns > HOLD_MAX_NS)
			return err_set(err, ERR_INVALID_ARGUMENT,
				"the interval is beyond the range of the clock: at most %lluh",
				(unsigned long long)(HOLD_MAX_NS / HOUR_NS));
		return 0;
	case SCHEDRIG__V1__HOLD__FORM_FULL:
		return 0;
	default:
		return err_set(err, ERR_INVALID_ARGUMENT,
			"no hold is given: one of frac, fixed, loop, full, settled");
	}
}

bool hold_is_loop(const Schedrig__V1__Hold *hold)
{
	return hold && hold->form_case == SCHEDRIG__V1__HOLD__FORM_LOOP;
}

static uint64_t duration_ns(const Schedrig__V1__Scenario *scenario)
{
	return scenario->duration ? scenario->duration->ns : HOLD_DEFAULT_DURATION_NS;
}

static uint64_t settle_ns(const Schedrig__V1__Scenario *scenario)
{
	return scenario->settle ? scenario->settle->ns : 0;
}

static uint64_t fraction_ns(const Schedrig__V1__Scenario *scenario, double f)
{
	double ns = f * (double)duration_ns(scenario);
	return ns >= (double)HOLD_MAX_NS ? HOLD_MAX_NS : (uint64_t)ns;
}

uint64_t hold_budget_ns(const Schedrig__V1__Scenario *scenario)
{
	uint64_t budget = duration_ns(scenario);
	for (size_t i = 0; i < scenario->n_steps; i++) {
		const Schedrig__V1__Hold *hold = scenario->steps[i]->hold;
		if (hold && hold->form_case == SCHEDRIG__V1__HOLD__FORM_SETTLED)
			budget = clock_add_ns(budget, settle_ns(scenario));
	}
	return budget;
}

static uint64_t asked_ns(const Schedrig__V1__Scenario *scenario, const Schedrig__V1__Hold *hold)
{
	switch (hold ? hold->form_case : SCHEDRIG__V1__HOLD__FORM_FULL) {
	case SCHEDRIG__V1__HOLD__FORM_FRAC:
		return fraction_ns(scenario, hold->frac->fraction);
	case SCHEDRIG__V1__HOLD__FORM_SETTLED:
		return clock_add_ns(settle_ns(scenario), fraction_ns(scenario, hold->settled->fraction));
	case SCHEDRIG__V1__HOLD__FORM_FIXED:
		return hold->fixed->ns;
	case SCHEDRIG__V1__HOLD__FORM_LOOP:
		return UINT64_MAX;
	default:
		return duration_ns(scenario);
	}
}

struct hold_length hold_resolve(
	const Schedrig__V1__Scenario *scenario, const Schedrig__V1__Hold *hold, uint64_t now_ns)
{
	uint64_t budget = hold_budget_ns(scenario), left = budget > now_ns ? budget - now_ns : 0;
	struct hold_length length = {.asked_ns = asked_ns(scenario, hold)};
	length.effective_ns = MIN_OF(length.asked_ns, left);
	length.nothing = length.asked_ns > 0 && length.effective_ns == 0;
	/* A loop asks for what is left, so only nothing at all is less than it asked for. */
	if (!hold_is_loop(hold))
		length.cut = length.asked_ns - length.effective_ns > length.asked_ns / 100;
	return length;
}
