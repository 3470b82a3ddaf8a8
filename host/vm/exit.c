/* SPDX-License-Identifier: GPL-2.0-only */
/* Exits of KVM_RUN: the table of those we know, and what becomes of the rest. vCPU threads; nothing
 * allocates, logs or blocks. */
#include "host/vm/vm_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

/* Of an instruction: the architecture's limit is 15. */
#define INSN_BYTES_MAX 15

static enum vcpu_exit_result serve_io(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	const struct bus *bus = &vcpu->vm->pio;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	unsigned size = run->io.size;
	/* `count` > 1: a string instruction, as many as fit into one page. */
	for (uint32_t i = 0; i < run->io.count; i++, data += size) {
		if (run->io.direction == KVM_EXIT_IO_OUT)
			bus_write(bus, run->io.port, data, size);
		else
			bus_read(bus, run->io.port, data, size);
	}
	return VCPU_EXIT_COMPLETE;
}

static enum vcpu_exit_result serve_mmio(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	const struct bus *bus = &vcpu->vm->mmio;
	unsigned length = MIN_OF(run->mmio.len, sizeof(run->mmio.data));
	if (run->mmio.is_write)
		bus_write(bus, run->mmio.phys_addr, run->mmio.data, length);
	else
		bus_read(bus, run->mmio.phys_addr, run->mmio.data, length);
	return VCPU_EXIT_COMPLETE;
}

static enum vcpu_exit_result serve_nothing(struct vcpu *vcpu)
{
	return VCPU_EXIT_RUN_ON;
}

/* Seen only without an in-kernel LAPIC: nothing can wake it again. */
static enum vcpu_exit_result serve_hlt(struct vcpu *vcpu)
{
	return VCPU_EXIT_DEAD;
}

static enum vcpu_exit_result serve_shutdown(struct vcpu *vcpu)
{
	struct vm_end_info info = {.why = VM_END_TRIPLE_FAULT};
	vm_end(vcpu->vm, &info);
	return VCPU_EXIT_DEAD;
}

static enum vcpu_exit_result serve_fail_entry(struct vcpu *vcpu)
{
	struct vm_end_info info = {.why = VM_END_KVM_ERROR};
	err_set(&info.err, ERR_HOST,
		"KVM cannot enter vCPU %u: hardware entry failure reason %#llx on CPU %u", vcpu->index,
		(unsigned long long)vcpu->run->fail_entry.hardware_entry_failure_reason,
		vcpu->run->fail_entry.cpu);
	err_reason(&info.err, "fail-entry");
	vm_end(vcpu->vm, &info);
	return VCPU_EXIT_DEAD;
}

/* The bytes at RIP: KVM's own copy if it gave one, else through the guest's page tables. */
static unsigned insn_bytes(struct vcpu *vcpu, uint64_t rip, uint8_t *bytes)
{
	struct kvm_run *run = vcpu->run;
	if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR &&
		run->emulation_failure.suberror == KVM_INTERNAL_ERROR_EMULATION && run->internal.ndata > 1 &&
		run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) {
		unsigned n = MIN_OF(run->emulation_failure.insn_size, INSN_BYTES_MAX);
		memcpy(bytes, run->emulation_failure.insn_bytes, n);
		return n;
	}
	struct kvm_translation tr = {.linear_address = rip};
	if (ioctl(vcpu->fd, KVM_TRANSLATE, &tr) < 0 || !tr.valid)
		return 0;
	unsigned n = MIN_OF(4096 - (rip & 4095), INSN_BYTES_MAX);
	return gmem_read(vcpu->vm->memory, GPA(tr.physical_address), bytes, n) < 0 ? 0 : n;
}

