/* SPDX-License-Identifier: GPL-2.0-only */
/* Set-ups that are made when a step begins: from a template, or by the client. */
#ifndef HOST_ENGINE_FACTORY_H
#define HOST_ENGINE_FACTORY_H

#include "common/cpu_layout.h"
#include "host/engine/engine_internal.h"

/* Definitions on the heap. */
struct setup {
	Schedrig__V1__CgroupDef **def;
	size_t n;
};
void setup_deinit(struct setup *setup);

/* How many there are of what a template is for (any thread, pure). */
unsigned factory_places(Schedrig__V1__ForEach for_each, const struct cpu_layout *layout);
/* A template's definitions for every place of the layout, in order of places (any thread, pure).
 * ERR_LIMIT_EXCEEDED: more than LIMIT_CGROUPS. */
int factory_expand(const Schedrig__V1__SetupFactory *factory, const struct cpu_layout *layout,
	struct setup *ret, struct err *err) must_check;
/* Asks the client whose scenario it is, waits for the answer and validates it in its place. The run's thread.
 */
int factory_ask(struct run *run, uint32_t step, struct setup *ret, struct err *err) must_check;

#endif
