/* SPDX-License-Identifier: GPL-2.0-only */
/* Where things are in guest-physical and port space: the one list.
 *
 *   0x00000500  GDT for the 64-bit entry          0x000e0000  ACPI tables (128 KiB, e820 "ACPI data")
 *   0x00007000  boot_params ("zero page")          0x00100000  kernel segments, by their p_paddr
 *   0x00009000  page tables for the entry          below 3 GiB: end of low memory; initramfs at its top
 *   0x00020000  command line (64 KiB)              0xc0000000  hole: virtio-mmio, I/O APIC, LAPIC
 *   0x0009fc00  end of base memory                 0x100000000 high memory
 */
#ifndef HOST_ARCH_X86_64_LAYOUT_H
#define HOST_ARCH_X86_64_LAYOUT_H

#define LAYOUT_GDT 0x500u
#define LAYOUT_BOOT_PARAMS 0x7000u
#define LAYOUT_PAGE_TABLES 0x9000u
#define LAYOUT_CMDLINE 0x20000u
#define LAYOUT_CMDLINE_BYTES 0x10000u
#define LAYOUT_BASE_END 0x9fc00u
#define LAYOUT_ACPI 0xe0000u
#define LAYOUT_ACPI_BYTES 0x20000u
#define LAYOUT_KERNEL 0x100000u
#define LAYOUT_HOLE 0xc0000000ull
#define LAYOUT_HIGH 0x100000000ull

/* virtio-mmio devices: one page each, interrupts from LAYOUT_VIRTIO_GSI on. */
#define LAYOUT_VIRTIO 0xd0000000ull
#define LAYOUT_VIRTIO_STRIDE 0x1000u
#define LAYOUT_VIRTIO_GSI 5u
#define LAYOUT_VIRTIO_MAX 19u /* GSI 5..23, the pins of one I/O APIC */

#define LAYOUT_IOAPIC 0xfec00000ull
#define LAYOUT_LAPIC 0xfee00000ull
#define LAYOUT_KVM_IDENTITY_MAP 0xfffbc000ull
#define LAYOUT_KVM_TSS 0xfffbd000ull

/* Ports: 16550 serial (GSI 4), ACPI sleep control/status, reset register. */
#define LAYOUT_SERIAL_PORT 0x3f8u
#define LAYOUT_SERIAL_GSI 4u
#define LAYOUT_SLEEP_CONTROL_PORT 0x600u
#define LAYOUT_SLEEP_STATUS_PORT 0x601u
#define LAYOUT_RESET_PORT 0x602u
#define LAYOUT_RESET_VALUE 0x01u
#define LAYOUT_SLEEP_S5 5u /* SLP_TYP for soft-off: in _S5 of the DSDT */

#endif
