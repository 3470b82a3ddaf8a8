/* SPDX-License-Identifier: GPL-2.0-only */
/* A vCPU's registers at its start. Before the VM runs, one thread. */
#include "host/arch/x86_64/regs.h"

#include "host/arch/x86_64/layout.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

/* Selectors that the kernel's entry expects: __BOOT_CS and __BOOT_DS of Linux, boot.rst "64-bit boot
 * protocol". */
#define BOOT_CS 0x10u
#define BOOT_DS 0x18u
#define BOOT_TSS 0x20u
#define GDT_ENTRIES 5u

#define RESET_VECTOR 0xffff0u

#define CR0_PE 0x1u
#define CR0_ET 0x10u
#define CR0_PG 0x80000000u
#define CR4_PAE 0x20u
#define EFER_LME 0x100u
#define EFER_LMA 0x400u

#define MSR_MISC_ENABLE 0x1a0u
#define MISC_ENABLE_FAST_STRING 1u
#define MSR_MTRR_DEF_TYPE 0x2ffu
/* Enabled, write-back: with MTRRs off the kernel takes all memory for uncached and switches PAT off. */
#define MTRR_WRITE_BACK 0x806u

void regs_write_gdt(const struct gmem *memory)
{
	static const uint64_t gdt[GDT_ENTRIES] = {
		[BOOT_CS / 8] = 0x00af9b000000ffff,
		[BOOT_DS / 8] = 0x00cf93000000ffff,
		[BOOT_TSS / 8] = 0x00008b0000000067,
	};
	int rc = gmem_write(memory, GPA(LAYOUT_GDT), gdt, sizeof(gdt));
	assert(rc == 0);
	(void)rc;
}

void regs_write_reset_vector(const struct gmem *memory)
{
	/* mov al, VALUE; mov dx, PORT; out dx, al; hlt; jmp to the hlt */
	static const uint8_t code[] = {0xb0, LAYOUT_RESET_VALUE, 0xba, LAYOUT_RESET_PORT & 0xff,
		LAYOUT_RESET_PORT >> 8, 0xee, 0xf4, 0xeb, 0xfd};
	static const uint8_t none[sizeof(code)];
	_Static_assert(LAYOUT_ACPI + LAYOUT_ACPI_BYTES == RESET_VECTOR + 16,
		"the kernel keeps off the tables' range");
	uint8_t *vector = gmem_ptr(memory, GPA(RESET_VECTOR), sizeof(code));
	assert(vector);
	if (memcmp(vector, none, sizeof(none)) == 0)
		memcpy(vector, code, sizeof(code));
}

int regs_set_long_mode(struct vm *vm, unsigned vcpu, gpa_t entry, gpa_t arg, struct err *err)
{
	int fd = vm_vcpu_fd(vm, vcpu);
	struct kvm_sregs s;
	if (ioctl(fd, KVM_GET_SREGS, &s) < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot read the registers of vCPU %u", vcpu);
	struct kvm_segment code = {
		.limit = 0xffffffff, .selector = BOOT_CS, .type = 0xb, .present = 1, .s = 1, .l = 1, .g = 1};
	struct kvm_segment data = {
		.limit = 0xffffffff, .selector = BOOT_DS, .type = 0x3, .present = 1, .s = 1, .db = 1, .g = 1};
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.tr = (struct kvm_segment){.limit = 0x67, .selector = BOOT_TSS, .type = 0xb, .present = 1};
	s.gdt.base = LAYOUT_GDT;
	s.gdt.limit = GDT_ENTRIES * 8 - 1;
	s.idt.base = 0;
	s.idt.limit = 0; /* nothing may interrupt yet; what does is a triple fault, seen at once */
	s.cr0 = CR0_PE | CR0_ET | CR0_PG;
	s.cr3 = LAYOUT_PAGE_TABLES;
	s.cr4 = CR4_PAE;
	s.efer = EFER_LME | EFER_LMA;
	if (ioctl(fd, KVM_SET_SREGS, &s) < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot set the system registers of vCPU %u", vcpu);
	struct kvm_regs regs = {
		.rip = entry.v,
		.rsi = arg.v,
		.rsp = LAYOUT_BOOT_PARAMS,
		.rflags = 2,
	};
	if (ioctl(fd, KVM_SET_REGS, &regs) < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot set the registers of vCPU %u", vcpu);
	/* As after reset: extended precision and all exceptions masked, whatever this KVM starts with. */
	struct kvm_fpu fpu = {.fcw = 0x37f, .mxcsr = 0x1f80};
	if (ioctl(fd, KVM_SET_FPU, &fpu) < 0)
		return err_set_os(
			err, ERR_HOST, errno, "cannot set the floating-point state of vCPU %u", vcpu);
	return 0;
}

int regs_set_msrs(struct vm *vm, unsigned vcpu, struct err *err)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry[2];
	} msrs = {
		.head.nmsrs = 2,
		.entry = {{.index = MSR_MTRR_DEF_TYPE, .data = MTRR_WRITE_BACK},
			{.index = MSR_MISC_ENABLE, .data = MISC_ENABLE_FAST_STRING}},
	};
	/* Says how many it has set before one that it does not have. */
	int n = ioctl(vm_vcpu_fd(vm, vcpu), KVM_SET_MSRS, &msrs);
	if (n < 0)
		return err_set_os(
			err, ERR_HOST, errno, "cannot set the model-specific registers of vCPU %u", vcpu);
	if (n < (int)msrs.head.nmsrs)
		return err_set(err, ERR_HOST, "this host's KVM refuses to set MSR %#x of vCPU %u",
			msrs.entry[n].index, vcpu);
	return 0;
}
