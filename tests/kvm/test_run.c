/* SPDX-License-Identifier: GPL-2.0-only */
/* vCPUs run, exit and end: every way a VM can end, and registers at instruction boundaries. */
#include "bare.h"
#include "common/clock.h"
#include "common/fd.h"
#include "host/arch/x86_64/layout.h"
#include "host/vm/power.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

TestSuite(run, .timeout = 300);

BARE_GUEST(guest_in, "1: in %dx, %eax\n mov %rax, (%rdi)\n jmp 1b");
BARE_GUEST(guest_mmio, "1: mov (%rsi), %eax\n mov %rax, (%rdi)\n jmp 1b");
/* 8 bytes over a page boundary: two exits for one instruction. */
BARE_GUEST(guest_split, "1: mov %rax, 0xffc(%rsi)\n inc %rax\n mov %rax, (%rdi)\n jmp 1b");
BARE_GUEST(guest_outs,
	"mov %rdi, %r8\n 1: incq (%r8)\n lea 8(%r8), %rsi\n mov $4000, %ecx\n cld\n rep outsb\n jmp 1b");
BARE_GUEST(guest_hlt, "hlt\n 1: incq (%rdi)\n jmp 1b");
BARE_GUEST(guest_ud, "ud2");
BARE_GUEST(guest_fetch_mmio, "jmp *%rsi");
BARE_GUEST(guest_poweroff, "mov $0x34, %al\n mov $0x600, %edx\n out %al, %dx\n 1: incq (%rdi)\n jmp 1b");
BARE_GUEST(guest_reset, "mov $1, %al\n mov $0x602, %edx\n out %al, %dx\n 1: incq (%rdi)\n jmp 1b");
BARE_GUEST(guest_count, "1: incq (%rdi)\n jmp 1b");
/* vCPU 0 ends at once, the others count. */
BARE_GUEST(guest_one_dies, "test %ebx, %ebx\n jnz 1f\n ud2\n 1: incq (%rdi)\n jmp 1b");
/* Nothing answers at this port: all ones, and the write is lost. */
BARE_GUEST(guest_no_device, "mov $0x5000, %edx\n xor %eax, %eax\n in %dx, %al\n out %al, %dx\n"
			    "mov %rax, (%rdi)\n 1: jmp 1b");

#define NEW(n, guest, flags) bare_new(n, guest, guest##_end, flags)

/* Until the device has been used again: a freeze that comes sooner than the guest gets a turn shows nothing.
 */
static void thaw_and_wait(struct bare *b, struct freeze *f, const _Atomic uint64_t *counter)
{
	uint64_t old = atomic_load(counter);
	vm_thaw(f, NULL);
	bare_wait(atomic_load(counter) != old, "the guest goes on");
}

Test(run, a_port_read_is_complete_before_parking)
{
	_cleanup_(bare_free_p) struct bare *b = bare_start(NEW(1, guest_in, 0));
	bare_wait_all_running(b);
	for (int i = 0; i < 300; i++) {
		struct freeze *f = bare_freeze(b);
		const struct vcpu_state *s = freeze_vcpu_state(f, 0);
		cr_assert_eq(s->read_errno, 0);
		/* The device has given out as many numbers as the register has seen: nothing is half done. */
		cr_assert_eq(s->regs.rax, atomic_load(&b->reads),
			"freeze %d: rax %llu, device %llu, rip %#llx", i, (unsigned long long)s->regs.rax,
			(unsigned long long)atomic_load(&b->reads), (unsigned long long)s->regs.rip);
		thaw_and_wait(b, f, &b->reads);
	}
}

Test(run, an_mmio_read_is_complete_before_parking)
{
	_cleanup_(bare_free_p) struct bare *b = bare_start(NEW(1, guest_mmio, 0));
	bare_wait_all_running(b);
	for (int i = 0; i < 300; i++) {
		struct freeze *f = bare_freeze(b);
		const struct vcpu_state *s = freeze_vcpu_state(f, 0);
		cr_assert_eq(s->regs.rax, atomic_load(&b->reads), "freeze %d", i);
		thaw_and_wait(b, f, &b->reads);
	}
}

