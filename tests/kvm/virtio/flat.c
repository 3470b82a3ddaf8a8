/* SPDX-License-Identifier: GPL-2.0-only */
/* See flat.h. */
#include "flat.h"

#include "common/clock.h"
#include "host/arch/x86_64/layout.h"

#include <criterion/criterion.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>

/* Local APIC registers (Intel SDM vol. 3, table 12-1) */
#define LAPIC_SPURIOUS 0xf0u
#define LAPIC_IRR 0x200u

static void set_register(struct flat *flat, uint64_t offset, uint32_t value)
{
	virtio_mmio_write(flat->dev, offset, (const uint8_t *)&value, sizeof(value));
}

static void set_registers(struct vm *vm)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs = {.rip = FLAT_CODE, .rflags = 2};
	int fd = vm_vcpu_fd(vm, 0);
	cr_assert_eq(ioctl(fd, KVM_GET_SREGS, &sregs), 0);
	struct kvm_segment flat = {
		.limit = UINT32_MAX, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1};
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat;
	flat.type = 11;
	flat.selector = 8;
	sregs.cs = flat;
	sregs.cr0 |= 1;
	cr_assert_eq(ioctl(fd, KVM_SET_SREGS, &sregs), 0);
	cr_assert_eq(ioctl(fd, KVM_SET_REGS, &regs), 0);
}

static uint32_t *lapic_register(struct kvm_lapic_state *lapic, unsigned offset)
{
	return (uint32_t *)(void *)&lapic->regs[offset];
}

static void route_interrupt(struct vm *vm)
{
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};
	struct kvm_lapic_state lapic;
	cr_assert_eq(ioctl(vm_fd(vm), KVM_GET_IRQCHIP, &chip), 0);
	chip.chip.ioapic.redirtbl[LAYOUT_VIRTIO_GSI + FLAT_SLOT].bits = FLAT_VECTOR;
	cr_assert_eq(ioctl(vm_fd(vm), KVM_SET_IRQCHIP, &chip), 0);
	cr_assert_eq(ioctl(vm_vcpu_fd(vm, 0), KVM_GET_LAPIC, &lapic), 0);
	*lapic_register(&lapic, LAPIC_SPURIOUS) |= 0x1ff;
	cr_assert_eq(ioctl(vm_vcpu_fd(vm, 0), KVM_SET_LAPIC, &lapic), 0);
}

void flat_init(struct flat *flat, struct virtio_device *dev, const uint8_t *code, size_t length)
{
	struct err err = ERR_INIT;
	uint64_t bytes = UINT64_C(2) << 20;
	*flat = (struct flat){.memory = gmem_new(&bytes, 1, &err), .loop = loop_new(&err), .dev = dev};
	cr_assert(flat->memory && flat->loop && dev, "%s", err.message);
	struct vm_config config = {.n_vcpus = 1, .memory = flat->memory, .irqchip = true};
	flat->vm = vm_new(&config, &err);
	cr_assert_not_null(flat->vm, "%s", err.message);
	cr_assert_eq(virtio_attach(flat->vm, flat->loop, dev, FLAT_SLOT, &err), 0, "%s", err.message);
	cr_assert_lt(virtio_attach(flat->vm, flat->loop, dev, LAYOUT_VIRTIO_MAX, &err), 0);
	set_registers(flat->vm);
	route_interrupt(flat->vm);
	flat_put(flat, FLAT_CODE, code, length);
}

void flat_put(struct flat *flat, uint32_t gpa, const void *bytes, size_t length)
{
	cr_assert_eq(gmem_write(flat->memory, GPA(gpa), bytes, length), 0);
}

#define STATUS_BITS (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)

void flat_negotiate(struct flat *flat)
{
	set_register(flat, VIRTIO_MMIO_STATUS, STATUS_BITS);
	set_register(flat, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	set_register(flat, VIRTIO_MMIO_DRIVER_FEATURES, 1);
	set_register(flat, VIRTIO_MMIO_STATUS, STATUS_BITS | VIRTIO_CONFIG_S_FEATURES_OK);
}

void flat_queue(struct flat *flat, unsigned index, uint32_t desc, uint32_t avail, uint32_t used)
{
	set_register(flat, VIRTIO_MMIO_QUEUE_SEL, index);
	set_register(flat, VIRTIO_MMIO_QUEUE_NUM, 8);
	set_register(flat, VIRTIO_MMIO_QUEUE_DESC_LOW, desc);
	set_register(flat, VIRTIO_MMIO_QUEUE_AVAIL_LOW, avail);
	set_register(flat, VIRTIO_MMIO_QUEUE_USED_LOW, used);
	set_register(flat, VIRTIO_MMIO_QUEUE_READY, 1);
}

void flat_driver_ok(struct flat *flat)
{
	set_register(flat, VIRTIO_MMIO_STATUS,
		STATUS_BITS | VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void *run_loop(void *arg)
{
	loop_run(arg);
	return NULL;
}

void flat_start(struct flat *flat)
{
	struct err err = ERR_INIT;
	cr_assert_eq(pthread_create(&flat->thread, NULL, run_loop, flat->loop), 0);
	cr_assert_eq(vm_start(flat->vm, &err), 0, "%s", err.message);
}

const volatile uint32_t *flat_wait(struct flat *flat, unsigned last)
{
	const volatile uint32_t *report = gmem_ptr(flat->memory, GPA(FLAT_REPORT), 4 * (last + 1));
	uint64_t until = clock_deadline_ns(20 * NS_PER_S);
	while (!report[last] && clock_left_ns(until))
		sched_yield();
	cr_assert_neq(report[last], 0, "the guest did not come to its end");
	return report;
}

void flat_assert_interrupted(struct flat *flat)
{
	vm_stop(flat->vm);
	/* KVM delivers from a work queue of its own, at some time after the write. */
	bool arrived = false;
	uint64_t until = clock_deadline_ns(20 * NS_PER_S);
	while (!arrived && clock_left_ns(until)) {
		struct kvm_lapic_state lapic;
		cr_assert_eq(ioctl(vm_vcpu_fd(flat->vm, 0), KVM_GET_LAPIC, &lapic), 0);
		arrived = *lapic_register(&lapic, LAPIC_IRR + FLAT_VECTOR / 32 * 16) >> FLAT_VECTOR % 32 & 1;
	}
	cr_assert(arrived, "no interrupt came");
}

void flat_deinit(struct flat *flat)
{
	loop_stop(flat->loop);
	pthread_join(flat->thread, NULL);
	vm_free(flat->vm);
	virtio_free(flat->dev);
	loop_free(flat->loop);
	gmem_free(flat->memory);
}
