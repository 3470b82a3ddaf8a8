/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/* An example of a worker of one's own, and what the tests run as one: spins for a while, sleeps for a while,
 * and says so.
 *
 *     work:
 *       - work_type: {custom: {program: {payload: NAME, args: [ROUNDS_BEFORE_EACH_SLEEP]}}}
 *
 * With "exit" as its argument it ends without having said anything. */
#include "proto/worker_page.h"

#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	struct worker_page_user user = {0};
	unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 1000;
	uint64_t value = 1;
	if (argc > 1 && strcmp(argv[1], "exit") == 0)
		return 3;
	if (worker_page_open(&user) < 0)
		return 2;
	worker_page_ready(&user);
	do {
		for (unsigned round = 0; round < rounds && !worker_page_stopping(&user); round++) {
			for (unsigned unit = 0; unit < 1024; unit++)
				value = value * 3 + 1;
			worker_page_checkpoint(&user, 1024);
			worker_page_iteration(&user);
		}
		__asm__ volatile("" : : "r"(value));
	} while (worker_page_sleep(&user, worker_page_now() + 1000000));
	worker_page_done(&user);
	return 0;
}
