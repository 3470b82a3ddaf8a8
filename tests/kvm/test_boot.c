/* SPDX-License-Identifier: GPL-2.0-only */
/* What a kernel finds at its 64-bit entry, told by a kernel of a few instructions. */
#include "bare.h"
#include "common/clock.h"
#include "common/fd.h"
#include "host/arch/x86_64/layout.h"
#include "host/vm/boot.h"
#include "host/vm/power.h"
#include "host/vm/serial.h"

#include <asm/bootparam.h>
#include <criterion/criterion.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define KERNEL_AT (16 * MIB)
#define ENTRY_OFFSET 256u
#define REPORT (8 * MIB)

TestSuite(boot, .timeout = 300);

/* Stores what it finds at REPORT, says so on the serial port, switches off. */
BARE_GUEST(kernel, "mov $0x800000, %edi\n"
		   "mov %rsi, (%rdi)\n"
		   "mov %rsp, 8(%rdi)\n"
		   "pushf\n pop %rax\n mov %rax, 16(%rdi)\n"
		   "mov %cr0, %rax\n mov %rax, 24(%rdi)\n"
		   "mov %cr3, %rax\n mov %rax, 32(%rdi)\n"
		   "mov %cr4, %rax\n mov %rax, 40(%rdi)\n"
		   "xor %eax, %eax\n mov %cs, %ax\n mov %rax, 48(%rdi)\n"
		   "mov %ds, %ax\n mov %rax, 56(%rdi)\n"
		   "mov %ss, %ax\n mov %rax, 64(%rdi)\n"
		   "lea 1f(%rip), %rax\n mov %rax, 72(%rdi)\n 1:\n"
		   /* Segments reloaded from the GDT, and the last page below 4 GiB is mapped. */
		   "mov %ds, %eax\n mov %eax, %ds\n mov %eax, %ss\n"
		   "mov $0xfffff000, %ebx\n mov (%rbx), %eax\n mov %rax, 80(%rdi)\n"
		   "lea 2f(%rip), %rsi\n mov $3, %ecx\n mov $0x3f8, %edx\n cld\n rep outsb\n"
		   "mov $0x34, %al\n mov $0x600, %edx\n out %al, %dx\n"
		   "hlt\n 2: .ascii \"hi\\n\"\n");

struct fake_kernel {
	Elf64_Ehdr eh;
	Elf64_Phdr ph;
	uint8_t text[2048];
};

static struct fake_kernel file;
static struct kernel_image image;

static void make_kernel(void)
{
	memcpy(file.eh.e_ident, ELFMAG, SELFMAG);
	file.eh.e_ident[EI_CLASS] = ELFCLASS64;
	file.eh.e_ident[EI_DATA] = ELFDATA2LSB;
	file.eh.e_type = ET_EXEC;
	file.eh.e_machine = EM_X86_64;
	file.eh.e_phoff = offsetof(struct fake_kernel, ph);
	file.eh.e_phentsize = sizeof(Elf64_Phdr);
	file.eh.e_phnum = 1;
	file.eh.e_entry = KERNEL_AT + ENTRY_OFFSET;
	file.ph = (Elf64_Phdr){.p_type = PT_LOAD,
		.p_offset = offsetof(struct fake_kernel, text),
		.p_filesz = 2048,
		.p_memsz = MIB,
		.p_paddr = KERNEL_AT,
		.p_vaddr = 0xffffffff81000000};
	memset(file.text, 0xcc, sizeof(file.text));
	memcpy(file.text + ENTRY_OFFSET, kernel, (size_t)(kernel_end - kernel));
	image = (struct kernel_image){
		.elf = (const uint8_t *)&file, .elf_bytes = sizeof(file), .fd = -1, .packed_fd = -1};
}

static char console[64];
static size_t console_bytes;

static void on_console(const char *bytes, size_t n, void *arg)
{
	for (size_t i = 0; i < n && console_bytes < sizeof(console); i++)
		console[console_bytes++] = bytes[i];
}

static _Atomic bool ended;
static struct vm_end_info how;

static void on_end(const struct vm_end_info *info, void *arg)
{
	how = *info;
	atomic_store(&ended, true);
}

