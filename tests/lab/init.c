// SPDX-License-Identifier: GPL-2.0-only
// PID 1 of the lab's emulated machine: loads modules, mounts the host's files at their own paths, runs one
// command and passes its output and exit status to host.c. Single thread. Static, the only program in the
// initramfs but the probe. It never powers the machine off: host.c ends it after the last frame.
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <net/if.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include "wire.h"

#define MAX_STRINGS 4096
#define MAX_FIXED 8
#define TIMER_PATIENCE_S 5
#define NINE_P "trans=virtio,version=9p2000.L,msize=512000,"

static int port = -1;
static char frame[WIRE_MAX_BYTES + 1];
static char *args[MAX_STRINGS + 1], *env[MAX_STRINGS + 3];
static size_t n_args, n_env;
static char *cwd;
static struct {
	char *path;
	int fd;
} fixed[MAX_FIXED];
static size_t n_fixed;

// Says why and waits for the end: the host's side kills the machine.
static void __attribute__((noreturn)) give_up(enum wire_type type, const char *format, va_list ap)
{
	char text[512];

	vsnprintf(text, sizeof(text), format, ap);
	if (port >= 0)
		(void)wire_send(port, type, text, strlen(text) + 1);
	else
		dprintf(2, "lab: %s\n", text);
	for (;;)
		pause();
}

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	give_up(WIRE_FAILED, format, ap);
}

static void __attribute__((noreturn, format(printf, 1, 2))) unsound(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	give_up(WIRE_UNSOUND, format, ap);
}

static void mkdirs(const char *path)
{
	char copy[4096];

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *p = copy + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		(void)mkdir(copy, 0755);
		*p = '/';
	}
	(void)mkdir(copy, 0755);
}

static void mount_at(
	const char *what, const char *type, const char *where, unsigned long flags, const char *options)
{
	mkdirs(where);
	if (mount(what, where, type, flags, options) < 0)
		fail("cannot mount %s (%s) at %s: %s", what, type, where, strerror(errno));
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

// Names start with their place in the load order.
static void load_modules(void)
{
	struct dirent **names;
	int n = scandir("/modules", &names, NULL, by_name);

	for (int i = 0; i < n; i++) {
		char path[300];
		int fd;

		if (names[i]->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/modules/%s", names[i]->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
			fail("cannot load %s: %s", path, strerror(errno));
		close(fd);
	}
}

// The port appears when the virtio-serial driver has talked to the device: waits for that on the uevent
// socket.
static void open_port(void)
{
	struct dirent **names;
	int n = scandir("/sys/class/virtio-ports", &names, NULL, by_name);

	for (int i = 0; i < n; i++) {
		char path[300], name[64] = "";
		int fd;

		snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", names[i]->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (read(fd, name, sizeof(name) - 1) < 0)
			name[0] = 0;
		close(fd);
		if (strncmp(name, WIRE_PORT_NAME, strlen(WIRE_PORT_NAME)) != 0)
			continue;
		snprintf(path, sizeof(path), "/dev/%s", names[i]->d_name);
		port = open(path, O_RDWR | O_CLOEXEC);
		return;
	}
}

static void wait_for_port(int uevents)
{
	char event[4096];

	for (open_port(); port < 0; open_port())
		if (recv(uevents, event, sizeof(event), 0) < 0 && errno != EINTR && errno != ENOBUFS)
			fail("uevents: %s", strerror(errno));
}

static int open_uevents(void)
{
	struct {
		unsigned short family, pad;
		unsigned pid, groups;
	} address = {.family = AF_NETLINK, .groups = 1};
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, 15 /* NETLINK_KOBJECT_UEVENT */);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		fail("uevent socket: %s", strerror(errno));
	return fd;
}

static void loopback_up(void)
{
	struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &r) < 0)
		fail("loopback interface: %s", strerror(errno));
	close(fd);
}

