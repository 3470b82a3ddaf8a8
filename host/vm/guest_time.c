/* SPDX-License-Identifier: GPL-2.0-only */
/* Guest time across a freeze: stopped after the last park, set right before the first release. The freezing
 * thread; vCPUs are parked, so their ioctls do not wait for anybody's KVM_RUN.
 *
 *      last park                                         release
 *         |  stop()                               restart() |
 *   ------T1-----------------------------------------T2--T3-+----->  host
 *   ------T1 . . . . . . . . . . . . . . . . . . . . T1--'--+----->  guest
 *
 * T1 and T2 are pairs of (kvmclock, host TSC) that KVM reads in one go. Each vCPU's TSC offset goes back by
 * TSC(T2) - TSC(T1), and kvmclock by the same time; so they stay together, however often this is done: a
 * kernel that uses one as the watchdog of the other never sees them part.
 *
 * Documentation/virt/kvm/devices/vcpu.rst 4 (KVM_VCPU_TSC_CTRL), api.rst 4.29 and 4.30 (KVM_GET_CLOCK,
 * KVM_SET_CLOCK), 4.35 (KVM_KVMCLOCK_CTRL). */
#include "host/vm/vm_internal.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <x86intrin.h>

#define MSR_IA32_TSC_DEADLINE 0x6e0u

/* Beyond this the guest is told (see tell_guest()). */
#define TELL_GUEST_NS NS_PER_S

static struct kvm_device_attr tsc_offset_attr(uint64_t *offset)
{
	return (struct kvm_device_attr){
		.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)offset};
}

bool vm_time_can_stop(const struct vm *vm)
{
	struct kvm_device_attr attr = tsc_offset_attr(NULL);
	return ioctl(vm->vcpus[0].fd, KVM_HAS_DEVICE_ATTR, &attr) == 0;
}

void vcpu_time_capture(struct vcpu *vcpu)
{
	if (!atomic_load_explicit(&vcpu->vm->can_stop_time, memory_order_relaxed))
		return;
	struct kvm_device_attr attr = tsc_offset_attr(&vcpu->tsc_offset);
	vcpu->tsc_offset_errno = ioctl(vcpu->fd, KVM_GET_DEVICE_ATTR, &attr) < 0 ? errno : 0;
	/* The LAPIC's timer goes on, on a timer of the host's: what it was set to must be known from before
	 * it goes off. Zero: not armed, or not in this mode. */
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} msr = {.head.nmsrs = 1, .entry.index = MSR_IA32_TSC_DEADLINE};
	vcpu->tsc_deadline =
		vcpu->vm->irqchip && ioctl(vcpu->fd, KVM_GET_MSRS, &msr) == 1 ? msr.entry.data : 0;
}

static int get_clock(struct vm *vm, struct kvm_clock_data *clock)
{
	*clock = (struct kvm_clock_data){0};
	if (ioctl(vm->fd, KVM_GET_CLOCK, clock) < 0)
		return -errno;
	/* Without it (before the first KVM_RUN, or where the host's TSC is no clock) the pair is as good as
	 * one can read it from here. */
	if (!(clock->flags & KVM_CLOCK_HOST_TSC))
		clock->host_tsc = __rdtsc();
	return 0;
}

/* -EOPNOTSUPP: some hosts without hardware virtualisation say yes and do nothing; their guests read the
 * host's TSC. Not found out sooner, because each change lets KVM believe for a while that the vCPUs' TSCs
 * differ. */
static int set_offset(struct vcpu *vcpu, uint64_t offset)
{
	uint64_t now = ~offset;
	struct kvm_device_attr set = tsc_offset_attr(&offset), get = tsc_offset_attr(&now);
	if (ioctl(vcpu->fd, KVM_SET_DEVICE_ATTR, &set) < 0)
		return -errno;
	if (vcpu->index == 0 && (ioctl(vcpu->fd, KVM_GET_DEVICE_ATTR, &get) < 0 || now != offset))
		return -EOPNOTSUPP;
	return 0;
}

/* The same change on all, or on none: vCPUs whose TSCs disagree are worse than time that went on. */
static int set_offsets(struct vm *vm, uint64_t behind)
{
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		if (vm->vcpus[i].tsc_offset_errno)
			return -vm->vcpus[i].tsc_offset_errno;
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		int r = set_offset(&vm->vcpus[i], vm->vcpus[i].tsc_offset - behind);
		if (r == 0)
			continue;
		while (i-- > 0)
			(void)!set_offset(&vm->vcpus[i], vm->vcpus[i].tsc_offset);
		return r;
	}
	return 0;
}

/* In TSC-deadline mode the timer was armed for the old offset and may have gone off meanwhile: writing the
 * deadline again arms it for the new one, and takes back an interrupt that the guest has not been given.
 * A deadline that had passed before the freeze goes off at once, as it should. In the LAPIC's other modes
 * (kernels that are told not to use the deadline) one tick comes early. KVM_SET_LAPIC could help that, but
 * would lose interrupts that devices raised in the meantime. */
