/* SPDX-License-Identifier: GPL-2.0-only */
/* uthash as the engine uses it. */
#ifndef HOST_ENGINE_HASH_H
#define HOST_ENGINE_HASH_H

/* An entry that finds no memory is left out, and noticed by its empty `hh.tbl`; it must not end the process.
 */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#endif
