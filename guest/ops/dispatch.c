/* SPDX-License-Identifier: GPL-2.0-only */
/* The dispatch table (see ops.h), made from the one list. */
#include "guest/ops/ops.h"

#include <string.h>

typedef int (*op_handler)(struct op_run *run, const PB(Op) * op, struct err *err);

#define X_THUNK_GUEST(snake)                                                                                 \
	static int thunk_##snake(struct op_run *run, const PB(Op) * op, struct err * err)                    \
	{                                                                                                    \
		return op_##snake(run, op->snake, err);                                                      \
	}
#define X_THUNK_HOST(snake)
#define X(number, snake, upper, camel, side) X_THUNK_##side(snake)
OP_LIST(X)
#undef X

#define X_ENTRY_GUEST(snake) thunk_##snake
#define X_ENTRY_HOST(snake) NULL
static const struct {
	const char *name;
	PB(Op__KindCase) member;
	op_handler handler; /* NULL: done by the controller */
} kinds[OP_KINDS] = {
#define X(number, snake, upper, camel, side)                                                                 \
	[number] = {#camel, SCHEDRIG__V1__OP__KIND_##upper, X_ENTRY_##side(snake)},
	OP_LIST(X)
#undef X
};

int ops_kind(const PB(Op) * op)
{
	for (int kind = 0; kind < OP_KINDS; kind++)
		if (op->kind_case == kinds[kind].member)
			return kind;
	return -1;
}

const char *ops_kind_name(int kind)
{
	return kind >= 0 && kind < OP_KINDS ? kinds[kind].name : "";
}

int ops_apply(struct op_run *run, const PB(Op) * op, struct err *err)
{
	int kind = ops_kind(op);
	if (kind < 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "the op has no kind");
	if (!kinds[kind].handler)
		return err_set(err, ERR_INVALID_ARGUMENT, "%s is done by the controller, not in the guest",
			kinds[kind].name);
	return kinds[kind].handler(run, op, err);
}

/* Ops that this version does not do: each keeps its place in the table with the reason. */
#define UNSUPPORTED(snake, camel)                                                                            \
	int op_##snake(struct op_run *run, const PB(camel) * op, struct err * err)                           \
	{                                                                                                    \
		return err_set(err, ERR_UNSUPPORTED, #camel ": not in this version");                        \
	}
UNSUPPORTED(attach_scheduler, AttachScheduler)
UNSUPPORTED(detach_scheduler, DetachScheduler)
UNSUPPORTED(restart_scheduler, RestartScheduler)
UNSUPPORTED(replace_scheduler, ReplaceScheduler)
UNSUPPORTED(pin_bpf_map, PinBpfMap)

void *ops_message_new(struct arena *arena, const ProtobufCMessageDescriptor *type)
{
	void *message = arena_alloc(arena, type->sizeof_message);
	if (message)
		protobuf_c_message_init(type, message);
	return message;
}

bool ops_append(struct arena *arena, void *array, size_t *count, void *item)
{
	/* Grown at powers of two: the old arrays stay in the arena, at most as much again. */
	void **items;
	memcpy(&items, array, sizeof(items));
	if (!item)
		return false;
	if (!(*count & (*count - 1))) {
		void **more = arena_zalloc(arena, *count ? *count * 2 : 1, sizeof(*more));
		if (!more)
			return false;
		if (*count)
			memcpy(more, items, *count * sizeof(*more));
		memcpy(array, &more, sizeof(more));
		items = more;
	}
	items[(*count)++] = item;
	return true;
}
