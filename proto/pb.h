/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/* The fence around protobuf-c: unpacking through a budget (a small message can otherwise ask for gigabytes),
 * enum values checked. Any thread. */
#ifndef PROTO_PB_H
#define PROTO_PB_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Memory that one unpacked message may take: this many times its bytes plus a constant. */
#define PB_BUDGET_FACTOR 32
#define PB_BUDGET_BASE_BYTES 65536

/* For a message of the guest's, however long: as many workers' reports as there may be take less. */
#define PB_GUEST_BYTES (256u * 1024 * 1024)

/* Unpacks a message, or returns NULL: not a message of this type, over budget, or an enum value this version
 * does not know. Free with pb_free(). */
void *pb_unpack(const ProtobufCMessageDescriptor *type, const void *bytes, size_t length);
/* The same with a budget of at most max_bytes. *ret_over: NULL was returned because of the budget. */
void *pb_unpack_within(const ProtobufCMessageDescriptor *type, const void *bytes, size_t length,
	size_t max_bytes, bool *ret_over);
/* Takes NULL. */
void pb_free(void *message);
/* For __attribute__((cleanup)): `message` is the address of a pointer to a message. */
static inline void pb_free_p(void *message)
{
	pb_free(*(void **)message);
}

#endif
