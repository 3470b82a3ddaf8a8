/* SPDX-License-Identifier: GPL-2.0-only */
/* Bare guests: a VM whose vCPUs run a few instructions in 64-bit mode, each with its own cell of memory. Also
 * used by the race ring and the benchmark, so no test framework here: failures end the program with a
 * sentence. */
#ifndef TESTS_KVM_BARE_H
#define TESTS_KVM_BARE_H

#include "common/clock.h"
#include "host/vm/freeze.h"
#include "host/vm/vm.h"

#include <stdatomic.h>

/* Where things are for the guest. A cell is a page: rdi of each vCPU. */
#define BARE_CODE 0x100000u
#define BARE_CELLS 0x200000u
#define BARE_CELL_BYTES 4096u
/* A device that counts, on both buses: reads give the number of reads so far. Two pages on the MMIO bus. */
#define BARE_PORT 0x500u
#define BARE_MMIO 0xd0000000u

/* Guest code: from name to name##_end, position-independent. Start: rdi = own cell, rsi = BARE_MMIO, edx =
 * BARE_PORT, rbx = vCPU number. */
#define BARE_GUEST(name, text)                                                                               \
	extern const char name[], name##_end[];                                                              \
	__asm__(".pushsection .rodata\n.globl " #name "\n" #name ":\n" text "\n.globl " #name "_end\n" #name \
		"_end:\n.popsection\n")

struct bare {
	struct gmem *memory, *own_memory; /* own: to be freed, or NULL */
	struct vm *vm;
	_Atomic uint64_t reads, writes, bytes_written; /* of the counting device */
	_Atomic uint32_t ended;                        /* enum vm_end, or 0 */
	struct vm_end_info info;                       /* set before ended */
	void (*on_access)(struct bare *bare);          /* of the device, on a vCPU thread; may be NULL */
};

/* How long a vCPU thread may be kept from running by whatever else the host has to do: for waits, and before
 * a freeze is given up. */
#define BARE_LIMIT_NS (100 * NS_PER_S)

#define BARE_IRQCHIP 1u
/* Makes the VM, not started. */
struct bare *bare_new(unsigned n_vcpus, const char *code, const char *code_end, unsigned flags);
/* The same on memory of the caller's, which outlives it and has room for code and cells. */
struct bare *bare_new_on(
	struct gmem *memory, unsigned n_vcpus, const char *code, const char *code_end, unsigned flags);
void bare_free(struct bare *bare);
SCOPE_GUARD(struct bare *, bare_free, bare_free)
struct bare *bare_start(struct bare *bare);

/* First word of the vCPU's cell. */
uint64_t bare_cell(const struct bare *bare, unsigned vcpu);
/* Waits until the cell differs from `old`. */
void bare_wait_moved(const struct bare *bare, unsigned vcpu, uint64_t old);
/* Waits until every vCPU has counted. */
void bare_wait_all_running(const struct bare *bare);
void bare_wait_ended(const struct bare *bare);
/* Waits for a condition, in steps of the clock; ends the program with `what` after BARE_LIMIT_NS.
 */
#define bare_wait(condition, what)                                                                           \
	do {                                                                                                 \
		uint64_t limit_ = clock_deadline_ns(BARE_LIMIT_NS);                                          \
		while (!(condition))                                                                         \
			bare_pause(limit_, what);                                                            \
	} while (0)
void bare_pause(uint64_t limit_ns, const char *what);

struct freeze *bare_freeze(struct bare *bare);
_Noreturn void bare_die(const char *fmt, ...) printf_like(1, 2);
/* Entries of /proc/self/NAME: "fd" or "task". */
unsigned bare_count_entries(const char *name);

#endif
