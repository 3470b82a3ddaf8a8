/* SPDX-License-Identifier: GPL-2.0-only */
/* Sockets on the network device (see nic.h). */
#include "guest/work/nic.h"

#include "common/fd.h"
#include "common/fsat.h"
#include "common/scope.h"
#include "proto/net_device.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#define CHANNEL_AT 14u

static const char *only; /* nic_use() */

void nic_use(const char *name)
{
	only = name;
}

uint32_t nic_new_channel(void)
{
	static _Atomic uint32_t last;
	return atomic_fetch_add(&last, 1) + 1;
}

static bool find_nic(char name[IF_NAMESIZE])
{
	if (only) {
		snprintf(name, IF_NAMESIZE, "%s", only);
		return true;
	}
	DIR *dir = opendir("/sys/class/net");
	bool found = false;
	for (struct dirent *entry; dir && !found && (entry = readdir(dir));) {
		char path[300], text[64];
		if (entry->d_name[0] == '.' || strlen(entry->d_name) >= IF_NAMESIZE)
			continue;
		snprintf(path, sizeof(path), "%s/address", entry->d_name);
		found = fsat_read(dirfd(dir), path, text, sizeof(text)) > 0 &&
			!strcmp(text, NET_DEVICE_ADDRESS_TEXT);
		if (found)
			snprintf(name, IF_NAMESIZE, "%.15s", entry->d_name);
	}
	if (dir)
		closedir(dir);
	return found;
}

/* Without address resolution and IPv6: nothing but the workers' frames is to be on it. */
static int raise_nic(int fd, const char *name)
{
	char path[100];
	struct ifreq request = {0};
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	if (ioctl(fd, SIOCGIFFLAGS, &request) < 0)
		return -errno;
	if (request.ifr_flags & IFF_UP)
		return 0;
	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
	(void)!fsat_write(AT_FDCWD, path, "1"); /* a kernel without IPv6 has no such file */
	request.ifr_flags |= IFF_UP | IFF_NOARP;
	return ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

/* Accepts frames of the channel, refuses all others. */
static int set_filter(int fd, uint32_t channel)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, CHANNEL_AT),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, channel, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog program = {.len = ARRAY_SIZE(code), .filter = code};
	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ? -errno : 0;
}

int nic_open(uint32_t channel, bool receive, int *ret_fd, struct err *err)
{
	char name[IF_NAMESIZE];
	if (!find_nic(name))
		return err_set(err, ERR_UNSUPPORTED,
			"the machine has no network device: start its controller with --net");
	/* Of no protocol until the filter is in place, so that no other frame ever gets in. */
	_cleanup_close_ int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set_os(err, errno == EAFNOSUPPORT ? ERR_UNSUPPORTED : ERR_GUEST_OS, errno,
			"cannot open a packet socket");
	int r = raise_nic(fd, name);
	if (r < 0)
		return err_set_os(err, ERR_GUEST_OS, -r, "cannot bring the network device %s up", name);
	int on = 1;
	r = set_filter(fd, channel);
	if (r == 0 && setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) < 0)
		r = -errno;
	if (r < 0)
		return err_set_os(err, ERR_GUEST_OS, -r, "cannot set up a packet socket");
	struct sockaddr_ll at = {.sll_family = AF_PACKET,
		.sll_protocol = receive ? htons(NIC_ETHERTYPE) : 0,
		.sll_ifindex = (int)if_nametoindex(name)};
	if (!at.sll_ifindex || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		return err_set_os(err, ERR_GUEST_OS, errno, "cannot bind to the network device %s", name);
	*ret_fd = take_fd(&fd);
	return 0;
}

/* --- worker processes --- */

int nic_header(int fd, uint32_t channel, uint8_t *frame)
{
	/* Of a bound packet socket the kernel tells the device's address. */
	struct sockaddr_ll at = {0};
	socklen_t size = sizeof(at);
	uint16_t type = htons(NIC_ETHERTYPE);
	uint32_t number = htonl(channel);
	if (getsockname(fd, (struct sockaddr *)&at, &size) < 0)
		return -errno;
	memcpy(frame, at.sll_addr, 6);
	memcpy(frame + 6, at.sll_addr, 6);
	memcpy(frame + 12, &type, sizeof(type));
	memcpy(frame + CHANNEL_AT, &number, sizeof(number));
	return 0;
}

static uint64_t read_clock(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t nic_clock_offset(void)
{
	/* Too large by what passed between the two looks: the least is the best. */
	uint64_t least = UINT64_MAX;
	for (unsigned i = 0; i < 16; i++) {
		uint64_t monotonic_ns = read_clock(CLOCK_MONOTONIC);
		uint64_t offset_ns = read_clock(CLOCK_REALTIME) - monotonic_ns;
		least = MIN_OF(least, offset_ns);
	}
	return least;
}

int nic_take(int fd, uint64_t clock_offset_ns, uint64_t *ret_taken_ns)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct timespec))];
	uint8_t byte; /* what a frame holds is known */
	struct iovec iov = {&byte, 1};
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	if (recvmsg(fd, &message, MSG_DONTWAIT) < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	*ret_taken_ns = 0;
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);
	struct timespec at;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS &&
		c->cmsg_len == CMSG_LEN(sizeof(at))) {
		memcpy(&at, CMSG_DATA(c), sizeof(at));
		*ret_taken_ns = (uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec - clock_offset_ns;
	}
	return 1;
}
