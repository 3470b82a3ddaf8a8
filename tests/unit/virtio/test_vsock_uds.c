/* SPDX-License-Identifier: GPL-2.0-only */
/* Host programs reaching guest ports through the Unix socket. */
#include "tests/fake/vsock_guest.h"

#include "common/clock.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define OP(name) VIRTIO_VSOCK_OP_##name

static struct guest g;
static struct guest_packet packet;
static char dir[] = "/tmp/schedrig-unit-XXXXXX", path[64];

static void start(uint64_t timeout_ns)
{
	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/vsock", dir);
	guest_init(&g, path, timeout_ns, 1000);
}
static void setup(void)
{
	start(0);
}
static void teardown(void)
{
	guest_deinit(&g);
	cr_assert_neq(access(path, F_OK), 0, "the socket file is gone");
	rmdir(dir);
}
TestSuite(vsock_uds, .init = setup, .fini = teardown, .timeout = 30);

static int client(const char *text)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	strcpy(addr.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	driver_settle(&g.driver);
	return fd;
}
static void answer(uint16_t op)
{
	guest_send(&g, guest_header(packet.hdr.dst_port, packet.hdr.src_port, op), NULL, 0);
}
static void assert_closed(int fd)
{
	char byte;
	ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);
	cr_assert(n == 0 || (n < 0 && errno == ECONNRESET));
	close(fd);
}

Test(vsock_uds, connects_to_a_guest_port)
{
	char text[64] = "", want[64];
	/* What follows the line is the guest's, to the byte. */
	int fd = client("CONNECT 77\nearly");
	cr_assert_eq(guest_expect(&g, &packet), OP(REQUEST));
	cr_assert_eq(packet.hdr.dst_port, 77);
	snprintf(want, sizeof(want), "OK %u\n", packet.hdr.src_port);
	cr_assert_eq(recv(fd, text, sizeof(text), MSG_DONTWAIT), -1, "not before the guest has answered");
	answer(OP(RESPONSE));
	cr_assert_gt(recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT), 0);
	cr_assert_str_eq(text, want);
	cr_assert_eq(guest_expect(&g, &packet), OP(RW));
	cr_assert_eq(packet.hdr.len, 5);
	cr_assert_arr_eq(packet.bytes, "early", 5);
	cr_assert_eq(vsock_stats(g.vsock).connected, 1);
	close(fd);
	cr_assert_eq(guest_expect(&g, &packet), OP(SHUTDOWN));
}

Test(vsock_uds, the_socket_is_its_owners)
{
	struct stat st;
	guest_deinit(&g);
	mode_t before = umask(0);
	guest_init(&g, path, 0, 1000);
	umask(before);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0600, "%o", st.st_mode);
}

static void on_over(evutil_socket_t fd, short what, void *arg)
{
	*(bool *)arg = true;
}

