/* SPDX-License-Identifier: GPL-2.0-only */
/* The path language of specification 5.5: one expression, one place in kernel memory.
 *
 *   path    := [ '(' type ')' ] start { '.' name | '->' name | '[' number ']' }
 *   start   := symbol [ at ] | address | 'task(' pid [ ',' start time in ns ] ')'
 *              | 'map(' ( '"' name '"' | id ) ')' [ '[' key ']' ] [ at ]
 *   key     := number { ',' number } | '"' text '"' | 'hex(' bytes ')'
 *   at      := '@' ( cpu | '*' )
 *   type    := [ 'struct' | 'union' | 'enum' ] name { '*' }
 *
 * An address needs a type, a symbol that is neither per-CPU nor well known needs one before members of it can
 * be named. Values of BPF maps have the types of their own BTF; behind their pointers, what is
 * a view of a kernel struct is laid out as the kernel's. A map of one element needs no key. Keys of hashes
 * are numbers of up to 8 bytes, a number for each member of a struct, text with zeros behind it, or all of
 * their bytes in hexadecimal; arrays have indices, task storage PIDs, cgroup storage ids of cgroups. Errors
 * point at the column. */
#ifndef HOST_KMEM_PATH_H
#define HOST_KMEM_PATH_H

#include "host/kmem/target.h"

#define KMEM_PATH_MAX 512 /* bytes of text */

/* Whether the path means every online CPU ("@*"): only reads and snapshots may. */
bool kmem_path_is_star(const char *text);
/* Whether the text has the form of a path, as far as that can be said without a kernel. ERR_INVALID_ARGUMENT
 * reason syntax, with the column. */
int kmem_path_check(const char *text, bool star_allowed, struct err *err) must_check;
/* Resolves, reading the pointers on the way. star_cpu: the CPU that '*' stands for now, or -1 to refuse it.
 * ERR_INVALID_ARGUMENT reason syntax; NULL or unmapped pointers are ERR_UNMAPPED; others as those of
 * symbols_find(), kbtf_member() and kmem_per_cpu(). Any thread; the guest may run. */
int kmem_path_resolve(const struct kmem *kmem, const char *text, int star_cpu,
	struct kmem_resolved *ret_resolved, struct err *err) must_check;
/* The same, with the way there; ret_route may be NULL. */
int kmem_path_route(const struct kmem *kmem, const char *text, int star_cpu,
	struct kmem_resolved *ret_resolved, struct kmem_route *ret_route, struct err *err) must_check;

#endif