static uint64_t report(const struct gmem *memory, unsigned i)
{
	uint64_t value;
	cr_assert_eq(gmem_read(memory, GPA(REPORT + 8 * i), &value, 8), 0);
	return value;
}

static bool has_ram(const struct boot_params *bp, uint64_t start, uint64_t end, uint32_t type)
{
	for (unsigned i = 0; i < bp->e820_entries; i++)
		if (bp->e820_table[i].addr == start && bp->e820_table[i].addr + bp->e820_table[i].size == end)
			return bp->e820_table[i].type == type;
	return false;
}

Test(boot, the_kernel_finds_what_the_protocol_promises)
{
	make_kernel();
	uint64_t nodes[] = {64 * MIB, 3072 * MIB};
	_cleanup_(gmem_free_p) struct gmem *memory = gmem_new(nodes, 2, NULL);
	struct err err = ERR_INIT;
	_cleanup_(serial_free_p) struct serial *serial = NULL;
	struct vm_config config = {.n_vcpus = 2, .memory = memory, .irqchip = true, .ended = on_end};
	_cleanup_(vm_free_p) struct vm *vm = vm_new(&config, &err);
	cr_assert_not_null(vm, "%s", err.message);
	serial = serial_attach(vm, on_console, NULL, &err);
	cr_assert_not_null(serial, "%s", err.message);
	cr_assert_eq(power_attach(vm, &err), 0);

	static char initramfs[10000];
	memset(initramfs, 'i', sizeof(initramfs));
	struct boot_config boot = {
		.kernel = &image,
		.cmdline = "console=ttyS0 quiet",
		.initramfs = initramfs,
		.initramfs_bytes = sizeof(initramfs),
		.acpi = true,
	};
	struct boot_info info;
	cr_assert_eq(boot_kernel(vm, &boot, &info, &err), 0, "%s", err.message);
	cr_assert_eq(info.entry.v, KERNEL_AT + ENTRY_OFFSET);
	cr_assert_eq(info.kernel_end.v, KERNEL_AT + MIB);
	cr_assert_eq(info.initramfs.v, 64 * MIB - 12288);
	cr_assert_eq(vm_start(vm, &err), 0, "%s", err.message);
	bare_wait(atomic_load(&ended), "the kernel switches off");
	cr_assert_eq(how.why, VM_END_POWEROFF, "%d %s", how.why, how.err.message);
	cr_assert_eq(console_bytes, 3);
	cr_assert_eq(memcmp(console, "hi\n", 3), 0);

	cr_assert_eq(report(memory, 0), LAYOUT_BOOT_PARAMS, "rsi");
	cr_assert_eq(report(memory, 2) & 0x200, 0, "interrupts are off");
	cr_assert_eq(report(memory, 3) & 0x80000001, 0x80000001, "paging and protection");
	cr_assert_eq(report(memory, 4), LAYOUT_PAGE_TABLES);
	cr_assert_eq(report(memory, 5) & 0x20, 0x20, "PAE");
	cr_assert_eq(report(memory, 6), 0x10, "__BOOT_CS");
	cr_assert_eq(report(memory, 7), 0x18, "__BOOT_DS");
	cr_assert_eq(report(memory, 8), 0x18, "__BOOT_DS");
	uint64_t rip = report(memory, 9);
	cr_assert(rip > KERNEL_AT + ENTRY_OFFSET && rip < KERNEL_AT + 2048, "%#llx", (unsigned long long)rip);
	cr_assert_eq(report(memory, 10), 0xffffffff, "the hole reads all ones");

	struct boot_params bp;
	cr_assert_eq(gmem_read(memory, GPA(LAYOUT_BOOT_PARAMS), &bp, sizeof(bp)), 0);
	cr_assert_eq(bp.hdr.header, 0x53726448);
	cr_assert_eq(bp.hdr.boot_flag, 0xaa55);
	cr_assert_eq(bp.hdr.type_of_loader, 0xff);
	cr_assert_eq(bp.hdr.loadflags & KASLR_FLAG, 0);
	cr_assert_eq(bp.acpi_rsdp_addr, LAYOUT_ACPI);
	cr_assert_eq(bp.hdr.ramdisk_image, 64 * MIB - 12288);
	cr_assert_eq(bp.hdr.ramdisk_size, 10000);
	char text[64];
	cr_assert_eq(gmem_read(memory, GPA(bp.hdr.cmd_line_ptr), text, sizeof(text)), 0);
	cr_assert_str_eq(text, "console=ttyS0 quiet");
	cr_assert_eq(bp.hdr.cmdline_size, strlen(text));
	cr_assert_eq(
		memcmp(gmem_ptr(memory, info.initramfs, sizeof(initramfs)), initramfs, sizeof(initramfs)), 0);
	cr_assert(has_ram(&bp, 0, LAYOUT_BASE_END, 1));
	cr_assert(has_ram(&bp, LAYOUT_ACPI, LAYOUT_ACPI + LAYOUT_ACPI_BYTES, 3));
	cr_assert(has_ram(&bp, MIB, 64 * MIB, 1));
	cr_assert(has_ram(&bp, 64 * MIB, LAYOUT_HOLE, 1));
	cr_assert(has_ram(&bp, LAYOUT_HIGH, LAYOUT_HIGH + 64 * MIB, 1));
	cr_assert_eq(bp.e820_entries, 6);
}

