/* SPDX-License-Identifier: GPL-2.0-only */
/* The two sides of a comparison: our controller and QEMU's microvm, with the same kernel, initramfs and
 * command line and 1 GiB. Run where stock kernels boot: tests/lab/lab.sh. Needs /dev/vhost-vsock and
 * qemu-system-x86_64. What goes wrong is said on stderr. One thread. */
#ifndef TESTS_BENCH_SIDES_H
#define TESTS_BENCH_SIDES_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

/* As files, once sides_begin() has found them. The unpacked kernel saves a guest the unpacking. */
extern char sides_bzimage[PATH_MAX], sides_vmlinux[PATH_MAX], sides_initramfs[PATH_MAX];
/* For sockets, too. Removed by sides_end(). */
extern char sides_directory[];

/* Boots the controller once, in a cache of its own beside the kernel store: then what it has made is known to
 * be what it boots. kernel: a path, or a name as in the store. */
bool sides_begin(const char *schedrigd, const char *kernel);
/* Status for main(). */
int sides_end(bool good);

/* A VM that runs: its process (the caller's to end), and from just before that was made until its agent
 * spoke.
 */
struct side {
	pid_t pid;
	double ready_ms;
	int agent_fd; /* microvm: the agent's connection, which nobody answers; else -1 */
};
/* topology as in --topology; socket: the controller's, or NULL. */
bool sides_start_schedrig(const char *topology, const char *socket, struct side *ret);
/* image: one of the two above; qmp: socket to listen on for QMP, or NULL. */
bool sides_start_microvm(const char *image, unsigned n_cpus, const char *qmp, struct side *ret);
void sides_stop(struct side *side);

#endif
