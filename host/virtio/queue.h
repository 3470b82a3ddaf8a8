/* SPDX-License-Identifier: GPL-2.0-only */
/* Split virtqueue, device side (virtio 1.2, section 2.7). Owns no memory: the rings are the guest's, and
 * every word of them is read once, copied and checked. A queue that breaks the rules gets a typed fault and
 * is not looked at again until it is set up anew.
 *
 * Under the device's lock, on whichever thread holds it; no other synchronisation with the host. With the
 * guest it synchronises by the acquire and release accesses described in queue.c.
 *
 * Indirect descriptors are not offered: with 256 descriptors a queue holds enough for every device here, and
 * a second table is a second thing to check. */
#ifndef HOST_VIRTIO_QUEUE_H
#define HOST_VIRTIO_QUEUE_H

#include "host/vm/gmem.h"

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <sys/uio.h>

#define VIRTQ_SIZE_MAX 256
/* Room that virtq_pop() needs in the caller's array: a whole chain, and buffers that cross from one memory
 * region into the next. */
#define VIRTQ_IOV_MAX (VIRTQ_SIZE_MAX + 16)

/* Why a queue was given up. */
#define VIRTQ_FAULT_LIST(X)                                                                                  \
	X(SIZE, "queue-size", "its size is 0, not a power of two or beyond the maximum")                     \
	X(ALIGNMENT, "ring-alignment", "a ring is not aligned")                                              \
	X(RING_ADDRESS, "ring-address", "a ring is outside guest memory")                                    \
	X(AVAIL_INDEX, "avail-index", "more buffers were made available than the queue has")                 \
	X(DESC_INDEX, "descriptor-index", "a descriptor index is beyond the table")                          \
	X(CHAIN_LENGTH, "chain-length", "a descriptor chain is longer than the queue, or endless")           \
	X(CHAIN_ORDER, "chain-order", "a readable descriptor follows a writable one")                        \
	X(BUFFER_ADDRESS, "buffer-address", "a buffer is outside guest memory")                              \
	X(BUFFER_BYTES, "buffer-bytes", "the buffers of a chain exceed 4 GiB or too many regions")           \
	X(BUFFER_SHORT, "buffer-short", "a buffer is too short for what the device must put into it")        \
	X(INDIRECT, "indirect", "an indirect descriptor was used without having been negotiated")

enum virtq_fault {
	VIRTQ_FAULT_NONE = 0,
#define X(name, text, sentence) VIRTQ_FAULT_##name,
	VIRTQ_FAULT_LIST(X)
#undef X
};

struct virtq {
	const struct gmem *memory;
	/* As the driver set them; meaningless while `ready` */
	uint32_t size;
	gpa_t desc_gpa, avail_gpa, used_gpa;
	/* Checked copies, valid while `ready` */
	bool ready, event_idx;
	uint16_t mask; /* size - 1 */
	const struct vring_desc *desc;
	struct vring_avail *avail; /* written never; not const for the atomics */
	struct vring_used *used;
	uint16_t next_avail; /* next entry of the available ring to take */
	uint16_t next_used;  /* next entry of the used ring to fill */
	uint16_t told_used;  /* next_used when the last interrupt was decided */
	enum virtq_fault fault;
};

/* One descriptor chain: readable segments first, then writable ones, in the array given to virtq_pop(). */
struct virtq_chain {
	uint16_t head;
	uint16_t n_out, n_in; /* segments that the device reads, writes */
	uint32_t out_bytes, in_bytes;
};

enum virtq_pop { VIRTQ_CHAIN = 1, VIRTQ_EMPTY, VIRTQ_BROKEN };

/* Forgets everything the driver set. */
void virtq_reset(struct virtq *q, const struct gmem *memory);
/* Checks size and addresses and makes the queue usable. False, with the fault set, if they are wrong. */
bool virtq_enable(struct virtq *q, uint32_t size_max, bool event_idx) must_check;
/* Gives the queue up. Always VIRTQ_BROKEN. */
enum virtq_pop virtq_break(struct virtq *q, enum virtq_fault fault);

/* Takes the next chain; iov has VIRTQ_IOV_MAX entries. Segments of length 0 are left out. VIRTQ_EMPTY also
 * when the queue is not in use, VIRTQ_BROKEN (once and then always) after a fault. */
enum virtq_pop virtq_pop(struct virtq *q, struct iovec *iov, struct virtq_chain *ret_chain) must_check;
/* Puts the last n taken chains back, none of which was pushed. They are read and checked again. */
void virtq_unpop(struct virtq *q, unsigned n);
/* Returns a chain; the driver sees it after virtq_publish(). */
void virtq_push(struct virtq *q, uint16_t head, uint32_t written_bytes);
void virtq_publish(struct virtq *q);
/* After virtq_publish(): whether the driver wants an interrupt for what was published since the last call. */
bool virtq_interrupt_due(struct virtq *q) must_check;

/* Asks the driver to notify about the next buffer; true if there is one already. */
bool virtq_kick_enable(struct virtq *q) must_check;
/* A hint that notifications are not needed. */
void virtq_kick_disable(struct virtq *q);

/* "chain-length" and the sentence behind it; "" for none. */
const char *virtq_fault_name(enum virtq_fault fault);
const char *virtq_fault_text(enum virtq_fault fault);

/* Copies between a segment list and plain memory, from `offset` bytes into the list. Bytes copied, fewer if
 * the list ends. */
size_t iov_to_bytes(const struct iovec *iov, unsigned n, size_t offset, void *bytes, size_t length);
size_t iov_from_bytes(const struct iovec *iov, unsigned n, size_t offset, const void *bytes, size_t length);
/* The part [offset, offset + length) of a list as a list of its own (at most n entries). Entries written. */
unsigned iov_slice(
	const struct iovec *iov, unsigned n, size_t offset, size_t length, struct iovec *ret_slice);

#endif
