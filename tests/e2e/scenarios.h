/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of e2e-scenarios share. */
#ifndef TESTS_E2E_SCENARIOS_H
#define TESTS_E2E_SCENARIOS_H

#include "tests/e2e/harness.h"

extern struct vm_process vm;

/* scenarios_adopted.c */
void test_a_payload_that_a_client_waits_for(void);
/* scenarios_host.c; why that cannot be tested here, or NULL */
const char *why_no_gaps_by_the_host(void);
void test_gaps_that_the_host_made(void);

#endif
