/* SPDX-License-Identifier: GPL-2.0-only */
/* The 16550A as Linux's 8250 driver looks at it (drivers/tty/serial/8250/8250_port.c: autoconfig, startup).
 */
#include "host/vm/serial.h"

#include <criterion/criterion.h>

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR };
#define FCR IIR

static struct uart u;
static char sent;

static bool put(unsigned reg, uint8_t value)
{
	return uart_write(&u, reg, value, &sent);
}
static uint8_t get(unsigned reg)
{
	return uart_read(&u, reg);
}

Test(serial, sends_at_once_and_is_ready_again)
{
	uart_init(&u);
	cr_assert(put(DATA, 'x'));
	cr_assert_eq(sent, 'x');
	cr_assert_eq(get(LSR), 0x60);
	cr_assert_not(uart_irq(&u));
}

Test(serial, divisor_latch_hides_data_and_ier)
{
	uart_init(&u);
	put(IER, 5);
	put(LCR, 0x83);
	cr_assert_not(put(DATA, 0x34));
	put(IER, 0x12);
	cr_assert_eq(get(DATA), 0x34);
	cr_assert_eq(get(IER), 0x12);
	put(LCR, 3);
	cr_assert_eq(get(IER), 5);
	cr_assert_eq(get(DATA), 0);
}

Test(serial, is_detected_as_a_16550A)
{
	uart_init(&u);
	put(IER, 0);
	cr_assert_eq(get(IER), 0);
	put(IER, 0x0f);
	cr_assert_eq(get(IER) & 0x0f, 0x0f);
	put(IER, 0x40);
	cr_assert_eq(get(IER), 0, "no sleep mode or XScale unit");
	put(MCR, 0x10 | 0x0a);
	cr_assert_eq(get(MSR) & 0xf0, 0x90, "loopback");
	put(MCR, 0);
	put(FCR, 1);
	cr_assert_eq(get(IIR) & 0xc0, 0xc0, "FIFOs");
	put(FCR, 0x21);
	cr_assert_eq(get(IIR) & 0x20, 0, "no 64-byte FIFO");
	put(FCR, 0);
	cr_assert_eq(get(IIR), 1);
	put(SCR, 0xa5);
	cr_assert_eq(get(SCR), 0xa5);
}

Test(serial, transmitter_interrupts_when_enabled_and_after_each_byte)
{
	uart_init(&u);
	put(IER, 2);
	cr_assert(uart_irq(&u), "enabled while empty");
	cr_assert_eq(get(IIR), 2);
	cr_assert_not(uart_irq(&u), "looking acknowledges");
	cr_assert_eq(get(IIR), 1);
	put(DATA, 'a');
	cr_assert(uart_irq(&u));
	put(IER, 0);
	cr_assert_not(uart_irq(&u));
	put(IER, 2);
	cr_assert_eq(get(IIR), 2, "Linux takes a chip that does not do this for buggy");
}

Test(serial, loopback_receives_and_overruns)
{
	uart_init(&u);
	put(MCR, 0x10);
	put(FCR, 1);
	put(IER, 5);
	for (int i = 0; i < 17; i++)
		cr_assert_not(put(DATA, (uint8_t)('a' + i)), "nothing leaves in loopback");
	cr_assert_eq(get(IIR) & 0x0f, 6);
	cr_assert_eq(get(LSR), 0x63);
	cr_assert_eq(get(IIR) & 0x0f, 4);
	for (int i = 0; i < 16; i++)
		cr_assert_eq(get(DATA), 'a' + i);
	cr_assert_eq(get(LSR), 0x60);
	cr_assert_not(uart_irq(&u));
	cr_assert_eq(get(DATA), 0, "empty");
}
