/* SPDX-License-Identifier: GPL-2.0-only */
/* KVM_SET_GUEST_DEBUG (see step_debug.h). No state but the probe's outcome, which never changes.
 *
 * The trap flag is what stops after an instruction, and an entry into the kernel clears it: by SFMASK for
 * system calls, by the gate for exceptions. What follows would run freely, and come back with the saved flag
 * set for the guest to see. So the entries have breakpoints, and the saved flag is taken out again.
 * Documentation/virt/kvm/api.rst 4.87; Intel SDM volume 3, 18.2 (debug registers), 6.14 (stack frames). */
#include "host/vm/step_debug.h"

#include "host/arch/x86_64/layout.h"
#include "host/arch/x86_64/pgtable.h"
#include "host/arch/x86_64/regs.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#define RFLAGS_TF 0x100u
#define MSR_LSTAR 0xc0000082u
#define GATE_PRESENT 0x80u
#define DR7_FIXED 0x400u
#define DR6_GUARDS 0xfu
/* linux/kvm.h of Debian 12 has both; others may be older. */
#ifndef KVM_CAP_SET_GUEST_DEBUG2
#define KVM_CAP_SET_GUEST_DEBUG2 195
#endif
#ifndef KVM_GUESTDBG_BLOCKIRQ
#define KVM_GUESTDBG_BLOCKIRQ 0x00100000
#endif

static uint8_t *guest_bytes(struct vcpu *vcpu, uint64_t linear, size_t length)
{
	struct kvm_translation tr = {.linear_address = linear};
	if ((linear & 4095) + length > 4096 || ioctl(vcpu->fd, KVM_TRANSLATE, &tr) < 0 || !tr.valid)
		return NULL;
	return gmem_ptr(vcpu->vm->memory, GPA(tr.physical_address), length);
}

/* Entry point of an exception's gate in 64-bit mode; 0: none. */
static uint64_t gate_target(struct vcpu *vcpu, const struct kvm_dtable *idt, unsigned vector)
{
	uint8_t gate[16];
	uint16_t low, middle;
	uint32_t high;
	const uint8_t *at = vector * 16 + 15 <= idt->limit
				    ? guest_bytes(vcpu, idt->base + vector * 16, sizeof(gate))
				    : NULL;
	if (!at)
		return 0;
	memcpy(gate, at, sizeof(gate));
	if (!(gate[5] & GATE_PRESENT))
		return 0;
	memcpy(&low, gate, sizeof(low));
	memcpy(&middle, gate + 6, sizeof(middle));
	memcpy(&high, gate + 8, sizeof(high));
	return (uint64_t)high << 32 | (uint64_t)middle << 16 | low;
}

void step_guards_find(struct vcpu *vcpu, struct step_guards *ret)
{
	static const unsigned vectors[STEP_GUARDS] = {
		[STEP_GUARD_UD] = 6, [STEP_GUARD_GP] = 13, [STEP_GUARD_PF] = 14};
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} lstar = {.head.nmsrs = 1, .entry.index = MSR_LSTAR};
	struct kvm_sregs sregs;
	*ret = (struct step_guards){0};
	if (ioctl(vcpu->fd, KVM_GET_MSRS, &lstar) == 1)
		ret->address[STEP_GUARD_SYSCALL] = lstar.entry.data;
	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
		return;
	for (unsigned i = STEP_GUARD_UD; i < STEP_GUARDS; i++)
		ret->address[i] = gate_target(vcpu, &sregs.idt, vectors[i]);
}

int step_arm(const struct vm *vm, int vcpu_fd, const struct step_guards *guards, uint64_t rip)
{
	struct kvm_guest_debug debug = {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP};
	int known = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_SET_GUEST_DEBUG2);
	if (known > 0)
		debug.control |= (uint32_t)known & KVM_GUESTDBG_BLOCKIRQ;
	for (unsigned i = 0; guards && i < STEP_GUARDS; i++) {
		/* One on the very instruction would stop before it. */
		if (!guards->address[i] || guards->address[i] == rip)
			continue;
		debug.control |= KVM_GUESTDBG_USE_HW_BP;
		debug.arch.debugreg[i] = guards->address[i];
		/* Globally enabled; type and length 0: execution. */
		debug.arch.debugreg[7] |= DR7_FIXED | 2u << (2 * i);
	}
	return ioctl(vcpu_fd, KVM_SET_GUEST_DEBUG, &debug) < 0 ? -errno : 0;
}