// The first output line of the probe, run before the host's files cover it: "instructions exits speed".
static void measure_speed(char *ret_line, size_t size)
{
	int out[2], status;
	ssize_t n = 0, got;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) < 0 || (pid = fork()) < 0)
		fail("cannot run the probe: %s", strerror(errno));
	if (pid == 0) {
		dup2(out[1], 1);
		execl("/probe", "probe", (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	while ((got = read(out[0], ret_line + n, size - 1 - (size_t)n)) > 0)
		n += got;
	ret_line[n] = 0;
	close(out[0]);
	waitpid(pid, &status, 0);
	ret_line[strcspn(ret_line, "\n")] = 0;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail("KVM does not work in the emulated machine (probe said '%s', status %#x)", ret_line,
			status);
}

static void mount_host_files(void)
{
	static const struct {
		const char *type, *where, *options;
	} fresh[] = {
		{"proc", "/proc", ""},
		{"sysfs", "/sys", ""},
		{"devtmpfs", "/dev", ""},
		{"tmpfs", "/dev/shm", "mode=1777"},
		{"devpts", "/dev/pts", "mode=620,ptmxmode=666"},
		{"cgroup2", "/sys/fs/cgroup", ""},
		{"bpf", "/sys/fs/bpf", "mode=700"},
		{"debugfs", "/sys/kernel/debug", ""},
		{"tracefs", "/sys/kernel/tracing", ""},
		{"tmpfs", "/tmp", "mode=1777"},
		{"tmpfs", "/run", "mode=755"},
		{"tmpfs", "/var/tmp", "mode=1777"},
	};

	// cache=loose: nothing that is read through this mount changes while the machine is up, or it does
	// not matter.
	mount_at("lab.root", "9p", "/host", MS_RDONLY, NINE_P "cache=loose");
	if (chdir("/host") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
		chdir("/") < 0)
		fail("cannot change to the host's root: %s", strerror(errno));
	for (size_t i = 0; i < sizeof(fresh) / sizeof(fresh[0]); i++)
		mount_at("lab", fresh[i].type, fresh[i].where, 0, fresh[i].options);
	// udev's links; shells' process substitution needs the first.
	if (symlink("/proc/self/fd", "/dev/fd") < 0 || symlink("fd/0", "/dev/stdin") < 0 ||
		symlink("fd/1", "/dev/stdout") < 0 || symlink("fd/2", "/dev/stderr") < 0)
		fail("links in /dev: %s", strerror(errno));
}

static char *keep(const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		fail("out of memory");
	return copy;
}

// Taken hold of before the mounts that cover it.
static void open_fixed(const char *path)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT)
		return;
	if (fd < 0 || n_fixed >= MAX_FIXED)
		fail("cannot open %s: %s", path, strerror(errno));
	fixed[n_fixed].path = keep(path);
	fixed[n_fixed++].fd = fd;
}

static void mount_fixed(void)
{
	char from[64];

	for (size_t i = 0; i < n_fixed; i++) {
		snprintf(from, sizeof(from), "/proc/self/fd/%d", fixed[i].fd);
		if (mount(from, fixed[i].path, NULL, MS_BIND, NULL) < 0)
			fail("cannot bind %s: %s", fixed[i].path, strerror(errno));
		close(fixed[i].fd);
	}
}

static void receive_job(void)
{
	struct wire_header h;

	for (;;) {
		int r = wire_recv(port, &h, frame);

		if (r < 0)
			fail("port: %s", strerror(-r));
		switch (h.type) {
		case WIRE_FIXED:
			open_fixed(frame);
			break;
		case WIRE_MOUNT:
			// cache=mmap: others see what is written at once, and shared mappings work.
			mount_at(frame, "9p", frame + strlen(frame) + 1, 0, NINE_P "cache=mmap");
			break;
		case WIRE_CWD:
			cwd = keep(frame);
			break;
		case WIRE_ENV:
		case WIRE_ARG:
			if (n_args >= MAX_STRINGS || n_env >= MAX_STRINGS)
				fail("more than %d arguments or environment variables", MAX_STRINGS);
			if (h.type == WIRE_ENV)
				env[n_env++] = keep(frame);
			else
				args[n_args++] = keep(frame);
			break;
		case WIRE_START:
			if (n_args == 0 || !cwd)
				fail("the host sent no command");
			mount_fixed();
			return;
		default:
			fail("unexpected frame %u", h.type);
		}
	}
}

