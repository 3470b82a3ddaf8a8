/* SPDX-License-Identifier: GPL-2.0-only */
/* Guest time across freezes, as bare guests see it: TSC, kvmclock, the timer. Guest and host are compared by
 * looks of the guest at its clock that lie between two of the host at its own: a host that has other things
 * to do makes that distance longer, and says so. */
#include "bare.h"
#include "common/clock.h"
#include "host/arch/x86_64/cpuid.h"
#include "host/vm/vm_internal.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <math.h>
#include <sys/ioctl.h>

TestSuite(time, .timeout = 300);

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
	cr_assert_eq(vm_freeze_with(b->vm, &options, clock_deadline_ns(BARE_LIMIT_NS), &f, &err), 0, "%s",
		err.message);
	return f;
}

/* A TSC that the running guest has read between two moments of the host's. */
struct reading {
	uint64_t tsc, after_ns, before_ns;
};

static struct reading read_tsc(const struct bare *b, unsigned vcpu)
{
	struct reading reading = {.after_ns = clock_now_ns()};
	/* The first that is new may have been read before that and stored after it, the second may not. */
	for (unsigned i = 0; i < 2; i++)
		bare_wait_moved(b, vcpu, bare_cell(b, vcpu));
	reading.tsc = bare_cell(b, vcpu);
	reading.before_ns = clock_now_ns();
	return reading;
}

/* How far the TSC has got ahead of the time that the guest has run, in ns: between these. */
struct jump {
	int64_t least, most;
};

static struct jump jump_between(
	const struct bare *b, const struct reading *first, const struct reading *second, uint64_t frozen_ns)
{
	cr_assert_gt(second->tsc, first->tsc, "the TSC went backwards");
	int64_t moved_ns = (int64_t)((double)(second->tsc - first->tsc) / tsc_per_ns(b));
	return (struct jump){
		.least = moved_ns - (int64_t)(second->before_ns - first->after_ns - frozen_ns),
		.most = moved_ns - (int64_t)(second->after_ns - first->before_ns - frozen_ns),
	};
}

/* Over a freeze that is long beside the distance between looks at the clocks; as far as this host allows. */
static struct jump tsc_jump(bool clock_runs, enum freeze_guest_time expected, uint64_t *ret_frozen_ns)
{
	_cleanup_(bare_free_p) struct bare *b = START(2, guest_tsc, 0);
	bare_wait_all_running(b);
	if (!clock_runs)
		needs_stopped_time(b);
	struct jump jump;
	uint64_t length_ns = NS_PER_S;
	do {
		struct reading first = read_tsc(b, 1);
		struct freeze *f = freeze(b, clock_runs);
		sleep_ns(length_ns);
		struct freeze_times times;
		vm_thaw(f, &times);
		struct reading second = read_tsc(b, 1);
		cr_assert_eq(
			times.guest_time, expected, "%d errno %d", times.guest_time, times.guest_time_errno);
		cr_assert(times.parked_ns <= times.time_stopped_ns &&
			  times.time_stopped_ns < times.time_restarted_ns &&
			  times.time_restarted_ns <= times.thawed_ns);
		*ret_frozen_ns = times.time_restarted_ns - times.time_stopped_ns;
		jump = jump_between(b, &first, &second, *ret_frozen_ns);
		length_ns *= 2;
	} while (jump.most - jump.least > (int64_t)*ret_frozen_ns / 4 && length_ns < 20 * NS_PER_S);
	return jump;
}

Test(time, the_tsc_stands_still_while_frozen)
{
	uint64_t frozen_ns;
	struct jump jump = tsc_jump(false, FREEZE_TIME_STOPPED, &frozen_ns);
	cr_assert(jump.least < (int64_t)frozen_ns / 4 && jump.most > -(int64_t)frozen_ns / 4,
		"the guest's TSC is off by %lld to %lld ns", (long long)jump.least, (long long)jump.most);
}

Test(time, the_tsc_runs_on_when_asked_to)
{
	uint64_t frozen_ns;
	struct jump jump = tsc_jump(true, FREEZE_TIME_RAN, &frozen_ns);
	cr_assert_gt(jump.most, (int64_t)(frozen_ns / 4 * 3), "the guest's TSC moved by at most %lld ns",
		(long long)jump.most);
}

