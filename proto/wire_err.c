/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/* Conversion of errors (see wire_err.h). No state. */
#include "proto/wire_err.h"

#include <stdio.h>

/* struct err's numbers are the wire's: that is its contract, checked here where both are seen. */
#define X(name, number, text, errnum)                                                                        \
	_Static_assert((int)ERR_##name == (int)SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_##name, "same numbers");
ERR_CODE_LIST(X)
#undef X

void wire_err_to(const struct err *err, Schedrig__V1__Error *ret)
{
	ret->code = (Schedrig__V1__ErrorCode)err->code;
	ret->message = (char *)err->message;
	ret->place = (char *)err->place;
	ret->reason = (char *)err->reason;
	ret->os_errno = err->os_errno;
}

/* protobuf-c leaves strings of hand-made messages NULL. */
static const char *text_of(const char *text)
{
	return text ? text : "";
}

int wire_err_from(const Schedrig__V1__Error *wire, struct err *ret)
{
	struct err err = {.code = (enum err_code)wire->code, .os_errno = wire->os_errno};
	if (err.code < ERR_INVALID_ARGUMENT || err.code > ERR_INTERNAL)
		err.code = ERR_INTERNAL;
	snprintf(err.message, sizeof(err.message), "%s", text_of(wire->message));
	snprintf(err.place, sizeof(err.place), "%s", text_of(wire->place));
	snprintf(err.reason, sizeof(err.reason), "%s", text_of(wire->reason));
	if (ret)
		*ret = err;
	return err_errno(err.code);
}
