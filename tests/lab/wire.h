// SPDX-License-Identifier: GPL-2.0-only
// The frames between the lab's two ends, host.c outside the emulated machine and init.c (PID 1) inside, on
// one virtio-serial port. Both ends are built together and trust each other, but check lengths: a dying
// machine may send anything. Order on the port is the order of events, so EXIT comes after all output.
//
//   host -> init: FIXED* MOUNT* CWD ENV* ARG+ START, then SIGNAL*
//   init -> host: READY, then OUT | ERR | ALIVE in any order, then EXIT or FAILED; or UNSOUND instead of it
//   all
#ifndef TESTS_LAB_WIRE_H
#define TESTS_LAB_WIRE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#define WIRE_MAX_BYTES 131072 // longest payload: the kernel's limit for one argument or environment string
#define WIRE_PORT_NAME "lab.wire"
#define WIRE_ALIVE_S 5 // init says ALIVE this often

enum wire_type {
	WIRE_MOUNT = 1, // tag NUL path NUL: share to mount read-write
	WIRE_FIXED,     // path NUL: stays the host root's read-only view although a mount covers it
	WIRE_CWD,       // path NUL
	WIRE_ENV,       // "KEY=value" NUL
	WIRE_ARG,       // argument NUL
	WIRE_START,
	WIRE_SIGNAL, // one byte: signal number for the command's process group
	WIRE_READY,
	WIRE_OUT,
	WIRE_ERR,
	WIRE_ALIVE,
	WIRE_EXIT,    // one byte: exit status as a shell reports it
	WIRE_FAILED,  // sentence: the lab, not the command, failed
	WIRE_UNSOUND, // sentence: this machine is not fit for use, another one may be
};

struct wire_header {
	uint32_t type;
	uint32_t len; // of the payload that follows
};

// Both loop until all is done. Return 0, or -errno (-EPIPE: end of stream).
static inline int wire_read_full(int fd, void *data, size_t len)
{
	char *p = data;

	while (len > 0) {
		ssize_t n = read(fd, p, len);

		if (n == 0)
			return -EPIPE;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static inline int wire_write_full(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static inline int wire_send(int fd, enum wire_type type, const void *data, size_t len)
{
	struct wire_header h = {.type = type, .len = (uint32_t)len};
	int r;

	if (len > WIRE_MAX_BYTES)
		return -E2BIG;
	r = wire_write_full(fd, &h, sizeof(h));
	return r < 0 ? r : wire_write_full(fd, data, len);
}

// Reads one frame; `buf` holds WIRE_MAX_BYTES + 1 and is NUL-terminated.
static inline int wire_recv(int fd, struct wire_header *ret_h, char *buf)
{
	int r = wire_read_full(fd, ret_h, sizeof(*ret_h));

	if (r < 0)
		return r;
	if (ret_h->len > WIRE_MAX_BYTES)
		return -EPROTO;
	r = wire_read_full(fd, buf, ret_h->len);
	buf[ret_h->len] = 0;
	return r;
}

#endif
