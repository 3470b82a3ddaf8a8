/* SPDX-License-Identifier: GPL-2.0-only */
/* A batch of writes of one value to many words of guest-physical memory, as a request. Static storage: one
 * batch at a time. */
#ifndef TESTS_FAKE_WORD_BATCH_H
#define TESTS_FAKE_WORD_BATCH_H

#include "schedrig/v1/control.pb-c.h"

#include <stdbool.h>
#include <stdint.h>

#define WORD_BATCH 1000u

/* The place in guest-physical memory, in the caller's storage. */
void phys_target(Schedrig__V1__Target *target, Schedrig__V1__AddressTarget *phys, uint64_t address);
/* `value` into word 0 to n - 1, in this order; n at most WORD_BATCH. */
const Schedrig__V1__WriteRequest *word_batch(
	unsigned n, uint64_t (*address_of)(unsigned word), uint64_t value, bool cold);

#endif
