/* SPDX-License-Identifier: GPL-2.0-only */
/* The fence around protobuf-c: budget, enums, and the schema's own rules (no recursion, oneofs of messages).
 */
#include "proto/pb.h"
#include "schedrig/v1/agent.pb-c.h"
#include "schedrig/v1/control.pb-c.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

Test(pb, round_trip)
{
	Schedrig__V1__Op op = SCHEDRIG__V1__OP__INIT;
	Schedrig__V1__AddCgroup add = SCHEDRIG__V1__ADD_CGROUP__INIT;
	add.name = (char *)"web";
	op.kind_case = SCHEDRIG__V1__OP__KIND_ADD_CGROUP;
	op.add_cgroup = &add;
	uint8_t bytes[64];
	size_t n = schedrig__v1__op__pack(&op, bytes);
	Schedrig__V1__Op *back = pb_unpack(&schedrig__v1__op__descriptor, bytes, n);
	cr_assert_not_null(back);
	cr_assert_str_eq(back->add_cgroup->name, "web");
	pb_free(back);
}

Test(pb, a_hostile_message_cannot_ask_for_more_than_its_budget)
{
	/* Empty sub-messages: two bytes on the wire each, dozens in memory. */
	size_t n = 4u << 20;
	uint8_t *bytes = malloc(n);
	for (size_t i = 0; i < n; i += 2) {
		bytes[i] = 11 << 3 | 2; /* Scenario.steps */
		bytes[i + 1] = 0;
	}
	cr_assert_null(pb_unpack(&schedrig__v1__scenario__descriptor, bytes, n));
	free(bytes);
}

/* Within what its length allows, and beyond what the caller does. */
Test(pb, a_caller_bounds_the_memory_of_a_message_of_any_length)
{
	size_t n = 1u << 20;
	bool over = false;
	uint8_t *bytes = malloc(n);
	memset(bytes, 8, n); /* AgentHello.page_gpas is unpacked at eight bytes for each of a packed list */
	static const uint8_t head[] = {3 << 3 | 2, 0xf0, 0xff, 0x3f};
	memcpy(bytes, head, sizeof(head));
	n = sizeof(head) + 0xffff0;
	void *message = pb_unpack_within(&schedrig__v1__agent_hello__descriptor, bytes, n, 9 * n, &over);
	cr_assert(message && !over);
	pb_free(message);
	cr_assert_null(pb_unpack_within(&schedrig__v1__agent_hello__descriptor, bytes, n, 7 * n, &over));
	cr_assert(over);
	cr_assert_null(pb_unpack_within(&schedrig__v1__agent_hello__descriptor, bytes, n - 1, 9 * n, &over));
	cr_assert(!over, "it is cut short, which is no matter of memory");
	free(bytes);
}

Test(pb, unknown_enum_values_are_refused)
{
	Schedrig__V1__Error error = SCHEDRIG__V1__ERROR__INIT;
	error.code = (Schedrig__V1__ErrorCode)77;
	uint8_t bytes[16];
	size_t n = schedrig__v1__error__pack(&error, bytes);
	cr_assert_null(pb_unpack(&schedrig__v1__error__descriptor, bytes, n));
	error.code = SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_BUSY;
	n = schedrig__v1__error__pack(&error, bytes);
	void *back = pb_unpack(&schedrig__v1__error__descriptor, bytes, n);
	cr_assert_not_null(back);
	pb_free(back);
}

Test(pb, garbage_is_refused)
{
	static const uint8_t truncated[] = {0x0a, 0x7f, 'a'};
	cr_assert_null(pb_unpack(&schedrig__v1__scenario__descriptor, truncated, sizeof(truncated)));
}

/* Walks a type with the path that led to it; a type on its own path is recursion. */
static void walk(
	const ProtobufCMessageDescriptor *type, const ProtobufCMessageDescriptor **path, unsigned depth)
{
	cr_assert_lt(depth, 16);
	for (unsigned i = 0; i < depth; i++)
		cr_assert_neq(path[i], type, "%s contains itself", type->name);
	path[depth] = type;
	for (unsigned i = 0; i < type->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &type->fields[i];
		if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
			cr_assert_eq(f->type, PROTOBUF_C_TYPE_MESSAGE, "%s.%s is a scalar in a oneof",
				type->name, f->name);
		if (f->type == PROTOBUF_C_TYPE_MESSAGE)
			walk(f->descriptor, path, depth + 1);
	}
}

Test(pb, schema_rules)
{
	const ProtobufCMessageDescriptor *path[16];
	walk(&schedrig__v1__agent_request__descriptor, path, 0);
	walk(&schedrig__v1__agent_response__descriptor, path, 0);
	walk(&schedrig__v1__agent_event__descriptor, path, 0);
	walk(&schedrig__v1__request__descriptor, path, 0);
	walk(&schedrig__v1__response__descriptor, path, 0);
	walk(&schedrig__v1__event__descriptor, path, 0);
}
