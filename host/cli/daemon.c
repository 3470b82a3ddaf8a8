/* SPDX-License-Identifier: GPL-2.0-only */
/* A schedrigd of our own (see daemon.h). */
#include "host/cli/daemon.h"

#include "common/clock.h"
#include "common/fd.h"
#include "host/cli/cli.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define PREFIX "schedrig-run."
#define STOP_WAIT_NS (20 * NS_PER_S)
#define OPTIONS_MAX 600

static const char *base_directory(void)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	/* Room for the names below in a socket's 107 bytes. */
	return runtime && runtime[0] == '/' && strlen(runtime) < 60 ? runtime : "/tmp";
}

static void remove_directory(const char *directory)
{
	static const char *const names[] = {"vm.sock", "owner"};
	char path[PATH_MAX + 16];
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		unlink(path);
	}
	rmdir(directory);
}

/* The lock is on a file in it: the one on the directory itself is the controller's. */
static int open_owner(const char *directory, int flags)
{
	char path[PATH_MAX + 16];
	snprintf(path, sizeof(path), "%s/owner", directory);
	return open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | flags, 0600);
}

/* Directories of ours whose owner is gone: nobody holds their lock. */
static void sweep(const char *base)
{
	DIR *listing = opendir(base);
	if (!listing)
		return;
	for (struct dirent *e; (e = readdir(listing));) {
		char path[PATH_MAX];
		struct stat st;
		if (strncmp(e->d_name, PREFIX, strlen(PREFIX)) != 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", base, e->d_name);
		/* A young one may be about to get its lock. */
		if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
			st.st_ctime + 60 > time(NULL))
			continue;
		_cleanup_close_ int fd = open_owner(path, 0);
		if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0)
			remove_directory(path);
	}
	closedir(listing);
}

static int make_directory(struct cli_daemon *daemon)
{
	const char *base = base_directory();
	sweep(base);
	snprintf(daemon->directory, sizeof(daemon->directory), "%s/" PREFIX "XXXXXX", base);
	if (!mkdtemp(daemon->directory)) {
		cli_error("cannot create a directory in %s: %s", base, strerror(errno));
		daemon->directory[0] = '\0';
		return CLI_HOST;
	}
	daemon->lock_fd = open_owner(daemon->directory, O_CREAT);
	if (daemon->lock_fd >= 0)
		(void)!flock(daemon->lock_fd, LOCK_EX | LOCK_NB);
	snprintf(daemon->socket, sizeof(daemon->socket), "%s/vm.sock", daemon->directory);
	return CLI_OK;
}

/* Never returns. */
static void exec_daemon(char **argv, int ready_fd)
{
	char self[PATH_MAX], beside[PATH_MAX + 16];
	sigset_t none;
	/* A terminal's signals are for the client, which ends its controller in order. */
	setpgid(0, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		_exit(CLI_HOST);
	fcntl(ready_fd, F_SETFD, 0);
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n > 0) {
		self[n] = '\0';
		char *slash = strrchr(self, '/');
		if (slash)
			slash[1] = '\0';
		snprintf(beside, sizeof(beside), "%sschedrigd", self);
		execv(beside, argv);
	}
	if (n <= 0 || errno == ENOENT)
		execvp("schedrigd", argv);
	char line[PATH_MAX + 200];
	if (errno == ENOENT)
		snprintf(line, sizeof(line),
			"error NotFound there is no schedrigd, neither beside schedrig nor in PATH: install "
			"it there\n");
	else
		snprintf(line, sizeof(line), "error Host cannot start schedrigd: %s\n", strerror(errno));
	(void)!fd_write_all(ready_fd, line, strlen(line));
	_exit(127);
}