static pid_t start_command(int ret_pipes[2])
{
	int out[2], err[2], null;
	sigset_t none;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		fail("pipe: %s", strerror(errno));
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	pid = fork();
	if (pid < 0)
		fail("fork: %s", strerror(errno));
	if (pid == 0) {
		// A session of its own: signals for the command are sent to its whole group.
		setsid();
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		dup2(null, 0);
		dup2(out[1], 1);
		dup2(err[1], 2);
		if (chdir(cwd) < 0) {
			dprintf(2, "lab: cannot change to %s: %s\n", cwd, strerror(errno));
			_exit(125);
		}
		environ = env;
		execvp(args[0], args);
		dprintf(2, "lab: cannot run %s: %s\n", args[0], strerror(errno));
		_exit(errno == ENOENT ? 127 : 126);
	}
	close(null);
	close(out[1]);
	close(err[1]);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	fcntl(err[0], F_SETFL, O_NONBLOCK);
	ret_pipes[0] = out[0];
	ret_pipes[1] = err[0];
	return pid;
}

static volatile sig_atomic_t ticked;

static void on_tick(int sig)
{
	(void)sig;
	ticked = 1;
}

// One boot of sixty with three CPUs ends with a CPU whose local APIC has the timer's interrupt in service for
// ever (seen in QEMU's "info lapic": ISR 236, the timer still in the mode of the first seconds), so that it
// never gets another: no preemption, no timers. Such a machine is of no use, and it shows at once.
static void check_timers(void)
{
	struct itimerval soon = {.it_value = {.tv_usec = 2000}};
	struct sigaction action = {.sa_handler = on_tick};
	struct timespec now, start;
	cpu_set_t all, one;

	if (sched_getaffinity(0, sizeof(all), &all) < 0)
		fail("affinity: %s", strerror(errno));
	sigaction(SIGALRM, &action, NULL);
	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		if (sched_setaffinity(0, sizeof(one), &one) < 0)
			fail("affinity: %s", strerror(errno));
		ticked = 0;
		setitimer(ITIMER_REAL, &soon, NULL);
		clock_gettime(CLOCK_MONOTONIC, &start);
		do
			clock_gettime(CLOCK_MONOTONIC, &now);
		while (!ticked && now.tv_sec - start.tv_sec < TIMER_PATIENCE_S);
		if (!ticked)
			unsound("CPU %zu of the emulated machine gets no timer interrupts", cpu);
	}
	if (sched_setaffinity(0, sizeof(all), &all) < 0)
		fail("affinity: %s", strerror(errno));
	signal(SIGALRM, SIG_DFL);
}

// Nothing that this machine was started for runs on its first CPU, above all no vCPU. QEMU's x87 code
// (cpu_clear_ignne()) changes a word of state of the first CPU from the threads of the others, without a
// lock, with each XRSTOR and the like. The word also holds the switches of SVM: nested paging, the global
// interrupt flag. A VMRUN or #VMEXIT on the first CPU at that moment leaves the guest's in force in the host
// or the other way round, and guest or machine crash or hang (seen with QEMU 10.0 and 11.1; 24 vCPUs on all
// CPUs did it in one boot of four). Without SVM the word never changes.
static void leave_first_cpu(void)
{
	cpu_set_t cpus;

	if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
		fail("affinity: %s", strerror(errno));
	CPU_CLR(0, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus) < 0)
		fail("affinity: %s", strerror(errno));
}

