/* SPDX-License-Identifier: GPL-2.0-only */
/* The Unix socket through which host programs reach guest ports: "CONNECT PORT\n" (see vsock_user.h). Loop
 * thread; no guest memory. */
#include "host/virtio/vsock_internal.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/parse.h"

#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* Host ports of our own choice start here, away from those that people listen on. */
#define FIRST_HOST_PORT 0x40000000u
#define ACCEPTS_PER_EVENT 16
#define ACCEPT_RETRY_NS (200 * NS_PER_MS)

static void on_client(evutil_socket_t fd, short what, void *arg)
{
	struct vsock_user *v = arg;
	for (unsigned i = 0; i < ACCEPTS_PER_EVENT; i++) {
		int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (client < 0) {
			/* Without descriptors it stays readable: the loop would do nothing else. */
			struct timeval wait = clock_timeval(ACCEPT_RETRY_NS);
			if (errno != EAGAIN && event_add(v->uds_retry, &wait) == 0)
				event_del(v->uds_event);
			return;
		}
		struct vsock_conn *c = vconn_create(v, VSOCK_LINE, client);
		if (!c)
			continue;
		vconn_set_timer(c, v->connect_timeout_ns);
		vconn_update_events(c);
	}
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct vsock_user *v = arg;
	event_add(v->uds_event, NULL);
}

/* A socket file whose owner is gone refuses connections; only such a one is replaced. */
static bool is_dead_socket(const struct sockaddr_un *addr)
{
	struct stat st;
	if (lstat(addr->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return false;
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return fd >= 0 && connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 &&
	       errno == ECONNREFUSED;
}

int uds_open(struct vsock_user *v, const char *path, struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(addr.sun_path))
		return err_set(err, ERR_INVALID_ARGUMENT,
			"the socket path '%s' is longer than %zu characters", path,
			sizeof(addr.sun_path) - 1);
	strcpy(addr.sun_path, path);
	v->uds_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (v->uds_fd < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot create the vsock socket");
	/* As the control socket: the file is its owner's from its first moment, whatever the umask. */
	if (fchmod(v->uds_fd, 0600) < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot create the vsock socket '%s'", path);
	int r = bind(v->uds_fd, (struct sockaddr *)&addr, sizeof(addr));
	if (r < 0 && errno == EADDRINUSE && is_dead_socket(&addr) && unlink(path) == 0)
		r = bind(v->uds_fd, (struct sockaddr *)&addr, sizeof(addr));
	if (r < 0)
		return err_set_os(err, errno == EADDRINUSE ? ERR_ALREADY_EXISTS : ERR_HOST, errno,
			"cannot bind the vsock socket '%s'", path);
	v->uds_path = strdup(path);
	if (listen(v->uds_fd, 64) < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot listen on the vsock socket '%s'", path);
	v->uds_event = event_new(loop_base(v->loop), v->uds_fd, EV_READ | EV_PERSIST, on_client, v);
	v->uds_retry = evtimer_new(loop_base(v->loop), on_retry, v);
	if (!v->uds_path || !v->uds_event || !v->uds_retry || event_add(v->uds_event, NULL) < 0)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot serve the vsock socket '%s'", path);
	return 0;
}

void uds_close(struct vsock_user *v)
{
	if (v->uds_event)
		event_free(v->uds_event);
	if (v->uds_retry)
		event_free(v->uds_retry);
	v->uds_event = v->uds_retry = NULL;
	if (v->uds_path)
		(void)unlink(v->uds_path);
	free(v->uds_path);
	v->uds_path = NULL;
	fd_close(&v->uds_fd);
}

static bool take_host_port(struct vsock_conn *c, uint32_t guest_port)
{
	struct vsock_user *v = c->v;
	/* One more than there can be connections: one of them is free. */
	for (unsigned i = 0; i <= VSOCK_CONNS_MAX; i++) {
		uint32_t port = FIRST_HOST_PORT + (v->next_host_port++ % FIRST_HOST_PORT);
		if (vconn_insert(c, (struct vsock_key){.host_port = port, .guest_port = guest_port}))
			return true;
	}
	return false;
}

/* "CONNECT 1234": true and the port. */
static bool parse_line(char *line, uint32_t *ret_port)
{
	static const char verb[] = "CONNECT ";
	return strncmp(line, verb, sizeof(verb) - 1) == 0 &&
	       parse_u32(line + sizeof(verb) - 1, ret_port, NULL) == 0 && *ret_port != UINT32_MAX;
}

void uds_line_readable(struct vsock_conn *c)
{
	for (;;) {
		/* One byte at a time: what follows the line is the guest's. */
		char byte;
		ssize_t n = recv(c->fd, &byte, 1, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0 || c->line_bytes == sizeof(c->line) - 1)
			break;
		if (byte != '\n') {
			c->line[c->line_bytes++] = byte;
			continue;
		}
		uint32_t port;
		if (!parse_line(c->line, &port) || !take_host_port(c, port))
			break;
		c->state = VSOCK_CONNECTING;
		c->send_ops = 1u << VIRTIO_VSOCK_OP_REQUEST;
		vconn_set_timer(c, c->v->connect_timeout_ns);
		vconn_make_ready(c);
		vconn_update_events(c);
		return;
	}
	vconn_destroy(c);
}
