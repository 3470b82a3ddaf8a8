/* SPDX-License-Identifier: GPL-2.0-only */
/* Speed of kernel-mode code under this host's KVM (see speed.h). No state. */
#include "host/machine/speed.h"

#include "common/clock.h"
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

enum {
	GUEST_BYTES = 0x3000,
	CODE = 0x1000,
	PORT = 0x80,
	EXITS = 20,
	RUNS = 3,
	FEW_LOOPS = 2000,
	MANY_LOOPS = 300000
};

/* Below this a loop iteration is not run by a CPU but by an emulator (measured: 0.4 M/s; the slowest nested
 * machine seen does 200 M/s). */
#define EMULATED_LOOPS_PER_S UINT64_C(20000000)
/* What a current machine does at least: the 100 % of the scale. */
#define NATIVE_LOOPS_PER_S UINT64_C(1000000000)
#define NATIVE_EXIT_NS UINT64_C(4000)

struct scratch {
	int kvm, vm, vcpu;
	uint8_t *memory;
	struct kvm_run *run;
	size_t run_bytes;
};

static void scratch_close(struct scratch *s)
{
	if (s->run)
		munmap(s->run, s->run_bytes);
	fd_close(&s->vcpu);
	fd_close(&s->vm);
	fd_close(&s->kvm);
	if (s->memory)
		munmap(s->memory, GUEST_BYTES);
}

static int scratch_open(struct scratch *s)
{
	s->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (s->kvm < 0)
		return -errno;
	s->vm = ioctl(s->kvm, KVM_CREATE_VM, 0);
	if (s->vm < 0)
		return -errno;
	void *memory = mmap(NULL, GUEST_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return -errno;
	s->memory = memory;
	struct kvm_userspace_memory_region slot = {
		.memory_size = GUEST_BYTES, .userspace_addr = (uintptr_t)memory};
	if (ioctl(s->vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
		return -errno;
	s->vcpu = ioctl(s->vm, KVM_CREATE_VCPU, 0);
	if (s->vcpu < 0)
		return -errno;
	int bytes = ioctl(s->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (bytes < (int)sizeof(struct kvm_run))
		return bytes < 0 ? -errno : -EIO;
	s->run_bytes = (size_t)bytes;
	void *run = mmap(NULL, s->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, s->vcpu, 0);
	if (run == MAP_FAILED)
		return -errno;
	s->run = run;
	return 0;
}

/* Real mode, from CODE on: ecx = loops; 1: dec ecx; jnz 1b; out %al, $PORT; jmp to the port write again. The
 * first exit ends the loop, every further one is nothing but an exit. */
static int scratch_reset(struct scratch *s, uint32_t loops)
{
	static const uint8_t code[] = {0x66, 0x49, 0x75, 0xfc, 0xe6, PORT, 0xeb, 0xfc};
	memcpy(s->memory + CODE, code, sizeof(code));
	struct kvm_sregs sregs;
	if (ioctl(s->vcpu, KVM_GET_SREGS, &sregs) < 0)
		return -errno;
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	struct kvm_regs regs = {.rip = CODE, .rflags = 2, .rcx = loops};
	if (ioctl(s->vcpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(s->vcpu, KVM_SET_REGS, &regs) < 0)
		return -errno;
	return 0;
}

static int run_to_exit(struct scratch *s)
{
	int r;
	do
		r = ioctl(s->vcpu, KVM_RUN, 0);
	while (r < 0 && (errno == EINTR || errno == EAGAIN));
	if (r < 0)
		return -errno;
	return s->run->exit_reason == KVM_EXIT_IO ? 0 : -EIO;
}

/* Nanoseconds of the loop, exits of the last part apart. */
static int timed_run(struct scratch *s, uint32_t loops, uint64_t *ret_ns)
{
	int r = scratch_reset(s, loops);
	if (r < 0)
		return r;
	uint64_t begin = clock_now_ns();
	r = run_to_exit(s);
	*ret_ns = clock_now_ns() - begin;
	return r;
}

/* Least time of several runs: the host has other things to do as well. */
static int least_of(struct scratch *s, uint32_t loops, uint64_t *ret_ns)
{
	*ret_ns = UINT64_MAX;
	for (int i = 0; i < RUNS; i++) {
		uint64_t ns;
		int r = timed_run(s, loops, &ns);
		if (r < 0)
			return r;
		*ret_ns = MIN_OF(*ret_ns, ns);
	}
	return 0;
}

static int measure(struct scratch *s, struct speed *ret)
{
	uint64_t ns, least = UINT64_MAX, loops = FEW_LOOPS;
	/* The first entry pays for page faults and, nested, for much more. */
	int r = timed_run(s, 1, &ns);
	if (r == 0)
		r = least_of(s, FEW_LOOPS, &ns);
	if (r == 0 && ns < FEW_LOOPS * NS_PER_S / EMULATED_LOOPS_PER_S * 4) {
		loops = MANY_LOOPS;
		r = least_of(s, MANY_LOOPS, &ns);
	}
	if (r < 0)
		return r;
	for (int i = 0; i < EXITS; i++) {
		uint64_t begin = clock_now_ns();
		r = run_to_exit(s);
		if (r < 0)
			return r;
		least = MIN_OF(least, clock_now_ns() - begin);
	}
	ret->loops_per_s = loops * NS_PER_S / MAX_OF(ns, 1ull);
	ret->exit_ns = least;
	ret->emulated = ret->loops_per_s < EMULATED_LOOPS_PER_S;
	uint64_t by_loops = ret->loops_per_s * 100 / NATIVE_LOOPS_PER_S;
	uint64_t by_exits = NATIVE_EXIT_NS * 100 / MAX_OF(least, 1ull);
	uint64_t percent = MIN_OF(by_loops, by_exits);
	ret->percent = (unsigned)(percent < 1 ? 1 : percent > 100 ? 100 : percent);
	return 0;
}

int speed_measure(struct speed *ret, struct err *err)
{
	struct scratch s = {.kvm = -1, .vm = -1, .vcpu = -1};
	int r = scratch_open(&s);
	if (r == 0)
		r = measure(&s, ret);
	scratch_close(&s);
	if (r < 0)
		return err_set_os(err, ERR_HOST, -r, "cannot run a scratch guest on /dev/kvm");
	return 0;
}
