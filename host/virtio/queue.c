/* SPDX-License-Identifier: GPL-2.0-only */
/* Split virtqueue (see queue.h). Under the device's lock.
 *
 *   avail->idx   acquire: pairs with the driver's write barrier before it, so entries and descriptors are
 * there used->idx    release: the driver that sees it sees the used entries and the buffers' contents fence
 * between used->idx and reading the driver's event index, and between our event index and reading avail->idx:
 * without it both sides can decide that the other one is awake
 */
#include "host/virtio/queue.h"

#include <stdatomic.h>
#include <string.h>

#define LOAD16(p) __atomic_load_n(&(p), __ATOMIC_RELAXED)
#define STORE16(p, v) __atomic_store_n(&(p), (v), __ATOMIC_RELAXED)

/* Event indices sit behind the rings (2.7.10). */
static uint16_t *used_event(const struct virtq *q)
{
	return &q->avail->ring[q->mask + 1];
}
static uint16_t *avail_event(const struct virtq *q)
{
	return (uint16_t *)(void *)&q->used->ring[q->mask + 1];
}

void virtq_reset(struct virtq *q, const struct gmem *memory)
{
	*q = (struct virtq){.memory = memory};
}

enum virtq_pop virtq_break(struct virtq *q, enum virtq_fault fault)
{
	if (q->fault == VIRTQ_FAULT_NONE)
		q->fault = fault;
	q->ready = false;
	return VIRTQ_BROKEN;
}

bool virtq_enable(struct virtq *q, uint32_t size_max, bool event_idx)
{
	uint32_t size = q->size;
	enum virtq_fault fault = VIRTQ_FAULT_NONE;
	if (q->fault != VIRTQ_FAULT_NONE)
		return false;
	if (size == 0 || size > MIN_OF(size_max, VIRTQ_SIZE_MAX) || (size & (size - 1)))
		fault = VIRTQ_FAULT_SIZE;
	else if (q->desc_gpa.v % 16 || q->avail_gpa.v % 2 || q->used_gpa.v % 4)
		fault = VIRTQ_FAULT_ALIGNMENT;
	if (fault == VIRTQ_FAULT_NONE) {
		/* Room for the event index is part of the rings whether it is negotiated or not. */
		q->desc = gmem_ptr(q->memory, q->desc_gpa, sizeof(struct vring_desc) * (uint64_t)size);
		q->avail = gmem_ptr(q->memory, q->avail_gpa, 6 + 2 * (uint64_t)size);
		q->used =
			gmem_ptr(q->memory, q->used_gpa, 6 + sizeof(struct vring_used_elem) * (uint64_t)size);
		if (!q->desc || !q->avail || !q->used)
			fault = VIRTQ_FAULT_RING_ADDRESS;
	}
	if (fault != VIRTQ_FAULT_NONE) {
		virtq_break(q, fault);
		return false;
	}
	q->mask = (uint16_t)(size - 1);
	q->event_idx = event_idx;
	q->next_avail = q->next_used = q->told_used = 0;
	q->ready = true;
	return true;
}

/* Appends [gpa, gpa + length) to the list, split where memory regions meet. Entries appended, 0 if any byte
 * is not memory or the list is full. */
static unsigned append_buffer(const struct gmem *memory, uint64_t gpa, uint64_t length, struct iovec *iov,
	unsigned room, enum virtq_fault *fault)
{
	*fault = VIRTQ_FAULT_BUFFER_ADDRESS;
	if (!range_fits(gpa, length, UINT64_MAX))
		return 0;
	unsigned n = 0;
	for (unsigned i = 0; i < memory->n_regions && length; i++) {
		const struct gmem_region *r = &memory->region[i];
		if (gpa < r->start.v || gpa - r->start.v >= r->size_bytes)
			continue;
		uint64_t at = gpa - r->start.v, part = MIN_OF(length, r->size_bytes - at);
		if (n == room) {
			*fault = VIRTQ_FAULT_BUFFER_BYTES;
			return 0;
		}
		iov[n++] = (struct iovec){r->host + at, part};
		gpa += part;
		length -= part;
	}
	return length ? 0 : n;
}

/* Walks one chain from `head`. */
static enum virtq_fault walk(struct virtq *q, struct iovec *iov, struct virtq_chain *chain)
{
	uint64_t bytes[2] = {0, 0};
	unsigned used = 0, index = chain->head;
	for (unsigned steps = 0;; steps++) {
		if (index > q->mask)
			return VIRTQ_FAULT_DESC_INDEX;
		if (steps > q->mask)
			return VIRTQ_FAULT_CHAIN_LENGTH;
		/* Two loads of eight bytes: nothing is looked at twice. */
		uint64_t word[2];
		const uint64_t *from = (const uint64_t *)(const void *)&q->desc[index];
		word[0] = __atomic_load_n(&from[0], __ATOMIC_RELAXED);
		word[1] = __atomic_load_n(&from[1], __ATOMIC_RELAXED);
		struct vring_desc desc;
		memcpy(&desc, word, sizeof(desc));

		bool in = desc.flags & VRING_DESC_F_WRITE;
		if (desc.flags & VRING_DESC_F_INDIRECT)
			return VIRTQ_FAULT_INDIRECT;
		if (!in && chain->n_in)
			return VIRTQ_FAULT_CHAIN_ORDER;
		if (desc.len) {
			enum virtq_fault fault;
			unsigned n = append_buffer(
				q->memory, desc.addr, desc.len, iov + used, VIRTQ_IOV_MAX - used, &fault);
			if (n == 0)
				return fault;
			used += n;
			bytes[in] += desc.len;
			if (bytes[in] > UINT32_MAX)
				return VIRTQ_FAULT_BUFFER_BYTES;
			if (in)
				chain->n_in += n;
			else
				chain->n_out += n;
		}
		if (!(desc.flags & VRING_DESC_F_NEXT))
			break;
		index = desc.next;
	}
	chain->out_bytes = (uint32_t)bytes[0];
	chain->in_bytes = (uint32_t)bytes[1];
	return VIRTQ_FAULT_NONE;
}