Test(run, a_split_write_is_complete_before_parking)
{
	_cleanup_(bare_free_p) struct bare *b = bare_start(NEW(1, guest_split, 0));
	bare_wait_all_running(b);
	for (int i = 0; i < 300; i++) {
		struct freeze *f = bare_freeze(b);
		const struct vcpu_state *s = freeze_vcpu_state(f, 0);
		uint64_t whole = atomic_load(&b->bytes_written) / 8;
		cr_assert_eq(atomic_load(&b->bytes_written) % 8, 0, "half a write in freeze %d", i);
		/* Between the write and the increment, or not. */
		cr_assert(s->regs.rax == whole || s->regs.rax + 1 == whole,
			"freeze %d: rax %llu, device %llu", i, (unsigned long long)s->regs.rax,
			(unsigned long long)whole);
		thaw_and_wait(b, f, &b->bytes_written);
	}
}

Test(run, a_string_write_parks_between_two_bytes)
{
	_cleanup_(bare_free_p) struct bare *b = bare_start(NEW(1, guest_outs, 0));
	bare_wait_all_running(b);
	unsigned inside = 0;
	for (int i = 0; i < 500; i++) {
		struct freeze *f = bare_freeze(b);
		const struct kvm_regs *r = &freeze_vcpu_state(f, 0)->regs;
		uint64_t sent = atomic_load(&b->bytes_written) % 4000;
		if (r->rcx > 0 && r->rcx < 4000) {
			inside++;
			cr_assert_eq(r->rcx, 4000 - sent, "freeze %d: rcx %llu, device %llu", i,
				(unsigned long long)r->rcx, (unsigned long long)sent);
			cr_assert_eq(r->rsi, BARE_CELLS + 8 + sent);
		} else {
			cr_assert_eq(sent, 0);
		}
		thaw_and_wait(b, f, &b->bytes_written);
	}
	cr_assert_gt(inside, 10, "only %u of 500 freezes fell into the string instruction", inside);
}

Test(run, nobody_at_a_port_reads_all_ones)
{
	_cleanup_(bare_free_p) struct bare *b = bare_start(NEW(1, guest_no_device, 0));
	bare_wait_all_running(b);
	cr_assert_eq(bare_cell(b, 0), 0xff);
}

Test(run, hlt_without_interrupt_controller_is_the_end_of_that_vcpu)
{
	_cleanup_(bare_free_p) struct bare *b = bare_start(NEW(2, guest_hlt, 0));
	bare_wait(vm_first_run_ns(b->vm), "it runs");
	struct freeze *f;
	uint64_t limit_ns = clock_deadline_ns(BARE_LIMIT_NS);
	for (;;) { /* until both have reached it */
		f = bare_freeze(b);
		if (freeze_vcpu_state(f, 0)->dead && freeze_vcpu_state(f, 1)->dead)
			break;
		vm_thaw(f, NULL);
		/* Back to back, they might never get a turn. */
		bare_pause(limit_ns, "the vCPUs have got there");
	}
	cr_assert_eq(freeze_vcpu_state(f, 0)->exit_reason, KVM_EXIT_HLT);
	cr_assert_eq(freeze_vcpu_state(f, 0)->regs.rip, BARE_CODE + 1);
	vm_thaw(f, NULL);
	cr_assert_eq(bare_cell(b, 0), 0);
	cr_assert_eq(atomic_load(&b->ended), 0);
}

Test(run, a_halted_vcpu_parks)
{
	_cleanup_(bare_free_p) struct bare *b = bare_start(NEW(1, guest_hlt, BARE_IRQCHIP));
	struct freeze *f;
	uint64_t limit_ns = clock_deadline_ns(BARE_LIMIT_NS);
	for (;;) {
		f = bare_freeze(b);
		if (freeze_vcpu_state(f, 0)->mp_state == KVM_MP_STATE_HALTED)
			break;
		vm_thaw(f, NULL);
		/* Back to back, they might never get a turn. */
		bare_pause(limit_ns, "the vCPUs have got there");
	}
	cr_assert_not(freeze_vcpu_state(f, 0)->dead);
	cr_assert_eq(freeze_vcpu_state(f, 0)->regs.rip, BARE_CODE + 1);
	vm_thaw(f, NULL);
	for (int i = 0; i < 100; i++)
		vm_thaw(bare_freeze(b), NULL);
	f = bare_freeze(b);
	cr_assert_eq(freeze_vcpu_state(f, 0)->mp_state, KVM_MP_STATE_HALTED, "freezing must not wake it");
	vm_thaw(f, NULL);
	cr_assert_eq(bare_cell(b, 0), 0);
}

