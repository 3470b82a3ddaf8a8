/* SPDX-License-Identifier: GPL-2.0-only */
/* Kinds of ops (see ops.h), from the one list. */
#include "host/engine/ops.h"

#include <string.h>

static const struct {
	const char *camel, *snake;
	enum op_side side;
} kinds[] = {
#define X(number, snake_, upper, camel_, side_) [number] = {#camel_, #snake_, OP_SIDE_##side_},
	OP_LIST(X)
#undef X
};

/* The wire's member numbers are the kinds' numbers plus one. */
#define X(number, snake_, upper, camel_, side_)                                                              \
	_Static_assert(SCHEDRIG__V1__OP__KIND_##upper == (number) + 1, "op_list.h and scenario.proto "       \
								       "differ");
OP_LIST(X)
#undef X

int op_kind(const Schedrig__V1__Op *op)
{
	int kind = (int)op->kind_case - 1;
	return kind >= 0 && kind < OP_KINDS ? kind : -1;
}

const char *op_kind_name(int kind)
{
	return kind < 0 ? "unknown" : kinds[kind].camel;
}

enum op_side op_kind_side(int kind)
{
	return kind < 0 ? OP_SIDE_HOST : kinds[kind].side;
}

bool op_is_guests(const Schedrig__V1__Op *op)
{
	return op_kind_side(op_kind(op)) == OP_SIDE_GUEST;
}

bool op_is_cold(const Schedrig__V1__Op *op)
{
	switch (op_kind(op)) {
	case OP_READ_KERNEL_COLD:
	case OP_WRITE_KERNEL_COLD:
	case OP_CAPTURE_SNAPSHOT:
		return true;
	default:
		return false;
	}
}

const char *op_kind_field(int kind)
{
	return kind < 0 ? "unknown" : kinds[kind].snake;
}

const char *staged_name(const char *program)
{
	const char *slash = strrchr(program, '/');
	return slash ? slash + 1 : program;
}
