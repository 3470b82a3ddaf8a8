/* SPDX-License-Identifier: GPL-2.0-only */
/* Cgroup controllers that a scenario needs (see controllers.h). */
#include "host/engine/controllers.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { CPU, CPUSET, IO, MEMORY, PIDS };
static const char *const names[CONTROLLERS_MAX] = {"cpu", "cpuset", "io", "memory", "pids"};

struct need {
	bool needed[CONTROLLERS_MAX];
	char who[CONTROLLERS_MAX][96]; /* the first */
};

static void need(struct need *n, int controller, const char *who)
{
	if (n->needed[controller])
		return;
	n->needed[controller] = true;
	snprintf(n->who[controller], sizeof(n->who[controller]), "%s", who);
}

static void definition(struct need *n, const Schedrig__V1__CgroupDef *def, const char *who)
{
	if (def->cpuset || def->cpuset_mems)
		need(n, CPUSET, who);
	if (def->cpu)
		need(n, CPU, who);
	if (def->io)
		need(n, IO, who);
	if (def->memory)
		need(n, MEMORY, who);
	if (def->pids)
		need(n, PIDS, who);
}

static void op(struct need *n, const Schedrig__V1__Op *o, const char *who)
{
	switch (o->kind_case) {
	case SCHEDRIG__V1__OP__KIND_ADD_CGROUP_DEF:
		if (o->add_cgroup_def->def)
			definition(n, o->add_cgroup_def->def, who);
		break;
	case SCHEDRIG__V1__OP__KIND_SET_CPUSET:
	case SCHEDRIG__V1__OP__KIND_CLEAR_CPUSET:
	case SCHEDRIG__V1__OP__KIND_SWAP_CPUSETS:
		need(n, CPUSET, who);
		break;
	default:
		break;
	}
}

static bool has(const Schedrig__V1__AgentHello *hello, const char *name)
{
	for (size_t i = 0; i < hello->n_controllers; i++)
		if (strcmp(hello->controllers[i], name) == 0)
			return true;
	return false;
}

int controllers_needed(const Schedrig__V1__Scenario *s, const Schedrig__V1__AgentHello *hello,
	const char *ret_names[CONTROLLERS_MAX], size_t *ret_n, struct err *err)
{
	struct need n = {0};
	char who[96];
	bool any_client = false; /* what it will ask for is not known: whatever there is */
	for (size_t i = 0; s->backdrop && i < s->backdrop->n_cgroups; i++) {
		snprintf(who, sizeof(who), "backdrop.cgroups[%zu]", i);
		definition(&n, s->backdrop->cgroups[i], who);
	}
	for (size_t i = 0; s->backdrop && i < s->backdrop->n_ops; i++) {
		snprintf(who, sizeof(who), "backdrop.ops[%zu]", i);
		op(&n, s->backdrop->ops[i], who);
	}
	for (size_t i = 0; i < s->n_steps; i++) {
		for (size_t k = 0; k < s->steps[i]->n_setup; k++) {
			snprintf(who, sizeof(who), "steps[%zu].setup[%zu]", i, k);
			definition(&n, s->steps[i]->setup[k], who);
		}
		const Schedrig__V1__SetupFactory *factory = s->steps[i]->factory;
		for (size_t k = 0; factory && k < factory->n_cgroups; k++) {
			snprintf(who, sizeof(who), "steps[%zu].factory.cgroups[%zu]", i, k);
			definition(&n, factory->cgroups[k], who);
		}
		any_client |= factory && factory->client;
		for (size_t k = 0; k < s->steps[i]->n_ops; k++) {
			snprintf(who, sizeof(who), "steps[%zu].ops[%zu]", i, k);
			op(&n, s->steps[i]->ops[k], who);
		}
	}
	*ret_n = 0;
	for (int i = 0; i < CONTROLLERS_MAX; i++) {
		if (!n.needed[i] && !(any_client && hello && has(hello, names[i])))
			continue;
		if (hello && !has(hello, names[i])) {
			err_set(err, ERR_UNSUPPORTED,
				"this kernel has no cgroup controller %s, which %s needs", names[i],
				n.who[i]);
			return err_at(err, "%s", n.who[i]);
		}
		ret_names[(*ret_n)++] = names[i];
	}
	return 0;
}
