/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of this room share: the machine's parts and who touches them. */
#ifndef HOST_MACHINE_MACHINE_INTERNAL_H
#define HOST_MACHINE_MACHINE_INTERNAL_H

#include "host/engine/engine.h"
#include "host/initramfs/initramfs.h"
#include "host/initramfs/kernel_store.h"
#include "host/kmem/kmem.h"
#include "host/link/link.h"
#include "host/machine/console_log.h"
#include "host/machine/machine.h"
#include "host/machine/speed.h"
#include "host/snapshot/store.h"
#include "host/virtio/device.h"
#include "host/virtio/net.h"
#include "host/virtio/rng.h"
#include "host/virtio/vsock_user.h"
#include "host/vm/boot.h"
#include "host/vm/console_ring.h"
#include "host/vm/gmem.h"
#include "host/vm/kernel_image.h"
#include "host/vm/power.h"
#include "host/vm/serial.h"
#include "host/vm/vm.h"

#include <pthread.h>
#include <stdatomic.h>

struct event;

enum machine_state { MACHINE_BOOTING, MACHINE_READY, MACHINE_ENDED };

#define MACHINE_DEVICES_MAX 8

/* Constant from machine_new() to machine_free(), unless marked. */
struct machine {
	const struct options *options;
	struct loop *loop;
	struct machine_ops ops;
	uint64_t start_ns;

	struct topology topology;
	char cache_dir[PATH_MAX];
	struct kernel_files kernel;
	struct kernel_image *image;
	struct initramfs initramfs;
	struct gmem *memory;
	struct boot_load *load; /* the kernel into memory */
	struct vm *vm;
	struct console_log *console;
	struct serial *serial;
	struct vsock_user *vsock;
	struct virtio_device *devices[MACHINE_DEVICES_MAX]; /* without the disks */
	struct virtio_device *disks[OPTIONS_DISKS_MAX];
	unsigned n_devices, n_disks;
	struct link *link;
	struct engine *engine;
	struct snapshot_store *snapshots;
	const char *staged[OPTIONS_STAGE_MAX + 1];
	char topology_text[64];
	char cmdline[4096];

	/* Loop thread */
	enum machine_state state;
	bool stopping;            /* machine_stop(): an end is what was asked for */
	bool end_told;            /* ops.ready(err) or ops.ended() was called, or is not wanted */
	struct event *boot_limit; /* armed while booting */
	struct event *watch;      /* every second while ready: heartbeat */
	struct event *stop_limit; /* armed while stopping */
	struct event *lost_limit; /* armed while the agent's connection is gone */
	uint64_t ready_ns;
	uint64_t beat, beat_seen_ns; /* last heartbeat that was new, and when (time frozen not counted) */
	struct err ended_err;
	struct vm_end_info end_info;
	bool vm_has_ended;

	pthread_t speed_thread, end_thread, stop_thread, symbols_thread;
	bool speed_started, end_started, stop_thread_started;
	bool symbols_started; /* the thread runs, or has run */
	bool symbols_joined;  /* it has */
	void (*symbols_done)(struct machine *m);
	bool image_lacks_symbols; /* written by the speed thread before it posts; loop thread afterwards */
	struct speed speed;       /* written by the speed thread before it posts; loop thread afterwards */
	struct err speed_err;
	bool speed_known;

	pthread_mutex_t lock;
	/* Under lock */
	struct kmem *kmem; /* made on first use */
	bool kmem_tried;   /* it was not to be had, and will not be: kmem_err */
	bool kmem_checked; /* against agent_text */
	bool kmem_refused; /* the guest contradicts it: kmem_err */
	struct err kmem_err;
	char *guest_symbols; /* text of the guest's /proc/kallsyms until kmem is made of it; NULL: not needed,
				or not here (yet) */
	size_t guest_symbols_bytes;
	struct err guest_symbols_err; /* why it is not here */
	uint64_t agent_text;          /* where the guest says that its kernel is; 0: not known yet */
};

/* Whether the kernel chooses its own place: randomisation was asked for, and its bzImage is there to do it.
 */
static inline bool machine_kernel_moves(const struct machine *m)
{
	return m->options->kaslr && m->image->packed_fd >= 0;
}

/* life.c */
void machine_on_vm_ended(const struct vm_end_info *info, void *arg);
void machine_on_agent(int fd, uint32_t guest_port, void *arg);
int machine_start(struct machine *m, struct err *err) must_check;
/* connect.c: link, engine, snapshots */
int machine_connect(struct machine *m, struct err *err) must_check;
void machine_disconnect(struct machine *m);
/* The agent's ready message has come: what it says of the kernel is what memory is checked against. */
void machine_hear_agent(struct machine *m);
/* disks.c */
int machine_open_disks(struct machine *m, struct err *err) must_check;
void machine_free_disks(struct machine *m);
/* (any thread) */
void machine_info_disks(struct machine *m, struct arena *arena, Schedrig__V1__Info *ret);
/* guest_symbols.c */
/* (any thread) Some milliseconds. */
bool machine_image_lacks_symbols(const struct machine *m);
/* Loop thread, when the agent is ready: has the guest's symbols read if they are needed, and calls done(m) on
 * the loop when they are here or are not to be had. False: they are not needed, done() is not called. */
bool machine_read_guest_symbols(struct machine *m, void (*done)(struct machine *m));
/* Joins its thread; calls fail by then (link_cancel()). */
void machine_join_guest_symbols(struct machine *m);
/* life.c, called by connect.c's callbacks */
void machine_agent_ready(struct machine *m, const struct err *err);
void machine_agent_lost(struct machine *m, const struct err *err);

#endif
