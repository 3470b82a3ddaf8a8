/* SPDX-License-Identifier: GPL-2.0-only */
/* Cgroup v2 directories: creation, controllers, knobs, freezing, removal. Everything is relative to directory
 * fds; every failure says which file, which value, the kernel's reason and what to do. Plain C, no state of
 * its own; any thread. The calls that wait are marked: callers hold no lock over them. */
#ifndef GUEST_CGROUP_CGROUP_H
#define GUEST_CGROUP_CGROUP_H

#include "common/err.h"

#include <stdbool.h>
#include <sys/types.h>

#define CG_NAME_BYTES 256 /* with NUL */
#define CG_PATH_BYTES 320 /* below the tree's root, with NUL */

/* Non-empty, relative, "/" between components, no ".", "..", empty components or control characters, at most
 * 255 bytes. */
int cg_name_check(const char *name, struct err *err) must_check;

/* Makes `path` (relative to root_fd, "a/b") and the levels above it; those that exist are adopted. Enables no
 * controller. ret_fd: O_PATH|O_DIRECTORY-free directory fd that the caller closes. ret_existed may be NULL.
 */
int cg_create(int root_fd, const char *path, int *ret_fd, bool *ret_existed, struct err *err) must_check;
/* Opens an existing one; ERR_NOT_FOUND. */
int cg_open(int root_fd, const char *path, int *ret_fd, struct err *err) must_check;

/* Makes controller's files appear in `path`: enables it in cgroup.subtree_control of the root and of every
 * level above path. A no-op where it is. ERR_UNSUPPORTED when the kernel or the root lacks it,
 * ERR_FAILED_PRECONDITION when a level cannot have it (processes of its own). */
int cg_need(int root_fd, const char *path, const char *controller, struct err *err) must_check;

/* Writes a knob. `name` is the cgroup's name for messages. ERR_UNSUPPORTED: no such file; ERR_GUEST_OS: the
 * kernel refused. */
int cg_write(int fd, const char *name, const char *file, const char *value, struct err *err) must_check;
/* Reads a knob's text without trailing newline. */
int cg_read(
	int fd, const char *name, const char *file, char *buffer, size_t size, struct err *err) must_check;
bool cg_has(int fd, const char *file);

/* Moves a process. ERR_GUEST_OS with the kernel's reason; ESRCH (it has exited) is the caller's to judge by
 * os_errno. */
int cg_attach(int fd, const char *name, pid_t pid, struct err *err) must_check;

/* What cgroup.events said. */
enum cg_wait { CG_WAIT_DONE = 0, CG_WAIT_TIMEOUT = 1, CG_WAIT_CANCELLED = 2 };
/* (waits) Until `key` ("frozen", "populated") of cgroup.events has `value`, by notification. cancel_fd:
 * readable = give up; -1 = none. An enum cg_wait, or a negative errno. A cgroup that vanishes is an error. */
int cg_wait_event(int fd, const char *name, const char *key, int value, uint64_t deadline_ns, int cancel_fd,
	struct err *err) must_check;

/* PIDs (thread-group leaders) or TIDs, each once, in ascending order in a heap array that the caller frees.
 * Of a threaded cgroup the PIDs are those of processes that have threads in it. */
int cg_list(int fd, const char *name, bool threads, bool recursive, pid_t **ret_ids, size_t *ret_count,
	struct err *err) must_check;
/* "12 (comm, state D), ..." of at most 8 tasks in it and below; unfrozen: only those that the freezer has not
 * stopped. */
void cg_describe_tasks(int fd, const char *name, bool unfrozen, char *buffer, size_t size);

/* (waits) Unfreezes, moves what is still in it and below to stray_fd (-1: kills it), waits for populated 0,
 * then removes children first and the directory itself. ERR_TIMEOUT names what is left. ret_strays: tasks
 * found; may be NULL. */
int cg_remove(int root_fd, const char *path, int stray_fd, uint64_t deadline_ns, unsigned *ret_strays,
	struct err *err) must_check;

/* Knobs of a definition or a change; absent ones are untouched. Amounts of memory and io: CG_MAX is the
 * kernel's "max". */
#define CG_MAX UINT64_MAX
#define CG_PIDS_MAX UINT32_MAX
#define CG_IO_DEVICES 16
struct cg_io_max {
	const char *device; /* "8:0", or the path of a block device */
	bool has[4];
	uint64_t value[4]; /* rbps, wbps, riops, wiops */
};
struct cg_knobs {
	bool has_weight, has_idle, has_cpu_max, has_uclamp_min, has_uclamp_max, has_mem_max, has_mem_high,
		has_mem_low, has_mem_min, has_swap_max, has_pids_max, has_io_weight;
	bool idle;
	uint32_t weight;                                        /* 1..10000 */
	uint64_t quota_us;                                      /* CG_MAX = max */
	uint64_t period_us;                                     /* 1000..1000000 */
	uint32_t uclamp_min, uclamp_max;                        /* hundredths of a per cent, 0..10000 */
	uint64_t mem_max, mem_high, mem_low, mem_min, swap_max; /* bytes */
	uint32_t io_weight;                                     /* 1..10000 */
	unsigned n_io_max;
	struct cg_io_max io_max[CG_IO_DEVICES];
	uint32_t pids_max; /* >= 1; CG_PIDS_MAX = max */
};
/* Who is told, each member may be NULL: what was skipped, one sentence each; what was written, as read back.
 */
struct cg_knob_sink {
	void (*note)(void *arg, const char *note);
	void (*wrote)(void *arg, const char *file, const char *value);
	void *arg;
};
/* Enables what it needs and writes in the order cpu, memory, io, pids. The first failure ends it; what was
 * written stays. sink may be NULL. */
int cg_apply_knobs(int root_fd, const char *path, int fd, const char *name, const struct cg_knobs *knobs,
	const struct cg_knob_sink *sink, struct err *err) must_check;
/* Controllers that the cgroup has enabled for its children ("cpu memory"), "" for none or when it cannot be
 * read. Processes cannot enter such a cgroup. */
const char *cg_for_children(int fd, char *buffer, size_t size);

#endif
