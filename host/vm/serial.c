/* SPDX-License-Identifier: GPL-2.0-only */
/* The 16550A. Registers under a lock that nobody holds across I/O; vCPU threads. */
#include "host/vm/serial.h"

#include "common/fd.h"
#include "host/arch/x86_64/layout.h"
#include "host/vm/vm_internal.h"

#include <string.h>
#include <sys/eventfd.h>

enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR, REG_COUNT };

#define IER_RX 0x01u
#define IER_THRE 0x02u
#define IER_LINE 0x04u
#define IER_ALL 0x0fu
#define IIR_NONE 0x01u
#define IIR_THRE 0x02u
#define IIR_RX 0x04u
#define IIR_LINE 0x06u
#define IIR_FIFO 0xc0u
#define FCR_ENABLE 0x01u
#define FCR_CLEAR_RX 0x02u
#define LCR_DLAB 0x80u
#define MCR_LOOP 0x10u
#define MCR_ALL 0x1fu
#define LSR_RX 0x01u
#define LSR_OVERRUN 0x02u
#define LSR_THRE 0x20u
#define LSR_TEMT 0x40u
/* Clear to send, data set ready, carrier: someone is listening. */
#define MSR_CONNECTED 0xb0u

void uart_init(struct uart *uart)
{
	*uart = (struct uart){.dll = 12, .lcr = 3}; /* 9600 baud, 8 bits */
}

static uint8_t interrupt_id(const struct uart *u)
{
	if (u->ier & IER_LINE && u->overrun)
		return IIR_LINE;
	if (u->ier & IER_RX && u->n_rx)
		return IIR_RX;
	if (u->ier & IER_THRE && u->thre_pending)
		return IIR_THRE;
	return IIR_NONE;
}

bool uart_irq(const struct uart *uart)
{
	return interrupt_id(uart) != IIR_NONE;
}

static uint8_t take_rx(struct uart *u)
{
	if (u->n_rx == 0)
		return 0;
	uint8_t value = u->rx[0];
	memmove(u->rx, u->rx + 1, --u->n_rx);
	return value;
}

/* In loopback the outputs of MCR come back as the inputs of MSR: drivers detect the chip by it. */
static uint8_t modem_status(const struct uart *u)
{
	if (!(u->mcr & MCR_LOOP))
		return MSR_CONNECTED;
	uint8_t rts_dtr = (uint8_t)((u->mcr & 2u) << 3 | (u->mcr & 1u) << 5);
	uint8_t out1_out2 = (uint8_t)((u->mcr & 0xcu) << 4);
	return rts_dtr | out1_out2;
}

uint8_t uart_read(struct uart *u, unsigned reg)
{
	bool dlab = u->lcr & LCR_DLAB;
	uint8_t value;
	switch (reg) {
	case REG_DATA:
		return dlab ? u->dll : take_rx(u);
	case REG_IER:
		return dlab ? u->dlm : u->ier;
	case REG_IIR_FCR:
		value = interrupt_id(u);
		if (value == IIR_THRE) /* looking is what acknowledges this one */
			u->thre_pending = false;
		return value | (u->fcr & FCR_ENABLE ? IIR_FIFO : 0);
	case REG_LCR:
		return u->lcr;
	case REG_MCR:
		return u->mcr;
	case REG_LSR:
		value = LSR_THRE | LSR_TEMT | (u->n_rx ? LSR_RX : 0) | (u->overrun ? LSR_OVERRUN : 0);
		u->overrun = false;
		return value;
	case REG_MSR:
		return modem_status(u);
	case REG_SCR:
		return u->scr;
	default:
		return 0xff;
	}
}

static void loop_back(struct uart *u, uint8_t value)
{
	unsigned room = u->fcr & FCR_ENABLE ? ARRAY_SIZE(u->rx) : 1;
	if (u->n_rx < room)
		u->rx[u->n_rx++] = value;
	else
		u->overrun = true;
}

