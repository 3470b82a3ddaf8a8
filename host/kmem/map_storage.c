/* SPDX-License-Identifier: GPL-2.0-only */
/* Elements of storage maps: what a BPF program keeps with a task or a cgroup
 * (kernel/bpf/bpf_local_storage.c). No state, any thread. */
#include "host/kmem/map_storage.h"
#include "host/kmem/member.h"
#include "host/kmem/task.h"

#include <errno.h>
#include <inttypes.h>

/* bucket_log, include/linux/bpf_local_storage.h, is the logarithm of the number of possible CPUs, rounded up.
 */
#define BUCKET_LOG_MAX 16
/* What an element costs, as those of a hash: storage, owner and id are read, too. */
#define ELEMENT_HOPS 4u

static int read_pointer(const struct kmem *kmem, gva_t at, uint64_t *ret, struct err *err)
{
	return kmem_copy(kmem, at, ret, sizeof(*ret), err);
}

/* Whose an element is: 1 if it is the owner's that is looked for. */
static int is_owners(
	const struct kmem *kmem, gva_t elem, const struct map_storage_owner *wanted, struct err *err)
{
	uint64_t storage, owner, node, id;
	int rc = kmem_member_read(kmem, elem, "bpf_local_storage_elem", "local_storage", &storage, err);

	if (rc < 0 || storage == 0)
		return rc;
	rc = kmem_member_read(kmem, GVA(storage), "bpf_local_storage", "owner", &owner, err);
	/* None: it is on its way out. */
	if (rc < 0 || owner == 0)
		return rc;
	if (!wanted->is_cgroup)
		return owner == wanted->task.v;
	rc = kmem_member_read(kmem, GVA(owner), "cgroup", "kn", &node, err);
	if (rc == 0)
		rc = kmem_member_read(kmem, GVA(node), "kernfs_node", "id", &id, err);
	return rc < 0 ? rc : id == wanted->cgroup_id;
}

/* What the offsets in its structs are. */
struct layout {
	struct kbtf_place map_node, bucket_list, data;
};

static int layout_find(const struct kmem *kmem, struct layout *ret, struct err *err)
{
	int rc = kmem_struct_member(kmem, "bpf_local_storage_elem", "map_node", &ret->map_node, err);

	if (rc == 0)
		rc = kmem_struct_member(kmem, "bpf_local_storage_elem", "sdata.data", &ret->data, err);
	if (rc == 0)
		rc = kmem_struct_member(
			kmem, "bpf_local_storage_map_bucket", "list.first", &ret->bucket_list, err);
	return rc;
}

int map_storage_element(const struct kmem *kmem, const struct kmem_map *map,
	const struct map_storage_owner *owner, gva_t *ret_value, unsigned *ret_hops, struct err *err)
{
	uint64_t buckets, log, node;
	struct kbtf_place bucket;
	struct layout layout;
	unsigned hops_max = kmem_map_hops_max(kmem);
	int rc = layout_find(kmem, &layout, err);

	*ret_hops = 0;
	if (rc == 0)
		rc = kmem_member_read(kmem, map->at, "bpf_local_storage_map", "buckets", &buckets, err);
	if (rc == 0)
		rc = kmem_member_read(kmem, map->at, "bpf_local_storage_map", "bucket_log", &log, err);
	if (rc == 0)
		rc = kmem_struct_member(kmem, "bpf_local_storage_map_bucket", "", &bucket, err);
	if (rc < 0)
		return rc;
	if (log > BUCKET_LOG_MAX)
		return err_set(err, ERR_KERNEL_LAYOUT, "the BPF map has 2^%" PRIu64 " buckets", log);
	for (uint64_t i = 0; i < UINT64_C(1) << log; i++, ++*ret_hops) {
		rc = read_pointer(kmem,
			GVA(buckets + i * bucket.size_bytes + layout.bucket_list.offset_bytes), &node, err);
		/* struct hlist_node begins with the pointer to the next. */
		for (; rc == 0 && node; rc = read_pointer(kmem, GVA(node), &node, err)) {
			gva_t elem = GVA(node - layout.map_node.offset_bytes);
			if ((*ret_hops += ELEMENT_HOPS) > hops_max)
				return err_set(err, ERR_LIMIT_EXCEEDED,
					"the key is not among the first %u elements of the BPF map",
					hops_max / ELEMENT_HOPS);
			rc = is_owners(kmem, elem, owner, err);
			if (rc < 0)
				return rc;
			if (rc == 0)
				continue;
			*ret_value = GVA(elem.v + layout.data.offset_bytes);
			return 0;
		}
		if (rc < 0)
			return rc;
	}
	rc = owner->is_cgroup ? err_set(err, ERR_NOT_FOUND,
					"the BPF map has nothing for a cgroup with the id %" PRIu64
					" (the inode number of its directory)",
					owner->cgroup_id)
			      : err_set(err, ERR_NOT_FOUND, "the BPF map has nothing for that task");
	(void)err_reason(err, "no-such-key");
	return rc;
}
