/* SPDX-License-Identifier: GPL-2.0-only */
/* Layers of assertions (see assertions.h), by descriptor: a threshold that is added to the schema needs
 * nothing here. */
#include "host/engine/assertions.h"

static void *const *member(const Schedrig__V1__Assertions *a, const ProtobufCFieldDescriptor *field)
{
	return (void *const *)((const char *)a + field->offset);
}

static size_t count(const Schedrig__V1__Assertions *a, const ProtobufCFieldDescriptor *field)
{
	return *(const size_t *)((const char *)a + field->quantifier_offset);
}

static bool is_list(const ProtobufCFieldDescriptor *field)
{
	return field->label == PROTOBUF_C_LABEL_REPEATED;
}

void assertions_merge(Schedrig__V1__Assertions *into, const Schedrig__V1__Assertions *layer)
{
	const ProtobufCMessageDescriptor *type = &schedrig__v1__assertions__descriptor;
	for (unsigned i = 0; layer && i < type->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &type->fields[i];
		if (!is_list(field) && *member(layer, field))
			*(void **)((char *)into + field->offset) = *member(layer, field);
	}
}

bool assertions_govern(const Schedrig__V1__Assertions *layer)
{
	const ProtobufCMessageDescriptor *type = &schedrig__v1__assertions__descriptor;
	for (unsigned i = 0; layer && i < type->n_fields; i++)
		if (!is_list(&type->fields[i]) && *member(layer, &type->fields[i]))
			return true;
	return false;
}

bool assertions_any(const Schedrig__V1__Assertions *layer)
{
	const ProtobufCMessageDescriptor *type = &schedrig__v1__assertions__descriptor;
	if (!layer)
		return false;
	Schedrig__V1__Assertions rest = *layer;
	/* Says when timing counts, not what it must be. */
	rest.max_steal_pct = NULL;
	if (!assertions_not_stuck(&rest))
		rest.not_stuck = NULL;
	if (!assertions_isolation(&rest))
		rest.isolation = NULL;
	bool any = assertions_govern(&rest);
	for (unsigned i = 0; i < type->n_fields; i++)
		any |= is_list(&type->fields[i]) && count(layer, &type->fields[i]) > 0;
	return any;
}
