/* SPDX-License-Identifier: GPL-2.0-only */
/* The table of types read from guest memory. What an entry points to never changes and never goes. */
#include "host/kmem/guest_btf.h"
#include "host/kmem/member.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

struct entry {
	/* Where these bytes were last seen; tells them from others without reading them, as the kernel does
	 * not soon reuse ids (idr_alloc_cyclic()). */
	uint64_t id, data;
	uint8_t *bytes;
	uint64_t length;
	const struct kbtf *base;
	struct kbtf *btf;
};

struct guest_btfs {
	pthread_mutex_t lock;
	struct entry *entry; /* under lock, as all below */
	unsigned n;
	uint64_t total_bytes;
};

struct guest_btfs *guest_btfs_new(void)
{
	struct guest_btfs *btfs = calloc(1, sizeof(*btfs));

	if (btfs)
		pthread_mutex_init(&btfs->lock, NULL);
	return btfs;
}

void guest_btfs_free(struct guest_btfs *btfs)
{
	if (!btfs)
		return;
	for (unsigned i = 0; i < btfs->n; i++) {
		kbtf_free(btfs->entry[i].btf);
		free(btfs->entry[i].bytes);
	}
	free(btfs->entry);
	pthread_mutex_destroy(&btfs->lock);
	free(btfs);
}

int guest_btf_check(
	const struct guest_btf_bytes *in, const struct kbtf *base, struct kbtf **ret_btf, struct err *err)
{
	_cleanup_(kbtf_free_p) struct kbtf *btf = kbtf_new_split(in->bytes, in->length, base, err);

	if (!btf)
		return err_wrap(err, "types of a BPF map");
	/* Names end up in messages, terminals and JSON. */
	for (uint32_t id = base ? kbtf_count(base) : 1; id < kbtf_count(btf); id++)
		for (const char *c = kbtf_name(btf, id); *c; c++)
			if (*c < ' ' || *c > '~')
				return err_set(err, ERR_KERNEL_LAYOUT,
					"types of a BPF map: type %u has a name of unprintable bytes", id);
	*ret_btf = TAKE_PTR(btf);
	return 0;
}

/* What the kernel says of a struct btf. */
struct header {
	uint64_t data, size, id, base;
};

static int header_read(const struct kmem *kmem, gva_t at, struct header *ret, struct err *err)
{
	static const struct {
		const char *member;
		size_t offset;
	} members[] = {
		{"data", offsetof(struct header, data)},
		{"data_size", offsetof(struct header, size)},
		{"id", offsetof(struct header, id)},
		{"base_btf", offsetof(struct header, base)},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(members); i++) {
		uint64_t value;
		int rc = kmem_member_read(kmem, at, "btf", members[i].member, &value, err);
		if (rc < 0)
			return rc;
		memcpy((char *)ret + members[i].offset, &value, sizeof(value));
	}
	if (ret->size == 0 || ret->size > GUEST_BTF_BYTES_MAX)
		return err_set(err, ERR_KERNEL_LAYOUT,
			"types of a BPF map: the kernel says that they have %llu bytes",
			(unsigned long long)ret->size);
	return 0;
}

/* The kernel's own types are the only base there is: module types extend them, and nothing extends those. */
static int base_find(
	const struct kmem *kmem, const struct header *header, const struct kbtf **ret, struct err *err)
{
	uint64_t own = 0, next = 0;
	int rc;

	*ret = NULL;
	if (header->base == 0)
		return 0;
	rc = kmem_member_read(kmem, GVA(header->base), "btf", "kernel_btf", &own, err);
	if (rc == 0)
		rc = kmem_member_read(kmem, GVA(header->base), "btf", "base_btf", &next, err);
	if (rc < 0)
		return rc;
	if (!own || next != 0)
		return err_set(err, ERR_KERNEL_LAYOUT,
			"types of a BPF map extend types that are not the kernel's own");
	*ret = kmem_btf(kmem, err);
	return *ret ? 0 : -ENOTSUP;
}

static const struct entry *find(const struct guest_btfs *btfs, const struct header *header)
{
	for (unsigned i = btfs->n; i-- > 0;)
		if (btfs->entry[i].id == header->id && btfs->entry[i].data == header->data &&
			btfs->entry[i].length == header->size)
			return &btfs->entry[i];
	return NULL;
}

/* A program that is loaded again brings the same types. */
static struct entry *find_same(struct guest_btfs *btfs, const struct entry *entry)
{
	for (unsigned i = 0; i < btfs->n; i++)
		if (btfs->entry[i].base == entry->base && btfs->entry[i].length == entry->length &&
			memcmp(btfs->entry[i].bytes, entry->bytes, entry->length) == 0)
			return &btfs->entry[i];
	return NULL;
}

static int add(struct guest_btfs *btfs, const struct entry *entry, struct err *err)
{
	struct entry *grown;

	if (btfs->n == GUEST_BTF_COUNT_MAX || entry->length > GUEST_BTF_TOTAL_MAX - btfs->total_bytes)
		return err_set(err, ERR_LIMIT_EXCEEDED,
			"this guest has had more BPF types than are kept (%u, %llu MiB): values can still be "
			"read by width",
			GUEST_BTF_COUNT_MAX, (unsigned long long)(GUEST_BTF_TOTAL_MAX >> 20));
	grown = reallocarray(btfs->entry, btfs->n + 1, sizeof(*grown));
	if (!grown)
		return err_set(err, ERR_HOST, "out of memory for types of BPF maps");
	btfs->entry = grown;
	grown[btfs->n++] = *entry;
	btfs->total_bytes += entry->length;
	return 0;
}

int kmem_guest_btf(const struct kmem *kmem, gva_t at, const struct kbtf **ret_btf, struct err *err)
{
	struct guest_btfs *btfs = kmem_guest_btfs(kmem);
	struct header header;
	const struct kbtf *base;
	int rc = header_read(kmem, at, &header, err);

	if (rc < 0)
		return rc;
	SCOPE_LOCK(&btfs->lock);
	const struct entry *known = find(btfs, &header);
	if (known) {
		*ret_btf = known->btf;
		return 0;
	}
	rc = base_find(kmem, &header, &base, err);
	if (rc < 0)
		return rc;
	_cleanup_free_ uint8_t *bytes = malloc(header.size);
	if (!bytes)
		return err_set(err, ERR_HOST, "out of memory for types of BPF maps");
	rc = kmem_copy(kmem, GVA(header.data), bytes, header.size, err);
	if (rc < 0)
		return rc;
	struct entry entry = {
		.id = header.id, .data = header.data, .bytes = bytes, .length = header.size, .base = base};
	struct entry *same = find_same(btfs, &entry);
	if (same) {
		same->id = entry.id;
		same->data = entry.data;
		*ret_btf = same->btf;
		return 0;
	}
	struct guest_btf_bytes in = {bytes, header.size};
	rc = guest_btf_check(&in, base, &entry.btf, err);
	if (rc < 0)
		return rc;
	rc = add(btfs, &entry, err);
	if (rc < 0) {
		kbtf_free(entry.btf);
		return rc;
	}
	bytes = NULL;
	*ret_btf = entry.btf;
	return 0;
}
