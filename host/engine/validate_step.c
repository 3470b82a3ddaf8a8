/* SPDX-License-Identifier: GPL-2.0-only */
/* Steps: holds, the order of ops and set-up, factories. Pure. */
#include "host/engine/factory.h"
#include "host/engine/hold.h"
#include "host/engine/validate.h"
#include "proto/wire.h"

#include <string.h>

static void check_setup(struct check *check, const struct setup *setup, size_t per_place)
{
	for (size_t i = 0; i < setup->n; i++) {
		/* Of a factory: the definition that it was made from. */
		size_t at = per_place ? check_enter(check, "factory.cgroups[%zu]", i % per_place)
				      : check_enter(check, "setup[%zu]", i);
		check_definition(check, setup->def[i], NAME_STEP);
		check_leave(check, at);
	}
}

static void check_factory(struct check *check, const Schedrig__V1__Step *step)
{
	const Schedrig__V1__SetupFactory *f = step->factory;
	size_t at = check_enter(check, "factory");
	if (step->n_setup)
		check_bad(check, ERR_INVALID_ARGUMENT, NULL, "a step has a `setup` or a `factory`, not both");
	if (f->client && (f->for_each || f->n_cgroups))
		check_bad(check, ERR_INVALID_ARGUMENT, "client",
			"the client makes the definitions: leave `for_each` and `cgroups` out");
	else if (!f->client && !f->for_each)
		check_bad(check, ERR_INVALID_ARGUMENT, NULL,
			"what for? give `for_each` (llc, numa, core, cpu) with `cgroups`, or `client`");
	else if (!f->client && !f->n_cgroups)
		check_bad(check, ERR_INVALID_ARGUMENT, "cgroups", "no definitions are given");
	if (f->client && f->client->deadline && f->client->deadline->ns == 0)
		check_bad(check, ERR_INVALID_ARGUMENT, "client.deadline", "nobody answers within no time");
	if (f->client && strlen(f->client->name) > LIMIT_NAME_BYTES)
		check_bad(check, ERR_LIMIT_EXCEEDED, "client.name", "a name has at most %u bytes",
			LIMIT_NAME_BYTES);
	check_leave(check, at);
}

/* What the step's set-up will be, as far as it can be known; *ret_made holds what was made for it. */
static struct setup setup_of(struct check *check, const Schedrig__V1__Step *step, struct setup *ret_made)
{
	struct err err = ERR_INIT;
	struct cpu_layout *any = NULL;
	if (!step->factory)
		return (struct setup){step->setup, step->n_setup};
	check_factory(check, step);
	if (step->factory->client || !step->factory->for_each)
		return (struct setup){0};
	if (!check->layout && (any = calloc(1, sizeof(*any))))
		any->n_cpus = any->n_nodes = any->n_llcs = any->n_cores = 1; /* any machine has one of each */
	check->out_of_memory |= !check->layout && !any;
	if ((check->layout || any) &&
		factory_expand(step->factory, check->layout ? check->layout : any, ret_made, &err) < 0)
		check_bad(check, err.code, "factory", "%s", err.message);
	free(any);
	return *ret_made;
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
	check->workers_step = 0;
	check_printable(check, step->name, "name");
	if (strlen(step->name) > LIMIT_NAME_BYTES)
		check_bad(check, ERR_LIMIT_EXCEEDED, "name", "a name has at most %u bytes", LIMIT_NAME_BYTES);
	for (int i = 0; *step->name && i < index; i++)
		if (strcmp(check->scenario->steps[i]->name, step->name) == 0) {
			check_warn(check, "name",
				"steps[%d] has the same name: reports will not tell them apart", i);
			break;
		}
	check->in_loop = step->hold && step->hold->form_case == SCHEDRIG__V1__HOLD__FORM_LOOP;
	if (hold_check(step->hold, &err) < 0)
		check_bad(check, err.code, "hold", "%s", err.message);
	check_assertions(check, step->assertions);
	struct setup made = {0}, setup = setup_of(check, step, &made);
	size_t per_place = step->factory ? step->factory->n_cgroups : 0;
	for (size_t i = 0; i < setup.n; i++) {
		struct name *name =
			*setup.def[i]->name ? names_enter(&check->names, setup.def[i]->name) : NULL;
		if (name)
			name->setup_step = index;
	}
	if (check->in_loop)
		check_setup(check, &setup, per_place);
	/* The ops of a loop meet what a client will have made, and only it knows that. */
	bool unknown = check->in_loop && step->factory && step->factory->client && !check->adhoc;
	check->adhoc |= unknown;
	check_ops(check, step->ops, step->n_ops, NAME_STEP);
	if (check->in_loop && !check->errors.n && loop_repeats(check, step->hold)) {
		/* What the first pass leaves behind meets the second. */
		check->names_only = true;
		check_ops(check, step->ops, step->n_ops, NAME_STEP);
		check->names_only = false;
	}
	if (unknown)
		check->adhoc = false;
	if (!check->in_loop)
		check_setup(check, &setup, per_place);
	setup_deinit(&made);
	check_expected_tags(check, step->assertions);
	names_end_step(&check->names, index);
	check->in_loop = false;
}