/* Many short ones: an error of each would add up. */
Test(time, a_thousand_freezes_add_nothing)
{
	_cleanup_(bare_free_p) struct bare *b = START(1, guest_tsc, 0);
	bare_wait_all_running(b);
	needs_stopped_time(b);
	struct reading first = read_tsc(b, 0);
	uint64_t frozen_ns = 0;
	for (int i = 0; i < 1000; i++) {
		struct freeze_times times;
		struct freeze *f = freeze(b, false);
		sleep_ns(NS_PER_MS);
		vm_thaw(f, &times);
		frozen_ns += times.time_restarted_ns - times.time_stopped_ns;
	}
	struct reading second = read_tsc(b, 0);
	struct jump jump = jump_between(b, &first, &second, frozen_ns);
	cr_log_info("off by %lld to %lld us after %llu us frozen", (long long)jump.least / 1000,
		(long long)jump.most / 1000, (unsigned long long)frozen_ns / 1000);
	cr_assert_geq(frozen_ns, NS_PER_S);
	cr_assert(jump.least < (int64_t)frozen_ns / 4 && jump.most > -(int64_t)frozen_ns / 4,
		"%lld to %lld ns", (long long)jump.least, (long long)jump.most);
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

/* Both clocks at the last TSC that the guest has read. */
struct clocks {
	uint64_t tsc, kvm_ns;
};

static struct clocks clocks_of(const struct bare *b)
{
	struct kvmclock_page *page = (struct kvmclock_page *)(cell(b, 0) + 0x400 / 8);
	cr_assert_not(
		page->flags & KVMCLOCK_GUEST_STOPPED, "a short freeze is not worth a word to the guest");
	return (struct clocks){bare_cell(b, 0), kvmclock_ns(b, 0)};
}

/* Thaws, lets it run for so long and freezes it again. */
static struct freeze *run_on(struct bare *b, struct freeze *f, uint64_t run_ns)
{
	uint64_t at = bare_cell(b, 0);
	vm_thaw(f, NULL);
	sleep_ns(run_ns);
	bare_wait_moved(b, 0, at);
	f = freeze(b, false);
	sleep_ns(NS_PER_MS);
	return f;
}

/* How far kvmclock has got ahead of the TSC since then. ret_s: guest time that has passed. */
static double apart_ns(const struct bare *b, const struct clocks *since, double *ret_s)
{
	struct clocks now = clocks_of(b);
	double tsc_ns = (double)(now.tsc - since->tsc) / tsc_per_ns(b);
	*ret_s = tsc_ns / 1e9;
	return (double)(int64_t)(now.kvm_ns - since->kvm_ns) - tsc_ns;
}

/* Kernels use one as the watchdog of the other. They drift as the host's own clocks do, hence the comparison.
 * When the host takes the CPU away in the middle of a thaw, that stands until the next one puts it right: it
 * must not add up. */
Test(time, kvmclock_and_tsc_stay_together)
{
	enum { ROUNDS = 300, MORE = 20 };
	_cleanup_(bare_free_p) struct bare *b = START(2, guest_kvmclock, BARE_IRQCHIP);
	bare_wait_all_running(b);
	needs_stopped_time(b);
	struct freeze *f = freeze(b, false);
	struct clocks since = clocks_of(b);
	f = run_on(b, f, 2 * NS_PER_S);
	double free_s, often_s, error_ns;
	double drift = apart_ns(b, &since, &free_s) / free_s;
	since = clocks_of(b);
	for (int i = 0; i < ROUNDS; i++)
		f = run_on(b, f, 0);
	for (int i = 0;; i++) {
		error_ns = apart_ns(b, &since, &often_s) - drift * often_s;
		/* The drift itself is not constant on an emulated host. */
		if (fabs(error_ns) < 50e3 + fabs(drift) * often_s || i == MORE)
			break;
		f = run_on(b, f, 0);
	}
	vm_thaw(f, NULL);
	cr_log_info("drift %.1f us/s; %d freezes in %.3f s add %.1f us", drift / 1e3, ROUNDS, often_s,
		error_ns / 1e3);
	cr_assert_lt(fabs(drift), 1e6);
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
	uint64_t at = bare_cell(b, 0), begin_ns = clock_now_ns();
	vm_thaw(f, NULL);
	bare_wait_moved(b, 0, at);
	f = freeze(b, false);
	uint64_t ran_ns = clock_now_ns() - begin_ns;
	struct kvmclock_page *page = (struct kvmclock_page *)(cell(b, 0) + 0x400 / 8);
	cr_assert(page->flags & KVMCLOCK_GUEST_STOPPED);
	/* Beside what it ran, at the most: from its last look at the TSC to its park. */
	cr_assert_lt(kvmclock_ns(b, 0) - clock_ns, ran_ns + NS_PER_S / 2);
	vm_thaw(f, NULL);
}

/* False: it went off, by right, before it had been frozen three times. */
static bool timer_across_freezes(uint64_t ahead_ns)
{
	_cleanup_(bare_free_p) struct bare *b = bare_new(1, guest_deadline, guest_deadline_end, BARE_IRQCHIP);
	double per_ns = tsc_per_ns(b);
	/* KVM allows that mode of the timer only where CPUID has it. */
	struct err err = ERR_INIT;
	static struct cpuid_table table;
	cr_assert_eq(cpuid_supported(vm_kvm_fd(b->vm), &table, &err), 0, "%s", err.message);
	cr_assert_eq(ioctl(vm_vcpu_fd(b->vm, 0), KVM_SET_CPUID2, &table), 0);
	cell(b, 0)[2] = (uint64_t)((double)ahead_ns * per_ns);
	bare_start(b);
	bare_wait_all_running(b);
	needs_stopped_time(b);
	bool armed = true;
	for (int i = 0; i < 3 && armed; i++) {
		struct freeze *f = freeze(b, false);
		armed = cell(b, 0)[1] == 0;
		if (armed)
			sleep_ns(ahead_ns + ahead_ns / 4);
		vm_thaw(f, NULL);
	}
	bare_wait(__atomic_load_n(&cell(b, 0)[1], __ATOMIC_RELAXED), "the timer goes off");
	cr_assert_geq(cell(b, 0)[1], cell(b, 0)[3], "%.3f ms early",
		(double)(cell(b, 0)[3] - cell(b, 0)[1]) / per_ns / 1e6);
	return armed;
}

Test(time, a_timer_is_neither_early_nor_lost)
{
	uint64_t ahead_ns = 400 * NS_PER_MS;
	while (!timer_across_freezes(ahead_ns) && ahead_ns < 10 * NS_PER_S)
		ahead_ns *= 4;
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

/* Clocks that stood still saw nothing pass, and clocks that ran on did so while the vCPUs were held: so do
 * those that KVM did not set back, which is only known after the thaw. */
Test(time, what_passed_for_the_guest_is_told)
{
	_cleanup_(bare_free_p) struct bare *b = START(1, guest_tsc, 0);
	bare_wait_all_running(b);
	struct vm_passed begin = vm_passed(b->vm);
	cr_assert_eq(begin.held_ns, 0);
	struct freeze *f = freeze(b, true);
	struct vm_passed frozen = vm_passed(b->vm);
	sleep_ns(20 * NS_PER_MS);
	struct vm_passed later = vm_passed(b->vm);
	cr_assert_geq(later.ns, frozen.ns + 20 * NS_PER_MS);
	cr_assert_eq(later.held_ns - frozen.held_ns, later.ns - frozen.ns);
	vm_thaw(f, NULL);
	begin = vm_passed(b->vm);
	uint64_t counted_ns = vm_frozen_ns_total(b->vm);
	cr_assert_eq(begin.held_ns, counted_ns);
	f = freeze(b, false);
	bool stands = freeze_times_so_far(f).guest_time == FREEZE_TIME_STOPPED;
	frozen = vm_passed(b->vm);
	sleep_ns(20 * NS_PER_MS);
	later = vm_passed(b->vm);
	cr_assert(!stands || later.ns == frozen.ns);
	struct freeze_times times;
	vm_thaw(f, &times);
	struct vm_passed end = vm_passed(b->vm);
	uint64_t stood_ns =
		times.guest_time == FREEZE_TIME_STOPPED ? times.time_restarted_ns - times.time_stopped_ns : 0;
	cr_assert_eq(end.held_ns - begin.held_ns + stood_ns, vm_frozen_ns_total(b->vm) - counted_ns);
	cr_assert(end.ns >= later.ns && later.ns >= frozen.ns && frozen.ns >= begin.ns, "it never goes back");
	cr_assert(stood_ns || end.ns - begin.ns >= 20 * NS_PER_MS);
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
