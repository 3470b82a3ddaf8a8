/* SPDX-License-Identifier: GPL-2.0-only */
/* Copies state inside a freeze and decodes it after the thaw: the VM stands still for copying only. */
#ifndef HOST_SNAPSHOT_CAPTURE_H
#define HOST_SNAPSHOT_CAPTURE_H

#include "host/kmem/kmem.h"
#include "host/snapshot/snapshot.h"

/* Where the members are in this kernel. Immutable: any thread; made once per kernel. */
struct snapshot_layout;
/* kmem is borrowed and outlives the layout. A kernel without BTF or without a struct gives a layout that says
 * so in each capture; only out of memory fails. */
struct snapshot_layout *snapshot_layout_new(const struct kmem *kmem, struct err *err) must_check;
void snapshot_layout_free(struct snapshot_layout *layout);
SCOPE_GUARD(struct snapshot_layout *, snapshot_layout_free, snapshot_layout_free)

struct snapshot_raw;
/* Allocates for a capture of n_vcpus. layout NULL: kernel not known, registers only (`why` is then kept as
 * the reason). */
struct snapshot_raw *snapshot_raw_new(const struct snapshot_layout *layout, const struct err *why,
	const char *name, uint32_t parts, unsigned n_vcpus, struct err *err) must_check;
void snapshot_raw_free(struct snapshot_raw *raw);
SCOPE_GUARD(struct snapshot_raw *, snapshot_raw_free, snapshot_raw_free)
unsigned snapshot_raw_vcpus(const struct snapshot_raw *raw);

/* (frozen; any thread but a vCPU's) Copies. What cannot be read is kept as its reason: never fails. */
void snapshot_capture(struct snapshot_raw *raw, const struct freeze *freeze);
/* Its halves, for those who have no struct freeze: one vCPU's registers, and kernel memory. */
void snapshot_capture_vcpu(struct snapshot_raw *raw, unsigned vcpu, const struct vcpu_state *state);
void snapshot_capture_kernel(struct snapshot_raw *raw);

/* (after the thaw, any thread) The raw copies are the caller's to free. */
struct snapshot *snapshot_decode(
	const struct snapshot_raw *raw, const struct freeze_times *times, struct err *err) must_check;

#endif
