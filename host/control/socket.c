/* SPDX-License-Identifier: GPL-2.0-only */
/* The listening socket (see socket.h). A controller that was killed leaves its file behind: whether somebody
 * listens is the kernel's to know, so a connection attempt decides, under a lock on the directory so that two
 * controllers that start at once do not take each other's fresh socket for a dead one. */
#include "host/control/socket.h"

#include "common/clock.h"
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define LOCK_WAIT_NS (5 * NS_PER_S)
#define LOCK_POLL_NS (10 * NS_PER_MS)

static int make_address(const char *path, struct sockaddr_un *ret, struct err *err)
{
	size_t length = strlen(path);
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (length == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "the socket's path is empty");
	if (length >= sizeof(ret->sun_path))
		return err_set(err, ERR_INVALID_ARGUMENT,
			"the socket's path is %zu bytes long and the system allows %zu: choose a shorter one",
			length, sizeof(ret->sun_path) - 1);
	memcpy(ret->sun_path, path, length);
	return 0;
}

/* Takes the lock on the socket's directory. flock() has no time limit of its own, hence the polling. */
static int lock_directory(const char *path, int *ret_fd, struct err *err)
{
	char copy[PATH_MAX];
	snprintf(copy, sizeof(copy), "%s", path);
	const char *directory = dirname(copy);
	_cleanup_close_ int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set_os(err, errno == ENOENT || errno == ENOTDIR ? ERR_INVALID_ARGUMENT : ERR_HOST,
			errno, "cannot open the directory of socket %s", path);
	uint64_t deadline = clock_deadline_ns(LOCK_WAIT_NS);
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			break; /* a file system without locks: then it goes without */
		if (clock_left_ns(deadline) == 0)
			return err_set(err, ERR_BUSY,
				"somebody holds a lock on %s, the directory of the socket, for %d seconds "
				"already",
				directory, (int)(LOCK_WAIT_NS / NS_PER_S));
		struct timespec pause = clock_timespec(LOCK_POLL_NS);
		nanosleep(&pause, NULL);
	}
	*ret_fd = take_fd(&fd);
	return 0;
}

/* Looks at what is at the path. 0: a dead socket; else the failure that tells what it is. */
static int check_dead(const struct sockaddr_un *address, struct err *err)
{
	struct stat st;
	const char *path = address->sun_path;
	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0
				       : err_set_os(err, ERR_HOST, errno, "cannot look at socket %s", path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, ERR_ALREADY_EXISTS,
			"%s exists and is not a socket: remove it or choose another path", path);
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot create a socket");
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0) {
		if (errno == ECONNREFUSED || errno == ENOENT)
			return 0;
		if (errno != EAGAIN) /* a full backlog: it lives */
			return err_set_os(err, ERR_HOST, errno,
				"cannot find out whether a controller uses socket %s", path);
		return err_set(err, ERR_BUSY, "another controller is using %s", path);
	}
	struct ucred who = {0};
	socklen_t size = sizeof(who);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0 || who.pid <= 0)
		return err_set(err, ERR_BUSY, "another controller is using %s", path);
	return err_set(err, ERR_BUSY, "another controller (pid %d) is using %s", (int)who.pid, path);
}

int control_socket_open(const char *path, struct control_socket *ret, struct err *err)
{
	struct sockaddr_un address;
	int r = make_address(path, &address, err);
	if (r < 0)
		return r;
	_cleanup_close_ int lock = -1;
	r = lock_directory(path, &lock, err);
	if (r < 0)
		return r;
	r = check_dead(&address, err);
	if (r < 0)
		return r;
	if (unlink(path) < 0 && errno != ENOENT)
		return err_set_os(err, ERR_HOST, errno, "cannot remove the dead socket %s", path);
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot create a socket");
	/* bind() gives the file the mode of the unbound socket, less the umask: no moment in which others
	 * could connect. (net/unix/af_unix.c, unix_bind_bsd) */
	if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot create socket %s", path);
	struct stat st;
	_cleanup_free_ char *copy = strdup(path);
	if (!copy || lstat(path, &st) < 0 || listen(fd, 64) < 0) {
		int saved = errno ? errno : ENOMEM;
		unlink(path);
		return err_set_os(err, ERR_HOST, saved, "cannot listen on socket %s", path);
	}
	*ret = (struct control_socket){
		.fd = take_fd(&fd), .path = TAKE_PTR(copy), .device = st.st_dev, .inode = st.st_ino};
	return 0;
}

void control_socket_close(struct control_socket *socket)
{
	struct stat st;
	if (socket->path && lstat(socket->path, &st) == 0 && st.st_dev == socket->device &&
		st.st_ino == socket->inode)
		unlink(socket->path);
	fd_close(&socket->fd);
	free(socket->path);
	*socket = (struct control_socket){.fd = -1};
}

int control_socket_peer(int fd, pid_t *ret_pid, struct err *err)
{
	struct ucred who = {0};
	socklen_t size = sizeof(who);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot find out who the client is");
	if (who.uid != geteuid() && who.uid != 0)
		return err_set(err, ERR_FAILED_PRECONDITION,
			"this controller belongs to user %u and you are user %u: only its owner and root may "
			"use it",
			geteuid(), who.uid);
	*ret_pid = who.pid;
	return 0;
}
