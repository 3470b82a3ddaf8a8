/* SPDX-License-Identifier: GPL-2.0-only */
/* Guest time across freezes, as bare guests see it: TSC, kvmclock, the timer. Guest and host are compared at
 * parks; what a loaded host adds between a guest's last look at its clock and its park is far below what is
 * told apart. */
#include "bare.h"
#include "common/clock.h"
#include "host/arch/x86_64/cpuid.h"
#include "host/vm/vm_internal.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <math.h>
#include <sys/ioctl.h>

TestSuite(time, .timeout = 120);

/* The TSC, again and again. */
BARE_GUEST(guest_tsc, "1: rdtsc\n shlq $32, %rdx\n orq %rdx, %rax\n movq %rax, (%rdi)\n jmp 1b");

/* TSCs of several vCPUs against each other: [r8] is the last one that anybody has read. It was read before
 * ours, so ours must not be less: 8(rdi) counts when it is. CPUID keeps the reads in order. */
BARE_GUEST(guest_tsc_pass_on, "movq $0x200800, %r8\n"
			      "1: movq (%r8), %r9\n xorl %eax, %eax\n cpuid\n"
			      "rdtsc\n shlq $32, %rdx\n orq %rdx, %rax\n"
			      "cmpq %r9, %rax\n jae 2f\n incq 8(%rdi)\n"
			      "2: movq %rax, (%r8)\n incq (%rdi)\n jmp 1b");

/* Registers its kvmclock page (MSR_KVM_SYSTEM_TIME_NEW, in its own cell at 0x400), then as guest_tsc. */
BARE_GUEST(guest_kvmclock, "leaq 0x401(%rdi), %rax\n xorl %edx, %edx\n movl $0x4b564d01, %ecx\n wrmsr\n"
			   "1: rdtsc\n shlq $32, %rdx\n orq %rdx, %rax\n movq %rax, (%rdi)\n jmp 1b");

/* Arms the LAPIC's timer in TSC-deadline mode, vector 0x40, 16(rdi) TSC cycles ahead; its deadline goes to
 * 24(rdi). With interrupts off it waits for the vector to show in IRR, then keeps the TSC in 8(rdi).
 * 0xfee000f0 is SVR, 320 LVTT, 220 IRR 64..95. */
BARE_GUEST(guest_deadline,
	"movl $0xfee00000, %r8d\n"
	"movl $0x1ff, %eax\n movl %eax, 0xf0(%r8)\n"
	"movl $0x40040, %eax\n movl %eax, 0x320(%r8)\n"
	"rdtsc\n shlq $32, %rdx\n orq %rdx, %rax\n addq 16(%rdi), %rax\n movq %rax, 24(%rdi)\n"
	"movq %rax, %rdx\n shrq $32, %rdx\n movl $0x6e0, %ecx\n wrmsr\n"
	"1: incq (%rdi)\n movl 0x220(%r8), %eax\n testl $1, %eax\n jz 1b\n"
	"rdtsc\n shlq $32, %rdx\n orq %rdx, %rax\n movq %rax, 8(%rdi)\n"
	"2: incq (%rdi)\n jmp 2b");

/* With an interrupt controller, all but the first vCPU would wait for somebody's SIPI. */
static struct bare *start(struct bare *b)
{
	struct kvm_mp_state runnable = {.mp_state = KVM_MP_STATE_RUNNABLE};
	for (unsigned i = 0; b->vm && i < vm_n_vcpus(b->vm); i++)
		(void)!ioctl(vm_vcpu_fd(b->vm, i), KVM_SET_MP_STATE, &runnable);
	return bare_start(b);
}

#define START(n, guest, flags) start(bare_new(n, guest, guest##_end, flags))

/* Where KVM lacks TSC offsets that says every freeze, and there is nothing more to test. */
static void needs_stopped_time(struct bare *b)
{
	struct freeze_times times;
	vm_thaw(bare_freeze(b), &times);
	if (times.guest_time == FREEZE_TIME_UNSUPPORTED)
		cr_skip_test("this host's KVM cannot stop guest time");
	cr_assert_eq(times.guest_time, FREEZE_TIME_STOPPED, "%d errno %d", times.guest_time,
		times.guest_time_errno);
}

static uint64_t *cell(const struct bare *b, unsigned vcpu)
{
	return gmem_ptr(b->memory, GPA(BARE_CELLS + (uint64_t)vcpu * BARE_CELL_BYTES), BARE_CELL_BYTES);
}

static void sleep_ns(uint64_t ns)
{
	struct timespec ts = clock_timespec(clock_deadline_ns(ns));
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL))
		;
}