Test(vsock_uds, without_descriptors_clients_wait_and_the_loop_does_not_spin)
{
	struct rlimit files, few;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	strcpy(addr.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
	few = files;
	few.rlim_cur = (rlim_t)fd + 1;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	cr_assert_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	cr_assert_eq(write(fd, "CONNECT 5\n", 10), 10);
	/* The loop waits, but for a look now and then: until the timer it turns a few times, not thousands.
	 */
	struct event_base *base = loop_base(g.driver.loop);
	bool over = false;
	unsigned turns = 0;
	struct event *timer = evtimer_new(base, on_over, &over);
	struct timeval wait = clock_timeval(100 * NS_PER_MS);
	cr_assert_eq(event_add(timer, &wait), 0);
	while (!over) {
		event_base_loop(base, EVLOOP_ONCE);
		turns++;
	}
	event_free(timer);
	cr_assert_lt(turns, 50);
	cr_assert_eq(vsock_stats(g.vsock).open, 0);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
	uint64_t until = clock_deadline_ns(20 * NS_PER_S);
	while (vsock_stats(g.vsock).open == 0 && clock_left_ns(until))
		event_base_loop(base, EVLOOP_ONCE);
	cr_assert_eq(vsock_stats(g.vsock).open, 1);
	close(fd);
}

Test(vsock_uds, a_line_may_come_in_pieces)
{
	int fd = client("CONN");
	cr_assert_eq(write(fd, "ECT 5", 5), 5);
	cr_assert_eq(guest_expect(&g, &packet), 0);
	cr_assert_eq(write(fd, "\n", 1), 1);
	cr_assert_eq(guest_expect(&g, &packet), OP(REQUEST));
	cr_assert_eq(packet.hdr.dst_port, 5);
	close(fd);
}

Test(vsock_uds, refusals_close_the_client)
{
	int fd = client("CONNECT 77\n");
	cr_assert_eq(guest_expect(&g, &packet), OP(REQUEST));
	answer(OP(RST));
	assert_closed(fd);
	cr_assert_eq(vsock_stats(g.vsock).open, 0);
	/* A guest that sends before it has answered. */
	fd = client("CONNECT 77\n");
	cr_assert_eq(guest_expect(&g, &packet), OP(REQUEST));
	answer(OP(RW));
	assert_closed(fd);
	cr_assert_eq(guest_expect(&g, &packet), OP(RST));
}

Test(vsock_uds, bad_lines_close_the_client)
{
	const char *const lines[] = {"\n", "CONNECT\n", "CONNECT \n", "connect 5\n", "CONNECT 5 \n",
		"CONNECT -1\n", "CONNECT 4294967295\n", "CONNECT 4294967296\n", "GET / HTTP/1.1\r\n",
		"CONNECT 00000000000000000000000000000005\n"};
	for (unsigned i = 0; i < ARRAY_SIZE(lines); i++)
		assert_closed(client(lines[i]));
	cr_assert_eq(guest_expect(&g, &packet), 0);
	cr_assert_eq(vsock_stats(g.vsock).open, 0);
}

Test(vsock_uds, host_ports_differ)
{
	int a = client("CONNECT 1\n"), b = client("CONNECT 1\n");
	cr_assert_eq(guest_expect(&g, &packet), OP(REQUEST));
	uint32_t first = packet.hdr.src_port;
	cr_assert_eq(guest_expect(&g, &packet), OP(REQUEST));
	cr_assert_neq(packet.hdr.src_port, first);
	close(a);
	close(b);
}

static void setup_impatient(void)
{
	start(20 * NS_PER_MS);
}

TestSuite(vsock_uds_timeout, .init = setup_impatient, .fini = teardown, .timeout = 30);

Test(vsock_uds_timeout, without_a_driver_the_client_does_not_wait_for_ever)
{
	driver_write(&g.driver, VIRTIO_MMIO_STATUS, 0);
	int fd = client("CONNECT 9\n");
	while (vsock_stats(g.vsock).open)
		event_base_loop(loop_base(g.driver.loop), EVLOOP_ONCE);
	assert_closed(fd);
}

Test(vsock_uds_timeout, silent_clients_and_silent_guests_time_out)
{
	int silent = client("CONN"), unanswered = client("CONNECT 9\n");
	cr_assert_eq(guest_expect(&g, &packet), OP(REQUEST));
	while (vsock_stats(g.vsock).open)
		event_base_loop(loop_base(g.driver.loop), EVLOOP_ONCE);
	assert_closed(silent);
	assert_closed(unanswered);
	cr_assert_eq(vsock_stats(g.vsock).timed_out, 1);
	cr_assert_eq(guest_expect(&g, &packet), OP(RST), "the guest is told as well");
}

Test(vsock_uds, clients_are_bounded)
{
	int fd[VSOCK_CONNS_MAX + 1];
	for (unsigned i = 0; i <= VSOCK_CONNS_MAX; i++)
		fd[i] = client("");
	assert_closed(fd[VSOCK_CONNS_MAX]);
	cr_assert_eq(vsock_stats(g.vsock).open, VSOCK_CONNS_MAX);
	for (unsigned i = 0; i < VSOCK_CONNS_MAX; i++)
		close(fd[i]);
	driver_settle(&g.driver);
}

Test(vsock_uds, a_live_socket_is_not_taken_over_and_a_dead_one_is)
{
	struct err err;
	struct vsock_config config = {.guest_cid = 9, .uds_path = path};
	cr_assert_null(vsock_new(&config, g.driver.loop, &err));
	cr_assert_eq(err.code, ERR_ALREADY_EXISTS);
	char dead[80];
	snprintf(dead, sizeof(dead), "%s/dead", dir);
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	strcpy(addr.sun_path, dead);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	config.uds_path = dead;
	struct vsock_user *v = vsock_new(&config, g.driver.loop, &err);
	cr_assert_not_null(v, "%s", err.message);
	virtio_free(vsock_device(v));
	cr_assert_neq(access(dead, F_OK), 0);
}
