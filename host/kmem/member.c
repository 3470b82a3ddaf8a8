/* SPDX-License-Identifier: GPL-2.0-only */
/* Members of kernel structs. No state but the image's memo, any thread. */
#include "host/kmem/member.h"

#include <errno.h>

int kmem_struct_member(const struct kmem *kmem, const char *of, const char *path,
	struct kbtf_place *ret_place, struct err *err)
{
	const struct kbtf *btf = kmem_btf(kmem, err);
	char key[MEMO_KEY_MAX];
	int length = snprintf(key, sizeof(key), "%s:%s", of, path), rc;
	bool memo = length > 0 && (size_t)length < sizeof(key);
	uint32_t type;

	if (memo && memo_get(kmem_memo(kmem), KMEM_MEMO_FIELD, key, (size_t)length, ret_place,
			    sizeof(*ret_place)))
		return 0;
	if (!btf)
		return -ENOTSUP;
	type = kbtf_find(btf, BTF_KIND_STRUCT, of);
	if (!type)
		return err_set(err, ERR_KERNEL_LAYOUT, "the kernel's BTF has no struct %s", of);
	rc = kbtf_path(btf, type, path, ret_place, err);
	if (rc == 0 && memo)
		memo_put(
			kmem_memo(kmem), KMEM_MEMO_FIELD, key, (size_t)length, ret_place, sizeof(*ret_place));
	return rc;
}

int kmem_member_read(const struct kmem *kmem, gva_t at, const char *of, const char *path, uint64_t *ret_value,
	struct err *err)
{
	struct kbtf_place place;
	uint64_t value = 0;
	int rc = kmem_struct_member(kmem, of, path, &place, err);

	if (rc < 0)
		return rc;
	if (place.size_bytes == 0 || place.size_bytes > sizeof(value) || place.bit_size > 0)
		return err_set(err, ERR_KERNEL_LAYOUT, "%s.%s has %llu bytes", of, path,
			(unsigned long long)place.size_bytes);
	rc = kmem_copy(kmem, GVA(at.v + place.offset_bytes), &value, place.size_bytes, err);
	if (rc == 0)
		*ret_value = value;
	return rc;
}
