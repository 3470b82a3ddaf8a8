/* SPDX-License-Identifier: GPL-2.0-only */
/* Adds a file to the guest's archive together with all that it needs to be run there: loader, libraries of
 * libraries, a script's interpreter. Not shared between threads; blocks on files. */
#ifndef HOST_INITRAMFS_PROGRAM_H
#define HOST_INITRAMFS_PROGRAM_H

#include "common/err.h"
#include "host/initramfs/inputs.h"
#include "host/initramfs/pack.h"

/* Libraries of one program. */
#define PROGRAM_LIBRARIES_MAX 1024

/* Where libraries are looked for. NULL fields take the host's. */
struct program_search {
	const char *ld_so_cache;         /* "/etc/ld.so.cache" */
	const char *const *default_dirs; /* ends with NULL; the loader's built-in ones */
};

/* `guest` is the program's path in the guest, `what` its name in errors ("staged file 'x'"). Programs and
 * scripts get mode 0755, other files 0644. Everything used or looked for in vain is noted. ERR_NOT_FOUND
 * names the library, who needs it, and where it was looked for. */
int program_add(struct pack *pack, struct inputs *inputs, const struct program_search *search,
	const char *guest, const char *host, const char *what, struct err *err) must_check;

#endif
