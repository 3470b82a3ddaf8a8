/* SPDX-License-Identifier: GPL-2.0-only */
/* What a host says of a thread's time, and that it says nothing. */
#include "host/vm/vm_internal.h"

#include <criterion/criterion.h>

Test(host_time, an_account)
{
	struct vm_host_time time;
	cr_assert(vm_host_time_parse("1200 34 5", &time));
	cr_expect_eq(time.run_ns, 1200);
	cr_expect_eq(time.wait_ns, 34);
	/* It has just begun to run: what is counted at the end of a time slice is not there yet. */
	cr_assert(vm_host_time_parse("0 0 1", &time));
	cr_expect_eq(time.run_ns, 0);
	cr_assert(vm_host_time_parse("0 7 1", &time));
	cr_expect_eq(time.wait_ns, 7);
}

Test(host_time, no_account)
{
	static const char *const texts[] = {"0 0 0", "", "1 2", "some words"};
	struct vm_host_time time = {.run_ns = 1};
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		cr_expect_not(vm_host_time_parse(texts[i], &time), "'%s'", texts[i]);
		cr_expect_eq(time.run_ns, 1);
	}
}
