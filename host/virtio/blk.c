/* SPDX-License-Identifier: GPL-2.0-only */
/* virtio-blk (see blk.h). Loop thread, but for worker(). */
#include "host/virtio/blk.h"

#include "common/fd.h"
#include "host/virtio/blk_file.h"
#include "host/virtio/devtab.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <unistd.h>

enum slot_state { SLOT_FREE, SLOT_QUEUED, SLOT_DONE };

/* A request. The loop fills it before QUEUED and reads it after DONE, the worker has it in between. */
struct slot {
	enum slot_state state; /* under blk.lock */
	uint64_t order;        /* under blk.lock: oldest first */
	uint32_t generation;   /* of the device's life it belongs to */
	uint32_t type;
	uint64_t offset_bytes;
	uint32_t data_bytes;
	uint8_t *data; /* data_bytes of heap, NULL for none */
	uint8_t status;
	int os_errno; /* why the worker failed */
	/* Where the answer goes; loop only */
	struct virtq_chain chain;
	struct iovec iov[VIRTQ_IOV_MAX];
};

struct blk {
	struct virtio_device dev;
	struct virtio_blk_config space;
	int fd;
	bool read_only, started;
	char id[VIRTIO_BLK_ID_BYTES];
	uint32_t generation;    /* loop only */
	struct blk_stats stats; /* loop; under dev.lock */
	struct slot slot[BLK_SLOTS];

	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t queued;
	bool stop;           /* under lock */
	uint64_t next_order; /* under lock */
};

/* Worker */

