/* SPDX-License-Identifier: GPL-2.0-only */
/* Types as text. No state, any thread. The types are the image's word: chains are cut off. */
#include "host/kmem/btf_text.h"

#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 16

static void append(char *buffer, size_t size, const char *text)
{
	size_t length = strlen(buffer);

	snprintf(buffer + length, size - length, "%s", text);
}

static void type_append(const struct kbtf *btf, uint32_t type, unsigned depth, char *buffer, size_t size)
{
	const char *name = kbtf_name(btf, type);
	char dimension[32];
	uint32_t length;

	if (depth == DEPTH_MAX) {
		append(buffer, size, "...");
		return;
	}
	switch (kbtf_kind(btf, type)) {
	case BTF_KIND_UNKN:
		append(buffer, size, "void");
		return;
	case BTF_KIND_PTR:
		type_append(btf, kbtf_target(btf, type, NULL), depth + 1, buffer, size);
		append(buffer, size, buffer[0] && buffer[strlen(buffer) - 1] == '*' ? "*" : " *");
		return;
	case BTF_KIND_ARRAY: {
		char dimensions[96] = "";
		/* The outermost dimension comes first, behind the innermost type. */
		for (unsigned n = depth; n < DEPTH_MAX && kbtf_kind(btf, type) == BTF_KIND_ARRAY; n++) {
			type = kbtf_target(btf, type, &length);
			snprintf(dimension, sizeof(dimension), "[%u]", length);
			append(dimensions, sizeof(dimensions), dimension);
		}
		type_append(btf, type, depth + 1, buffer, size);
		append(buffer, size, dimensions);
		return;
	}
	case BTF_KIND_STRUCT:
		append(buffer, size, "struct ");
		break;
	case BTF_KIND_FWD:
		append(buffer, size, "struct ");
		break;
	case BTF_KIND_UNION:
		append(buffer, size, "union ");
		break;
	case BTF_KIND_ENUM:
	case BTF_KIND_ENUM64:
		append(buffer, size, "enum ");
		break;
	case BTF_KIND_FUNC_PROTO:
		append(buffer, size, "function");
		return;
	case BTF_KIND_CONST:
	case BTF_KIND_VOLATILE:
	case BTF_KIND_RESTRICT:
	case BTF_KIND_TYPE_TAG:
		/* What they add is of no use to somebody who reads or writes memory. */
		type_append(btf, kbtf_inner(btf, type), depth + 1, buffer, size);
		return;
	default:
		break;
	}
	append(buffer, size, *name ? name : "(nameless)");
}

const char *kbtf_text(const struct kbtf *btf, uint32_t type, unsigned pointers, char *buffer, size_t size)
{
	buffer[0] = '\0';
	if (type || pointers)
		type_append(btf, type, 0, buffer, size);
	for (unsigned i = 0; i < pointers; i++)
		append(buffer, size, i == 0 && buffer[strlen(buffer) - 1] != '*' ? " *" : "*");
	return buffer;
}
