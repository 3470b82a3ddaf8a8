/* SPDX-License-Identifier: GPL-2.0-only */
/* Our side and QEMU's (see sides.h). */
#include "sides.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/scope.h"
#include "proto/wire.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT_NS (60 * NS_PER_S)
#define READY_FD 9

extern char **environ;

char sides_directory[] = "/tmp/schedrig-bench.XXXXXX";
char sides_bzimage[PATH_MAX], sides_vmlinux[PATH_MAX], sides_initramfs[PATH_MAX];
static const char *schedrigd, *kernel;
/* What the controller gives every kernel, from its own console when it can be had; microvm finds its devices
 * in ACPI as our VM does. */
#define CMDLINE "console=ttyS0 quiet nokaslr panic=-1 reboot=acpi pci=off random.trust_cpu=on"

static pid_t start(char **argv, int ready_fd)
{
	posix_spawn_file_actions_t actions;
	pid_t pid;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	if (ready_fd >= 0)
		posix_spawn_file_actions_adddup2(&actions, ready_fd, READY_FD);
	int r = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (r) {
		fprintf(stderr, "%s: %s\n", argv[0], strerror(r));
		return -1;
	}
	return pid;
}

/* Waits for the fd, or the end of the process. */
static bool wait_readable(int fd, pid_t pid, uint64_t deadline)
{
	while (clock_left_ns(deadline)) {
		struct pollfd wanted = {.fd = fd, .events = POLLIN};
		if (poll(&wanted, 1, 100) > 0)
			return true;
		if (waitpid(pid, NULL, WNOHANG) != 0) {
			fprintf(stderr, "it ended by itself\n");
			return false;
		}
	}
	fprintf(stderr, "nothing came within its time\n");
	return false;
}

void sides_stop(struct side *side)
{
	if (side->pid > 0) {
		kill(side->pid, SIGKILL);
		waitpid(side->pid, NULL, 0);
	}
	fd_close(&side->agent_fd);
	*side = (struct side){.pid = -1, .agent_fd = -1};
}

bool sides_start_schedrig(const char *topology, const char *control, struct side *ret)
{
	const char *argv[] = {schedrigd, "--kernel", kernel, "--topology", topology, "--memory", "1G",
		"--ready-fd", "9", control ? "--socket" : NULL, control, NULL};
	*ret = (struct side){.pid = -1, .agent_fd = -1};
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return false;
	_cleanup_close_ int in = fds[0], out = fds[1];
	uint64_t before = clock_now_ns();
	ret->pid = start((char **)argv, out);
	if (ret->pid < 0)
		return false;
	fd_close(&out);
	char line[256] = "";
	bool good = wait_readable(in, ret->pid, clock_deadline_ns(LIMIT_NS));
	ret->ready_ms = (double)(clock_now_ns() - before) / 1e6;
	if (good && (read(in, line, sizeof(line) - 1) < 5 || strncmp(line, "ready", 5) != 0)) {
		fprintf(stderr, "schedrigd: %s\n", line);
		good = false;
	}
	if (!good)
		sides_stop(ret);
	return good;
}

static int listen_vsock(void)
{
	_cleanup_close_ int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_vm any = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = WIRE_AGENT_PORT};
	if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0 || listen(fd, 1) < 0) {
		perror("listening on vsock");
		return -1;
	}
	return take_fd(&fd);
}

static void show(const char *path)
{
	_cleanup_free_ char *text = NULL;
	size_t length;
	struct err err = ERR_INIT;
	if (fd_read_file(path, 1 << 20, &text, &length, &err) < 0)
		fprintf(stderr, "%s\n", err.message);
	else
		fprintf(stderr, "its console:\n%s\n", length > 2000 ? text + length - 2000 : text);
}

