/* SPDX-License-Identifier: GPL-2.0-only */
/* Interrupt chips of a new VM; the rest of irq.c is declared in vm.h. */
#ifndef HOST_VM_IRQ_H
#define HOST_VM_IRQ_H

#include "common/err.h"

struct vm;

/* TSS and identity map pages, and the in-kernel chips if the VM wants them. Before the first vCPU. */
int vm_create_irqchip(struct vm *vm, struct err *err) must_check;

#endif
