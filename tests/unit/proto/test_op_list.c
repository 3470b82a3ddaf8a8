/* SPDX-License-Identifier: GPL-2.0-only */
/* The list of ops and the schema agree: every member of Op's oneof is in the list, in order, and the other
 * way round. */
#include "proto/op_list.h"
#include "schedrig/v1/scenario.pb-c.h"

#include <criterion/criterion.h>
#include <string.h>

struct row {
	unsigned number;
	const char *snake;
	int kind_case;
};

static const struct row rows[] = {
#define X(number, snake, upper, camel, side) {number, #snake, SCHEDRIG__V1__OP__KIND_##upper},
	OP_LIST(X)
#undef X
};

Test(op_list, numbers_are_unique_and_contiguous)
{
	cr_assert_eq(OP_KINDS, 28);
	for (unsigned i = 0; i < OP_KINDS; i++)
		cr_assert_eq(rows[i].number, i);
}

Test(op_list, schema_has_the_same_members)
{
	const ProtobufCMessageDescriptor *op = &schedrig__v1__op__descriptor;
	unsigned members = 0;
	for (unsigned i = 0; i < op->n_fields; i++) {
		if (!(op->fields[i].flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
			continue;
		unsigned number = op->fields[i].id - 1;
		cr_assert_lt(number, OP_KINDS);
		cr_assert_str_eq(op->fields[i].name, rows[number].snake);
		cr_assert_eq((int)op->fields[i].id, rows[number].kind_case);
		cr_assert_eq(op->fields[i].type, PROTOBUF_C_TYPE_MESSAGE);
		members++;
	}
	cr_assert_eq(members, OP_KINDS);
}
