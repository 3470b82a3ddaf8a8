/* SPDX-License-Identifier: GPL-2.0-only */
/* What the agent does as PID 1 before and beside its service: file systems, modules, settings, the kernel
 * log. Main thread; everything up to the first link runs before other threads start. */
#ifndef GUEST_INIT_INIT_H
#define GUEST_INIT_INIT_H

#include "common/err.h"

#include <stdbool.h>

/* Mounts proc, sys, dev, devpts, cgroup2, tmpfs on /tmp /run /dev/shm; bpf, tracefs, debugfs where the kernel
 * has them. Mounted ones are fine. */
int init_mount_all(struct err *err) must_check;
/* Loads the modules that the file lists, one path a line, in order. No file: nothing to do. Loaded ones are
 * fine. */
int init_load_modules(const char *order_path, struct err *err) must_check;
/* hostname, lo, file limits, a bound on tasks that fits the memory, kptr_restrict, compaction of locked
 * pages, console verbosity. What fails is not vital and goes into notes through add_note. */
void init_settle(void (*add_note)(void *arg, const char *note), void *arg);
/* Moves this process into its own cgroup below root_fd and opens it. */
int init_own_cgroup(int root_fd, const char *name, int *ret_fd, struct err *err) must_check;
/* The kernel's own watchdogs (soft lock-up, RCU stall, hung task) get 100/percent of their times. */
void init_widen_watchdogs(uint32_t speed_percent, void (*add_note)(void *arg, const char *note), void *arg);
/* speed percentage of `schedrig.speed=` on the kernel's command line, 100 if there is none. */
uint32_t init_cmdline_speed(const char *cmdline);
/* Locks memory and makes the calling thread FIFO 99; its children are ordinary again. 0 or -errno. */
int init_lock_memory(void) must_check;
int init_raise_thread(void) must_check;
/* Interrupts whose action begins with `device` ("virtio0") go to the last of n_cpus. Number of lines steered.
 */
int init_steer_irqs(const char *device, unsigned n_cpus, struct err *err) must_check;
/* Makes every kernel worker that is bound to the CPU FIFO 99 (kworkers.c). Number of those that were not,
 * or -errno. The kernel makes and ends them as it goes: to be called again and again, by a thread that may
 * block (the name of a kernel worker is behind a lock of the kernel's). */
int init_raise_kworkers(unsigned cpu) must_check;
/* Binds the calling thread to the CPU. 0 or -errno. */
int init_pin_thread(unsigned cpu) must_check;
/* The name of the virtio device with that id ("virtio0"), "" if there is none. */
void init_find_virtio(unsigned id, char *name, unsigned size);
#define INIT_VIRTIO_VSOCK 19

/* Says one sentence on the console and powers the machine off. Never returns. */
void init_die(const struct err *err) __attribute__((noreturn));

/* --- kernel log --- */

/* A name of proto/klog_list.h, or "". */
const char *klog_class(const char *text, unsigned level);
struct klog_line {
	unsigned level;   /* 0..7 */
	uint64_t time_ns; /* since boot */
	const char *text; /* in the record */
};
/* Takes one record of /dev/kmsg apart, in place. False when it is none. */
bool klog_parse(char *record, struct klog_line *ret_line);

#endif
