/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of e2e-payload share: the VM and ways to run things in it. One thread. */
#ifndef TESTS_E2E_PAYLOAD_H
#define TESTS_E2E_PAYLOAD_H

#include "tests/e2e/harness.h"

extern struct vm_process vm;

/* The scenario's result if its verdict is that one; NULL with a failure recorded. */
json_t *submit(const char *yaml, const char *verdict);

/* payload_vetoes.c: with a scheduler (e2e-scheduler) attached. */
void test_vetoes(void);
void test_refusal_without_a_scheduler(void);
void test_scheduler_sees_placement(void);

#endif
