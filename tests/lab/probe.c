// SPDX-License-Identifier: GPL-2.0-only
// Measures what /dev/kvm is worth: how fast guest kernel code (ring 0) runs and how many exits a second it
// makes. A /dev/kvm whose kernel mode is emulated instruction by instruction cannot boot a kernel; this tells
// in 20 to 60 ms. Stands alone, single thread, linked statically so that it also runs in the lab's first
// seconds.
//
// Prints one line: "INSTRUCTIONS_PER_S EXITS_PER_S SPEED", SPEED being the factor (>= 1) for time limits.
// Exit status: 0 native speed, 1 a KVM that cannot run kernels, 2 no usable KVM (reason on stderr), 64 usage.
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define WINDOW_US 10000
// The first window pays for cold caches, or for translation of the code; a busy machine spoils single ones.
#define WINDOWS 3
#define FAST_INSTRUCTIONS_PER_S 1e9 // no need to look again
// Hardware and nested hardware make more than 1e9, TCG's nested SVM 5e8 to 1e9, KVM's instruction emulator
// 1e6.
#define NATIVE_INSTRUCTIONS_PER_S 5e7
// What ordinary hardware does; time limits in tests are written for it.
#define REFERENCE_INSTRUCTIONS_PER_S 3e9
#define REFERENCE_EXITS_PER_S 4e5

static struct kvm_run *run;

static void on_alarm(int sig)
{
	(void)sig;
	// Covers the gap between the check for signals and the entry.
	__atomic_store_n(&run->immediate_exit, 1, __ATOMIC_RELAXED);
}

static int fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	return 2;
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

// Loads a loop that counts in EAX.
static int load(int vcpu, uint8_t *memory, const uint8_t *code, size_t len)
{
	struct kvm_regs regs = {.rip = 0, .rflags = 2};

	memcpy(memory, code, len);
	return ioctl(vcpu, KVM_SET_REGS, &regs);
}

// Runs what is loaded for WINDOW_US. Returns iterations per second, negative if KVM does not run it.
static double measure_once(int vcpu)
{
	struct itimerval window = {.it_value = {.tv_usec = WINDOW_US}};
	struct kvm_regs before, after;
	double start, end;

	if (ioctl(vcpu, KVM_GET_REGS, &before) < 0)
		return -1;
	run->immediate_exit = 0;
	start = now_s();
	setitimer(ITIMER_REAL, &window, NULL);
	while (!__atomic_load_n(&run->immediate_exit, __ATOMIC_RELAXED)) {
		if (ioctl(vcpu, KVM_RUN, NULL) < 0) {
			if (errno != EINTR && errno != EAGAIN)
				return -1;
		} else if (run->exit_reason != KVM_EXIT_IO) {
			fprintf(stderr, "KVM_RUN: exit reason %u\n", run->exit_reason);
			errno = EIO;
			return -1;
		}
	}
	end = now_s();
	if (ioctl(vcpu, KVM_GET_REGS, &after) < 0)
		return -1;
	return (double)(uint32_t)(after.rax - before.rax) / (end - start);
}

// The best of some windows; stops early at `enough`.
static double measure(int vcpu, double enough)
{
	double best = -1;

	for (int i = 0; i < WINDOWS && best < enough; i++) {
		double now = measure_once(vcpu);

		if (now < 0)
			return -1;
		best = now > best ? now : best;
	}
	return best;
}

// Flat 32-bit protected mode without paging: kernel mode with the least to set up.
static int enter_protected_mode(int vcpu)
{
	struct kvm_sregs s;
	struct kvm_segment flat = {.limit = 0xffffffff, .present = 1, .s = 1, .g = 1, .db = 1};

	if (ioctl(vcpu, KVM_GET_SREGS, &s) < 0)
		return -1;
	flat.selector = 16;
	flat.type = 3;
	s.ds = s.es = s.fs = s.gs = s.ss = flat;
	flat.selector = 8;
	flat.type = 11;
	s.cs = flat;
	s.cr0 |= 1;
	return ioctl(vcpu, KVM_SET_SREGS, &s);
}

int main(int argc, char **argv)
{
	static const uint8_t spin[] = {0x40, 0xeb, 0xfd};              // 1: inc %eax; jmp 1b
	static const uint8_t exits[] = {0x40, 0xe6, 0x80, 0xeb, 0xfb}; // 1: inc %eax; out %al, $0x80; jmp 1b
	struct kvm_userspace_memory_region slot = {.memory_size = 4096};
	struct sigaction alarm_action = {.sa_handler = on_alarm};
	double instructions, exits_per_s, speed;
	uint8_t *memory;
	int kvm, vm, vcpu, size;

	(void)argv;
	if (argc != 1) {
		fprintf(stderr, "probe takes no arguments\n");
		return 64;
	}
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		return fail("/dev/kvm");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		return fail("KVM_CREATE_VM");
	memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return fail("mmap");
	slot.userspace_addr = (uintptr_t)memory;
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
		return fail("KVM_SET_USER_MEMORY_REGION");
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (vcpu < 0 || size < 0)
		return fail("KVM_CREATE_VCPU");
	run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED)
		return fail("mmap of the vCPU");
	sigaction(SIGALRM, &alarm_action, NULL);
	if (enter_protected_mode(vcpu) < 0)
		return fail("KVM_SET_SREGS");
	// Exits first: they warm up the entry path, which takes longer than a window in an emulated machine.
	exits_per_s =
		load(vcpu, memory, exits, sizeof(exits)) < 0 ? -1 : measure(vcpu, REFERENCE_EXITS_PER_S);
	if (exits_per_s < 0)
		return fail("KVM_RUN");
	instructions = load(vcpu, memory, spin, sizeof(spin)) < 0
			       ? -1
			       : 2 * measure(vcpu, FAST_INSTRUCTIONS_PER_S / 2);
	if (instructions < 0)
		return fail("KVM_RUN");
	// A boot is part plain code, part exits and page-table work: hence both, in equal parts.
	speed = sqrt(REFERENCE_INSTRUCTIONS_PER_S / (instructions + 1) * REFERENCE_EXITS_PER_S /
		     (exits_per_s + 1));
	printf("%.0f %.0f %.1f\n", instructions, exits_per_s, speed < 1 ? 1 : speed);
	return instructions >= NATIVE_INSTRUCTIONS_PER_S ? 0 : 1;
}
