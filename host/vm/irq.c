/* SPDX-License-Identifier: GPL-2.0-only */
/* Interrupts and notifications that KVM handles by itself: interrupt chips, irqfd, ioeventfd. Before the VM
 * runs. */
#include "host/vm/irq.h"

#include "host/arch/x86_64/layout.h"
#include "host/vm/vm_internal.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

int vm_create_irqchip(struct vm *vm, struct err *err)
{
	/* Intel CPUs without unrestricted guest mode need these three pages out of the guest's way; elsewhere
	 * KVM takes and ignores them. Before the first vCPU: KVM_SET_IDENTITY_MAP_ADDR insists. */
	uint64_t identity = LAYOUT_KVM_IDENTITY_MAP;
	if (ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_SET_IDENTITY_MAP_ADDR) > 0 &&
		ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0)
		return err_set_os(err, ERR_HOST, errno, "KVM_SET_IDENTITY_MAP_ADDR");
	if (ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_SET_TSS_ADDR) > 0 &&
		ioctl(vm->fd, KVM_SET_TSS_ADDR, (unsigned long)LAYOUT_KVM_TSS) < 0)
		return err_set_os(err, ERR_HOST, errno, "KVM_SET_TSS_ADDR");
	if (vm->irqchip && ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot create the interrupt controllers");
	return 0;
}

int vm_add_irqfd(struct vm *vm, unsigned gsi, struct err *err)
{
	_cleanup_close_ int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0) {
		err_set_os(err, ERR_HOST, errno, "cannot have an eventfd for interrupt %u", gsi);
		return -1;
	}
	struct kvm_irqfd irqfd = {.fd = (uint32_t)fd, .gsi = gsi};
	if (ioctl(vm->fd, KVM_IRQFD, &irqfd) < 0) {
		err_set_os(err, ERR_HOST, errno, "cannot connect interrupt %u", gsi);
		return -1;
	}
	return take_fd(&fd);
}

int vm_add_ioeventfd(struct vm *vm, gpa_t gpa, unsigned length, uint64_t match, int fd, struct err *err)
{
	struct kvm_ioeventfd event = {
		.datamatch = match,
		.addr = gpa.v,
		.len = length,
		.fd = fd,
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
	};
	if (ioctl(vm->fd, KVM_IOEVENTFD, &event) < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot connect the doorbell at %#llx",
			(unsigned long long)gpa.v);
	return 0;
}