#define PACKED_AT (20 * MIB)
#define SETUP_BYTES 1024u

/* A bzImage whose 64-bit entry is the kernel of a few instructions, and whose payload is the file above. */
static struct kernel_image *load_bzimage(const char *path, const char *cache)
{
	static uint8_t bytes[SETUP_BYTES + 2048 + sizeof(file) + 4];
	uint64_t load = PACKED_AT;
	uint32_t init = 2 * MIB, offset = 2048, length = sizeof(file) + 4, unpacked = sizeof(file);
	struct kernel_image *loaded = NULL;
	struct err err = ERR_INIT;
	make_kernel();
	bytes[0x1f1] = 1;
	memcpy(bytes + 0x1fe, "\x55\xaa\xeb\x66HdrS\x0f\x02", 10);
	bytes[0x211] = 1 | KASLR_FLAG; /* not the file's to say */
	bytes[0x236] = 1;
	memset(bytes + 0x250, 0xff, 8); /* setup_data that is none */
	memcpy(bytes + 0x248, &offset, 4);
	memcpy(bytes + 0x24c, &length, 4);
	memcpy(bytes + 0x258, &load, 8);
	memcpy(bytes + 0x260, &init, 4);
	memcpy(bytes + SETUP_BYTES + 0x200, kernel, (size_t)(kernel_end - kernel));
	memcpy(bytes + SETUP_BYTES + offset, &file, sizeof(file));
	memcpy(bytes + SETUP_BYTES + offset + sizeof(file), &unpacked, 4);
	cr_assert_eq(fd_replace_file(path, bytes, sizeof(bytes), 0644, &err), 0, "%s", err.message);
	setenv("SCHEDRIG_CACHE", cache, 1);
	cr_assert_eq(kernel_image_load(path, &loaded, &err), 0, "%s", err.message);
	return loaded;
}

