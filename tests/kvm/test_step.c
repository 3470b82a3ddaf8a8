/* SPDX-License-Identifier: GPL-2.0-only */
/* One vCPU executes instructions while the others are parked. Where this machine's KVM cannot single-step,
 * that it says so is all that can be tested. */
#include "bare.h"
#include "common/clock.h"
#include "host/vm/step.h"
#include "host/vm/step_debug.h"
#include "host/vm/vm_internal.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/ioctl.h>

TestSuite(step, .timeout = 300);

/* Two instructions a round. */
BARE_GUEST(step_counts, "1: incq (%rdi)\n jmp 1b");
/* Three, and one of them is a device's. */
BARE_GUEST(step_port, "1: in %dx, %eax\n mov %rax, (%rdi)\n jmp 1b");
BARE_GUEST(step_mmio, "1: mov (%rsi), %eax\n mov %rax, (%rdi)\n jmp 1b");
BARE_GUEST(step_repeats,
	"1: movl $5, %ecx\n movq %rdi, %r8\n movq %rdi, %rsi\n cld\n rep lodsb\n movq %r8, %rdi\n"
	"incq (%rdi)\n jmp 1b");
BARE_GUEST(step_flags, "1: pushfq\n popfq\n incq (%rdi)\n jmp 1b");
BARE_GUEST(step_tsc, "1: rdtsc\n shlq $32, %rdx\n orq %rdx, %rax\n movq %rax, (%rdi)\n jmp 1b");
/* 8(rdi) lets it on to the end. */
BARE_GUEST(step_halts, "1: incq (%rdi)\n cmpq $0, 8(%rdi)\n je 1b\n hlt\n jmp 1b");
BARE_GUEST(step_dies, "1: incq (%rdi)\n cmpq $0, 8(%rdi)\n je 1b\n ud2");
/* An exception table at 0x800 of the cell with a gate for #UD (6); each UD2 is skipped by its handler. */
BARE_GUEST(step_faults,
	"leaq 3f(%rip), %rax\n movw %ax, 0x860(%rdi)\n movw $0x10, 0x862(%rdi)\n"
	"movw $0x8e00, 0x864(%rdi)\n shrq $16, %rax\n movw %ax, 0x866(%rdi)\n shrq $16, %rax\n"
	"movl %eax, 0x868(%rdi)\n movl $0, 0x86c(%rdi)\n"
	"leaq 0x800(%rdi), %rax\n movw $0x7f, 0x7f0(%rdi)\n movq %rax, 0x7f2(%rdi)\n lidt 0x7f0(%rdi)\n"
	"1: ud2\n incq (%rdi)\n jmp 1b\n"
	"3: addq $2, (%rsp)\n iretq");

#define START(n, guest, flags) bare_start(bare_new(n, guest, guest##_end, flags))
#define RFLAGS_TF 0x100u

static void needs_steps(void)
{
	struct err err = ERR_INIT;
	if (step_probe(&err) < 0)
		cr_skip_test("%s", err.message);
}

static int try_step(struct freeze *f, unsigned vcpu, uint32_t count, uint64_t limit_ns,
	struct vm_stepped *ret, struct err *err)
{
	struct vm_step step = {.vcpu = vcpu, .count = count, .deadline_ns = clock_deadline_ns(limit_ns)};
	*err = ERR_INIT;
	return vm_step(f, &step, ret, err);
}

static struct vm_stepped step(struct freeze *f, unsigned vcpu, uint32_t count)
{
	struct vm_stepped stepped;
	struct err err;
	cr_assert_eq(try_step(f, vcpu, count, 60 * NS_PER_S, &stepped, &err), 0, "%s", err.message);
	return stepped;
}

static void fails(struct freeze *f, unsigned vcpu, uint32_t count, enum err_code code, const char *reason)
{
	struct vm_stepped stepped;
	struct err err;
	cr_assert_lt(try_step(f, vcpu, count, 60 * NS_PER_S, &stepped, &err), 0);
	cr_assert_eq(err.code, code, "%s", err.message);
	cr_assert_str_eq(err.reason, reason, "%s", err.message);
	cr_assert_eq(stepped.executed, 0);
}

