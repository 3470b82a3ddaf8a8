/* SPDX-License-Identifier: GPL-2.0-only */
/* Batches of writes (see word_batch.h). */
#include "tests/fake/word_batch.h"

#include <assert.h>

void phys_target(Schedrig__V1__Target *target, Schedrig__V1__AddressTarget *phys, uint64_t address)
{
	schedrig__v1__target__init(target);
	schedrig__v1__address_target__init(phys);
	phys->address = address;
	target->form_case = SCHEDRIG__V1__TARGET__FORM_PHYS;
	target->phys = phys;
}

const Schedrig__V1__WriteRequest *word_batch(
	unsigned n, uint64_t (*address_of)(unsigned word), uint64_t value, bool cold)
{
	static Schedrig__V1__KernelWrite write[WORD_BATCH], *list[WORD_BATCH];
	static Schedrig__V1__Target target[WORD_BATCH];
	static Schedrig__V1__AddressTarget phys[WORD_BATCH];
	static Schedrig__V1__Value to;
	static Schedrig__V1__Uint64Value number;
	static Schedrig__V1__WriteRequest request;
	assert(n <= WORD_BATCH);
	schedrig__v1__uint64_value__init(&number);
	schedrig__v1__value__init(&to);
	schedrig__v1__write_request__init(&request);
	number.value = value;
	to.form_case = SCHEDRIG__V1__VALUE__FORM_U64;
	to.u64 = &number;
	for (unsigned i = 0; i < n; i++) {
		schedrig__v1__kernel_write__init(&write[i]);
		phys_target(&target[i], &phys[i], address_of(i));
		write[i].target = &target[i];
		write[i].value = &to;
		list[i] = &write[i];
	}
	request.n_writes = n;
	request.writes = list;
	request.cold = cold;
	return &request;
}