Test(run, a_vcpu_that_waits_for_sipi_parks)
{
	_cleanup_(bare_free_p) struct bare *b = bare_start(NEW(4, guest_count, BARE_IRQCHIP));
	bare_wait_moved(b, 0, 0);
	for (int i = 0; i < 100; i++) {
		struct freeze *f = bare_freeze(b);
		for (unsigned k = 1; k < 4; k++)
			cr_assert_eq(freeze_vcpu_state(f, k)->mp_state, KVM_MP_STATE_UNINITIALIZED);
		vm_thaw(f, NULL);
	}
	cr_assert_eq(bare_cell(b, 1), 0);
}

Test(run, triple_fault)
{
	_cleanup_(bare_free_p) struct bare *b = bare_start(NEW(3, guest_one_dies, 0));
	bare_wait_ended(b);
	cr_assert_eq(b->info.why, VM_END_TRIPLE_FAULT);
	cr_assert_eq(b->info.vcpu, 0);
	/* The others go on until someone freezes or stops the VM, and the dead one counts as parked. */
	bare_wait_moved(b, 1, bare_cell(b, 1));
	struct freeze *f = bare_freeze(b);
	cr_assert(freeze_vcpu_state(f, 0)->dead);
	cr_assert_eq(freeze_vcpu_state(f, 0)->exit_reason, KVM_EXIT_SHUTDOWN);
	cr_assert_not(freeze_vcpu_state(f, 1)->dead);
	vm_thaw(f, NULL);
	bare_wait_moved(b, 2, bare_cell(b, 2));
}

Test(run, all_vcpus_die_and_one_reports)
{
	_cleanup_(bare_free_p) struct bare *b = bare_start(NEW(8, guest_ud, 0));
	bare_wait_ended(b);
	struct freeze *f;
	uint64_t limit_ns = clock_deadline_ns(BARE_LIMIT_NS);
	for (;;) {
		f = bare_freeze(b);
		unsigned dead = 0;
		for (unsigned i = 0; i < 8; i++)
			dead += freeze_vcpu_state(f, i)->dead;
		if (dead == 8)
			break;
		vm_thaw(f, NULL);
		/* Back to back, they might never get a turn. */
		bare_pause(limit_ns, "the vCPUs have got there");
	}
	vm_thaw(f, NULL);
}

Test(run, instructions_out_of_device_memory_are_a_kvm_error)
{
	_cleanup_(bare_free_p) struct bare *b = bare_start(NEW(1, guest_fetch_mmio, 0));
	bare_wait_ended(b);
	/* KVM says internal error; where it can deliver a fault instead, it is a triple fault. */
	if (b->info.why == VM_END_KVM_ERROR) {
		cr_assert_str_eq(b->info.err.reason, "internal-error", "%s", b->info.err.message);
		cr_assert_not_null(strstr(b->info.err.message, "rip 0xd0000000"), "%s", b->info.err.message);
	} else {
		cr_assert_eq(b->info.why, VM_END_TRIPLE_FAULT);
	}
}

static void ends_by_power_register(const char *code, const char *code_end, enum vm_end why)
{
	_cleanup_(bare_free_p) struct bare *b = bare_new(1, code, code_end, 0);
	struct err err = ERR_INIT;
	cr_assert_eq(power_attach(b->vm, &err), 0, "%s", err.message);
	bare_start(b);
	bare_wait_ended(b);
	cr_assert_eq(b->info.why, why);
	struct freeze *f = bare_freeze(b);
	const struct vcpu_state *s = freeze_vcpu_state(f, 0);
	cr_assert(s->dead);
	cr_assert_eq(s->regs.rip, BARE_CODE + 8, "behind the out instruction, not at %#llx",
		(unsigned long long)s->regs.rip);
	vm_thaw(f, NULL);
	cr_assert_eq(bare_cell(b, 0), 0, "it ran on");
}

