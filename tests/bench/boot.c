/* SPDX-License-Identifier: GPL-2.0-only */
/* Boots of the controller's VM and of QEMU's microvm side by side, until the agent in them speaks:
 *
 *   bench-boot SCHEDRIGD RUNS [KERNEL [HOST_CPU]]
 *
 * Both get the same kernel, the same initramfs, one vCPU, 1 GiB, and all of either runs on HOST_CPU (default:
 * anywhere). Both are measured from just before the process is made until the agent's first bytes have come
 * through vsock; for the controller, that is what its `ready` says, which comes later: after the greeting was
 * answered and the topology checked. QEMU gets the kernel twice: as the bzImage, and as the unpacked vmlinux
 * that saves the guest the unpacking. The kinds take turns, so that what else the machine does hits all of
 * them. Run it where stock kernels boot: tests/lab/lab.sh. Needs /dev/vhost-vsock and qemu-system-x86_64. */
#include "common/clock.h"
#include "common/fd.h"
#include "common/scope.h"
#include "proto/wire.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define RUNS_MAX 100
#define LIMIT_NS (60 * NS_PER_S)
#define READY_FD 9

extern char **environ;

enum kind { SCHEDRIG, MICROVM_ELF, MICROVM_BZIMAGE, N_KINDS };

static const char *const names[N_KINDS] = {
	"schedrigd, agent ready", "QEMU microvm, vmlinux", "QEMU microvm, bzImage"};

