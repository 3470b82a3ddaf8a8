/* SPDX-License-Identifier: GPL-2.0-only OR LGPL-2.1-only OR BSD-2-Clause */
/* Typed failures (see err.h). No state. */
#include "common/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *err_code_name(enum err_code code)
{
	switch (code) {
	case ERR_NONE:
		return "None";
#define X(name, number, text, errnum)                                                                        \
	case ERR_##name:                                                                                     \
		return text;
		ERR_CODE_LIST(X)
#undef X
	}
	return "Unknown";
}

enum err_code err_code_from_name(const char *name)
{
#define X(id, number, text, errnum)                                                                          \
	if (strcmp(name, text) == 0)                                                                         \
		return ERR_##id;
	ERR_CODE_LIST(X)
#undef X
	return ERR_NONE;
}

int err_errno(enum err_code code)
{
	switch (code) {
	case ERR_NONE:
		break;
#define X(name, number, text, errnum)                                                                        \
	case ERR_##name:                                                                                     \
		return -errnum;
		ERR_CODE_LIST(X)
#undef X
	}
	return -EPROTO;
}

static void err_vset(struct err *err, enum err_code code, int errnum, const char *fmt, va_list args)
{
	if (!err)
		return;
	*err = (struct err){.code = code, .os_errno = errnum};
	vsnprintf(err->message, sizeof(err->message), fmt, args);
	if (errnum > 0) {
		size_t used = strlen(err->message);
		char text[128];
		snprintf(err->message + used, sizeof(err->message) - used, ": %s",
			strerror_r(errnum, text, sizeof(text)));
	}
}

int err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	err_vset(err, code, 0, fmt, args);
	va_end(args);
	return err_errno(code);
}

int err_set_os(struct err *err, enum err_code code, int errnum, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	err_vset(err, code, errnum, fmt, args);
	va_end(args);
	return err_errno(code);
}

/* Writes prefix + glue + old into a buffer of `size`, where old is what the buffer holds now. */
static void prepend(char *buffer, size_t size, const char *prefix, const char *glue)
{
	size_t head = strlen(prefix) + strlen(glue);
	if (head >= size) {
		snprintf(buffer, size, "%s", prefix);
		return;
	}
	size_t keep = strnlen(buffer, size - 1);
	if (keep > size - 1 - head)
		keep = size - 1 - head;
	memmove(buffer + head, buffer, keep);
	buffer[head + keep] = '\0';
	memcpy(buffer, prefix, strlen(prefix));
	memcpy(buffer + strlen(prefix), glue, strlen(glue));
}

int err_wrap(struct err *err, const char *fmt, ...)
{
	if (!err)
		return -EPROTO;
	char prefix[sizeof(err->message)];
	va_list args;
	va_start(args, fmt);
	vsnprintf(prefix, sizeof(prefix), fmt, args);
	va_end(args);
	prepend(err->message, sizeof(err->message), prefix, ": ");
	return err_errno(err->code);
}

int err_reason(struct err *err, const char *reason)
{
	if (!err)
		return -EPROTO;
	snprintf(err->reason, sizeof(err->reason), "%s", reason);
	return err_errno(err->code);
}

int err_at(struct err *err, const char *fmt, ...)
{
	if (!err)
		return -EPROTO;
	char prefix[sizeof(err->place)];
	va_list args;
	va_start(args, fmt);
	vsnprintf(prefix, sizeof(prefix), fmt, args);
	va_end(args);
	const char *glue = err->place[0] && err->place[0] != '[' ? "." : "";
	prepend(err->place, sizeof(err->place), prefix, glue);
	return err_errno(err->code);
}
