/* SPDX-License-Identifier: GPL-2.0-only */
/* Walks of struct idr. No state, any thread. */
#include "host/kmem/idr.h"
#include "host/kmem/member.h"

#include <errno.h>
#include <string.h>

/* include/linux/xarray.h: an entry that is a node has the low bits 10 and is beyond the special values; what
 * callers stored has both clear. */
#define NODE_TAG_MASK 3u
#define NODE_TAG 2u
#define NODE_MIN 4096u
/* 64 with CONFIG_BASE_SMALL off, 16 with it. */
#define SLOTS_MAX 64u
#define NO_SHIFT 64u

struct tree {
	const struct kmem *kmem;
	uint64_t head, base;
	struct kbtf_place slots;
	uint32_t n_slots; /* a power of two */
	unsigned *budget;
};

struct node {
	uint64_t shift;
	uint64_t slot[SLOTS_MAX];
};

static int tree_open(struct tree *tree, const struct kmem *kmem, gva_t idr, unsigned *budget, struct err *err)
{
	int rc = kmem_member_read(kmem, idr, "idr", "idr_rt.xa_head", &tree->head, err);

	tree->kmem = kmem;
	tree->budget = budget;
	if (rc == 0)
		rc = kmem_member_read(kmem, idr, "idr", "idr_base", &tree->base, err);
	if (rc == 0)
		rc = kmem_struct_member(kmem, "xa_node", "slots", &tree->slots, err);
	if (rc < 0)
		return rc;
	(void)kbtf_target(kmem_btf(kmem, NULL), tree->slots.type, &tree->n_slots);
	if (tree->n_slots == 0 || tree->n_slots > SLOTS_MAX || (tree->n_slots & (tree->n_slots - 1)))
		return err_set(err, ERR_KERNEL_LAYOUT, "a node of a radix tree has %u slots", tree->n_slots);
	return 0;
}

static bool is_node(uint64_t entry)
{
	return (entry & NODE_TAG_MASK) == NODE_TAG && entry > NODE_MIN;
}

static bool is_stored(uint64_t entry)
{
	return entry != 0 && (entry & NODE_TAG_MASK) == 0;
}

/* last_shift: of the node above. */
static int node_read(
	const struct tree *tree, uint64_t entry, uint64_t last_shift, struct node *ret, struct err *err)
{
	gva_t at = GVA(entry - NODE_TAG);
	int rc;

	if (*tree->budget == 0)
		return err_set(err, ERR_LIMIT_EXCEEDED,
			"a table of the kernel has more than %u nodes: it is larger than any that makes "
			"sense",
			KMEM_IDR_NODES_MAX);
	--*tree->budget;
	rc = kmem_member_read(tree->kmem, at, "xa_node", "shift", &ret->shift, err);
	if (rc < 0)
		return rc;
	/* A tree that does not get smaller is none; a loop ends here. */
	if (ret->shift >= last_shift)
		return err_set(err, ERR_UNMAPPED, "a table of the kernel is damaged at 0x%llx",
			(unsigned long long)at.v);
	return kmem_copy(tree->kmem, GVA(at.v + tree->slots.offset_bytes), ret->slot,
		(uint64_t)tree->n_slots * sizeof(ret->slot[0]), err);
}

enum descent { DESCENT_AGAIN, DESCENT_FOUND, DESCENT_END };

/* One way down, towards *index or the next higher one on this way. AGAIN: *index has moved to another part of
 * the tree, look from the top. FOUND: *ret_entry is under *index. END: nothing more in the tree. */
static int descend(const struct tree *tree, uint64_t *index, uint64_t *ret_entry, struct err *err)
{
	uint64_t entry = tree->head, last_shift = NO_SHIFT;
	struct node node;

	if (!is_node(entry)) {
		*ret_entry = entry;
		return is_stored(entry) && *index == 0 ? DESCENT_FOUND : DESCENT_END;
	}
	while (is_node(entry)) {
		bool top = last_shift == NO_SHIFT;
		int rc = node_read(tree, entry, last_shift, &node, err);
		if (rc < 0)
			return rc;
		if (top && *index >> node.shift >= tree->n_slots)
			return DESCENT_END;
		uint64_t slot = *index >> node.shift & (tree->n_slots - 1), before = *index;
		while (slot < tree->n_slots && !is_node(node.slot[slot]) && !is_stored(node.slot[slot])) {
			slot++;
			*index = ((*index >> node.shift) + 1) << node.shift;
		}
		if (*index < before)
			return DESCENT_END;
		if (slot == tree->n_slots)
			return top ? DESCENT_END : DESCENT_AGAIN;
		entry = node.slot[slot];
		last_shift = node.shift;
	}
	if (last_shift != 0 || !is_stored(entry))
		return err_set(err, ERR_UNMAPPED,
			"a table of the kernel is damaged: it has one entry for many numbers");
	*ret_entry = entry;
	return DESCENT_FOUND;
}

int kmem_idr_next(
	const struct kmem *kmem, gva_t idr, uint64_t *id, unsigned *budget, gva_t *ret_entry, struct err *err)
{
	struct tree tree;
	uint64_t entry = 0, index;
	int rc = tree_open(&tree, kmem, idr, budget, err);

	if (rc < 0)
		return rc;
	index = *id > tree.base ? *id - tree.base : 0;
	do
		rc = descend(&tree, &index, &entry, err);
	while (rc == DESCENT_AGAIN);
	if (rc != DESCENT_FOUND)
		return rc == DESCENT_END ? 0 : rc;
	*id = index + tree.base;
	*ret_entry = GVA(entry);
	return 1;
}

int kmem_idr_find(const struct kmem *kmem, gva_t idr, uint64_t id, gva_t *ret_entry, struct err *err)
{
	unsigned budget = KMEM_IDR_NODES_MAX;
	struct tree tree;
	struct node node;
	uint64_t index, last_shift = NO_SHIFT, entry;
	int rc = tree_open(&tree, kmem, idr, &budget, err);

	if (rc < 0)
		return rc;
	if (id < tree.base)
		return 0;
	index = id - tree.base;
	for (entry = tree.head; is_node(entry); last_shift = node.shift) {
		rc = node_read(&tree, entry, last_shift, &node, err);
		if (rc < 0)
			return rc;
		if (last_shift == NO_SHIFT && index >> node.shift >= tree.n_slots)
			return 0;
		entry = node.slot[index >> node.shift & (tree.n_slots - 1)];
	}
	/* An entry is where all of the number was used up. */
	if (last_shift == NO_SHIFT ? index != 0 : last_shift != 0)
		return 0;
	if (!is_stored(entry))
		return 0;
	*ret_entry = GVA(entry);
	return 1;
}
