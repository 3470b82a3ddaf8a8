/* SPDX-License-Identifier: GPL-2.0-only */
/* How a guest switches itself off: ACPI's sleep control and status registers, the reset register, and the
 * keyboard controller's reset line, which kernels use before they have found the ACPI tables. */
#ifndef HOST_VM_POWER_H
#define HOST_VM_POWER_H

#include "host/vm/vm.h"

/* Adds the ports of arch/x86_64/layout.h, and port 0x64. Before vm_start(). */
int power_attach(struct vm *vm, struct err *err) must_check;

#endif
