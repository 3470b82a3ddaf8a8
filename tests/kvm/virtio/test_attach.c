/* SPDX-License-Identifier: GPL-2.0-only */
/* A device on a real VM: a guest of a few instructions reads its registers (MMIO exits), notifies it
 * (ioeventfd), sees the used ring move and acknowledges the interrupt, which the I/O APIC has got (irqfd).
 * The rings are laid out from outside before the guest starts. */
#include "common/clock.h"
#include "common/loop.h"
#include "host/arch/x86_64/layout.h"
#include "host/virtio/mmio.h"
#include "host/virtio/rng.h"
#include "host/vm/freeze.h"
#include "host/vm/vm.h"

#include <criterion/criterion.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>

#define CODE 0x10000u
#define REPORT 0x8000u
#define DESC 0x20000u
#define AVAIL 0x21000u
#define USED 0x22000u
#define BUFFER 0x23000u
#define SLOT 2u
#define VECTOR 0x41u
/* Local APIC registers (Intel SDM vol. 3, table 12-1) */
#define LAPIC_SPURIOUS 0xf0u
#define LAPIC_IRR 0x200u

/* 32-bit, flat, no paging. */
static const uint8_t code[] = {
	0xbe, 0x00, 0x20, 0x00, 0xd0,       /* mov esi, registers of slot 2 */
	0x8b, 0x06,                         /* mov eax, [esi] */
	0xa3, 0x00, 0x80, 0x00, 0x00,       /* mov [REPORT], eax */
	0x31, 0xc0,                         /* xor eax, eax */
	0x89, 0x46, 0x50,                   /* mov [esi + QueueNotify], eax */
	0x66, 0xa1, 0x02, 0x20, 0x02, 0x00, /* 1: mov ax, [USED + 2] */
	0x66, 0x85, 0xc0,                   /* test ax, ax */
	0x74, 0xf5,                         /* jz 1b */
	0x8b, 0x46, 0x60,                   /* 2: mov eax, [esi + InterruptStatus] */
	0x85, 0xc0,                         /* test eax, eax */
	0x74, 0xf9,                         /* jz 2b */
	0xa3, 0x04, 0x80, 0x00, 0x00,       /* mov [REPORT + 4], eax */
	0x89, 0x46, 0x64,                   /* mov [esi + InterruptACK], eax */
	0x8b, 0x46, 0x60,                   /* mov eax, [esi + InterruptStatus] */
	0xa3, 0x08, 0x80, 0x00, 0x00,       /* mov [REPORT + 8], eax */
	0xb8, 0x01, 0x00, 0x00, 0x00,       /* mov eax, 1 */
	0xa3, 0x0c, 0x80, 0x00, 0x00,       /* mov [REPORT + 12], eax */
	0xf4,                               /* 3: hlt */
	0xeb, 0xfd,                         /* jmp 3b */
};

static void set_register(struct virtio_device *dev, uint64_t offset, uint32_t value)
{
	virtio_mmio_write(dev, offset, (const uint8_t *)&value, sizeof(value));
}

/* What a driver does before the first notification. */
static void set_up(struct virtio_device *dev, struct gmem *memory)
{
	uint32_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
	set_register(dev, VIRTIO_MMIO_STATUS, status);
	set_register(dev, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	set_register(dev, VIRTIO_MMIO_DRIVER_FEATURES, 1);
	set_register(dev, VIRTIO_MMIO_STATUS, status |= VIRTIO_CONFIG_S_FEATURES_OK);
	set_register(dev, VIRTIO_MMIO_QUEUE_NUM, 8);
	set_register(dev, VIRTIO_MMIO_QUEUE_DESC_LOW, DESC);
	set_register(dev, VIRTIO_MMIO_QUEUE_AVAIL_LOW, AVAIL);
	set_register(dev, VIRTIO_MMIO_QUEUE_USED_LOW, USED);
	set_register(dev, VIRTIO_MMIO_QUEUE_READY, 1);
	set_register(dev, VIRTIO_MMIO_STATUS, status | VIRTIO_CONFIG_S_DRIVER_OK);
	struct vring_desc desc = {.addr = BUFFER, .len = 64, .flags = VRING_DESC_F_WRITE};
	cr_assert_eq(gmem_write(memory, GPA(DESC), &desc, sizeof(desc)), 0);
}

static void set_registers(struct vm *vm)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs = {.rip = CODE, .rflags = 2};
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

/* The device's pin becomes VECTOR, which then waits in the local APIC: the guest never enables interrupts. */
static void route_interrupt(struct vm *vm)
{
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};
	struct kvm_lapic_state lapic;
	cr_assert_eq(ioctl(vm_fd(vm), KVM_GET_IRQCHIP, &chip), 0);
	chip.chip.ioapic.redirtbl[LAYOUT_VIRTIO_GSI + SLOT].bits = VECTOR;
	cr_assert_eq(ioctl(vm_fd(vm), KVM_SET_IRQCHIP, &chip), 0);
	cr_assert_eq(ioctl(vm_vcpu_fd(vm, 0), KVM_GET_LAPIC, &lapic), 0);
	*lapic_register(&lapic, LAPIC_SPURIOUS) |= 0x1ff;
	cr_assert_eq(ioctl(vm_vcpu_fd(vm, 0), KVM_SET_LAPIC, &lapic), 0);
}

