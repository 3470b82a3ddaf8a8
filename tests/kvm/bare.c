/* SPDX-License-Identifier: GPL-2.0-only */
/* Bare guests: see bare.h. Test threads. */
#include "bare.h"

#include "common/clock.h"
#include "host/arch/x86_64/layout.h"
#include "host/arch/x86_64/pgtable.h"
#include "host/arch/x86_64/regs.h"

#include <dirent.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>

void bare_die(const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	fflush(NULL);
	_exit(1);
}

static void device_read(void *arg, uint64_t offset, uint8_t *data, unsigned length)
{
	struct bare *bare = arg;
	uint64_t n = atomic_fetch_add(&bare->reads, 1) + 1;
	memcpy(data, &n, MIN_OF(length, 8u));
	if (bare->on_access)
		bare->on_access(bare);
}

static void device_write(void *arg, uint64_t offset, const uint8_t *data, unsigned length)
{
	struct bare *bare = arg;
	atomic_fetch_add(&bare->writes, 1);
	atomic_fetch_add(&bare->bytes_written, length);
	if (bare->on_access)
		bare->on_access(bare);
}

static void on_ended(const struct vm_end_info *info, void *arg)
{
	struct bare *bare = arg;
	bare->info = *info;
	atomic_store(&bare->ended, info->why);
}

struct bare *bare_new(unsigned n_vcpus, const char *code, const char *code_end, unsigned flags)
{
	struct err err = ERR_INIT;
	uint64_t bytes = round_up_u64(BARE_CELLS + (uint64_t)n_vcpus * BARE_CELL_BYTES, 2u << 20);
	struct gmem *memory = gmem_new(&bytes, 1, &err);
	if (!memory)
		bare_die("memory: %s", err.message);
	struct bare *bare = bare_new_on(memory, n_vcpus, code, code_end, flags);
	bare->own_memory = memory;
	return bare;
}

struct bare *bare_new_on(
	struct gmem *memory, unsigned n_vcpus, const char *code, const char *code_end, unsigned flags)
{
	struct err err = ERR_INIT;
	struct bare *bare = calloc(1, sizeof(*bare));
	bare->memory = memory;
	pgtable_write_identity(bare->memory);
	regs_write_gdt(bare->memory);
	if (gmem_write(bare->memory, GPA(BARE_CODE), code, (size_t)(code_end - code)) < 0)
		bare_die("the guest's code does not fit");
	struct vm_config config = {
		.n_vcpus = n_vcpus,
		.memory = bare->memory,
		.irqchip = flags & BARE_IRQCHIP,
		.ended = on_ended,
		.ended_arg = bare,
	};
	bare->vm = vm_new(&config, &err);
	if (!bare->vm)
		bare_die("VM: %s", err.message);
	vm_set_freeze_limit(bare->vm, BARE_LIMIT_NS);
	struct vm_region region = {
		.base = BARE_PORT, .size_bytes = 8, .read = device_read, .write = device_write, .arg = bare};
	if (vm_add_pio(bare->vm, &region, &err) < 0)
		bare_die("device: %s", err.message);
	region.base = BARE_MMIO;
	region.size_bytes = 8192;
	if (vm_add_mmio(bare->vm, &region, &err) < 0)
		bare_die("device: %s", err.message);
	for (unsigned i = 0; i < n_vcpus; i++) {
		struct kvm_regs regs;
		if (regs_set_long_mode(bare->vm, i, GPA(BARE_CODE), GPA(BARE_MMIO), &err) < 0)
			bare_die("vCPU: %s", err.message);
		int fd = vm_vcpu_fd(bare->vm, i);
		if (ioctl(fd, KVM_GET_REGS, &regs) < 0)
			bare_die("cannot read registers");
		regs.rdi = BARE_CELLS + (uint64_t)i * BARE_CELL_BYTES;
		regs.rsp = regs.rdi + BARE_CELL_BYTES;
		regs.rdx = BARE_PORT;
		regs.rbx = i;
		if (ioctl(fd, KVM_SET_REGS, &regs) < 0)
			bare_die("cannot set registers");
	}
	return bare;
}

void bare_free(struct bare *bare)
{
	if (!bare)
		return;
	vm_free(bare->vm);
	gmem_free(bare->own_memory);
	free(bare);
}

struct bare *bare_start(struct bare *bare)
{
	struct err err = ERR_INIT;
	if (vm_start(bare->vm, &err) < 0)
		bare_die("start: %s", err.message);
	return bare;
}

uint64_t bare_cell(const struct bare *bare, unsigned vcpu)
{
	const uint64_t *cell =
		gmem_ptr(bare->memory, GPA(BARE_CELLS + (uint64_t)vcpu * BARE_CELL_BYTES), sizeof(*cell));
	return __atomic_load_n(cell, __ATOMIC_RELAXED);
}

void bare_pause(uint64_t limit_ns, const char *what)
{
	if (clock_now_ns() > limit_ns)
		bare_die("waited in vain until %s", what);
	struct timespec ts = {.tv_nsec = 50000};
	nanosleep(&ts, NULL);
}

void bare_wait_moved(const struct bare *bare, unsigned vcpu, uint64_t old)
{
	bare_wait(bare_cell(bare, vcpu) != old, "a vCPU counts");
}

void bare_wait_all_running(const struct bare *bare)
{
	for (unsigned i = 0; i < vm_n_vcpus(bare->vm); i++)
		bare_wait_moved(bare, i, 0);
}

void bare_wait_ended(const struct bare *bare)
{
	bare_wait(atomic_load(&bare->ended), "the VM ends");
}

struct freeze *bare_freeze(struct bare *bare)
{
	struct err err = ERR_INIT;
	struct freeze *freeze;
	if (vm_freeze(bare->vm, clock_deadline_ns(BARE_LIMIT_NS), &freeze, &err) < 0)
		bare_die("freeze: %s", err.message);
	return freeze;
}

unsigned bare_count_entries(const char *name)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/%s", name);
	DIR *d = opendir(path);
	unsigned n = 0;
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}
