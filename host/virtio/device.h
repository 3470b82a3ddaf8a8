/* SPDX-License-Identifier: GPL-2.0-only */
/* What every virtio device shares: its queues, status, features, interrupt, and the one way in for work.
 *
 *   vCPU threads     registers (mmio.c), under `lock`; InterruptStatus/ACK without it
 *   loop thread      virtio_run(): takes `lock`, calls ops->service for one bounded batch, interrupts,
 * releases freezing thread  virtio_quiesce()/virtio_resume()
 *
 * Guest memory is touched only inside ops->service, that is on the loop's thread with `lock` held. Hence:
 *   - a reset (status 0, on a vCPU thread) takes `lock`, so the batch in progress has finished before the
 *     write completes, and no later batch sees the old queues. It does not wait for the loop itself: what the
 *     device keeps beside its queues is thrown away by ops->reset on the loop before anything else is done
 *     (and before any request of the device's next life is looked at, because only the loop looks).
 *   - a freeze takes `lock`, sets `frozen` and is done. The loop never waits for the thaw: virtio_run() finds
 *     the flag, returns at once, and is called again by the resume.
 *   - a vCPU thread waits at most for one batch: VIRTIO_BATCH_BYTES and one chain copied, some tens of
 *     microseconds.
 */
#ifndef HOST_VIRTIO_DEVICE_H
#define HOST_VIRTIO_DEVICE_H

#include "common/err.h"
#include "common/loop.h"
#include "host/virtio/queue.h"
#include "host/vm/gmem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define VIRTIO_QUEUES_MAX 3
/* Bounds of one batch of ops->service: both are checked after each chain. */
#define VIRTIO_BATCH_BYTES (128u * 1024)
#define VIRTIO_BATCH_CHAINS 64u

struct virtio_device;
struct event;
struct vm;

struct virtio_ops {
	const char *name;
	uint32_t id;       /* virtio device id */
	uint64_t features; /* offered beside VERSION_1 and EVENT_IDX */
	unsigned n_queues;
	uint16_t queue_size_max[VIRTIO_QUEUES_MAX];
	/* Loop thread, device locked, driver ready: do a batch of whatever there is to do on all queues. True
	 * if it stopped at a bound and wants to be called again. */
	bool (*service)(struct virtio_device *dev);
	/* Loop thread, device locked: the driver went away; forget what was derived from it. No guest memory.
	 * May be NULL. */
	void (*reset)(struct virtio_device *dev);
	/* Frees the device around it. Loop thread or no loop running. */
	void (*free)(struct virtio_device *dev);
};

/* Where a device lives. Plain fds, so that tests need no VM. */
struct virtio_host {
	const struct gmem *memory; /* borrowed; outlives the device */
	struct loop *loop;         /* borrowed; outlives the device */
	int irq_fd;                /* each write interrupts the guest; owned by the device from bind on */
};

struct virtio_device {
	const struct virtio_ops *ops;
	const void *config; /* device configuration space; constant */
	uint32_t config_bytes;

	struct virtio_host host; /* constant after virtio_bind() */
	int kick_fd;             /* the driver's notifications (ioeventfd), and our own wish to run again */
	struct event *kick_event;

	_Atomic uint32_t isr; /* any thread: VIRTIO_MMIO_INT_* not yet acknowledged */

	pthread_mutex_t lock;
	/* Under lock */
	bool frozen;
	bool run_refused;   /* somebody wanted to run while frozen */
	bool reset_pending; /* ops->reset is due */
	uint32_t status;    /* VIRTIO_CONFIG_S_* */
	uint32_t config_generation;
	uint32_t device_features_sel, driver_features_sel, queue_sel;
	uint64_t driver_features;
	struct virtq queue[VIRTIO_QUEUES_MAX];
	int fault_queue; /* which queue broke the device, -1: none */
	enum virtq_fault fault;
};

/* First and last on the caller's storage (used by the devices' own new and ops->free). */
int virtio_init(struct virtio_device *dev, const struct virtio_ops *ops, const void *config,
	uint32_t config_bytes, struct err *err) must_check;
void virtio_deinit(struct virtio_device *dev);

/* Connects the device to memory, loop and interrupt. Once, on the loop's thread or before it runs. Takes
 * irq_fd over, also on failure. */
int virtio_bind(struct virtio_device *dev, const struct virtio_host *host, struct err *err) must_check;
/* Puts the device into slot `slot` of the VM's virtio-mmio space (arch/x86_64/layout.h): registers,
 * interrupt, notification, quiesce hook. Before vm_start(). The device outlives the VM. */
int virtio_attach(struct vm *vm, struct loop *loop, struct virtio_device *dev, unsigned slot,
	struct err *err) must_check;
/* Any device. The VM has stopped (no vCPU thread, no freeze); loop thread or no loop running. Takes NULL. */
void virtio_free(struct virtio_device *dev);
static inline void virtio_free_p(struct virtio_device **dev)
{
	virtio_free(*dev);
}

/* (loop thread, unlocked) One batch of service, if the device may run at all. */
void virtio_run(struct virtio_device *dev);
/* (any thread) Makes the loop call virtio_run() soon. */
void virtio_kick(struct virtio_device *dev);

/* (freezing thread) After quiesce returns nothing writes guest memory until resume. */
void virtio_quiesce(struct virtio_device *dev);
void virtio_resume(struct virtio_device *dev);

/* (locked) The device has been driven against the rules: DEVICE_NEEDS_RESET, and silence until the reset.
 * Queues that have a fault of their own are found by virtio_run(). */
void virtio_break(struct virtio_device *dev, unsigned queue, enum virtq_fault fault);
/* (any thread) What broke the device since its last reset: the fault and its queue, or VIRTQ_FAULT_NONE. */
enum virtq_fault virtio_fault(struct virtio_device *dev, unsigned *ret_queue);
/* (locked) Forgets everything the driver set; ops->reset follows on the loop. */
void virtio_reset(struct virtio_device *dev);
/* (locked) Whether the driver accepted the feature bit. */
bool virtio_has_feature(const struct virtio_device *dev, unsigned bit);
uint64_t virtio_offered_features(const struct virtio_device *dev);

#endif
