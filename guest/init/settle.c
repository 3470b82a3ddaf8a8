/* SPDX-License-Identifier: GPL-2.0-only */
/* Settings of PID 1: what schedrig needs of the guest's kernel and of its own process (see init.h). */
#include "common/fsat.h"
#include "common/log.h"
#include "common/parse.h"
#include "common/scope.h"
#include "guest/cgroup/cgroup.h"
#include "guest/init/init.h"
#include "guest/irq/irq.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

typedef void (*note_fn)(void *arg, const char *note);

static void note(note_fn add_note, void *arg, const char *what, int errnum)
{
	char text[256];
	snprintf(text, sizeof(text), "%s: %s", what, strerror(errnum));
	add_note(arg, text);
}

static void set_file(const char *path, const char *value, note_fn add_note, void *arg)
{
	int r = fsat_write(AT_FDCWD, path, value);
	/* A kernel without the setting needs none. */
	if (r < 0 && r != -ENOENT)
		note(add_note, arg, path, -r);
}

static int raise_lo(void)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	return fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0 ? 0 : -errno;
}

/* A process that only forks ends with fork() failing, instead of with the out-of-memory killer and whom that
 * finds: the kernel's own limit counts no more than the stacks. Whoever wants less has pids.max. */
#define TASK_KIB 192

static void bound_tasks(note_fn add_note, void *arg)
{
	uint64_t most;
	char text[24];
	long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
	uint64_t wanted = (uint64_t)pages * (uint64_t)page / 1024 / TASK_KIB;
	if (pages <= 0 || page <= 0 || fsat_read_u64(AT_FDCWD, "/proc/sys/kernel/threads-max", &most) < 0 ||
		most <= wanted)
		return;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)wanted);
	set_file("/proc/sys/kernel/threads-max", text, add_note, arg);
}

void init_settle(note_fn add_note, void *arg)
{
	/* Workers and payloads by the thousand, each with a few descriptors here. */
	struct rlimit files = {65536, 65536};
	if (setrlimit(RLIMIT_NOFILE, &files) < 0)
		note(add_note, arg, "cannot raise the limit on open files", errno);
	if (sethostname("schedrig", 8) < 0)
		note(add_note, arg, "cannot set the host name", errno);
	int r = raise_lo();
	if (r < 0)
		note(add_note, arg, "cannot bring lo up", -r);
	bound_tasks(add_note, arg);
	set_file("/proc/sys/kernel/kptr_restrict", "0", add_note, arg);
	/* The agent's page is known to the controller by its physical address: compaction moves even locked
	 * pages unless told not to. */
	set_file("/proc/sys/vm/compact_unevictable_allowed", "0", add_note, arg);
	/* kernel.sched_rt_runtime_us stays as it is: with the kernel's default a FIFO hog leaves others 5 %,
	 * and a scenario that wants another value says so. */
	/* The log goes to the controller through the link; a line on the serial console costs exits. */
	if (klogctl(8 /* SYSLOG_ACTION_CONSOLE_LEVEL */, NULL, 4) < 0)
		note(add_note, arg, "cannot lower the console's verbosity", errno);
}

int init_own_cgroup(int root_fd, const char *name, int *ret_fd, struct err *err)
{
	int r = cg_create(root_fd, name, ret_fd, NULL, err);
	return r < 0 ? r : cg_attach(*ret_fd, name, getpid(), err);
}

int init_lock_memory(void)
{
	/* ONFAULT: what is mapped but not touched (the slots of workers) takes no memory. */
	return mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0 ? -errno : 0;
}

int init_raise_thread(void)
{
	struct sched_param highest = {.sched_priority = 99};
	return sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &highest) < 0 ? -errno : 0;
}

/* --- slow hosts --- */

uint32_t init_cmdline_speed(const char *cmdline)
{
	const char *at = strstr(cmdline, "schedrig.speed=");
	unsigned percent;
	if (!at || (at != cmdline && at[-1] != ' ') || sscanf(at, "schedrig.speed=%u", &percent) != 1)
		return 100;
	return percent < 1 ? 1 : percent > 100 ? 100 : percent;
}

static void widen(const char *path, uint32_t percent, uint64_t most, note_fn add_note, void *arg)
{
	uint64_t value;
	char text[24];
	if (fsat_read_u64(AT_FDCWD, path, &value) < 0 || !value)
		return; /* not there, or off */
	value = value * 100 / percent;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)(value < most ? value : most));
	set_file(path, text, add_note, arg);
}

void init_widen_watchdogs(uint32_t percent, note_fn add_note, void *arg)
{
	static bool done;
	if (done || percent >= 100 || !percent)
		return;
	done = true;
	/* The most that the kernel takes: kernel/watchdog.c 60 s, kernel/rcu/tree_stall.h 300 s. */
	widen("/proc/sys/kernel/watchdog_thresh", percent, 60, add_note, arg);
	widen("/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout", percent, 300, add_note, arg);
	widen("/sys/module/rcupdate/parameters/rcu_exp_cpu_stall_timeout", percent, 21000, add_note, arg);
	widen("/proc/sys/kernel/hung_task_timeout_secs", percent, 36000, add_note, arg);
}

/* --- interrupts --- */

void init_find_virtio(unsigned id, char *name, unsigned size)
{
	DIR *dir = opendir("/sys/bus/virtio/devices");
	name[0] = '\0';
	if (!dir)
		return;
	for (struct dirent *entry; !name[0] && (entry = readdir(dir));) {
		char file[300], text[32];
		unsigned have;
		snprintf(file, sizeof(file), "%s/device", entry->d_name);
		if (entry->d_name[0] != '.' && fsat_read(dirfd(dir), file, text, sizeof(text)) > 0 &&
			sscanf(text, "%x", &have) == 1 && have == id)
			snprintf(name, size, "%s", entry->d_name);
	}
	closedir(dir);
}

/* "virtio1" or "virtio1-rx", not "virtio10". */
static bool is_action_of(const char *action, const char *device)
{
	size_t n = strlen(device);
	return !strncmp(action, device, n) && (action[n] == '\0' || action[n] == '-' || action[n] == ',');
}

int init_steer_irqs(const char *device, unsigned n_cpus, struct err *err)
{
	_cleanup_(irq_table_deinit) struct irq_table table = IRQ_TABLE_EMPTY;
	int steered = 0, r = irq_table_read(&IRQ_TREE, &table, err);
	for (size_t i = 0; r == 0 && i < table.n_lines; i++) {
		char cpu[16];
		bool ours = false;
		for (const char *at = table.lines[i].actions; *at && !ours; at += strspn(at, ", ")) {
			ours = is_action_of(at, device);
			at += strcspn(at, ",");
		}
		if (!ours)
			continue;
		snprintf(cpu, sizeof(cpu), "%u", n_cpus - 1);
		r = irq_set_affinity(&IRQ_TREE, table.lines[i].number, cpu, err);
		steered++;
	}
	return r < 0 ? r : steered;
}

void init_die(const struct err *err)
{
	char text[800];
	int n = snprintf(text, sizeof(text), "schedrig-agent: %s\n", err->message);
	int fd = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);
	(void)!write(fd >= 0 ? fd : 2, text, (size_t)(n < (int)sizeof(text) ? n : (int)sizeof(text) - 1));
	sync();
	for (;;) {
		reboot(RB_POWER_OFF);
		pause();
	}
}
