/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/* The wire's Error and common's struct err, one to one. Any thread. */
#ifndef PROTO_WIRE_ERR_H
#define PROTO_WIRE_ERR_H

#include "common/err.h"
#include "schedrig/v1/types.pb-c.h"

/* Fills *ret (an initialised Error); its strings point into err. */
void wire_err_to(const struct err *err, Schedrig__V1__Error *ret);
/* Copies, cutting what is too long. A code this version does not know, or none, becomes ERR_INTERNAL. Returns
 * the code's negative errno. */
int wire_err_from(const Schedrig__V1__Error *wire, struct err *ret);

#endif
