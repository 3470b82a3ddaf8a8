/* SPDX-License-Identifier: GPL-2.0-only */
/* Members of the kernel's structs, by the names that its BTF has for them. Any thread; the guest may run. */
#ifndef HOST_KMEM_MEMBER_H
#define HOST_KMEM_MEMBER_H

#include "host/kmem/target.h"

/* A member of a struct by path ("scx.dsq_vtime", "" is the struct itself), remembering. As kbtf_path(), and
 * ERR_KERNEL_LAYOUT: no such struct. */
int kmem_struct_member(const struct kmem *kmem, const char *of, const char *path,
	struct kbtf_place *ret_place, struct err *err) must_check;
/* The member of a struct at `at`: an integer or a pointer, up to 8 bytes, no bit field. ERR_UNMAPPED,
 * ERR_KERNEL_LAYOUT; ERR_NOT_FOUND: no such member in this kernel. */
int kmem_member_read(const struct kmem *kmem, gva_t at, const char *of, const char *path, uint64_t *ret_value,
	struct err *err) must_check;

#endif