static void describe_place(struct vcpu *vcpu, char *text, size_t size)
{
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	uint8_t insn[INSN_BYTES_MAX];
	text[0] = '\0';
	if (ioctl(vcpu->fd, KVM_GET_REGS, &regs) < 0 || ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
		return;
	int at = snprintf(text, size, ", rip %#llx", (unsigned long long)regs.rip);
	unsigned n = insn_bytes(vcpu, sregs.cs.base + regs.rip, insn);
	if (n)
		at += snprintf(text + at, size - (size_t)at, ", instruction bytes");
	for (unsigned i = 0; i < n; i++)
		at += snprintf(text + at, size - (size_t)at, " %02x", insn[i]);
}

static enum vcpu_exit_result serve_internal_error(struct vcpu *vcpu)
{
	static const char *const names[] = {
		[KVM_INTERNAL_ERROR_EMULATION] = "it cannot emulate an instruction",
		[KVM_INTERNAL_ERROR_SIMUL_EX] = "simultaneous exceptions",
		[KVM_INTERNAL_ERROR_DELIVERY_EV] = "an exit while delivering an event",
		[KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON] = "an exit that it does not know",
	};
	const struct kvm_run *run = vcpu->run;
	unsigned sub = run->internal.suberror;
	char place[128], data[128] = "";
	describe_place(vcpu, place, sizeof(place));
	int at = 0;
	for (unsigned i = 0; i < MIN_OF(run->internal.ndata, 4u); i++)
		at += snprintf(data + at, sizeof(data) - (size_t)at, " %#llx",
			(unsigned long long)run->internal.data[i]);
	struct vm_end_info info = {.why = VM_END_KVM_ERROR};
	err_set(&info.err, ERR_HOST, "KVM internal error %u (%s) on vCPU %u%s%s%s", sub,
		sub < ARRAY_SIZE(names) && names[sub] ? names[sub] : "unknown", vcpu->index, place,
		at ? ", data" : "", data);
	err_reason(&info.err, "internal-error");
	vm_end(vcpu->vm, &info);
	return VCPU_EXIT_DEAD;
}

/* KVM_EXIT_SYSTEM_EVENT: Hyper-V guests crash this way, ours has no such device. */
static enum vcpu_exit_result serve_system_event(struct vcpu *vcpu)
{
	struct vm_end_info info = {
		.why = vcpu->run->system_event.type == KVM_SYSTEM_EVENT_SHUTDOWN ? VM_END_POWEROFF
										 : VM_END_RESET,
	};
	vm_end(vcpu->vm, &info);
	return VCPU_EXIT_DEAD;
}

static enum vcpu_exit_result serve_unknown(struct vcpu *vcpu)
{
	uint32_t reason = vcpu->run->exit_reason;
	char place[128];
	describe_place(vcpu, place, sizeof(place));
	struct vm_end_info info = {.why = VM_END_KVM_ERROR};
	err_set(&info.err, ERR_HOST, "KVM left vCPU %u for a reason that nobody here handles: %u (%s)%s",
		vcpu->index, reason, vcpu_exit_name(reason), place);
	err_reason(&info.err, "unhandled-exit");
	vm_end(vcpu->vm, &info);
	return VCPU_EXIT_DEAD;
}

static enum vcpu_exit_result serve_debug(struct vcpu *vcpu)
{
	if (!vcpu->stepping)
		return serve_unknown(vcpu);
	vcpu->stepped = true;
	return VCPU_EXIT_RUN_ON;
}

#define VM_EXIT_LIST(X)                                                                                      \
	X(IO, serve_io)                                                                                      \
	X(MMIO, serve_mmio)                                                                                  \
	X(HLT, serve_hlt)                                                                                    \
	X(INTR, serve_nothing)                                                                               \
	X(IRQ_WINDOW_OPEN, serve_nothing)                                                                    \
	X(SHUTDOWN, serve_shutdown)                                                                          \
	X(FAIL_ENTRY, serve_fail_entry)                                                                      \
	X(INTERNAL_ERROR, serve_internal_error)                                                              \
	X(SYSTEM_EVENT, serve_system_event)                                                                  \
	X(DEBUG, serve_debug)                                                                                \
	X(HYPERCALL, NULL)                                                                                   \
	X(EXCEPTION, NULL)                                                                                   \
	X(UNKNOWN, NULL)                                                                                     \
	X(TPR_ACCESS, NULL)                                                                                  \
	X(SET_TPR, NULL)                                                                                     \
	X(NMI, NULL)                                                                                         \
	X(IOAPIC_EOI, NULL)                                                                                  \
	X(X86_RDMSR, NULL)                                                                                   \
	X(X86_WRMSR, NULL)

static const struct {
	const char *name;
	enum vcpu_exit_result (*serve)(struct vcpu *vcpu); /* NULL: nothing of ours asks for it */
} exits[] = {
#define X(name, serve) [KVM_EXIT_##name] = {#name, serve},
	VM_EXIT_LIST(X)
#undef X
};

const char *vcpu_exit_name(uint32_t reason)
{
	return reason < ARRAY_SIZE(exits) && exits[reason].name ? exits[reason].name : "unknown";
}

enum vcpu_exit_result vcpu_serve_exit(struct vcpu *vcpu)
{
	uint32_t reason = vcpu->run->exit_reason;
	if (reason < ARRAY_SIZE(exits) && exits[reason].serve)
		return exits[reason].serve(vcpu);
	return serve_unknown(vcpu);
}

void vcpu_report_run_error(struct vcpu *vcpu, int errnum)
{
	char place[128];
	describe_place(vcpu, place, sizeof(place));
	struct vm_end_info info = {.why = VM_END_KVM_ERROR};
	err_set_os(&info.err, ERR_HOST, errnum, "KVM cannot run vCPU %u%s (last exit %s)", vcpu->index, place,
		vcpu_exit_name(atomic_load_explicit(&vcpu->last_exit, memory_order_relaxed)));
	err_reason(&info.err, "run-failed");
	vm_end(vcpu->vm, &info);
}