int cli_daemon_start(struct cli_daemon *daemon, char *const *options, const char *socket)
{
	char *argv[OPTIONS_MAX + 8];
	char number[16], name[] = "schedrigd", ready[] = "--ready-fd", where[] = "--socket",
			 tied[] = "--die-with-parent";
	int code = CLI_OK, ends[2];
	unsigned n = 0;
	if (socket)
		snprintf(daemon->socket, sizeof(daemon->socket), "%s", socket);
	else
		code = make_directory(daemon);
	if (code != CLI_OK)
		return code;
	if (socket && strlen(socket) >= sizeof(daemon->socket)) {
		cli_error("the socket's path is too long: at most %zu bytes", sizeof(daemon->socket) - 1);
		return CLI_USAGE;
	}
	if (pipe2(ends, O_CLOEXEC) < 0) {
		cli_error("cannot create a pipe: %s", strerror(errno));
		return CLI_HOST;
	}
	daemon->ready_fd = ends[0];
	snprintf(number, sizeof(number), "%d", ends[1]);
	argv[n++] = name;
	argv[n++] = where;
	argv[n++] = daemon->socket;
	argv[n++] = ready;
	argv[n++] = number;
	argv[n++] = tied;
	for (; *options && n < OPTIONS_MAX + 7; options++)
		argv[n++] = *options;
	argv[n] = NULL;
	pid_t pid = fork();
	if (pid == 0)
		exec_daemon(argv, ends[1]);
	close(ends[1]);
	if (pid < 0) {
		cli_error("cannot start a process: %s", strerror(errno));
		return CLI_HOST;
	}
	daemon->pid = pid;
	daemon->pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
	return CLI_OK;
}

/* Its exit code as ours; the sentence, if any, is in `line`: "error CODE TEXT". */
static int failed(struct cli_daemon *daemon, char *line)
{
	char *text = NULL;
	int status = 0;
	if (strncmp(line, "error ", 6) == 0)
		text = strchr(line + 6, ' ');
	if (text)
		*text++ = '\0';
	pid_t reaped;
	while ((reaped = waitpid(daemon->pid, &status, 0)) < 0 && errno == EINTR)
		;
	daemon->pid = 0;
	if (reaped > 0 && WIFSIGNALED(status)) {
		cli_error("schedrigd was ended by signal %d before the VM was ready", WTERMSIG(status));
		return CLI_INTERNAL;
	}
	int code = reaped > 0 ? WEXITSTATUS(status) : CLI_INTERNAL;
	if (code == 127)
		code = CLI_HOST;
	if (text)
		cli_error("%s", text);
	else
		cli_error("schedrigd ended (exit code %d) before the VM was ready", code);
	return code == CLI_USAGE || code == CLI_HOST ? code : CLI_INTERNAL;
}

int cli_daemon_wait(struct cli_daemon *daemon, int signal_fd)
{
	char line[1024];
	size_t length = 0;
	for (;;) {
		struct pollfd fds[] = {
			{.fd = daemon->ready_fd, .events = POLLIN}, {.fd = signal_fd, .events = POLLIN}};
		if (poll(fds, 2, -1) < 0 && errno != EINTR) {
			cli_error("cannot wait for schedrigd: %s", strerror(errno));
			return CLI_HOST;
		}
		if (fds[1].revents) {
			cli_error("interrupted before the VM was ready");
			return CLI_INCONCLUSIVE;
		}
		if (!fds[0].revents)
			continue;
		ssize_t n = read(daemon->ready_fd, line + length, sizeof(line) - 1 - length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n > 0)
			length += (size_t)n;
		line[length] = '\0';
		char *newline = strchr(line, '\n');
		if (n > 0 && !newline && length < sizeof(line) - 1)
			continue;
		if (newline)
			*newline = '\0';
		return strcmp(line, "ready") == 0 ? CLI_OK : failed(daemon, line);
	}
}

void cli_daemon_hide(struct cli_daemon *daemon)
{
	if (daemon->directory[0])
		remove_directory(daemon->directory);
	daemon->directory[0] = '\0';
}

static bool has_ended(struct cli_daemon *daemon, uint64_t deadline_ns)
{
	struct pollfd fd = {.fd = daemon->pid_fd, .events = POLLIN};
	if (daemon->pid_fd >= 0)
		while (poll(&fd, 1, clock_poll_ms(deadline_ns)) < 0 && errno == EINTR)
			;
	return fd.revents != 0;
}

void cli_daemon_stop(struct cli_daemon *daemon, bool at_once)
{
	if (daemon->pid) {
		kill(daemon->pid, at_once ? SIGKILL : SIGTERM);
		if (!at_once && !has_ended(daemon, clock_deadline_ns(STOP_WAIT_NS))) {
			cli_error(
				"schedrigd has not ended after %d s: killed", (int)(STOP_WAIT_NS / NS_PER_S));
			kill(daemon->pid, SIGKILL);
		}
		while (waitpid(daemon->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	cli_daemon_hide(daemon);
	fd_close(&daemon->pid_fd);
	fd_close(&daemon->ready_fd);
	fd_close(&daemon->lock_fd);
	daemon->pid = 0;
}