static void *run_loop(void *arg)
{
	loop_run(arg);
	return NULL;
}

static void nothing(void *arg)
{
}

static void free_device(struct virtio_device **dev)
{
	virtio_free(*dev);
}

Test(virtio_kvm, a_guest_uses_a_device, .timeout = 60)
{
	struct err err = ERR_INIT;
	uint64_t bytes = UINT64_C(2) << 20;
	_cleanup_(gmem_free_p) struct gmem *memory = gmem_new(&bytes, 1, &err);
	_cleanup_(loop_free_p) struct loop *loop = loop_new(&err);
	_cleanup_(free_device) struct virtio_device *dev = rng_new(&err);
	cr_assert(memory && loop && dev, "%s", err.message);
	struct vm_config config = {.n_vcpus = 1, .memory = memory, .irqchip = true};
	_cleanup_(vm_free_p) struct vm *vm = vm_new(&config, &err);
	cr_assert_not_null(vm, "%s", err.message);
	cr_assert_eq(virtio_attach(vm, loop, dev, SLOT, &err), 0, "%s", err.message);
	cr_assert_lt(virtio_attach(vm, loop, dev, LAYOUT_VIRTIO_MAX, &err), 0);
	set_up(dev, memory);
	set_registers(vm);
	route_interrupt(vm);
	cr_assert_eq(gmem_write(memory, GPA(CODE), code, sizeof(code)), 0);

	pthread_t thread;
	cr_assert_eq(pthread_create(&thread, NULL, run_loop, loop), 0);
	cr_assert_eq(vm_start(vm, &err), 0, "%s", err.message);

	/* A buffer that is there during a freeze is served after it, however long that takes. */
	struct freeze *freeze;
	cr_assert_eq(vm_freeze(vm, clock_deadline_ns(10 * NS_PER_S), &freeze, &err), 0, "%s", err.message);
	struct vring_avail *avail = gmem_ptr(memory, GPA(AVAIL), 64);
	struct vring_used *used = gmem_ptr(memory, GPA(USED), 64);
	__atomic_store_n(&avail->idx, 1, __ATOMIC_RELEASE);
	virtio_kick(dev);
	/* The second call finds everything done that was ready before the first. */
	cr_assert_eq(loop_call(loop, nothing, NULL), 0);
	cr_assert_eq(loop_call(loop, nothing, NULL), 0);
	cr_assert_eq(__atomic_load_n(&used->idx, __ATOMIC_ACQUIRE), 0, "written in a freeze");
	vm_thaw(freeze, NULL);

	volatile uint32_t *report = gmem_ptr(memory, GPA(REPORT), 16);
	uint64_t until = clock_deadline_ns(20 * NS_PER_S);
	while (!report[3] && clock_left_ns(until))
		sched_yield();
	cr_assert_eq(report[3], 1, "the guest did not come to its end");
	cr_assert_eq(report[0], 0x74726976, "magic");
	cr_assert_eq(report[1], VIRTIO_MMIO_INT_VRING);
	cr_assert_eq(report[2], 0, "acknowledged");
	cr_assert_eq(used->ring[0].len, 64);

	vm_stop(vm);
	/* KVM delivers from a work queue of its own, at some time after the write. */
	bool arrived = false;
	until = clock_deadline_ns(20 * NS_PER_S);
	while (!arrived && clock_left_ns(until)) {
		struct kvm_lapic_state lapic;
		cr_assert_eq(ioctl(vm_vcpu_fd(vm, 0), KVM_GET_LAPIC, &lapic), 0);
		arrived = *lapic_register(&lapic, LAPIC_IRR + VECTOR / 32 * 16) >> VECTOR % 32 & 1;
	}
	cr_assert(arrived, "no interrupt came");
	loop_stop(loop);
	pthread_join(thread, NULL);
	vm_free(TAKE_PTR(vm));
}