int step_disarm(int vcpu_fd)
{
	struct kvm_guest_debug debug = {0};
	return ioctl(vcpu_fd, KVM_SET_GUEST_DEBUG, &debug) < 0 ? -errno : 0;
}

void step_guards_hide_trap(struct vcpu *vcpu)
{
	uint64_t hit = vcpu->run->debug.arch.dr6 & DR6_GUARDS;
	struct kvm_regs regs;
	if (!hit || ioctl(vcpu->fd, KVM_GET_REGS, &regs) < 0)
		return;
	if (hit & 1u << STEP_GUARD_SYSCALL) {
		regs.r11 &= ~(uint64_t)RFLAGS_TF;
		(void)!ioctl(vcpu->fd, KVM_SET_REGS, &regs);
		return;
	}
	/* RIP, CS and RFLAGS, below them the error code where the exception has one. */
	bool has_code = hit & (1u << STEP_GUARD_GP | 1u << STEP_GUARD_PF);
	uint8_t *flags = guest_bytes(vcpu, regs.rsp + (has_code ? 24 : 16), sizeof(uint64_t));
	if (flags)
		flags[1] &= (uint8_t) ~(RFLAGS_TF >> 8);
}

/* --- the probe --- */

#define PROBE_BYTES (UINT64_C(2) << 20)
#define PROBE_CODE 0x100000u
#define PROBE_STEPS 3u
#define PTE_USER 4u

/* What stops the guest if nothing else does is a HLT: an exit by itself in ring 0, a triple fault in ring 3.
 */
static bool probe_ring(unsigned ring)
{
	static const uint8_t code[] = {0x90, 0x90, 0x90, 0x90, 0xf4};
	uint64_t bytes = PROBE_BYTES;
	_cleanup_(gmem_free_p) struct gmem *memory = gmem_new(&bytes, 1, NULL);
	if (!memory || gmem_write(memory, GPA(PROBE_CODE), code, sizeof(code)) < 0)
		return false;
	pgtable_write_identity(memory);
	regs_write_gdt(memory);
	/* The first entry of each level: of the tables' first three pages. */
	uint8_t *tables = gmem_ptr(memory, GPA(LAYOUT_PAGE_TABLES), 3 * 4096);
	for (unsigned level = 0; level < 3; level++)
		tables[level * 4096] |= PTE_USER;
	struct vm_config config = {.n_vcpus = 1, .memory = memory};
	_cleanup_(vm_free_p) struct vm *vm = vm_new(&config, NULL);
	if (!vm || regs_set_long_mode(vm, 0, GPA(PROBE_CODE), GPA(0), NULL) < 0)
		return false;
	int fd = vm_vcpu_fd(vm, 0);
	struct kvm_sregs sregs;
	if (ioctl(fd, KVM_GET_SREGS, &sregs) < 0)
		return false;
	sregs.cs.selector |= (uint16_t)ring;
	sregs.ss.selector |= (uint16_t)ring;
	sregs.cs.dpl = sregs.ss.dpl = (uint8_t)ring;
	if (ioctl(fd, KVM_SET_SREGS, &sregs) < 0)
		return false;
	for (unsigned i = 0; i < PROBE_STEPS; i++) {
		struct kvm_regs regs;
		int r;
		if (step_arm(vm, fd, NULL, PROBE_CODE + i) < 0)
			return false;
		do
			r = ioctl(fd, KVM_RUN, 0);
		while (r < 0 && errno == EINTR);
		if (r < 0 || vm->vcpus[0].run->exit_reason != KVM_EXIT_DEBUG ||
			ioctl(fd, KVM_GET_REGS, &regs) < 0 || regs.rip != PROBE_CODE + i + 1)
			return false;
	}
	return true;
}

static pthread_once_t probe_once = PTHREAD_ONCE_INIT;
static bool probe_ok;

static void probe(void)
{
	probe_ok = probe_ring(0) && probe_ring(3);
}

int step_probe(struct err *err)
{
	pthread_once(&probe_once, probe);
	if (probe_ok)
		return 0;
	err_set(err, ERR_UNSUPPORTED,
		"this host's KVM cannot single-step a guest: tried on one of its own, it did not stop after "
		"each "
		"instruction");
	return err_reason(err, "no-single-step");
}
