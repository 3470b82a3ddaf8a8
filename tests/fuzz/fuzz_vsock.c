/* SPDX-License-Identifier: GPL-2.0-only */
/* Packets of a hostile guest and lines of hostile clients on the vsock device, mixed with host programs that
 * read, write and go away at any moment. The rings are in order (fuzz_virtio_queue.c breaks those). */
#include "tests/fake/vsock_guest.h"
#include "tests/fuzz/fuzz.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#define PORT 1000u
#define STARTS_MAX 8
#define CLIENTS_MAX 8

static char path[64];
static uint8_t payload[GUEST_TX_BYTES];

struct world {
	struct guest guest;
	struct fuzz_input in;
	unsigned starts, n_clients;
	int client[CLIENTS_MAX];
	/* Of the last packet from the device: lets the input answer it. */
	struct guest_packet last;
	bool frozen;
};

static void send_packet(struct world *w)
{
	struct fuzz_input *in = &w->in;
	uint8_t how = fuzz_u8(in);
	struct virtio_vsock_hdr hdr = guest_header(fuzz_u8(in) % 8, PORT, how % 10);
	uint32_t length = fuzz_u16(in);
	hdr.len = length;
	hdr.flags = fuzz_u8(in);
	if (how & 0x80) { /* the connection the device spoke of last */
		hdr.src_port = w->last.hdr.dst_port;
		hdr.dst_port = w->last.hdr.src_port;
	}
	if (how & 0x40) { /* any field may lie */
		uint8_t lie = fuzz_u8(in);
		if (lie & 1)
			hdr.len = fuzz_u32(in);
		if (lie & 2)
			hdr.fwd_cnt = fuzz_u32(in);
		if (lie & 4)
			hdr.buf_alloc = fuzz_u32(in);
		if (lie & 8)
			hdr.type = fuzz_u8(in);
		if (lie & 16)
			hdr.dst_port = fuzz_u16(in);
		if (lie & 32)
			hdr.dst_cid = fuzz_u32(in);
		if (lie & 64)
			hdr.op = fuzz_u16(in);
	}
	guest_send_raw(&w->guest, &hdr, payload, length);
}

static int *pick_fd(struct world *w)
{
	uint8_t i = fuzz_u8(&w->in);
	if (i & 0x80)
		return w->n_clients ? &w->client[i % w->n_clients] : NULL;
	return w->guest.n_accepted ? &w->guest.accepted[i % w->guest.n_accepted] : NULL;
}

static void new_client(struct world *w)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char line[64];
	uint8_t how = fuzz_u8(&w->in);
	if (w->n_clients == CLIENTS_MAX)
		return;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	strcpy(addr.sun_path, path);
	w->client[w->n_clients++] = fd;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return;
	int n = how & 1 ? snprintf(line, sizeof(line), "CONNECT %u\n", how >> 1) : how % (int)sizeof(line);
	if (!(how & 1))
		fuzz_take(&w->in, line, (size_t)n);
	(void)send(fd, line, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void step(struct world *w)
{
	struct fuzz_input *in = &w->in;
	struct virtio_device *dev = vsock_device(w->guest.vsock);
	uint8_t op = fuzz_u8(in);
	int *fd;
	switch (op % 12) {
	case 0:
	case 1:
		send_packet(w);
		break;
	case 2:
		(void)guest_receive(&w->guest, &w->last);
		driver_notify(&w->guest.driver, GUEST_RX);
		break;
	case 3:
		fd = pick_fd(w);
		if (fd)
			(void)recv(*fd, payload, fuzz_u16(in), MSG_DONTWAIT);
		break;
	case 4:
		fd = pick_fd(w);
		if (fd)
			(void)send(*fd, payload, fuzz_u16(in), MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	case 5:
		fd = pick_fd(w);
		if (fd)
			shutdown(*fd, fuzz_u8(in) % 3);
		break;
	case 6:
		fd = pick_fd(w);
		if (fd && *fd >= 0) {
			close(*fd);
			*fd = -1;
		}
		break;
	case 7:
		if (w->starts++ < STARTS_MAX)
			guest_start(&w->guest, fuzz_u8(in) % (GUEST_RX_BUFFERS + 1));
		break;
	case 8:
		new_client(w);
		break;
	case 9:
		w->frozen = !w->frozen;
		if (w->frozen)
			virtio_quiesce(dev);
		else
			virtio_resume(dev);
		break;
	case 10:
		vsock_transport_reset(w->guest.vsock);
		break;
	default:
		event_base_loop(loop_base(w->guest.driver.loop), EVLOOP_NONBLOCK);
		break;
	}
	if (vsock_stats(w->guest.vsock).open > VSOCK_CONNS_MAX)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static struct world w;
	unsigned queue;
	snprintf(path, sizeof(path), "/tmp/schedrig-fuzz-vsock-%d", (int)getpid());
	memset(&w, 0, sizeof(w));
	w.in = (struct fuzz_input){bytes, length};
	guest_init(&w.guest, path, 0, PORT);
	while (w.in.left && w.guest.n_accepted < VSOCK_CONNS_MAX - 8)
		step(&w);
	/* Whatever happened to its connections, the device has a next life. */
	virtio_resume(vsock_device(w.guest.vsock));
	for (unsigned i = 0; i < w.n_clients; i++)
		if (w.client[i] >= 0)
			close(w.client[i]);
	for (unsigned i = 0; i < w.guest.n_accepted; i++)
		if (w.guest.accepted[i] >= 0)
			close(w.guest.accepted[i]);
	w.guest.n_accepted = 0;
	driver_settle(&w.guest.driver);
	guest_start(&w.guest, GUEST_RX_BUFFERS);
	if (virtio_fault(vsock_device(w.guest.vsock), &queue) != VIRTQ_FAULT_NONE ||
		guest_connect(&w.guest, 5, PORT, 4096) < 0)
		abort();
	guest_deinit(&w.guest);
	return 0;
}
