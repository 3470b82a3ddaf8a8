/* SPDX-License-Identifier: GPL-2.0-only */
/* Groups of a worker's own (see own_cgroup.h). */
#include "guest/work/own_cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_BYTES 40

static char *add_number(char *at, unsigned number)
{
	char digits[12];
	unsigned n = 0;
	do
		digits[n++] = (char)('0' + number % 10);
	while ((number /= 10) > 0);
	while (n)
		*at++ = digits[--n];
	return at;
}

/* Not by snprintf(), which is not async-signal-safe. */
static void name_of(const struct worker *worker, unsigned group, char name[NAME_BYTES])
{
	char *at = name;
	memcpy(at, "worker-", 7);
	at = add_number(at + 7, (unsigned)worker->slot->tid);
	*at++ = '.';
	*add_number(at, group) = '\0';
}

int own_cgroup_open(struct worker *worker, unsigned group)
{
	char name[NAME_BYTES];
	name_of(worker, group, name);
	if (mkdirat(worker->cgroup_fd, name, 0755) < 0 && errno != EEXIST)
		worker_fail(worker, "mkdir");
	int fd = openat(worker->cgroup_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		worker_fail(worker, "open");
	return fd;
}

int own_cgroup_procs(struct worker *worker, int fd)
{
	int procs = openat(fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	if (procs < 0)
		worker_fail(worker, "open(cgroup.procs)");
	return procs;
}

void own_cgroup_enter(struct worker *worker, int procs_fd)
{
	ssize_t n;
	do
		n = pwrite(procs_fd, "0", 1, 0);
	while (n < 0 && errno == EINTR);
	/* ENODEV: its cgroup is being removed, and the worker will be stopped. */
	if (n < 0 && errno != ENODEV)
		worker_fail(worker, "write(cgroup.procs)");
}

void own_cgroup_remove(struct worker *worker, unsigned group)
{
	char name[NAME_BYTES];
	name_of(worker, group, name);
	(void)!unlinkat(worker->cgroup_fd, name, AT_REMOVEDIR);
}