/* Not asked of the vCPU: it may be in KVM_RUN. */
static double tsc_per_ns(const struct bare *b)
{
	cr_assert_gt(b->vm->tsc_khz, 0);
	return b->vm->tsc_khz / 1e6;
}

static struct freeze *freeze(struct bare *b, bool clock_runs)
{
	struct err err = ERR_INIT;
	struct freeze *f;
	struct freeze_options options = {.clock_runs = clock_runs};
	cr_assert_eq(vm_freeze_with(b->vm, &options, clock_deadline_ns(10 * NS_PER_S), &f, &err), 0, "%s",
		err.message);
	return f;
}

#define FROZEN_NS (NS_PER_S)
#define HOST_NOISE_NS (300 * NS_PER_MS)

/* How far the guest's TSC moves over a freeze of FROZEN_NS, in ns, less what ran of it by right. */
static int64_t tsc_jump(bool clock_runs, enum freeze_guest_time expected)
{
	_cleanup_(bare_free_p) struct bare *b = START(2, guest_tsc, 0);
	bare_wait_all_running(b);
	if (!clock_runs)
		needs_stopped_time(b);
	struct freeze *f = freeze(b, clock_runs);
	uint64_t before = bare_cell(b, 1), first_parked_ns = freeze_times_so_far(f).parked_ns;
	sleep_ns(FROZEN_NS);
	struct freeze_times times;
	vm_thaw(f, &times);
	cr_assert_eq(times.guest_time, expected, "%d errno %d", times.guest_time, times.guest_time_errno);
	cr_assert(times.parked_ns <= times.time_stopped_ns &&
		  times.time_stopped_ns < times.time_restarted_ns &&
		  times.time_restarted_ns <= times.thawed_ns);
	bare_wait_moved(b, 1, before);
	f = freeze(b, false);
	uint64_t after = bare_cell(b, 1), second_parked_ns = freeze_times_so_far(f).parked_ns;
	vm_thaw(f, NULL);
	cr_assert_gt(after, before, "the TSC went backwards");
	uint64_t ran_ns =
		second_parked_ns - first_parked_ns - (times.time_restarted_ns - times.time_stopped_ns);
	return (int64_t)((double)(after - before) / tsc_per_ns(b)) - (int64_t)ran_ns;
}

Test(time, the_tsc_stands_still_while_frozen)
{
	int64_t jump = tsc_jump(false, FREEZE_TIME_STOPPED);
	cr_assert_lt(
		imaxabs(jump), (int64_t)HOST_NOISE_NS, "the guest's TSC is off by %lld ns", (long long)jump);
}

Test(time, the_tsc_runs_on_when_asked_to)
{
	int64_t jump = tsc_jump(true, FREEZE_TIME_RAN);
	cr_assert_gt(jump, (int64_t)(FROZEN_NS - HOST_NOISE_NS), "the guest's TSC moved by %lld ns",
		(long long)jump);
}

/* Many short ones: an error of each would add up. */
Test(time, a_thousand_freezes_add_nothing)
{
	_cleanup_(bare_free_p) struct bare *b = START(1, guest_tsc, 0);
	bare_wait_all_running(b);
	needs_stopped_time(b);
	struct freeze *f = freeze(b, false);
	uint64_t before = bare_cell(b, 0), begin_ns = freeze_times_so_far(f).time_stopped_ns, frozen_ns = 0;
	uint64_t jumps_ns = 0;
	for (int i = 0; i < 1000; i++) {
		struct freeze_times times;
		sleep_ns(NS_PER_MS);
		vm_thaw(f, &times);
		frozen_ns += times.time_restarted_ns - times.time_stopped_ns;
		jumps_ns += times.thawed_ns - times.time_restarted_ns;
		f = freeze(b, false);
	}
	/* Its last look may be from several freezes ago. */
	uint64_t at = bare_cell(b, 0);
	struct freeze_times last;
	vm_thaw(f, &last);
	frozen_ns += last.time_restarted_ns - last.time_stopped_ns;
	bare_wait_moved(b, 0, at);
	f = freeze(b, false);
	uint64_t after = bare_cell(b, 0), end_ns = freeze_times_so_far(f).time_stopped_ns;
	vm_thaw(f, NULL);
	cr_assert_geq(frozen_ns, NS_PER_S);
	int64_t off = (int64_t)((double)(after - before) / tsc_per_ns(b)) -
		      (int64_t)(end_ns - begin_ns - frozen_ns);
	cr_log_info("off by %lld us after %llu us frozen; resuming took %llu us of guest time",
		(long long)off / 1000, (unsigned long long)frozen_ns / 1000,
		(unsigned long long)jumps_ns / 1000);
	cr_assert_lt(imaxabs(off), (int64_t)(frozen_ns / 4), "%lld ns", (long long)off);
}