static uint64_t *cell(const struct bare *b, unsigned vcpu)
{
	return gmem_ptr(b->memory, GPA(BARE_CELLS + (uint64_t)vcpu * BARE_CELL_BYTES), BARE_CELL_BYTES);
}

Test(step, a_kvm_that_cannot_says_so_and_the_guest_stands_still)
{
	_cleanup_(bare_free_p) struct bare *b = START(2, step_counts, 0);
	bare_wait_all_running(b);
	struct freeze *f = bare_freeze(b);
	uint64_t before = bare_cell(b, 0);
	struct err err;
	struct vm_stepped stepped;
	int r = try_step(f, 0, 2, 60 * NS_PER_S, &stepped, &err);
	cr_log_info("%s", r == 0 ? "this KVM single-steps" : err.message);
	if (r == 0) {
		cr_assert_eq(bare_cell(b, 0), before + 1);
	} else {
		cr_assert_eq(err.code, ERR_UNSUPPORTED, "%s", err.message);
		cr_assert_str_eq(err.reason, "no-single-step");
		cr_assert_eq(bare_cell(b, 0), before);
	}
	/* Registers are told anywhere. */
	cr_assert_eq(step(f, 1, 0).executed, 0);
	cr_assert_eq(step(f, 1, 0).state.regs.rbx, 1);
	vm_thaw(f, NULL);
	bare_wait_moved(b, 0, bare_cell(b, 0));
	bare_wait_moved(b, 1, bare_cell(b, 1));
}

Test(step, as_many_as_asked_for_and_nobody_else_moves)
{
	needs_steps();
	enum { N = 4 };
	_cleanup_(bare_free_p) struct bare *b = START(N, step_counts, 0);
	bare_wait_all_running(b);
	for (unsigned round = 0; round < 20; round++) {
		struct freeze *f = bare_freeze(b);
		unsigned who = round % N;
		uint64_t before[N];
		for (unsigned i = 0; i < N; i++)
			before[i] = bare_cell(b, i);
		uint64_t rip = freeze_vcpu_state(f, who)->regs.rip;
		struct vm_stepped one = step(f, who, 1);
		cr_assert_eq(one.executed, 1);
		cr_assert_eq(one.end, VM_STEP_ALL);
		cr_assert_neq(one.state.regs.rip, rip);
		cr_assert_eq(bare_cell(b, who) - before[who], rip == BARE_CODE, "rip was %#llx",
			(unsigned long long)rip);
		struct vm_stepped more = step(f, who, 9);
		cr_assert_eq(more.executed, 9);
		/* Ten instructions are five rounds, from wherever it stood. */
		cr_assert_eq(more.state.regs.rip, rip);
		cr_assert_eq(bare_cell(b, who) - before[who], 5);
		cr_assert_eq(more.state.regs.rflags & RFLAGS_TF, 0);
		cr_assert_eq(freeze_vcpu_state(f, who)->regs.rip, rip, "the freeze tells the same");
		for (unsigned i = 0; i < N; i++)
			if (i != who)
				cr_assert_eq(bare_cell(b, i), before[i], "vCPU %u moved", i);
		uint64_t at = bare_cell(b, who);
		vm_thaw(f, NULL);
		bare_wait_moved(b, who, at);
	}
}

static void steps_a_device(struct bare *b)
{
	bare_wait_all_running(b);
	struct freeze *f = bare_freeze(b);
	uint64_t before = atomic_load(&b->reads);
	struct vm_stepped stepped = step(f, 0, 30);
	cr_assert_eq(stepped.executed, 30);
	cr_assert_eq(atomic_load(&b->reads) - before, 10, "an access is one instruction");
	cr_assert_eq(stepped.state.regs.rax, atomic_load(&b->reads), "and it is complete");
	uint64_t at = bare_cell(b, 0);
	vm_thaw(f, NULL);
	bare_wait_moved(b, 0, at);
}

Test(step, accesses_to_devices)
{
	needs_steps();
	_cleanup_(bare_free_p) struct bare *port = START(1, step_port, 0), *mmio = START(1, step_mmio, 0);
	steps_a_device(port);
	steps_a_device(mmio);
}

