/* SPDX-License-Identifier: GPL-2.0-only */
/* BTF types as people write them. Any thread. */
#ifndef HOST_KMEM_BTF_TEXT_H
#define HOST_KMEM_BTF_TEXT_H

#include "host/kmem/btf.h"

#define KBTF_TEXT_MAX 160

/* "struct task_struct *", "u64", "char[16]", with `pointers` more stars; "" for void without stars. Returns
 * buffer. */
const char *kbtf_text(const struct kbtf *btf, uint32_t type, unsigned pointers, char *buffer, size_t size);

#endif