/* Positive errno, 0: done. */
static int transfer(const struct blk *b, const struct slot *s)
{
	bool write = s->type == VIRTIO_BLK_T_OUT;
	for (uint32_t done = 0; done < s->data_bytes;) {
		off_t at = (off_t)(s->offset_bytes + done);
		ssize_t n = write ? pwrite(b->fd, s->data + done, s->data_bytes - done, at)
				  : pread(b->fd, s->data + done, s->data_bytes - done, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno;
		/* Somebody has cut the file. */
		if (n == 0)
			return EIO;
		done += (uint32_t)n;
	}
	return 0;
}

static int carry_out(const struct blk *b, const struct slot *s)
{
	if (s->type != VIRTIO_BLK_T_FLUSH)
		return transfer(b, s);
	return fdatasync(b->fd) < 0 ? errno : 0;
}

static struct slot *oldest(struct blk *b)
{
	struct slot *found = NULL;
	for (unsigned i = 0; i < BLK_SLOTS; i++)
		if (b->slot[i].state == SLOT_QUEUED && (!found || b->slot[i].order < found->order))
			found = &b->slot[i];
	return found;
}

static void *worker(void *arg)
{
	struct blk *b = arg;
	SCOPE_LOCK(&b->lock);
	while (!b->stop) {
		struct slot *s = oldest(b);
		if (!s) {
			pthread_cond_wait(&b->queued, &b->lock);
			continue;
		}
		pthread_mutex_unlock(&b->lock);
		s->os_errno = carry_out(b, s);
		s->status = s->os_errno ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
		pthread_mutex_lock(&b->lock);
		s->state = SLOT_DONE;
		virtio_kick(&b->dev);
	}
	return NULL;
}

/* Loop */

static struct slot *find_slot(struct blk *b, enum slot_state state)
{
	SCOPE_LOCK(&b->lock);
	for (unsigned i = 0; i < BLK_SLOTS; i++)
		if (b->slot[i].state == state)
			return &b->slot[i];
	return NULL;
}

static void count(struct blk_stats *stats, const struct slot *s)
{
	if (s->status == VIRTIO_BLK_S_IOERR) {
		stats->errors++;
		if (s->os_errno)
			stats->os_errno = s->os_errno;
	} else if (s->status == VIRTIO_BLK_S_OK) {
		stats->reads += s->type == VIRTIO_BLK_T_IN;
		stats->writes += s->type == VIRTIO_BLK_T_OUT;
		stats->flushes += s->type == VIRTIO_BLK_T_FLUSH;
	}
}

/* in_bytes: what the request has put into the chain's writable part before the status. */
static void answer(struct blk *b, const struct slot *s, uint32_t in_bytes)
{
	/* The status is the last writable byte (5.2.6). */
	iov_from_bytes(s->iov + s->chain.n_out, s->chain.n_in, s->chain.in_bytes - 1, &s->status, 1);
	virtq_push(&b->dev.queue[0], s->chain.head, in_bytes + 1);
	count(&b->stats, s);
}

/* The worker is done with it. */
static void finish(struct blk *b, const struct slot *s)
{
	bool read = s->type == VIRTIO_BLK_T_IN && s->status == VIRTIO_BLK_S_OK;
	if (read)
		iov_from_bytes(s->iov + s->chain.n_out, s->chain.n_in, 0, s->data, s->data_bytes);
	answer(b, s, read ? s->data_bytes : 0);
}

static void release(struct blk *b, struct slot *s)
{
	free(s->data);
	s->data = NULL;
	SCOPE_LOCK(&b->lock);
	s->state = SLOT_FREE;
}

/* Checks a request and gives it its buffer. VIRTIO_BLK_S_OK: it is for the worker; otherwise the answer. */
static uint8_t prepare(struct blk *b, struct slot *s, const struct virtio_blk_outhdr *hdr)
{
	bool write = hdr->type == VIRTIO_BLK_T_OUT;
	s->type = hdr->type;
	s->data_bytes = 0;
	s->os_errno = 0;
	if (hdr->type == VIRTIO_BLK_T_FLUSH)
		return VIRTIO_BLK_S_OK;
	if (!write && hdr->type != VIRTIO_BLK_T_IN)
		return VIRTIO_BLK_S_UNSUPP;
	uint32_t bytes = write ? s->chain.out_bytes - (uint32_t)sizeof(*hdr) : s->chain.in_bytes - 1;
	if ((write && b->read_only) || bytes % BLK_SECTOR_BYTES ||
		bytes > BLK_SEGMENTS_MAX * BLK_SEGMENT_BYTES ||
		!range_fits(hdr->sector, bytes / BLK_SECTOR_BYTES, b->space.capacity))
		return VIRTIO_BLK_S_IOERR;
	s->offset_bytes = hdr->sector * BLK_SECTOR_BYTES;
	s->data_bytes = bytes;
	s->data = bytes ? malloc(bytes) : NULL;
	if (bytes && !s->data) {
		s->os_errno = ENOMEM;
		return VIRTIO_BLK_S_IOERR;
	}
	if (write)
		iov_to_bytes(s->iov, s->chain.n_out, sizeof(*hdr), s->data, bytes);
	return VIRTIO_BLK_S_OK;
}

static void take_request(struct blk *b, struct slot *s)
{
	struct virtio_blk_outhdr hdr;
	if (iov_to_bytes(s->iov, s->chain.n_out, 0, &hdr, sizeof(hdr)) != sizeof(hdr) ||
		s->chain.in_bytes < 1) {
		(void)virtq_break(&b->dev.queue[0], VIRTQ_FAULT_BUFFER_SHORT);
		return;
	}
	s->generation = b->generation;
	s->status = prepare(b, s, &hdr);
	if (hdr.type == VIRTIO_BLK_T_GET_ID) {
		uint32_t n = MIN_OF((uint32_t)sizeof(b->id), s->chain.in_bytes - 1);
		iov_from_bytes(s->iov + s->chain.n_out, s->chain.n_in, 0, b->id, n);
		s->status = VIRTIO_BLK_S_OK;
		answer(b, s, n);
		return;
	}
	if (s->status != VIRTIO_BLK_S_OK) {
		answer(b, s, 0);
		return;
	}
	SCOPE_LOCK(&b->lock);
	s->state = SLOT_QUEUED;
	s->order = b->next_order++;
	pthread_cond_signal(&b->queued);
}

static bool service(struct virtio_device *dev)
{
	struct blk *b = container_of(dev, struct blk, dev);
	struct virtq *q = &dev->queue[0];
	struct slot *s;
	uint32_t bytes = 0;
	while ((s = find_slot(b, SLOT_DONE))) {
		if (s->generation == b->generation)
			finish(b, s);
		bytes += s->data_bytes;
		release(b, s);
		if (bytes >= VIRTIO_BATCH_BYTES)
			return true;
	}
	/* Requests that are answered at once leave their slot free: they count towards the batch as well. */
	for (unsigned n = 0; (s = find_slot(b, SLOT_FREE)); n++) {
		if (n == VIRTIO_BATCH_CHAINS || bytes >= VIRTIO_BATCH_BYTES)
			return true;
		switch (virtq_pop(q, s->iov, &s->chain)) {
		case VIRTQ_CHAIN:
			take_request(b, s);
			bytes += MIN_OF(s->chain.out_bytes, VIRTIO_BATCH_BYTES);
			break;
		case VIRTQ_BROKEN:
			return false;
		case VIRTQ_EMPTY:
			if (!virtq_kick_enable(q))
				return false;
			break;
		}
	}
	/* All slots are with the worker, whose kick brings us back. */
	return false;
}

static void on_reset(struct virtio_device *dev)
{
	container_of(dev, struct blk, dev)->generation++;
}

static void free_blk(struct virtio_device *dev)
{
	struct blk *b = container_of(dev, struct blk, dev);
	if (b->started) {
		pthread_mutex_lock(&b->lock);
		b->stop = true;
		pthread_cond_signal(&b->queued);
		pthread_mutex_unlock(&b->lock);
		pthread_join(b->thread, NULL);
	}
	for (unsigned i = 0; i < BLK_SLOTS; i++)
		free(b->slot[i].data);
	pthread_cond_destroy(&b->queued);
	pthread_mutex_destroy(&b->lock);
	fd_close(&b->fd);
	virtio_deinit(dev);
	free(b);
}

const struct virtio_ops virtio_blk_ops = {
	.name = "blk",
	.id = VIRTIO_ID_BLOCK,
	.features = UINT64_C(1) << VIRTIO_BLK_F_SIZE_MAX | UINT64_C(1) << VIRTIO_BLK_F_SEG_MAX |
		    UINT64_C(1) << VIRTIO_BLK_F_FLUSH,
	.n_queues = 1,
	.queue_size_max = {128},
	.service = service,
	.reset = on_reset,
	.free = free_blk,
};

static const struct virtio_ops virtio_blk_ro_ops = {
	.name = "blk",
	.id = VIRTIO_ID_BLOCK,
	.features = UINT64_C(1) << VIRTIO_BLK_F_SIZE_MAX | UINT64_C(1) << VIRTIO_BLK_F_SEG_MAX |
		    UINT64_C(1) << VIRTIO_BLK_F_FLUSH | UINT64_C(1) << VIRTIO_BLK_F_RO,
	.n_queues = 1,
	.queue_size_max = {128},
	.service = service,
	.reset = on_reset,
	.free = free_blk,
};

uint64_t blk_size_bytes(const struct virtio_device *dev)
{
	return container_of(dev, const struct blk, dev)->space.capacity * BLK_SECTOR_BYTES;
}

struct blk_stats blk_stats(struct virtio_device *dev)
{
	SCOPE_LOCK(&dev->lock);
	return container_of(dev, struct blk, dev)->stats;
}

struct virtio_device *blk_new(const struct blk_config *config, struct err *err)
{
	struct blk *b = calloc(1, sizeof(*b));
	if (!b) {
		err_set_os(err, ERR_HOST, ENOMEM, "cannot create the disk");
		return NULL;
	}
	b->fd = -1;
	b->read_only = config->path && config->read_only;
	b->space.size_max = BLK_SEGMENT_BYTES;
	b->space.seg_max = BLK_SEGMENTS_MAX;
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->queued, NULL);
	const char *id = config->id ? config->id : "schedrig";
	memcpy(b->id, id, MIN_OF(strlen(id), sizeof(b->id)));
	uint64_t sectors;
	if (virtio_init(&b->dev, b->read_only ? &virtio_blk_ro_ops : &virtio_blk_ops, &b->space,
		    sizeof(b->space), err) < 0 ||
		blk_file_open(config, &b->fd, &sectors, err) < 0) {
		free_blk(&b->dev);
		return NULL;
	}
	b->space.capacity = sectors;
	int r = pthread_create(&b->thread, NULL, worker, b);
	if (r) {
		err_set_os(err, ERR_HOST, r, "cannot start the disk's worker");
		free_blk(&b->dev);
		return NULL;
	}
	b->started = true;
	return &b->dev;
}
