/* SPDX-License-Identifier: GPL-2.0-only */
/* What tests of the engine share: a machine of 2 nodes, 4 LLCs and 8 CPUs, and scenarios written as text. */
#ifndef TESTS_UNIT_ENGINE_BENCH_H
#define TESTS_UNIT_ENGINE_BENCH_H

#include "common/cpu_layout.h"
#include "host/text/text.h"
#include "schedrig/v1/scenario.pb-c.h"

#include <criterion/criterion.h>
#include <string.h>

static inline struct cpu_layout bench_layout(void)
{
	struct cpu_layout layout = {.n_cpus = 8, .n_nodes = 2, .n_llcs = 4, .n_cores = 8};
	for (unsigned i = 0; i < 8; i++)
		layout.cpu[i] = (struct cpu_place){
			.node = (uint16_t)(i / 4), .llc = (uint16_t)(i / 2), .core = (uint16_t)i};
	return layout;
}

static inline Schedrig__V1__Scenario *bench_scenario(const char *text)
{
	static struct text_errors errors;
	ProtobufCMessage *message = NULL;
	int r = text_load(&schedrig__v1__scenario__descriptor, text, strlen(text), &message, NULL, &errors);
	cr_assert_eq(r, 0, "%s\n%u:%u %s", text, errors.error[0].line, errors.error[0].column,
		errors.error[0].err.message);
	return (Schedrig__V1__Scenario *)message;
}

#endif
