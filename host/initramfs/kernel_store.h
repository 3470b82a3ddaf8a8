/* SPDX-License-Identifier: GPL-2.0-only */
/* Which kernel is meant: a file, or a release in the store. No state, any thread; blocks on files.
 *
 *     CACHE/kernels/RELEASE/vmlinuz     the image
 *     CACHE/kernels/RELEASE/modules/    what lib/modules/RELEASE holds (kernel/..., modules.builtin)
 *     CACHE/kernels/RELEASE/config      its configuration, if known
 *     CACHE/kernels/default             link to the one that "default" means */
#ifndef HOST_INITRAMFS_KERNEL_STORE_H
#define HOST_INITRAMFS_KERNEL_STORE_H

#include "common/err.h"
#include "common/strbuf.h"

#include <limits.h>

struct kernel_files {
	char image[PATH_MAX];
	char modules[PATH_MAX]; /* directory with kernel/ or modules.builtin, or "" */
	char config[PATH_MAX];  /* or "" */
	char release[128];      /* "7.3.4+deb13-cloud-amd64" */
};

/* $SCHEDRIG_CACHE, else $XDG_CACHE_HOME/schedrig, else $HOME/.cache/schedrig. ERR_FAILED_PRECONDITION if none
 * of them is set. */
int kernel_store_dir(char *ret_path, size_t size, struct err *err) must_check;

/* What `spec` means:
 *   NULL, "" or "default"  the store's default, else its newest release
 *   with a '/'             an image (bzImage or ELF vmlinux) or a directory with a vmlinuz or vmlinux; its
 * modules are looked for beside it (modules/, kernel/), then in /lib/modules/RELEASE else the newest release
 * in the store that is `spec` or starts with it at a '.', '+', '-' or
 *                          '_': "7.3", "7.3.4", "6.18.15+deb13-cloud-amd64"
 * ERR_NOT_FOUND lists the releases that are there. ERR_INVALID_ARGUMENT: the file is no kernel. */
int kernel_find(
	const char *spec, const char *cache_dir, struct kernel_files *ret, struct err *err) must_check;

/* Adds the store's releases, newest first, one a line. An empty or absent store adds nothing. */
int kernel_store_list(const char *cache_dir, struct strbuf *list, struct err *err) must_check;

/* The release an image file says it is, by the bzImage header or the banner in an ELF image. */
int kernel_release_of(const char *image, char *ret_release, size_t size, struct err *err) must_check;

#endif
