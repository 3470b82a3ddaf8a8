/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of e2e-net share. One thread. */
#ifndef TESTS_E2E_NET_H
#define TESTS_E2E_NET_H

#include "tests/e2e/harness.h"

extern struct vm_process vm;

/* net_disks.c. Options that give the VM its disks, NULL-terminated; after harness_begin(). */
const char *const *disks_prepare(void);
void test_disks_are_told(void);
void test_what_the_guest_writes_is_in_the_file(void);
void test_io_work_uses_the_scratch_disk_across_freezes(void);
void test_disks_are_locked(void);
void test_errors_of_the_host_reach_the_guest(void);

#endif