bool uart_write(struct uart *u, unsigned reg, uint8_t value, char *ret_sent)
{
	bool dlab = u->lcr & LCR_DLAB;
	switch (reg) {
	case REG_DATA:
		if (dlab) {
			u->dll = value;
			return false;
		}
		u->thre_pending = true; /* gone already, so empty again */
		if (u->mcr & MCR_LOOP) {
			loop_back(u, value);
			return false;
		}
		*ret_sent = (char)value;
		return true;
	case REG_IER:
		if (dlab) {
			u->dlm = value;
			return false;
		}
		/* Switching it on while the transmitter is empty interrupts at once: Linux tests for that. */
		if (value & IER_THRE && !(u->ier & IER_THRE))
			u->thre_pending = true;
		u->ier = value & IER_ALL;
		return false;
	case REG_IIR_FCR:
		if (value & FCR_CLEAR_RX || !(value & FCR_ENABLE))
			u->n_rx = 0;
		u->fcr = value & FCR_ENABLE;
		return false;
	case REG_LCR:
		u->lcr = value;
		return false;
	case REG_MCR:
		u->mcr = value & MCR_ALL;
		return false;
	case REG_SCR:
		u->scr = value;
		return false;
	default:
		return false;
	}
}

struct serial {
	pthread_mutex_t lock;
	struct uart uart;
	bool line; /* as last told to the interrupt controller */
	serial_out_fn out;
	void *arg;
	int irq_fd; /* -1: polled only */
};

/* True when the line has risen: the caller raises the (edge-triggered) interrupt outside the lock. */
static bool line_rises(struct serial *s)
{
	bool before = s->line;
	s->line = uart_irq(&s->uart);
	return s->line && !before;
}

static void raise_irq(struct serial *s)
{
	if (s->irq_fd >= 0)
		eventfd_write(s->irq_fd, 1); /* cannot fail: KVM takes the count at once */
}

static void serial_read(void *arg, uint64_t offset, uint8_t *data, unsigned length)
{
	struct serial *s = arg;
	bool raise;
	{
		SCOPE_LOCK(&s->lock);
		for (unsigned i = 0; i < length; i++)
			data[i] = uart_read(&s->uart, (unsigned)offset + i);
		raise = line_rises(s);
	}
	if (raise)
		raise_irq(s);
}

static void serial_write(void *arg, uint64_t offset, const uint8_t *data, unsigned length)
{
	struct serial *s = arg;
	bool raise;
	{
		SCOPE_LOCK(&s->lock);
		char sent;
		for (unsigned i = 0; i < length; i++)
			if (uart_write(&s->uart, (unsigned)offset + i, data[i], &sent))
				s->out(&sent, 1, s->arg);
		raise = line_rises(s);
	}
	if (raise)
		raise_irq(s);
}

struct serial *serial_attach(struct vm *vm, serial_out_fn out, void *arg, struct err *err)
{
	_cleanup_(serial_free_p) struct serial *s = calloc(1, sizeof(*s));
	if (!s) {
		err_set(err, ERR_HOST, "out of memory");
		return NULL;
	}
	pthread_mutex_init(&s->lock, NULL);
	uart_init(&s->uart);
	s->out = out;
	s->arg = arg;
	s->irq_fd = -1;
	if (vm->irqchip && (s->irq_fd = vm_add_irqfd(vm, LAYOUT_SERIAL_GSI, err)) < 0)
		return NULL;
	struct vm_region region = {
		.base = LAYOUT_SERIAL_PORT,
		.size_bytes = REG_COUNT,
		.read = serial_read,
		.write = serial_write,
		.arg = s,
	};
	if (vm_add_pio(vm, &region, err) < 0)
		return NULL;
	return TAKE_PTR(s);
}

void serial_free(struct serial *serial)
{
	if (!serial)
		return;
	fd_close(&serial->irq_fd);
	pthread_mutex_destroy(&serial->lock);
	free(serial);
}