// Passes on what there is, up to one frame. Returns whether there was anything; closes and marks an ended
// stream.
static bool forward(struct pollfd *from, enum wire_type type)
{
	ssize_t n;
	int r;

	if (from->fd < 0)
		return false;
	n = read(from->fd, frame, 65536);
	if (n > 0) {
		r = wire_send(port, type, frame, (size_t)n);
		if (r < 0)
			fail("port: %s", strerror(-r));
		return true;
	}
	if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		close(from->fd);
		from->fd = -1;
	}
	return false;
}

static void pass_signal(pid_t command)
{
	struct wire_header h;
	int r = wire_recv(port, &h, frame);

	if (r < 0)
		fail("port: %s", strerror(-r));
	if (h.type == WIRE_SIGNAL && h.len == 1)
		kill(-command, (unsigned char)frame[0]);
}

// Reaps all children; returns whether `command` is among them, with its status as a shell would report it.
static bool reap(pid_t command, unsigned char *ret_status)
{
	bool ended = false;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != command)
			continue;
		ended = true;
		*ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	}
	return ended;
}

static unsigned char serve(pid_t command, int pipes[2], int children)
{
	enum { OUT, ERR, CHILDREN, PORT, N };
	struct pollfd fds[N] = {
		[OUT] = {.fd = pipes[0], .events = POLLIN},
		[ERR] = {.fd = pipes[1], .events = POLLIN},
		[CHILDREN] = {.fd = children, .events = POLLIN},
		[PORT] = {.fd = port, .events = POLLIN},
	};
	struct signalfd_siginfo info;
	unsigned char status = 0;
	bool ended = false;

	while (!ended) {
		int n = poll(fds, N, WIRE_ALIVE_S * 1000);

		if (n == 0 && wire_send(port, WIRE_ALIVE, NULL, 0) < 0)
			fail("port: cannot write");
		if (n <= 0)
			continue;
		if (fds[CHILDREN].revents && read(children, &info, sizeof(info)) > 0)
			ended = reap(command, &status);
		if (fds[PORT].revents & POLLIN)
			pass_signal(command);
		if (fds[OUT].revents)
			forward(&fds[OUT], WIRE_OUT);
		if (fds[ERR].revents)
			forward(&fds[ERR], WIRE_ERR);
	}
	// What the command wrote is in the pipes by now; what it left running may hold them open for ever.
	while (forward(&fds[OUT], WIRE_OUT) || forward(&fds[ERR], WIRE_ERR))
		;
	return status;
}

int main(void)
{
	static char speed[128], speed_env[200], lab_env[32];
	struct rlimit many = {1048576, 1048576}, unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	int pipes[2], children, uevents;
	unsigned char status;
	sigset_t chld;
	pid_t command;

	mount_at("lab", "proc", "/proc", 0, "");
	mount_at("lab", "sysfs", "/sys", 0, "");
	mount_at("lab", "devtmpfs", "/dev", 0, "");
	uevents = open_uevents();
	load_modules();
	wait_for_port(uevents);
	close(uevents);
	check_timers();
	leave_first_cpu();
	measure_speed(speed, sizeof(speed));
	mount_host_files();
	loopback_up();
	setrlimit(RLIMIT_NOFILE, &many);
	setrlimit(RLIMIT_MEMLOCK, &unlimited);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	children = signalfd(-1, &chld, SFD_CLOEXEC);
	if (wire_send(port, WIRE_READY, speed, strlen(speed)) < 0)
		fail("port: cannot write");
	receive_job();
	snprintf(speed_env, sizeof(speed_env), "SCHEDRIG_SPEED=%s",
		strrchr(speed, ' ') ? strrchr(speed, ' ') + 1 : "1");
	snprintf(lab_env, sizeof(lab_env), "SCHEDRIG_LAB=emulated");
	env[n_env++] = speed_env;
	env[n_env++] = lab_env;
	command = start_command(pipes);
	status = serve(command, pipes, children);
	// Dirty pages of shared mappings reach the host's files before the machine is killed.
	sync();
	if (wire_send(port, WIRE_EXIT, &status, 1) < 0)
		fail("port: cannot write");
	for (;;)
		pause();
}