Test(time, vcpus_agree_on_the_tsc_across_freezes)
{
	enum { N = 4 };
	_cleanup_(bare_free_p) struct bare *b = START(N, guest_tsc_pass_on, 0);
	bare_wait_all_running(b);
	for (int i = 0; i < 200; i++) {
		uint64_t at = bare_cell(b, (unsigned)i % N);
		vm_thaw(bare_freeze(b), NULL);
		bare_wait_moved(b, (unsigned)i % N, at);
	}
	for (unsigned i = 0; i < N; i++)
		cr_assert_eq(cell(b, i)[1], 0, "vCPU %u read a TSC from before another's, %llu times", i,
			(unsigned long long)cell(b, i)[1]);
}

/* struct pvclock_vcpu_time_info: Documentation/virt/kvm/x86/msr.rst, MSR_KVM_SYSTEM_TIME_NEW. */
struct kvmclock_page {
	uint32_t version, pad0;
	uint64_t tsc_timestamp, system_time;
	uint32_t mul;
	int8_t shift;
	uint8_t flags, pad[2];
};
#define KVMCLOCK_GUEST_STOPPED 2u

/* While frozen: what the guest would make of the last TSC that it read. */
static uint64_t kvmclock_ns(const struct bare *b, unsigned vcpu)
{
	struct kvmclock_page page = *(struct kvmclock_page *)(cell(b, vcpu) + 0x400 / 8);
	cr_assert(page.version && !(page.version & 1), "version %u", page.version);
	/* A page that was written after that read is ahead of it. */
	bool before = cell(b, vcpu)[0] < page.tsc_timestamp;
	uint64_t delta =
		before ? page.tsc_timestamp - cell(b, vcpu)[0] : cell(b, vcpu)[0] - page.tsc_timestamp;
	delta = page.shift >= 0 ? delta << page.shift : delta >> -page.shift;
	delta = (uint64_t)((unsigned __int128)delta * page.mul >> 32);
	return before ? page.system_time - delta : page.system_time + delta;
}

/* How far kvmclock gets ahead of the TSC per second of guest time, over `rounds` freezes and what lies
 * between them. ret_s: that time. */
static double apart_ns(struct bare *b, int rounds, uint64_t run_ns, double *ret_s)
{
	struct freeze *f = freeze(b, false);
	uint64_t tsc = bare_cell(b, 0), clock_ns = kvmclock_ns(b, 0);
	for (int i = 0; i < rounds; i++) {
		uint64_t at = bare_cell(b, 0);
		sleep_ns(NS_PER_MS);
		vm_thaw(f, NULL);
		sleep_ns(run_ns);
		bare_wait_moved(b, 0, at);
		f = freeze(b, false);
	}
	double tsc_ns = (double)(bare_cell(b, 0) - tsc) / tsc_per_ns(b);
	uint64_t kvm_ns = kvmclock_ns(b, 0) - clock_ns;
	struct kvmclock_page *page = (struct kvmclock_page *)(cell(b, 0) + 0x400 / 8);
	cr_assert_not(
		page->flags & KVMCLOCK_GUEST_STOPPED, "a short freeze is not worth a word to the guest");
	vm_thaw(f, NULL);
	*ret_s = tsc_ns / 1e9;
	return (double)(int64_t)kvm_ns - tsc_ns;
}

/* Kernels use one as the watchdog of the other. They drift as the host's own clocks do, hence the comparison.
 */
Test(time, kvmclock_and_tsc_stay_together)
{
	enum { ROUNDS = 300 };
	_cleanup_(bare_free_p) struct bare *b = START(2, guest_kvmclock, BARE_IRQCHIP);
	bare_wait_all_running(b);
	needs_stopped_time(b);
	double free_s, often_s;
	double free_ns = apart_ns(b, 1, 2 * NS_PER_S, &free_s), often_ns = apart_ns(b, ROUNDS, 0, &often_s);
	double drift = free_ns / free_s, error_ns = often_ns - drift * often_s;
	cr_log_info("drift %.1f us/s; %d freezes in %.3f s add %.1f us", drift / 1e3, ROUNDS, often_s,
		error_ns / 1e3);
	cr_assert_lt(fabs(drift), 1e6);
	/* The drift itself is not constant on an emulated host. */
	cr_assert_lt(fabs(error_ns), 50e3 + fabs(drift) * often_s, "%.0f ns", error_ns);
}