Test(step, repetitions_and_flags)
{
	needs_steps();
	_cleanup_(bare_free_p) struct bare *b = START(1, step_repeats, 0), *flags = START(1, step_flags, 0);
	bare_wait_all_running(b);
	struct freeze *f = bare_freeze(b);
	uint64_t before = bare_cell(b, 0);
	struct kvm_regs start = freeze_vcpu_state(f, 0)->regs;
	unsigned executed = 0;
	struct vm_stepped stepped;
	do
		stepped = step(f, 0, 1);
	while (++executed < 20 &&
		(stepped.state.regs.rip != start.rip || stepped.state.regs.rcx != start.rcx));
	/* Seven, and five repetitions; an emulated CPU may look at the empty counter once more. */
	cr_assert(executed == 12 || executed == 13, "a round took %u", executed);
	cr_assert_eq(bare_cell(b, 0) - before, 1);
	vm_thaw(f, NULL);
	bare_wait_all_running(flags);
	f = bare_freeze(flags);
	before = bare_cell(flags, 0);
	/* POPF takes away what KVM steps by, unless that is set again. */
	cr_assert_eq(step(f, 0, 40).executed, 40);
	cr_assert_eq(bare_cell(flags, 0) - before, 10);
	vm_thaw(f, NULL);
}

Test(step, an_exception_ends_at_its_handler)
{
	needs_steps();
	_cleanup_(bare_free_p) struct bare *b = START(1, step_faults, 0);
	bare_wait_all_running(b);
	struct freeze *f = bare_freeze(b);
	uint64_t rip = freeze_vcpu_state(f, 0)->regs.rip, before = bare_cell(b, 0);
	/* UD2, ADD and IRET of the handler, INC, JMP: at each of them once, the frame's flags without ours.
	 */
	for (unsigned i = 0; i < 50; i++) {
		struct vm_stepped stepped = step(f, 0, 1);
		cr_assert_eq(stepped.executed, 1);
		if (stepped.state.regs.rsp == BARE_CELLS + BARE_CELL_BYTES)
			continue;
		const uint64_t *frame = gmem_ptr(b->memory, GPA(stepped.state.regs.rsp), 40);
		cr_assert_not_null(frame);
		cr_assert_eq(frame[2] & RFLAGS_TF, 0, "the guest sees the trap flag");
	}
	cr_assert_eq(freeze_vcpu_state(f, 0)->regs.rip, rip);
	cr_assert_eq(bare_cell(b, 0) - before, 10);
	uint64_t at = bare_cell(b, 0);
	vm_thaw(f, NULL);
	bare_wait_moved(b, 0, at);
}

Test(step, halt_death_and_a_vcpu_that_was_never_started)
{
	needs_steps();
	_cleanup_(bare_free_p) struct bare *halts = START(2, step_halts, BARE_IRQCHIP),
					   *dies = START(1, step_dies, 0);
	bare_wait_moved(halts, 0, 0);
	struct freeze *f = bare_freeze(halts);
	fails(f, 1, 1, ERR_FAILED_PRECONDITION, "vcpu-waiting");
	fails(f, 2, 1, ERR_INVALID_ARGUMENT, "");
	fails(f, 0, VM_STEP_MAX + 1, ERR_INVALID_ARGUMENT, "");
	cell(halts, 0)[1] = 1;
	struct vm_stepped stepped = step(f, 0, 1000);
	cr_assert_eq(stepped.end, VM_STEP_HALTED);
	cr_assert_leq(stepped.executed, 6);
	cr_assert_eq(stepped.state.mp_state, KVM_MP_STATE_HALTED);
	fails(f, 0, 1, ERR_FAILED_PRECONDITION, "vcpu-halted");
	vm_thaw(f, NULL);

	bare_wait_all_running(dies);
	f = bare_freeze(dies);
	cell(dies, 0)[1] = 1;
	stepped = step(f, 0, 1000);
	cr_assert_eq(stepped.end, VM_STEP_DEAD);
	cr_assert(stepped.state.dead);
	bare_wait_ended(dies);
	fails(f, 0, 1, ERR_FAILED_PRECONDITION, "vcpu-dead");
	vm_thaw(f, NULL);
}

