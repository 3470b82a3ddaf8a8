/* SPDX-License-Identifier: GPL-2.0-only */
/* Capture of a VM that is really frozen: registers of bare guests. */
#include "common/clock.h"
#include "host/snapshot/capture.h"
#include "tests/kvm/bare.h"

#include <criterion/criterion.h>
#include <string.h>

/* Counts in r12 and shows it in its cell. */
BARE_GUEST(guest_count, "xor %r12d, %r12d\n1: inc %r12\nmov %r12, (%rdi)\njmp 1b");

Test(snapshot, registers_of_frozen_vcpus)
{
	_cleanup_(bare_free_p) struct bare *b = bare_start(bare_new(4, guest_count, guest_count_end, 0));
	struct err err = ERR_INIT, why = ERR_INIT;
	struct freeze_times times;
	uint64_t cells[4];

	(void)err_set(&why, ERR_KERNEL_LAYOUT, "no kernel in this guest");
	bare_wait_all_running(b);
	struct snapshot_raw *raw = snapshot_raw_new(NULL, &why, "bare", SNAPSHOT_ALL, 4, &err);
	cr_assert_not_null(raw);
	struct freeze *freeze = bare_freeze(b);
	snapshot_capture(raw, freeze);
	for (unsigned i = 0; i < 4; i++)
		cells[i] = bare_cell(b, i);
	vm_thaw(freeze, &times);
	for (unsigned i = 0; i < 4; i++)
		bare_wait_moved(b, i, cells[i]);
	struct snapshot *s = snapshot_decode(raw, &times, &err);
	cr_assert_not_null(s);
	cr_assert_eq(s->n_vcpus, 4);
	for (unsigned i = 0; i < 4; i++) {
		const struct vcpu_state *state = &s->vcpus[i].state;
		cr_assert_eq(state->read_errno, 0);
		cr_assert_eq(state->regs.rdi, BARE_CELLS + i * BARE_CELL_BYTES);
		cr_assert_eq(state->regs.rbx, i);
		cr_assert_geq(state->regs.rip, BARE_CODE);
		cr_assert_lt(state->regs.rip, BARE_CODE + (uint64_t)(guest_count_end - guest_count));
		/* The register is the cell's value or one step ahead of it: both are of one instant. */
		cr_assert_leq(state->regs.r12 - cells[i], 1);
		cr_assert_neq(state->sregs.cr3, 0);
		cr_assert_neq(state->sregs.efer, 0);
		cr_assert_eq(s->rqs[i].err.code, ERR_KERNEL_LAYOUT);
	}
	cr_assert_geq(s->freeze.thawed_ns, s->freeze.parked_ns);
	cr_assert_geq(s->freeze.parked_ns, s->freeze.asked_ns);
	snapshot_free(s);
	snapshot_raw_free(raw);
}