/* KVM_RUN that fails with an access outstanding, as it does for ever on a VM that KVM has given up. */
Test(run, a_run_that_fails_for_ever_is_an_end_and_can_be_stopped)
{
	_cleanup_(bare_free_p) struct bare *b = bare_start(NEW(1, guest_in, 0));
	bare_wait_all_running(b);
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	cr_assert_geq(null, 0);
	cr_assert_geq(dup3(null, vm_vcpu_fd(b->vm, 0), O_CLOEXEC), 0);
	bare_wait_ended(b);
	cr_assert_eq(atomic_load(&b->ended), VM_END_KVM_ERROR);
	cr_assert_str_eq(b->info.err.reason, "run-failed");
	vm_stop(b->vm);
}

Test(run, power_off)
{
	ends_by_power_register(guest_poweroff, guest_poweroff_end, VM_END_POWEROFF);
}
Test(run, reset)
{
	ends_by_power_register(guest_reset, guest_reset_end, VM_END_RESET);
}

Test(run, what_the_host_cannot_do_is_refused)
{
	struct err err = ERR_INIT;
	uint64_t bytes = 2u << 20;
	_cleanup_(gmem_free_p) struct gmem *mem = gmem_new(&bytes, 1, NULL);
	struct vm_config config = {.n_vcpus = 0, .memory = mem};
	cr_assert_null(vm_new(&config, &err));
	cr_assert_eq(err.code, ERR_INVALID_ARGUMENT);
	config.n_vcpus = 1025;
	cr_assert_null(vm_new(&config, &err));
	cr_assert_eq(err.code, ERR_INVALID_ARGUMENT);
	uint32_t huge_id = UINT32_MAX;
	config = (struct vm_config){.n_vcpus = 1, .memory = mem, .apic_ids = &huge_id};
	cr_assert_null(vm_new(&config, &err));
	cr_assert_eq(err.code, ERR_HOST, "%s", err.message);
}

Test(run, nothing_is_left_behind)
{
	unsigned fds = bare_count_entries("fd"), tasks = bare_count_entries("task");
	for (int i = 0; i < 10; i++) {
		_cleanup_(bare_free_p) struct bare *b =
			bare_start(NEW(8, guest_count, i % 2 ? BARE_IRQCHIP : 0));
		bare_wait_moved(b, 0, 0);
		/* KVM itself may have a thread in our process, too. */
		cr_assert_geq(bare_count_entries("task"), tasks + 8);
	}
	/* Made and never started; started and at once stopped. */
	bare_free(NEW(4, guest_count, BARE_IRQCHIP));
	bare_free(bare_start(NEW(4, guest_count, 0)));
	cr_assert_eq(bare_count_entries("fd"), fds);
	cr_assert_eq(bare_count_entries("task"), tasks);
}

static uint64_t run_ns(const struct bare *b, unsigned vcpu)
{
	struct vm_host_time time = {0};
	cr_assert_eq(vm_vcpu_host_time(b->vm, vcpu, &time), 0);
	return time.run_ns;
}

Test(run, what_the_host_gave_a_vcpu_is_known)
{
	_cleanup_(bare_free_p) struct bare *b = NEW(2, guest_count, 0);
	struct vm_host_time time;
	cr_assert_eq(vm_vcpu_host_time(b->vm, 0, &time), -ESRCH, "it does not run yet");
	bare_start(b);
	bare_wait_all_running(b);
	cr_assert_eq(vm_vcpu_host_time(b->vm, 2, &time), -ESRCH, "there is none");
	for (unsigned vcpu = 0; vcpu < 2; vcpu++) {
		uint64_t before = run_ns(b, vcpu);
		bare_wait(run_ns(b, vcpu) > before, "the host counts the vCPU's time");
	}
}