Test(time, a_guest_is_told_of_a_long_freeze)
{
	_cleanup_(bare_free_p) struct bare *b = START(1, guest_kvmclock, BARE_IRQCHIP);
	bare_wait_all_running(b);
	needs_stopped_time(b);
	struct freeze *f = freeze(b, false);
	uint64_t clock_ns = kvmclock_ns(b, 0);
	sleep_ns(NS_PER_S + NS_PER_MS);
	uint64_t at = bare_cell(b, 0);
	vm_thaw(f, NULL);
	bare_wait_moved(b, 0, at);
	f = freeze(b, false);
	struct kvmclock_page *page = (struct kvmclock_page *)(cell(b, 0) + 0x400 / 8);
	cr_assert(page->flags & KVMCLOCK_GUEST_STOPPED);
	cr_assert_lt(kvmclock_ns(b, 0) - clock_ns, NS_PER_S / 2);
	vm_thaw(f, NULL);
}

Test(time, a_timer_is_neither_early_nor_lost)
{
	_cleanup_(bare_free_p) struct bare *b = bare_new(1, guest_deadline, guest_deadline_end, BARE_IRQCHIP);
	double per_ns = tsc_per_ns(b);
	/* KVM allows that mode of the timer only where CPUID has it. */
	struct err err = ERR_INIT;
	static struct cpuid_table table;
	cr_assert_eq(cpuid_supported(vm_kvm_fd(b->vm), &table, &err), 0, "%s", err.message);
	cr_assert_eq(ioctl(vm_vcpu_fd(b->vm, 0), KVM_SET_CPUID2, &table), 0);
	cell(b, 0)[2] = (uint64_t)(400 * NS_PER_MS * per_ns);
	bare_start(b);
	bare_wait_all_running(b);
	needs_stopped_time(b);
	for (int i = 0; i < 3; i++) {
		struct freeze *f = freeze(b, false);
		cr_assert_eq(cell(b, 0)[1], 0, "the timer went off before freeze %d", i);
		sleep_ns(500 * NS_PER_MS);
		vm_thaw(f, NULL);
	}
	bare_wait(__atomic_load_n(&cell(b, 0)[1], __ATOMIC_RELAXED), "the timer goes off");
	cr_assert_geq(cell(b, 0)[1], cell(b, 0)[3], "%.3f ms early",
		(double)(cell(b, 0)[3] - cell(b, 0)[1]) / per_ns / 1e6);
}

Test(time, what_was_frozen_is_counted)
{
	_cleanup_(bare_free_p) struct bare *b = START(1, guest_tsc, 0);
	bare_wait_all_running(b);
	cr_assert_eq(vm_frozen_ns_total(b->vm), 0);
	cr_assert_not(vm_is_frozen(b->vm));
	struct freeze *f = freeze(b, false);
	cr_assert(vm_is_frozen(b->vm));
	sleep_ns(20 * NS_PER_MS);
	cr_assert_geq(vm_frozen_ns_total(b->vm), 20 * NS_PER_MS);
	uint64_t stands_ns = vm_thawed_ns(b->vm);
	cr_assert_leq(stands_ns + 20 * NS_PER_MS, clock_now_ns());
	sleep_ns(NS_PER_MS);
	cr_assert_eq(vm_thawed_ns(b->vm), stands_ns);
	struct freeze_times times;
	vm_thaw(f, &times);
	cr_assert_not(vm_is_frozen(b->vm));
	uint64_t total_ns = vm_frozen_ns_total(b->vm);
	cr_assert_geq(total_ns, times.thawed_ns - times.time_stopped_ns);
	cr_assert_eq(vm_frozen_ns_total(b->vm), total_ns, "it counts while thawed");
}

/* Every vCPU counts, and goes on counting. Ten thousand times, or as many as this host does in 40 s, but
 * some. */
Test(time, ten_thousand_freezes_lose_nobody)
{
	enum { N = 4, ROUNDS = 10000, AT_LEAST = 500 };
	_cleanup_(bare_free_p) struct bare *b = START(N, guest_kvmclock, BARE_IRQCHIP);
	bare_wait_all_running(b);
	uint64_t limit_ns = clock_deadline_ns(40 * NS_PER_S);
	int rounds = 0;
	for (; rounds < AT_LEAST || (rounds < ROUNDS && clock_now_ns() < limit_ns); rounds++) {
		struct freeze_times times;
		vm_thaw(bare_freeze(b), &times);
		cr_assert(times.guest_time == FREEZE_TIME_STOPPED ||
				  times.guest_time == FREEZE_TIME_UNSUPPORTED,
			"round %d: errno %d", rounds, times.guest_time_errno);
	}
	cr_log_info("%d freezes", rounds);
	for (unsigned i = 0; i < N; i++) {
		uint64_t at = bare_cell(b, i);
		bare_wait_moved(b, i, at);
	}
}
