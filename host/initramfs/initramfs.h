/* SPDX-License-Identifier: GPL-2.0-only */
/* The guest's first root file system: a newc cpio archive of the agent, the kernel modules it loads, and the
 * staged files with the shared libraries they need. Any thread but vCPUs; blocks on files.
 *
 *     /init                     the agent
 *     /modules/NAME.ko          modules, decompressed
 *     /modules/order            their paths, one a line, in the order to load them (dependencies first);
 *                               always there, empty when everything is built in
 *     /staged/NAME              staged files, programs with mode 0755, others 0644
 *     /lib64/ld-linux-x86-64.so.2, /usr/lib/..., /etc/ld.so.cache
 *                               loader and libraries where the host has them (links such as /lib -> usr/lib
 *                               too), so that the loader finds them as it does on the host
 *     /dev/console, /dev/null   for a kernel without devtmpfs at that point
 *     /proc /sys /tmp /run      empty
 *
 * Libraries are found by reading ELF (DT_NEEDED, RPATH and RUNPATH, ld.so.cache, default directories:
 * ld.so(8)), never by running anything. What a program opens by itself (dlopen, locale data, helpers) is not
 * found: stage it. A script is staged with its #! interpreter. */
#ifndef HOST_INITRAMFS_INITRAMFS_H
#define HOST_INITRAMFS_INITRAMFS_H

#include "common/err.h"
#include "common/scope.h"
#include "host/initramfs/kernel_store.h"

#include <stdbool.h>

#define INITRAMFS_STAGED_MAX 256
/* Names of staged files: 1..128 bytes, no '/', not starting with '.', no control characters. */
#define INITRAMFS_NAME_MAX 128
/* Everything together: it lies in guest memory, packed and unpacked. */
#define INITRAMFS_MAX_BYTES (UINT64_C(1) << 30)

/* A module that the guest needs. */
struct initramfs_module {
	const char *name;    /* "virtio_mmio"; '-' and '_' are the same */
	const char *option;  /* "CONFIG_VIRTIO_MMIO", for kernels that come without a module tree */
	const char *feature; /* what it is for, in words for the error: "virtio-mmio" */
	bool optional;       /* left out silently where the kernel does not have it */
};
/* What every machine needs: virtio_mmio and virtio-vsock, and virtio-rng where there is one. Ends with a name
 * NULL. */
extern const struct initramfs_module initramfs_default_modules[];

#define INITRAMFS_MODULES_MAX 8
/* The default and what these devices need; ret has INITRAMFS_MODULES_MAX entries. */
void initramfs_choose_modules(bool net, bool disk, struct initramfs_module *ret);

struct initramfs_staged {
	const char *name; /* in the guest: /staged/NAME */
	const char *path; /* on the host */
};

struct initramfs_config {
	const char *agent;                      /* path of the agent's binary */
	const struct kernel_files *kernel;      /* whose modules are taken */
	const struct initramfs_module *modules; /* ends with a name NULL; NULL: the default */
	const struct initramfs_staged *staged;
	unsigned n_staged;
	const char *cache_dir; /* as kernel_store_dir() says; NULL: nothing is kept */
};

struct initramfs {
	const uint8_t *bytes; /* read-only mapping of fd, whole */
	size_t size;
	int fd;      /* the archive; may be mapped into guest memory as well */
	bool cached; /* nothing had to be read but its inputs' stat */
};
#define INITRAMFS_EMPTY ((struct initramfs){.fd = -1})

/* Builds the archive, or finds it in CACHE/initramfs/ when nothing it was made of has changed (size, times
 * and inode of every file that was used; absence of every file that was looked for before another was used).
 * ERR_NOT_FOUND: agent, staged file, library or interpreter missing. ERR_UNSUPPORTED: the kernel lacks a
 * module. ERR_INVALID_ARGUMENT: bad or double name, broken ELF, wrong machine. ERR_LIMIT_EXCEEDED. */
int initramfs_open(const struct initramfs_config *config, struct initramfs *ret, struct err *err) must_check;
/* Takes INITRAMFS_EMPTY. */
void initramfs_close(struct initramfs *initramfs);

/* Whether this is a name for a staged file. */
int initramfs_check_name(const char *name, struct err *err) must_check;

#endif