bool sides_start_microvm(const char *image, unsigned n_cpus, const char *qmp, struct side *ret)
{
	*ret = (struct side){.pid = -1, .agent_fd = -1};
	_cleanup_close_ int listener = listen_vsock();
	if (listener < 0)
		return false;
	char log[PATH_MAX], serial[PATH_MAX + 8], cpus[16], monitor[256];
	snprintf(log, sizeof(log), "%s/console", sides_directory);
	snprintf(serial, sizeof(serial), "file:%s", log);
	snprintf(cpus, sizeof(cpus), "%u", n_cpus);
	snprintf(monitor, sizeof(monitor), "unix:%s,server=on,wait=off", qmp ? qmp : "");
	/* Nothing that a VM for tests does not need; the CID is any that is free. */
	char cid[64];
	snprintf(cid, sizeof(cid), "vhost-vsock-device,guest-cid=%u", 3 + (unsigned)getpid());
	const char *argv[] = {"qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
		"-no-reboot", "-M", "microvm,accel=kvm,acpi=on,rtc=off,auto-kernel-cmdline=off", "-cpu",
		"host", "-smp", cpus, "-m", "1G", "-serial", serial, "-kernel", image, "-initrd",
		sides_initramfs, "-append", CMDLINE, "-global", "virtio-mmio.force-legacy=false", "-device",
		cid, "-device", "virtio-rng-device", qmp ? "-qmp" : NULL, monitor, NULL};
	uint64_t before = clock_now_ns(), deadline = clock_deadline_ns(LIMIT_NS);
	ret->pid = start((char **)argv, -1);
	if (ret->pid < 0)
		return false;
	bool good = wait_readable(listener, ret->pid, deadline);
	ret->agent_fd = good ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;
	good = ret->agent_fd >= 0 && wait_readable(ret->agent_fd, ret->pid, deadline);
	ret->ready_ms = (double)(clock_now_ns() - before) / 1e6;
	char byte;
	good = good && recv(ret->agent_fd, &byte, 1, 0) == 1;
	if (!good) {
		sides_stop(ret);
		show(log);
	}
	return good;
}

/* The one file of that ending (or any, if it is ""), and not a link, in that part of our cache. */
static bool find_made(const char *subdir, const char *ending, char *ret)
{
	char path[PATH_MAX];
	snprintf(path, sizeof(path), "%s/%s", sides_directory, subdir);
	DIR *dir = opendir(path);
	bool found = false;
	for (struct dirent *entry; dir && (entry = readdir(dir));) {
		size_t n = strlen(entry->d_name), m = strlen(ending);
		if (entry->d_type != DT_REG || n < m || strcmp(entry->d_name + n - m, ending) != 0)
			continue;
		snprintf(ret, PATH_MAX, "%s/%s/%s", sides_directory, subdir, entry->d_name);
		found = true;
	}
	if (dir)
		closedir(dir);
	return found;
}

bool sides_begin(const char *program, const char *kernel_name)
{
	const char *own = getenv("SCHEDRIG_CACHE"), *home = getenv("HOME");
	char store[PATH_MAX], link[PATH_MAX];
	struct side side;
	schedrigd = program;
	kernel = kernel_name;
	if (own)
		snprintf(store, sizeof(store), "%s/kernels", own);
	else
		snprintf(store, sizeof(store), "%s/.cache/schedrig/kernels", home ? home : "");
	if (!mkdtemp(sides_directory)) {
		perror("mkdtemp");
		return false;
	}
	snprintf(link, sizeof(link), "%s/kernels", sides_directory);
	if (symlink(store, link) < 0 || setenv("SCHEDRIG_CACHE", sides_directory, 1) < 0 ||
		!sides_start_schedrig("1n1l1c1t", NULL, &side))
		return false;
	sides_stop(&side);
	int n = strchr(kernel, '/') ? snprintf(sides_bzimage, PATH_MAX, "%s", kernel)
				    : snprintf(sides_bzimage, PATH_MAX, "%s/%s/vmlinuz", store, kernel);
	if (n >= PATH_MAX || access(sides_bzimage, R_OK) < 0) {
		fprintf(stderr, "%s: name a kernel by its path, or as the kernel store does\n",
			sides_bzimage);
		return false;
	}
	if (find_made("vmlinux", "", sides_vmlinux) && find_made("initramfs", ".cpio", sides_initramfs))
		return true;
	fprintf(stderr, "the controller has kept no kernel or initramfs in %s\n", sides_directory);
	return false;
}

int sides_end(bool good)
{
	char command[128];
	snprintf(command, sizeof(command), "rm -rf %s", sides_directory);
	return system(command) == 0 && good ? 0 : 1;
}