static char cache[] = "/tmp/schedrig-bench.XXXXXX";
static char bzimage[PATH_MAX], vmlinux[PATH_MAX], initramfs[PATH_MAX];
static char *schedrigd, *kernel = (char *)"default";
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

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static double run_schedrig(void)
{
	char *argv[] = {schedrigd, (char *)"--kernel", kernel, (char *)"--topology", (char *)"1n1l1c1t",
		(char *)"--memory", (char *)"1G", (char *)"--ready-fd", (char *)"9", NULL};
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -1;
	_cleanup_close_ int in = fds[0], out = fds[1];
	uint64_t before = clock_now_ns();
	pid_t pid = start(argv, out);
	if (pid < 0)
		return -1;
	fd_close(&out);
	char line[256] = "";
	bool good = wait_readable(in, pid, clock_deadline_ns(LIMIT_NS));
	double ms = (double)(clock_now_ns() - before) / 1e6;
	if (good && (read(in, line, sizeof(line) - 1) < 5 || strncmp(line, "ready", 5) != 0)) {
		fprintf(stderr, "schedrigd: %s\n", line);
		good = false;
	}
	end(pid);
	return good ? ms : -1;
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

static double run_microvm(const char *image)
{
	_cleanup_close_ int listener = listen_vsock();
	if (listener < 0)
		return -1;
	char log[PATH_MAX], serial[PATH_MAX + 8];
	snprintf(log, sizeof(log), "%s/console", cache);
	snprintf(serial, sizeof(serial), "file:%s", log);
	/* Nothing that a VM for tests does not need; the CID is any that is free. */
	char cid[64];
	snprintf(cid, sizeof(cid), "vhost-vsock-device,guest-cid=%u", 3 + (unsigned)getpid());
	const char *argv[] = {"qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
		"-no-reboot", "-M", "microvm,accel=kvm,acpi=on,rtc=off,auto-kernel-cmdline=off", "-cpu",
		"host", "-smp", "1", "-m", "1G", "-serial", serial, "-kernel", image, "-initrd", initramfs,
		"-append", CMDLINE, "-global", "virtio-mmio.force-legacy=false", "-device", cid, "-device",
		"virtio-rng-device", NULL};
	uint64_t before = clock_now_ns(), deadline = clock_deadline_ns(LIMIT_NS);
	pid_t pid = start((char **)argv, -1);
	if (pid < 0)
		return -1;
	bool good = wait_readable(listener, pid, deadline);
	_cleanup_close_ int agent = good ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;
	good = agent >= 0 && wait_readable(agent, pid, deadline);
	double ms = (double)(clock_now_ns() - before) / 1e6;
	char byte;
	good = good && read(agent, &byte, 1) == 1;
	end(pid);
	if (!good)
		show(log);
	return good ? ms : -1;
}

static double run(enum kind kind)
{
	switch (kind) {
	case SCHEDRIG:
		return run_schedrig();
	case MICROVM_ELF:
		return run_microvm(vmlinux);
	default:
		return run_microvm(bzimage);
	}
}

/* The one file of that ending (or any, if it is ""), and not a link, in CACHE/subdir. */
static bool find_made(const char *subdir, const char *ending, char *ret)
{
	char path[PATH_MAX];
	snprintf(path, sizeof(path), "%s/%s", cache, subdir);
	DIR *dir = opendir(path);
	bool found = false;
	for (struct dirent *entry; dir && (entry = readdir(dir));) {
		size_t n = strlen(entry->d_name), m = strlen(ending);
		if (entry->d_type != DT_REG || n < m || strcmp(entry->d_name + n - m, ending) != 0)
			continue;
		snprintf(ret, PATH_MAX, "%s/%s/%s", cache, subdir, entry->d_name);
		found = true;
	}
	if (dir)
		closedir(dir);
	return found;
}

/* A cache of its own beside the kernel store: then what the first run makes is known to be what it boots. */
static bool prepare(void)
{
	const char *own = getenv("SCHEDRIG_CACHE"), *home = getenv("HOME");
	char store[PATH_MAX], link[PATH_MAX];
	if (own)
		snprintf(store, sizeof(store), "%s/kernels", own);
	else
		snprintf(store, sizeof(store), "%s/.cache/schedrig/kernels", home ? home : "");
	if (!mkdtemp(cache)) {
		perror("mkdtemp");
		return false;
	}
	snprintf(link, sizeof(link), "%s/kernels", cache);
	if (symlink(store, link) < 0 || setenv("SCHEDRIG_CACHE", cache, 1) < 0)
		return false;
	double ms = run_schedrig();
	if (ms < 0)
		return false;
	printf("%-24s %8.0f ms (caches empty; not counted)\n", names[SCHEDRIG], ms);
	int n = strchr(kernel, '/') ? snprintf(bzimage, sizeof(bzimage), "%s", kernel)
				    : snprintf(bzimage, sizeof(bzimage), "%s/%s/vmlinuz", store, kernel);
	if (n >= (int)sizeof(bzimage) || access(bzimage, R_OK) < 0) {
		fprintf(stderr, "%s: name a kernel by its path, or as the kernel store does\n", bzimage);
		return false;
	}
	if (!find_made("vmlinux", "", vmlinux) || !find_made("initramfs", ".cpio", initramfs)) {
		fprintf(stderr, "the controller has kept no kernel or initramfs in %s\n", cache);
		return false;
	}
	return true;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static bool measure(unsigned runs)
{
	static double ms[N_KINDS][RUNS_MAX];
	for (unsigned i = 0; i < runs; i++)
		for (enum kind kind = 0; kind < N_KINDS; kind++) {
			ms[kind][i] = run(kind);
			if (ms[kind][i] < 0) {
				fprintf(stderr, "%s: no boot\n", names[kind]);
				return false;
			}
			fprintf(stderr, "%-24s %8.0f ms\n", names[kind], ms[kind][i]);
		}
	for (enum kind kind = 0; kind < N_KINDS; kind++) {
		qsort(ms[kind], runs, sizeof(ms[kind][0]), compare);
		printf("%-24s median %8.0f ms  min %8.0f  max %8.0f", names[kind], ms[kind][runs / 2],
			ms[kind][0], ms[kind][runs - 1]);
		if (kind == SCHEDRIG)
			printf("\n");
		else
			printf("   we: %.2f of it\n", ms[SCHEDRIG][runs / 2] / ms[kind][runs / 2]);
	}
	return true;
}

int main(int argc, char **argv)
{
	unsigned runs = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
	if (runs < 1 || runs > RUNS_MAX || argc > 5) {
		fprintf(stderr, "usage: %s SCHEDRIGD RUNS [KERNEL [HOST_CPU]]\n", argv[0]);
		return 64;
	}
	schedrigd = argv[1];
	if (argc > 3)
		kernel = argv[3];
	if (argc > 4) {
		cpu_set_t cpus;
		CPU_ZERO(&cpus);
		CPU_SET(strtoul(argv[4], NULL, 10), &cpus);
		if (sched_setaffinity(0, sizeof(cpus), &cpus) < 0) {
			perror("pinning");
			return 1;
		}
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	bool good = prepare() && measure(runs);
	char command[128];
	snprintf(command, sizeof(command), "rm -rf %s", cache);
	return system(command) == 0 && good ? 0 : 1;
}
