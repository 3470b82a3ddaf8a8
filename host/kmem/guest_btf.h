/* SPDX-License-Identifier: GPL-2.0-only */
/* Types that only the running kernel has: those of BPF programs' maps, which it keeps as struct btf
 * (kernel/bpf/btf.c). The bytes are the guest's: copied once, bounded, checked, kept by content. Any thread;
 * the guest may run. */
#ifndef HOST_KMEM_GUEST_BTF_H
#define HOST_KMEM_GUEST_BTF_H

#include "host/kmem/kmem.h"

/* BTF_MAX_SIZE, include/linux/btf.h: no BTF that a program brings is larger. */
#define GUEST_BTF_BYTES_MAX (UINT64_C(16) << 20)
/* What is kept of one guest: beyond that its types are ERR_LIMIT_EXCEEDED. Schedulers that are rebuilt and
 * replaced a thousand times stay far below. */
#define GUEST_BTF_TOTAL_MAX (UINT64_C(256) << 20)
#define GUEST_BTF_COUNT_MAX 4096u

struct guest_btfs;

struct guest_btfs *guest_btfs_new(void);
void guest_btfs_free(struct guest_btfs *btfs);
SCOPE_GUARD(struct guest_btfs *, guest_btfs_free, guest_btfs_free)

/* The types behind the struct btf at `at`; valid until kmem_free(). ERR_UNMAPPED, ERR_KERNEL_LAYOUT (damaged,
 * or in a form this version does not read), ERR_LIMIT_EXCEEDED. */
int kmem_guest_btf(
	const struct kmem *kmem, gva_t at, const struct kbtf **ret_btf, struct err *err) must_check;
/* Bytes that came from a guest. */
struct guest_btf_bytes {
	const uint8_t *bytes;
	uint64_t length;
};
/* Checks them; they are borrowed and outlive *ret_btf. ERR_KERNEL_LAYOUT. */
int guest_btf_check(const struct guest_btf_bytes *in, const struct kbtf *base, struct kbtf **ret_btf,
	struct err *err) must_check;

#endif