enum virtq_pop virtq_pop(struct virtq *q, struct iovec *iov, struct virtq_chain *ret_chain)
{
	if (q->fault != VIRTQ_FAULT_NONE)
		return VIRTQ_BROKEN;
	if (!q->ready)
		return VIRTQ_EMPTY;
	uint16_t idx = __atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE);
	uint16_t waiting = (uint16_t)(idx - q->next_avail);
	if (waiting == 0)
		return VIRTQ_EMPTY;
	if (waiting > q->mask + 1)
		return virtq_break(q, VIRTQ_FAULT_AVAIL_INDEX);
	struct virtq_chain chain = {.head = LOAD16(q->avail->ring[q->next_avail & q->mask])};
	enum virtq_fault fault = walk(q, iov, &chain);
	if (fault != VIRTQ_FAULT_NONE)
		return virtq_break(q, fault);
	q->next_avail++;
	*ret_chain = chain;
	return VIRTQ_CHAIN;
}

void virtq_unpop(struct virtq *q, unsigned n)
{
	q->next_avail = (uint16_t)(q->next_avail - n);
}

void virtq_push(struct virtq *q, uint16_t head, uint32_t written_bytes)
{
	if (!q->ready)
		return;
	struct vring_used_elem *elem = &q->used->ring[q->next_used & q->mask];
	elem->id = head;
	elem->len = written_bytes;
	q->next_used++;
}

void virtq_publish(struct virtq *q)
{
	if (q->ready)
		__atomic_store_n(&q->used->idx, q->next_used, __ATOMIC_RELEASE);
}

bool virtq_interrupt_due(struct virtq *q)
{
	if (!q->ready || q->next_used == q->told_used)
		return false;
	uint16_t old = q->told_used;
	q->told_used = q->next_used;
	atomic_thread_fence(memory_order_seq_cst);
	if (!q->event_idx)
		return !(LOAD16(q->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	return vring_need_event(LOAD16(*used_event(q)), q->next_used, old);
}

bool virtq_kick_enable(struct virtq *q)
{
	if (!q->ready)
		return false;
	if (q->event_idx)
		STORE16(*avail_event(q), q->next_avail);
	else
		STORE16(q->used->flags, 0);
	atomic_thread_fence(memory_order_seq_cst);
	return LOAD16(q->avail->idx) != q->next_avail;
}

void virtq_kick_disable(struct virtq *q)
{
	/* With event indices an old index is as good: the driver notifies only when it passes it. */
	if (q->ready && !q->event_idx)
		STORE16(q->used->flags, VRING_USED_F_NO_NOTIFY);
}

const char *virtq_fault_name(enum virtq_fault fault)
{
	switch (fault) {
	case VIRTQ_FAULT_NONE:
		break;
#define X(name, text, sentence)                                                                              \
	case VIRTQ_FAULT_##name:                                                                             \
		return text;
		VIRTQ_FAULT_LIST(X)
#undef X
	}
	return "";
}

const char *virtq_fault_text(enum virtq_fault fault)
{
	switch (fault) {
	case VIRTQ_FAULT_NONE:
		break;
#define X(name, text, sentence)                                                                              \
	case VIRTQ_FAULT_##name:                                                                             \
		return sentence;
		VIRTQ_FAULT_LIST(X)
#undef X
	}
	return "";
}

unsigned iov_slice(const struct iovec *iov, unsigned n, size_t offset, size_t length, struct iovec *ret_slice)
{
	unsigned out = 0;
	for (unsigned i = 0; i < n && length; i++) {
		if (offset >= iov[i].iov_len) {
			offset -= iov[i].iov_len;
			continue;
		}
		size_t part = MIN_OF(length, iov[i].iov_len - offset);
		ret_slice[out++] = (struct iovec){(uint8_t *)iov[i].iov_base + offset, part};
		length -= part;
		offset = 0;
	}
	return out;
}

static size_t iov_copy(
	const struct iovec *iov, unsigned n, size_t offset, uint8_t *bytes, size_t length, bool to_iov)
{
	size_t done = 0;
	for (unsigned i = 0; i < n && done < length; i++) {
		if (offset >= iov[i].iov_len) {
			offset -= iov[i].iov_len;
			continue;
		}
		uint8_t *at = (uint8_t *)iov[i].iov_base + offset;
		size_t part = MIN_OF(length - done, iov[i].iov_len - offset);
		memcpy(to_iov ? at : bytes + done, to_iov ? bytes + done : at, part);
		done += part;
		offset = 0;
	}
	return done;
}

size_t iov_to_bytes(const struct iovec *iov, unsigned n, size_t offset, void *bytes, size_t length)
{
	return iov_copy(iov, n, offset, bytes, length, false);
}

size_t iov_from_bytes(const struct iovec *iov, unsigned n, size_t offset, const void *bytes, size_t length)
{
	return iov_copy(iov, n, offset, (uint8_t *)(uintptr_t)bytes, length, true);
}
