/* SPDX-License-Identifier: GPL-2.0-only */
/* Errors between the wire and struct err, one to one. Pure. */
#include "host/link/link.h"

#include <stdio.h>

#define X(name, number, text, errnum)                                                                        \
	_Static_assert((int)SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_##name == (int)ERR_##name, "codes differ");
ERR_CODE_LIST(X)
#undef X

void link_error_from_wire(const Schedrig__V1__Error *wire, struct err *ret)
{
	enum err_code code = (enum err_code)wire->code;
	/* An error without a code still is one. */
	if (code == ERR_NONE)
		code = ERR_INTERNAL;
	err_set(ret, code, "%s", *wire->message ? wire->message : "failed without saying why");
	ret->os_errno = wire->os_errno;
	snprintf(ret->place, sizeof(ret->place), "%s", wire->place);
	snprintf(ret->reason, sizeof(ret->reason), "%s", wire->reason);
}

void link_error_to_wire(const struct err *err, Schedrig__V1__Error *ret)
{
	schedrig__v1__error__init(ret);
	ret->code = (Schedrig__V1__ErrorCode)err->code;
	ret->message = (char *)err->message;
	ret->place = (char *)err->place;
	ret->reason = (char *)err->reason;
	ret->os_errno = err->os_errno;
}