static void rearm_timers(struct vm *vm)
{
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		struct vcpu *vcpu = &vm->vcpus[i];
		if (!vcpu->tsc_deadline)
			continue;
		struct {
			struct kvm_msrs head;
			struct kvm_msr_entry entry;
		} msr = {.head.nmsrs = 1,
			.entry = {.index = MSR_IA32_TSC_DEADLINE, .data = vcpu->tsc_deadline}};
		/* It was read by the same means. Should it fail, a tick comes early. */
		(void)!ioctl(vcpu->fd, KVM_SET_MSRS, &msr);
	}
}

/* kvmclock continues where it stood at T1, plus what has passed since T2: the guest's TSC runs again since
 * then. With the wall clock's time of T2 KVM adds that part itself, at the very moment but for the time that
 * the addition takes. So it is measured by how much kvmclock came out ahead of the TSC, and that is taken off
 * the next time: the error of one freeze stays, those of many do not add up. */
static int set_clock(struct vm *vm, const struct kvm_clock_data *restart, uint64_t restart_ns)
{
	uint64_t since_ns = clock_now_ns() - restart_ns;
	/* Never back behind what the guest may have seen at T1. */
	int64_t ahead_ns = MIN_OF(vm->clock_ahead_ns, (int64_t)since_ns);
	struct kvm_clock_data clock = {.clock = vm->stopped_at.clock - (uint64_t)ahead_ns};
	if (restart->flags & KVM_CLOCK_REALTIME) {
		clock.flags = KVM_CLOCK_REALTIME;
		clock.realtime = restart->realtime;
	} else {
		clock.clock += since_ns;
	}
	if (ioctl(vm->fd, KVM_SET_CLOCK, &clock) < 0)
		return -errno;
	struct kvm_clock_data now;
	if (vm->tsc_khz <= 0 || get_clock(vm, &now) < 0 ||
		!(now.flags & restart->flags & KVM_CLOCK_HOST_TSC)) {
		vm->clock_ahead_ns -= ahead_ns;
		return 0;
	}
	uint64_t tsc_ns = (uint64_t)((unsigned __int128)(now.host_tsc - restart->host_tsc) * 1000000 /
				     (unsigned)vm->tsc_khz);
	vm->clock_ahead_ns += (int64_t)(now.clock - vm->stopped_at.clock - tsc_ns);
	return 0;
}

/* "The host stopped you": silences each of the guest's watchdogs once, so only where one might bark. A guest
 * that does not use kvmclock (yet) cannot be told: EINVAL. */
static void tell_guest(struct vm *vm)
{
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		(void)!ioctl(vm->vcpus[i].fd, KVM_KVMCLOCK_CTRL, 0);
}

void vm_time_stop(struct vm *vm, struct freeze_times *times, bool clock_runs)
{
	times->time_stopped_ns = clock_now_ns();
	times->guest_time = clock_runs ? FREEZE_TIME_RAN : FREEZE_TIME_UNSUPPORTED;
	if (!clock_runs && atomic_load_explicit(&vm->can_stop_time, memory_order_relaxed) &&
		get_clock(vm, &vm->stopped_at) == 0)
		times->guest_time = FREEZE_TIME_STOPPED;
}

/* Sets the guest's time on from where it stood, if it stood. */
static void go_on(struct vm *vm, struct freeze_times *times, uint64_t now_ns)
{
	if (times->guest_time != FREEZE_TIME_STOPPED)
		return;
	struct kvm_clock_data restart;
	int r = get_clock(vm, &restart);
	if (r == 0)
		r = set_offsets(vm, restart.host_tsc - vm->stopped_at.host_tsc);
	if (r == 0) {
		rearm_timers(vm);
		/* Last: it compares the vCPUs' TSCs, and all must have been set. */
		r = set_clock(vm, &restart, now_ns);
	}
	if (r == -EOPNOTSUPP) {
		atomic_store_explicit(&vm->can_stop_time, false, memory_order_relaxed);
		times->guest_time = FREEZE_TIME_UNSUPPORTED;
	} else if (r < 0) {
		times->guest_time = FREEZE_TIME_FAILED;
		times->guest_time_errno = -r;
	}
}

void vm_time_restart(struct vm *vm, struct freeze_times *times)
{
	uint64_t now_ns = times->time_restarted_ns = clock_now_ns();
	go_on(vm, times, now_ns);
	if (times->guest_time == FREEZE_TIME_RAN || now_ns - times->time_stopped_ns > TELL_GUEST_NS)
		tell_guest(vm);
}

void vm_time_lend(struct vm *vm, struct freeze_times *times)
{
	vm->lent_since_ns = clock_now_ns();
	go_on(vm, times, vm->lent_since_ns);
}

void vm_time_take_back(struct vm *vm, struct freeze_times *times)
{
	if (times->guest_time == FREEZE_TIME_STOPPED) {
		int r = get_clock(vm, &vm->stopped_at);
		if (r < 0) {
			times->guest_time = FREEZE_TIME_FAILED;
			times->guest_time_errno = -r;
		}
		/* Offsets have changed, and timers may have gone off. Their threads are parked: theirs to
		 * write otherwise. */
		for (unsigned i = 0; i < vm->n_vcpus; i++)
			vcpu_time_capture(&vm->vcpus[i]);
	}
	times->stepped_ns += clock_now_ns() - vm->lent_since_ns;
	vm->lent_since_ns = 0;
}