Test(boot, a_bzimage_is_entered_as_the_protocol_says)
{
	char dir[] = "/tmp/schedrig-kvm-boot-XXXXXX", path[64];
	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/vmlinuz", dir);
	/* No cache: the directory cannot be made. */
	_cleanup_(kernel_image_free_p) struct kernel_image *packed = load_bzimage(path, "/dev/null/none");
	unlink(path);
	rmdir(dir);
	uint64_t nodes[] = {64 * MIB};
	_cleanup_(gmem_free_p) struct gmem *memory = gmem_new(nodes, 1, NULL);
	struct err err = ERR_INIT;
	struct vm_config config = {.n_vcpus = 1, .memory = memory, .irqchip = true, .ended = on_end};
	_cleanup_(vm_free_p) struct vm *vm = vm_new(&config, &err);
	cr_assert_not_null(vm, "%s", err.message);
	cr_assert_eq(power_attach(vm, &err), 0);
	_cleanup_(boot_load_free_p) struct boot_load *load = NULL;
	cr_assert_eq(boot_load_start(packed, BOOT_PACKED, memory, &load, &err), 0, "%s", err.message);
	struct boot_config boot = {
		.kernel = packed, .load = load, .cmdline = "quiet", .acpi = true, .kaslr = true};
	struct boot_info info;
	cr_assert_eq(boot_kernel(vm, &boot, &info, &err), 0, "%s", err.message);
	cr_assert_eq(info.entry.v, PACKED_AT + 0x200);
	cr_assert_eq(info.kernel_start.v, PACKED_AT);
	cr_assert_eq(info.kernel_end.v, PACKED_AT + 2 * MIB);
	cr_assert_eq(vm_start(vm, &err), 0, "%s", err.message);
	bare_wait(atomic_load(&ended), "the kernel switches off");
	cr_assert_eq(how.why, VM_END_POWEROFF, "%d %s", how.why, how.err.message);
	cr_assert_eq(report(memory, 0), LAYOUT_BOOT_PARAMS, "rsi");
	cr_assert_eq(report(memory, 6), 0x10, "__BOOT_CS");
	uint64_t rip = report(memory, 9);
	cr_assert(rip > PACKED_AT + 0x200 && rip < PACKED_AT + 2048, "%#llx", (unsigned long long)rip);
	struct boot_params bp;
	cr_assert_eq(gmem_read(memory, GPA(LAYOUT_BOOT_PARAMS), &bp, sizeof(bp)), 0);
	cr_assert_eq(bp.hdr.header, 0x53726448);
	cr_assert_eq(bp.hdr.version, 0x20f);
	cr_assert_eq(bp.hdr.pref_address, PACKED_AT);
	cr_assert_eq(bp.hdr.init_size, 2 * MIB);
	cr_assert_eq(bp.hdr.type_of_loader, 0xff);
	cr_assert_eq(bp.hdr.loadflags, 1);
	cr_assert_eq(bp.hdr.setup_data, 0);
	cr_assert_eq(bp.hdr.cmd_line_ptr, LAYOUT_CMDLINE);
	cr_assert_eq(bp.acpi_rsdp_addr, LAYOUT_ACPI);
	cr_assert(has_ram(&bp, MIB, 64 * MIB, 1));
}

static int try_boot(uint64_t memory_bytes, const struct boot_config *boot, struct err *err)
{
	_cleanup_(gmem_free_p) struct gmem *memory = gmem_new(&memory_bytes, 1, err);
	struct vm_config config = {.n_vcpus = 1, .memory = memory};
	_cleanup_(vm_free_p) struct vm *vm = vm_new(&config, err);
	return boot_kernel(vm, boot, NULL, err);
}

Test(boot, what_does_not_fit_is_refused)
{
	make_kernel();
	static char big[50 * MIB], line[4096];
	struct err err = ERR_INIT;
	struct boot_config boot = {.kernel = &image, .cmdline = ""};
	cr_assert_eq(try_boot(18 * MIB, &boot, &err), 0, "%s", err.message);
	cr_assert_lt(try_boot(16 * MIB, &boot, &err), 0);
	cr_assert_eq(err.code, ERR_LIMIT_EXCEEDED);
	boot.initramfs = big;
	boot.initramfs_bytes = sizeof(big);
	cr_assert_lt(try_boot(64 * MIB, &boot, &err), 0);
	cr_assert_eq(err.code, ERR_LIMIT_EXCEEDED);
	cr_assert_not_null(strstr(err.message, "initramfs"), "%s", err.message);
	cr_assert_eq(try_boot(68 * MIB, &boot, &err), 0, "%s", err.message);
	boot.initramfs_bytes = SIZE_MAX;
	cr_assert_lt(try_boot(68 * MIB, &boot, &err), 0);
	boot.initramfs_bytes = SIZE_MAX - 8192;
	cr_assert_lt(try_boot(68 * MIB, &boot, &err), 0);
	memset(line, 'x', 2048);
	boot = (struct boot_config){.kernel = &image, .cmdline = line};
	cr_assert_lt(try_boot(64 * MIB, &boot, &err), 0);
	cr_assert_eq(err.code, ERR_LIMIT_EXCEEDED);
	line[2047] = '\0';
	cr_assert_eq(try_boot(64 * MIB, &boot, &err), 0, "%s", err.message);
}