Test(step, the_deadline_ends_it)
{
	needs_steps();
	_cleanup_(bare_free_p) struct bare *b = START(2, step_counts, 0);
	bare_wait_all_running(b);
	struct freeze *f = bare_freeze(b);
	struct vm_stepped stepped;
	struct err err;
	uint64_t before = bare_cell(b, 0);
	uint64_t rip = freeze_vcpu_state(f, 0)->regs.rip;
	cr_assert_lt(try_step(f, 0, VM_STEP_MAX, 1, &stepped, &err), 0);
	cr_assert_eq(err.code, ERR_TIMEOUT, "%s", err.message);
	cr_assert_lt(stepped.executed, VM_STEP_MAX);
	cr_assert_eq(bare_cell(b, 0) - before, (stepped.executed + (rip == BARE_CODE)) / 2);
	vm_step_cancel(b->vm);
	cr_assert_lt(try_step(f, 0, VM_STEP_MAX, 60 * NS_PER_S, &stepped, &err), 0);
	cr_assert_eq(err.code, ERR_CANCELLED, "%s", err.message);
	vm_thaw(f, NULL);
	/* Of that freeze only. */
	f = bare_freeze(b);
	cr_assert_eq(step(f, 0, 2).executed, 2);
	vm_thaw(f, NULL);
	uint64_t at = bare_cell(b, 0);
	bare_wait_moved(b, 0, at);
}

static void *stop_it(void *arg)
{
	vm_stop(((struct bare *)arg)->vm);
	return NULL;
}

Test(step, stopping_the_vm_ends_it)
{
	needs_steps();
	for (unsigned round = 0; round < 20; round++) {
		_cleanup_(bare_free_p) struct bare *b = START(2, step_counts, 0);
		bare_wait_all_running(b);
		struct freeze *f = bare_freeze(b);
		struct vm_stepped stepped;
		struct err err;
		pthread_t thread;
		cr_assert_eq(pthread_create(&thread, NULL, stop_it, b), 0);
		/* Until it is seen: there may be time for some before. */
		int r;
		do
			r = try_step(
				f, round % 2, round % 3 ? VM_STEP_MAX : 1, 60 * NS_PER_S, &stepped, &err);
		while (r == 0);
		cr_assert_eq(err.code, ERR_CANCELLED, "%s", err.message);
		pthread_join(thread, NULL);
		vm_thaw(f, NULL);
	}
}

/* The guest's TSC over steps that lie a frozen second apart: never back, and none of that second. */
Test(step, time_stands_still_between_steps)
{
	needs_steps();
	_cleanup_(bare_free_p) struct bare *b = START(2, step_tsc, 0);
	bare_wait_all_running(b);
	struct freeze_times times;
	vm_thaw(bare_freeze(b), &times);
	if (times.guest_time == FREEZE_TIME_UNSUPPORTED)
		cr_skip_test("this host's KVM cannot stop guest time");
	struct freeze *f = bare_freeze(b);
	/* The first look is within a step, too: how long before its park a vCPU looked, the host decides. */
	uint64_t first = 0, last = bare_cell(b, 0), guest_ns = 0;
	for (unsigned i = 0; i < 10; i++) {
		struct vm_stepped stepped = step(f, 0, 10);
		guest_ns += stepped.guest_ns;
		cr_assert_gt(bare_cell(b, 0), last, "round %u: the TSC went back", i);
		last = bare_cell(b, 0);
		first = first ? first : last;
		struct timespec ts = {.tv_nsec = 100000000};
		nanosleep(&ts, NULL);
	}
	uint64_t other = bare_cell(b, 1);
	vm_thaw(f, &times);
	cr_assert_eq(times.guest_time, FREEZE_TIME_STOPPED, "errno %d", times.guest_time_errno);
	cr_assert_eq(times.stepped_ns, guest_ns);
	double moved_ns = (double)(last - first) * 1e6 / b->vm->tsc_khz;
	cr_log_info("the TSC moved by %.0f us while %.0f us of guest time were stepped", moved_ns / 1e3,
		(double)guest_ns / 1e3);
	/* Half of what was frozen between the steps, beside what was stepped. */
	cr_assert_lt(moved_ns, (double)guest_ns + 450e6);
	cr_assert_geq(times.time_restarted_ns - times.time_stopped_ns, NS_PER_S);
	bare_wait_moved(b, 0, last);
	bare_wait_moved(b, 1, other);
	f = bare_freeze(b);
	cr_assert_gt(bare_cell(b, 0), last);
	cr_assert_gt(bare_cell(b, 1), other);
	vm_thaw(f, NULL);
}
