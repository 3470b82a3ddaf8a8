/* SPDX-License-Identifier: GPL-2.0-only */
/* One virtual machine on /dev/kvm: memory slots, buses, interrupts, vCPU threads and how it ends.
 * Life: vm_new -> add devices, set vCPU state -> vm_start -> ... -> vm_stop -> vm_free. */
#ifndef HOST_VM_VM_H
#define HOST_VM_VM_H

#include "common/cpuset.h"
#include "common/err.h"
#include "common/scope.h"
#include "host/vm/gmem.h"

#include <linux/kvm.h>
#include <stdbool.h>

struct vm;

/* Why a VM ended. */
enum vm_end {
	VM_END_POWEROFF = 1, /* the guest switched itself off (power register) */
	VM_END_RESET,        /* the guest asked for a reset (reset register): a panic, with panic=-1 */
	VM_END_TRIPLE_FAULT, /* KVM_EXIT_SHUTDOWN; on AMD that vCPU's registers are already reset */
	VM_END_KVM_ERROR,    /* entry failure, internal error, or an exit that nobody handles: see err */
	VM_END_STOPPED,      /* vm_stop() */
};

struct vm_end_info {
	enum vm_end why;
	unsigned vcpu;  /* whose exit it was; 0 for VM_END_STOPPED */
	struct err err; /* set for VM_END_KVM_ERROR: exit reason, data and instruction bytes */
};

/* Called once, on a vCPU thread, when the VM ends by itself. The thread that ended it parks afterwards like
 * in a freeze (registers stay readable) and the other vCPUs go on until someone freezes or stops the VM; so
 * post to the loop, return. */
typedef void (*vm_ended_fn)(const struct vm_end_info *info, void *arg);

struct vm_config {
	unsigned n_vcpus;         /* 1..1024, as far as KVM_CAP_MAX_VCPUS allows */
	struct gmem *memory;      /* borrowed; outlives the VM */
	const uint32_t *apic_ids; /* [n_vcpus]; KVM vCPU ids. NULL: 0, 1, 2, ... */
	bool irqchip;             /* in-kernel LAPIC and I/O APIC (false for bare guests that need none) */
	const struct cpuset
		*pin;      /* host CPUs for vCPU threads (all of them on the whole set), NULL: not pinned */
	vm_ended_fn ended; /* may be NULL */
	void *ended_arg;
};

/* Opens /dev/kvm and creates VM and vCPUs (threads not started). ERR_HOST with the remedy when the host
 * cannot. */
struct vm *vm_new(const struct vm_config *config, struct err *err) must_check;
/* Stops if need be, then releases everything. Takes NULL. */
void vm_free(struct vm *vm);
SCOPE_GUARD(struct vm *, vm_free, vm_free)

/* Before vm_start(): */

/* A device's registers on the MMIO or port bus. Callbacks run on vCPU threads, one at a time per device only
 * if the device locks; they must not block, allocate or log. `offset` is from `base`; length is 1, 2, 4 or 8.
 */
struct vm_region {
	uint64_t base, size_bytes;
	void (*read)(void *arg, uint64_t offset, uint8_t *data, unsigned length);
	void (*write)(void *arg, uint64_t offset, const uint8_t *data, unsigned length);
	void *arg;
};
int vm_add_mmio(struct vm *vm, const struct vm_region *region, struct err *err) must_check;
int vm_add_pio(struct vm *vm, const struct vm_region *region, struct err *err) must_check;
/* A new eventfd, each write to which raises GSI `gsi` (edge). Caller owns the fd. -1 on failure. */
int vm_add_irqfd(struct vm *vm, unsigned gsi, struct err *err) must_check;
/* Guest writes of `length` bytes with value `match` at MMIO address gpa signal fd without leaving the kernel.
 */
int vm_add_ioeventfd(
	struct vm *vm, gpa_t gpa, unsigned length, uint64_t match, int fd, struct err *err) must_check;

/* CPUID, initial registers: arch/x86_64 sets them through these fds. KVM ioctls of a vCPU, before its thread
 * runs. */
int vm_fd(const struct vm *vm);
int vm_kvm_fd(const struct vm *vm);
int vm_vcpu_fd(const struct vm *vm, unsigned vcpu);

/* Starts the vCPU threads. */
int vm_start(struct vm *vm, struct err *err) must_check;
/* Any thread but a vCPU's, idempotent: every vCPU thread is gone on return. */
void vm_stop(struct vm *vm);

unsigned vm_n_vcpus(const struct vm *vm);
/* Host CPUs for the vCPU threads: those that they are pinned to, or else those that the calling thread may
 * use. */
unsigned vm_n_host_cpus(const struct vm *vm);
struct gmem *vm_memory(const struct vm *vm);
/* Ends the VM from a device's write callback (power and reset registers); first caller wins. vCPU threads
 * only. */
void vm_end(struct vm *vm, const struct vm_end_info *info);
/* (any thread) How often KVM_RUN has returned to the vCPU's thread, and how many signals were sent to it for
 * that. What leaves the guest alone leaves both alone. */
struct vm_vcpu_counts {
	uint64_t exits, kicks;
};
struct vm_vcpu_counts vm_vcpu_counts(const struct vm *vm, unsigned vcpu);
/* (any thread) CLOCK_MONOTONIC ns of the first KVM_RUN, 0 before. */
uint64_t vm_first_run_ns(const struct vm *vm);

/* What the host gave a vCPU's thread since it started. */
struct vm_host_time {
	uint64_t run_ns;  /* on a CPU */
	uint64_t wait_ns; /* ready to run, but waiting for one: what a guest calls steal */
};
/* (any thread) -ESRCH: it does not run (yet, or any more); -ENOENT: this host keeps no such account. */
int vm_vcpu_host_time(const struct vm *vm, unsigned vcpu, struct vm_host_time *ret) must_check;

/* What must stand still while vCPUs are frozen beside the vCPUs themselves: back ends that write guest
 * memory. Called by the freezing thread, which may be the main loop's, after the last park and before the
 * first release. quiesce returns with nothing in flight, and waits for no more than one batch of work. */
struct vm_quiesce {
	void (*quiesce)(void *arg);
	void (*resume)(void *arg);
	void *arg;
};
int vm_add_quiesce(struct vm *vm, const struct vm_quiesce *hook, struct err *err) must_check;

#endif
