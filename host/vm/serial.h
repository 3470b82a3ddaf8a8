/* SPDX-License-Identifier: GPL-2.0-only */
/* A 16550A serial port at LAYOUT_SERIAL_PORT that only talks: what the guest sends goes out at once, nothing
 * is ever received except in loopback. The register model (struct uart) is pure; struct serial puts it on a
 * VM. */
#ifndef HOST_VM_SERIAL_H
#define HOST_VM_SERIAL_H

#include "host/vm/vm.h"

/* Registers as in TI's TL16C550 data sheet, as far as drivers look. Not locked. */
struct uart {
	uint8_t ier, lcr, mcr, scr, fcr, dll, dlm;
	bool thre_pending; /* the transmitter has become empty since someone looked */
	bool overrun;
	uint8_t rx[16]; /* loopback only */
	unsigned n_rx;
};
void uart_init(struct uart *uart);
uint8_t uart_read(struct uart *uart, unsigned reg);
/* True when a byte has been sent: *ret_sent. */
bool uart_write(struct uart *uart, unsigned reg, uint8_t value, char *ret_sent);
/* Level of the interrupt line. */
bool uart_irq(const struct uart *uart);

/* Takes bytes that the guest has sent: on vCPU threads, one call at a time; must not block. */
typedef void (*serial_out_fn)(const char *bytes, size_t n, void *arg);

struct serial;
/* Adds the port to a VM that has not started, with its interrupt if the VM has interrupt controllers. To be
 * freed after the VM has stopped. */
struct serial *serial_attach(struct vm *vm, serial_out_fn out, void *arg, struct err *err) must_check;
void serial_free(struct serial *serial);
SCOPE_GUARD(struct serial *, serial_free, serial_free)

#endif
